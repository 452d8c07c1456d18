"""A backbone, perhaps a head, and a linear classifier."""

from typing import Any

import torch
from torch import nn

from dassl.modeling import build_backbone, build_head


class SimpleNet(nn.Module):
    """The model that `SimpleTrainer` builds unless a method builds its own.

    Args:
        cfg: the config; reads VERBOSE.
        model_cfg: the node MODEL.
        num_classes: C; 0: no classifier.
        kwargs: passed on to backbone and head.
    """

    def __init__(self, cfg: Any, model_cfg: Any, num_classes: int, **kwargs: Any) -> None:
        super().__init__()
        backbone, head = model_cfg.BACKBONE, model_cfg.HEAD
        self.backbone = build_backbone(backbone.NAME, verbose=cfg.VERBOSE, pretrained=backbone.PRETRAINED, **kwargs)
        self._fdim = _n_features(self.backbone)
        self.head = None
        if head.NAME and head.HIDDEN_LAYERS:
            self.head = build_head(
                head.NAME,
                verbose=cfg.VERBOSE,
                in_features=self._fdim,
                hidden_layers=head.HIDDEN_LAYERS,
                activation=head.ACTIVATION,
                bn=head.BN,
                dropout=head.DROPOUT,
                **kwargs,
            )
            self._fdim = _n_features(self.head)
        self.classifier = nn.Linear(self._fdim, num_classes) if num_classes > 0 else None

    @property
    def fdim(self) -> int:
        """Width of the features that the classifier reads."""
        return self._fdim

    def forward(self, x: torch.Tensor, return_feature: bool = False) -> Any:
        """Logits [B, C] of images [B, 3, height, width]; with `return_feature` also the features [B, fdim].

        Without a classifier, the features alone.
        """
        features = self.backbone(x)
        if self.head is not None:
            features = self.head(features)
        if self.classifier is None:
            return features
        logits = self.classifier(features)
        return (logits, features) if return_feature else logits


def _n_features(module: nn.Module) -> int:
    """Width of the features that a backbone or a head gives, which it says in `out_features`."""
    n_features = module.out_features
    assert isinstance(n_features, int), "a registered backbone or head says its width"
    return n_features
