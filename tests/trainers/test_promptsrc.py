"""PromptSRC against a slow, separate computation of losses, gradients and average; resuming the average."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import clip
from dassl.utils import load_checkpoint, set_random_seed
from tests.trainers.small_runs import NAMES
from trainers.imagenet_templates import IMAGENET_TEMPLATES
from trainers.promptsrc import gaussian_weights

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
LABELS = torch.tensor([4, 0, 2])


def unit(vector: Tensor) -> Tensor:
    """`vector` at length 1."""
    return vector / vector.square().sum().sqrt()


@pytest.fixture(scope="module")
def frozen_texts(weights: dict) -> list[Tensor]:
    """Features of each class from plain CLIP, one text at a time, its mean over templates at length 1."""
    model = clip.load(str(weights["narrow"]), torch.device("cpu"))
    rows = []
    for name in NAMES:
        texts = [template.replace("{}", name.replace("_", " ")) for template in IMAGENET_TEMPLATES]
        features = [
            model.encode_text(clip.tokenize([text], model.config.context_length))[0] for text in texts
        ]
        rows.append(unit(sum(features) / len(features)).detach())
    return rows


def slow_losses(trainer: Any, frozen_texts: list[Tensor]) -> dict[str, Tensor]:
    """The four terms of the paper, entry by entry, from features of one picture and one class at a time."""
    model, learner = trainer.model.clip, trainer.model.prompt_learner
    scale = model.logit_scale.exp().double()
    text = learner.text()
    prompted_texts = [
        unit(
            model.encode_embedded_text(text.embedded[c : c + 1], text.end_index[c : c + 1], text.deep)[0]
        ).double()
        for c in range(trainer.num_classes)
    ]
    prompted_images = [
        unit(model.encode_image(image[None], learner.vision())[0]).double() for image in IMAGES
    ]
    with torch.no_grad():
        frozen_images = [unit(model.encode_image(image[None])[0]).double() for image in IMAGES]
    frozen_texts = [row.double() for row in frozen_texts]

    n_images, n_classes, embed_dim = len(IMAGES), trainer.num_classes, model.config.embed_dim
    cross_entropy = divergence = torch.zeros((), dtype=torch.float64)
    for i in range(n_images):
        p = torch.stack(
            [(scale * prompted_images[i] * prompted_texts[c]).sum() for c in range(n_classes)]
        ).exp()
        q = torch.stack([(scale * frozen_images[i] * frozen_texts[c]).sum() for c in range(n_classes)]).exp()
        p, q = p / p.sum(), q / q.sum()
        cross_entropy = cross_entropy - p[LABELS[i]].log() / n_images
        divergence = divergence + (q * (q / p).log()).sum() / (n_images * n_classes)
    text_distance = sum((a - b).abs().sum() for a, b in zip(prompted_texts, frozen_texts, strict=True)) / (
        n_classes * embed_dim
    )
    image_distance = sum((a - b).abs().sum() for a, b in zip(prompted_images, frozen_images, strict=True)) / (
        n_images * embed_dim
    )
    return {
        "cross_entropy": cross_entropy,
        "divergence": divergence,
        "text": text_distance,
        "image": image_distance,
    }


@pytest.fixture
def trainer(make) -> Any:
    """PromptSRC on the narrow CLIP, its prompts moved off their start."""
    trainer = make("PromptSRC", "OPTIM.WARMUP_EPOCH", -1)
    for parameter in trainer.learned.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return trainer


def with_weights(trainer: Any, text: float, image: float) -> Any:
    """`trainer` with other loss weights."""
    trainer.cfg.defrost()
    trainer.cfg.TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT, trainer.cfg.TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT = (
        text,
        image,
    )
    return trainer


def test_the_loss_is_that_of_the_paper(trainer: Any, frozen_texts: list[Tensor]) -> None:
    slow = slow_losses(trainer, frozen_texts)
    assert all(value > 1e-4 for value in slow.values()), "every term counts"
    for text, image in ((25.0, 10.0), (0.0, 0.0), (25.0, 0.0), (0.0, 10.0)):
        expected = slow["cross_entropy"] + slow["divergence"] + text * slow["text"] + image * slow["image"]
        loss = with_weights(trainer, text, image).loss(IMAGES, LABELS)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)


def test_frozen_text_features_are_the_mean_of_60_templates(trainer: Any, frozen_texts: list[Tensor]) -> None:
    """Of features as the tower gives them, as the released code has it; normalising each first would show."""
    features = trainer.model.frozen_text_features()
    torch.testing.assert_close(features, torch.stack(frozen_texts), rtol=1e-4, atol=1e-5)
    model, normalize = trainer.model.clip, torch.nn.functional.normalize
    texts = [[template.format(name) for name in NAMES] for template in IMAGENET_TEMPLATES]
    each_first = [normalize(model.encode_text(clip.tokenize(of_one, 32)), dim=-1) for of_one in texts]
    assert (features - normalize(sum(each_first), dim=-1)).abs().max() > 1e-4


def test_frozen_text_features_are_made_once_and_only_for_training(trainer: Any) -> None:
    calls = []
    trainer.model.clip.transformer.register_forward_hook(lambda *_: calls.append(1))
    trainer.test()
    assert len(calls) == 1 and trainer.model.frozen_text is None
    trainer.loss(IMAGES, LABELS)
    assert len(calls) == 1 + 1 + 60
    trainer.loss(IMAGES, LABELS)
    assert len(calls) == 1 + 1 + 60 + 1
    assert "frozen_text" not in trainer.model.state_dict()
    assert not trainer.model.frozen_text.requires_grad
    assert not trainer.model.frozen_image_features(IMAGES).requires_grad


def test_with_the_same_prompts_it_is_ivlp(trainer: Any, make) -> None:
    ivlp = make("IVLP", "TRAINER.IVLP.N_CTX_TEXT", 4, "TRAINER.IVLP.N_CTX_VISION", 4)
    ivlp.learned.load_state_dict(trainer.learned.state_dict())
    assert torch.equal(ivlp.model(IMAGES), trainer.model(IMAGES))


@pytest.mark.parametrize(("n_epochs", "mean", "std"), [(20, 15, 1), (20, 6, 10), (5, 3, 1.5), (1, 15, 1)])
def test_epochs_weigh_as_a_gaussian(n_epochs: int, mean: float, std: float) -> None:
    density = [math.exp(-((epoch - mean) ** 2) / (2 * std**2)) for epoch in range(1, n_epochs + 1)]
    weights = gaussian_weights(n_epochs, mean, std)
    assert weights == pytest.approx([value / sum(density) for value in density], rel=1e-9)
    assert gaussian_weights(3, 500, 1) == pytest.approx([0, 0, 1]), "a mean far beyond takes the last epoch"


@pytest.fixture
def run(make) -> Callable:
    """Builds a seeded trainer of a small run of three epochs."""

    def run(output: str, *pairs: Any) -> Any:
        set_random_seed(1)
        settings = {
            "OPTIM.MAX_EPOCH": 3,
            "OPTIM.WARMUP_EPOCH": -1,
            "OPTIM.LR": 0.05,
            "TRAINER.PROMPTSRC.GPA_MEAN": 2,
            "TRAINER.PROMPTSRC.GPA_STD": 1.5,
        }
        return make("PromptSRC", *(x for pair in settings.items() for x in pair), *pairs, output=output)

    return run


def is_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_average_over_the_epochs_is_put_in_place_and_saved(run: Callable, tmp_path: Path, capsys) -> None:
    trainer = run("", "TRAIN.CHECKPOINT_FREQ", 1)
    run_epoch, seen = trainer.run_epoch, []

    def run_and_look() -> None:
        run_epoch()
        seen.append({name: value.clone() for name, value in trainer.learned.state_dict().items()})

    trainer.run_epoch = run_and_look
    trainer.train()
    density = [math.exp(-((epoch - 2) ** 2) / (2 * 1.5**2)) for epoch in (1, 2, 3)]
    path = str(tmp_path / "VLPromptLearner" / "model.pth.tar-")
    first, second, last = (load_checkpoint(f"{path}{epoch}")["state_dict"] for epoch in (1, 2, 3))
    for name, value in trainer.learned.state_dict().items():
        weighted = [w * prompts[name].double() for w, prompts in zip(density, seen, strict=True)]
        torch.testing.assert_close(value.double(), sum(weighted) / sum(density), rtol=1e-5, atol=1e-6)
        assert (value - seen[2][name]).abs().max() > 1e-4, "the last epoch's own prompts differ"
    assert is_same(last, trainer.learned.state_dict())
    assert is_same(first, seen[0]) and is_same(second, seen[1]), "epochs train their own prompts"
    out = capsys.readouterr().out
    assert out.index("3 epochs in place") < out.index("Evaluate on the *test* set")


def test_a_stopped_and_resumed_run_has_the_same_average(run: Callable) -> None:
    whole = run("whole")
    whole.train()
    stopped = run("stopped")
    step = stopped.forward_backward

    def stop_in_the_third_epoch(batch: Any) -> Any:
        if stopped.epoch == 2 and stopped.batch_idx == 1:
            raise InterruptedError
        return step(batch)

    stopped.forward_backward = stop_in_the_third_epoch
    with pytest.raises(InterruptedError):
        stopped.train()
    for start_epoch in (2, 3):
        resumed = run("stopped")
        resumed.train()
        assert resumed.start_epoch == start_epoch
        assert is_same(resumed.learned.state_dict(), whole.learned.state_dict())


def test_an_average_that_cannot_be_continued_is_refused(run: Callable, tmp_path: Path) -> None:
    run("").train()
    for pairs in (["OPTIM.MAX_EPOCH", 6], ["TRAINER.PROMPTSRC.GPA_STD", 2]):
        with pytest.raises(ValueError, match=pairs[0].rpartition(".")[2]):
            run("", *pairs).train()
    path = tmp_path / "VLPromptLearner" / "model.pth.tar-3"
    published = {k: v for k, v in load_checkpoint(str(path)).items() if k != "extra_state"}
    torch.save(published, path)
    with pytest.raises(ValueError, match="no running average"):
        run("").train()
    run("test").load_model(str(tmp_path), epoch=3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("GPA_STD", 0, r"GPA_STD is 0.0"),
        ("TEXT_LOSS_WEIGHT", -1, r"TEXT_LOSS_WEIGHT is -1.0"),
        ("PROMPT_DEPTH_TEXT", 9, r"PROMPT_DEPTH_TEXT is 9; .* 0 to 3"),
        ("PROMPT_DEPTH_VISION", 9, r"PROMPT_DEPTH_VISION is 9; .* 0 to 4"),
    ],
)
def test_settings_that_cannot_work_are_named(key: str, value: int, message: str, make) -> None:
    with pytest.raises(ValueError, match=f"TRAINER.PROMPTSRC.{message}"):
        make("PromptSRC", f"TRAINER.PROMPTSRC.{key}", value)
