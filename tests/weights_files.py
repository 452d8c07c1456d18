"""Writes small files of weights in the published formats."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


class Holder(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def write_openai_archive(state: dict[str, Tensor], path: Path) -> Path:
    """A TorchScript archive like OpenAI's: nested modules, float16 matrices, and three integers."""
    root = Holder()
    integers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    for name, value in {**state, **{key: torch.tensor(value) for key, value in integers.items()}}.items():
        *parents, leaf = name.split(".")
        module: nn.Module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, Holder())
            module = module.get_submodule(parent)
        is_matrix = value.is_floating_point() and value.ndim > 1
        module.register_buffer(leaf, value.half() if is_matrix else value.clone())
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; only the tests write with it
        torch.jit.script(root).save(str(path))
    return path
