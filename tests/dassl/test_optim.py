"""Learning rates epoch by epoch, and optimisers."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer


def optim_cfg(**settings):
    cfg = get_cfg_default().OPTIM
    cfg.update(settings)
    return cfg


def rates_of(optimizer, schedule, n_epochs):
    seen = []
    for _ in range(n_epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def rates(n_epochs, settings):
    cfg = optim_cfg(NAME="sgd", **settings)
    optimizer = build_optimizer(nn.Linear(2, 2), cfg)
    return rates_of(optimizer, build_lr_scheduler(optimizer, cfg), n_epochs)


def sgd():
    """PyTorch's own, at rate 1."""
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)


COSINE = {"LR": 1.0, "MAX_EPOCH": 5, "LR_SCHEDULER": "cosine"}
WARM = {**COSINE, "WARMUP_EPOCH": 1, "WARMUP_TYPE": "constant", "WARMUP_CONS_LR": 1e-5}


def test_the_rates_of_the_published_setting():
    expected = [1e-5, 3.5e-3, 3.166e-3, 2.2908e-3, 1.2092e-3]
    assert rates(5, WARM | {"LR": 0.0035}) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("settings", "make"), [
    (COSINE, lambda o: lr_scheduler.CosineAnnealingLR(o, 5)),
    ({"STEPSIZE": (2,)}, lambda o: lr_scheduler.StepLR(o, 2, 0.1)),
    ({"STEPSIZE": (-1,), "MAX_EPOCH": 3}, lambda o: lr_scheduler.StepLR(o, 3, 0.1)),
    ({"LR_SCHEDULER": "multi_step", "STEPSIZE": (1, 4)}, lambda o: lr_scheduler.MultiStepLR(o, [1, 4], 0.1)),
    ({"LR_SCHEDULER": "multi_step", "STEPSIZE": (-1,)}, lambda o: lr_scheduler.MultiStepLR(o, [-1], 0.1)),
])  # fmt: skip
def test_schedules_equal_pytorchs(settings, make):
    optimizer = sgd()
    expected = rates_of(optimizer, make(optimizer), 5)
    assert rates(5, {"LR": 1.0, **settings}) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_linear_warm_up():
    warm_up = {"WARMUP_EPOCH": 4, "WARMUP_TYPE": "linear", "WARMUP_MIN_LR": 0.01}
    assert rates(6, COSINE | warm_up) == pytest.approx([0.01, 0.25, 0.5, 0.75, 1.0, 0.9045085], rel=1e-6)


def test_without_recount_the_schedule_goes_on_from_the_warm_ups_end():
    # As PyTorch's recursive cosine, told that one epoch is over while its rate is still the full one.
    optimizer = sgd()
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, 5)
    cosine.last_epoch = 1
    expected = [1e-5, *rates_of(optimizer, cosine, 4)]
    assert rates(5, WARM | {"WARMUP_RECOUNT": False}) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"])
def test_each_optimiser_moves_the_parameters(name):
    net = nn.Linear(2, 2)
    before = net.weight.detach().clone()
    optimizer = build_optimizer(net, optim_cfg(NAME=name, LR=0.1))
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(net.weight, before)


def test_groups_have_rates_of_their_own():
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": 2.0}, {"params": [nn.Parameter(torch.ones(1))]}]
    cfg = optim_cfg(NAME="sgd", LR=1.0, LR_SCHEDULER="cosine", MAX_EPOCH=2)
    optimizer = build_optimizer(groups, cfg)
    build_lr_scheduler(optimizer, cfg).step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.5])


def test_adam_takes_its_eps():
    """TCP's YAML sets it; 1e-3 halves the first step along a gradient of 1e-3."""
    for eps, moved in ((1e-8, 0.1), (1e-3, 0.05)):
        weight = nn.Parameter(torch.ones(1))
        optimizer = build_optimizer([weight], optim_cfg(NAME="adam", LR=0.1, ADAM_EPS=eps, WEIGHT_DECAY=0.0))
        (1e-3 * weight).sum().backward()
        optimizer.step()
        assert 1 - float(weight.detach()) == pytest.approx(moved, rel=1e-3)


@pytest.mark.parametrize(("n_epochs", "is_told"), [(1, True), (2, False)])
def test_epochs_of_warm_up_alone_are_warned_of(n_epochs, is_told, capsys):
    rates(n_epochs, WARM | {"MAX_EPOCH": n_epochs})
    assert ("WARMUP_EPOCH" in capsys.readouterr().out) == is_told
