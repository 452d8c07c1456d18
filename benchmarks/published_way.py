"""The published way of computing prompt learning, written plainly: what ours is compared with.

Every step and every test batch computes all 77 text positions of every class; sequences run position-first
through `nn.MultiheadAttention`'s function with an explicit causal mask; deeper prompts are inserted by
slicing and concatenating.

Letters of shapes: B images, C classes, L tokens, N sequences, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import LayerPrompts
from clip.model import QuickGELU
from trainers.cocoop import ConditionalWords
from trainers.prompted_clip import PromptedCLIP
from trainers.prompts import TextPrompts


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
    n_present = 0 if prompts is None else prompts.schedule.n_initial
    for index, block in enumerate(transformer.resblocks):
        if prompts is not None and 0 < index < len(prompts.tokens):
            pieces = [x[: start + n_present - prompts.schedule.plans[index].removed], x[start + n_present :]]
            new = prompts.tokens[index]
            if new is not None:
                pieces.insert(1, new.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1))
            x = torch.cat(pieces)
            n_present = prompts.schedule.plans[index].total
        mask = None
        if transformer.is_causal:
            mask = torch.full((len(x), len(x)), float("-inf"), device=x.device, dtype=x.dtype).triu_(1)
        x = x + attend(block, block.ln_1(x), mask)
        x = x + mlp(block, block.ln_2(x))
    return x


class PublishedWay:
    """Logits of a prompted CLIP, computed as the published code does.

    Args:
        model: gives weights and prompts; it is not changed.
    """

    def __init__(self, model: PromptedCLIP) -> None:
        self.model = model

    def text_features(self, text: TextPrompts) -> Tensor:
        """Normalised features `[C, E]` of `text` from all positions of the context."""
        clip = self.model.clip
        n_padding = clip.config.context_length - text.embedded.shape[1]
        padding = clip.token_embedding.weight[0].expand(len(text.embedded), n_padding, -1)
        x = (torch.cat([text.embedded, padding], dim=1) + clip.positional_embedding).to(clip.dtype)
        x = run_blocks(clip.transformer, x.permute(1, 0, 2), text.deep, 1).permute(1, 0, 2)
        x = clip.ln_final(x)  # of every position, as published
        return F.normalize(x[torch.arange(len(x)), text.end_index] @ clip.text_projection, dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised features `[B, E]`."""
        visual: Any = self.model.clip.visual
        prompts = self.model.prompt_learner.vision()
        x = visual.conv1(images.to(visual.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = x + visual.positional_embedding.to(x.dtype)
        start = x.shape[1]
        if prompts is not None and prompts.embedded is not None:
            x = torch.cat([x, prompts.embedded.to(x.dtype).expand(len(x), -1, -1)], dim=1)
        x = run_blocks(visual.transformer, visual.ln_pre(x).permute(1, 0, 2), prompts, start).permute(1, 0, 2)
        return F.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `[B, C]` of `images` `[B, 3, R, R]`; the text is encoded at every call."""
        with self.model.precision.autocast():
            features = self.image_features(images)
            scale, learner = self.model.clip.logit_scale.exp(), self.model.prompt_learner
            if not isinstance(learner, ConditionalWords):
                return scale * features @ self.text_features(learner.text()).t().to(features.dtype)
            rows = []  # CoCoOp: the class prompts of each image in turn
            for feature, context in zip(features, learner.context_of(features.float()), strict=True):
                text = self.text_features(learner.text_with(context))
                rows.append(scale * feature @ text.t().to(feature.dtype))
            return torch.stack(rows)
