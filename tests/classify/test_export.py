"""Exported classifiers: onnxruntime and torch.export give PyTorch's logits for any number of images."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from classify import PromptClassifier, export
from tests.classify.conftest import trained, write_prompts
from tests.classify.test_command_line import run
from tests.trainers.small_runs import NAMES, SIZES, write_weights

IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def check_outputs(classifier: PromptClassifier, run_program: Callable, about: dict[str, str]) -> None:
    """A program's outputs are the classifier's, and its metadata say what is needed."""
    size = classifier.model.clip.config.image_size
    for n_images in (1, 2, 5):
        images = torch.randn(n_images, 3, size, size, generator=torch.Generator().manual_seed(3))
        text = classifier.encode_text(images if classifier.depends_on_image else None)
        expected = (classifier.logits(images), classifier.encode_image(images), text)
        for output, wanted in zip(run_program(images), expected, strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-3)
    assert json.loads(about["classnames"]) == list(classifier.classnames)
    assert json.loads(about["input_size"]) == [size, size] and about["method"] == classifier.file.method
    assert len(json.loads(about["pixel_mean"])) == len(json.loads(about["pixel_std"])) == 3


def check_torch_export(classifier: PromptClassifier, path: Path) -> None:
    """Compare a program of torch.export with the classifier."""
    extra = {export.ABOUT: ""}
    program = torch.export.load(path, extra_files=extra).module()
    check_outputs(classifier, program, json.loads(extra[export.ABOUT]))


def check_onnx(classifier: PromptClassifier, path: Path) -> None:
    """Compare an ONNX file with the classifier."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run_session(images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(o) for o in session.run(export.OUTPUTS, {"images": images.numpy()})]

    check_outputs(classifier, run_session, session.get_modelmeta().custom_metadata_map)


def test_a_program_of_torch_export_computes_what_the_classifier_does(load: Callable, tmp_path: Path) -> None:
    classifier = load("MPL")
    export.write_torch_export(classifier, tmp_path / "a.pt2")
    check_torch_export(classifier, tmp_path / "a.pt2")


def test_cocoop_is_exported_with_its_text_tower(eurosat: Path, tmp_path: Path, monkeypatch) -> None:
    """With its weights in a file beside the ONNX file, as those that are too large for one file."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    shallow = dataclasses.replace(SIZES["narrow"], vision_layers=2, text_layers=2)  # exported in seconds
    weights = write_weights(tmp_path / "shallow.pt", shallow)
    path = write_prompts(trained("CoCoOp", eurosat, weights, tmp_path, "OPTIM.MAX_EPOCH", 1), tmp_path)
    classifier = PromptClassifier.load(path, ["a heron", NAMES[1]], weights, "cpu", "fp32")
    monkeypatch.setattr(export, "MAX_ONE_FILE", 0)
    export.write_onnx(classifier, tmp_path / "out" / "a.onnx")
    check_onnx(classifier, tmp_path / "out" / "a.onnx")
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == ["a.onnx", "a.onnx.data"]


def test_a_program_with_other_logits_and_an_export_of_nothing_are_refused(
    prompts: Callable, weights: dict, tmp_path: Path, monkeypatch, capsys
) -> None:
    words = ("export", prompts("VPT")[1], "--backbone", weights["narrow"])
    assert run(*words) == 2
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    assert run(*words, "--torch-export", tmp_path / "a.pt2") == 2
    assert "do not use it" in capsys.readouterr().err
