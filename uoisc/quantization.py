"""Segment-wise vector quantisation (paper); with one segment it is plain vector quantisation (the ablation).

features (..., D) -> G segments (..., G, D/G) -> normalise -> nearest of K codes -> indices (..., G)
indices -> codes (..., G, D/G) -> (..., D)
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from uoisc.base.distributed import gathered, mean_over, total
from uoisc.message import Message

COMMITMENT = 0.25  # authors' code
USAGE_RATE = 0.02
DEAD = 0.03  # ours: a code of fair use that is unchosen for 174 passes is dead


class Quantized(NamedTuple):
    """Code vectors (with straight-through gradients), the indices that are sent, and the VQ loss."""

    codes: Float[Tensor, "*n D"]
    indices: Int[Tensor, "*n G"]
    loss: Float[Tensor, ""]


class SegmentVQ(nn.Module):
    """G codebooks of K codes, one per segment of D/G channels, shared by the taps.

    i^g = argmin_k | normalise(f^g) - c_k^g |^2;  loss = | sg(f) - c |^2 + 0.25 | f - sg(c) |^2, the mean over
    vectors of the sum over a segment's channels (authors' code: normalised input, 0.25, no moving average).
    Deviation (ours): codes stay on the unit sphere, as their inputs do, so that the nearest code is the one of
    largest inner product; codes that no vector chose for a while are moved onto current inputs.

    Args:
        width: D. segments: G, divides D. codes: K >= 2, at most 65,536.
    """

    def __init__(self, width: int, segments: int, codes: int):
        super().__init__()
        self.segments = segments
        self.codes = codes
        self.codebooks = nn.Parameter(F.normalize(torch.randn(segments, codes, width // segments), dim=-1))
        self.register_buffer("usage", torch.ones(segments, codes))
        self._kept: tuple[Tensor, int, Tensor] | None = None  # codes, their version, and the same on the unit sphere

    @property
    def bits_per_segment(self) -> float:
        """log2 K."""
        return math.log2(self.codes)

    def segment(self, features: Float[Tensor, "*n D"]) -> Float[Tensor, "G V S"]:
        """All vectors' segments on the unit sphere, one row of V vectors a codebook."""
        rows = features.reshape(-1, self.segments, self.codebooks.shape[-1]).transpose(0, 1)
        return F.normalize(rows.float(), dim=-1)

    def forward(
        self, features: Float[Tensor, "*n D"], sent: Bool[Tensor, "*n G"] | None = None, rounded: bool = True
    ) -> Quantized:
        """Quantises; segments that are not `sent` come back as zeros and carry no loss. Always in float32.

        Not `rounded` (the first steps of training, ours): normalised segments pass as they are, and the loss
        moves codes alone. A learned encoder that is rounded from the start settles on one code for all.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self._quantize(features, sent, rounded)

    def _quantize(self, features: Tensor, sent: Tensor | None, rounded: bool) -> Quantized:
        flat = self.segment(features)  # (G, V, S)
        mask = torch.ones_like(flat[..., 0]) if sent is None else rearrange(sent, "... g -> g (...)").to(flat.dtype)
        if self.training:
            self._revive(flat.detach(), mask)
        books = F.normalize(self.codebooks, dim=-1)  # (G, K, S)
        indices = _most_alike(flat.detach(), books.detach())  # (G, V)
        codes = books.gather(1, indices[..., None].expand_as(flat))  # (G, V, S)
        per_vector = (flat.detach() - codes).square().sum(-1)
        if rounded:
            per_vector = per_vector + COMMITMENT * (flat - codes.detach()).square().sum(-1)
        summed = (per_vector * mask).sum()
        counted = mask.sum()
        # only in training do all processes come here together
        loss = mean_over(summed, counted) if self.training else summed / counted.clamp(min=1)
        if self.training:
            self._track(indices, mask)
        straight = (flat + (codes - flat).detach() if rounded else flat) * mask[..., None]
        codes = rearrange(straight, "g v s -> v (g s)").reshape(features.shape)
        return Quantized(codes, indices.T.reshape(*features.shape[:-1], self.segments), loss)

    def nearest(self, features: Float[Tensor, "*n D"]) -> Int[Tensor, "*n G"]:
        """The indices alone, as the transmitter needs them."""
        with torch.autocast(features.device.type, enabled=False):
            indices = _most_alike(self.segment(features), self._kept_books())
        return indices.T.reshape(*features.shape[:-1], self.segments)

    def train(self, mode: bool = True) -> "SegmentVQ":
        """Forgets the kept codes: the steps of a fused optimiser leave no trace that `_kept_books` could see."""
        self._kept = None
        return super().train(mode)

    @torch.no_grad()
    def _kept_books(self) -> Tensor:
        """The codes on the unit sphere (G, K, S); outside training computed once, for as long as they do not change."""
        if self.training:
            return F.normalize(self.codebooks, dim=-1)
        now = self.codebooks.detach()  # the same memory: as long as it is kept, no other codes can lie there
        of, version, books = self._kept or (None, None, None)
        if of is None or of.data_ptr() != now.data_ptr() or version != now._version:
            books = F.normalize(now, dim=-1)
            self._kept = now, now._version, books
        return books

    def lookup(self, indices: Int[Tensor, "*n G"], sent: Bool[Tensor, "*n G"] | None = None) -> Float[Tensor, "*n D"]:
        """Code vectors of received indices; zeros where a segment was not sent."""
        books = F.normalize(self.codebooks, dim=-1)
        codes = torch.stack([books[g][indices[..., g]] for g in range(self.segments)], dim=-2)  # (..., G, S)
        if sent is not None:
            codes = codes * sent[..., None]
        return codes.flatten(-2)

    @torch.no_grad()
    def _revive(self, flat: Tensor, mask: Tensor) -> None:
        """Moves codes that were hardly chosen of late onto current vectors, before any gradient depends on them."""
        dead = (self.usage < DEAD).nonzero().tolist()
        if dead:
            flat = gathered(flat, 1)
            mask = gathered(mask, 1)
        for g, k in dead:
            candidates = mask[g].nonzero()[:, 0]
            if len(candidates):
                pick = candidates[torch.randint(len(candidates), (1,))]
                self.codebooks[g, k] = flat[g, pick[0]]
                self.usage[g, k] = 1.0

    @torch.no_grad()
    def _track(self, indices: Tensor, mask: Tensor) -> None:
        """Moving average of how often each code is chosen where its segment is sent; 1 is a fair share."""
        counts = total(torch.zeros_like(self.usage).scatter_add_(1, indices, mask))
        sent = total(mask.sum(1, keepdim=True))
        self.usage.lerp_(torch.where(sent > 0, counts / sent.clamp(min=1) * self.codes, self.usage), USAGE_RATE)


def perplexity(chosen: Int[Tensor, " n"], codes: int) -> tuple[float, int]:
    """exp(entropy) of the codes that a segment's indices chose, and the number never chosen."""
    p = torch.bincount(chosen, minlength=codes).float()
    p = p / p.sum()
    return math.exp(-(p[p > 0] * p[p > 0].log()).sum().item()), int((p == 0).sum())


def code_use(messages: Sequence[Message], codes: int) -> Iterator[tuple[int, int, float, int]]:
    """Tap, segment and `perplexity` of what was sent in each."""
    indices, mask = (torch.cat([getattr(message, name) for message in messages]) for name in ("indices", "mask"))
    for tap, segment in product(range(indices.shape[1]), range(indices.shape[3])):
        chosen = indices[:, tap, :, segment][mask[:, tap, :, segment]]
        if len(chosen):
            yield tap, segment, *perplexity(chosen, codes)


def _most_alike(flat: Float[Tensor, "G V S"], books: Float[Tensor, "G K S"]) -> Int[Tensor, "G V"]:
    """Which code has the largest inner product with each vector."""
    return (flat @ books.transpose(1, 2)).argmax(-1)
