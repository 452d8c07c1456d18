"""What a person reads after a mistake in a setting, a config or a weights file: one message that names it and says what is accepted, and no traceback."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from tests.trainers.small_runs import SIZES, build, write_eurosat, write_weights

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the data, and the weights."""
    folder = tmp_path_factory.mktemp("world")
    return write_eurosat(folder), write_weights(folder / "narrow.pt", SIZES["narrow"])


@pytest.fixture
def told(world: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> Iterator[Callable[..., str]]:
    """told(*KEY VALUE, method="MPL", flags=()): what train.py says of this mistake, with status 2."""
    stdout = sys.stdout

    def call(*pairs: Any, method: str = "MPL", flags: tuple[str, ...] = (), root: Path = world[0]) -> str:
        settings = ["INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", 0, "DATALOADER.TRAIN_X.BATCH_SIZE", 4, "OPTIM.MAX_EPOCH", 1]
        settings += ["TRAINER.MPL.PROMPT_DEPTH", 3, "TRAINER.IVLP.PROMPT_DEPTH_VISION", 3, "TRAINER.IVLP.PROMPT_DEPTH_TEXT", 3]
        arguments = ["--root", root, "--trainer", method, "--backbone", world[1], "--output-dir", tmp_path / "run", "--seed", 1, *flags]
        arguments += ["--dataset-config-file", REPO / "configs/datasets/eurosat.yaml", *settings, *pairs]
        status = train.main([str(argument) for argument in arguments])
        message = capsys.readouterr().err
        assert status == 2 and "Traceback" not in message, message
        return message

    yield call
    sys.stdout = stdout


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("OPTIM.STEPSIZE", "(0.5,)"), "OPTIM.STEPSIZE must hold whole epochs, one or more, got (0.5,)"),
        (("OPTIM.STAGED_LR", "True"), "OPTIM.STAGED_LR needs OPTIM.NEW_LAYERS to name layers of the model"),
        (("OPTIM.LR_SCHEDULER", "cosin"), "unknown OPTIM.LR_SCHEDULER 'cosin'. Did you mean cosine? Known: cosine, "),
        (("OPTIM.WARMUP_EPOCH", 1, "OPTIM.WARMUP_TYPE", "lin"), "unknown OPTIM.WARMUP_TYPE 'lin'"),
        (("TEST.SPLIT", "train"), "unknown TEST.SPLIT 'train'"),
        (("INPUT.TRANSFORMS", "('flip',)"), "unknown entry of INPUT.TRANSFORMS 'flip'"),
        (("SEED", 2**40), "SEED must be -1 (not seeded) or in 0..4294967295, got 1099511627776"),
        (("RESUME", "/nowhere"), "RESUME /nowhere holds no checkpoint to go on from; looked for /nowhere/MultiModalPromptLearner"),
        (("OPTIM.LR",), "words cannot be paired"),
    ],
)
def test_a_setting_of_the_engine(told: Callable[..., str], pairs: tuple[Any, ...], message: str) -> None:
    assert message in told(*pairs)


@pytest.mark.parametrize(
    ("sampler", "settings", "message"),
    [
        ("RandomDomainSampler", ("N_DOMAIN", 3), "batches of 4 over 3 of 1 domains cannot be made; set DATALOADER.*.N_DOMAIN to"),
        ("RandomClassSampler", ("N_INS", 16), "batches of 4 with 16 pictures a class need 0 classes, and there are 5; change DATALOADER"),
        ("RandomDomainSampler", ("BATCH_SIZE", 32), "RandomDomainSampler makes no batch of 32 from 20 pictures; lower BATCH_SIZE"),
    ],
)
def test_a_sampler_that_makes_no_batch(told: Callable[..., str], sampler: str, settings: tuple[str, Any], message: str) -> None:
    key, value = settings
    assert message in told("DATALOADER.TRAIN_X.SAMPLER", sampler, f"DATALOADER.TRAIN_X.{key}", value)


@pytest.mark.parametrize(
    ("method", "pairs", "message"),
    [
        ("MPL", ("TRAINER.MPL.N_CTX", 0), "TRAINER.MPL.N_CTX is 0; at least 1 learned token is needed"),
        ("CoOp", ("TRAINER.COOP.N_CTX", 0), "TRAINER.COOP.N_CTX is 0; at least 1 learned word is needed"),
        ("CoCoOp", ("TRAINER.COCOOP.N_CTX", 0), "TRAINER.COCOOP.N_CTX is 0; at least 1 learned word is needed"),
        ("VPT", ("TRAINER.VPT.N_CTX_VISION", 0), "TRAINER.VPT.N_CTX_VISION is 0; at least 1 learned token is needed"),
        ("IVLP", ("TRAINER.IVLP.N_CTX_TEXT", 0, "TRAINER.IVLP.N_CTX_VISION", 0), "TRAINER.IVLP asks for no prompt in either tower"),
        ("CoOp", ("TRAINER.COOP.CLASS_TOKEN_POSITION", "last"), "CLASS_TOKEN_POSITION is 'last'; it must be one of end, middle, front"),
        ("ZeroshotCLIP", (), "ZeroshotCLIP learns nothing, so there is nothing to train: add --eval-only"),
    ],
)
def test_a_setting_of_a_method(told: Callable[..., str], method: str, pairs: tuple[Any, ...], message: str) -> None:
    assert message in told(*pairs, method=method)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--model-dir", "old"),
            "--model-dir old is what --eval-only tests, and training would not begin from it: add --eval-only; or, to",
        ),
        (("--load-epoch", "5"), "--load-epoch 5 says which checkpoint of --model-dir is tested: give --model-dir FOLDER and --eval-only"),
        (("--load-epoch", "0", "--eval-only"), "--load-epoch 0 says which checkpoint of --model-dir is tested"),
        (("--resume", "old", "--eval-only"), "--resume old (RESUME) goes on with a training, and --eval-only trains nothing"),
        (("--head", "mlp"), "--head mlp (MODEL.HEAD.NAME): MPL has no head"),
        (
            ("--source-domains", "photo", "sketch"),
            "--source-domains photo sketch (DATASET.SOURCE_DOMAINS): EuroSAT has no domains; leave it",
        ),
        (("--target-domains", "clipart"), "--target-domains clipart (DATASET.TARGET_DOMAINS): EuroSAT has no domains"),
    ],
)
def test_a_flag_that_would_do_nothing(told: Callable[..., str], flags: tuple[str, ...], message: str) -> None:
    assert message in told(flags=(*flags, "--no-train"))


def test_a_run_to_go_on_from_that_would_not_be_read(told: Callable[..., str]) -> None:
    assert "--resume old (RESUME) goes on with a training, and --eval-only trains nothing" in told("RESUME", "old", flags=("--eval-only",))


def test_a_head_is_told_before_data_are_looked_for(told: Callable[..., str], tmp_path: Path) -> None:
    assert "--head mlp (MODEL.HEAD.NAME): MPL has no head" in told(flags=("--head", "mlp"), root=tmp_path / "nothing")


def test_a_model_folder_for_a_method_that_learns_nothing_is_noted(
    world: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Published command lines may carry it."""
    stdout = sys.stdout
    arguments = ["--root", world[0], "--trainer", "ZeroshotCLIP", "--backbone", world[1], "--output-dir", tmp_path, "--eval-only"]
    arguments += ["--model-dir", "old", "--dataset-config-file", REPO / "configs/datasets/eurosat.yaml"]
    arguments += ["INPUT.SIZE", "(32, 32)", "DATALOADER.NUM_WORKERS", 0]
    assert train.main([str(argument) for argument in arguments]) == 0
    sys.stdout = stdout
    assert "Note: --model-dir old is not read: ZeroshotCLIP learns nothing" in capsys.readouterr().out


def test_a_config_file_of_another_kind(told: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    flags = ("--config-file", str(path))
    assert f"no config file at {path}; check the path" in told(flags=flags)
    path.write_text("- OPTIM\n")
    assert f"config file {path}: expected groups of settings (KEY: value), got list" in told(flags=flags)
    path.write_text("OPTIM: {LR: [}")
    assert f"config file {path} is not valid YAML" in told(flags=flags)
    assert "a Python file is never run as config" in told(flags=("--config-file", "train.py"))


def test_best_val_without_val_pictures(told: Callable[..., str], tmp_path: Path) -> None:
    path = write_eurosat(tmp_path / "data") / "eurosat" / "split_zhou_EuroSAT.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "val": []}))
    message = "TEST.FINAL_MODEL best_val needs val pictures, and EuroSAT has none; set it to last_step"
    assert message in told("TEST.FINAL_MODEL", "best_val", root=tmp_path / "data")


def test_best_val_without_tests(told: Callable[..., str]) -> None:
    message = "TEST.FINAL_MODEL best_val chooses the model by a test on val after each epoch, and TEST.NO_TEST True leaves out all tests"
    assert message in told("TEST.FINAL_MODEL", "best_val", "TEST.NO_TEST", True)


def test_a_test_is_not_written_over_a_training(told: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "result.json"
    path.write_text('{"finished": true, "epochs_done": 5, "accuracy": 90.0}')
    for flags in (("--eval-only", "--model-dir", str(tmp_path / "run")), ("--eval-only", "--model-dir", "another")):
        message = told("OUTPUT_DIR", tmp_path / "run", flags=flags)
        assert f"{tmp_path / 'run'} holds a training, and --eval-only would write its test over that training's result.json" in message
    assert '"accuracy": 90.0' in path.read_text()


@pytest.mark.parametrize(
    ("flags", "pairs", "message"),
    [
        (("--no-train",), (), "--fresh would remove the run that is there, and --no-train begin none"),
        ((), ("TEST.FINAL_MODEL", "best_val", "TEST.NO_TEST", True), "TEST.FINAL_MODEL best_val chooses the model by a test on val"),
        ((), ("DATALOADER.K_TRANSFORMS", 2), "DATALOADER.K_TRANSFORMS 2 gives a list of pictures"),
        (("--resume", "nowhere"), (), "RESUME nowhere holds no checkpoint to go on from; looked for nowhere/"),
        (("--eval-only",), (), "holds a training, and --eval-only would write its test over that training's result.json"),
    ],
)
def test_a_fresh_run_that_cannot_begin_leaves_the_run_that_is_there(
    told: Callable[..., str], tmp_path: Path, flags: tuple[str, ...], pairs: tuple[Any, ...], message: str
) -> None:
    kept = {"result.json": '{"finished": true, "epochs_done": 5}', "MultiModalPromptLearner/checkpoint": "model.pth.tar-5"}
    for name, text in kept.items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert message in told("OUTPUT_DIR", tmp_path / "run", *pairs, flags=("--fresh", *flags))
    assert {name: (tmp_path / "run" / name).read_text() for name in kept} == kept


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("OPTIM.LR", 0.5), "is of another run, and going on from it would mix the two"),
        (("OPTIM.MAX_EPOCH", 1), "the checkpoint has 2 epochs and OPTIM.MAX_EPOCH is 1; raise it"),
    ],
)
def test_a_fresh_run_that_cannot_go_on_from_another_leaves_the_run_that_is_there(
    told: Callable[..., str], world: tuple[Path, Path], tmp_path: Path, pairs: tuple[Any, ...], message: str
) -> None:
    build("MPL", *world, tmp_path / "other", "TEST.NO_TEST", True).train()
    path = tmp_path / "run" / "result.json"
    path.parent.mkdir()
    path.write_text('{"finished": true, "epochs_done": 5}')
    same = [item for pair in pairs_of_small_run(world, tmp_path / "other") for item in pair]
    assert message in told(*same, "RESUME", tmp_path / "other", "OUTPUT_DIR", tmp_path / "run", *pairs, flags=("--fresh",))
    assert '"epochs_done": 5' in path.read_text()


def pairs_of_small_run(world: tuple[Path, Path], folder: Path) -> list[tuple[str, Any]]:
    """The settings of :func:`build`'s runs that are part of what a run is."""
    result = json.loads((folder / "result.json").read_text())["config"]
    keys = [("OPTIM", key) for key in result["OPTIM"]] + [("INPUT", key) for key in result["INPUT"]]
    found = [(f"{node}.{key}", tuple(value) if isinstance(value := result[node][key], list) else value) for node, key in keys]
    return [*found, ("DATALOADER.TRAIN_X.BATCH_SIZE", result["DATALOADER"]["TRAIN_X"]["BATCH_SIZE"])]


def test_a_fresh_test_that_has_nothing_to_test_leaves_the_test_that_is_there(told: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "run" / "result.json"
    path.parent.mkdir()
    path.write_text('{"finished": true, "accuracy": 90.0}')
    for flags, message in (((), "--eval-only of MPL needs --model-dir"), (("--model-dir", "nowhere"), "no checkpoint at nowhere")):
        assert message in told("OUTPUT_DIR", tmp_path / "run", flags=("--fresh", "--eval-only", *flags))
    assert "unknown TEST.SPLIT 'valid'" in told(
        "OUTPUT_DIR", tmp_path / "run", "TEST.SPLIT", "valid", method="ZeroshotCLIP", flags=("--fresh", "--eval-only")
    )
    assert "ZeroshotCLIP learns nothing" in told("OUTPUT_DIR", tmp_path / "run", method="ZeroshotCLIP", flags=("--fresh",))
    assert '"accuracy": 90.0' in path.read_text()


def test_a_fresh_run_does_not_remove_the_weights_that_it_begins_with(told: Callable[..., str], tmp_path: Path) -> None:
    start = tmp_path / "run" / "MultiModalPromptLearner" / "model.pth.tar-2"
    start.parent.mkdir(parents=True)
    start.touch()
    assert f"--fresh would remove {start} with the run that is there" in told(
        "OUTPUT_DIR", tmp_path / "run", "MODEL.INIT_WEIGHTS", start, flags=("--fresh",)
    )
    assert start.is_file()


def test_a_training_does_not_take_the_place_of_another_runs_results(told: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "run" / "result.json"
    path.parent.mkdir()
    path.write_text('{"finished": true, "trainer": "CoOp", "dataset": "EuroSAT", "seed": 1}')
    message = told("OUTPUT_DIR", tmp_path / "run")
    assert (
        f"{tmp_path / 'run'} holds the results of a finished run (CoOp on EuroSAT, seed 1), which this training would take the place of"
        in message
    )
    assert '"finished": true' in path.read_text()


def test_initial_weights_of_another_kind(told: Callable[..., str], world: tuple[Path, Path], tmp_path: Path) -> None:
    """MODEL.INIT_WEIGHTS takes a checkpoint of the method."""
    assert f"{world[1]} holds no state_dict, so it is no checkpoint of a run" in told("MODEL.INIT_WEIGHTS", world[1])
    torch.save({"state_dict": {"other": torch.zeros(2)}}, tmp_path / "other.pth.tar")
    message = told("MODEL.INIT_WEIGHTS", tmp_path / "other.pth.tar")
    assert f"the weights in {tmp_path / 'other.pth.tar'} (MODEL.INIT_WEIGHTS) do not fit this run's model" in message
    assert "missing: " in message and "other" in message


def test_weights_that_are_half_a_clip(told: Callable[..., str], world: tuple[Path, Path], tmp_path: Path) -> None:
    weights = torch.load(world[1])
    torch.save({name: values for name, values in weights.items() if name != "visual.proj"}, tmp_path / "half.pt")
    assert "these weights hold neither a ViT (visual.proj) nor a ResNet (visual.attnpool) of CLIP's kind" in told(
        "MODEL.BACKBONE.NAME", tmp_path / "half.pt"
    )
    torch.save({**weights, "visual.positional_embedding": torch.zeros(12, 64)}, tmp_path / "odd.pt")
    assert "visual.positional_embedding has 12 rows: no class token and a square of patches" in told(
        "MODEL.BACKBONE.NAME", tmp_path / "odd.pt"
    )
