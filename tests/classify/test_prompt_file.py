"""The prompt file: a training leaves it, it says what it is, and a damaged or foreign one is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from classify import PromptClassifier, PromptFile
from tests.trainers.small_runs import NAMES, build
from trainers.prompt_file import FILE_NAME


def rewritten(path: Path, out: Path, metadata: dict) -> Path:
    """A copy of a prompt file with other metadata entries (None: left out)."""
    with safe_open(path, "pt") as file:
        entries = {**file.metadata(), **metadata}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(arrays, out, {key: value for key, value in entries.items() if value is not None})
    return out


def test_a_training_leaves_its_outcome_in_one_file(
    eurosat: Path, weights: dict, tmp_path: Path, capsys
) -> None:
    pairs = ("DATASET.NUM_SHOTS", 2, "DATASET.SUBSAMPLE_CLASSES", "base")
    trainer = build("MPL", eurosat, weights["narrow"], tmp_path, *pairs)
    trainer.train()
    assert f"Prompts saved to {tmp_path / FILE_NAME}" in capsys.readouterr().out
    file, result = PromptFile.read(tmp_path), json.loads((tmp_path / "result.json").read_text())
    assert file.accuracy == result["accuracy"] and file.split == "test"
    about = (file.method, file.dataset, file.subsample, file.shots, file.seed, file.epochs)
    assert about == ("MPL", "EuroSAT", "base", 2, 1, 2)
    assert file.classnames == tuple(NAMES[:3])
    assert file.backbone.name == "narrow.pt", "no folder of this machine"
    assert file.settings["TRAINER.MPL.PROMPT_DEPTH"] == 3
    assert file.input["SIZE"] == [32, 32] and file.input["TRANSFORMS"] == ["normalize"], (
        "a flip is for training"
    )
    assert set(file.learned) == set(trainer.learned.state_dict())
    assert all(torch.equal(file.learned[name], value) for name, value in trainer.learned.state_dict().items())
    assert str(tmp_path) not in (tmp_path / FILE_NAME).read_bytes().decode("latin-1")


def test_zero_shot_clip_leaves_its_templates(eurosat: Path, weights: dict, tmp_path: Path) -> None:
    accuracy = build("ZeroshotCLIP", eurosat, weights["narrow"], tmp_path).test()
    file = PromptFile.read(tmp_path)
    assert file.templates == ("a centered satellite photo of {}.",)
    assert (file.accuracy, dict(file.learned), file.epochs) == (accuracy, {}, None)


REFUSED = {
    "another file": {"format": None},
    "a later version": {"format_version": "2"},
    "cut JSON": {"settings": '{"TRAINER.MPL.N_CTX": 1'},
    "missing entries": {"method": None, "backbone": None},
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_with_impossible_entries_is_refused(case: str, prompts: Callable, tmp_path: Path) -> None:
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", REFUSED[case])
    with pytest.raises(ValueError, match=f"^{path} "):
        PromptFile.read(path)


@pytest.mark.parametrize("length", [0, -10])
def test_a_file_cut_short_is_refused(length: int, prompts: Callable, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(prompts("MPL")[1].read_bytes()[:length])
    with pytest.raises(ValueError, match=f"^{path} is no prompt file"):
        PromptFile.read(path)


MISFITS = {
    "an unknown method": ({"method": "MPL2", "settings": "{}"}, "Did you mean MPL"),
    "an unknown setting": ({"settings": '{"TRAINER.MPL.N_CTZ": 1}'}, "N_CTZ"),
    "another method": ({"method": "CoOp", "settings": '{"TRAINER.COOP.N_CTX": 1}'}, "does not fit CoOp"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_arrays_and_settings_that_do_not_go_together_are_refused(
    case: str, prompts, weights, tmp_path
) -> None:
    metadata, message = MISFITS[case]
    path = rewritten(prompts("MPL")[1], tmp_path / "changed.safetensors", metadata)
    with pytest.raises((ValueError, LookupError), match=message):
        PromptClassifier.load(path, backbone=weights["narrow"], device="cpu")
