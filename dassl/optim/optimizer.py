"""Optimisers by name; all are PyTorch's own."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dassl.utils import check_availability

OPTIMIZER_NAMES = ("adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw")


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: Any, param_groups: list[Any] | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser of a config.

    Args:
        model: a model, or an iterable of parameters or parameter groups.
        optim_cfg: the node OPTIM.
        param_groups: groups to use in place of the model's parameters; STAGED_LR then has no effect.

    Raises:
        KeyError: an unknown OPTIM.NAME.
        ValueError: STAGED_LR without layers, or with layers that the model does not have.
    """
    check_availability(optim_cfg.NAME, OPTIMIZER_NAMES, "OPTIM.NAME")
    if param_groups is None:
        if optim_cfg.STAGED_LR:
            param_groups = _staged_groups(model, optim_cfg)
        else:
            param_groups = list(model.parameters() if isinstance(model, nn.Module) else model)
    common = {"lr": optim_cfg.LR, "weight_decay": optim_cfg.WEIGHT_DECAY}
    betas = (optim_cfg.ADAM_BETA1, optim_cfg.ADAM_BETA2)
    if optim_cfg.NAME == "sgd":
        return torch.optim.SGD(
            param_groups,
            momentum=optim_cfg.MOMENTUM,
            dampening=optim_cfg.SGD_DAMPNING,
            nesterov=optim_cfg.SGD_NESTEROV,
            **common,
        )
    if optim_cfg.NAME == "rmsprop":
        return torch.optim.RMSprop(
            param_groups, momentum=optim_cfg.MOMENTUM, alpha=optim_cfg.RMSPROP_ALPHA, **common
        )
    if optim_cfg.NAME == "amsgrad":
        return torch.optim.Adam(param_groups, betas=betas, amsgrad=True, **common)
    adaptive = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam, "adamw": torch.optim.AdamW}
    return adaptive[optim_cfg.NAME](param_groups, betas=betas, **common)


def _staged_groups(model: Any, optim_cfg: Any) -> list[dict[str, Any]]:
    """Two groups: all children but NEW_LAYERS at LR times BASE_LR_MULT, and NEW_LAYERS at LR."""
    new_layers = optim_cfg.NEW_LAYERS
    new_layers = [new_layers] if isinstance(new_layers, str) else list(new_layers)
    model = model.module if isinstance(model, nn.DataParallel) else model
    children = dict(model.named_children()) if isinstance(model, nn.Module) else {}
    unknown = [name for name in new_layers if name not in children]
    if unknown or not new_layers:
        raise ValueError(
            f"OPTIM.STAGED_LR needs OPTIM.NEW_LAYERS to name layers of the model, got {new_layers}; "
            f"the layers of {type(model).__name__}: {list(children) or 'none'}"
        )
    base = [p for name, child in children.items() if name not in new_layers for p in child.parameters()]
    new = [p for name in new_layers for p in children[name].parameters()]
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
