"""The launcher calls that a protocol of the papers is made of."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

# CoOp, arXiv 2109.01134, section 4.1: the datasets of few-shot learning; CoCoOp, arXiv 2203.05557, sections 4.1 to 4.3: the same base-to-new; ImageNet as
# the source of the ten others (cross-dataset) and of its four variants (domain generalisation). MPL, arXiv 2502.14125, takes CoCoOp's.
IMAGENET_VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
TRANSFER_TARGETS = (
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)
ALL_ELEVEN = ("imagenet", *TRANSFER_TARGETS)
FEW_SHOTS = (1, 2, 4, 8, 16)  # CoOp, section 4.1
DEFAULT_SHOTS = 16

ZERO_SHOT_FOLDER = "zsclip"
TRAINING_NODES = ("OPTIM.", "TRAIN.", "DATALOADER.TRAIN_X.")  # settings of these begin so
OTHER_NAMES = {"ZeroshotCLIP2": ZERO_SHOT_FOLDER}  # methods that share the launchers of another


class SweepError(ValueError):
    """What was asked for cannot be planned; the message says all that is wrong."""


@dataclass(frozen=True)
class Choice:
    """What a sweep is asked to run.

    Attributes:
        methods: registered names, ``MPL``, ``ZeroshotCLIP``, …
        datasets: names of configs in configs/datasets; None for those of the protocol's papers.
        seeds: 0 or more.
        shots: training pictures a class; None for the protocol's own: 1, 2, 4, 8 and 16 of few-shot learning, else 16.
        source: what xd and dg train on; None for ImageNet, or for shapes where shapes is the only dataset.
        cfg: a config's name, for every method; None for the launchers' own choice.
        settings: KEY, VALUE pairs for every run.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: tuple[int, ...] | None = None
    source: str | None = None
    cfg: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def transfer_source(self) -> str:
        """What xd and dg train on."""
        return self.source or ("shapes" if self.datasets == ("shapes",) else "imagenet")


@dataclass(frozen=True)
class Launch:
    """One call of a launcher that makes one run.

    Attributes:
        method: registered name.
        dataset: what the run is tested on.
        part: ``base``, ``new``, ``source``, ``target`` or ``all``: the run's place in its protocol.
        shots: training pictures a class.
        seed: of the run.
        script: below scripts/.
        arguments: of the script.
        variables: environment variables that it reads, beside DATA, OUTPUT and PYTHON.
        settings: the KEY, VALUE pairs among its arguments.
    """

    method: str
    dataset: str
    part: str
    shots: int
    seed: int
    script: str
    arguments: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def is_zero_shot(self) -> bool:
        """Whether nothing is trained, so that shots and seed say nothing."""
        return self.script.startswith(f"{ZERO_SHOT_FOLDER}/")

    @property
    def title(self) -> str:
        """A few words that tell the run."""
        draw = "" if self.is_zero_shot else f" K={self.shots} seed {self.seed}"
        return f"{self.method} {self.dataset} {self.part}{draw}"


@lru_cache(maxsize=1)
def launcher_folders() -> Mapping[str, str]:
    """Method -> its folder in scripts/, as each folder's settings.sh names its TRAINER."""
    folders = {}
    for path in sorted((REPO / "scripts").glob("*/settings.sh")):
        named = re.search(r"^TRAINER=(?:\$\{TRAINER:-)?(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if named:
            folders[named.group(1)] = path.parent.name
    return folders | OTHER_NAMES


@lru_cache(maxsize=1)
def known_datasets() -> tuple[str, ...]:
    """Names of the configs in configs/datasets."""
    return tuple(sorted(path.stem for path in (REPO / "configs/datasets").glob("*.yaml")))


def check_choice(choice: Choice, protocols: Sequence[str]) -> None:
    """Refuse what no launcher can run.

    Raises:
        SweepError: unknown names of methods, datasets or protocols, each with the known ones; a test-only dataset to train on.
    """
    mistakes = _unknown("protocol", protocols, PROTOCOLS)
    mistakes += _unknown("method", choice.methods, launcher_folders())
    mistakes += _unknown("dataset", (*(choice.datasets or ()), *((choice.source,) if choice.source else ())), known_datasets())
    trained_on = [d for d in (choice.datasets or ()) if d in IMAGENET_VARIANTS]
    if trained_on and {"base2new", "fewshot"} & set(protocols):
        mistakes.append(f"{', '.join(trained_on)} cannot be trained on (test pictures alone); protocols that test on it: xd, dg")
    if mistakes:
        raise SweepError("\n".join(mistakes))


def _unknown(kind: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    known, mistakes = list(known), []
    for name in names:
        if name not in known:
            lowered = {k.lower(): k for k in known}
            near = difflib.get_close_matches(name.lower(), lowered, n=1)
            hint = f"; nearest: {lowered[near[0]]}" if near else ""
            mistakes.append(f"unknown {kind} {name!r}{hint}; known: {', '.join(known)}")
    return mistakes


def launches(protocol: str, choice: Choice) -> list[Launch]:
    """The calls of a protocol, a training before the tests that need it; zero-shot CLIP's once a seed, although they make one run."""
    return [launch for method in choice.methods for launch in PROTOCOLS[protocol](choice, method)]


def concerns(key: str, method: str) -> bool:
    """Whether a setting is no other method's; a method's own are those of its node, ``TRAINER.<ITS NAME IN CAPITALS>.…`` unless it shares another's."""
    if not key.startswith("TRAINER."):
        return True
    node = key.split(".")[1]
    return node == method.upper() or node == _settings_node(method)


def _settings_node(method: str) -> str:
    import trainers  # noqa: F401, registers the methods; imported here, since it takes seconds
    from dassl.engine import TRAINER_REGISTRY

    return getattr(TRAINER_REGISTRY.get(method), "settings_node", "") if method in TRAINER_REGISTRY else ""


def own_settings(choice: Choice, method: str) -> dict[str, str]:
    """The choice's settings that concern ``method``; to zero-shot CLIP those about training are nothing, and would make its run another one."""
    settings = {key: value for key, value in choice.settings if concerns(key, method)}
    if launcher_folders()[method] == ZERO_SHOT_FOLDER:
        return {key: value for key, value in settings.items() if not key.startswith(TRAINING_NODES)}
    return settings


def _base2new(choice: Choice, method: str) -> Iterator[Launch]:
    for dataset in choice.datasets or ALL_ELEVEN:
        for shots in choice.shots or (DEFAULT_SHOTS,):
            for seed in choice.seeds:
                yield _launch(choice, method, "base2new_train", dataset, "base", shots, seed, dataset, str(seed))
                yield _launch(choice, method, "base2new_test", dataset, "new", shots, seed, dataset, str(seed))


def _transfer(targets: tuple[str, ...]) -> Callable[[Choice, str], Iterator[Launch]]:
    def calls(choice: Choice, method: str) -> Iterator[Launch]:
        source = choice.transfer_source
        asked = choice.datasets or targets
        for shots in choice.shots or (DEFAULT_SHOTS,):
            for seed in choice.seeds:
                yield _launch(choice, method, "xd_train", source, "source", shots, seed, source, str(seed))
                for target in [d for d in asked if d != source] or asked:
                    yield _launch(choice, method, "xd_test", target, "target", shots, seed, target, str(seed))

    return calls


def _few_shot(choice: Choice, method: str) -> Iterator[Launch]:
    for dataset in choice.datasets or ALL_ELEVEN:
        for shots in choice.shots or FEW_SHOTS:
            for seed in choice.seeds:
                if launcher_folders()[method] == ZERO_SHOT_FOLDER:  # the curves' start: all classes, nothing learned
                    yield _launch(choice, method, "xd_test", dataset, "all", shots, seed, dataset, str(seed))
                else:
                    yield _launch(choice, method, "few_shot", dataset, "all", shots, seed, dataset, str(seed), str(shots))


PROTOCOLS: dict[str, Callable[[Choice, str], Iterator[Launch]]] = {
    "base2new": _base2new,
    "xd": _transfer(TRANSFER_TARGETS),
    "dg": _transfer(IMAGENET_VARIANTS),
    "fewshot": _few_shot,
}


def _launch(choice: Choice, method: str, script: str, dataset: str, part: str, shots: int, seed: int, *words: str) -> Launch:
    """The call of scripts/<method>/<script>.sh with these words and the choice's settings."""
    folder = launcher_folders()[method]
    settings = own_settings(choice, method)
    if script.startswith("base2new") and "OPTIM.MAX_EPOCH" in settings:
        words += (settings.pop("OPTIM.MAX_EPOCH"),)  # these launchers take it as an argument
    variables = {"SHOTS": str(shots), "SOURCE": choice.transfer_source}
    if choice.cfg:
        variables["CFG"] = choice.cfg
    if folder == ZERO_SHOT_FOLDER:
        variables["TRAINER"] = method
    pairs = tuple(word for pair in settings.items() for word in pair)
    call = (f"{folder}/{script}.sh", (*words, *pairs), tuple(variables.items()))
    return Launch(method, dataset, part, shots, seed, *call, settings=tuple(own_settings(choice, method).items()))
