"""The published way of computing prompt learning, written plainly: what ours is compared with.

Every step and every test batch computes all 77 text positions of every class; sequences run position-first
through `nn.MultiheadAttention`'s function with an explicit causal mask; deeper prompts are inserted by
slicing and concatenating.

Letters of shapes: B images, C classes, L tokens, N sequences, D width.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip import CLIP, LayerPrompts
from clip.model import QuickGELU, VisionTransformer
from clip.prompt_ops import EMBEDDED
from trainers.prompted_clip import PromptedCLIP


def attend(block: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """Self-attention of a block on `[L, N, D]`."""
    attn = block.attn
    weights = (attn.in_proj_weight, attn.in_proj_bias, None, None, False, 0.0)
    output = (attn.out_proj.weight, attn.out_proj.bias)
    return F.multi_head_attention_forward(
        x, x, x, x.shape[-1], attn.n_heads, *weights, *output, attn_mask=mask, need_weights=False
    )[0]


def mlp(block: Any, x: Tensor) -> Tensor:
    """The two linear maps of a block, with the activation of OpenAI's CLIP as published."""
    x = block.mlp.c_fc(x)
    x = x * torch.sigmoid(1.702 * x) if isinstance(block.mlp.gelu, QuickGELU) else block.mlp.gelu(x)
    return block.mlp.c_proj(x)


def run_blocks(transformer: Any, x: Tensor, prompts: LayerPrompts | None, start: int) -> Tensor:
    """All blocks on `[L, N, D]`; the prompts begin at position `start`."""
    n_present = 0 if prompts is None else prompts.n_embedded
    for index, block in enumerate(transformer.resblocks):
        if prompts is not None and index < len(prompts.tokens) and (index > 0 or prompts.inside):
            pieces = [x[: start + n_present - prompts.schedule.plans[index].removed], x[start + n_present :]]
            new = prompts.tokens[index]
            if new is not None:
                pieces.insert(1, new.to(x.dtype).expand(x.shape[1], -1, -1).transpose(0, 1))
            x = torch.cat(pieces)
            n_present = prompts.schedule.plans[index].total
        mask = None
        if transformer.is_causal:
            mask = torch.full((len(x), len(x)), float("-inf"), device=x.device, dtype=x.dtype).triu_(1)
        normed = block.ln_1(x)
        x = x + attend(block, normed, mask)
        x = x + mlp(block, block.ln_2(x))
        if prompts is not None and index in prompts.branches:
            x = x + prompts.branches[index](normed).to(x.dtype)
    return x


class PublishedVision(VisionTransformer):
    """The image tower, computed the published way."""

    def first_tokens(self, images: Tensor, prompts: LayerPrompts | None, n: int) -> Tensor:
        x = self.conv1(images.to(self.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        start = 1 if prompts is not None and prompts.inside else x.shape[1]
        if prompts is not None and prompts.embedded is not None:
            x = torch.cat([x, prompts.embedded.to(x.dtype).expand(len(x), -1, -1)], dim=1)
        x = self.ln_pre(x)
        if prompts is not None and EMBEDDED in prompts.branches:
            x = x + prompts.branches[EMBEDDED](x).to(x.dtype)
        x = run_blocks(self.transformer, x.permute(1, 0, 2), prompts, start).permute(1, 0, 2)
        return self.ln_post(x[:, :n])


class PublishedCLIP(CLIP):
    """CLIP, computed the published way."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.encode_embedded_text(self.embed_tokens(tokens), tokens.argmax(dim=-1))

    def encode_embedded_text(
        self,
        embedded: Tensor,
        end_index: Tensor,
        prompts: LayerPrompts | None = None,
        packing: Any = None,
    ) -> Tensor:
        """As CLIP's, from all positions of the context."""
        n_padding = self.config.context_length - embedded.shape[1]
        padding = self.token_embedding.weight[0].expand(len(embedded), n_padding, -1)
        x = (torch.cat([embedded, padding], dim=1) + self.positional_embedding).to(self.dtype)
        n_before = x.shape[1]
        x = run_blocks(self.transformer, x.permute(1, 0, 2), prompts, 1).permute(1, 0, 2)
        x = self.ln_final(x)  # of every position, as published
        return x[torch.arange(len(x)), end_index + x.shape[1] - n_before] @ self.text_projection


def published_way(model: PromptedCLIP) -> PromptedCLIP:
    """`model` with its own parameters, computed the published way; the text is encoded at every call."""
    clip, visual = model.clip, model.clip.visual
    if isinstance(visual, VisionTransformer):
        visual = _copied(visual, PublishedVision)
    other = _copied(model, type(model), clip=_copied(clip, PublishedCLIP, visual=visual))
    other.keeps_text, other.kept_text = False, None
    return other


def _copied(module: Any, kind: type[nn.Module], **children: nn.Module) -> Any:
    """A copy of `module` as a `kind`, which shares its parameters and its children but for those given."""
    other = copy.copy(module)
    other.__class__ = kind
    other._modules, other._buffers = {**module._modules, **children}, {**module._buffers}
    return other
