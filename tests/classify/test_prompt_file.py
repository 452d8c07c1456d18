"""The prompt file: a training leaves it, it is small, it says what it is, and a damaged or foreign one is refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from classify import PromptClassifier, PromptFile, PromptFileError
from clip import CLIP, load
from clip.weights import published_models
from tests.trainers.small_runs import NAMES, build
from trainers.backbone import BackboneIdentity
from trainers.mpl import MPLPrompts, MPLSchedules
from trainers.prompt_file import FILE_NAME


def rewritten(path: Path, out: Path, metadata: dict, learned: dict | None = None) -> Path:
    """A copy of a prompt file with other metadata entries (None: left out) or arrays."""
    with safe_open(path, "pt") as file:
        entries = {**file.metadata(), **metadata}
        arrays = {name: file.get_tensor(name) for name in file.keys()} if learned is None else learned  # noqa: SIM118
    save_file(arrays, out, {key: value for key, value in entries.items() if value is not None})
    return out


def test_a_training_leaves_its_outcome_in_one_file(eurosat: Path, weights: dict, tmp_path: Path, capsys) -> None:
    trainer = build("MPL", eurosat, weights["narrow"], tmp_path, "DATASET.NUM_SHOTS", 2, "DATASET.SUBSAMPLE_CLASSES", "base")
    trainer.train()
    assert f"Prompts saved to {tmp_path / FILE_NAME}" in capsys.readouterr().out
    file, result = PromptFile.read(tmp_path / FILE_NAME), json.loads((tmp_path / "result.json").read_text())
    assert file.accuracy == result["accuracy"] and file.split == "test"
    assert (file.method, file.dataset, file.subsample, file.shots, file.seed, file.epochs) == ("MPL", "EuroSAT", "base", 2, 1, 2)
    assert file.classnames == tuple(NAMES[:3])
    assert file.backbone.name == "narrow.pt", "no folder of this machine"
    assert file.versions["torch"] == torch.__version__
    assert file.settings["TRAINER.MPL.PROMPT_DEPTH"] == 3 and len(file.settings) == 8
    assert file.input["SIZE"] == [32, 32] and file.input["TRANSFORMS"] == ["normalize"], "a flip is for training alone"
    assert all(torch.equal(file.learned[name], value) for name, value in trainer.learned.state_dict().items())
    assert list(trainer.learned.state_dict()) and set(file.learned) == set(trainer.learned.state_dict())
    assert str(tmp_path) not in (tmp_path / FILE_NAME).read_bytes().decode("latin-1")


def test_a_training_without_a_test_knows_no_accuracy(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    build("CoOp", eurosat, weights["narrow"], tmp_path, "TEST.NO_TEST", True, "OPTIM.MAX_EPOCH", 1).train()
    file = PromptFile.read(tmp_path / FILE_NAME)
    assert (file.accuracy, file.split) == (None, None)


def test_zero_shot_clip_leaves_its_templates(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    accuracy = build("ZeroshotCLIP", eurosat, weights["narrow"], tmp_path).test()
    file = PromptFile.read(tmp_path / FILE_NAME)
    assert file.templates == ("a centered satellite photo of {}.",)
    assert (file.accuracy, dict(file.learned), file.epochs) == (accuracy, {}, None)


def test_mpl_of_vit_b16_takes_27_megabytes(tmp_path: Path) -> None:
    config = published_models()["ViT-B/16"].config
    schedules = MPLSchedules(n_ctx=1, prompt_depth=9, text_layers=config.text_layers, vision_layers=config.vit_layers, n_add=2, n_remove=1)
    widths_alone = dataclasses.replace(config, vision_layers=1, text_layers=1)  # the prompts depend on no block of the towers
    prompts = MPLPrompts(CLIP(widths_alone), ["heron"], "a photo of a", schedules)
    learned = {name: torch.zeros(p.shape) for name, p in prompts.published_names().items()}
    assert sum(value.numel() for value in learned.values()) == 6_702_336
    identity = BackboneIdentity("ViT-B/16", "0" * 64, (0.1234567890123,) * 300, {})
    names = tuple(f"a class of a long name, number {i}" for i in range(1000))
    path = PromptFile("MPL", {}, identity, names, {}, learned).write(tmp_path / FILE_NAME)
    assert path.stat().st_size < 27_000_000


def test_nothing_is_left_where_writing_fails(tmp_path: Path, prompts: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PromptFile.read(prompts("MPL")[1])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dassl.utils.files.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(tmp_path / FILE_NAME)
    assert list(tmp_path.iterdir()) == []


def test_an_array_in_half_precision_is_written_in_float32(tmp_path: Path, prompts: Callable) -> None:
    file = PromptFile.read(prompts("CoOp")[1])
    half = {name: value.half() for name, value in file.learned.items()}
    again = PromptFile.read(PromptFile(**{**vars(file), "learned": half}).write(tmp_path / FILE_NAME))
    assert all(value.dtype == torch.float32 and torch.equal(value, half[name].float()) for name, value in again.learned.items())


REFUSED = {
    "another file": (
        {"format": None},
        r"is no prompt file \(it holds arrays alone\)\. A training leaves one .* tools/export.py CHECKPOINT",
    ),
    "a later version": ({"format_version": "2"}, r"is of version 2 of the format; this code reads up to 1: take a later version"),
    "no version": ({"format_version": None}, r"is of version none of the format"),
    "no classes": ({"classnames": "[]"}, r"content cannot be used \(it names no classes\)"),
    "no texts": ({"classnames": "[1, 2]"}, r"classnames are no texts"),
    "cut JSON": ({"settings": '{"TRAINER.MPL.N_CTX": 1'}, r"content cannot be used"),
    "deep JSON": ({"settings": "[" * 100_000}, r"content cannot be used"),
    "no mapping": ({"input": "[]"}, r"input is no mapping"),
    "no number": ({"accuracy": '"high"'}, r"accuracy is no number"),
    "missing": ({"method": None, "backbone": None}, r"it does not say its backbone, method"),
    "half a backbone": ({"backbone": '{"name": "x"}'}, r"backbone does not say its sample, sha256, sizes"),
    "a text for a list": ({"classnames": '"abc"'}, r"classnames are no texts"),
    "names that write to the terminal": ({"classnames": '["\\u001b[2Jstar"]'}, r"classnames hold control characters"),
    "half a surrogate pair": ({"classnames": '["\\ud800"]'}, r"classnames hold control characters"),
    "no method": ({"method": "null"}, r"it does not say its method"),
    "an endless method": ({"method": "M" * 10_000_000}, r"method is beyond 200 characters"),
    "an endless seed": ({"seed": "9" * 5000}, r"content cannot be used \(Exceeds the limit"),
    "a seed beyond 64 bits": ({"seed": "9" * 30}, r"seed is no whole number"),
    "no accuracy": ({"accuracy": "NaN"}, r"accuracy is no number from 0 to 100"),
    "no place for the name": ({"templates": '["a photo"]'}, r"a template has no \{\} for the class name"),
    "no size": ({"input": "{}"}, r"input does not say its INTERPOLATION, PIXEL_MEAN, PIXEL_STD, SIZE, TRANSFORMS"),
    "memory for an attack": ({"settings": '{"TRAINER.MPL.N_ADD_OP": [1, 100000000]}'}, r"TRAINER.MPL.N_ADD_OP is beyond 1024"),
    "settings of the run": ({"settings": '{"MODEL.BACKBONE.NAME": "/x"}'}, r"MODEL.BACKBONE.NAME is no setting of a method"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_says_what_cannot_be_is_refused(case: str, prompts: Callable, tmp_path: Path) -> None:
    metadata, message = REFUSED[case]
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", metadata)
    with pytest.raises(PromptFileError, match=f"^{path} .*{message}"):
        PromptFile.read(path)


WRONG_ENTRIES = {
    "two means": ("input", {"PIXEL_MEAN": [0.5, 0.5]}, r"input's PIXEL_MEAN is no list of 3 numbers"),
    "no deviation": ("input", {"PIXEL_STD": [0, 1, 1]}, r"input's PIXEL_STD is not above 0"),
    "one side": ("input", {"SIZE": 32}, r"input's SIZE is no \[R, R\]"),
    "a file of this machine": ("backbone", {"name": "/etc/passwd"}, r"the backbone's name is a path, which is only for the one who loads"),
    "a sample of any CLIP": ("backbone", {"sample": []}, r"the backbone's sample holds no finite numbers"),
    "no hash": ("backbone", {"sha256": ""}, r"the backbone's sha256 is none"),
}


@pytest.mark.parametrize("case", WRONG_ENTRIES)
def test_an_entry_that_cannot_be_is_refused(case: str, prompts: Callable, tmp_path: Path) -> None:
    key, change, message = WRONG_ENTRIES[case]
    with safe_open(prompts("MPL")[1], "pt") as file:
        entry = json.loads(file.metadata()[key]) | change
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", {key: json.dumps(entry)})
    with pytest.raises(PromptFileError, match=f"^{path} .*{message}"):
        PromptFile.read(path)


def test_a_backbone_in_the_home_folder_is_named_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict) -> None:
    monkeypatch.setenv("HOME", str(weights["narrow"].parent))
    name = f"~/{weights['narrow'].name}"
    assert BackboneIdentity.of(load(name), name).name == weights["narrow"].name


@pytest.mark.parametrize("array", [torch.full((1, 64), torch.nan), torch.zeros(1, 64, dtype=torch.float16), torch.zeros(1, 64).long()])
def test_arrays_that_are_no_finite_float32_are_refused(array: torch.Tensor, prompts: Callable, tmp_path: Path) -> None:
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", {}, {"prompt_learner.ctx": array})
    with pytest.raises(PromptFileError, match=r"prompt_learner.ctx holds torch\.\w+ or numbers that are not finite"):
        PromptFile.read(path)


@pytest.mark.parametrize("length", [0, 7, 200, -10])
def test_a_file_cut_short_is_refused(length: int, prompts: Callable, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(prompts("MPL")[1].read_bytes()[:length])
    with pytest.raises(PromptFileError, match=f"^{path} is no prompt file"):
        PromptFile.read(path)


def test_a_checkpoint_and_a_missing_file_are_told_apart(prompts: Callable, tmp_path: Path) -> None:
    trainer, _ = prompts("CoOp")
    trainer.save_model(0, str(tmp_path))
    with pytest.raises(PromptFileError, match=r"model.pth.tar-1 is no prompt file .* tools/export.py CHECKPOINT"):
        PromptFile.read(tmp_path / "prompt_learner" / "model.pth.tar-1")
    with pytest.raises(FileNotFoundError, match="no prompt file at .*none.safetensors; a training leaves one"):
        PromptFile.read(tmp_path / "none.safetensors")


MISFITS = {
    "an unknown method": (
        {"method": "MPL2", "settings": '{"TRAINER.MPL2.N_CTX": 1}'},
        LookupError,
        r"unknown method 'MPL2'\. Did you mean MPL\? Known: CoCoOp, .*put the file that it was trained with into trainers/ here",
    ),
    "an unknown setting": ({"settings": '{"TRAINER.MPL.N_CTZ": 1}'}, ValueError, r"TRAINER.MPL.N_CTZ = 1: no such setting"),
    "a setting of another type": ({"settings": '{"TRAINER.MPL.N_CTX": "two"}'}, ValueError, r"TRAINER.MPL.N_CTX = 'two': expected int"),
    "another depth": ({"settings": '{"TRAINER.MPL.PROMPT_DEPTH": 2}'}, ValueError, r"does not fit MPL .*not learned by MPL as it is set"),
    "another method": ({"method": "CoOp", "settings": '{"TRAINER.COOP.N_CTX": 1}'}, ValueError, r"does not fit CoOp .*missing: ctx"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_arrays_and_settings_that_do_not_go_together_are_refused(
    case: str, prompts: Callable, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata, kind, message = MISFITS[case]
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", metadata)
    if case.startswith("an unknown"):
        monkeypatch.setattr("classify.classifier.clip.load", lambda name: pytest.fail("the CLIP was loaded before"))
    with pytest.raises(kind, match=f"(?s)changed.safetensors: .*{message}"):
        PromptClassifier.load(path, backbone=weights["narrow"], device="cpu")
