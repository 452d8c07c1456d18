"""The learned set of a method: what is optimised, saved and loaded, under the names of published checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .prompted_clip import PromptedCLIP

# Relative distance up to which frozen weights count as the same: far above float16's and bfloat16's 2^-11 and 2^-8, far below the 1.4 of unrelated
# ones (our choice; PromptSRC's published files hold towers that were averaged in float16).
SAME_WEIGHTS = 0.05
MAX_NAMED = 8  # arrays that a message names one by one


class LearnedParameters(nn.Module):
    """Exactly what a method learns, under the names of published checkpoints: what is optimised, saved and loaded.

    It is what trainers register with the engine. It holds no copies: its parameters are the model's own.

    Args:
        model: the prompted CLIP.
        method: name for messages.

    Raises:
        RuntimeError: the model has other parameters that require a gradient than those that the method declares.
    """

    def __init__(self, model: PromptedCLIP, method: str) -> None:
        super().__init__()
        self._method = method
        self._learned = dict(model.prompt_learner.published_names())
        self._frozen = partial(_published_frozen, model)
        declared = {id(p) for p in self._learned.values()}
        others = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in declared]
        if others:
            raise RuntimeError(f"{method} does not declare these parameters, but they require a gradient: {', '.join(others)}")

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The learned parameters with their published names."""
        yield from self._learned.items()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The learned values, float32, detached."""
        return {name: parameter.detach() for name, parameter in self._learned.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:
        """Take the learned values from a checkpoint of this method; frozen towers and token buffers that published files hold are passed over.

        Raises:
            ValueError: a value is missing, of another shape, or belongs to no parameter of this method, or the frozen towers in the file are not this
                run's, so that its prompts would be read by a CLIP that they were not learned for; nothing is changed then.
        """
        given = {k.removeprefix("module."): v for k, v in state_dict.items()}
        mismatches = [*self._mismatches_of_learned(given), *self._mismatches_of_frozen(given)]
        if mismatches:
            raise ValueError(
                "\n".join(
                    [
                        f"The checkpoint does not fit {self._method} with the present settings:",
                        *(f"  {line}" for line in mismatches),
                        "Use the trainer, backbone, prompt settings (N_CTX, PROMPT_DEPTH, …) and classes with which it was trained. Nothing was loaded.",
                    ]
                )
            )
        with torch.no_grad():
            for name, parameter in self._learned.items():
                parameter.copy_(given[name])

    def _mismatches_of_learned(self, given: Mapping[str, Any]) -> list[str]:
        """One line a kind of mismatch between the file's entries and what this method learns."""
        frozen = self._frozen()
        missing = [name for name in self._learned if name not in given]
        unknown = [name for name in given if name not in self._learned and name not in frozen and not _is_token_buffer(name)]
        lines = [f"missing: {_some(missing)}"] if missing else []
        lines += [f"not learned by {self._method} as it is set: {_some(unknown)}"] if unknown else []
        return lines + _other_shapes(given, self._learned)

    def _mismatches_of_frozen(self, given: Mapping[str, Any]) -> list[str]:
        """One line a frozen array of the file that is not this run's, by shape, or else by value."""
        frozen = {name: tensor for name, tensor in self._frozen().items() if name in given}
        lines = _other_shapes(given, frozen)
        if lines:
            return lines
        others = [name for name, tensor in frozen.items() if not _is_statistic(name) and not _is_near(given[name], tensor)]
        return [f"frozen weights of another CLIP than this run's backbone: {_some(others)}"] if others else []


def _published_frozen(model: PromptedCLIP) -> dict[str, Tensor]:
    """The frozen towers under the names that published checkpoints give them."""
    towers: dict[str, Tensor] = {}
    for key, tensor in model.clip.state_dict().items():
        if key.startswith("visual."):
            towers |= {f"{tower}.{key.removeprefix('visual.')}": tensor for tower in model.published_image_towers}
        else:
            towers[key if key == "logit_scale" else f"text_encoder.{key}"] = tensor
    return towers


def _is_token_buffer(name: str) -> bool:
    """Whether ``name`` is that of the word vectors around the learned context, which depend on the class names and are made anew for the present ones."""
    return name.split(".")[-1] in ("token_prefix", "token_suffix")


def _is_statistic(name: str) -> bool:
    """Whether ``name`` is that of a ResNet's running statistics, which the published code moves while it trains."""
    return name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked")


def _other_shapes(given: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> list[str]:
    lines = []
    for name, tensor in wanted.items():
        shape = getattr(given.get(name), "shape", None) if name in given else tensor.shape
        if shape != tensor.shape:
            received = "is no array" if shape is None else f"has shape {list(shape)}"
            lines.append(f"{name} {received}, {list(tensor.shape)} is needed")
    return lines if len(lines) <= MAX_NAMED else [*lines[:MAX_NAMED], f"and {len(lines) - MAX_NAMED} more arrays of other shapes"]


def _is_near(given: Tensor, own: Tensor) -> bool:
    """Whether two arrays of one shape are the same weights, rounded alike or not."""
    given, own = given.to(own.device).float(), own.float()
    return bool((given - own).norm() <= SAME_WEIGHTS * own.norm())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
