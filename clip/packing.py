"""Texts packed into one sequence, so that the text tower computes nothing twice and no padding.

Class prompts begin alike ("a photo of a"), and the text tower is causal: what stands before the first difference is the same for every class, so that it
is computed once, and every class attends to it. Behind it, the rest of each text follows on the rest of the one before it:

    [common: P tokens][own tokens of text 0, up to its end mark][own tokens of text 1] …

The learned prompts stand in the common part, where they are removed, carried and added as in any sequence. Only the attention differs, and
:meth:`TextPacking.attend` is that attention; the linear maps, which are nearly all of the cost, see one matrix without a gap.

Letters of shapes: C texts, L tokens, D width, P common tokens, T own tokens of all texts together, S own tokens of the longest text, H heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def n_common_tokens(tokens: Tensor, end_index: Tensor) -> int:
    """How many leading positions hold the same token in all of ``tokens`` ``[C, L]``; the end mark is never among them."""
    is_common = (tokens == tokens[:1]).all(dim=0).long().cumprod(dim=0)
    return min(int(is_common.sum()), int(end_index.min()))


class TextPacking(nn.Module):
    """Where each token of C texts stands in the packed sequence.

    Args:
        end_index: int64 ``[C]``, the position of each text's end mark; what follows it changes no feature and is left out.
        n_common: P, leading positions at which all texts are alike, from 1 to the first end mark; the initial prompts must lie among them.

    Raises:
        ValueError: ``n_common`` is out of its range.
    """

    rows: Tensor
    grid: Tensor
    ends: Tensor

    def __init__(self, end_index: Tensor, n_common: int) -> None:
        super().__init__()
        if not 1 <= n_common <= int(end_index.min()):
            raise ValueError(
                f"texts of which the first ends at position {int(end_index.min())} have no {n_common} common tokens before an end mark"
            )
        self.n_common = n_common
        lengths = end_index.cpu() + 1 - n_common  # [C], own tokens of each text
        positions = torch.arange(int(lengths.max()))  # [S]
        starts = lengths.cumsum(0) - lengths  # [C], the first of each text's own tokens among all T
        is_own = positions < lengths[:, None]  # [C, S]
        # Where each own token is found in a [C * S] grid, and the reverse; a cell past a text's end repeats its last token, which nothing reads.
        self.register_buffer("rows", is_own.flatten().nonzero().flatten(), persistent=False)  # [T]
        self.register_buffer("grid", starts[:, None] + positions.minimum(lengths[:, None] - 1), persistent=False)  # [C, S]
        self.register_buffer("ends", n_common + starts + lengths - 1, persistent=False)  # [C], end marks in the packed sequence
        self._masks: dict[tuple[int, torch.device], Tensor] = {}

    def pack(self, x: Tensor) -> Tensor:
        """The texts ``[C, L, D]`` as one sequence ``[1, P + T, D]``."""
        common, own = x[:1, : self.n_common], x[:, self.n_common : self.n_common + self.grid.shape[1]]
        return torch.cat([common, own.flatten(0, 1).index_select(0, self.rows).unsqueeze(0)], dim=1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention within each text, of the packed queries, keys and values ``[1, H, P + T, D/H]``; P is what it is in this layer."""
        n_own = len(self.rows)
        n_common = q.shape[2] - n_own
        (common_q, own_q), (common_k, own_k), (common_v, own_v) = (t.split([n_common, n_own], dim=2) for t in (q, k, v))
        common = F.scaled_dot_product_attention(common_q, common_k, common_v, is_causal=True)
        own_q, own_k, own_v = (self._unpack(t[0]) for t in (own_q, own_k, own_v))  # each [C, H, S, D/H]
        keys, values = (
            torch.cat([first.expand(len(rest), -1, -1, -1), rest], dim=2) for first, rest in ((common_k, own_k), (common_v, own_v))
        )  # each [C, H, P + S, D/H]
        own = F.scaled_dot_product_attention(own_q, keys, values, attn_mask=self._mask(n_common, q.device))
        own = own.transpose(0, 1).flatten(1, 2).index_select(1, self.rows)  # [H, T, D/H]
        return torch.cat([common, own.unsqueeze(0)], dim=2)

    def _unpack(self, own: Tensor) -> Tensor:
        """The own tokens ``[H, T, D/H]`` text by text, ``[C, H, S, D/H]``; the way back of a plain index takes twice as long, and sorts on a GPU."""
        return own.index_select(1, self.grid.flatten()).unflatten(1, self.grid.shape).transpose(0, 1)

    def _mask(self, n_common: int, device: torch.device) -> Tensor:
        """Which of P + S keys each of S own tokens sees, bool ``[S, P + S]``: the common ones and those of its text up to itself."""
        key = (n_common, device)
        if key not in self._masks:
            n_own = self.grid.shape[1]
            self._masks[key] = torch.ones(n_own, n_common + n_own, dtype=torch.bool, device=device).tril(n_common)
        return self._masks[key]
