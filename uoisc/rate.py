"""Rate allocation: which segments of which tokens are sent for a query.

A fixed rate sends all segments of all tokens. Relevance-ranked packing (ours; "features relevant to the user's
query" read as selection) sends all segments of the most relevant tokens at every tap, the first few segments of the
deepest tap of the others, and the map that tells which are which.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def ranked_tokens(relevance: Float[Tensor, "B N"], top: int) -> Bool[Tensor, "B N"]:
    """Which tokens are the `top` most relevant ones."""
    best = relevance.topk(top, dim=1).indices
    return torch.zeros_like(relevance, dtype=torch.bool).scatter(1, best, True)


class FixedRate:
    """Every token sends every segment at every tap: M N G log2 K bits (paper)."""

    def __init__(self, taps: int, tokens: int, segments: int, codes: int):
        self.bits = taps * tokens * segments * math.log2(codes)

    def sent(self, relevance: Float[Tensor, "B N"]) -> None:
        """None: nothing is left out."""
        return None


class RankedRate:
    """The `top` most relevant tokens send everything, the others `background` segments of the deepest tap.

    bits = (top M G + (N - top) background) log2 K + ceil(log2 C(N, top)), the last for the map.
    """

    def __init__(self, taps: int, tokens: int, segments: int, codes: int, top: int, background: int):
        self.taps, self.segments, self.top, self.background = taps, segments, top, background
        per_segment = math.log2(codes)
        self.map_bits = math.ceil(math.log2(math.comb(tokens, top)))
        self.bits = (top * taps * segments + (tokens - top) * background) * per_segment + self.map_bits

    def sent(self, relevance: Float[Tensor, "B N"]) -> Bool[Tensor, "B M N G"]:
        """Which segments are sent."""
        sent = ranked_tokens(relevance, self.top)[:, None, :, None].repeat(1, self.taps, 1, self.segments)
        sent[:, -1, :, : self.background] = True
        return sent
