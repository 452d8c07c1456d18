"""The methods train a step on each family of backbones, whose sizes they read from the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clip import CLIP, CLIPConfig
from tests.trainers.small_runs import build

BACKBONES = {
    "larger ViT": CLIPConfig(48, 84, 6, 192, 14, 24, 49408, 128, 3),
    "RN50x4": CLIPConfig(40, 96, (2, 1, 3, 2), 20, None, 24, 49408, 128, 3),
}


def build_on(method: str, backbone: str, eurosat: Path, folder: Path, image_size: int | None = None) -> Any:
    torch.manual_seed(0)
    config = BACKBONES[backbone]
    torch.save(CLIP(config).state_dict(), folder / "weights.pt")
    size = image_size or config.image_size
    more = ("INPUT.SIZE", (size, size), "OPTIM.WARMUP_EPOCH", -1)
    return build(method, eurosat, folder / "weights.pt", folder, *more)


@pytest.mark.parametrize(("method", "backbone"), [
    ("MPL", "larger ViT"), ("MaPLe", "larger ViT"), ("CoOp", "RN50x4"), ("CoCoOp", "RN50x4"),
])  # fmt: skip
def test_a_step_moves_what_is_learned_and_nothing_else(
    method: str, backbone: str, eurosat: Path, tmp_path: Path
) -> None:
    trainer = build_on(method, backbone, eurosat, tmp_path)
    size = BACKBONES[backbone].image_size
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    batch = {"img": images, "label": torch.tensor([0, 1, 2, 4])}
    trainer.num_batches, trainer.batch_idx = 10, 0
    before = {name: value.clone() for name, value in trainer.model.state_dict(keep_vars=True).items()}
    for _ in range(2):  # CoCoOp's first layer moves once its second, which starts the shift, has
        assert torch.isfinite(trainer.forward_backward(batch)["loss"])
    learned = {id(p) for p in trainer.model.parameters() if p.requires_grad}
    assert learned
    for name, value in trainer.model.state_dict(keep_vars=True).items():
        assert torch.equal(value, before[name]) != (id(value) in learned), name


@pytest.mark.parametrize("method", ["MPL", "MaPLe", "VPT", "IVLP", "MMA", "MMRL"])
def test_methods_with_vision_prompts_refuse_a_resnet(method: str, eurosat: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ResNet"):
        build_on(method, "RN50x4", eurosat, tmp_path)


def test_another_image_size_than_that_of_the_weights_is_refused(eurosat: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set INPUT\.SIZE to \(84, 84\)"):
        build_on("MPL", "larger ViT", eurosat, tmp_path, image_size=56)
