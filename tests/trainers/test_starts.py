"""What the learned arrays start from, beside what is recorded: words and drawn numbers."""

import pytest
import torch

from tests.trainers.small_runs import IMAGES


def test_mpls_maps_are_copies_of_one(make) -> None:
    learner = make("MPL").model.prompt_learner
    maps = [m for row in learner.txt2img_proj for m in row.values()]
    assert len(maps) == 4
    assert all(torch.equal(m.weight, maps[0].weight) and torch.equal(m.bias, maps[0].bias) for m in maps)
    assert not torch.equal(learner.proj.weight, maps[0].weight)


def test_mmas_adapters_are_drawn_as_kaiming_does(make) -> None:
    trainer = make("MMA", "TRAINER.MMADAPTER.ADAPTER_DIM", 48)
    for name, value in trainer.learned.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:  # sqrt(2 / output width)
            assert value.std().item() == pytest.approx((2 / value.shape[0]) ** 0.5, rel=0.1)
    plain = trainer.model.frozen_image_features(IMAGES)
    assert (trainer.model.image_features(IMAGES) - plain).abs().max() > 1e-3


def test_mmrls_maps_of_a_tower_are_copies_of_one_and_its_projection_is_drawn(make) -> None:
    learner = make("MMRL", size="wide").model.prompt_learner
    for maps in (learner.compound_rep_tokens_r2tproj, learner.compound_rep_tokens_r2vproj):
        assert len(maps) == 2 and torch.equal(maps[0].weight, maps[1].weight)
        assert torch.equal(maps[0].bias, maps[1].bias) and maps[0].weight is not maps[1].weight
    assert learner.compound_rep_tokens.std().item() == pytest.approx(0.02, rel=0.1)
    width = learner.proj_rep.shape[0]
    assert learner.proj_rep.std().item() == pytest.approx(width**-0.5, rel=0.1)
