"""The sizes of a CLIP, read from the shapes of its weights or from a configuration of open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Every CLIP of OpenAI's has attention heads of 64 channels, and its widest ViT is that of ViT-L/14
# (arXiv 2103.00020, tables 19 and 20).
HEAD_WIDTH = 64
WIDEST_VIT = 1024
VOCAB_SIZE = 49408  # tokens of CLIP's vocabulary

# The settings of a plain CLIP, with what open_clip assumes where a configuration does not give them
# (CLIPVisionCfg and CLIPTextCfg in its model.py).
OPEN_CLIP_MODEL = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}
OPEN_CLIP_VISION = {
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
    "image_size": 224,
    "patch_dropout": 0.0,  # only matters in training
}
OPEN_CLIP_TEXT = {
    "context_length": 77,
    "vocab_size": VOCAB_SIZE,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
}


@dataclass(frozen=True)
class CLIPConfig:
    """The sizes of a CLIP.

    Args:
        embed_dim: E, width of the joint embedding.
        image_size: side of the square input image, in pixels.
        vision_layers: number of blocks of a ViT, or the depths of the four stages of a ResNet.
        vision_width: D of the ViT, or width of the ResNet's first stage.
        patch_size: side of a patch, in pixels; None for a ResNet.
        context_length: number of positions of the text tower.
        vocab_size: number of token ids.
        text_width: D of the text tower.
        text_layers: number of blocks of the text tower.
        quick_gelu: the activation is QuickGELU, as in OpenAI's weights, and not GELU.
        vision_heads, text_heads: number of attention heads; width / 64 if None.
        vision_mlp_width, text_mlp_width: inner width of the MLPs; 4 * width if None.
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
    def has_vit(self) -> bool:
        """Whether the image tower is a ViT, which takes prompts, and not a ResNet."""
        return self.patch_size is not None

    @property
    def vit_layers(self) -> int:
        """Number of blocks of the ViT; a ValueError if the image tower is a ResNet."""
        if not isinstance(self.vision_layers, int):
            raise ValueError(
                "the image tower of this backbone is a ResNet, which takes no prompts: use ViT-B/32, "
                "ViT-B/16 or ViT-L/14, or a method that learns text prompts alone (CoOp, CoCoOp)"
            )
        return self.vision_layers

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor], quick_gelu: bool = True) -> CLIPConfig:
        """Reads the sizes from the shapes of weights of OpenAI's kind.

        Raises:
            ValueError: the arrays are not those of a CLIP, or nothing says its number of attention heads.
        """
        shape = {name: tuple(array.shape) for name, array in state_dict.items()}
        try:
            config = cls(
                **_image_tower_sizes(shape),
                embed_dim=shape["text_projection"][1],
                context_length=shape["positional_embedding"][0],
                vocab_size=shape["token_embedding.weight"][0],
                text_width=shape["ln_final.weight"][0],
                text_layers=_n_blocks(shape, "transformer.resblocks."),
                quick_gelu=quick_gelu,
            )
        except (KeyError, IndexError, ValueError) as error:  # an array is missing or has another rank
            found = ", ".join(list(shape)[:4])
            raise ValueError(f"these are not the weights of a CLIP ({error!r}); found {found}") from error
        width = config.vision_width
        if config.text_width % HEAD_WIDTH or (config.has_vit and (width > WIDEST_VIT or width % HEAD_WIDTH)):
            raise ValueError(
                "the weights have a size that OpenAI did not publish, and do not say their attention heads: "
                "put their open_clip_config.json beside them, or name them open_clip:<model>/<weights>"
            )
        return config

    @classmethod
    def from_open_clip(cls, model_cfg: Mapping[str, Any], quick_gelu: bool) -> CLIPConfig:
        """Reads the sizes from a configuration of open_clip.

        Args:
            model_cfg: as `open_clip.get_model_config` and the `open_clip_config.json` of the hub give it.
            quick_gelu: the activation that the weights were trained with.

        Raises:
            ValueError: it is not a plain CLIP, that is a ViT or CLIP's ResNet with CLIP's text tower.
        """
        vision = {**OPEN_CLIP_VISION, **model_cfg["vision_cfg"]}
        text = {**OPEN_CLIP_TEXT, **model_cfg["text_cfg"]}
        unknown = [k for k, v in model_cfg.items() if k not in OPEN_CLIP_MODEL and v]
        unknown += [f"vision_cfg.{k}" for k, v in vision.items() if k not in OPEN_CLIP_VISION and v]
        unknown += [f"text_cfg.{k}" for k, v in text.items() if k not in OPEN_CLIP_TEXT and v]
        if not isinstance(vision["image_size"], int):
            unknown.append("vision_cfg.image_size")
        if text["vocab_size"] != VOCAB_SIZE:
            unknown.append("text_cfg.vocab_size")
        if unknown:
            raise ValueError(f"it is not a plain CLIP: its configuration sets {', '.join(unknown)}")
        has_vit = isinstance(vision["layers"], int)
        vision_heads = vision["width"] * (1 if has_vit else 32) // vision["head_width"]
        vision_mlp_width = int(vision["width"] * (vision["mlp_ratio"] if has_vit else 4))
        text_mlp_width = int(text["width"] * text["mlp_ratio"])
        return cls(
            embed_dim=model_cfg["embed_dim"],
            image_size=vision["image_size"],
            vision_layers=vision["layers"] if has_vit else tuple(vision["layers"]),
            vision_width=vision["width"],
            patch_size=vision["patch_size"] if has_vit else None,
            context_length=text["context_length"],
            vocab_size=VOCAB_SIZE,
            text_width=text["width"],
            text_layers=text["layers"],
            quick_gelu=quick_gelu,
            vision_heads=None if vision["head_width"] == HEAD_WIDTH else vision_heads,
            text_heads=None if text["heads"] * HEAD_WIDTH == text["width"] else text["heads"],
            vision_mlp_width=None if vision_mlp_width == 4 * vision["width"] else vision_mlp_width,
            text_mlp_width=None if text_mlp_width == 4 * text["width"] else text_mlp_width,
        )


def _image_tower_sizes(shape: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if "visual.proj" in shape:
        width, _, patch_size, _ = shape["visual.conv1.weight"]
        n_positions = shape["visual.positional_embedding"][0]
        return {
            "image_size": patch_size * round((n_positions - 1) ** 0.5),
            "vision_layers": _n_blocks(shape, "visual.transformer.resblocks."),
            "vision_width": width,
            "patch_size": patch_size,
        }
    n_positions = shape["visual.attnpool.positional_embedding"][0]
    return {
        "image_size": 32 * round((n_positions - 1) ** 0.5),
        "vision_layers": tuple(_n_blocks(shape, f"visual.layer{stage}.") for stage in (1, 2, 3, 4)),
        "vision_width": shape["visual.layer1.0.conv1.weight"][0],
        "patch_size": None,
    }


def _n_blocks(shape: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in shape if name.startswith(prefix)})
