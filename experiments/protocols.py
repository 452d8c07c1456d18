"""The papers' protocols: functions from a choice to the runs that it takes, trainings before their tests."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from .facts import ELEVEN, FEW_SHOTS, IMAGENET_VARIANTS, TRANSFER_TARGETS, methods
from .run import Pairs, Run


@dataclass(frozen=True)
class Choice:
    """What is asked for; what is left empty is the protocol's own."""

    methods: tuple[str, ...]
    datasets: tuple[str, ...] = ()  # names of configs in configs/datasets
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: tuple[int, ...] = ()  # training images a class
    config: str = ""  # a name that each of the methods has
    source: str = ""  # the dataset that cross-dataset transfer trains on
    settings: Pairs = ()  # for every run that knows them
    point: str = ""  # name of the grid point
    part: str = "all"  # of zero-shot CLIP's own launcher: all, base or new


def first_run(
    choice: Choice, protocol: str, method: str, dataset: str, part: str, shots: int, seed: int
) -> Run:
    """A training; of a method that learns nothing a test, which has no shots, and seed 1 for every seed."""
    facts = methods()[method]
    if not facts.trains:
        protocol, shots, seed = "zero_shot", 0, 1
        part = part if part in ("base", "new") else "all"
    config, of_dataset = facts.choose(protocol, dataset, shots, choice.config)
    settings = (*of_dataset.items(), *(pair for pair in choice.settings if facts.reads(pair[0])))
    return Run(protocol, method, dataset, part, shots, seed, config, settings, point=choice.point)


def base2new(choice: Choice) -> Iterator[Run]:
    """Train on the base half of the classes, test on both halves (CoCoOp, arXiv 2203.05557, section 4.1)."""
    for method, dataset in product(choice.methods, choice.datasets or ELEVEN):
        for k, seed in product(choice.shots or (methods()[method].base2new_shots,), choice.seeds):
            base = first_run(choice, "base2new", method, dataset, "base", k, seed)
            yield from (base, replace(base, part="new", training=base if base.trains else None))


def on_all_classes(choice: Choice, protocol: str, part: str) -> Iterator[Run]:
    """Train on all classes, test on them (few-shot learning: CoOp, arXiv 2109.01134, section 4.1)."""
    for method, dataset, seed, k in product(choice.methods, choice.datasets, choice.seeds, choice.shots):
        yield first_run(choice, protocol, method, dataset, part, k, seed)


def transfer_training(choice: Choice) -> Iterator[Run]:
    """Train on all classes of the source."""
    datasets, shots = choice.datasets or ("imagenet",), choice.shots or (16,)
    return on_all_classes(replace(choice, datasets=datasets, shots=shots), "xd", "source")


def transfer(choice: Choice, verb: str) -> Iterator[Run]:
    """Test on each target what was trained on the source (CoCoOp, sections 4.2 and 4.3).

    Args:
        verb: `xd` or `dg`, with the trainings; `xd_test`, `dg_test` or `eval`, without.
    """
    # A setting of the data concerns the target, which is another dataset than the source.
    of_training = tuple(pair for pair in choice.settings if not pair[0].startswith("DATASET."))
    on_source = replace(choice, datasets=(choice.source or "imagenet",), settings=of_training)
    is_coop = verb == "eval"
    trainings = on_all_classes(on_source, "coop_main", "all") if is_coop else transfer_training(on_source)
    asked = choice.datasets or (TRANSFER_TARGETS if verb.startswith("xd") else IMAGENET_VARIANTS)
    for trained in trainings:
        if verb in ("xd", "dg"):
            yield trained
        for target in asked:
            if not trained.trains:
                yield first_run(choice, "xd", trained.method, target, "all", 0, 1)
                continue
            if target == trained.dataset and not is_coop:
                continue  # its training tested it; CoOp's own eval.sh tests it again
            protocol = "coop_eval" if is_coop else "dg" if target in IMAGENET_VARIANTS else "xd"
            test = replace(trained, protocol=protocol, dataset=target, part="target", training=trained)
            of_data = [pair for pair in choice.settings if pair[0].startswith("DATASET.")]
            yield replace(test, settings=(*trained.settings, *of_data))


def plan(protocol: str, choice: Choice) -> list[Run]:
    """The runs of a verb of the command line, each once."""
    if protocol in ("base2new", "base2new_train", "base2new_test"):
        left_out = {"base2new": "", "base2new_train": "new", "base2new_test": "base"}[protocol]
        found = [run for run in base2new(choice) if run.part != left_out]
    elif protocol == "xd_train":
        found = list(transfer_training(choice))
    elif protocol in ("xd", "dg", "xd_test", "dg_test", "eval"):
        found = list(transfer(choice, protocol))
    elif protocol == "main":
        found = list(on_all_classes(choice, "coop_main", "all"))
    elif protocol == "few_shot":
        datasets, shots = choice.datasets or ELEVEN, choice.shots or FEW_SHOTS
        found = list(on_all_classes(replace(choice, datasets=datasets, shots=shots), protocol, "all"))
    else:
        pairs = product(choice.methods, choice.datasets)
        found = [first_run(choice, "zero_shot", *pair, choice.part, 0, 1) for pair in pairs]
    if not found:
        raise ValueError(
            f"{protocol} tests on other datasets than the training's: name another, or SOURCE=NAME"
        )
    return list(dict.fromkeys(found))


def launcher(training: Run) -> str:
    """The launcher of a training with its arguments, for a message."""
    script = {"base2new": "base2new_train", "xd": "xd_train", "coop_main": "main"}[training.protocol]
    settings = dict(training.settings)
    words = [str(training.seed), settings.get("OPTIM.MAX_EPOCH", "") if training.part == "base" else ""]
    if script == "main":
        ctp, n_ctx, csc = (settings[f"TRAINER.COOP.{k}"] for k in ("CLASS_TOKEN_POSITION", "N_CTX", "CSC"))
        words = [training.config, ctp, n_ctx, str(training.shots), csc]
    folder = methods()[training.method].scripts
    return f"bash scripts/{folder}/{script}.sh {' '.join([training.dataset, *words]).strip()}"
