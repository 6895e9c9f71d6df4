"""The tap-fusing decoder (paper, figure 1).

    deepest tap (B, D, h, w) -> conv -> up x2 -> [concat next tap, upscaled] -> conv -> up x2 ... -> conv head -> image

Each stage doubles the resolution; shallower taps join between the stages, the deepest comes first.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from uoisc.base.settings import MIXED_STAGES, NORM_GROUPS


class Residual(nn.Module):
    """x + conv(gelu(norm(conv(gelu(norm(x)))))): two 3 x 3 convolutions at one resolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(NORM_GROUPS, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(NORM_GROUPS, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Same shape."""
        return x + self.body(x)


class Decoder(nn.Module):
    """Token maps -> image in [0, 1].

    Args:
        taps: M. width: D. grid: tokens a side. channels: one entry per stage, each doubles the resolution, so
            the image has grid * 2^len(channels) pixels a side.
    """

    def __init__(self, taps: int, width: int, grid: int, channels: tuple[int, ...]):
        super().__init__()
        self.grid = grid
        self.side = grid * 2 ** len(channels)  # pixels
        fused = [width if i < taps else 0 for i in range(len(channels))]  # which stages take in a tap
        before = [0, *channels[:-1]]
        self.inputs = nn.ModuleList(
            nn.Conv2d(b + f, c, 3, padding=1) for b, f, c in zip(before, fused, channels, strict=True)
        )
        self.mixers = nn.ModuleList(Residual(c) if i < MIXED_STAGES else nn.Identity() for i, c in enumerate(channels))
        # The head does the last doubling itself (sub-pixel convolution): a quarter of the cost at full resolution.
        self.head = nn.Sequential(nn.Conv2d(channels[-1], 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, codes: Float[Tensor, "B M N D"]) -> Float[Tensor, "B 3 H W"]:
        """Images from code vectors: tap M - 1 (the deepest) first, tap 0 last."""
        maps = rearrange(codes, "b m (h w) d -> m b d h w", h=self.grid)
        h = None
        for i, (conv, mixer) in enumerate(zip(self.inputs, self.mixers, strict=True)):
            parts = [] if h is None else [F.interpolate(h, scale_factor=2.0, mode="nearest")]
            if i < len(maps):
                parts.append(F.interpolate(maps[len(maps) - 1 - i], scale_factor=2.0**i, mode="nearest"))
            h = F.gelu(mixer(conv(torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last))))
        return torch.sigmoid(self.head(h).float())
