"""train.py as a person uses it: precedence of settings, and every mistake told before any training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import train
from clip import CLIP, CLIPConfig
from dassl.config import get_cfg_default
from tests.trainers.small_runs import NAMES, SIZES, write_eurosat, write_weights

REPO = Path(__file__).parents[1]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "narrow.pt", SIZES["narrow"])


@pytest.fixture
def run(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture) -> Iterator[Run]:
    """Calls train.py for MPL on a small EuroSAT; gives exit status, standard output and standard error."""
    write_eurosat(tmp_path / "data")
    stdout = sys.stdout

    def call(*arguments: str, **flags: str) -> tuple[int, str, str]:
        given = {
            "root": str(tmp_path / "data"),
            "trainer": "MPL",
            "backbone": str(weights),
            "output-dir": str(tmp_path / "out"),
            "seed": "1",
        } | flags
        argv = [word for flag, value in given.items() for word in (f"--{flag}", value)]
        argv += ["--dataset-config-file", str(REPO / "configs/datasets/eurosat.yaml")]
        settings = [
            "INPUT.SIZE",
            "(32, 32)",
            "DATALOADER.NUM_WORKERS",
            "0",
            "TRAINER.MPL.PREC",
            "fp32",
            "TRAINER.MPL.PROMPT_DEPTH",
            "3",
            "OPTIM.MAX_EPOCH",
            "1",
        ]
        leading = [a for a in arguments if a.startswith("--")]
        status = train.main([*argv, *leading, *settings, *[a for a in arguments if not a.startswith("--")]])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    yield call
    sys.stdout = stdout


def refused(result: tuple[int, str, str], *parts: str) -> None:
    """The run ended with status 2 and one message with these parts, before any training."""
    status, out, err = result
    assert status == 2
    assert "epoch [" not in out
    assert "Traceback" not in err
    for part in parts:
        assert part in err, err


def test_a_run_trains_and_tests(run: Run, tmp_path: Path) -> None:
    status, out, err = run()
    assert (status, err) == (0, "")
    for line in (
        "** Command **",
        "** Config **",
        "** Environment **",
        "Setting fixed seed: 1",
        "Prompts of the image tower",
        "Trainable parameters: ",
        "* total: 15",
    ):
        assert line in out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["finished"]
    assert result["total"] == 15
    assert result["accuracy"] == 100 * result["correct"] / 15
    assert len((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()) > 0


def test_evaluation_alone_gives_the_accuracy_that_training_ended_with(run: Run, tmp_path: Path) -> None:
    assert run()[0] == 0
    trained = json.loads((tmp_path / "out" / "result.json").read_text())
    status, out, _ = run("--eval-only", "--model-dir=" + str(tmp_path / "out"), "--load-epoch=1", **{"output-dir": str(tmp_path / "test")})
    assert status == 0
    tested = json.loads((tmp_path / "test" / "result.json").read_text())
    assert tested["finished"]
    assert [tested[k] for k in ("accuracy", "macro_f1", "correct")] == [trained[k] for k in ("accuracy", "macro_f1", "correct")]
    assert "epoch [" not in out


def test_seed_zero_is_a_seed(run: Run, tmp_path: Path) -> None:
    assert "Setting fixed seed: 0" in run(seed="0")[1]
    assert json.loads((tmp_path / "out" / "result.json").read_text())["seed"] == 0


def test_two_runs_with_one_seed_are_identical(run: Run, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        run(**{"output-dir": str(tmp_path / name)})
        results.append(torch.load(tmp_path / name / "MultiModalPromptLearner" / "model.pth.tar-1")["state_dict"])
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])


def test_no_train_builds_and_stops(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("--no-train")
    assert status == 0
    assert "epoch [" not in out
    assert not (tmp_path / "out" / "result.json").exists()


def test_precedence_of_settings(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("OPTIM: {LR: 1.0, MOMENTUM: 0.1}\nSEED: 1\nTRAIN: {PRINT_FREQ: 1}\nOUTPUT_DIR: a\n")
    (tmp_path / "method.yaml").write_text("OPTIM: {LR: 2.0}\nSEED: 2\nOUTPUT_DIR: b\n")
    files = ["--dataset-config-file", str(tmp_path / "dataset.yaml"), "--config-file", str(tmp_path / "method.yaml")]
    cfg = train.setup_cfg(train.build_parser().parse_args([*files, "--seed", "0", "--output-dir", "c", "OUTPUT_DIR", "d"]))
    assert (cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MOMENTUM, cfg.OPTIM.LR, cfg.SEED, cfg.OUTPUT_DIR) == (5e-4, 0.1, 2.0, 0, "d")
    assert cfg.is_frozen()


def test_flags_are_those_of_the_family() -> None:
    flags = {flag for action in train.build_parser()._actions for flag in action.option_strings}
    family = "root output-dir resume seed source-domains target-domains transforms config-file dataset-config-file trainer backbone head"
    assert flags >= {f"--{name}" for name in [*family.split(), "eval-only", "model-dir", "load-epoch", "no-train"]}


def test_the_defaults_are_those_of_the_facts() -> None:
    cfg = get_cfg_default()
    train.extend_cfg(cfg)
    expected = {
        "MPL": {"N_CTX": 2, "N_ADD_OP": 2, "N_RM_OP": 1, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9},
        "MAPLE": {"N_CTX": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH": 9},
        "IVLP": {
            "N_CTX_VISION": 2,
            "N_CTX_TEXT": 2,
            "CTX_INIT": "a photo of a",
            "PREC": "fp16",
            "PROMPT_DEPTH_VISION": 9,
            "PROMPT_DEPTH_TEXT": 9,
        },
        "VPT": {"N_CTX_VISION": 2, "CTX_INIT": "a photo of a", "PREC": "fp16", "PROMPT_DEPTH_VISION": 1},
        "COOP": {"N_CTX": 16, "CSC": False, "CTX_INIT": "", "PREC": "fp16", "CLASS_TOKEN_POSITION": "end"},
        "COCOOP": {"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"},
    }
    for node, settings in expected.items():
        assert {k: cfg.TRAINER[node][k] for k in settings} == settings
    assert cfg.DATASET.SUBSAMPLE_CLASSES == "all"


# Mistakes


@pytest.mark.parametrize(
    ("pairs", "parts"),
    [
        (["TRAINER.MPL.N_RM_OP", "5"], ["layer 1 of the image tower would remove 5 prompts where 2 are present"]),
        (["TRAINER.MPL.PROMPT_DEPTH", "4"], ["TRAINER.MPL.PROMPT_DEPTH is 4", "takes 1 to 3"]),
        (["INPUT.SIZE", "(48, 48)"], ["INPUT.SIZE is (48, 48)", "read pictures of 32 x 32", "set INPUT.SIZE to (32, 32)"]),
        (["TRAINER.MPL.N_CTX", "30"], ["Annual Crop Land", "tokens", "has 32 positions", "N_CTX"]),
        (["TRAINER.MPL.N_CTXX", "30"], ["TRAINER.MPL.N_CTXX", "TRAINER.MPL.N_CTX"]),
        (["OPTIM.LRR", "1", "TRAINER.MPL.N_CTX", "many"], ["OPTIM.LRR", "OPTIM.LR", "TRAINER.MPL.N_CTX", "many"]),
        (["DATASET.NAME", "EuroSatt"], ["EuroSatt", "EuroSAT", "Caltech101"]),
        (["TRAINER.NAME", "MPl"], ["MPl", "MPL", "MaPLe"]),
        (["MODEL.BACKBONE.NAME", "ViT-B16"], ["'ViT-B16'", "ViT-B/16", "Tiny-Shapes"]),
        (["DATASET.SUBSAMPLE_CLASSES", "bases"], ["bases", "base", "new", "all"]),
    ],
)
def test_a_setting_that_cannot_work_is_told(run: Run, pairs: list[str], parts: list[str]) -> None:
    refused(run(*pairs), *parts)


def test_a_resnet_with_vision_prompts_is_told(run: Run, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "resnet.pt", CLIPConfig(32, 32, (1, 1, 1, 1), 16, None, 32, 49408, 64, 3))
    refused(run(backbone=str(path)), "MPL puts prompts among the patches of a ViT", str(path), "is a ResNet")


def test_a_truncated_weights_file_is_told(run: Run, tmp_path: Path, weights: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:100_000])
    refused(run(backbone=str(tmp_path / "cut.pt")), str(tmp_path / "cut.pt"), "truncated")


def test_weights_of_another_architecture_are_told(run: Run, tmp_path: Path, weights: Path) -> None:
    torch.save({k: v for k, v in torch.load(weights).items() if "resblocks.2.ln_1" not in k}, tmp_path / "other.pt")
    refused(run(backbone=str(tmp_path / "other.pt")), "not of CLIP's architecture", "resblocks.2.ln_1")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    refused(run(backbone=str(tmp_path / "linear.pt")), "no weights of a CLIP")


def test_missing_data_and_weights_are_told_together(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = run(root=str(tmp_path / "nowhere"), backbone="ViT-B/16")
    refused(result, str(tmp_path / "nowhere"), "split_zhou_EuroSAT.json", "bash scripts/mpl/base2new.sh shapes 1")
    refused(result, "The CLIP weights ViT-B/16 are not on this machine", str(tmp_path / "home/.cache/clip/ViT-B-16.pt"), "To get them")


def test_a_split_that_names_a_missing_picture_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data/eurosat/2750/Forest/test_1.png").unlink()
    refused(run(), "Forest/test_1.png")


def test_a_class_without_pictures_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "data/eurosat/split_zhou_EuroSAT.json"
    split = json.loads(path.read_text())
    split["train"] = [row for row in split["train"] if row[1] != 2]
    path.write_text(json.dumps(split))
    refused(run(), NAMES[2])


@pytest.mark.parametrize("damage", [lambda data: b"this is no picture", lambda data: data[: len(data) // 2]], ids=["text", "cut"])
@pytest.mark.parametrize("part", ["train_0", "test_0"])
def test_a_picture_that_cannot_be_decoded_is_told(run: Run, tmp_path: Path, part: str, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"data/eurosat/2750/Forest/{part}.png"
    path.write_bytes(damage(path.read_bytes()))
    refused(run(), f"Forest/{part}.png")


def test_evaluating_prompts_that_were_never_trained_is_told(run: Run) -> None:
    refused(run("--eval-only"), "--eval-only", "--model-dir")


def test_pairs_swallowed_by_a_list_are_told(run: Run) -> None:
    with pytest.raises(ValueError, match="--transforms took .*OPTIM.LR.* for its values"):
        train.setup_cfg(train.build_parser().parse_args(["--transforms", "normalize", "OPTIM.LR", "0.1"]))


def test_training_on_a_test_only_dataset_is_told(run: Run, tmp_path: Path) -> None:
    from PIL import Image

    root = tmp_path / "data/imagenet-adversarial"
    for wnid in ("n01", "n02"):
        (root / "imagenet-a" / wnid).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(root / "imagenet-a" / wnid / "a.jpg")
    (root / "classnames.txt").write_text("n01 first\nn02 second\n")
    refused(run("DATASET.NAME", "ImageNetA"), "ImageNetA is for testing alone", "--eval-only")


def test_a_loss_that_is_not_finite_stops_the_run(run: Run) -> None:
    status, _, err = run("OPTIM.LR", "1e30", "OPTIM.MAX_EPOCH", "3", "OPTIM.NAME", "sgd")
    assert status == 2
    for part in ("the loss is not finite", "epoch [", "batch [", "PREC", "OPTIM.LR"):
        assert part in err


def test_the_traceback_is_shown_on_demand(run: Run) -> None:
    _, _, err = run("--debug", "TRAINER.MPL.PROMPT_DEPTH", "4")
    assert "Traceback" in err


def test_the_message_reaches_the_log(run: Run, tmp_path: Path) -> None:
    run("TRAINER.MPL.PROMPT_DEPTH", "4")
    assert "TRAINER.MPL.PROMPT_DEPTH is 4" in (tmp_path / "out" / "log.txt").read_text()


def test_help_needs_no_torch() -> None:
    code = "import sys, train\ntry: train.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert "--dataset-config-file" in done.stdout
    assert done.stdout.strip().endswith("False")


def test_a_small_clip_is_what_it_says(weights: Path) -> None:
    import clip

    assert isinstance(clip.load(weights), CLIP)
