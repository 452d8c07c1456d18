"""Heads by name: modules between a backbone and its classifier, with `out_features`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from dassl.utils.registry import Registry, check_availability

HEAD_REGISTRY = Registry("HEAD")

_ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build the head registered as `name`, with `kwargs`; KeyError for an unknown name."""
    make = HEAD_REGISTRY.get(name)
    if verbose:
        print(f"Head: {name}")
    return make(**kwargs)


@HEAD_REGISTRY.register()
def mlp(
    in_features: int,
    hidden_layers: Sequence[int],
    activation: str = "relu",
    bn: bool = True,
    dropout: float = 0.0,
    **kwargs: Any,
) -> nn.Module:
    """Linear layers of the widths `hidden_layers`, each followed by batch norm, activation and dropout as asked."""
    check_availability(activation, list(_ACTIVATIONS), "MODEL.HEAD.ACTIVATION")
    layers: list[nn.Module] = []
    for width in hidden_layers:
        layers.append(nn.Linear(in_features, width))
        layers += [nn.BatchNorm1d(width)] if bn else []
        layers.append(_ACTIVATIONS[activation]())
        layers += [nn.Dropout(dropout)] if dropout > 0 else []
        in_features = width
    head = nn.Sequential(*layers)
    head.out_features = in_features  # type: ignore[assignment]  # a plain attribute, which torch declares as a tensor or a module
    return head
