"""KgCoOp, ProGrad and TCP: their settings, the starts of their words, and ProGrad's gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch

import train
from trainers.prograd import without_conflict

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([0, 1, 2, 4])
PHOTO = ("DATASET.TEMPLATE", "a photo of a {}.")
FITTING = {"TCP": ("TRAINER.COOP.N_CTX", "4", "TRAINER.TCP.LAYER", "2")}


def setup(method: str, *words: str) -> Any:
    """The config of the command line `--trainer METHOD WORDS`."""
    return train.setup_cfg(train.build_parser().parse_args(["--trainer", method, *words]))


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("CoOp", "TRAINER.COOP.W", "8"),
        ("ProGrad", "TRAINER.COOP.W", "8"),
        ("CoOp", "LOSS.T", "2"),
        ("KgCoOp", "TRAINER.TCP.W", "4"),
        ("CoOp", "TRAINER.COOP.CTX_INIT", "True"),
        ("CoCoOp", "TRAINER.COCOOP.CTX_INIT", "False"),
        ("KgCoOp", "TRAINER.COOP.CLASS_TOKEN_POSITION", "middle"),
        ("KgCoOp", "TRAINER.COOP.CTX_INIT", "a photo of"),
        ("TCP", "TRAINER.COOP.N_CTX", "16"),
        ("ProGrad", "LOSS.NAME", "GM"),
        ("ProGrad", "LOSS.T", "0"),
    ],
)
def test_settings_that_do_nothing_or_cannot_work_are_refused(method: str, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key.rpartition(".")[2]):
        setup(method, *FITTING.get(method, ()), key, value)


def test_a_published_yaml_says_true_for_its_words(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("TRAINER:\n  COOP:\n    CTX_INIT: True\n    W: 8.0\n")
    assert setup("KgCoOp", "--config-file", str(path)).TRAINER.COOP.W == 8
    for method, key in (("CoOp", "CTX_INIT"), ("ProGrad", "W")):  # which they do not read
        with pytest.raises(ValueError, match=rf"TRAINER\.COOP\.{key}"):
            setup(method, "--config-file", str(path))


def test_words_of_the_frozen_template_are_at_no_distance_from_it(make) -> None:
    trainer = make("KgCoOp", "TRAINER.COOP.CTX_INIT", "True", *PHOTO)
    assert trainer.model.prompt_learner.ctx.shape == (4, 64)
    assert abs(float(trainer.loss_terms(IMAGES, LABELS)["kg"].detach())) < 1e-5
    other = make("KgCoOp", "TRAINER.COOP.CTX_INIT", "True", "TRAINER.COOP.W", 100.0)
    assert other.loss_terms(IMAGES, LABELS)["kg"] > 1e-3


def test_prograds_words_follow_zeros_and_are_those_of_the_template(make) -> None:
    pairs = ("TRAINER.COOP.N_CTX", 6, "TRAINER.COOP.CTX_INIT", "True")
    learner = make("ProGrad", *pairs, *PHOTO).model.prompt_learner
    assert not learner.ctx[:2].any()
    assert torch.equal(learner.ctx[2:], learner.class_prompts.embedded[0, 3:7])
    with pytest.raises(ValueError, match="N_CTX is 2"):
        make("ProGrad", "TRAINER.COOP.N_CTX", 2, *pairs[2:], *PHOTO)
    with pytest.raises(ValueError, match="'{} seen from above.' does not end"):
        make("ProGrad", *pairs, "DATASET.TEMPLATE", "{} seen from above.")


def test_a_gradient_loses_what_goes_against_the_other() -> None:
    b = torch.tensor([0.0, 2.0])
    for a, part, expected in (
        ([1.0, -1.0], 1.0, [1.0, 0.0]),
        ([1.0, -1.0], 0.5, [1.0, -0.5]),
        ([1.0, 1.0], 1.0, [1.0, 1.0]),
    ):
        torch.testing.assert_close(without_conflict(torch.tensor(a), b, part), torch.tensor(expected))
    assert torch.equal(without_conflict(b, torch.zeros(2), 1.0), b)


def test_tcps_words_act_before_its_layer_and_its_map_from_there_on(make) -> None:
    def logits(layer: int, shift: float, in_map: bool) -> torch.Tensor:
        trainer = make("TCP", "TRAINER.TCP.LAYER", layer)
        learner = trainer.model.prompt_learner
        with torch.no_grad():
            (learner.meta_net.linear2.bias if in_map else learner.ctx).add_(shift)
            return trainer.model(IMAGES)

    for in_map in (False, True):
        assert not torch.equal(logits(1, 0.0, in_map), logits(1, 1.0, in_map))
    with pytest.raises(ValueError, match="TRAINER.TCP.LAYER is 3; .* 1 to 2"):
        logits(3, 0.0, True)


def test_a_run_holds_all_settings_that_its_method_reads_and_no_others(make) -> None:
    trainer = make("TCP", "TRAINER.TCP.W", 4.0)
    assert trainer.identity["config"]["TRAINER"].keys() == {"NAME", "COOP", "TCP"}
    assert trainer.identity["method"]["TRAINER.TCP.W"] == 4.0
    assert "TRAINER.TCP.W" in trainer.prompt_settings(trainer.cfg)
    assert "TRAINER.COOP.W" not in make("CoOp").prompt_settings(trainer.cfg)
