"""What the runs of a table ran on, and whether it is the same for all of its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .protocols import Slot
from .runs import Run

FACTS = {  # heading -> where a run says it; None where it does not
    "hardware": lambda run: run.result.get("device"),
    "commit": lambda run: run.commit(12),
    "PREC": lambda run: run.precision,
    "PyTorch": lambda run: (run.result.get("versions") or {}).get("torch"),
    "backbone": lambda run: run.result.get("backbone"),
}


@dataclass(frozen=True)
class Provenance:
    """What runs ran on.

    Args:
        facts: heading -> value -> how many runs.
        where: heading -> value -> methods whose runs have it.
    """

    facts: Mapping[str, Mapping[str, int]]
    where: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def lines(self) -> list[str]:
        """One line a heading."""
        return [f"{heading}: {_listed(counts)}" for heading, counts in self.facts.items() if counts]

    @property
    def warnings(self) -> list[str]:
        """One sentence a heading in which the cells of the table differ."""
        sentences = []
        for heading, counts in self.facts.items():
            if len(counts) > 1:
                told = "; ".join(
                    f"{value}: {n} run{'s' * (n > 1)} ({', '.join(self.where[heading][value])})" for value, n in counts.items()
                )
                sentences.append(f"the cells of this table differ in {heading}: {told}")
        return sentences


def provenance_of(runs: Mapping[str, Mapping[Slot, Run]]) -> Provenance:
    """What the runs of each label ran on."""
    facts, where = {}, {}
    for heading, fact in FACTS.items():
        told = [(fact(run), label) for label, slots in runs.items() for run in slots.values()]
        known = [(str(value), label) for value, label in told if value is not None]
        facts[heading] = dict(Counter(value for value, _ in known).most_common())
        where[heading] = {value: tuple(dict.fromkeys(label for v, label in known if v == value)) for value in facts[heading]}
    return Provenance(facts, where)


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({n} run{'s' * (n > 1)})" for value, n in counts.items())
