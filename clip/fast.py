"""Ways by which CLIP computes the same with less; each can be turned off, to see what it gives or to rule it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FastPaths:
    """Which of them are taken; features and gradients are the same to rounding.

    Args:
        trim_text: text positions behind the last end mark are not computed: the text tower is causal, so they change nothing.
        pack_text: of class prompts, the words that all have in common are computed once, and no padding (:class:`clip.packing.TextPacking`).
        read_one_token: the last block of a ViT computes the class token alone, from which the features are read.
        avoid_cudnn_attention: on a GPU, attention is not cuDNN's, which PyTorch takes first on some: it plans for each length of sequence anew, and with
            prompts the lengths differ from layer to layer. It is a switch of the whole process.
    """

    trim_text: bool = True
    pack_text: bool = True
    read_one_token: bool = True
    avoid_cudnn_attention: bool = True
