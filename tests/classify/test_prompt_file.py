"""The prompt file: a training leaves it, it says what it is, and a damaged or foreign one is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from classify import PromptFile
from classify.convert import from_checkpoint
from tests.trainers.small_runs import NAMES, build
from trainers.prompt_file import FILE_NAME


def test_a_training_leaves_its_outcome_in_one_file(eurosat, weights, tmp_path, capsys) -> None:
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
    # A flip is for training.
    assert file.input["SIZE"] == [32, 32] and file.input["TRANSFORMS"] == ["normalize"]
    assert set(file.learned) == set(trainer.learned.state_dict())
    assert all(torch.equal(file.learned[name], value) for name, value in trainer.learned.state_dict().items())
    assert str(tmp_path) not in (tmp_path / FILE_NAME).read_bytes().decode("latin-1")
    converted = from_checkpoint(tmp_path / "MultiModalPromptLearner" / "model.pth.tar-2")
    again = PromptFile.read(converted.write(tmp_path / "again.safetensors"))
    assert all(torch.equal(value, file.learned[name]) for name, value in again.learned.items())
    untested = dataclasses.replace(file, learned={}, split=None, accuracy=None)
    assert dataclasses.replace(again, learned={}) == untested


@pytest.mark.parametrize(("entries", "message"), [
    ({"format": None}, "no prompt file"),
    ({"format_version": "2"}, "no prompt file"),
    ({"settings": '{"TRAINER.MPL.N_CTX": 1'}, "no prompt file"),
    ({"method": None, "backbone": None}, "no prompt file"),
    ({"method": "MPL2", "settings": "{}"}, "Did you mean MPL"),
    ({"settings": '{"TRAINER.MPL.N_CTZ": 1}'}, "N_CTZ"),
    ({"method": "CoOp", "settings": '{"TRAINER.COOP.N_CTX": 1}'}, "does not fit CoOp"),
])  # fmt: skip
def test_a_foreign_or_damaged_file_is_refused(entries, message, prompts, load, tmp_path) -> None:
    """A file with other entries in its metadata (None: left out), and one that was cut."""
    path = tmp_path / "changed.safetensors"
    with safe_open(prompts("MPL")[1], "pt") as file:
        metadata = {key: value for key, value in {**file.metadata(), **entries}.items() if value is not None}
        save_file({name: file.get_tensor(name) for name in file.keys()}, path, metadata)  # noqa: SIM118
    with pytest.raises((ValueError, LookupError), match=message):
        load(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"^{path} is no prompt file"):
        PromptFile.read(path)
