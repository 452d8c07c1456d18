"""Where an image tower looks: attention weights read from outside, and how they add up over the layers.

Nothing in the towers changes while they are watched: hooks keep what goes into each attention, and the weights are computed again from that in float32,
so that features are bit by bit those of a tower that nobody watches.

Letters of shapes: B images, H heads, L tokens that a layer sees, D width, G patches a side, S sources (all tokens that ever join).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import PromptSchedule
from clip.model import Attention, ResidualAttentionBlock, VisionTransformer
from clip.resnet import AttentionPool2d, ModifiedResNet


@dataclass
class LayerRecord:
    """What one attention was given and what its heads gave.

    Attributes:
        query, key, value: ``[B, H, L, D/H]``, float32; a ResNet's attention pooling has a single query.
        mixed: ``[B, L, D]``, the values that the heads mixed, before the output projection, as the tower computed them; of the class token alone,
            ``[B, 1, D]``, where nothing else is read from the layer.
    """

    n_heads: int
    query: Tensor = field(init=False)
    key: Tensor = field(init=False)
    value: Tensor = field(init=False)
    mixed: Tensor = field(init=False)

    def split_heads(self, tokens: Tensor) -> Tensor:
        """``[B, L, D]`` as ``[B, H, L, D/H]`` in float32."""
        return tokens.float().unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    @property
    def n_keys(self) -> int:
        """Number of tokens that are looked at."""
        return self.key.shape[-2]

    @property
    def weights(self) -> Tensor:
        """Attention of each token on each, ``[B, H, L, L]``, without gradient; a row sums to 1."""
        query, key = self.query.detach(), self.key.detach()
        return torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)

    def gradient(self, of_mixed: Tensor) -> Tensor:
        """The gradient by the attention weights, ``[B, H, L, L]``, of what has the gradient ``of_mixed`` by :attr:`mixed`.

        A head mixes values linearly, so it is the scalar product of that gradient with each value.
        """
        of_heads = self.split_heads(of_mixed.reshape(of_mixed.shape[0], -1, of_mixed.shape[-1]))
        gradient = of_heads @ self.value.detach().transpose(-1, -2)
        return F.pad(
            gradient, (0, 0, 0, self.query.shape[-2] - gradient.shape[-2])
        )  # what is not read has no gradient; the class token stands first


@dataclass
class AttentionRecord:
    """The attentions of the last pass through a watched image tower, from the first layer to the last."""

    layers: list[LayerRecord] = field(default_factory=list)

    @property
    def weights(self) -> list[Tensor]:
        """One ``[B, H, L, L]`` a layer; a single ``[B, H, 1, G² + 1]`` of a ResNet."""
        return [layer.weights for layer in self.layers]

    def gradients(self, score: Tensor) -> list[Tensor]:
        """The gradient of the number ``score``, which was computed from the watched pass, by each layer's attention weights, shaped as these."""
        mixed = torch.autograd.grad(score, [layer.mixed for layer in self.layers])
        return [layer.gradient(gradient) for layer, gradient in zip(self.layers, mixed, strict=True)]


@contextlib.contextmanager
def watch_attention(visual: VisionTransformer | ModifiedResNet) -> Iterator[AttentionRecord]:
    """A record that holds, after a pass of ``visual`` within this context, all its attentions: of a ViT's blocks, or of a ResNet's attention pooling.

    Raises:
        TypeError: the tower is neither.
    """
    if isinstance(visual, VisionTransformer):
        blocks = [block for block in visual.transformer.resblocks if isinstance(block, ResidualAttentionBlock)]
        record = AttentionRecord([LayerRecord(block.attn.n_heads) for block in blocks])
        handles = [handle for block, layer in zip(blocks, record.layers, strict=True) for handle in _watch_block(block.attn, layer)]
    elif isinstance(visual, ModifiedResNet):
        record = AttentionRecord([LayerRecord(visual.attnpool.n_heads)])
        handles = _watch_pool(visual.attnpool, record.layers[0])
    else:
        raise TypeError(f"attention is read from clip's VisionTransformer or ModifiedResNet; received {type(visual).__name__}")
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _watch_block(attention: Attention, layer: LayerRecord) -> list[torch.utils.hooks.RemovableHandle]:
    def keep_input(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        with torch.autocast(args[0].device.type, enabled=False):
            qkv = F.linear(args[0].detach().float(), attention.in_proj_weight.detach().float(), attention.in_proj_bias.detach().float())
        layer.query, layer.key, layer.value = (layer.split_heads(t) for t in qkv.chunk(3, dim=-1))

    def keep_mixed(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        layer.mixed = args[0]

    return [attention.register_forward_pre_hook(keep_input), attention.out_proj.register_forward_pre_hook(keep_mixed)]


def _watch_pool(pool: AttentionPool2d, layer: LayerRecord) -> list[torch.utils.hooks.RemovableHandle]:
    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            setattr(layer, name, layer.split_heads(output.detach()))

        return hook

    def keep_mixed(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        layer.mixed = args[0]

    handles = [getattr(pool, f"{name[0]}_proj").register_forward_hook(keep(name)) for name in ("query", "key", "value")]
    return [*handles, pool.c_proj.register_forward_pre_hook(keep_mixed)]


def rollout(weights: Sequence[Tensor], schedule: PromptSchedule | None = None) -> Tensor:
    """Attention rollout (Abnar & Zuidema, ACL 2020, arXiv 2005.00928, section 3): where the class token's output looks, through all layers.

    Each layer is read as half the residual path and half the mean of its heads. Tokens are followed through the schedule: what a removed prompt had seen
    is lost unless others looked at it, a prompt that joins is a source of its own.

    Args:
        weights: of all layers, as :attr:`AttentionRecord.weights` has them.
        schedule: what happens to the prompts before each layer; None where there are none.

    Returns:
        ``[B, S]``, shares that sum to 1: the class token, the patches row by row, then prompts in the order in which they joined.
    """
    means = [w.mean(dim=1) for w in weights]
    if means[0].shape[1] == 1:  # a ResNet's pooling: one layer, and no residual path
        return means[0][:, 0]
    return _class_row([(m + torch.eye(m.shape[-1], device=m.device)) / 2 for m in means], schedule)


def relevance(weights: Sequence[Tensor], gradients: Sequence[Tensor], schedule: PromptSchedule | None = None) -> Tensor:
    """What each token adds to a score through attention (Chefer et al., ICCV 2021, arXiv 2103.15679, equations 5 and 6, self-attention).

    Each head's attention is weighted by the gradient of the score by it; only what raises the score counts.

    Args:
        weights: of all layers.
        gradients: of the score by them, as :meth:`AttentionRecord.gradients` gives them.
        schedule: as for :func:`rollout`.

    Returns:
        ``[B, S]``, 0 or more, in units of the score; the sources are those of :func:`rollout`.
    """
    raised = [(w * g).clamp(min=0).mean(dim=1) for w, g in zip(weights, gradients, strict=True)]
    if raised[0].shape[1] == 1:
        return raised[0][:, 0]
    row = _class_row([m + torch.eye(m.shape[-1], device=m.device) for m in raised], schedule)
    return torch.cat([row[:, :1] - 1, row[:, 1:]], dim=1)  # without the class token's own residual path


def _class_row(layers: Sequence[Tensor], schedule: PromptSchedule | None) -> Tensor:
    """The class token's row ``[B, S]`` of the product of ``layers``, each ``[B, L, L]``, whose prompts change between them as ``schedule`` says."""
    n_images, length, _ = layers[0].shape
    total = torch.eye(length, device=layers[0].device).expand(n_images, -1, -1)  # [B, L, S]
    for layer_index, layer in enumerate(layers):
        if schedule is not None and layer_index > 0:
            plan = schedule.plans[layer_index]
            total = F.pad(total[:, : total.shape[1] - plan.removed], (0, plan.added, 0, plan.added))  # prompts stand behind the patches
            new = torch.arange(1, plan.added + 1, device=total.device)
            total[:, -new, -new] = 1.0
        total = layer @ total
    return total[:, 0]
