"""MMA's start, and the layers that it takes."""

import pytest
import torch


def test_the_start_is_kaimings_and_not_plain_clip(make) -> None:
    trainer = make("MMA", "TRAINER.MMADAPTER.ADAPTER_DIM", 48)
    for name, value in trainer.learned.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:  # sqrt(2 / output width)
            assert value.std().item() == pytest.approx((2 / value.shape[0]) ** 0.5, rel=0.1)
    images = torch.randn(2, 3, 32, 32)
    plain = trainer.model.frozen_image_features(images)
    assert (trainer.model.image_features(images) - plain).abs().max() > 1e-3


@pytest.mark.parametrize(("start", "end"), [(3, 2), (-1, 2), (2, 4)])
def test_layers_that_the_towers_lack_are_refused(start: int, end: int, make) -> None:
    node = "TRAINER.MMADAPTER"
    with pytest.raises(ValueError, match="ADAPTER_(START|END) is"):
        make("MMA", f"{node}.ADAPTER_START", start, f"{node}.ADAPTER_END", end)
