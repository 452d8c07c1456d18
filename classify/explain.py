"""A figure of why a picture got its class: where the class token looks, and what speaks for the class, without and with the learned prompts.

Two maps over the patches, each on one scale for both rows of the figure:

- *gaze*, attention rollout (Abnar & Zuidema 2020): what share of the class token's attention, through all layers, falls on a patch. It does not depend
  on the class names. Shown as multiples of the share that a patch would have if all patches were looked at alike and nothing else.
- *evidence*, gradient-weighted attention (Chefer et al. 2021): how much attention to a patch raises the class's lead, in logits. The lead is the logit
  less the mean logit of all classes (our choice: what raises all classes alike is no evidence for one).

A ResNet has no class token; its attention pooling, whose query is the mean of the feature map, stands for it.

Letters of shapes: C classes, G patches a side, R the pictures' side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from dassl.utils import read_image
from trainers.prompted_clip import PromptedCLIP
from trainers.templates import DEFAULT_TEMPLATE, template_of
from trainers.zsclip import FixedPrompts, ZeroshotModel

from .attention import relevance, rollout, watch_attention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from .classifier import PromptClassifier

N_BARS = 5  # classes shown in a row of the figure
ACCENT, QUIET, INK = "#c2410c", "#94a3b8", "#1f2937"
SOURCES = (
    "Gaze: attention rollout (Abnar & Zuidema 2020). Evidence: gradient-weighted attention (Chefer et al. 2021). One colour scale a column."
)
COLOUR_MAP = "inferno"  # even in lightness, readable in grey and by the colour-blind


@dataclass(frozen=True)
class Look:
    """How one model sees one picture.

    Attributes:
        probabilities: ``[C]``.
        explained: index of the class that :attr:`evidence` is about.
        gaze: ``[G, G]``, share of the class token's attention on each patch.
        gaze_on_class_token, gaze_on_prompts: the shares that go elsewhere; with the sum of :attr:`gaze` they make 1.
        evidence: ``[G, G]``, 0 or more, logits.
    """

    probabilities: Tensor
    explained: int
    gaze: Tensor
    gaze_on_class_token: float
    gaze_on_prompts: float
    evidence: Tensor


def look(model: PromptedCLIP, image: Tensor, explained: int | None = None, text_features: Tensor | None = None) -> Look:
    """What ``model`` looks at in a picture.

    Args:
        model: any prompted CLIP; its parameters and their gradients are left as they are.
        image: ``[3, R, R]``, normalised as the model needs it.
        explained: index of the class whose evidence is sought; by default the most probable one.
        text_features: ``[C, E]``, if they are at hand and do not depend on the picture.
    """
    prompts = model.prompt_learner.vision()
    schedule = None if prompts is None else prompts.schedule
    images = image.detach().unsqueeze(0).requires_grad_(True)  # so that attentions have gradients whatever is frozen
    with torch.enable_grad(), watch_attention(model.clip.visual) as record:
        logits = model(images) if text_features is None else model.logits(model.image_features(images), text_features)
        logits = logits[0].float()  # [C]
        explained = int(logits.argmax()) if explained is None else explained
        lead = logits[explained] - (logits.mean() if len(logits) > 1 else 0.0)
        gradients = record.gradients(lead)
    gaze = rollout(record.weights, schedule)[0].cpu()
    evidence = relevance(record.weights, gradients, schedule)[0].cpu()
    n_patches = record.layers[0].n_keys - 1 - (0 if schedule is None else schedule.n_initial)
    side = round(n_patches**0.5)
    return Look(
        probabilities=logits.detach().softmax(dim=-1).cpu(),
        explained=explained,
        gaze=gaze[1 : 1 + n_patches].view(side, side),
        gaze_on_class_token=float(gaze[0]),
        gaze_on_prompts=float(gaze[1 + n_patches :].sum()),
        evidence=evidence[1 : 1 + n_patches].view(side, side),
    )


def plain_clip(model: PromptedCLIP, classnames: Sequence[str], template: str = DEFAULT_TEMPLATE) -> ZeroshotModel:
    """The same frozen CLIP without learned prompts, with ``template`` for the class names."""
    device = model.clip.logit_scale.device
    return ZeroshotModel(model.clip, FixedPrompts(model.clip, classnames, [template]), model.precision).to(device).requires_grad_(False)


def central_square(picture: Image.Image) -> Image.Image:
    """The part of ``picture`` that CLIP is shown, RGB, at the picture's own resolution."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.convert("RGB").crop((left, top, left + side, top + side))


class Explainer:
    """Explains pictures to one classifier's classes; features of the class names are computed once.

    Args:
        classifier: a loaded prompt file with its class names.
    """

    def __init__(self, classifier: PromptClassifier) -> None:
        self.classifier = classifier
        self._plain: tuple[ZeroshotModel, Tensor] | None = None  # the model and its text features [C, E]
        self._plain_names: tuple[str, ...] = ()

    def looks(self, picture: Image.Image) -> list[tuple[str, Look]]:
        """Label and :class:`Look` of plain CLIP and of CLIP with the prompts, both about the class that the latter finds most probable.

        Plain CLIP is told the classes by the template of the dataset of the training, "a photo of a {}." where that has none. A file with
        hand-written prompts is plain CLIP itself and gives a single entry.
        """
        classifier = self.classifier
        image = classifier.transform(picture.convert("RGB")).to(classifier.device)
        text_features = None if classifier.depends_on_picture else classifier.encode_text()
        prompted = look(classifier.model, image, text_features=text_features)
        if classifier.file.templates:
            return [("CLIP", prompted)]
        plain, plain_features = self._plain_clip()
        label = f"With {classifier.file.method}’s prompts"
        return [("Plain CLIP", look(plain, image, prompted.explained, plain_features)), (label, prompted)]

    def figure(self, picture: Image.Image, title: str = "") -> Figure:
        """The figure of one picture; ``title`` says which."""
        looks = self.looks(picture)
        explained, share = looks[-1][1].explained, float(looks[-1][1].probabilities.max())
        answer = f"{self.classifier.classnames[explained]} ({share:.0%})"
        return draw(central_square(picture), self.classifier.classnames, looks, f"{title}: {answer}" if title else answer)

    def write(self, picture: str | Path | Image.Image, path_out: str | Path) -> Path:
        """Draw the figure of one picture into a file; arguments and errors are those of :func:`explain_picture`."""
        path_out = Path(path_out)
        if isinstance(picture, Image.Image):
            figure = self.figure(picture)
        else:
            figure = self.figure(read_image(str(picture)), Path(picture).name)
        path_out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path_out, dpi=150)
        return path_out

    def _plain_clip(self) -> tuple[ZeroshotModel, Tensor]:
        names = self.classifier.classnames
        if self._plain is None or self._plain_names != names:
            model = plain_clip(self.classifier.model, names, template_of(self.classifier.file.dataset or ""))
            with torch.no_grad():
                self._plain, self._plain_names = (model, model.text_features()), names
        return self._plain


def explain_picture(classifier: PromptClassifier, picture: str | Path | Image.Image, path_out: str | Path) -> Path:
    """Draw the figure of one picture; for many, :meth:`Explainer.write` computes the features of the class names once.

    Args:
        classifier: a loaded prompt file with its class names.
        picture: a path or a PIL picture.
        path_out: where the figure goes; the ending gives the format (.png, .pdf, .svg).

    Returns:
        ``path_out``.

    Raises:
        ImageError: the picture cannot be read.
        ValueError: the ending is of no format that matplotlib writes.
    """
    return Explainer(classifier).write(picture, path_out)


def draw(square: Image.Image, classnames: Sequence[str], rows: Sequence[tuple[str, Look]], title: str) -> Figure:
    """The figure of one picture: a row a model, with gaze, evidence and the most probable classes.

    Args:
        square: what the models were shown.
        classnames: C names.
        rows: label and :func:`look` of each model, all about the same class; the colours of a map mean the same in all rows.
        title: what stands above.
    """
    from matplotlib.figure import Figure  # takes a second, and only those who draw need it

    explained = rows[0][1].explained
    figure = Figure(figsize=(10, 2.6 * len(rows) + 1.1), facecolor="white")
    figure.set_layout_engine("constrained", rect=(0, 0.07, 1, 0.86), w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(len(rows), 4, width_ratios=[1, 1, 1, 1.25], squeeze=False)
    figure.text(0.012, 0.965, title, size=15, weight="bold", color=INK, va="center", parse_math=False)
    even = rows[0][1].gaze.numel()
    maps = (
        ("Gaze: where the class token looks", "times an even share", [one.gaze * even for _, one in rows]),
        (f"Evidence for “{classnames[explained]}”", "logits", [one.evidence for _, one in rows]),
    )
    for column, (name, unit, grids) in enumerate(maps, start=1):
        most = max(float(grid.max()) for grid in grids) or 1.0
        for row, grid in enumerate(grids):
            shown = _overlay(axes[row, column], square, grid, most)
        axes[0, column].set_title(name, size=10, color=INK, parse_math=False)
        bar = figure.colorbar(shown, ax=axes[:, column], location="bottom", shrink=0.75, aspect=30, pad=0.02)
        bar.set_label(unit, size=8, color=INK)
        bar.ax.tick_params(labelsize=8, color=QUIET)
        bar.outline.set_visible(False)
    for row, (label, one) in enumerate(rows):
        axes[row, 0].imshow(square, interpolation="lanczos")
        axes[row, 0].set_title(label, size=10, weight="bold", color=INK, loc="left", parse_math=False)
        axes[row, 1].set_xlabel(_elsewhere(one), size=8, color=INK)
        _bars(axes[row, 3], classnames, one)
        for ax in axes[row, :3]:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    axes[0, 3].set_title("Probabilities", size=10, color=INK)
    figure.text(0.012, 0.025, SOURCES, size=7.5, color="#64748b", va="center")
    return figure


def _overlay(ax: Axes, square: Image.Image, grid: Tensor, most: float) -> AxesImage:
    """Lay ``grid`` ``[G, G]`` over the grey picture; ``most`` is the value of the brightest colour."""
    extent = (0, square.width, square.height, 0)
    ax.imshow(square.convert("L"), cmap="gray", extent=extent, interpolation="lanczos")
    return ax.imshow(grid.numpy(), cmap=COLOUR_MAP, vmin=0, vmax=most, alpha=0.72, extent=extent, interpolation="bicubic")


def _elsewhere(one: Look) -> str:
    """Where the attention goes that no patch gets."""
    shares = [("itself", one.gaze_on_class_token), ("prompts", one.gaze_on_prompts)]
    return ", ".join([f"{float(one.gaze.sum()):.0%} on patches", *(f"{share:.0%} on {name}" for name, share in shares if share > 0)])


def _bars(ax: Axes, classnames: Sequence[str], one: Look) -> None:
    """The most probable classes as bars, the explained one in the accent colour and always among them."""
    best = one.probabilities.argsort(descending=True).tolist()
    chosen = best[:N_BARS] if one.explained in best[:N_BARS] else [*best[: N_BARS - 1], one.explained]
    for place, index in enumerate(chosen):
        share = float(one.probabilities[index])
        colour = ACCENT if index == one.explained else QUIET
        ax.barh(place, 1, height=0.34, color="#f1f5f9")
        ax.barh(place, share, height=0.34, color=colour)
        ax.text(0, place - 0.42, _shortened(classnames[index]), size=9, color=INK, va="center", parse_math=False)
        ax.text(1, place - 0.42, f"{share:.1%}", size=9, color=INK, va="center", ha="right")
    ax.set(xlim=(0, 1), ylim=(max(len(chosen), 3) - 0.4, -0.8), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _shortened(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
