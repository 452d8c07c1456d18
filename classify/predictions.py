"""What a classifier says of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClassScore:
    """One class for one picture.

    Args:
        name: the class name, as it was given.
        probability: softmax of the logits over all classes that were given, 0 to 1.
        logit: ``exp(logit_scale)`` times the cosine of the picture's and the class's features.
    """

    name: str
    probability: float
    logit: float


@dataclass(frozen=True)
class Prediction:
    """The likeliest classes of one picture, the likeliest first.

    Args:
        source: the picture's path; None for a picture that was given as such.
        scores: at least one.
    """

    source: str | None
    scores: tuple[ClassScore, ...]

    @property
    def name(self) -> str:
        """The likeliest class."""
        return self.scores[0].name

    @property
    def probability(self) -> float:
        """Its probability, 0 to 1."""
        return self.scores[0].probability

    def __str__(self) -> str:
        return ", ".join(f"{score.name} {100 * score.probability:.1f}%" for score in self.scores)


def top_scores(logits: Tensor, classnames: Sequence[str], top: int) -> tuple[ClassScore, ...]:
    """The ``top`` likeliest of the classes, or all if there are fewer.

    Args:
        logits: ``[C]``, on the CPU.
        classnames: C names.
        top: 1 or more.

    Raises:
        ValueError: ``top`` is below 1.
    """
    if top < 1:
        raise ValueError(f"top is {top}; at least 1 class is shown")
    probabilities = logits.double().softmax(dim=-1)
    order = logits.argsort(descending=True, stable=True)[:top].tolist()  # stable: of equal classes the first
    return tuple(ClassScore(classnames[i], float(probabilities[i]), float(logits[i])) for i in order)
