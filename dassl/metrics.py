"""Top-k accuracy of a batch."""

from collections.abc import Sequence

import torch


def compute_accuracy(
    output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor, topk: Sequence[int] = (1,)
) -> list[torch.Tensor]:
    """The share of samples whose label is among the k largest logits: a tensor [1] for each k, in percent.

    Args:
        output: logits [B, C], or a tuple or list that begins with them.
        target: labels [B].
        topk: the values of k; one above C counts as C.
    """
    logits = output[0] if isinstance(output, Sequence) else output
    largest = logits.topk(min(max(topk), logits.shape[1]), dim=1).indices  # [B, k]
    hits = largest == target[:, None]
    return [hits[:, :k].any(dim=1).float().mean().mul(100.0).reshape(1) for k in topk]
