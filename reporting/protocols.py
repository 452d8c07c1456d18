"""Which experiment each run belongs to, told from its `result.json`: base-to-new, cross-dataset, domain generalisation or few-shot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .published import IMAGENET, IMAGENET_VARIANTS
from .runs import HALVES, RESULT_NAME, Run, read_result

PROTOCOLS = {
    "base2new": "Base-to-new generalisation",
    "xd": "Cross-dataset transfer",
    "dg": "Domain generalisation",
    "fewshot": "Few-shot learning",
}
SOURCE_FOLDER = "crossdataset"  # part of OUTPUT_DIR by which the launchers mark a training that other datasets are tested on
UNTRAINED_SHOTS = 0  # the column of methods that see no training pictures


class Slot(NamedTuple):
    """The place in a table that one run fills."""

    dataset: str
    metric: str
    seed: int


@dataclass
class Experiment:
    """The runs of one table, before anything is averaged.

    Args:
        protocol: a key of `PROTOCOLS`.
        shots: training pictures a class; 0 for few-shot tables, whose columns are the shots.
        source: the dataset that was trained on, for xd and dg.
        runs: method's label -> place -> run.
        notes: sentences on runs that were left out or chosen among.
    """

    protocol: str
    shots: int = 0
    source: str = ""
    runs: dict[str, dict[Slot, Run]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def all_runs(self) -> list[Run]:
        """Every run of the table."""
        return [run for slots in self.runs.values() for run in slots.values()]

    @property
    def settings_of_labels(self) -> dict[str, dict[str, Any]]:
        """The settings of each label's first run."""
        return {label: next(iter(slots.values())).settings for label, slots in self.runs.items() if slots}


class _Placed(NamedTuple):
    run: Run
    slot: Slot


def sort_into_experiments(runs: Sequence[Run]) -> tuple[list[Experiment], list[str]]:
    """Sort `runs` into the tables that they belong to.

    Zero-shot runs on all classes join every table that has their dataset; where none has, they make a cross-dataset table of their own.

    Returns:
        The experiments, in the order of `PROTOCOLS`, and sentences on runs that belong to none.
    """
    notes: list[str] = []
    placed: dict[tuple[str, int, str], list[_Placed]] = defaultdict(list)
    source_of = {run.run_dir: _source(run, runs) for run in runs if run.classes == "all" and run.trained_dir is not None}
    source_dirs = {source.run_dir for source in source_of.values() if isinstance(source, Run)} & {run.run_dir for run in runs}
    untrained = []
    for run in runs:
        if run.classes in HALVES:
            placed["base2new", run.shots if run.is_learned else UNTRAINED_SHOTS, ""].append(_slot(run, run.classes))
        elif run.run_dir in source_of:
            _place_transfer(run, source_of[run.run_dir], placed, notes)
        elif not run.has_trained:
            untrained.append(run)
        elif run.run_dir not in source_dirs and SOURCE_FOLDER not in _written_to(run).parts:
            placed["fewshot", 0, ""].append(_slot(run, str(run.shots)))
    _place_sources([run for run in runs if run.has_trained and run.classes == "all"], source_dirs, placed)
    _spread_untrained_halves(placed)
    _place_untrained(untrained, placed)
    order = list(PROTOCOLS)
    keys = sorted(placed, key=lambda key: (order.index(key[0]), key[2] != IMAGENET, key[2], key[1]))
    return [_experiment(*key, placed[key]) for key in keys if placed[key]], notes


def _slot(run: Run, metric: str) -> _Placed:
    return _Placed(run, Slot(run.dataset, metric, run.seed))


def _written_to(run: Run) -> Path:
    """The folder that the run was written to, which may not be where it lies now."""
    return Path(str(run.result.get("config", {}).get("OUTPUT_DIR", "")))


def _source(run: Run, runs: Sequence[Run]) -> Run | str | None:
    """The training that `run` tested, among `runs` or where it was; where it is not at hand ImageNet, if the folder's name says so, or None."""
    trained_dir = run.trained_dir
    if trained_dir is None:
        return None
    for other in runs:
        if trained_dir in (other.run_dir, _written_to(other)) and other.has_trained:
            return other
    try:
        return Run(trained_dir, read_result(trained_dir / RESULT_NAME))
    except ValueError:
        return IMAGENET if IMAGENET.lower() in trained_dir.parts else None


def _place_transfer(run: Run, source: Run | str | None, placed: Mapping[Any, list[_Placed]], notes: list[str]) -> None:
    """Put a test of a training on another dataset where it belongs."""
    name = source.dataset if isinstance(source, Run) else source
    if name is None:
        notes.append(
            f"left out: {run.run_dir} tests a training in {run.trained_dir}, which is not at hand to say its dataset; give its folder as well"
        )
    elif name == run.dataset:
        notes.append(f"left out: {run.run_dir} tests a training once more on its own dataset, {name}")
    else:
        protocol = "dg" if name == IMAGENET and run.dataset in IMAGENET_VARIANTS else "xd"
        shots = source.shots if isinstance(source, Run) else run.shots  # of the training; the test itself needs none
        placed[protocol, max(shots, 0), name].append(_slot(run, "accuracy"))


def _place_sources(trained: Sequence[Run], source_dirs: set[Path], placed: dict[tuple[str, int, str], list[_Placed]]) -> None:
    """Put each training that was tested on other datasets, or was written to be, into the tables of these tests."""
    for run in trained:
        if run.run_dir not in source_dirs and SOURCE_FOLDER not in _written_to(run).parts:
            continue
        keys = [key for key in placed if key[0] in ("xd", "dg") and key[1:] == (run.shots, run.dataset)]
        for key in keys or [("xd", run.shots, run.dataset)]:
            placed[key].append(_slot(run, "accuracy"))


def _spread_untrained_halves(placed: dict[tuple[str, int, str], list[_Placed]]) -> None:
    """Zero-shot base and new join the base-to-new tables, of whatever shots, that have their dataset; those that find none make a table of their own."""
    own_table = ("base2new", UNTRAINED_SHOTS, "")
    present = {key: {p.slot.dataset for p in group} for key, group in placed.items() if key[0] == "base2new" and key != own_table}
    for p in placed.pop(own_table, []):
        for key in [key for key, datasets in present.items() if p.slot.dataset in datasets] or [own_table]:
            placed[key].append(p)


def _place_untrained(untrained: Sequence[Run], placed: dict[tuple[str, int, str], list[_Placed]]) -> None:
    """Zero-shot runs on all classes join the tables that have their dataset."""
    present = {key: {p.slot.dataset for p in group} for key, group in placed.items() if key[0] != "base2new"}
    for run in untrained:
        keys = [key for key, datasets in present.items() if run.dataset in datasets]
        for key in keys:
            placed[key].append(_slot(run, str(UNTRAINED_SHOTS) if key[0] == "fewshot" else "accuracy"))
        if not keys:
            placed["dg" if run.dataset in IMAGENET_VARIANTS else "xd", 0, IMAGENET].append(_slot(run, "accuracy"))


def _experiment(protocol: str, shots: int, source: str, placed: Sequence[_Placed]) -> Experiment:
    """Name the rows and choose one run for each place."""
    experiment = Experiment(protocol, shots, source)
    by_method: dict[str, list[_Placed]] = defaultdict(list)
    for p in placed:
        by_method[p.run.method].append(p)
    for method, group in by_method.items():
        telling = _telling_settings(group)
        for p in group:
            slots = experiment.runs.setdefault(_label(method, telling, p.run), {})
            rival = slots.get(p.slot)
            if rival is not None:
                newer, older = sorted((p.run, rival), key=lambda run: str(run.result.get("ended")), reverse=True)
                experiment.notes.append(f"left out: {older.run_dir}, a run like {newer.run_dir}, which is newer")
                slots[p.slot] = newer
            else:
                slots[p.slot] = p.run
    return experiment


def _telling_settings(placed: Iterable[_Placed]) -> list[str]:
    """The settings that differ between runs of one method for the same place: such runs are rows of their own.

    A setting that differs only from one dataset to another is the method's way (CoOp's epochs) and makes no second row.
    """
    rivals: dict[Slot, list[Run]] = defaultdict(list)
    for p in placed:
        rivals[p.slot].append(p.run)
    telling: set[str] = set()
    for runs in rivals.values():
        telling.update(differing_settings([run.settings for run in runs]))
    return sorted(telling)


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dotted keys whose values are not the same in all of `settings`."""
    keys = {key for s in settings for key in s}
    return sorted(key for key in keys if any(s.get(key) != settings[0].get(key) for s in settings))


def _label(method: str, telling: Sequence[str], run: Run) -> str:
    if not telling:
        return method
    return f"{method} ({', '.join(f'{short_key(key, telling)} {run.settings.get(key)}' for key in telling)})"


def short_key(key: str, among: Sequence[str]) -> str:
    """The last part of a dotted key, or all of it where two of `among` would read alike."""
    last = key.rsplit(".", 1)[-1]
    return key if last == "NAME" or sum(other.rsplit(".", 1)[-1] == last for other in among) > 1 else last
