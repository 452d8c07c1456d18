"""Every method that has recorded figures agrees with them: tokens, logits, gradients, losses over steps."""

import json
from pathlib import Path

import check
import pytest
import torch

from trainers.precision import Precision
from trainers.prompts import class_prompt

CASES = json.loads((Path(__file__).parents[1] / "reference" / "prompt_methods.json").read_text())["cases"]
THROUGH_TRAINERS = [
    name for name in CASES if name != "clip_resnet"
]  # that one is held in tests/clip/test_towers.py


def test_all_cases_are_here() -> None:
    assert len(THROUGH_TRAINERS) == 22


@pytest.mark.parametrize("name", THROUGH_TRAINERS)
def test_recorded_figures(name: str, reference: dict, reference_weights: Path) -> None:
    assert (
        check.check(
            name, CASES[name], reference["seed"], str(reference_weights), reference["architecture"]["res"]
        )
        == []
    )


@pytest.mark.parametrize(
    "name", [n for n in THROUGH_TRAINERS if "tokens" in CASES[n] and not n.startswith("clip")]
)
def test_recorded_tokens(name: str, reference_weights: Path, reference: dict, tmp_path: Path) -> None:
    """The class prompts are the recorded ones, token by token."""
    case = CASES[name]
    trainer = check.build(name, case, str(reference_weights), str(tmp_path), reference["architecture"]["res"])
    tokens = trainer.model.prompt_learner.class_prompts.tokens
    for row, recorded in zip(tokens.tolist(), case["tokens"], strict=True):
        assert row[: len(recorded)] == recorded
        assert not any(row[len(recorded) :])


@pytest.mark.parametrize("name", [n for n in THROUGH_TRAINERS if n.startswith("mpl")])
def test_recorded_tokens_of_each_vision_layer(
    name: str, reference_weights: Path, reference: dict, tmp_path: Path
) -> None:
    case, size = CASES[name], reference["architecture"]["res"]
    trainer = check.build(name, case, str(reference_weights), str(tmp_path), size)
    seen: list[int] = []
    for block in trainer.model.clip.visual.transformer.resblocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    trainer.model(torch.zeros(1, 3, size, size))
    assert seen == case["vision_tokens_per_layer"]


def test_names_and_contexts_of_class_prompts() -> None:
    assert class_prompt("X a_photo of a", "annual_crop_land") == "X a photo of a annual crop land."
    assert class_prompt("", "River") == "River."


def test_fp32_is_the_default_precision_of_a_bare_model() -> None:
    assert Precision().tower_dtype is torch.float32
