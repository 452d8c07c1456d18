"""PromptSRC's frozen features, and the average of its prompts, also when a run is resumed."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dassl.utils import load_checkpoint
from tests.trainers.small_runs import IMAGES, LABELS
from trainers.promptsrc import gaussian_weights

EPOCHS = ("OPTIM.MAX_EPOCH", 3, "OPTIM.WARMUP_EPOCH", -1, "OPTIM.LR", 0.05)
RUN = ("PromptSRC", *EPOCHS, "TRAINER.PROMPTSRC.GPA_MEAN", 2, "TRAINER.PROMPTSRC.GPA_STD", 1.5)


def test_frozen_text_features_are_made_once_and_only_for_training(make: Callable) -> None:
    trainer = make("PromptSRC")
    calls = []
    trainer.model.clip.transformer.register_forward_hook(lambda *_: calls.append(1))
    trainer.test()
    assert len(calls) == 1 and trainer.model.frozen_text is None
    trainer.loss(IMAGES, LABELS)
    assert len(calls) == 1 + 1 + 60
    trainer.loss(IMAGES, LABELS)
    assert len(calls) == 1 + 1 + 60 + 1


def test_a_mean_far_beyond_the_last_epoch_takes_it() -> None:
    assert gaussian_weights(3, 500, 1) == pytest.approx([0, 0, 1])


def test_the_average_over_the_epochs_is_put_in_place(make: Callable, tmp_path: Path, capsys) -> None:
    trainer = make(*RUN, "TRAIN.CHECKPOINT_FREQ", 1)
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
        for saved, expected in ((first, seen[0][name]), (second, seen[1][name]), (last, value)):
            assert torch.equal(saved[name], expected), "epochs train their own prompts"
    out = capsys.readouterr().out
    assert out.index("3 epochs in place") < out.index("Evaluate on the *test* set")


def test_an_average_that_cannot_be_continued_is_refused(make: Callable, tmp_path: Path) -> None:
    make(*RUN).train()
    for pairs in (["OPTIM.MAX_EPOCH", 6], ["TRAINER.PROMPTSRC.GPA_STD", 2]):
        with pytest.raises(ValueError, match=pairs[0].rpartition(".")[2]):
            make(*RUN, *pairs).train()
    path = tmp_path / "VLPromptLearner" / "model.pth.tar-3"
    published = {k: v for k, v in load_checkpoint(str(path)).items() if k != "extra_state"}
    torch.save(published, path)
    with pytest.raises(ValueError, match="no running average"):
        make(*RUN).train()
    make(*RUN, output="test").load_model(str(tmp_path), epoch=3)
