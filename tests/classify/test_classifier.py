"""PromptClassifier: the trainer's logits, for pictures in every form and for any class names, in the CLIP of the training alone."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import clip
from classify import Prediction, PromptClassifier
from classify.pictures import UnreadablePicture, find_pictures
from dassl.utils.images import ImageError
from tests.classify.conftest import CASES
from tests.trainers.small_runs import NAMES, SIZES, write_weights

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def load(prompts: Callable, weights: dict) -> Callable[..., PromptClassifier]:
    """From a name in CASES to its classifier on the CPU."""

    def get(case: str = "MPL", **more: object) -> PromptClassifier:
        return PromptClassifier.load(prompts(case)[1], **{"backbone": weights["narrow"], "device": "cpu", **more})

    return get


@pytest.fixture(scope="module")
def folder(eurosat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four pictures, one of them in a folder below, and files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    found = sorted((eurosat / "eurosat" / "2750").rglob("test_0.png"))
    for name, source in zip(("a.png", "below/b.PNG", "c.png", "d.png"), found, strict=False):
        shutil.copy(source, folder / name)
    for name in ("notes.txt", ".hidden.png"):
        (folder / name).write_text("no picture")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_trainers(case: str, prompts: Callable, load: Callable) -> None:
    trainer, _ = prompts(case)
    torch.testing.assert_close(load(case).logits(IMAGES), trainer.model_inference(IMAGES), rtol=1e-5, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("precision", [None, "fp32", "bf16", "amp"])
def test_logits_on_the_gpu_are_near_those_of_the_cpu(case: str, precision: str | None, load: Callable) -> None:
    on_gpu, on_cpu = load(case, device="cuda", precision=precision), load(case)
    tolerance = {"fp32": 1e-3, None: 0.1}.get(precision, 0.3)  # 16 bits keep 8 to 11, and logits are of the order of 10
    for names in (NAMES, NAMES[:2]):
        on_gpu.classnames = on_cpu.classnames = names
        torch.testing.assert_close(on_gpu.logits(IMAGES).float().cpu(), on_cpu.logits(IMAGES), rtol=0.05, atol=tolerance)
    assert on_gpu.encode_image(IMAGES).device.type == "cuda"


@pytest.mark.parametrize("case", ["MPL", "CoOp middle", "CoCoOp", "ZeroshotCLIP2", "VPT", "IVLP without text"])
def test_a_class_keeps_its_logit_whatever_stands_beside_it(case: str, load: Callable) -> None:
    classifier = load(case)
    before = classifier.logits(IMAGES)
    classifier.classnames = [NAMES[3], "a heron on a lake", NAMES[0]]
    after = classifier.logits(IMAGES)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [3, 0]], rtol=1e-4, atol=1e-4)
    assert (after[:, 1:2] - before).abs().min() > 1e-4
    torch.testing.assert_close(load(case, classnames=[NAMES[3], "a heron on a lake", NAMES[0]]).logits(IMAGES), after)


def test_words_of_their_own_are_for_the_classes_of_the_training(load: Callable) -> None:
    classifier = load("CoOp CSC")
    before = classifier.logits(IMAGES)
    classifier.classnames = [NAMES[4], NAMES[1]]
    torch.testing.assert_close(classifier.logits(IMAGES), before[:, [4, 1]], rtol=1e-4, atol=1e-4)
    with pytest.raises(
        ValueError, match=r"learned words of its own for each class \(CSC\).* 5 classes .* not 'a heron'\. Choose among: Annual Crop"
    ):
        classifier.classnames = [NAMES[0], "a heron"]
    assert classifier.classnames == (NAMES[4], NAMES[1]), "a refused change changes nothing"
    assert classifier.logits(IMAGES).shape == (4, 2)


def test_text_is_encoded_once_for_a_set_of_names(load: Callable) -> None:
    classifier, calls = load(), []
    classifier.model.clip.transformer.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        classifier.classify(IMAGES)
    classifier.encode_text()
    classifier.classnames = list(classifier.classnames)
    classifier.classify(IMAGES)
    assert len(calls) == 1
    classifier.classnames = ["a heron", "a stork"]
    assert classifier.logits(IMAGES).shape == (4, 2)
    assert len(calls) == 2


def test_features_are_normalised_and_make_the_logits(load: Callable) -> None:
    classifier = load()
    image, text = classifier.encode_image(IMAGES), classifier.encode_text()
    assert image.shape == (4, 32) and text.shape == (5, 32) and image.dtype == text.dtype == torch.float32
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(classifier.model.clip.logit_scale.exp() * image @ text.t(), classifier.logits(IMAGES))
    assert not any(p.requires_grad for p in classifier.model.parameters())
    with pytest.raises(ValueError, match="of MPL are the same for all pictures: give none"):
        classifier.encode_text(IMAGES)


def test_text_features_of_cocoop_depend_on_the_picture(load: Callable) -> None:
    classifier = load("CoCoOp")
    assert classifier.depends_on_picture
    text = classifier.encode_text(IMAGES)
    assert text.shape == (4, 5, 32) and (text[0] - text[1]).abs().max() > 1e-4
    products = torch.einsum("be,bce->bc", classifier.encode_image(IMAGES), text)
    torch.testing.assert_close(classifier.model.clip.logit_scale.exp() * products, classifier.logits(IMAGES), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="of CoCoOp depend on the picture: give pictures"):
        classifier.encode_text()


def test_every_form_of_a_picture_gives_the_same(load: Callable, folder: Path) -> None:
    classifier = load()
    paths = [folder / "a.png", folder / "below" / "b.PNG", folder / "c.png", folder / "d.png"]
    assert find_pictures(folder) == [paths[0], paths[2], paths[3], paths[1]]
    expected = [classifier.classify(path) for path in paths]
    assert all(isinstance(prediction, Prediction) for prediction in expected)
    assert [p.source for p in expected] == [str(path) for path in paths]
    scores = [p.scores for p in expected]
    assert [p.scores for p in classifier.classify(folder)] == [pytest_near(scores[i]) for i in (0, 2, 3, 1)]
    pictures = [Image.open(path) for path in paths]
    tensors = torch.stack([classifier.transform(picture.convert("RGB")) for picture in pictures])
    for form in ([str(path) for path in paths], pictures, tensors, list(tensors), tuple(paths)):
        assert [p.scores for p in classifier.classify(form)] == [pytest_near(s) for s in scores]
    for one in (str(paths[0]), pictures[0], tensors[0]):
        assert classifier.classify(one).scores == pytest_near(scores[0])
    assert classifier.classify(pictures[0]).source is None
    grey = Image.open(paths[0]).convert("L")
    assert classifier.logits(grey).shape == (1, 5)


class pytest_near(tuple):  # noqa: N801
    """Scores that equal others up to the rounding that another batch size brings."""

    def __eq__(self, other: object) -> bool:
        pairs = list(zip(self, other, strict=True))  # type: ignore[call-overload]
        return all(a.name == b.name and abs(a.logit - b.logit) < 1e-3 and abs(a.probability - b.probability) < 1e-4 for a, b in pairs)

    __hash__ = tuple.__hash__


def test_predictions_hold_the_likeliest_first(load: Callable) -> None:
    classifier = load()
    logits = classifier.logits(IMAGES)
    for row, prediction in zip(logits, classifier.classify(IMAGES, top=3), strict=True):
        assert [s.name for s in prediction.scores] == [NAMES[i] for i in row.argsort(descending=True)[:3]]
        assert [s.probability for s in prediction.scores] == pytest.approx(sorted(row.softmax(0).tolist(), reverse=True)[:3], abs=1e-5)
        assert (prediction.name, prediction.probability) == (prediction.scores[0].name, prediction.scores[0].probability)
    assert len(classifier.classify(IMAGES, top=100)[0].scores) == 5
    assert str(classifier.classify(IMAGES[0], top=1)) == f"{prediction_name(logits[0])} {100 * float(logits[0].softmax(0).max()):.1f}%"
    with pytest.raises(ValueError, match="top is 0; at least 1"):
        classifier.classify(IMAGES, top=0)


def prediction_name(row: torch.Tensor) -> str:
    return NAMES[int(row.argmax())]


def test_files_that_cannot_be_read_are_named(load: Callable, folder: Path, tmp_path: Path) -> None:
    classifier, broken, bomb = load(), tmp_path / "broken.png", tmp_path / "cut.png"
    broken.write_text("no picture")
    bomb.write_bytes((folder / "a.png").read_bytes()[:100])
    listed = [folder / "a.png", broken, bomb, tmp_path / "none.png", folder / "c.png"]
    found = list(classifier.stream(listed, batch_size=2))
    assert [type(f) for f in found] == [Prediction, UnreadablePicture, UnreadablePicture, UnreadablePicture, Prediction]
    assert [f.source for f in found] == [str(path) for path in listed]
    assert found[3].reason == "there is no such file" and "cannot decode" in found[1].reason
    with pytest.raises(ImageError, match=r"broken.png: cannot decode"):
        classifier.classify(listed)
    with pytest.raises(ImageError, match=r"broken.png"):
        classifier.encode_image(broken)
    with pytest.warns(UserWarning, match=r"left out: .*none.png: there is no such file"):
        predictions = classifier.classify(listed, skip_unreadable=True)
    assert [p.source for p in predictions] == [str(listed[0]), str(listed[4])]
    with pytest.raises(FileNotFoundError, match="no picture or folder at .*nowhere"):
        classifier.classify(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no picture in the folder .*empty; files that count end in .bmp"):
        classifier.classify(tmp_path / "empty")


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (torch.zeros(3, 31, 32), ValueError, r"float \[3, 32, 32\]; received torch.float32 \[3, 31, 32\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), ValueError, r"received torch.uint8"),
        (torch.zeros(32, 32), ValueError, r"received torch.float32 \[32\]"),
        (3, TypeError, r"or a list of them; received a int"),
        (Image.new("I;16", (40, 40), 30000), ValueError, r"mode I;16 with values beyond 255, .* nearly all white: bring it to 8 bits"),
        ([3], TypeError, r"a list of pictures holds paths, PIL pictures and tensors; received a int"),
    ],
)
def test_what_is_no_picture_is_refused(wrong: object, kind: type, message: str, load: Callable) -> None:
    with pytest.raises(kind, match=message):
        load().logits(wrong)


def test_no_picture_at_all(load: Callable) -> None:
    assert load().classify([]) == []
    with pytest.raises(ValueError, match="no picture is given"):
        load().logits([])


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        ("heron", TypeError, r'a list such as \["a heron", "a stork"\]; received the text \'heron\''),
        ([], ValueError, "class names are needed"),
        (["a heron", " "], ValueError, "none of them empty"),
        (["a heron", "a\x1b[2Jstork"], ValueError, r"'a\\x1b\[2Jstork' holds a control character or a line's end"),
        (["a heron\na stork"], ValueError, "holds a control character or a line's end"),
        (["a heron", 3], TypeError, "class names are texts; received 3"),
        (["sea_lake", "a heron", "sea  lake "], ValueError, "'sea_lake' and 'sea  lake' read alike in a prompt"),
        (["heron " * 40], ValueError, "needs .* tokens, .* the text tower has 32 positions"),
    ],
)
def test_class_names_that_cannot_be_used_are_refused(names: object, kind: type, message: str, load: Callable) -> None:
    with pytest.raises(kind, match=message):
        load(classnames=names)


def test_the_random_generators_of_the_program_are_left_alone(load: Callable) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load().classnames = ["a heron"]
    assert torch.equal(torch.rand(3), expected)


def test_another_clip_is_refused(prompts: Callable, load: Callable, weights: dict, tmp_path: Path) -> None:
    _, path = prompts("CoOp")
    others = write_weights(tmp_path / "others.pt", SIZES["narrow"], seed=1)
    patches = write_weights(tmp_path / "patches.pt", dataclasses.replace(SIZES["narrow"], patch_size=8))
    message = rf"{path} was learned in the CLIP narrow.pt, and {others} is another one: its weights are others \(relative distance 1\.\d+"
    with pytest.raises(ValueError, match=message):
        load("CoOp", backbone=others)
    with pytest.raises(ValueError, match=r"patch_size is 8, not 16\. Its predictions would mean nothing"):
        load("CoOp", backbone=patches)
    with pytest.raises(ValueError, match=r"embed_dim is 48, not 32; "):
        load("CoOp", backbone=weights["wide"])
    with pytest.raises(
        ValueError, match=r"was learned in the CLIP narrow.pt, and 'narrow.pt' is neither a name of weights nor a file here"
    ):
        PromptClassifier.load(path)


def test_the_same_clip_in_another_container_is_the_same(load: Callable, weights: dict, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = torch.load(weights["narrow"], weights_only=True)
    save_file(state, tmp_path / "same.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = load(backbone=tmp_path / "same.safetensors")
    assert torch.equal(same.logits(IMAGES), load().logits(IMAGES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_same_clip_rounded_otherwise_is_used_with_a_warning(dtype: torch.dtype, load: Callable, weights: dict, tmp_path: Path) -> None:
    state = torch.load(weights["narrow"], weights_only=True)
    torch.save({name: value.to(dtype) for name, value in state.items()}, tmp_path / "rounded.pt")
    with pytest.warns(UserWarning, match=r"are not bit for bit those that .* was learned in \(narrow.pt, .*expect slightly other logits"):
        rounded = load(backbone=tmp_path / "rounded.pt")
    torch.testing.assert_close(rounded.logits(IMAGES), load().logits(IMAGES), rtol=0.05, atol=0.3)


def test_a_resnet_takes_text_prompts(eurosat: Path, tmp_path: Path) -> None:
    from tests.classify.conftest import trained
    from trainers import prompt_file

    weights = write_weights(tmp_path / "resnet.pt", clip.CLIPConfig(32, 64, (1, 1, 1, 1), 8, None, 32, 49408, 64, 2, vision_heads=4))
    trainer = trained("CoOp", eurosat, weights, tmp_path, "INPUT.SIZE", (64, 64))
    path = prompt_file.of_trainer(trainer, type(trainer), trainer.learned.state_dict()).write(tmp_path / "prompts.safetensors")
    images = torch.randn(2, 3, 64, 64)
    classifier = PromptClassifier.load(path, backbone=weights, device="cpu")
    torch.testing.assert_close(classifier.logits(images), trainer.model_inference(images), rtol=1e-4, atol=1e-4)
