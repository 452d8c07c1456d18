"""The three operations on prompt tokens, add, remove and carry, and the schedule that says what happens before each layer.

A tower's sequence holds its own tokens (class token and patches, or the words of a text) and, side by side in one *span*, its prompts.
Before each layer the last prompts of the span may be removed, those left are carried, and new ones may be added at its end (MPL,
arXiv 2502.14125, section 2). Nothing outside the span is ever touched.

Letters of shapes: N sequences (B images or C texts), L tokens, D width, P prompts. Layers are counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class PromptSpan(NamedTuple):
    """Where the prompts stand in a sequence: ``length`` tokens from position ``start`` on."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        """Position after the last prompt."""
        return self.start + self.length


def remove(tokens: Tensor, span: PromptSpan, n_remove: int) -> tuple[Tensor, PromptSpan]:
    """``tokens`` ``[N, L, D]`` without the last ``n_remove`` prompts of ``span``, and the span that is left.

    Raises:
        ValueError: fewer prompts are present, so that a patch or a word would be cut away.
    """
    return update(tokens, span, n_remove, None)


def add(tokens: Tensor, span: PromptSpan, prompts: Tensor) -> tuple[Tensor, PromptSpan]:
    """``tokens`` ``[N, L, D]`` with ``prompts`` (``[P, D]``, or ``[N, P, D]`` one set a sequence) put at the end of ``span``, and the longer span."""
    return update(tokens, span, 0, prompts)


def carry(tokens: Tensor, span: PromptSpan) -> Tensor:
    """The prompts ``[N, P, D]`` that are present in ``tokens`` ``[N, L, D]``: what the next layer is handed."""
    return tokens[:, span.start : span.stop]


def update(tokens: Tensor, span: PromptSpan, n_remove: int, prompts: Tensor | None) -> tuple[Tensor, PromptSpan]:
    """Remove, then add, in one copy of the sequence; prompts are cast here, once, to what the tower computes in.

    Args:
        tokens: ``[N, L, D]``.
        span: where the prompts stand in ``tokens``.
        n_remove: how many of the last prompts go, 0 to ``span.length``.
        prompts: what is added at the span's end, ``[P, D]`` or ``[N, P, D]``, or None.

    Returns:
        The new sequence ``[N, L - n_remove + P, D]`` and its span.

    Raises:
        ValueError: ``n_remove`` is negative or above the number of prompts present.
    """
    if not 0 <= n_remove <= span.length:
        raise ValueError(f"{n_remove} prompts cannot be removed where {span.length} are present: patch and word tokens are never removed")
    n_add = 0 if prompts is None else prompts.shape[-2]
    if n_remove == 0 and n_add == 0:
        return tokens, span
    before, _, behind = tokens.split([span.stop - n_remove, n_remove, tokens.shape[1] - span.stop], dim=1)
    added = [] if prompts is None else [prompts.to(tokens.dtype).expand(tokens.shape[0], -1, -1)]
    return torch.cat([before, *added, behind], dim=1), PromptSpan(span.start, span.length - n_remove + n_add)


class LayerPlan(NamedTuple):
    """What happens before one layer, in numbers of prompts."""

    layer_index: int
    carried: int
    removed: int
    added: int

    @property
    def total(self) -> int:
        """Prompts that the layer sees."""
        return self.carried + self.added


class PromptSchedule:
    """How many prompts are removed, carried and added before each layer of a tower; checked when it is built.

    Args:
        n_layers: layers of the tower, at least 1.
        n_initial: prompts that join before layer 0.
        n_add: prompts added before layers 1, 2, …; layers beyond its end add none.
        n_remove: prompts removed before layers 1, 2, …, before the adding; layers beyond its end remove none.
        tower: name of the tower, for messages and the table.

    Raises:
        TypeError: a count is no integer.
        ValueError: a count is negative, a layer removes more prompts than it holds, or there are more entries than layers.
    """

    def __init__(
        self, n_layers: int, n_initial: int, n_add: Sequence[int] = (), n_remove: Sequence[int] = (), tower: str = "tower"
    ) -> None:
        for count in (n_layers, n_initial, *n_add, *n_remove):
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(f"a prompt schedule is made of integers; received {count!r} for the {tower}")
            if count < 0:
                raise ValueError(f"a prompt schedule has no negative counts; received {count} for the {tower}")
        if n_layers < 1:
            raise ValueError(f"the {tower} has {n_layers} layers; a schedule needs at least 1")
        depth = 1 + max(len(n_add), len(n_remove))
        if depth > n_layers:
            raise ValueError(f"the schedule reaches {depth} layers deep, but the {tower} has {n_layers} layers")
        self.tower = tower
        self.plans = [LayerPlan(0, carried=0, removed=0, added=n_initial)]
        for layer_index in range(1, n_layers):
            present = self.plans[-1].total
            added = n_add[layer_index - 1] if layer_index <= len(n_add) else 0
            removed = n_remove[layer_index - 1] if layer_index <= len(n_remove) else 0
            if removed > present:
                raise ValueError(
                    f"layer {layer_index} of the {tower} would remove {removed} prompts where {present} are present; "
                    "patch and word tokens are never removed. Remove fewer, or add more in the layers before."
                )
            self.plans.append(LayerPlan(layer_index, present - removed, removed, added))

    @classmethod
    def replace_all(cls, n_layers: int, n_prompts: int, depth: int, tower: str = "tower") -> PromptSchedule:
        """The schedule of deep prompts that are all replaced (VPT-Deep, arXiv 2203.12119): layers 1 to ``depth - 1`` replace all ``n_prompts`` by new ones."""
        if depth < 1:
            raise ValueError(f"prompts of the {tower} need a depth of 1 or more; received {depth}")
        return cls(n_layers, n_prompts, [n_prompts] * (depth - 1), [n_prompts] * (depth - 1), tower)

    @property
    def n_layers(self) -> int:
        """Layers of the tower."""
        return len(self.plans)

    @property
    def n_initial(self) -> int:
        """Prompts that join before layer 0."""
        return self.plans[0].added

    @property
    def n_final(self) -> int:
        """Prompts present when the last layer is done."""
        return self.plans[-1].total

    @property
    def n_present(self) -> list[int]:
        """Prompts that each layer sees, one entry a layer."""
        return [plan.total for plan in self.plans]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptSchedule) and self.plans == other.plans

    def __hash__(self) -> int:
        return hash(tuple(self.plans))

    def __repr__(self) -> str:
        return f"PromptSchedule({self.tower}: {', '.join(map(str, self.n_present))})"

    def __str__(self) -> str:
        header = ("layer", "carried", "removed", "added", "total")
        rows = [(p.layer_index, p.carried, p.removed, p.added, p.total) for p in self.plans]
        lines = ["  ".join(f"{cell:>7}" for cell in row) for row in (header, *rows)]
        return "\n".join([f"Prompts of the {self.tower}", *lines])


@dataclass(frozen=True)
class LayerPrompts:
    """A schedule together with the tokens that it adds.

    Args:
        schedule: counts for every layer.
        tokens: one entry for each layer that may add, from layer 0 on: ``[P, D]``, ``[N, P, D]`` or None; layers beyond its end add none.

    Raises:
        ValueError: the number of tokens of a layer is not what the schedule adds there.
    """

    schedule: PromptSchedule
    tokens: Sequence[Tensor | None]

    def __post_init__(self) -> None:
        if len(self.tokens) > self.schedule.n_layers:
            raise ValueError(
                f"prompts for {len(self.tokens)} layers do not fit the {self.schedule.n_layers} layers of the {self.schedule.tower}"
            )
        for plan in self.schedule.plans:
            given = self._at(plan.layer_index)
            n_given = 0 if given is None else given.shape[-2]
            if n_given != plan.added:
                raise ValueError(f"layer {plan.layer_index} of the {self.schedule.tower} adds {plan.added} prompts; received {n_given}")

    def _at(self, layer_index: int) -> Tensor | None:
        return self.tokens[layer_index] if layer_index < len(self.tokens) else None

    @property
    def initial(self) -> Tensor | None:
        """Tokens that join before layer 0, or None."""
        return self._at(0)

    def before_layer(self, layer_index: int, tokens: Tensor, span: PromptSpan) -> tuple[Tensor, PromptSpan]:
        """``tokens`` ``[N, L, D]`` as layer ``layer_index`` (1 or more) is to see them, and where the prompts then stand."""
        plan = self.schedule.plans[layer_index]
        return update(tokens, span, plan.removed, self._at(layer_index))
