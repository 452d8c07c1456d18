"""Features of val and test pictures are computed once where no learned prompt stands among the patches, and results are those of computing them each time."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms as T
from torch import Tensor

from clip import CLIP
from dassl.data import picture_cache
from dassl.utils import ImageError, set_random_seed
from trainers import prompted_clip
from trainers.evaluation import digest_of_module

from .small_runs import NODES, SIZES, build, write_weights

LANGUAGE_ONLY = {
    "CoOp": (),
    "CoCoOp": (),
    "ZeroshotCLIP": (),
    "ZeroshotCLIP2": (),
    "IVLP": ("TRAINER.IVLP.PROMPT_DEPTH_VISION", 0),
    "PromptSRC": ("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 0),
}
WITH_VISION = ("MPL", "MaPLe", "IVLP", "VPT", "PromptSRC")


class World:
    """Small trainers that share a folder of features, and what their tests do."""

    def __init__(self, eurosat: Path, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.eurosat, self.weights, self.folder, self.cache = eurosat, weights, folder, folder / "cache"
        self.n_encoded = self.n_decoded = 0
        encode, decode = prompted_clip.CLIP.encode_image, picture_cache.read_image

        def counted_encode(*args: Any) -> Tensor:
            self.n_encoded += 1
            return encode(*args)

        def counted_decode(path: str) -> Any:
            self.n_decoded += 1
            return decode(path)

        monkeypatch.setattr(prompted_clip.CLIP, "encode_image", counted_encode)
        monkeypatch.setattr(picture_cache, "read_image", counted_decode)

    def build(self, method: str, *pairs: Any) -> Any:
        settings = ("DATALOADER.CACHE_DIR", str(self.cache), "DATALOADER.TEST.BATCH_SIZE", 4, *LANGUAGE_ONLY.get(method, ()), *pairs)
        set_random_seed(0)
        return build(method, self.eurosat, self.weights, self.folder / "run", *settings)

    def files(self) -> list[Path]:
        """The files of features; not those of pixels."""
        return [path for path in sorted(self.cache.glob(".picture_cache/*.cache")) if not path.read_bytes().startswith(b"pictures")]


@pytest.fixture
def world(eurosat: Path, weights: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(eurosat, weights["narrow"], tmp_path, monkeypatch)


def outputs(trainer: Any, split: str = "test") -> tuple[list[Tensor], list[int]]:
    """Logits of each batch of a test, and all labels."""
    seen: list[tuple[Tensor, Tensor]] = []
    real = trainer.evaluator.process

    def process(logits: Tensor, labels: Tensor) -> None:
        seen.append((logits.clone(), labels))
        real(logits, labels)

    trainer.evaluator.process = process
    try:
        trainer.test(split)
    finally:
        trainer.evaluator.process = real
    return [logits for logits, _ in seen], [label for _, labels in seen for label in labels.tolist()]


def same(left: Any, right: Any) -> bool:
    return left[1] == right[1] and len(left[0]) == len(right[0]) > 1 and all(map(torch.equal, left[0], right[0]))


@pytest.mark.parametrize("method", LANGUAGE_ONLY)
def test_tests_are_the_same_to_the_last_bit_and_load_no_picture_twice(method: str, world: World) -> None:
    plain = outputs(world.build(method, "SPEED.CACHE_IMAGE_FEATURES", False))
    assert not world.files() and len(plain[1]) == 15
    trainer = world.build(method)
    assert same(plain, outputs(trainer)) and len(world.files()) == 1
    world.n_encoded = world.n_decoded = 0
    assert same(plain, outputs(trainer)), "again in a run"
    assert same(plain, outputs(world.build(method))), "and in the next"
    assert (world.n_encoded, world.n_decoded) == (0, 0)


@pytest.mark.parametrize("method", ["CoOp", "CoCoOp"])
def test_prompts_that_learn_are_tested_as_they_are(method: str, world: World) -> None:
    """Val after each epoch, with features of the first."""
    found = []
    for keeps in (False, True):
        world.n_encoded = 0
        trainer = world.build(
            method, "SPEED.CACHE_IMAGE_FEATURES", keeps, "TEST.FINAL_MODEL", "best_val", "OPTIM.WARMUP_EPOCH", -1, "OPTIM.LR", 1.0
        )
        shutil.rmtree(trainer.output_dir, ignore_errors=True)
        trainer.train()
        found.append(
            (trainer.best_result, outputs(trainer), {k: v.clone() for k, v in trainer.learned.state_dict().items()}, world.n_encoded)
        )
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1]) and found[1][3] < found[0][3]
    assert all(torch.equal(found[0][2][key], found[1][2][key]) for key in found[0][2])
    before = outputs(trainer)
    next(iter(trainer.learned.parameters())).data.add_(1.0)
    assert not same(before, outputs(trainer))


@pytest.mark.parametrize("method", WITH_VISION)
def test_prompts_among_the_patches_keep_none(method: str, world: World) -> None:
    pairs = (f"TRAINER.{NODES[method]}.PROMPT_DEPTH_VISION", 3) if method in LANGUAGE_ONLY else ()
    trainer = world.build(method, *pairs)
    for _ in range(2):
        world.n_encoded = 0
        outputs(trainer)
        assert world.n_encoded == 4
    assert not world.files()


def test_whatever_features_depend_on_makes_others(world: World, tmp_path: Path) -> None:
    trainer = world.build("ZeroshotCLIP")
    first = outputs(trainer)

    def is_computed(trainer: Any, plain: Any = None) -> bool:
        world.n_encoded = 0
        kept = outputs(trainer)
        n_encoded, trainer._image_features = world.n_encoded, None
        trainer.cfg.defrost()
        trainer.cfg.SPEED.CACHE_IMAGE_FEATURES = False
        assert same(outputs(trainer), kept)
        return n_encoded == 4

    assert not is_computed(world.build("ZeroshotCLIP"))
    assert is_computed(
        world.build("ZeroshotCLIP", "MODEL.BACKBONE.NAME", str(write_weights(tmp_path / "other.pt", SIZES["narrow"], seed=1)))
    )
    assert is_computed(world.build("ZeroshotCLIP", "INPUT.PIXEL_MEAN", [0.1, 0.2, 0.3]))
    assert is_computed(world.build("ZeroshotCLIP", "SPEED.READ_ONE_TOKEN", False))
    another = world.build("ZeroshotCLIP", "DATALOADER.TEST.BATCH_SIZE", 5)
    world.n_encoded = 0
    assert sorted(outputs(another)[1]) == sorted(first[1]) and world.n_encoded == 3
    replaced = world.build("ZeroshotCLIP")
    replaced.test_loader.dataset.transform = T.Compose([T.Resize((32, 32)), T.ToTensor()])
    assert is_computed(replaced)
    other_precision = world.build("ZeroshotCLIP")
    other_precision.model.clip.set_compute_dtype(torch.bfloat16)
    assert is_computed(other_precision)
    tweaked = world.build("ZeroshotCLIP")
    tweaked.model.clip.visual.conv1.weight.data[3, 1, 2, 2] += 0.5
    assert is_computed(tweaked)
    for change in ({"quick_gelu": False}, {"vision_heads": 2}):  # which no array shows
        other = world.build("ZeroshotCLIP")
        changed = CLIP(dataclasses.replace(other.model.clip.config, **change))
        changed.load_state_dict(other.model.clip.state_dict())
        other.model.clip = changed.requires_grad_(False).eval()
        assert is_computed(other), change
    for mean in (0.48145, 0.481452):  # which an array prints alike
        barely = world.build("ZeroshotCLIP")
        normalize = barely.test_loader.dataset.transform.transforms[-1]
        normalize.mean, normalize.std = torch.tensor([mean, 0.45, 0.40]), torch.tensor([0.27, 0.26, 0.28])
        assert is_computed(barely)
    unknown = world.build("ZeroshotCLIP")
    unknown.test_loader.dataset.transform = T.Compose([T.RandomCrop(32), T.ToTensor()])
    assert is_computed(unknown) and is_computed(unknown)


def test_a_picture_that_changes_or_vanishes(world: World, tmp_path: Path) -> None:
    world.eurosat = Path(shutil.copytree(world.eurosat, tmp_path / "data"))
    trainer = world.build("CoOp")
    first = outputs(trainer)
    picture, other = (Path(trainer.dm.dataset.test[index].impath) for index in (0, 1))
    shutil.copyfile(other, picture)
    changed = outputs(trainer)
    assert not same(first, changed) and same(changed, outputs(world.build("CoOp", "SPEED.CACHE_IMAGE_FEATURES", False)))
    other.unlink()
    with pytest.raises(ImageError, match="no picture at"):
        outputs(trainer)


def test_damaged_features_are_computed_anew(world: World) -> None:
    plain = outputs(world.build("CoOp"))
    (path,) = world.files()
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-4], whole + b"more", b""):
        path.write_bytes(damaged)
        assert same(plain, outputs(world.build("CoOp"))) and path.read_bytes() == whole


def test_a_trainer_that_tests_in_a_way_of_its_own_is_obeyed(world: World) -> None:
    trainer = world.build("CoOp")
    outputs(trainer)
    real = trainer.model_inference
    trainer.model_inference = lambda images: real(images) * 2
    assert torch.equal(outputs(trainer)[0][0], outputs(world.build("CoOp"))[0][0] * 2)
    for name, change in (
        ("parse_batch_test", lambda self, batch: (batch["img"] * 0, batch["label"])),
        ("model_inference", lambda self, x: x),
    ):
        trainer = world.build("CoOp")
        trainer.__class__ = type("Own", (type(trainer),), {name: change})
        assert trainer._digest_of_batches(trainer.test_loader) is None


def changed_tower(trainer: Any, how: str) -> None:
    """Let the image tower compute otherwise with the same weights, as a method built on this one may."""
    model, visual = trainer.model, trainer.model.clip.visual
    encode, forward = model.clip.encode_image, visual.forward
    if how == "subclass of the tower":
        visual.__class__ = type(
            "Own", (type(visual),), {"__module__": "own", "forward": lambda self, *given: super(type(self), self).forward(*given) ** 3}
        )
    elif how == "hook":
        visual.register_forward_hook(lambda module, given, result: result**3)
    elif how == "hook of a layer":
        visual.ln_post.register_forward_hook(lambda module, given, result: result**3)
    elif how == "replaced forward":
        visual.forward = lambda *given: forward(*given) ** 3
    elif how == "replaced encode_image":
        model.clip.encode_image = lambda *given: encode(*given) ** 3
    elif how == "subclass of CLIP":
        model.clip.__class__ = type("Own", (CLIP,), {"encode_image": lambda self, *given: CLIP.encode_image(self, *given) ** 3})


@pytest.mark.parametrize(
    "how", ["subclass of the tower", "hook", "hook of a layer", "replaced forward", "replaced encode_image", "subclass of CLIP"]
)
def test_a_tower_that_computes_otherwise_is_given_no_kept_features(how: str, world: World) -> None:
    plain = outputs(world.build("CoOp"))
    found = []
    for keeps in (False, True):
        trainer = world.build("CoOp", "SPEED.CACHE_IMAGE_FEATURES", keeps)
        changed_tower(trainer, how)
        found.append(outputs(trainer))
    assert same(*found) and not same(plain, found[1]) and len(world.files()) == 1


@pytest.mark.parametrize("method", ["CoOp", "CoCoOp", "MPL"])
def test_a_model_with_a_forward_of_its_own_is_tested_by_it(method: str, world: World) -> None:
    expected = outputs(world.build(method))
    trainer = world.build(method)
    base = type(trainer.model)
    trainer.model.__class__ = type("Own", (base,), {"forward": lambda self, images: base.forward(self, images) * 2})
    found = outputs(trainer)
    for before, after in zip(expected[0], found[0], strict=True):
        torch.testing.assert_close(after, before * 2)
    trainer.model.__class__ = base
    trainer.model.register_forward_hook(lambda module, given, result: result * 3)
    torch.testing.assert_close(outputs(trainer)[0][0], expected[0][0] * 3)


def test_class_prompts_are_encoded_anew_for_another_learned_part_and_for_each_test(world: World) -> None:
    trainer = world.build("CoOp")
    images = next(iter(trainer.test_loader))["img"]
    before = trainer.model_inference(images)
    words = trainer.model.prompt_learner
    other = trainer.build_prompt_learner(trainer.cfg, trainer.model.clip, ["a mountain", "a glacier"])
    with torch.no_grad():
        other.ctx.copy_(words.ctx)
    trainer.model.set_prompt_learner(other)
    with torch.no_grad():
        assert before.shape[1] == 5 and torch.equal(trainer.model_inference(images), trainer.model(images))
    first = outputs(trainer)
    trainer.model.clip.text_projection.data.mul_(torch.linspace(0.5, 1.5, trainer.model.clip.config.embed_dim))
    assert not same(first, outputs(trainer))


@pytest.mark.parametrize("method", ["CoOp", "VPT"])
def test_class_prompts_that_are_drawn_anew_are_not_kept(method: str, world: World) -> None:
    trainer = world.build(method)
    words = trainer.model.prompt_learner
    text = words.text
    words.text = lambda: dataclasses.replace(text(), embedded=text().embedded + torch.randn_like(text().embedded))
    images = next(iter(trainer.test_loader))["img"]
    kept = trainer.model_inference(images)
    assert torch.equal(kept, trainer.model_inference(images))
    trainer.model.keeps_text = False  # as its class may say
    assert not torch.equal(trainer.model_inference(images), trainer.model_inference(images))


def test_without_a_cache_folder_features_are_kept_within_a_run(world: World) -> None:
    trainer = world.build("CoOp", "DATALOADER.CACHE_GIB", 0.0)
    first = outputs(trainer)
    world.n_encoded = 0
    assert same(first, outputs(trainer)) and world.n_encoded == 0 and not world.cache.exists()


def test_any_changed_number_changes_a_digest() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64))
    seen = {digest_of_module(module)}
    for index in range(50):
        module[0].weight.data.flatten()[index * 81] += 1e-6
        seen.add(digest_of_module(module))
    weight = module[0].weight.data
    weight[0], weight[1] = weight[1].clone(), weight[0].clone()
    seen.add(digest_of_module(module.half()))
    assert len(seen) == 52
