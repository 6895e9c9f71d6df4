"""Rate allocation: which segments of which tokens are sent for a query.

    fixed      every token sends every segment of every tap                                (paper)
    packing    tokens are ranked by their relevance to the query: the `top` first ones send `level` units each,
               the others `background` units                                               (ours)
    dial       one model for every budget of bits: it picks the packing of which it has measured the best
               answers                                                                     (ours)
    further    of what a packing sends, what the receiver does not hold yet                (ours)

A unit is one segment of one tap. A token's units have one order, segment by segment and in each the deepest tap
first, and a dial's training cuts them anywhere (nested dropout; Rippel et al., 2014): any prefix can be decoded.
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from uoisc.base.distributed import processes, rank
from uoisc.base.errors import ConfigError
from uoisc.message import Shape
from uoisc.relevance import ranked_tokens, spread_tokens

MAX_PACKINGS = 255  # a file names its packing in a byte (bitstream.py)
COARSER = range(1, 9)  # steps between the levels of a dial; the first that makes few enough packings
SPREAD_STEPS = 6  # packings of spread tokens between one level of all and the next


class Allocation(NamedTuple):
    """Which segments are sent (None: all), and how much more each token may weigh in training, from 0 to 1."""

    sent: Bool[Tensor, "B M N G"] | None
    emphasis: Float[Tensor, "B N"]


class FixedRate(nn.Module):
    """Every token sends every segment at every tap: M N G log2 K bits (paper).

    Args:
        emphasised: how many of the most relevant tokens weigh more, where the losses weigh them.
        share: how much of that the others weigh, from 0 to 1.
    """

    def __init__(self, shape: Shape, emphasised: int, share: float = 0.0):
        super().__init__()
        self.shape = shape
        self.emphasised = emphasised
        self.share = share
        self.side_bits = 0
        self.setting = "a fixed rate"
        self.bits = shape.units * shape.tokens * math.log2(shape.codes)

    def allocate(self, relevance: Float[Tensor, "B N"]) -> Allocation:
        """Nothing is left out."""
        first = ranked_tokens(relevance, self.emphasised)
        return Allocation(None, first + ~first * self.share)

    def can_send(self, sent: Bool[Tensor, "B M N G"]) -> bool:
        """Whatever a link has left."""
        return True


class Packing(nn.Module):
    """The `top` first tokens send `level` units, the others `background`, fewer, units.

    bits = (top level + (N - top) background) log2 K + ceil(log2 C(N, top)), where the last term pays for saying
    which tokens come first; where `ranked` is false these are the same for all images (`spread_tokens`), and it is 0.
    """

    def __init__(self, shape: Shape, top: int, level: int, background: int, ranked: bool = True):
        super().__init__()
        self.shape = shape
        self.top = top
        self.level = level
        self.background = background
        self.ranked = ranked
        self.side_bits = math.ceil(math.log2(math.comb(shape.tokens, top))) if ranked else 0
        units = top * level + (shape.tokens - top) * background
        self.bits = units * math.log2(shape.codes) + self.side_bits
        chosen = "ranked" if ranked else "spread"
        self.setting = f"{self.bits:g} bits ({top} {chosen} tokens of {level} units, the others of {background})"

    def first(self, relevance: Float[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
        """Which tokens are the first ones."""
        if self.ranked:
            return ranked_tokens(relevance, self.top)
        return spread_tokens(self.shape.tokens, self.top).to(relevance.device).expand(relevance.shape)

    def sent(self, first: Bool[Tensor, "B N"]) -> Bool[Tensor, "B M N G"]:
        """Which segments are sent where these tokens come first."""
        ours, others = (units.to(first.device) for units in self._of_a_token)
        return torch.where(first[:, None, :, None], ours, others)

    def can_send(self, sent: Bool[Tensor, "B M N G"]) -> bool:
        """Whether these segments are some of those that it sends: a link may lose segments, and adds none."""
        ours, others = (units.to(sent.device) for units in self._of_a_token)
        first = (sent & ~others).any(dim=3).any(dim=1)  # (B, N)
        spread = spread_tokens(self.shape.tokens, self.top).to(sent.device)
        allowed = first.sum(1) <= self.top if self.ranked else (first <= spread).all(1)
        return bool(allowed.all() & ~(sent & ~ours).any())

    def further(self, relevance: Float[Tensor, "B N"], held: Bool[Tensor, "B M N G"]) -> tuple[Tensor, str]:
        """Which segments (B, M, N, G) it sends that are not held yet, and its setting."""
        return self.allocate(relevance).sent & ~held, self.setting

    def lacking(self, held: Bool[Tensor, "B M N G"]) -> Bool[Tensor, "B N"]:
        """Tokens that lack a first token's last unit; nothing more needs to be said of the others."""
        last = (self.shape.order == self.level - 1).to(held.device)[:, None, :]
        return ~(held & last).any(dim=3).any(dim=1)

    def counts(self, lacking: int) -> range:
        """How many of so many tokens that lack something may be among the `top` first ones."""
        return range(max(0, self.top - (self.shape.tokens - lacking)), min(self.top, lacking) + 1)

    def added_bits(self, relevance: Float[Tensor, "B N"], held: Bool[Tensor, "B M N G"]) -> list[float]:
        """Nominal bits per image of what it adds to what is held, including naming the tokens."""
        first = self.first(relevance)
        lacking = self.lacking(held)
        units = (self.sent(first) & ~held).flatten(1).sum(1).tolist()
        left = lacking.sum(1).tolist()
        chosen = (first & lacking).sum(1).tolist()
        ways = [len(self.counts(n)) * math.comb(n, t) if self.ranked else 1 for n, t in zip(left, chosen, strict=True)]
        return [u * math.log2(self.shape.codes) + math.ceil(math.log2(w)) for u, w in zip(units, ways, strict=True)]

    @cached_property
    def _of_a_token(self) -> tuple[Bool[Tensor, "M 1 G"], Bool[Tensor, "M 1 G"]]:
        """Which segments one of the first tokens sends, and which any other."""
        order = self.shape.order[:, None, :]
        return order < self.level, order < self.background

    def allocate(self, relevance: Float[Tensor, "B N"]) -> Allocation:
        """The same number of units for every image; a token weighs by its share of the first ones' units."""
        first = self.first(relevance)
        return Allocation(self.sent(first), first + ~first * (self.background / self.level))


class RateDial(nn.Module):
    """One model, any budget of bits: `at` picks a packing; in training each image gets a random one.

    `answers` holds what `calibrate` (calibration.py) has measured: the share of matching answers on training scenes, a
    row per packing of `packings`; nan where nothing was measured yet.

    Args:
        tops: how many tokens may come first. backgrounds: how many units the others may send.
        budgets: (fewest, most) bits.
        ranked: whether relevance ranks the tokens; else all packings are spread.

    Where relevance ranks, and these are more packings than a file's one byte can name, first tokens send every second,
    third, ... number of units alone, up to all. Raises ConfigError where that is not coarse enough, and where the
    fewest bits are too few for any packing.
    """

    setting = None  # none until a budget is set
    limit = None  # bits that a message may add to what is known

    def __init__(
        self,
        shape: Shape,
        tops: tuple[int, ...],
        backgrounds: tuple[int, ...],
        budgets: tuple[int, int],
        ranked: bool = True,
    ):
        super().__init__()
        self.shape = shape
        self.tops = tops
        self.budgets = budgets
        self.ranked = ranked
        if ranked:
            choices = [
                (t, level, low) for t in tops for low in backgrounds for level in range(low + 1, shape.units + 1)
            ]
        else:
            upper = sorted({shape.tokens * k // SPREAD_STEPS for k in range(1, SPREAD_STEPS + 1)} - {0})
            choices = [(top, low + 1, low) for low in range(shape.units) for top in upper]
        built = [Packing(shape, *choice, ranked=ranked) for choice in choices]
        fitting = [p for p in built if p.bits <= budgets[1]]
        kept = [[p for p in fitting if not ranked or (shape.units - p.level) % step == 0] for step in COARSER]
        self.packings = next((some for some in kept if len(some) <= MAX_PACKINGS), kept[-1])
        if len(self.packings) > MAX_PACKINGS:
            remedy = "fewer tokens or background" if ranked else "fewer segments or smaller budgets"
            raise ConfigError(f"codec.dial gives {len(self.packings)} packings, at most {MAX_PACKINGS}: {remedy}")
        least = min(p.bits for p in self.packings or built)
        if budgets[0] < least:
            of = "ranked" if ranked else "spread"
            cost = f"the cheapest packing of {of} tokens costs {least:g}"
            raise ConfigError(f"codec.dial.budgets: {budgets[0]:g} bits are too few, {cost}")
        self.bits = max(p.bits for p in self.packings)  # the most that one spends
        self.register_buffer("answers", torch.full((len(self.packings),), math.nan))

    def at(self, bits: float | Any, background: int | Any | None = None) -> Packing:
        """The packing within `bits` that answers best (`calibrate`); ties go to the one with most bits.

        Args:
            background: units that the others send, which keep the rest of the picture recognisable; None: as many as
                answer best.

        Raises ConfigError where the budget is no number or too small for any, and for a background that none has.
        """
        _check_budget(bits)
        backgrounds = sorted({p.background for p in self.packings})
        if background is not None and background not in backgrounds:
            raise ConfigError(f"a background of {background!r} units: choose of {', '.join(map(str, backgrounds))}")
        offered = [i for i, p in enumerate(self.packings) if background in (None, p.background)]
        fitting = [i for i in offered if self.packings[i].bits <= bits]
        if not fitting:
            least = min(self.packings[i].bits for i in offered)
            raise ConfigError(f"{bits:g} bits are too few: the cheapest packing costs {least:g}")
        return self.best(fitting)

    def adding(self, bits: float | Any) -> "RateDial":
        """The same dial, set to spend at most `bits` on what it adds to what the receiver holds."""
        _check_budget(bits)
        limited = copy(self)
        limited.limit = bits
        return limited

    def best(self, fitting: list[int]) -> Packing:
        """Of the packings of these numbers the one that `at` takes."""
        measured = self.ranked and not self.answers.isnan().any()
        worth = self.answers.tolist() if measured else [0.0] * len(self.packings)
        return self.packings[max(fitting, key=lambda i: (worth[i], self.packings[i].bits))]

    def allocate(self, relevance: Float[Tensor, "B N"]) -> Allocation:
        """Training: a packing per image, of bits that are log-uniform within the budgets.

        Where relevance ranks nothing, as many of the most relevant tokens as one that ranks might choose are
        emphasised all the same. Raises ConfigError outside training, where a budget must be set first (`Codec.at`).
        """
        if not self.training:
            raise ConfigError("a rate dial sends at a budget: set one with codec.at(bits)")
        low, high = (math.log(b) for b in self.budgets)
        own = len(relevance)
        budgets = torch.empty(own * processes()).uniform_(low, high).exp().tolist()  # every process draws for all rows
        choices = [(_one_of(self._deepest(bits)), 0 if self.ranked else _one_of(self.tops)) for bits in budgets]
        rows = []
        for row, (packing, top) in zip(relevance.split(1), choices[rank() * own :], strict=False):
            sent, emphasis = packing.allocate(row)
            rows.append((sent, emphasis if self.ranked else ranked_tokens(row, top).float()))
        return Allocation(*map(torch.cat, zip(*rows, strict=True)))

    def can_send(self, sent: Bool[Tensor, "B M N G"]) -> bool:
        """Whatever one of its packings has sent, and a link has left."""
        return True

    def further(self, relevance: Float[Tensor, "B N"], held: Bool[Tensor, "B M N G"]) -> tuple[Tensor, tuple]:
        """As a packing's, and each image's setting: of the packings that add no more than the limit what `at` takes.

        Raises ConfigError where there is no limit, or where it is too small for any packing.
        """
        if self.limit is None:
            raise ConfigError("a rate dial sends at a budget: set one with codec.at(bits) or codec.adding(bits)")
        costs = zip(*(p.added_bits(relevance, held) for p in self.packings), strict=True)  # each image's, by packing
        rows = []
        for row, known, cost in zip(relevance.split(1), held.split(1), costs, strict=True):
            fitting = [i for i, bits in enumerate(cost) if bits <= self.limit]
            if not fitting:
                raise ConfigError(f"{self.limit:g} bits are too few: the cheapest packing adds {min(cost):g}")
            rows.append(self.best(fitting).further(row, known))
        sent, settings = zip(*rows, strict=True)
        return torch.cat(sent), settings

    def _deepest(self, bits: float) -> list[Packing]:
        """Within `bits`, for each number of first tokens and each background the packing of most units."""
        fitting = [p for p in self.packings if p.bits <= bits] or [min(self.packings, key=lambda p: p.bits)]
        if not self.ranked:
            return [max(fitting, key=lambda p: p.bits)]
        return list({(p.top, p.background): p for p in sorted(fitting, key=lambda p: p.level)}.values())


def _check_budget(bits: float | Any) -> None:
    if not isinstance(bits, Real) or isinstance(bits, bool) or not bits > 0:  # nan is above nothing
        raise ConfigError(f"a budget of {bits!r}: wants a number of bits above 0")


def _one_of(choices: Sequence):
    """One of them at random, by torch's generator."""
    return choices[int(torch.randint(len(choices), (1,)))]
