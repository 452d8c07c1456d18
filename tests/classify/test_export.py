"""The classifier leaves the project: logits of onnxruntime and of torch.export are PyTorch's, for any number of pictures."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from classify import PromptClassifier, export
from tests.classify.conftest import trained
from tests.trainers.small_runs import NAMES, SIZES, write_weights
from tools import export as tool
from trainers import prompt_file

IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def load(prompts: Callable, weights: dict) -> Callable[..., PromptClassifier]:
    def get(case: str, names: list[str] | None = None) -> PromptClassifier:
        return PromptClassifier.load(prompts(case)[1], names, weights["narrow"], "cpu", "fp32")

    return get


@pytest.mark.parametrize("case", ["MPL", "MaPLe", "VPT", "CoOp CSC", "CoCoOp", "ZeroshotCLIP2"])
def test_the_exportable_module_computes_what_the_classifier_does(case: str, load: Callable) -> None:
    classifier = load(case)
    with torch.no_grad():
        logits, image_features, text_features = export.exportable(classifier)(IMAGES)
    torch.testing.assert_close(logits, classifier.logits(IMAGES), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(image_features, classifier.encode_image(IMAGES), rtol=1e-4, atol=1e-5)
    expected = classifier.encode_text(IMAGES if case == "CoCoOp" else None)
    torch.testing.assert_close(text_features, expected, rtol=1e-4, atol=1e-5)


def shallow(case: str, root: Path, folder: Path, *settings: object) -> tuple[Path, Path]:
    """Weights of a CLIP of two layers, which are exported in seconds, and a prompt file learned in it."""
    weights = write_weights(folder / "shallow.pt", dataclasses.replace(SIZES["narrow"], vision_layers=2, text_layers=2))
    trainer = trained(case, root, weights, folder, *settings)
    file = prompt_file.of_trainer(trainer, type(trainer), trainer.learned.state_dict())
    return weights, file.write(folder / prompt_file.FILE_NAME)


def test_cocoop_is_exported_with_its_text_tower(eurosat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here with its weights in a file beside it, as those have that are too large for one file."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    weights, path = shallow("CoCoOp", eurosat, tmp_path)
    classifier = PromptClassifier.load(path, ["a heron", NAMES[1]], weights, "cpu", "fp32")
    monkeypatch.setattr(export, "MAX_ONE_FILE", 0)
    check_onnx(classifier, export.export_onnx(classifier, tmp_path / "out" / "a.onnx"))
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == ["a.onnx", "a.onnx.data"]


def check_torch_export(classifier: PromptClassifier, path: Path) -> None:
    """Hold a program of torch.export against the classifier."""
    extra = {export.ABOUT: ""}
    program = torch.export.load(path, extra_files=extra).module()
    for n_images in (1, 2, 5):
        check_outputs(classifier, n_images, program(pictures(classifier, n_images)))
    check_about(classifier, json.loads(extra[export.ABOUT]))


def check_onnx(classifier: PromptClassifier, path: Path) -> None:
    """Hold an ONNX file against the classifier."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n_images in (1, 2, 5):
        outputs = session.run(export.OUTPUTS, {"images": pictures(classifier, n_images).numpy()})
        check_outputs(classifier, n_images, tuple(map(torch.from_numpy, outputs)))
    check_about(classifier, session.get_modelmeta().custom_metadata_map)


def pictures(classifier: PromptClassifier, n_images: int) -> torch.Tensor:
    """Random pictures of the size that the classifier reads, ``[n_images, 3, R, R]``."""
    size = classifier.model.clip.config.image_size
    return torch.randn(n_images, 3, size, size, generator=torch.Generator().manual_seed(3))


def check_outputs(classifier: PromptClassifier, n_images: int, outputs: tuple[torch.Tensor, ...]) -> None:
    """Logits, image features and text features are the classifier's."""
    images = pictures(classifier, n_images)
    expected = (
        classifier.logits(images),
        classifier.encode_image(images),
        classifier.encode_text(images if classifier.depends_on_picture else None),
    )
    for output, wanted, tolerance in zip(outputs, expected, (1e-3, 1e-4, 1e-4), strict=True):
        torch.testing.assert_close(output, wanted, rtol=0, atol=tolerance)


def check_about(classifier: PromptClassifier, about: dict[str, str]) -> None:
    """What a program needs to know is in the file."""
    assert json.loads(about["classnames"]) == list(classifier.classnames)
    assert json.loads(about["input_size"]) == [classifier.model.clip.config.image_size] * 2 and about["method"] == classifier.file.method
    assert len(json.loads(about["pixel_mean"])) == len(json.loads(about["pixel_std"])) == 3


def test_a_file_whose_logits_differ_is_not_to_be_used(
    prompts: Callable, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(export, "export_torch", lambda classifier, path: Path(path).write_bytes(b"a program that computes something else"))
    monkeypatch.setattr(export, "torch_export_logits", lambda path, images: torch.full((len(images), 5), torch.nan))
    words = [prompts("VPT")[1], "--torch-export", tmp_path / "a.pt2", "--backbone", weights["narrow"]]
    assert tool.main([str(word) for word in words]) == 2
    assert "its logits differ from PyTorch's by nan, more than 0.001: do not use it" in capsys.readouterr().err


def test_nothing_is_left_where_writing_fails(prompts: Callable, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(program: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_program", lambda classifier: None)
    monkeypatch.setattr("torch.export.save", full)
    classifier = PromptClassifier.load(prompts("VPT")[1], backbone=weights["narrow"], device="cpu")
    with pytest.raises(OSError, match="No space left"):
        export.export_torch(classifier, tmp_path / "a.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["VPT", "CoCoOp"])
def test_a_forward_of_its_own_is_used_and_not_exported(method: str, load: Callable) -> None:
    classifier = load(method)
    images = pictures(classifier, 2)
    expected, base = classifier.logits(images), type(classifier.model)
    classifier.model.__class__ = type("Own", (base,), {"forward": lambda self, images: base.forward(self, images) * 2})
    torch.testing.assert_close(classifier.logits(images), expected * 2)
    with pytest.raises(ValueError, match=rf"{method} computes its logits in a forward of its own \(Own\)"):
        export.exportable(classifier)


def test_what_is_no_ordinary_file_is_not_exported_onto(
    prompts: Callable, load: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Told before any work, by the tool and from Python; a named pipe stands for any device."""
    source, pipe = prompts("VPT")[1], tmp_path / "pipe"
    os.mkfifo(pipe)
    classifier = load("VPT")
    monkeypatch.setattr(export, "_program", lambda classifier: pytest.fail("the work was done before the place was looked at"))
    for write in (export.export_onnx, export.export_torch, lambda _, path: prompt_file.PromptFile.read(source).write(path)):
        with pytest.raises(FileExistsError, match=f"cannot write the file {pipe}: what is there is no ordinary file"):
            write(classifier, pipe)
    monkeypatch.setattr(tool, "read_source", lambda args: pytest.fail("the source was read before the place was looked at"))
    for flag, place, message in (
        ("--safetensors", pipe, "what is there is no ordinary file"),
        ("--onnx", tmp_path, "what is there is a folder; name another file"),
        ("--torch-export", pipe, "what is there is no ordinary file"),
        ("--pth-tar", pipe, "is there and is no folder"),
    ):
        assert tool.main([str(source), flag, str(place)]) == 2
        assert message in capsys.readouterr().err, flag
    assert tool.main([str(source), "--onnx", str(tmp_path / "a"), "--torch-export", str(tmp_path / "." / "a")]) == 2
    assert "one file cannot hold two exports; received " in capsys.readouterr().err
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_missing_exporter_is_told(load: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(
        ModuleNotFoundError, match="PyTorch writes ONNX with onnxscript, which is not installed: pip install onnx onnxscript"
    ):
        export.export_onnx(load("VPT"), tmp_path / "a.onnx")


def test_only_float32_on_the_cpu_is_exported(prompts: Callable, weights: dict, tmp_path: Path) -> None:
    from trainers.precision import Precision

    classifier = PromptClassifier.load(prompts("VPT")[1], backbone=weights["narrow"], device="cpu")
    classifier.model.precision = Precision(autocast_dtype=torch.bfloat16)
    with pytest.raises(ValueError, match='load it with device="cpu", precision="fp32"'):
        export.export_torch(classifier, tmp_path / "a.pt2")
