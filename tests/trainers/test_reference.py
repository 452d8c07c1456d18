"""Every method that has recorded figures agrees with them: tokens, logits, gradients, losses over steps."""

import json
from pathlib import Path

import pytest
import torch

from tests.reference.recorded import array, close, learned_by_name, pictures, same_tokens, trainer_of

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "prompt_methods.json").read_text())
CASES, SEED, SIZE = REFERENCE["cases"], REFERENCE["seed"], REFERENCE["architecture"]["res"]
METHODS = {  # what the name of a case begins with -> the trainer
    "clip": "ZeroshotCLIP",
    "mpl": "MPL",
    "maple": "MaPLe",
    "ivlp": "IVLP",
    "vpt": "VPT",
    "coop": "CoOp",
    "cocoop": "CoCoOp",
}


def test_all_cases_are_here() -> None:
    assert len(CASES) == 23


@pytest.mark.parametrize("name", [name for name in CASES if name != "clip_resnet"])  # tests/clip has that
def test_recorded_figures(name: str, reference_weights: Path, tmp_path: Path, monkeypatch) -> None:
    """Also how many tokens each layer of the image tower sees."""
    case, method, seen = CASES[name], METHODS[name.split("_")[0]], []
    config, images = dict(case["config"]), pictures(len(case["logits"]), SIZE, SEED + 1000)
    settings = {
        "DATASET.NAME": config.pop("DATASET", "EuroSAT"),
        "MODEL.BACKBONE.NAME": str(reference_weights),
        "INPUT.SIZE": (SIZE, SIZE),
        "OUTPUT_DIR": str(tmp_path),
        **{f"TRAINER.{method.upper()}.{key}": value for key, value in config.items()},
    }
    trainer = trainer_of(method, case["classnames"], settings, monkeypatch)
    model = trainer.model
    if "tokens" in case:
        same_tokens(model.prompt_learner.class_prompts.tokens, case["tokens"])
    if method != "ZeroshotCLIP":
        learned = learned_by_name(trainer, case["trainable"])
        if "initial_ctx_first4" in case:
            close(learned["prompt_learner.ctx"][:, :4], case["initial_ctx_first4"], rtol=1e-5, atol=1e-6)
        for key, parameter in learned.items():
            parameter.data = array(key, parameter.shape, SEED)
        for block in model.clip.visual.transformer.resblocks:
            block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    model.eval()
    with torch.no_grad():
        close(model(images), case["logits"], atol=1e-3)
    assert seen == case.get("vision_tokens_per_layer", [])
    for step, recorded in enumerate(case.get("sgd_losses", ())):
        losses = trainer.forward_backward({"img": images, "label": torch.tensor(case["labels"])})
        close(losses["loss"], recorded, rtol=2e-3)
        if step == 0:
            for key, norm in case["grad_norm"].items():
                close(learned[key].grad.norm(), norm, rtol=2e-3, atol=1e-6)
    if "logits_after_sgd" in case:
        with torch.no_grad():
            close(model(images), case["logits_after_sgd"], rtol=1e-3, atol=1e-2)
