"""Exported classifiers: onnxruntime and torch.export give PyTorch's logits for any number of images."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch

from classify import PromptClassifier, export
from tests.classify.conftest import CASES, trained, write_prompts
from tests.classify.test_command_line import run
from tests.trainers.small_runs import METHODS, NAMES, SIZES, write_weights


def check_outputs(classifier: PromptClassifier, run_program: Callable, about: dict[str, str]) -> None:
    """A program's outputs are the classifier's, and its metadata say what is needed."""
    size = classifier.model.clip.config.image_size
    for n_images in (1, 2, 5):
        images = torch.randn(n_images, 3, size, size, generator=torch.Generator().manual_seed(3))
        text = classifier.encode_text(images if classifier.file.method == "CoCoOp" else None)
        expected = (classifier.logits(images), classifier.encode_image(images), text)
        for output, wanted in zip(run_program(images), expected, strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-3)
    assert json.loads(about["classnames"]) == list(classifier.classnames)
    assert json.loads(about["input_size"]) == [size, size] and about["method"] == classifier.file.method
    assert len(json.loads(about["pixel_mean"])) == len(json.loads(about["pixel_std"])) == 3


def test_cocoop_is_exported_with_its_text_tower(eurosat: Path, tmp_path: Path) -> None:
    shallow = dataclasses.replace(SIZES["narrow"], vision_layers=1, text_layers=1)  # exported in seconds
    weights = write_weights(tmp_path / "shallow.pt", shallow)
    path = write_prompts(trained("CoCoOp", eurosat, weights, tmp_path))
    classifier = PromptClassifier.load(path, ["a heron", NAMES[1]], weights, "cpu", "fp32")
    export.export(classifier, onnx=str(tmp_path / "out" / "a.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "out" / "a.onnx", providers=["CPUExecutionProvider"])

    def run_session(images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(o) for o in session.run(export.OUTPUTS, {"images": images.numpy()})]

    check_outputs(classifier, run_session, session.get_modelmeta().custom_metadata_map)


@pytest.mark.parametrize("case", [case for case in CASES if case in METHODS and case != "CoCoOp"])
def test_every_method_is_exported(case: str, load: Callable, tmp_path: Path) -> None:
    """CoOp and CoCoOp are below and above; what writes a file compares its logits with the classifier's."""
    export.export(load(case), torch_export=str(tmp_path / "a.pt2"))


def test_torch_export_by_the_command_line(prompts, load, weights, tmp_path, monkeypatch, capsys) -> None:
    """It computes what the classifier does; an export of nothing, and other logits, give 2."""
    words, path = ("export", prompts("CoOp CSC")[1], "--backbone", weights["narrow"]), tmp_path / "a.pt2"
    assert run(*words) == 2
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    assert run(*words, "--torch-export", path) == 2
    assert "do not use it" in capsys.readouterr().err
    extra = {export.ABOUT: ""}
    program = torch.export.load(path, extra_files=extra).module()
    check_outputs(load("CoOp CSC"), program, json.loads(extra[export.ABOUT]))
