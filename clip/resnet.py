"""CLIP's ResNet image tower (arXiv 2103.00020, section 2.4).

It has a stem of three convolutions, average pooling before each stride, and attention pooling at the end.

Shapes: B images, R image size, S side of a feature map, D channels, E joint embedding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import HEAD_WIDTH, CLIPConfig

EXPANSION = 4  # channels of a block's output per channel of its inner convolutions (He et al., 2016)


class Bottleneck(nn.Module):
    """A residual block whose stride is an average pooling: `[B, D, S, S] -> [B, 4 * width, S', S']`."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or in_channels != out_channels:
            shortcut: OrderedDict[str, nn.Module] = OrderedDict()  # with the names of the published weights
            shortcut["-1"] = nn.AvgPool2d(stride)
            shortcut["0"] = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            shortcut["1"] = nn.BatchNorm2d(out_channels)
            self.downsample = nn.Sequential(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(self.avgpool(out)))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class AttentionPool2d(nn.Module):
    """Pools a feature map by attention whose query is its mean: `[B, D, S, S] -> [B, E]`."""

    def __init__(self, side: int, width: int, n_heads: int, embed_dim: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side + 1, width) / width**0.5)
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, embed_dim)
        for projection in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            nn.init.normal_(projection.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)  # [B, S², D]
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding.to(x.dtype)
        q, k, v = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        # each [B, heads, 1 or S² + 1, D / heads]
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)  # [B, D]
        return self.c_proj(x)


class ModifiedResNet(nn.Module):
    """The image tower of RN50 and its larger relatives, `[B, 3, R, R] -> [B, E]`; R is a multiple of 32."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        assert isinstance(config.vision_layers, tuple)
        width = config.vision_width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        in_channels = width
        for stage, n_blocks in enumerate(config.vision_layers):
            stage_width = width * 2**stage
            blocks = []
            for block_index in range(n_blocks):
                stride = 2 if stage > 0 and block_index == 0 else 1
                blocks.append(Bottleneck(in_channels, stage_width, stride))
                in_channels = stage_width * EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        n_heads = config.vision_heads or in_channels // HEAD_WIDTH
        self.attnpool = AttentionPool2d(config.image_size // 32, in_channels, n_heads, config.embed_dim)

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(self.conv1.weight.dtype)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = self.avgpool(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.attnpool(x)
