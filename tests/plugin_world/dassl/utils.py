"""Reading of checkpoints, as PyTorch reads by default: weights only since 2.6."""

import torch


def load_checkpoint(fpath):
    return torch.load(fpath, map_location="cpu")
