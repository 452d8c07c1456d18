"""All sizes of a CLIP, given or read from the shapes of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

HEAD_WIDTH = 64  # width of one attention head in every CLIP that OpenAI published (arXiv 2103.00020, tables 19 and 20)
VISION_BLOCKS, TEXT_BLOCKS = "visual.transformer.resblocks.", "transformer.resblocks."


@dataclass(frozen=True)
class CLIPConfig:
    """All sizes of a CLIP.

    Args:
        embed_dim: E, width of the joint embedding.
        image_size: side of the square input picture, pixels.
        vision_layers: number of blocks of a ViT, or the four stage depths of a ResNet.
        vision_width: D of the ViT, or the width of the ResNet's first stage.
        patch_size: side of a patch, pixels; None for a ResNet.
        context_length: positions of the text tower.
        vocab_size: number of token ids.
        text_width: D of the text tower.
        text_layers: number of blocks of the text tower.
        quick_gelu: activation x·sigmoid(1.702 x), as OpenAI's weights need it, instead of GELU.
        vision_heads, text_heads: attention heads; by default width / 64.
        vision_mlp_width, text_mlp_width: inner width of a block's MLP; by default 4 * width.
    """

    embed_dim: int
    image_size: int
    vision_layers: int | tuple[int, ...]
    vision_width: int
    patch_size: int | None
    context_length: int
    vocab_size: int
    text_width: int
    text_layers: int
    quick_gelu: bool = True
    vision_heads: int | None = None
    text_heads: int | None = None
    vision_mlp_width: int | None = None
    text_mlp_width: int | None = None

    @property
    def vit_layers(self) -> int:
        """Number of blocks of the ViT.

        Raises:
            ValueError: the image tower is a ResNet.
        """
        if not isinstance(self.vision_layers, int):
            raise ValueError(f"the image tower is a ResNet with stages of {self.vision_layers} blocks; this needs a ViT")
        return self.vision_layers

    @property
    def vit_patch_size(self) -> int:
        """Side of a patch of the ViT, pixels.

        Raises:
            ValueError: the image tower is a ResNet.
        """
        if self.patch_size is None:
            raise ValueError("the image tower is a ResNet, which has no patches; this needs a ViT")
        return self.patch_size

    @property
    def resnet_layers(self) -> tuple[int, ...]:
        """Number of blocks of each stage of the ResNet.

        Raises:
            ValueError: the image tower is a ViT.
        """
        if isinstance(self.vision_layers, int):
            raise ValueError(
                f"the image tower is a ViT of {self.vision_layers} blocks; this needs a ResNet, with the blocks of its four stages"
            )
        return self.vision_layers

    @property
    def has_vit(self) -> bool:
        """Whether the image tower is a ViT, which can take prompts, and no ResNet."""
        return self.patch_size is not None

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], quick_gelu: bool = True, vision_heads: int | None = None, text_heads: int | None = None
    ) -> CLIPConfig:
        """Sizes as the shapes of published weights give them.

        Raises:
            ValueError: a parameter that every CLIP has is absent, or shapes do not belong to one CLIP.
        """
        always = (
            "text_projection",
            "positional_embedding",
            "token_embedding.weight",
            "ln_final.weight",
            "logit_scale",
            "visual.conv1.weight",
        )
        missing = [k for k in always if k not in state_dict]
        if missing:
            found = ", ".join(list(state_dict)[:4])
            raise ValueError(
                f"these are no weights of a CLIP: {', '.join(missing)} is missing; the first names found are: {found or 'none'}"
            )
        shape = {k: tuple(v.shape) for k, v in state_dict.items()}
        return cls(
            **_image_tower_sizes(shape),
            embed_dim=shape["text_projection"][1],
            context_length=shape["positional_embedding"][0],
            vocab_size=shape["token_embedding.weight"][0],
            text_width=shape["ln_final.weight"][0],
            text_layers=_n_blocks(shape, TEXT_BLOCKS),
            quick_gelu=quick_gelu,
            vision_heads=vision_heads,
            text_heads=text_heads,
            text_mlp_width=_mlp_width(shape, TEXT_BLOCKS, shape["ln_final.weight"][0]),
        )


def _image_tower_sizes(shape: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The fields of :class:`CLIPConfig` that describe the image tower.

    Raises:
        ValueError: it is neither a ViT nor a ResNet of CLIP's kind.
    """
    if "visual.proj" in shape and "visual.positional_embedding" in shape:
        width, _, patch_size, _ = shape["visual.conv1.weight"]
        n_positions = shape["visual.positional_embedding"][0]
        grid = round((n_positions - 1) ** 0.5)
        if grid * grid + 1 != n_positions:
            raise ValueError(f"visual.positional_embedding has {n_positions} rows: no class token and a square of patches")
        return {
            "image_size": patch_size * grid,
            "vision_layers": _n_blocks(shape, VISION_BLOCKS),
            "vision_width": width,
            "patch_size": patch_size,
            "vision_mlp_width": _mlp_width(shape, VISION_BLOCKS, width),
        }
    if "visual.attnpool.positional_embedding" in shape and "visual.layer1.0.conv1.weight" in shape:
        return {
            "image_size": 32 * round((shape["visual.attnpool.positional_embedding"][0] - 1) ** 0.5),
            "vision_layers": tuple(_n_blocks(shape, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)),
            "vision_width": shape["visual.layer1.0.conv1.weight"][0],
            "patch_size": None,
        }
    raise ValueError("these weights hold neither a ViT (visual.proj) nor a ResNet (visual.attnpool) of CLIP's kind")


def _n_blocks(shape: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered modules stand under ``prefix``."""
    return len({k[len(prefix) :].split(".")[0] for k in shape if k.startswith(prefix)})


def _mlp_width(shape: Mapping[str, tuple[int, ...]], prefix: str, width: int) -> int | None:
    """Inner width of the MLPs under ``prefix`` where it is not 4 times ``width``."""
    inner = shape.get(f"{prefix}0.mlp.c_fc.weight", (4 * width,))[0]
    return None if inner == 4 * width else inner


def n_heads_of(width: int, tower: str) -> int:
    """Heads of 64 channels, as in every CLIP of OpenAI's."""
    if width % HEAD_WIDTH:
        raise ValueError(f"the {tower} has width {width}, no multiple of {HEAD_WIDTH}; give its number of attention heads")
    return width // HEAD_WIDTH
