"""Every method that has recorded figures agrees with them: tokens, logits, gradients, losses over steps."""

import json
from pathlib import Path
from typing import Any

import check
import pytest

CASES = json.loads((Path(__file__).parents[1] / "reference" / "prompt_methods.json").read_text())["cases"]
THROUGH_TRAINERS = [name for name in CASES if name != "clip_resnet"]  # held in tests/clip/test_towers.py


def test_all_cases_are_here() -> None:
    assert len(THROUGH_TRAINERS) == 22


@pytest.mark.parametrize("name", THROUGH_TRAINERS)
def test_recorded_figures(name: str, reference: dict, reference_weights: Path, monkeypatch) -> None:
    """Also the tokens of the class prompts, and how many tokens each layer of the image tower sees."""
    case, seen = CASES[name], []
    build = check.build

    def build_and_look(*args: Any) -> Any:
        trainer = build(*args)
        if "tokens" in case and not name.startswith("clip"):
            tokens = trainer.model.prompt_learner.class_prompts.tokens
            for row, recorded in zip(tokens.tolist(), case["tokens"], strict=True):
                assert row[: len(recorded)] == recorded and not any(row[len(recorded) :])
        if "vision_tokens_per_layer" in case:
            for block in trainer.model.clip.visual.transformer.resblocks:
                block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
        return trainer

    monkeypatch.setattr(check, "build", build_and_look)
    size = reference["architecture"]["res"]
    assert check.check(name, case, reference["seed"], str(reference_weights), size) == []
    recorded = case.get("vision_tokens_per_layer", [])
    assert seen[: len(recorded)] == recorded
