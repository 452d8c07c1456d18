"""A figure of where the class token looks, without and with the learned prompts.

Attention rollout (Abnar & Zuidema, ACL 2020, arXiv 2005.00928, section 3) follows the attention of the class
token through all layers. Each layer counts as half the residual path and half the mean of its heads.

Letters of shapes: B images, L tokens that a layer sees, G patches a side, S sources (all tokens that join).
"""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import ImageOps
from torch import Tensor, nn

from clip import PromptSchedule
from clip.model import VisionTransformer
from dassl.utils import read_image
from trainers.prompted_clip import PromptedCLIP
from trainers.templates import DEFAULT_TEMPLATE, TEMPLATES
from trainers.zsclip import FixedPrompts, ZeroshotModel

from .classifier import PromptClassifier

N_BARS = 5  # classes shown beside each image


@torch.no_grad()
def attention_of(model: PromptedCLIP, images: Tensor) -> list[Tensor]:
    """The attention `[B, L, L]` of each layer of the image tower, the mean of its heads; a row sums to 1.

    Prompts are the last of the L tokens, also where they stand inside.
    """
    visual = model.clip.visual
    if not isinstance(visual, VisionTransformer):
        raise ValueError("a ResNet has no class token whose attention could be shown: leave out --explain")
    prompts, found = model.prompt_learner.vision(), []

    def keep_weights(attention: Any, args: tuple) -> None:
        x = args[0].float()
        theirs = nn.MultiheadAttention(x.shape[-1], attention.n_heads, batch_first=True, device=x.device)
        theirs.load_state_dict(attention.state_dict())  # PyTorch's own gives its weights too
        with torch.autocast(x.device.type, enabled=False):
            layer = theirs(x, x, x)[1]
        if prompts is not None and prompts.inside:
            first = layer.shape[-1] - visual.n_patches  # of the patches, behind class token and prompts
            order = [0, *range(first, layer.shape[-1]), *range(1, first)]
            layer = layer[:, order][:, :, order]
        found.append(layer)

    blocks: Any = visual.transformer.resblocks
    handles = [block.attn.register_forward_pre_hook(keep_weights) for block in blocks]
    model.image_features(images)
    for handle in handles:
        handle.remove()
    return found


def rollout(attention: Sequence[Tensor], schedule: PromptSchedule) -> Tensor:
    """Where the class token's output looks: `[B, S]`, shares that sum to 1.

    Args:
        attention: `[B, L, L]` of each layer.
        schedule: of the prompts. What a removed prompt had seen is lost unless other tokens looked at it; a
            prompt that joins is a source of its own.

    Returns:
        The class token, the patches row by row, then the prompts in the order in which they joined.
    """
    length, device = attention[0].shape[-1] - schedule.plans[0].added, attention[0].device
    total = torch.eye(length, device=device).expand(len(attention[0]), -1, -1)  # [B, L, S]
    for plan, layer in zip(schedule.plans, attention, strict=True):
        total = F.pad(total[:, : total.shape[1] - plan.removed], (0, plan.added, 0, plan.added))
        new = torch.arange(1, plan.added + 1, device=device)
        total[:, -new, -new] = 1.0
        total = (layer @ total + total) / 2
    return total[:, 0]


def look(model: PromptedCLIP, images: Tensor) -> Tensor:
    """Shares of attention on the patches, `[B, G, G]`; the rest is on the class token and the prompts."""
    attention, prompts = attention_of(model, images), model.prompt_learner.vision()
    shares = rollout(attention, prompts.schedule if prompts else PromptSchedule(len(attention), 0))
    side = math.isqrt(model.clip.visual.n_patches)  # type: ignore[arg-type]
    return shares[:, 1 : 1 + side**2].unflatten(1, (side, side)).cpu()


@torch.no_grad()
def attention_figures(classifier: PromptClassifier, paths: Sequence[str | Path]) -> Iterator[Any]:
    """A matplotlib figure an image: attention and class probabilities of plain CLIP and of the prompted CLIP.

    Plain CLIP reads the class names in the template of the training's dataset.
    """
    from matplotlib.figure import Figure  # here, since it takes a second

    file, names, clip = classifier.file, classifier.classnames, classifier.model.clip
    models = {f"With {file.method}'s prompts": classifier.model}
    if not file.templates:  # else the classifier is plain CLIP itself
        prompts = FixedPrompts(clip, names, [TEMPLATES.get(file.dataset or "", DEFAULT_TEMPLATE)])
        plain = ZeroshotModel(clip, prompts, classifier.model.precision).to(classifier.device)
        models = {"Plain CLIP": plain, **models}
    for path in paths:
        image = read_image(str(path))
        side = min(image.size)
        square = ImageOps.fit(image, (side, side))  # the part that CLIP is shown
        images = classifier.transform(image)[None].to(classifier.device)
        seen = [look(model, images)[0] for model in models.values()]
        most, extent = max(float(shares.max()) for shares in seen), (0, side, side, 0)  # one colour scale
        figure = Figure(figsize=(9, 3 * len(models)), layout="constrained")
        rows = figure.subplots(len(models), 3, squeeze=False)
        for (label, model), shares, axes in zip(models.items(), seen, rows, strict=True):
            axes[0].imshow(square)
            axes[0].set_title(label, loc="left")
            axes[1].imshow(square.convert("L"), cmap="gray")
            axes[1].imshow(shares.numpy(), cmap="inferno", vmin=0, vmax=most, alpha=0.7, extent=extent)
            axes[1].set_title(f"{float(shares.sum()):.0%} of the attention is on patches", size=9)
            for ax in axes[:2]:
                ax.set(xticks=[], yticks=[])
            best = model(images)[0].float().softmax(dim=-1).cpu().topk(min(N_BARS, len(names)))
            axes[2].barh([names[i] for i in best.indices], best.values.tolist())
            axes[2].invert_yaxis()
            axes[2].set(xlim=(0, 1), title="Probabilities")
        yield figure


def write_figures(classifier: PromptClassifier, paths: Sequence[str], folder: Path) -> None:
    """Write `attention_figures` as a PNG an image; the second of one name gets its number, too."""
    written: set[Path] = set()
    figures = attention_figures(classifier, paths)
    for number, (source, figure) in enumerate(zip(paths, figures, strict=True), 1):
        path = folder / f"{Path(source).stem}.png"
        path = path.with_stem(f"{path.stem}-{number}") if path in written else path
        written.add(path)
        figure.savefig(path, dpi=150)
        print(f"Explained {source} in {path}", file=sys.stderr)
