"""KgCoOp, ProGrad and TCP: their settings, and the starts of their words."""

from pathlib import Path
from typing import Any

import pytest
import torch

import train
from tests.trainers.small_runs import IMAGES, LABELS

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
        ("KgCoOp", "TRAINER.COOP.ALPHA", "2"),
        ("CoOp", "LOSS.T", "2"),
        ("KgCoOp", "TRAINER.TCP.W", "4"),
        ("CoOp", "TRAINER.COOP.CTX_INIT", "True"),
        ("CoCoOp", "TRAINER.COCOOP.CTX_INIT", "False"),
        ("KgCoOp", "TRAINER.COOP.CLASS_TOKEN_POSITION", "middle"),
        ("KgCoOp", "TRAINER.COOP.CTX_INIT", "a photo of"),
        ("TCP", "TRAINER.COOP.N_CTX", "16"),
        ("ProGrad", "LOSS.NAME", "GM"),
        ("TCP", "TRAINER.COOP.W", "8"),
    ],
)
def test_settings_that_do_nothing_or_cannot_work_are_refused(method: str, key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key.rpartition(".")[2]):
        setup(method, *FITTING.get(method, ()), key, value)


def test_a_published_yaml_says_true_for_its_words(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("TRAINER:\n  COOP:\n    CTX_INIT: True\n    W: 8.0\n    ALPHA: 1.0\n")
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


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_that_the_text_tower_lacks_is_refused(layer: int, make) -> None:
    with pytest.raises(ValueError, match=f"TRAINER.TCP.LAYER is {layer}; .* 1 to 2"):
        make("TCP", "TRAINER.TCP.LAYER", layer)


def test_a_run_holds_all_settings_that_its_method_reads_and_no_others(make) -> None:
    trainer = make("TCP", "TRAINER.TCP.W", 4.0)
    assert trainer.identity["config"]["TRAINER"].keys() == {"NAME", "COOP", "TCP"}
    assert trainer.identity["method"]["TCP"]["W"] == 4.0
    assert "TRAINER.TCP.W" in trainer.prompt_settings(trainer.cfg)
    assert "TRAINER.COOP.W" not in make("CoOp").prompt_settings(trainer.cfg)
