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


Adam, SGD, RMSprop, RAdam, AdamW = (
    _without_compiler(getattr(torch.optim, name)) for name in ("Adam", "SGD", "RMSprop", "RAdam", "AdamW")
)
OPTIMIZERS = {
    "adam": Adam,
    "amsgrad": Adam,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "radam": RAdam,
    "adamw": AdamW,
}


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
    check_availability(optim_cfg.NAME, list(OPTIMIZERS), "OPTIM.NAME")
    if param_groups is None:
        if optim_cfg.STAGED_LR:
            param_groups = _staged_groups(model, optim_cfg)
        else:
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
    return OPTIMIZERS[optim_cfg.NAME](param_groups, **settings)


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
