"""CoPrompt's sentences and views."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.small_runs import NAMES

SENTENCES = {name: [f"{name}, {word}." for word in ("seen", "heard", "told")] for name in NAMES}


def test_a_training_needs_sentences_of_every_class_and_a_test_needs_none(
    make: Callable, tmp_path: Path
) -> None:
    def make_with(sentences: dict):
        tmp_path.joinpath("eurosat_prompt.json").write_text(json.dumps(sentences))
        return make("CoPrompt", "TRAINER.CoPrompt.SENTENCES", str(tmp_path), "DATALOADER.K_TRANSFORMS", 2)

    trainer = make("CoPrompt", "TRAINER.CoPrompt.SENTENCES", "")
    trainer.test()
    with pytest.raises(FileNotFoundError, match="coprompt_sentences/eurosat_prompt.json"):
        trainer.train()
    missing = {name: sentences for name, sentences in SENTENCES.items() if name != NAMES[2]}
    for incomplete in ({**SENTENCES, NAMES[2]: ["one"]}, missing):
        with pytest.raises(ValueError, match=f"(?s)eurosat_prompt.json.*{NAMES[2]}"):
            make_with(incomplete).train()
    trainer = make_with(SENTENCES)
    trainer.train()
    assert {trainer.draw_sentence() for _ in range(50)} == {0, 1, 2}
