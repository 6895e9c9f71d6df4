"""Nominal bits, counted from the indices that are emitted and the maps that there can be."""

import math
from itertools import combinations, product

import pytest
import torch

from uoisc.rate import FixedRate, RankedRate, ranked_tokens


def emitted(taps: int, tokens: int, segments: int) -> int:
    """How many indices a fixed rate emits: counted, not multiplied."""
    return sum(1 for _ in product(range(taps), range(tokens), range(segments)))


@pytest.mark.parametrize(("taps", "tokens", "segments", "codes"), [(1, 1, 1, 2), (2, 9, 3, 8), (4, 36, 2, 64)])
def test_fixed_rate_counts_every_index(taps, tokens, segments, codes):
    rate = FixedRate(taps, tokens, segments, codes)
    digits = len(f"{codes - 1:b}")  # binary digits of the largest index; exact where codes is a power of two
    assert rate.bits == emitted(taps, tokens, segments) * digits
    assert rate.sent(torch.rand(3, tokens)) is None


def test_the_authors_payload():
    """4 taps of 485 tokens, 16 segments of 64 codes: 186,240 bits (PAPER.md)."""
    assert FixedRate(4, 485, 16, 64).bits == 186_240


@pytest.mark.parametrize("tokens", [2, 5, 8])
def test_map_bits_name_every_choice_of_tokens(tokens):
    for top in range(1, tokens):
        maps = len(list(combinations(range(tokens), top)))
        bits = RankedRate(1, tokens, 1, 2, top, background=1).map_bits
        assert 2**bits >= maps and (bits == 0 or 2 ** (bits - 1) < maps)


@pytest.mark.parametrize(
    ("taps", "tokens", "segments", "codes", "top", "background"),
    [(2, 9, 3, 8, 2, 1), (1, 4, 1, 2, 3, 0), (3, 36, 4, 4, 12, 2)],
)
def test_ranked_rate_counts_what_is_sent(taps, tokens, segments, codes, top, background):
    rate = RankedRate(taps, tokens, segments, codes, top, background)
    sent = rate.sent(torch.rand(5, tokens))
    assert sent.shape == (5, taps, tokens, segments)
    for image in sent:
        assert int(image.sum()) * len(f"{codes - 1:b}") + rate.map_bits == rate.bits


@pytest.mark.parametrize("background", [0, 1])
def test_ranked_rate_sends_the_most_relevant_tokens_whole(background):
    taps, tokens, segments, top = 3, 7, 2, 3
    relevance = torch.rand(4, tokens) * 2 - 1
    sent = RankedRate(taps, tokens, segments, 4, top, background).sent(relevance)
    for b, row in enumerate(relevance.tolist()):
        best = sorted(range(tokens), key=lambda n: -row[n])[:top]
        for m, n, g in product(range(taps), range(tokens), range(segments)):
            in_background = m == taps - 1 and g < background
            assert bool(sent[b, m, n, g]) == (n in best or in_background)


def test_ranked_tokens_are_the_largest():
    relevance = torch.tensor([[0.1, 0.9, -0.5, 0.3]])
    assert ranked_tokens(relevance, 2).tolist() == [[False, True, False, True]]


def test_codes_that_are_no_power_of_two_cost_a_fraction():
    assert FixedRate(1, 10, 1, 3).bits == pytest.approx(10 * math.log(3) / math.log(2))
