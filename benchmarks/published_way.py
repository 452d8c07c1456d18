"""The published way of computing prompt learning, written out as plainly as possible: what the benchmark
holds ours against.

All 77 text positions of every class are computed in every step and in every test batch, sequences run
position-first through the function of ``nn.MultiheadAttention`` with an explicit causal mask, and deeper
prompts are put in by slicing and concatenating. The weights and the prompts are those of the model it is
given, so that both compute the same logits.

Letters of shapes: B images, C classes, L tokens, N sequences, D width, P prompts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clip import LayerPrompts
from clip.model import QuickGELU, ResidualAttentionBlock, Transformer
from trainers.cocoop import ConditionalWords
from trainers.prompted_clip import PromptedCLIP
from trainers.prompts import TextPrompts


def attend(block: ResidualAttentionBlock, x: Tensor, mask: Tensor | None) -> Tensor:
    """Self-attention of a block on ``[L, N, D]``."""
    attention = block.attn
    out, _ = F.multi_head_attention_forward(
        x,
        x,
        x,
        x.shape[-1],
        attention.n_heads,
        attention.in_proj_weight,
        attention.in_proj_bias,
        None,
        None,
        False,
        0.0,
        attention.out_proj.weight,
        attention.out_proj.bias,
        attn_mask=mask,
        need_weights=False,
    )
    return out


def mlp(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """The two linear maps of a block, with the activation of OpenAI's CLIP written as published."""
    x = block.mlp.c_fc(x)
    return block.mlp.c_proj(
        x * torch.sigmoid(1.702 * x) if isinstance(block.mlp.gelu, QuickGELU) else block.mlp.gelu(x)
    )


def run_blocks(transformer: Transformer, x: Tensor, prompts: LayerPrompts | None, start: int) -> Tensor:
    """All blocks on ``[L, N, D]``; the prompts begin at position ``start``."""
    n_present = 0 if prompts is None else prompts.schedule.n_initial
    for index, block in enumerate(transformer.resblocks):
        if prompts is not None and 0 < index < len(prompts.tokens):
            kept = start + n_present - prompts.schedule.plans[index].removed
            new = prompts.tokens[index]
            pieces = [
                x[:kept],
                *([] if new is None else [new.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)]),
                x[start + n_present :],
            ]
            x = torch.cat(pieces, dim=0)
            n_present = prompts.schedule.plans[index].total
        mask = (
            torch.full((len(x), len(x)), float("-inf"), device=x.device, dtype=x.dtype).triu_(1)
            if transformer.is_causal
            else None
        )
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
        self.context_length = model.clip.config.context_length

    def text_features(self, text: TextPrompts) -> Tensor:
        """Normalised features ``[C, E]`` of ``text`` from all positions of the context."""
        clip = self.model.clip
        padding = clip.token_embedding.weight[0].expand(
            len(text.embedded), self.context_length - text.embedded.shape[1], -1
        )
        x = (torch.cat([text.embedded, padding], dim=1) + clip.positional_embedding).to(clip.dtype)
        x = run_blocks(clip.transformer, x.permute(1, 0, 2), text.deep, 1).permute(1, 0, 2)
        x = clip.ln_final(x)  # of every position, as published
        return F.normalize(x[torch.arange(len(x)), text.end_index] @ clip.text_projection, dim=-1)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised features ``[B, E]``."""
        visual, prompts = self.model.clip.visual, self.model.prompt_learner.vision()
        x = visual.conv1(images.to(visual.conv1.weight.dtype)).flatten(2).permute(0, 2, 1)
        x = torch.cat(
            [visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1
        ) + visual.positional_embedding.to(x.dtype)
        start = x.shape[1]
        if prompts is not None and prompts.initial is not None:
            x = torch.cat([x, prompts.initial.to(x.dtype).expand(len(x), -1, -1)], dim=1)
        x = run_blocks(visual.transformer, visual.ln_pre(x).permute(1, 0, 2), prompts, start).permute(1, 0, 2)
        return F.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[B, C]`` of ``images`` ``[B, 3, R, R]``; the text is encoded anew at every call."""
        with self.model.precision.autocast():
            features = self.image_features(images)
            scale, learner = self.model.clip.logit_scale.exp(), self.model.prompt_learner
            if not isinstance(learner, ConditionalWords):
                return scale * features @ self.text_features(learner.text()).t().to(features.dtype)
            # CoCoOp: the class prompts of each image in turn
            contexts = learner.context_of(features.float())
            return torch.stack(
                [
                    scale * f @ self.text_features(learner.text_with(ctx)).t().to(f.dtype)
                    for f, ctx in zip(features, contexts, strict=True)
                ]
            )
