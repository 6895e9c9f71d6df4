"""Which tokens a query chooses, as symbols of a range coder: how many of those that still lack something, and which.

The number of a choice among all of its size is coded in digits. What can be in one way alone takes no symbol.
Source: ours.
"""

import math
from functools import cache

import numpy as np
from constriction import stream

from uoisc.link.header import BitstreamError
from uoisc.rate import Packing

DIGIT = 1 << 12  # the choice of tokens is coded in digits of this base


def write_choice(encoder, ranked: np.ndarray, lacking: np.ndarray, rate: Packing) -> None:
    """Appends which tokens (N,) are chosen, of those that lack something, to a constriction range encoder."""
    left = int(lacking.sum())
    size = int(ranked.sum())
    counts = rate.counts(left)
    which = digits(choice_number(ranked[lacking]), math.comb(left, size))
    for digit, base in [(size - counts.start, len(counts)), *which]:
        if base > 1:
            encoder.encode(digit, stream.model.Uniform(base))


def read_choice(decoder, lacking: np.ndarray, rate: Packing) -> np.ndarray:
    """Which tokens (N,) are chosen. Raises BitstreamError for a number that no choice has."""

    def digit(base: int) -> int:
        return int(decoder.decode(stream.model.Uniform(base))) if base > 1 else 0

    left = int(lacking.sum())
    counts = rate.counts(left)
    size = counts.start + digit(len(counts))
    total = math.comb(left, size)
    number = 0
    for base in bases(total):
        number = number * DIGIT + digit(base)
    if number >= total:
        raise BitstreamError("the payload names no choice of tokens: the file was altered, fetch it again")
    ranked = np.zeros_like(lacking)
    ranked[lacking] = choice(number, left, size)
    return ranked


@cache
def bases(total: int) -> list[int]:
    """Bases of the digits that a number below `total` has, the leading one as small as it may be."""
    further = 0
    while DIGIT ** (further + 1) < total:
        further += 1
    return [-(-total // DIGIT**further), *[DIGIT] * further]


def digits(number: int, total: int) -> list[tuple[int, int]]:
    """(digit, base) from the leading one on."""
    each = bases(total)
    return [(number // DIGIT**place % base, base) for place, base in zip(range(len(each))[::-1], each, strict=True)]


def choice_number(ranked: np.ndarray) -> int:
    """The number of a choice of tokens among all of its size, in colexicographic order."""
    return sum(math.comb(token, place) for place, token in enumerate(ranked.nonzero()[0].tolist(), start=1))


def choice(number: int, tokens: int, size: int) -> np.ndarray:
    """Inverse of `choice_number`: which of the tokens (N,)."""
    ranked = np.zeros(tokens, dtype=bool)
    token = tokens
    for place in range(size, 0, -1):
        token -= 1
        while math.comb(token, place) > number:
            token -= 1
        ranked[token] = True
        number -= math.comb(token, place)
    return ranked
