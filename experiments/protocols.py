"""The papers' protocols: functions from a choice to the runs that it takes, trainings before their tests."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from .facts import ELEVEN, FEW_SHOTS, IMAGENET_VARIANTS, TRANSFER_TARGETS, methods
from .run import Pairs, Run

DEFAULT_SHOTS = 16
TRAINING_NODES = ("OPTIM.", "TRAIN.", "DATALOADER.TRAIN_X.")


@dataclass(frozen=True)
class Choice:
    """What is asked for; what is left empty is the protocol's own.

    Args:
        methods: registered names.
        datasets: names of configs in configs/datasets.
        shots: training images a class; 16, and 1, 2, 4, 8 and 16 for few-shot learning.
        config: name of a config that each of the methods has.
        source: the dataset that cross-dataset transfer trains on; ImageNet.
        epochs: OPTIM.MAX_EPOCH of the trainings.
        settings: KEY, VALUE pairs for every run.
        point: name of the grid point.
        context: of CoOp's own launchers, the pairs that NCTX, CSC and CTP stand for.
        part: of zero-shot CLIP's own launcher: `all`, `base` or `new`.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: tuple[int, ...] = ()
    config: str = ""
    source: str = ""
    epochs: int | None = None
    settings: Pairs = ()
    point: str = ""
    context: Pairs = ()
    part: str = "all"


def own_settings(choice: Choice, method: str) -> Pairs:
    """The settings for a method: not those of another chosen method, nor of training for zero-shot CLIP."""
    others = {methods()[name].node for name in choice.methods} - {methods()[method].node}
    of_others = tuple(f"TRAINER.{node}." for node in others)
    pairs = tuple(pair for pair in choice.settings if not pair[0].startswith(of_others))
    if not methods()[method].trains:
        return tuple(pair for pair in pairs if not pair[0].startswith(TRAINING_NODES))
    return pairs if choice.epochs is None else (("OPTIM.MAX_EPOCH", str(choice.epochs)), *pairs)


def zero_shot(choice: Choice, method: str, dataset: str, part: str) -> Run:
    """The one run of a method that learns nothing; it has no shots, and 1 stands for every seed."""
    config, _ = methods()[method].choose("default", dataset, 0, choice.config)
    settings = own_settings(choice, method)
    return Run("zero_shot", method, dataset, part, 0, 1, config, settings, point=choice.point)


def training(
    choice: Choice, protocol: str, method: str, dataset: str, part: str, shots: int, seed: int
) -> Run:
    """A training with the config that the method's file has for it."""
    config, with_it = methods()[method].choose(protocol, dataset, shots, choice.config)
    settings = (*with_it.items(), *choice.context, *own_settings(choice, method))
    return Run(protocol, method, dataset, part, shots, seed, config, settings, point=choice.point)


def base2new(choice: Choice) -> Iterator[Run]:
    """Train on the base half of the classes, test on both halves (CoCoOp, arXiv 2203.05557, section 4.1)."""
    shots = choice.shots or (DEFAULT_SHOTS,)
    for method, dataset, k, seed in product(choice.methods, choice.datasets or ELEVEN, shots, choice.seeds):
        if methods()[method].trains:
            base = training(choice, "base2new", method, dataset, "base", k, seed)
            yield from (base, replace(base, part="new", training=base))
        else:
            yield from (zero_shot(choice, method, dataset, part) for part in ("base", "new"))


def transfer_training(choice: Choice) -> Iterator[Run]:
    """Train on all classes of the source."""
    shots = choice.shots or (DEFAULT_SHOTS,)
    for method, source, k, seed in product(
        choice.methods, choice.datasets or ("imagenet",), shots, choice.seeds
    ):
        if methods()[method].trains:
            yield training(choice, "xd", method, source, "source", k, seed)
        else:
            yield zero_shot(choice, method, source, "all")


def transfer_tests(choice: Choice, targets: tuple[str, ...], with_training: bool = False) -> Iterator[Run]:
    """Test on each target what was trained on the source (CoCoOp, sections 4.2 and 4.3)."""
    # A setting of the data concerns the target, which is another dataset than the source.
    of_training = tuple(pair for pair in choice.settings if not pair[0].startswith("DATASET."))
    on_source = replace(choice, datasets=(choice.source or "imagenet",), settings=of_training)
    asked = choice.datasets or targets
    for trained in transfer_training(on_source):
        if with_training:
            yield trained
        for target in [name for name in asked if name != trained.dataset] or asked:
            if trained.trains:
                protocol = "dg" if target in IMAGENET_VARIANTS else "xd"
                settings = own_settings(choice, trained.method)
                yield replace(
                    trained,
                    protocol=protocol,
                    dataset=target,
                    part="target",
                    settings=settings,
                    training=trained,
                )
            else:
                yield zero_shot(choice, trained.method, target, "all")


def few_shot(choice: Choice) -> Iterator[Run]:
    """Train on all classes with K images each, test on all (CoOp, arXiv 2109.01134, section 4.1)."""
    shots = choice.shots or FEW_SHOTS
    for method, dataset, seed, k in product(choice.methods, choice.datasets or ELEVEN, choice.seeds, shots):
        if methods()[method].trains:
            yield training(choice, "few_shot", method, dataset, "all", k, seed)
        else:
            yield zero_shot(choice, method, dataset, "all")


def coop_main(choice: Choice) -> Iterator[Run]:
    """Train on all classes, with the folders of CoOp's released code."""
    for method, dataset, k, seed in product(choice.methods, choice.datasets, choice.shots, choice.seeds):
        yield training(choice, "coop_main", method, dataset, "all", k, seed)


def coop_eval(choice: Choice) -> Iterator[Run]:
    """Test on other datasets what `coop_main` trained on the source."""
    of_training = tuple(pair for pair in choice.settings if not pair[0].startswith("DATASET."))
    for trained in coop_main(replace(choice, datasets=(choice.source or "imagenet",), settings=of_training)):
        for target in choice.datasets:
            settings = (*choice.context, *own_settings(choice, trained.method))
            yield replace(
                trained,
                protocol="coop_eval",
                dataset=target,
                part="target",
                settings=settings,
                training=trained,
            )


def plan(protocol: str, choice: Choice) -> list[Run]:
    """The runs of a verb of the command line, each once."""
    if protocol in ("base2new", "base2new_train", "base2new_test"):
        parts = {"base2new": ("base", "new"), "base2new_train": ("base",), "base2new_test": ("new",)}[
            protocol
        ]
        found = [run for run in base2new(choice) if run.part in parts]
    elif protocol == "xd_train":
        found = list(transfer_training(choice))
    elif protocol in ("xd", "dg", "xd_test", "dg_test"):
        targets = TRANSFER_TARGETS if protocol.startswith("xd") else IMAGENET_VARIANTS
        found = list(transfer_tests(choice, targets, with_training=protocol in ("xd", "dg")))
    elif protocol == "few_shot":
        found = list(few_shot(choice))
    elif protocol == "main":
        found = list(coop_main(choice))
    elif protocol == "eval":
        found = list(coop_eval(choice))
    else:
        pairs = product(choice.methods, choice.datasets)
        found = [zero_shot(choice, method, dataset, choice.part) for method, dataset in pairs]
    return list(dict.fromkeys(found))


def launcher(run: Run) -> str:
    """The command that makes a training, for a message."""
    method = methods()[run.method]
    settings = dict(run.settings)
    words, variables = [run.dataset, str(run.seed)], []
    if run.protocol == "coop_main":
        context = [settings.pop(f"TRAINER.COOP.{key}") for key in ("CLASS_TOKEN_POSITION", "N_CTX", "CSC")]
        words = [run.dataset, run.config, context[0], context[1], str(run.shots), context[2]]
    else:
        if run.shots != DEFAULT_SHOTS:
            variables.append(f"SHOTS={run.shots}")
        if run.config != method.choose(run.protocol, run.dataset, run.shots)[0]:
            variables.append(f"CFG={run.config}")
    if run.protocol == "base2new" and "OPTIM.MAX_EPOCH" in settings:
        words.append(settings.pop("OPTIM.MAX_EPOCH"))
    script = {"base2new": "base2new_train", "xd": "xd_train", "coop_main": "main"}[run.protocol]
    pairs = [shlex.quote(word) for pair in settings.items() for word in pair]
    return " ".join([*variables, f"bash scripts/{method.scripts}/{script}.sh", *words, *pairs])
