"""CLIP's towers (Radford et al., 2021, arXiv 2103.00020), with the parameter names of the published weights.

Both transformers are one class with one kind of block, and take prompts as `clip.prompt_ops.LayerPrompts`.

Shapes: B images, R image size, G patches a side, C texts, N sequences of images or texts, L tokens, D width,
P prompts, E joint embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .config import HEAD_WIDTH, CLIPConfig
from .packing import TextPacking
from .prompt_ops import EMBEDDED, Branch, LayerPrompts, PromptSchedule, PromptSpan, update
from .resnet import ModifiedResNet

Attend = Callable[[Tensor], Tensor]
"""Attention of queries, keys and values `[3, N, heads, L, D / heads]`: `[N, heads, L, D / heads]`."""
Positions = slice | Tensor
"""Positions in a sequence: a slice, or int64 `[K]`."""

# All but cuDNN's, which plans again for each length of sequence: prompts change the length between layers.
ATTENTION_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class LayerNorm(nn.LayerNorm):
    """Layer norm that computes in float32 and returns the dtype of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu:  # where PyTorch does the same for 16-bit tokens and float32 weights, without copies
            return super().forward(x)
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with.

    Written as silu(1.702 x) / 1.702, which keeps one tensor for the backward pass instead of two.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(1.702 * x) * (1 / 1.702)


class Attention(nn.Module):
    """Multi-head self-attention with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, width: int, n_heads: int, is_causal: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.is_causal = is_causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, attend: Attend | None = None, read: Positions | None = None) -> Tensor:
        """Updates of the tokens `x` `[N, L, D]`, or of those at the positions `read`.

        `attend` replaces the tower's own attention.
        """
        n, length, _ = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # [N, L, 3D]
        qkv = qkv.view(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # [3, N, heads, L, D / heads]
        if attend is None:
            q, k, v = qkv
            x = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        else:
            x = attend(qkv)
        x = x.transpose(1, 2).flatten(2)  # [N, L, D]
        if read is not None:
            x = x[:, read].contiguous()  # contiguous for torch.export of PyTorch 2.6
        return self.out_proj(x)


class MLP(nn.Sequential):
    """The two linear maps of a block, with the activation between them."""

    c_fc: nn.Linear
    c_proj: nn.Linear

    def __init__(self, width: int, inner_width: int, quick_gelu: bool) -> None:
        super().__init__()
        self.add_module("c_fc", nn.Linear(width, inner_width))
        self.add_module("gelu", QuickGELU() if quick_gelu else nn.GELU())
        self.add_module("c_proj", nn.Linear(inner_width, width))


class ResidualAttentionBlock(nn.Module):
    """One pre-norm transformer layer, `[N, L, D] -> [N, L, D]`."""

    def __init__(
        self, width: int, n_heads: int, is_causal: bool, quick_gelu: bool, mlp_width: int | None = None
    ) -> None:
        super().__init__()
        self.attn = Attention(width, n_heads, is_causal)
        self.ln_1 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width or 4 * width, quick_gelu)
        self.ln_2 = LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        attend: Attend | None = None,
        read: Positions | None = None,
        branch: Branch | None = None,
    ) -> Tensor:
        """The tokens after this layer, or those at the positions `read`.

        `branch` of the normed input is added to them.
        """
        normed = self.ln_1(x)
        attended = self.attn(normed, attend, read)
        if read is not None:
            x, normed = x[:, read], normed[:, read]
        x = x + attended
        x = x + self.mlp(self.ln_2(x))
        return x if branch is None else x + branch(normed).to(x.dtype)


class Transformer(nn.Module):
    """A stack of blocks, before each of which the prompts of the sequence change as their schedule says."""

    def __init__(
        self,
        width: int,
        n_layers: int,
        n_heads: int,
        is_causal: bool,
        quick_gelu: bool,
        mlp_width: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.is_causal = is_causal
        self.resblocks = nn.ModuleList(
            ResidualAttentionBlock(width, n_heads, is_causal, quick_gelu, mlp_width) for _ in range(n_layers)
        )

    def forward(
        self,
        x: Tensor,
        prompts: LayerPrompts | None = None,
        start: int = 0,
        attend: Attend | None = None,
        read: Positions | None = None,
    ) -> Tensor:
        """Runs all blocks.

        Args:
            x: `[N, L, D]`, with the embedded prompts among its tokens.
            prompts: what a method changes in the layers.
            start: position of the first prompt in `x`.
            attend: replaces the tower's own attention.
            read: positions after the last block whose tokens are wanted; all if None.

        Returns:
            `[N, L + n_final - n_embedded, D]`, or the tokens at `read`.
        """
        prompts = prompts or LayerPrompts(PromptSchedule(self.n_layers, 0))
        span = PromptSpan(start, prompts.n_embedded)
        n_own = x.shape[1] - span.length
        with sdpa_kernel(ATTENTION_KERNELS) if x.is_cuda else nullcontext():
            for layer_index, block in enumerate(self.resblocks):
                x, span = prompts.before_layer(layer_index, x, span)
                assert x.shape[1] == n_own + span.length, "a layer sees the own tokens and the prompts"
                read_here = read if layer_index == self.n_layers - 1 else None
                x = block(x, attend, read_here, prompts.branches.get(layer_index))
        return x


class VisionTransformer(nn.Module):
    """The ViT image tower, `[B, 3, R, R] -> [B, E]`.

    Its sequence is class token, patches, prompts, or class token, prompts, patches if these stand inside.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        assert config.patch_size is not None
        width = config.vision_width
        self.n_patches = (config.image_size // config.patch_size) ** 2
        self.conv1 = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(self.n_patches + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(
            width,
            config.vit_layers,
            config.vision_heads or width // HEAD_WIDTH,
            is_causal=False,
            quick_gelu=config.quick_gelu,
            mlp_width=config.vision_mlp_width,
        )
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, config.embed_dim))

    def forward(self, images: Tensor, prompts: LayerPrompts | None = None) -> Tensor:
        return self.first_tokens(images, prompts, 1)[:, 0] @ self.proj

    def first_tokens(self, images: Tensor, prompts: LayerPrompts | None, n: int) -> Tensor:
        """The first `n` tokens `[B, n, D]` after the last layer and norm, the class token first."""
        prompts = prompts or LayerPrompts(PromptSchedule(self.transformer.n_layers, 0))
        x = self.conv1(images.to(self.conv1.weight.dtype))  # [B, D, G, G]
        x = x.flatten(2).transpose(1, 2)  # [B, G², D]
        class_token = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([class_token, x], dim=1) + self.positional_embedding.to(x.dtype)
        start = 1 if prompts.inside else x.shape[1]
        x, _ = update(x, PromptSpan(start, 0), 0, prompts.embedded)
        x = self.ln_pre(x)
        if (branch := prompts.branches.get(EMBEDDED)) is not None:
            x = x + branch(x).to(x.dtype)
        return self.ln_post(self.transformer(x, prompts, start, read=slice(0, n)))


class CLIP(nn.Module):
    """An image tower and a text tower with a joint embedding.

    Without prompts it is plain CLIP. Features are not normalised. Parameters start as
    OpenAI's CLIP for training from scratch does.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.visual: VisionTransformer | ModifiedResNet
        self.visual = VisionTransformer(config) if config.has_vit else ModifiedResNet(config)
        self.transformer = Transformer(
            config.text_width,
            config.text_layers,
            config.text_heads or config.text_width // HEAD_WIDTH,
            is_causal=True,
            quick_gelu=config.quick_gelu,
            mlp_width=config.text_mlp_width,
        )
        words = torch.empty(config.vocab_size, config.text_width)
        self.token_embedding = nn.Embedding.from_pretrained(words, freeze=False)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.text_width))
        self.ln_final = LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(torch.empty(config.text_width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.empty(()))
        if not words.is_meta:  # or the values are read from a file; PyTorch would import its compiler, 1.5 s
            self._initialise()

    def _initialise(self) -> None:
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))  # arXiv 2103.00020, section 2.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=self.config.text_width**-0.5)
        towers, visual = [self.transformer], self.visual
        if isinstance(visual, VisionTransformer):
            towers.append(visual.transformer)
            for parameter in (visual.class_embedding, visual.positional_embedding, visual.proj):
                nn.init.normal_(parameter, std=self.config.vision_width**-0.5)
        for tower in towers:
            residual_std = (2 * tower.n_layers * tower.width) ** -0.5
            for block in tower.resblocks:
                assert isinstance(block, ResidualAttentionBlock)
                nn.init.normal_(block.attn.in_proj_weight, std=tower.width**-0.5)
                nn.init.normal_(block.attn.out_proj.weight, std=residual_std)
                nn.init.normal_(block.mlp.c_fc.weight, std=(2 * tower.width) ** -0.5)
                nn.init.normal_(block.mlp.c_proj.weight, std=residual_std)

    @property
    def dtype(self) -> torch.dtype:
        """What the towers compute in."""
        return self.visual.conv1.weight.dtype

    def set_compute_dtype(self, dtype: torch.dtype) -> CLIP:
        """Casts the matrices to `dtype` and gives itself; norms, embeddings and the scale stay float32."""
        self.float()
        for module in self.modules():
            if isinstance(module, Attention | nn.Linear | nn.Conv2d):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        if isinstance(self.visual, VisionTransformer):
            self.visual.proj.data = self.visual.proj.data.to(dtype)
        self.text_projection.data = self.text_projection.data.to(dtype)
        return self

    def encode_image(self, images: Tensor, prompts: LayerPrompts | None = None) -> Tensor:
        """Features `[B, E]` of `images` `[B, 3, R, R]`; a ResNet takes no prompts."""
        return self.visual(images) if prompts is None else self.visual(images, prompts)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features `[C, E]` of token ids `[C, L]` from the tokenizer."""
        end_index = find_end(tokens)
        return self.encode_embedded_text(self.token_embedding(trim_padding(tokens, end_index)), end_index)

    def encode_embedded_text(
        self,
        embedded: Tensor,
        end_index: Tensor,
        prompts: LayerPrompts | None = None,
        packing: TextPacking | None = None,
    ) -> Tensor:
        """Features `[C, E]` of texts whose word vectors are given, among them learned ones.

        Args:
            embedded: `[C, L, D]` without positions, the embedded prompts at positions 1 to `n_embedded`. L
                may end at the last end mark: the tower is causal, so later positions change no feature.
            end_index: int64 `[C]`, the position of each text's end mark.
            prompts: what a method changes in the layers.
            packing: how these texts share their common words; None computes every position of every text.
        """
        x = (embedded + self.positional_embedding[: embedded.shape[1]]).to(self.dtype)
        shift = 0 if prompts is None else prompts.schedule.n_final - prompts.n_embedded
        if packing is None:
            x = self.transformer(x, prompts, start=1)
            x = x[torch.arange(x.shape[0], device=x.device), end_index + shift]  # [C, D]
        else:
            packed, ends = packing.pack(x), packing.ends + shift
            x = self.transformer(packed, prompts, start=1, attend=packing.attend, read=ends)[0]  # [C, D]
        return self.ln_final(x) @ self.text_projection


def find_end(tokens: Tensor) -> Tensor:
    """Position `[C]` of the end mark, the largest id, in each of the texts `[C, L]`."""
    return tokens.argmax(dim=-1)


def trim_padding(tokens: Tensor, end_index: Tensor) -> Tensor:
    """Token ids `[C, L]` cut after the last end mark of all texts."""
    return tokens[:, : int(end_index.max()) + 1]
