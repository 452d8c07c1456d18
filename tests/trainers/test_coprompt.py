"""CoPrompt's sentences and views."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainers.small_runs import NAMES

FILE = "coprompt_sentences/eurosat_prompt.json"
SENTENCES = {name: [f"{name}, {word}." for word in ("seen", "heard", "told")] for name in NAMES}
VIEWS = ("DATALOADER.K_TRANSFORMS", 2, "OPTIM.LR", 0.1)


@pytest.fixture
def folder(tmp_path: Path) -> Callable:
    """Writes a folder of published form and gives the setting that names it."""

    def write(sentences: dict) -> tuple[str, str]:
        tmp_path.joinpath("eurosat_prompt.json").write_text(json.dumps(sentences))
        return "TRAINER.CoPrompt.SENTENCES", str(tmp_path)

    return write


def test_frozen_clip_sees_the_second_view(make: Callable, folder: Callable) -> None:
    trainer = make("CoPrompt", *folder(SENTENCES), *VIEWS)
    batch = next(iter(trainer.train_loader_x))
    batch["img"][1] = torch.randn_like(batch["img"][1])
    images, labels = trainer.parse_batch_train(batch)
    assert {trainer.draw_sentence() for _ in range(50)} == {0, 1, 2}
    trainer.take_sentence(0)
    terms, same = trainer.loss_terms(images, labels), trainer.loss_terms(batch["img"][0], labels)
    assert torch.equal(terms["cross_entropy"], same["cross_entropy"])
    seen = trainer.model.frozen_image_features(batch["img"][1])
    expected = 1 - (trainer.model.image_features(batch["img"][0]) * seen).sum(dim=-1).mean()
    torch.testing.assert_close(terms["consistency_image"], expected)
    assert (terms["consistency_image"] - same["consistency_image"]).abs() > 1e-3


def test_a_training_needs_sentences_of_every_class_and_a_test_needs_none(
    make: Callable, folder: Callable
) -> None:
    trainer = make("CoPrompt", "TRAINER.CoPrompt.SENTENCES", "")
    trainer.test()
    with pytest.raises(FileNotFoundError, match=FILE):
        trainer.train()
    for sentences in (
        {**SENTENCES, NAMES[2]: ["one"]},
        {n: s for n, s in SENTENCES.items() if n != NAMES[2]},
    ):
        with pytest.raises(ValueError, match=f"(?s)eurosat_prompt.json.*{NAMES[2]}"):
            make("CoPrompt", *folder(sentences)).train()
