"""The prompts of both towers through the layers, as the MPL paper's figure 1 shows them, drawn from the schedules that will run."""

from __future__ import annotations

from matplotlib import colormaps, colors, patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip import PromptSchedule

from .figures import new_figure, styled
from .schedules import MethodSchedules, token_origins

SIDE = 0.84  # of a token's square, in units of the distance from one to the next
MOST_SQUARES = 24  # above so many prompts in a layer, a layer is drawn as stacked bars of the same height


@styled
def schedule_figure(schedules: MethodSchedules) -> Figure:
    """A panel for each tower that has prompts: a column a layer, a square a prompt, coloured and numbered by the layer that added it.

    Added prompts have a thick frame; what a layer removes is drawn above it as a dashed, empty square.

    Raises:
        ValueError: the method learns no prompt.
    """
    towers = [(name, schedule) for name, schedule in schedules.towers if schedule is not None]
    if not towers:
        raise ValueError(f"{schedules.method} learns no prompt in either tower: there is no schedule to draw")
    heights = [max(len(present) + len(removed) for present, removed in token_origins(schedule)) for _, schedule in towers]
    n_layers = max(schedule.n_layers for _, schedule in towers)
    unit = 0.40
    drawn = [min(height, MOST_SQUARES) for height in heights]
    figure = new_figure(max(4.4, 1.0 + unit * n_layers), 1.1 + sum(unit * (height + 1.4) + 0.75 for height in drawn))
    panels = figure.subplots(len(towers), 1, squeeze=False, height_ratios=[height + 2.2 for height in drawn])[:, 0]
    for axes, (name, schedule), height in zip(panels, towers, heights, strict=True):
        _draw_tower(axes, name, schedule, height, n_layers)
    panels[-1].set_xlabel("layer")
    figure.suptitle(f"{schedules.method} on {schedules.backbone}", x=0.02, ha="left", fontweight="bold")
    _legend(figure)
    return figure


def _draw_tower(axes: Axes, name: str, schedule: PromptSchedule, height: int, n_layers: int) -> None:
    palette = colormaps["viridis"]
    for layer, (present, removed) in enumerate(token_origins(schedule)):
        for place, origin in enumerate(present):
            face = palette(0.12 + 0.83 * origin / max(1, schedule.n_layers - 1))
            is_new = origin == layer
            axes.add_patch(_square(layer, place, facecolor=face, edgecolor="#222222" if is_new else "white", lw=1.8 if is_new else 0.6))
            if height <= MOST_SQUARES:
                dark = sum(c * w for c, w in zip(colors.to_rgb(face), (0.3, 0.59, 0.11), strict=True)) < 0.5
                axes.text(layer, place, str(origin), ha="center", va="center", fontsize=8, color="white" if dark else "#222222")
        for above in range(len(removed)):
            axes.add_patch(_square(layer, len(present) + above, facecolor="none", edgecolor="#B04030", lw=1.1, ls=(0, (2, 1.5))))
        axes.text(layer, -1.05, str(len(present)), ha="center", va="center", fontsize=9, fontweight="bold", color="#333333")
    axes.text(-0.75, -1.05, "total", ha="right", va="center", fontsize=9, color="#333333")
    axes.set_title(name)
    axes.set_xlim(-0.6, n_layers - 0.4)
    axes.set_ylim(-1.5, height - 0.4)
    axes.set_xticks(range(schedule.n_layers))
    axes.set_yticks([])
    axes.set_ylabel("prompts")
    if height <= MOST_SQUARES:
        axes.set_aspect("equal", anchor="W")
    axes.grid(visible=False)
    axes.spines[["left"]].set_visible(False)
    axes.tick_params(length=0)


def _square(layer: int, place: int, **style) -> patches.Rectangle:
    return patches.Rectangle((layer - SIDE / 2, place - SIDE / 2), SIDE, SIDE, **style)


def _legend(figure: Figure) -> None:
    handles = [
        patches.Patch(facecolor="#CCCCCC", edgecolor="#222222", lw=1.8, label="added here"),
        patches.Patch(facecolor="#CCCCCC", edgecolor="white", label="carried"),
        patches.Patch(facecolor="none", edgecolor="#B04030", ls=(0, (2, 1.5)), label="removed here"),
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
        title="number: the layer that added it",
        title_fontsize=9,
    )
