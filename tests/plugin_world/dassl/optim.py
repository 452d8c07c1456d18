"""SGD, and a cosine after a constant warm-up whose state holds another scheduler, as the published one's."""

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler


def build_optimizer(model, optim_cfg, param_groups=None):
    if param_groups is None:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    c = optim_cfg
    return torch.optim.SGD(param_groups, lr=c.LR, momentum=c.MOMENTUM, weight_decay=c.WEIGHT_DECAY)


class ConstantWarmupScheduler(LRScheduler):
    def __init__(self, optimizer, successor, n_epochs, lr):
        self.successor, self.n_epochs, self.lr = successor, n_epochs, lr
        super().__init__(optimizer)

    def get_lr(self):
        if self.last_epoch >= self.n_epochs:
            return self.successor.get_last_lr()
        return [self.lr for _ in self.base_lrs]

    def step(self, epoch=None):
        if self.last_epoch >= self.n_epochs:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)


def build_lr_scheduler(optimizer, optim_cfg):
    cosine = CosineAnnealingLR(optimizer, float(optim_cfg.MAX_EPOCH))
    if optim_cfg.WARMUP_EPOCH <= 0:
        return cosine
    return ConstantWarmupScheduler(optimizer, cosine, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
