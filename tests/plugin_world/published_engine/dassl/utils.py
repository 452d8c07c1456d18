"""Reading of checkpoints."""

import torch


def load_checkpoint(fpath):
    return torch.load(fpath, map_location="cpu", weights_only=False)
