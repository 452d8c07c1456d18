"""Optimisers by name; all are PyTorch's own."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dassl.utils import check_availability


def _without_compiler(kind: Any) -> Any:
    """The optimiser without what PyTorch wraps its methods in for torch.compile.

    That imports the compiler, 1.5 s, at the first call of each.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "amsgrad": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "radam": torch.optim.RAdam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: Any, param_groups: list[Any] | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser of a config.

    Args:
        model: a model, or an iterable of parameters or parameter groups.
        optim_cfg: the node OPTIM.
        param_groups: groups to use in place of the model's parameters.
    """
    check_availability(optim_cfg.NAME, list(OPTIMIZERS), "OPTIM.NAME")
    if param_groups is None:
        param_groups = list(model.parameters() if isinstance(model, nn.Module) else model)
    settings: dict[str, Any] = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    if optim_cfg.NAME in ("sgd", "rmsprop"):
        settings["momentum"] = optim_cfg.MOMENTUM
    else:
        settings["betas"] = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)
        settings["eps"] = optim_cfg.ADAM_EPS
    if optim_cfg.NAME == "sgd":
        settings |= {"dampening": optim_cfg.SGD_DAMPNING, "nesterov": optim_cfg.SGD_NESTEROV}
    elif optim_cfg.NAME == "rmsprop":
        settings["alpha"] = optim_cfg.RMSPROP_ALPHA
    elif optim_cfg.NAME == "amsgrad":
        settings["amsgrad"] = True
    return _without_compiler(OPTIMIZERS[optim_cfg.NAME])(param_groups, **settings)
