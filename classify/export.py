"""The classifier without this project: an ONNX file or a torch.export program, from images to logits.

Both take `images` float32 `[B, 3, R, R]` for any B, prepared as `PromptClassifier.transform` does, and give
`logits` `[B, C]`, `image_features` `[B, E]` and `text_features` `[C, E]` (CoCoOp: `[B, C, E]`). Class names,
image size, mean and standard deviation are in the file's metadata.
"""

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.cocoop import ConditionalWords
from trainers.prompts import ClassPrompts

from .classifier import PromptClassifier

OUTPUTS = ("logits", "image_features", "text_features")
ONNX_OPSET = 18  # the oldest that PyTorch's exporter writes, so that most runtimes read it
MAX_BATCH = 2**16  # images at a time; PyTorch 2.6 asks for a limit
TOLERANCE = 1e-3  # of logits, which are of the order of 10: far above float32's rounding over a tower
ABOUT = "about.json"  # entry of a torch.export file with the metadata


class ExportableClassifier(nn.Module):
    """The model of a classifier without its text tower, since the features of its classes are kept."""

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        classifier.model.class_features()
        self.model = copy.deepcopy(classifier.model)
        for name in ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection"):
            delattr(self.model.clip, name)
        for module in self.model.modules():
            if isinstance(module, ClassPrompts):
                del module.embedded

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.outputs(images)


class ExportableConditionalClassifier(nn.Module):
    """CoCoOp with its text tower; all B * C prompts are encoded at once."""

    def __init__(self, classifier: PromptClassifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(classifier.model)
        del self.model.clip.token_embedding  # the words are embedded already

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clip, words = self.model.clip, self.model.prompt_learner
        assert isinstance(words, ConditionalWords)
        prompts, image_features = words.class_prompts, self.model.image_features(images)
        context = words.context_of(image_features).unsqueeze(1)  # [B, 1, n, D]
        embedded = prompts.embedded.expand(images.shape[0], -1, -1, -1)  # [B, C, L, D]
        before, after = embedded[:, :, :1], embedded[:, :, 1 + prompts.n_ctx :]
        context = context.expand(-1, embedded.shape[1], -1, -1)
        embedded = torch.cat([before, context, after], dim=2).flatten(0, 1)  # [B * C, L, D]
        features = clip.encode_embedded_text(embedded, prompts.end_index.repeat(images.shape[0]))
        text_features = F.normalize(features.float(), dim=-1).unflatten(0, (images.shape[0], -1))  # [B, C, E]
        logits = clip.logit_scale.exp() * (text_features @ image_features.unsqueeze(-1)).squeeze(-1)
        return logits, image_features, text_features


def export(classifier: PromptClassifier, torch_export: str = "", onnx: str = "") -> None:
    """Write the program of a classifier on the CPU in float32 to the paths that are given.

    Raises:
        ValueError: what was written computes other logits than the classifier.
    """
    is_conditional = isinstance(classifier.model.prompt_learner, ConditionalWords)
    module = (ExportableConditionalClassifier if is_conditional else ExportableClassifier)(classifier).eval()
    size = classifier.model.clip.config.image_size
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    batch = torch.export.Dim("batch", max=MAX_BATCH)
    with torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},), strict=False)

    def check(path: str, logits_of: Callable[[Tensor], Tensor]) -> None:
        for some in (images[:1], images):
            difference = float((classifier.logits(some) - logits_of(some)).abs().max())
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{path} was written, but its logits differ by {difference:.2g}: do not use it"
                )

    for path in filter(None, (torch_export, onnx)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, and a note on shared memory
        if torch_export:
            about = {ABOUT: json.dumps(metadata(classifier))}
            torch.export.save(program, torch_export, extra_files=about)
            loaded = torch.export.load(torch_export).module()
            check(torch_export, lambda images: loaded(images)[0])
        if onnx:
            import onnxruntime  # here, since only this needs it

            options: Any = {"input_names": ["images"], "output_names": OUTPUTS, "opset_version": ONNX_OPSET}
            written: Any = torch.onnx.export(program, **options, dynamo=True, verbose=False)
            written.model.metadata_props.update(metadata(classifier))
            written.save(onnx)  # weights above 2 GB beside it
            session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
            check(onnx, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]))


def metadata(classifier: PromptClassifier) -> dict[str, str]:
    """What a program that reads the exported file needs to know, each entry a text, lists as JSON."""
    file = classifier.file
    about = {
        "method": file.method,
        "classnames": classifier.classnames,
        "input_size": file.input["SIZE"],
        **{key.lower(): value for key, value in file.input.items() if key != "SIZE"},
        "backbone": file.backbone.name,
        "backbone_sha256": file.backbone.sha256,
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
