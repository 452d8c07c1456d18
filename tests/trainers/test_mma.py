"""MMA's gradients, start, and the layers that it takes."""

import pytest
import torch
from torch import nn

from trainers.mma import Adapter


@pytest.mark.parametrize("is_embedded", [True, False])
def test_maps_in_the_layers_have_gradients_divided_by_the_scale(is_embedded: bool) -> None:
    """The gradient of the tokens is the true one."""
    torch.manual_seed(0)
    adapter, shared, scale = Adapter(8, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), 0.01
    maps = [*adapter.parameters(), *shared.parameters()]
    x, target = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 3, 8)
    y = adapter(shared, scale, is_embedded, x)
    plain = scale * adapter.up(shared(adapter.down(x)))
    torch.testing.assert_close(y, plain)
    found = torch.autograd.grad((y * target).sum(), [x, *maps])
    true = torch.autograd.grad((plain * target).sum(), [x, *maps])
    torch.testing.assert_close(found[0], true[0])
    for gradient, expected in zip(found[1:], true[1:], strict=True):
        torch.testing.assert_close(gradient, expected if is_embedded else expected / scale)


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
