"""CLIP's towers (Radford et al., 2021, arXiv 2103.00020) with the parameter names of the published weights.

Every size is an argument, in :class:`clip.config.CLIPConfig`. The vision and text transformers are one class, one
block; prompts reach both through :class:`clip.prompt_ops.LayerPrompts`.

Letters of shapes: B images, C texts, N sequences of either kind, L tokens, D width, P prompts, E joint embedding, G patches a side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import HEAD_WIDTH, CLIPConfig, n_heads_of
from .fast import FastPaths
from .packing import TextPacking
from .prompt_ops import LayerPrompts, PromptSchedule, PromptSpan, update
from .resnet import ModifiedResNet

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Attention of queries, keys and values ``[N, heads, L, D/heads]``, to the same shape."""
Positions = slice | Tensor
"""Positions in a sequence of tokens: a slice, or int64 ``[K]``."""


class LayerNorm(nn.LayerNorm):
    """Layer norm that computes in float32 and returns the dtype it was given, so that 16-bit towers keep their statistics exact."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu:  # where PyTorch takes 16-bit tokens beside float32 weights, and does the same without copies
            return super().forward(x)
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class QuickGELU(nn.Module):
    """x·sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with.

    As ``silu(1.702 x) / 1.702``, which is the same function: the way back keeps one tensor instead of two, and these are the widest of a layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(1.702 * x) * (1 / 1.702)


class Attention(nn.Module):
    """Multi-head self-attention ``[N, L, D] -> [N, L, D]`` with the parameter names of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, n_heads: int, is_causal: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.is_causal = is_causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x: Tensor, attend: Attend | None = None, read: Positions | None = None) -> Tensor:
        """The tokens' updates, of all positions or of those in ``read``; ``attend`` says which tokens see which, in place of all or the earlier ones."""
        n, length, _ = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # [N, L, 3D]
        q, k, v = qkv.view(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # each [N, heads, L, D/heads]
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal) if attend is None else attend(q, k, v)
        x = x.transpose(1, 2).flatten(2)  # [N, L, D]
        return self.out_proj(x if read is None else x[:, read].contiguous())  # what PyTorch 2.6 exports


class MLP(nn.Sequential):
    """The two linear maps of a block with the activation between them."""

    c_fc: nn.Linear
    c_proj: nn.Linear

    def __init__(self, width: int, inner_width: int, quick_gelu: bool) -> None:
        super().__init__()
        self.add_module("c_fc", nn.Linear(width, inner_width))
        self.add_module("gelu", QuickGELU() if quick_gelu else nn.GELU())
        self.add_module("c_proj", nn.Linear(inner_width, width))


class ResidualAttentionBlock(nn.Module):
    """One pre-norm transformer layer ``[N, L, D] -> [N, L, D]``, or of the tokens at the positions ``read`` alone, where nothing else is read from it."""

    def __init__(self, width: int, n_heads: int, is_causal: bool, quick_gelu: bool, mlp_width: int | None = None) -> None:
        super().__init__()
        self.attn = Attention(width, n_heads, is_causal)
        self.ln_1 = LayerNorm(width)
        self.mlp = MLP(width, mlp_width or 4 * width, quick_gelu)
        self.ln_2 = LayerNorm(width)

    def forward(self, x: Tensor, attend: Attend | None = None, read: Positions | None = None) -> Tensor:
        x = (x if read is None else x[:, read]) + self.attn(self.ln_1(x), attend, read)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks; the prompts of a sequence change before each block as their schedule says."""

    def __init__(self, width: int, n_layers: int, n_heads: int, is_causal: bool, quick_gelu: bool, mlp_width: int | None = None) -> None:
        super().__init__()
        self.width = width
        self.is_causal = is_causal
        blocks = (ResidualAttentionBlock(width, n_heads, is_causal, quick_gelu, mlp_width) for _ in range(n_layers))
        self.resblocks = nn.ModuleList(blocks)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.resblocks)

    def forward(
        self,
        x: Tensor,
        prompts: LayerPrompts | None = None,
        start: int = 0,
        attend: Attend | None = None,
        read: Positions | None = None,
    ) -> Tensor:
        """Run all blocks.

        Args:
            x: ``[N, L, D]``, the initial prompts already among its tokens.
            prompts: schedule and tokens; None for none.
            start: position of the first prompt in ``x``.
            attend: the attention of every block, where it is not the tower's own.
            read: the positions that are wanted of the last block, as they then are; all by default.

        Returns:
            ``[N, L + n_final - n_initial, D]``, or the tokens at ``read``.

        Raises:
            ValueError: the schedule was made for another number of layers.
        """
        prompts = prompts or LayerPrompts(PromptSchedule(self.n_layers, 0), [])
        if prompts.schedule.n_layers != self.n_layers:
            raise ValueError(f"a schedule for {prompts.schedule.n_layers} layers was given to a transformer of {self.n_layers}")
        span = PromptSpan(start, prompts.schedule.n_initial)
        n_own = x.shape[1] - span.length
        for layer_index, block in enumerate(self.resblocks):
            if layer_index > 0:
                x, span = prompts.before_layer(layer_index, x, span)
            assert x.shape[1] == n_own + span.length, "a layer sees its own tokens and the prompts present, no more and no fewer"
            x = block(x, attend, read if layer_index == self.n_layers - 1 else None)
        return x


class VisionTransformer(nn.Module):
    """The ViT image tower of ``config``: class token, patches, then prompts, ``[B, 3, R, R] -> [B, E]``."""

    read_one_token = FastPaths.read_one_token
    """Whether the last block computes the class token alone, from which the features are read."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        image_size, width, embed_dim = config.image_size, config.vision_width, config.embed_dim
        patch_size = config.vit_patch_size
        n_heads = config.vision_heads or n_heads_of(width, "image tower")
        self.image_size = image_size
        self.n_patches = (image_size // patch_size) ** 2
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(self.n_patches + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(width, config.vit_layers, n_heads, False, config.quick_gelu, config.vision_mlp_width)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))

    @property
    def width(self) -> int:
        """D, the width of a token."""
        return self.transformer.width

    def forward(self, images: Tensor, prompts: LayerPrompts | None = None) -> Tensor:
        x = self.conv1(images.to(self.conv1.weight.dtype))  # [B, D, G, G]
        x = x.flatten(2).transpose(1, 2)  # [B, G², D]
        class_token = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([class_token, x], dim=1) + self.positional_embedding.to(x.dtype)
        start = x.shape[1]
        if prompts is not None:
            x, _ = update(x, PromptSpan(start, 0), 0, prompts.initial)
        x = self.transformer(self.ln_pre(x), prompts, start, read=slice(0, 1) if self.read_one_token else None)
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    """An image tower and a text tower with a joint embedding.

    Both towers take prompts through ``prompts``; without them they are plain CLIP. Features are not normalised.

    Args:
        config: all sizes. Parameters are drawn as OpenAI's CLIP draws them for training from scratch.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        text_heads = config.text_heads or n_heads_of(config.text_width, "text tower")
        if config.patch_size is None:
            self.visual: VisionTransformer | ModifiedResNet = ModifiedResNet(
                config.resnet_layers,
                config.embed_dim,
                config.vision_heads or config.vision_width * 32 // HEAD_WIDTH,
                config.image_size,
                config.vision_width,
            )
        else:
            self.visual = VisionTransformer(config)
        self.transformer = Transformer(config.text_width, config.text_layers, text_heads, True, config.quick_gelu, config.text_mlp_width)
        self.token_embedding = nn.Embedding(config.vocab_size, config.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.text_width))
        self.ln_final = LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(torch.empty(config.text_width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # arXiv 2103.00020, section 2.5
        self.set_fast_paths(FastPaths())
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=self.config.text_width**-0.5)
        towers = [self.transformer] + ([self.visual.transformer] if isinstance(self.visual, VisionTransformer) else [])
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
        """Hold the large matrices in ``dtype`` (float16, bfloat16 or float32); norms, embeddings and the scale stay float32.

        Returns:
            self.
        """
        self.float()
        matrices = (Attention, nn.Linear, nn.Conv2d)
        for module in self.modules():
            if isinstance(module, matrices):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        if isinstance(self.visual, VisionTransformer):
            self.visual.proj.data = self.visual.proj.data.to(dtype)
        self.text_projection.data = self.text_projection.data.to(dtype)
        return self

    def set_fast_paths(self, fast: FastPaths) -> CLIP:
        """Say which savings are made; class prompts are built for those of their time.

        Returns:
            self.
        """
        self.fast = fast
        torch.backends.cuda.enable_cudnn_sdp(not fast.avoid_cudnn_attention)
        if isinstance(self.visual, VisionTransformer):
            self.visual.read_one_token = fast.read_one_token
        return self

    def encode_image(self, images: Tensor, prompts: LayerPrompts | None = None) -> Tensor:
        """Features ``[B, E]`` of ``images`` ``[B, 3, R, R]``, with prompts after the patches of a ViT.

        Raises:
            ValueError: the pictures are not of the size that the weights were made for, or prompts are given to a ResNet.
        """
        size = self.visual.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise ValueError(
                f"this CLIP reads pictures of shape [B, 3, {size}, {size}]; received {list(images.shape)}. Set INPUT.SIZE to ({size}, {size})."
            )
        if prompts is None:
            return self.visual(images)
        if not isinstance(self.visual, VisionTransformer):
            raise ValueError("a ResNet has no token sequence, so it takes no vision prompts: use a ViT backbone")
        return self.visual(images, prompts)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Word vectors ``[C, L, D]``, float32, of token ids ``[C, L]``, without positions."""
        return self.token_embedding(tokens)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features ``[C, E]`` of token ids ``[C, L]`` as the tokenizer gives them."""
        end_index = find_end(tokens)
        if self.fast.trim_text:
            tokens = trim_padding(tokens, end_index)
        return self.encode_embedded_text(self.embed_tokens(tokens), end_index)

    def encode_embedded_text(
        self, embedded: Tensor, end_index: Tensor, prompts: LayerPrompts | None = None, packing: TextPacking | None = None
    ) -> Tensor:
        """Features of texts whose word vectors are given, the way by which learned context reaches the text tower.

        Args:
            embedded: ``[C, L, D]`` without positions; the initial prompts, if any, stand at positions 1 to ``n_initial``. L need only reach the
                last end mark: the transformer is causal, so later positions change no feature.
            end_index: int64 ``[C]``, the position of each text's end mark.
            prompts: what changes before the deeper layers.
            packing: of these texts; by it, words that all have in common are computed once, and no padding, unless :attr:`fast` says otherwise.

        Returns:
            ``[C, E]``.
        """
        x = (embedded + self.positional_embedding[: embedded.shape[1]]).to(self.dtype)
        shift = 0 if prompts is None else prompts.schedule.n_final - prompts.schedule.n_initial
        if packing is None or not self.fast.pack_text:
            x = self.transformer(x, prompts, start=1)
            x = x[torch.arange(x.shape[0], device=x.device), end_index + shift]  # [C, D]
        else:
            x = self.transformer(packing.pack(x), prompts, start=1, attend=packing.attend, read=packing.ends + shift)[0]  # [C, D]
        return self.ln_final(x) @ self.text_projection


def find_end(tokens: Tensor) -> Tensor:
    """The position ``[C]`` of the end mark, the largest id, in each of the texts ``[C, L]``."""
    return tokens.argmax(dim=-1)


def trim_padding(tokens: Tensor, end_index: Tensor) -> Tensor:
    """Token ids ``[C, L]`` cut after the last end mark of all texts."""
    return tokens[:, : int(end_index.max()) + 1]
