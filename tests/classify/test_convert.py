"""Checkpoints become prompt files and prompt files checkpoints, those of this project and published ones; what is not known is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from classify import PromptClassifier, PromptFile, convert
from classify.convert import Given, from_checkpoint, to_checkpoint
from dassl.utils import load_checkpoint
from tests.classify.conftest import CASES
from tests.trainers.small_runs import NAMES, build
from tests.trainers.test_published_checkpoints import write_published
from tools import export
from trainers.prompt_file import FILE_NAME

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
LEARNING = [case for case in CASES if not case.startswith("Zeroshot")]


@pytest.fixture(scope="module")
def finished(eurosat: Path, weights: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of MaPLe that deploys its best epoch on val."""
    folder = tmp_path_factory.mktemp("finished")
    build("MaPLe", eurosat, weights["narrow"], folder, "TEST.FINAL_MODEL", "best_val").train()
    return folder


def test_a_checkpoint_of_this_project_gives_the_file_that_its_run_wrote(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    build("MPL", eurosat, weights["narrow"], tmp_path, "DATASET.NUM_SHOTS", 2, "DATASET.SUBSAMPLE_CLASSES", "base").train()
    written = PromptFile.read(tmp_path / FILE_NAME)
    for source in (tmp_path, tmp_path / "MultiModalPromptLearner", tmp_path / "MultiModalPromptLearner" / "model.pth.tar-2"):
        assert_same(from_checkpoint(source), written)


def test_the_best_on_val_is_taken_where_the_run_deployed_it(finished: Path) -> None:
    best = finished / "MultiModalPromptLearner" / "model-best.pth.tar"
    assert convert.find_checkpoint(finished) == best
    file = from_checkpoint(finished)
    written = PromptFile.read(finished / FILE_NAME)
    assert file.accuracy == written.accuracy is not None
    assert all(torch.equal(value, written.learned[name]) for name, value in file.learned.items())
    last = from_checkpoint(finished / "MultiModalPromptLearner" / "model.pth.tar-2")
    assert last.accuracy is None, "the test was of the best epoch"


def test_a_run_that_ends_without_tests_gives_its_last_epoch(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    """Begun with tests on val, whose best is there, and gone on without any, as its own prompt file."""
    options = (eurosat, weights["narrow"], tmp_path, "OPTIM.LR", 0.1)
    build("MaPLe", *options, "OPTIM.MAX_EPOCH", 1, "TEST.FINAL_MODEL", "best_val").train()
    build("MaPLe", *options, "OPTIM.MAX_EPOCH", 2, "TEST.NO_TEST", True).train()
    assert (tmp_path / "MultiModalPromptLearner" / "model-best.pth.tar").is_file()
    assert_same(from_checkpoint(tmp_path), PromptFile.read(tmp_path / FILE_NAME))


def assert_same(file: PromptFile, other: PromptFile) -> None:
    about, others = ({k: v for k, v in vars(f).items() if k != "learned"} for f in (file, other))
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in about.items()} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in others.items()
    }
    assert file.learned.keys() == other.learned.keys()
    assert all(torch.equal(value, other.learned[name]) for name, value in file.learned.items())


@pytest.mark.parametrize("case", LEARNING)
def test_a_prompt_file_becomes_a_checkpoint_that_is_tested(
    case: str, prompts: Callable, eurosat: Path, weights: dict, tmp_path: Path
) -> None:
    trainer, path = prompts(case)
    written = to_checkpoint(PromptFile.read(path), tmp_path)
    assert written == tmp_path / trainer.checkpoint_name / "model.pth.tar-2"
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= load_checkpoint(str(written)).keys()
    expected = trainer.model_inference(IMAGES)
    kept = {name: value.clone() for name, value in trainer.learned.state_dict().items()}
    trainer.learned.load_state_dict({name: torch.zeros_like(value) for name, value in kept.items()})
    trainer.load_model(str(tmp_path), epoch=2)
    assert torch.equal(trainer.model_inference(IMAGES), expected)
    if case == "MPL by layer":
        assert_same(from_checkpoint(written, Given(backbone=str(weights["narrow"]))), PromptFile.read(path))


def test_a_folder_that_holds_a_run_or_a_checkpoint_is_not_exported_into(
    prompts: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, path = prompts("CoOp")
    run, begun = tmp_path / "run", tmp_path / "begun"
    trainer.save_model(0, str(run))
    pointer = run / "prompt_learner" / "checkpoint"
    before = pointer.read_bytes()
    begun.mkdir()
    (begun / "result.json").write_text("{}")
    to_checkpoint(PromptFile.read(path), tmp_path / "new")
    monkeypatch.setattr(export, "read_source", lambda args: pytest.fail("the source was read before the folder was looked at"))
    for folder, held in (
        (run, "a checkpoint already (prompt_learner/checkpoint)"),
        (run / "prompt_learner", "a checkpoint already (checkpoint)"),
        (begun, "a run already (result.json)"),
        (tmp_path / "new", "a checkpoint already (prompt_learner/checkpoint)"),
    ):
        assert export.main([str(path), "--pth-tar", str(folder)]) == 2
        error = capsys.readouterr().err
        assert f"Error: {folder} holds {held}" in error and "name another folder" in error
        with pytest.raises(ValueError, match="name another folder"):
            to_checkpoint(PromptFile.read(path), folder)
    assert pointer.read_bytes() == before and not (begun / "prompt_learner").exists()


def test_zero_shot_clip_has_no_checkpoint(prompts: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ZeroshotCLIP learns nothing, so it has no checkpoint: run it with --eval-only"):
        to_checkpoint(PromptFile.read(prompts("ZeroshotCLIP")[1]), tmp_path)


def config_file(trainer: Any, path: Path) -> Path:
    """The method's settings of a trainer as a YAML file, as configs/trainers/ has them."""
    cfg = trainer.cfg.clone()
    cfg.defrost()
    path.write_text(
        "\n".join(["INPUT:", "  SIZE: [32, 32]", "  TRANSFORMS: ['random_flip', 'normalize']", "TRAINER:", f"  {trainer.settings_node}:"])
    )
    with path.open("a") as file:
        for key, value in cfg.TRAINER[trainer.settings_node].items():
            file.write(f"\n    {key}: {'null' if value is None else repr(value)}")
    return path


@pytest.mark.parametrize("case", ["MPL", "MaPLe", "IVLP", "VPT", "CoOp CSC", "CoCoOp", "PromptSRC"])
def test_a_published_checkpoint_is_converted_by_the_tool(
    case: str, prompts: Callable, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    trainer, _ = prompts(case)
    learned = write_published(trainer, tmp_path / "published", monkeypatch)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = [tmp_path / "published" / "model.pth.tar-5", "--safetensors", tmp_path / FILE_NAME, "--method", CASES[case][0]]
    words += ["--backbone", weights["narrow"], "--classes", tmp_path / "names.txt", "--dataset", "EuroSAT"]
    words += ["--config-file", config_file(trainer, tmp_path / "method.yaml")]
    assert export.main([str(word) for word in words]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "Wrote" in out and "trained on  EuroSAT, 5 epochs" in out and "accuracy    not known" in out
    file = PromptFile.read(tmp_path / FILE_NAME)
    assert file.learned.keys() == learned.keys()
    assert all(torch.equal(value, learned[name].float()) for name, value in file.learned.items())
    assert PromptClassifier.load(tmp_path / FILE_NAME, backbone=weights["narrow"], device="cpu").logits(IMAGES).shape == (3, 5)


def test_what_a_published_checkpoint_does_not_say_is_asked_for_at_once(
    prompts: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_published(prompts("CoOp")[0], tmp_path, monkeypatch)
    assert export.main([str(tmp_path / "model.pth.tar-5")]) == 2
    error = capsys.readouterr().err
    assert "does not say what it was trained with, as published checkpoints do not; give\n" in error
    for flag in (
        "--method NAME (MPL,",
        "--config-file FILE (the YAML",
        "--backbone NAME (such as ViT-B/16",
        "--classes FILE (the class names",
    ):
        assert f"\n  {flag}" in error
    assert "Traceback" not in error


WRONG = {
    "another method": ("CoOp", {"method": "CoCoOp"}, r"The checkpoint does not fit CoCoOp .*missing: meta_net.linear1.weight"),
    "too few classes": ("CoOp CSC", {"classnames": NAMES[:4]}, r"ctx holds words for 5 classes \(CSC\), but 4 class names are said"),
    "another setting": ("MPL", {"pairs": ["TRAINER.MPL.PROMPT_DEPTH", 2]}, r"not learned by MPL as it is set: .*compound_prompts_text.1"),
    "another CLIP": ("MPL", {"backbone": "wide"}, r"does not fit MPL .*\[1, 64\], \[1, 192\] is needed|has shape"),
    "nothing learned": ("CoOp", {"method": "ZeroshotCLIP"}, r"ZeroshotCLIP learns nothing, so .* cannot be a checkpoint of it"),
    "an unknown method": ("CoOp", {"method": "Coop2"}, r"unknown method 'Coop2'\. Did you mean CoOp"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_a_published_checkpoint_is_refused(
    case: str, prompts: Callable, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts_case, more, message = WRONG[case]
    trainer, _ = prompts(prompts_case)
    write_published(trainer, tmp_path, monkeypatch)
    about = {"method": CASES[prompts_case][0], "backbone": "narrow", "classnames": NAMES, **more}
    about["backbone"] = str(weights[about["backbone"]])
    given = Given(config_paths=[config_file(trainer, tmp_path / "method.yaml")], **about)
    with pytest.raises((ValueError, LookupError), match=f"(?s){message}"):
        from_checkpoint(tmp_path / "model.pth.tar-5", given)


def test_what_a_file_says_itself_is_not_to_be_said(prompts: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer, path = prompts("CoOp")
    trainer.save_model(0, str(tmp_path))
    checkpoint = tmp_path / "prompt_learner" / "model.pth.tar-1"
    with pytest.raises(ValueError, match="says itself that it is of CoOp and with what it was trained: leave out --method, --classes"):
        from_checkpoint(checkpoint, Given(method="MPL", classnames=["a heron"]))
    assert export.main([str(path), "--method", "MPL"]) == 2
    assert "is a prompt file and says itself what it is of: leave out --method" in capsys.readouterr().err
    assert export.main([str(path), "--dataset", "EuroSAT"]) == 2
    assert "leave out --method, --classes, --config-file, --dataset and KEY VALUE" in capsys.readouterr().err
    assert export.main([str(path), "--safetensors", str(tmp_path / "new.safetensors"), "--names", "names.txt"]) == 2
    assert "--names are the classes of an exported program: give --onnx" in capsys.readouterr().err


def test_a_checkpoint_without_its_run_is_converted_with_the_clips_path(prompts: Callable, weights: dict, tmp_path: Path) -> None:
    trainer, _ = prompts("CoCoOp")
    trainer.save_model(0, str(tmp_path))
    file = from_checkpoint(tmp_path / "prompt_learner" / "model.pth.tar-1", Given(backbone=str(weights["narrow"])))
    assert (file.method, file.classnames, file.accuracy, file.epochs) == ("CoCoOp", tuple(NAMES), None, 1)


def test_folders_and_files_that_hold_no_checkpoint_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint, run or prompt file at"):
        from_checkpoint(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="holds no folders with a checkpoint; give the path of one model.pth.tar"):
        from_checkpoint(tmp_path)
    torch.save({"weights": torch.zeros(2)}, tmp_path / "model.pth.tar-1")
    with pytest.raises(ValueError, match="holds no state_dict, so it is no checkpoint of prompts; its entries: weights"):
        from_checkpoint(tmp_path / "model.pth.tar-1")


def test_without_a_target_the_tool_says_what_a_file_is(prompts: Callable, capsys: pytest.CaptureFixture) -> None:
    assert export.main([str(prompts("ZeroshotCLIP2")[1])]) == 0
    out = capsys.readouterr().out
    assert "method      ZeroshotCLIP2" in out and "'itap of a {}.'" in out and "learned     0 numbers in 0 arrays" in out
