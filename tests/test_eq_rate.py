"""Nominal bits, counted from the indices that are emitted and the maps that there can be."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.errors import ConfigError
from uoisc.calibration import interpolated, measured_packings
from uoisc.message import Shape
from uoisc.rate import FixedRate, Packing, RateDial
from uoisc.relevance import ranked_tokens, spread_tokens

SMALL = Shape(taps=2, tokens=9, segments=3, codes=8)


def emitted(taps: int, tokens: int, segments: int) -> int:
    """How many indices a fixed rate emits: counted, not multiplied."""
    return sum(1 for _ in product(range(taps), range(tokens), range(segments)))


@pytest.mark.parametrize(("taps", "tokens", "segments", "codes"), [(1, 1, 1, 2), (2, 9, 3, 8), (4, 36, 2, 64)])
def test_fixed_rate_counts_every_index(taps, tokens, segments, codes):
    rate = FixedRate(Shape(taps, tokens, segments, codes), emphasised=1)
    digits = len(f"{codes - 1:b}")  # binary digits of the largest index; exact where codes is a power of two
    assert rate.bits == emitted(taps, tokens, segments) * digits
    assert rate.allocate(torch.rand(3, tokens)).sent is None


def test_the_authors_payload():
    """4 taps of 485 tokens, 16 segments of 64 codes: 186,240 bits (the authors' code)."""
    assert FixedRate(Shape(4, 485, 16, 64), 1).bits == 186_240


def test_codes_that_are_no_power_of_two_cost_a_fraction():
    assert FixedRate(Shape(1, 10, 1, 3), 1).bits == pytest.approx(10 * math.log(3) / math.log(2))


@pytest.mark.parametrize("tokens", [2, 5, 8])
def test_side_bits_name_every_choice_of_tokens(tokens):
    for top in range(1, tokens):
        maps = len(list(combinations(range(tokens), top)))
        bits = Packing(Shape(1, tokens, 1, 2), top, 1, 0).side_bits
        assert 2**bits >= maps and (bits == 0 or 2 ** (bits - 1) < maps)


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize(
    ("shape", "top", "level", "background"),
    [(SMALL, 2, 6, 1), (Shape(1, 4, 1, 2), 3, 1, 0), (Shape(3, 36, 4, 4), 12, 7, 2)],
)
def test_a_packing_counts_what_is_sent(shape, top, level, background, ranked):
    packing = Packing(shape, top, level, background, ranked)
    sent = packing.allocate(torch.rand(5, shape.tokens)).sent
    assert sent.shape == (5, shape.taps, shape.tokens, shape.segments)
    for image in sent:
        assert int(image.sum()) * len(f"{shape.codes - 1:b}") + packing.side_bits == packing.bits


@pytest.mark.parametrize(("level", "background"), [(6, 0), (3, 2), (1, 0)])
def test_the_most_relevant_tokens_send_the_first_units(level, background):
    relevance, top = torch.rand(4, SMALL.tokens) * 2 - 1, 3
    sent = Packing(SMALL, top, level, background).allocate(relevance).sent
    # deepest tap first, segment by segment: written out
    units = [(1, 0), (0, 0), (1, 1), (0, 1), (1, 2), (0, 2)]
    for b, row in enumerate(relevance.tolist()):
        best = sorted(range(SMALL.tokens), key=lambda n: -row[n])[:top]
        for n, (place, (m, g)) in product(range(SMALL.tokens), enumerate(units)):
            assert bool(sent[b, m, n, g]) == (place < (level if n in best else background))


def test_ranked_tokens_are_the_largest():
    relevance = torch.tensor([[0.1, 0.9, -0.5, 0.3]])
    assert ranked_tokens(relevance, 2).tolist() == [[False, True, False, True]]


def test_spread_tokens_lie_evenly_whatever_the_query():
    assert [int(spread_tokens(36, top).sum()) for top in range(37)] == list(range(37))
    packing = Packing(SMALL, 3, 2, 1, ranked=False)
    assert torch.equal(*(packing.allocate(torch.rand(1, 9)).sent for _ in range(2)))


def largest_empty(chosen: list[list[bool]]) -> int:
    """The side of the largest square without a chosen token: every square is looked at."""
    side = len(chosen)
    empty = [
        n
        for n in range(1, side + 1)
        for y, x in product(range(side - n + 1), repeat=2)
        if not any(any(row[x : x + n]) for row in chosen[y : y + n])
    ]
    return max(empty, default=0)


@pytest.mark.parametrize(("side", "spare"), [(3, 0), (4, 0), (6, 1), (9, 2), (22, 5)])
def test_every_beginning_of_the_spread_order_covers_the_grid(side, spare):
    """Of disjoint squares of n a side one stays empty where there are more than tokens: the least that can be."""
    for top in sorted({1, side, side * 2, side**2 // 6, *(range(1, side**2) if side < 9 else [])} - {0}):
        chosen = spread_tokens(side**2, top)
        least = max(n for n in range(1, side + 1) if (side // n) ** 2 > top)
        assert largest_empty(chosen.view(side, side).tolist()) <= least + spare
        assert not (chosen & ~spread_tokens(side**2, top + 1)).any()


def test_six_tokens_of_thirty_six_lie_in_five_rows_and_all_columns():
    rows, columns = spread_tokens(36, 6).view(6, 6).nonzero().T.tolist()
    assert len(set(rows)) == 5 and len(set(columns)) == 6


@pytest.fixture
def dial() -> RateDial:
    return tiny.untrained("dial", "dial").rate


def test_a_dial_spends_at_most_its_budget_and_cannot_go_below_its_cheapest(dial):
    cheapest = min(p.bits for p in dial.packings)
    for bits in (cheapest, 60, 97.5, 150, 200, 5000):
        assert dial.at(bits).bits <= min(bits, 200)
    with pytest.raises(ConfigError, match=f"are too few: the cheapest packing costs {cheapest:g}"):
        dial.at(cheapest - 1)


@pytest.mark.parametrize("bits", [math.nan, "x", -5, 0, None, True, torch.tensor(100.0), [100]])
def test_a_budget_is_a_number_above_0(bits):
    with pytest.raises(ConfigError, match="a budget of .*: wants a number of bits above 0") as caught:
        tiny.untrained("dial", "dial").at(bits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("background", [2, -1, "x", math.nan])
def test_a_background_that_no_packing_has(dial, background):
    with pytest.raises(ConfigError, match="a background of .* units: choose of 0, 1"):
        dial.at(100, background)


def test_any_kind_of_number_is_a_budget(dial):
    assert dial.at(np.float32(100)) is dial.at(np.int64(100)) is dial.at(100)
    assert dial.at(math.inf).bits == dial.at(10**400).bits == dial.bits


@pytest.mark.parametrize("ranked", [True, False])
def test_what_a_packing_can_send_is_any_part_of_what_it_sends(ranked):
    packing = Packing(SMALL, 3, 4, 1, ranked)
    sent = packing.allocate(torch.rand(2, 9)).sent
    assert packing.can_send(sent) and packing.can_send(sent & (torch.rand(sent.shape) < 0.5))
    for other in (Packing(SMALL, 4, 4, 1), Packing(SMALL, 3, 5, 1), Packing(SMALL, 3, 4, 2)):
        assert not packing.can_send(other.allocate(torch.rand(2, 9)).sent)
    one_more = sent.clone()
    one_more[1, 0, (~sent[1].any(2).all(0)).nonzero()[0, 0]] = True
    assert not packing.can_send(one_more)


@pytest.mark.parametrize("ranked", [True, False])
def test_what_a_packing_adds_costs_what_is_lacking_and_the_name_of_its_tokens(ranked):
    """9 tokens of 6 units, 3 bits each; by hand: 3 first tokens of 4 units, the others of 1."""
    packing = Packing(SMALL, 3, 4, 1, ranked)
    first = range(3) if ranked else spread_tokens(9, 3).nonzero().flatten().tolist()
    others = [n for n in range(9) if n not in first]
    relevance = torch.zeros(4, 9)
    relevance[:, first] = 1.0
    units = [(1, 0), (0, 0), (1, 1), (0, 1)]  # deepest tap first, segment by segment: written out
    held = torch.zeros(4, 2, 9, 3, dtype=torch.bool)
    holding = [{}, {first[0]: 4, first[1]: 2}, {others[0]: 4, others[1]: 1}, dict.fromkeys(first, 4)]
    for row, holdings in enumerate(holding):
        for token, count in holdings.items():
            for tap, segment in units[:count]:
                held[row, tap, token, segment] = True
    # of the tokens that lack their fourth unit, 9, 8, 8, 6: how many come first, and which of all such choices
    named = [math.comb(9, 3), 2 * math.comb(8, 2), 2 * math.comb(8, 3), 4 * math.comb(6, 0)] if ranked else [1] * 4
    lacked = [18, 18 - 6, 18 - 2, 18 - 12]
    expected = [3 * n + math.ceil(math.log2(ways)) for n, ways in zip(lacked, named, strict=True)]
    assert packing.added_bits(relevance, held) == expected
    assert expected[0] == packing.bits


def test_a_dial_takes_the_packing_of_the_best_measured_answers(dial):
    worst = [i for i, p in enumerate(dial.packings) if p.bits <= 150]
    dial.answers.fill_(0.9)
    dial.answers[worst] = 0.1
    dial.answers[worst[1]] = 0.8
    assert dial.at(150) is dial.packings[worst[1]]
    dial.answers[worst[1]] = 0.1
    dial.answers[worst[3]] = 0.9
    assert dial.at(150) is dial.packings[worst[3]]
    assert dial.at(150, background=1).background == 1 and dial.at(150, background=0).background == 0


def test_of_equal_answers_the_one_of_most_bits_is_taken(dial):
    """And no bits are spent on answers that were measured worse, be it by little."""
    fitting = [i for i, p in enumerate(dial.packings) if p.bits <= 150]
    most = max(fitting, key=lambda i: dial.packings[i].bits)
    dial.answers.fill_(0.1)
    dial.answers[fitting[0]] = dial.answers[most] = 0.5
    assert dial.at(150) is dial.packings[most]
    dial.answers[most] = 0.49
    assert dial.at(150) is dial.packings[fitting[0]]


def test_a_dial_sends_nothing_before_it_is_set(dial):
    with pytest.raises(ConfigError, match="set one with codec.at"):
        dial.eval().allocate(torch.rand(2, 36))


def test_training_cuts_at_every_level_and_within_the_budgets(dial):
    sent, emphasis = dial.train().allocate(torch.rand(400, 36))
    units = sent.sum(dim=(1, 3))  # (B, N)
    torch.testing.assert_close(emphasis, units / units.amax(1, keepdim=True))  # a token weighs by what it sends
    assert set(units.amax(1).tolist()) == set(range(2, 9))  # what the deepest packings within 60 to 200 bits have
    known = {(p.top, p.level, p.background) for p in dial.packings}
    for row in units.tolist():
        top = sum(u == max(row) for u in row)
        assert (top, max(row), min(row)) in known


def test_the_budgets_that_a_dial_trains_at_are_log_uniform(dial, monkeypatch):
    """As many in every octave; of 4000 a share has a standard error of .01 at most."""
    drawn, own = [], RateDial._deepest
    monkeypatch.setattr(RateDial, "_deepest", lambda dial, bits: drawn.append(bits) or own(dial, bits))
    dial.train().budgets = (50, 200)
    dial.allocate(torch.rand(4000, 36))
    assert len(drawn) == 4000 and min(drawn) >= 50 and max(drawn) <= 200
    for middle in (50 * 4**0.25, 100, 50 * 4**0.75):
        expected = math.log(middle / 50) / math.log(4)
        assert np.mean(np.array(drawn) < middle) == pytest.approx(expected, abs=0.04)


def test_between_measured_levels_the_share_is_interpolated(dial):
    chosen = measured_packings(dial)
    assert set(chosen) < set(dial.packings)
    found = interpolated(dial, {p: p.level / 10 + p.top for p in chosen})
    assert found.tolist() == pytest.approx([p.level / 10 + p.top for p in dial.packings])


def test_a_uniform_dial_has_even_steps_that_no_bit_describes():
    packings = tiny.untrained("dial_uniform", "dial").rate.packings
    assert all(p.side_bits == 0 for p in packings)
    assert [p.bits for p in packings] == [12.0 * n for n in range(1, len(packings) + 1)]


def test_a_uniform_dial_whose_tokens_six_does_not_divide_still_reaches_all():
    packings = RateDial(Shape(1, 484, 4, 16), (9,), (0,), (320, 10**5), ranked=False).packings
    assert [p.top for p in packings[:6]] == [80, 161, 242, 322, 403, 484]
    steps = [b.bits - a.bits for a, b in zip(packings, packings[1:], strict=False)]
    assert set(steps) == {80 * 4.0, 81 * 4.0}


def test_more_packings_than_a_file_can_name_are_thinned_level_by_level():
    """The paper's grid: every third level, the deepest among them; a few packings stay as they are."""
    shape, tops, lows, budgets = Shape(4, 484, 8, 64), (42, 72, 132, 232), (0, 1, 2, 4, 8, 12), (11616, 60000)
    packings = RateDial(shape, tops, lows, budgets).packings
    assert 200 < len(packings) <= 255
    assert {p.level for p in packings} == set(range(2, 33, 3))
    assert {(p.top, p.background) for p in packings} == {(top, low) for top in tops for low in lows}
    for budget in (11616, 23232, 46464, 60000):
        assert max(p.bits for p in packings if p.bits <= budget) > 0.97 * budget
    few = RateDial(shape, tops[:2], lows[:2], budgets).packings
    assert {p.level for p in few} == set(range(1, 33))


def test_packings_that_no_thinning_makes_few_enough_are_refused():
    shape = Shape(2, 36, 8, 16)
    with pytest.raises(ConfigError, match="packings, at most 255: fewer tokens or background"):
        RateDial(shape, tuple(range(1, 36)), tuple(range(12)), (100, 10**5))


@pytest.mark.parametrize(
    ("ranked", "fewest", "cost"), [(False, 319, "spread tokens costs 320"), (True, 706, "ranked tokens costs 707")]
)
def test_a_budget_below_the_cheapest_packing_is_refused_before_training(ranked, fewest, cost):
    """Spread: a sixth of 484 tokens. Ranked, 4 of 484: thinned levels begin at 2."""
    shape = Shape(1, 484, 4, 16) if not ranked else Shape(4, 484, 8, 64)
    tops = (9,) if not ranked else (42, 72, 132, 232)
    lows = (0,) if not ranked else (0, 1, 2, 4, 8, 12)
    RateDial(shape, tops, lows, (fewest + 1, 60000), ranked)
    with pytest.raises(ConfigError, match=f"{fewest} bits are too few, the cheapest packing of {cost}"):
        RateDial(shape, tops, lows, (fewest, 60000), ranked)


def test_a_fixed_rate_cannot_be_set():
    with pytest.raises(ConfigError, match="no rate dial: it always sends 288 bits"):
        tiny.codec("uoisc").at(100)


def test_shapes_know_their_units():
    assert (SMALL.units, SMALL.side) == (6, 3)
    assert sorted(SMALL.order.flatten().tolist()) == list(range(6))
    assert replace(SMALL, taps=1).order.tolist() == [[0, 1, 2]]


def test_a_uniform_dial_emphasises_as_many_tokens_as_a_ranked_one_might():
    dial = tiny.untrained("dial_uniform", "dial").rate.train()
    relevance = torch.rand(100, 36)
    emphasis = dial.allocate(relevance).emphasis
    assert {4, 6} == set(emphasis.sum(1).tolist())
    for row, chosen in zip(relevance, emphasis > 0, strict=True):
        assert row[chosen].min() > row[~chosen].max()
