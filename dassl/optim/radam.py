"""The published Dassl's name for RAdam, which PyTorch has since."""

from torch.optim import RAdam  # noqa: F401
