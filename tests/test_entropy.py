"""Probability tables are integers, fall back where little was seen, and code what they say at what it should cost."""

import constriction
import numpy as np
import pytest

from uoisc.link.entropy import KINDS, TOTAL, Tables, build_tables, cells, contexts, count, kinds_for, to_frequencies
from uoisc.message import Shape

SHAPE = Shape(taps=2, tokens=9, segments=2, codes=4)


def messages(n: int, seed: int = 0, shape: Shape = SHAPE, top: int = 3) -> tuple[np.ndarray, ...]:
    """Indices that repeat their left neighbour half the time, `top` tokens sent whole, one segment of the others."""
    rng = np.random.default_rng(seed)
    ranked = np.zeros((n, shape.tokens), dtype=bool)
    for row in ranked:
        row[rng.choice(shape.tokens, top, replace=False)] = True
    sent = np.tile(ranked[:, None, :, None], (1, shape.taps, 1, shape.segments))
    sent[:, -1, :, 0] = True
    indices = rng.integers(0, shape.codes, (n, shape.taps, shape.tokens, shape.segments))
    for token in range(1, shape.tokens):
        repeated = rng.random(indices[:, :, token].shape) < 0.5
        indices[:, :, token] = np.where(repeated, indices[:, :, token - 1], indices[:, :, token])
    return indices, sent, ranked


def test_frequencies_are_positive_and_sum_to_the_total():
    weights = np.array([[0, 0, 0, 1], [5, 5, 5, 5], [1, 10, 100, 10**12]])
    frequencies = to_frequencies(weights)
    assert frequencies.min() >= 1 and (frequencies.sum(axis=1) == TOTAL).all()
    assert (frequencies[1] == TOTAL // 4).all()
    assert frequencies[0].argmax() == 3 and frequencies[2].argmax() == 3


def by_hand(kind, indices, sent, ranked, b, m, n, g) -> int:
    """The number of one index's table, read off the module's table of kinds."""
    if kind == "static":
        return g
    number = (m * SHAPE.segments + g) * 2 + int(ranked[b, n])
    if kind == "conditioned":
        return number
    left = indices[b, m, n - 1, g] if n % 3 != 0 and sent[b, m, n - 1, g] else SHAPE.codes
    above = indices[b, m, n - 3, g] if n >= 3 and sent[b, m, n - 3, g] else SHAPE.codes
    return (number * (SHAPE.codes + 1) + left) * (SHAPE.codes + 1) + above


@pytest.mark.parametrize("kind", KINDS)
def test_contexts(kind):
    indices, sent, ranked = messages(3)
    found = contexts(SHAPE, kind, indices, sent, ranked)
    assert found.shape == indices.shape and found.max() < cells(SHAPE, kind) // SHAPE.codes
    for at in np.ndindex(indices.shape):
        assert found[at] == by_hand(kind, indices, sent, ranked, *at)


def test_counts_are_of_what_was_sent():
    indices, sent, ranked = messages(5)
    counts = count(SHAPE, "static", indices, sent, ranked)
    for g in range(SHAPE.segments):
        chosen = indices[..., g][sent[..., g]]
        assert counts[g].tolist() == [(chosen == k).sum() for k in range(SHAPE.codes)]


@pytest.mark.parametrize("kind", ["conditioned", "causal"])
def test_a_context_that_was_never_seen_has_the_coarser_table(kind):
    """Of the same segment; the two segments' codes are skewed in opposite ways."""
    indices, sent, ranked = messages(200)
    indices[..., 0], indices[..., 1] = indices[..., 0] // 2, 3 - indices[..., 1] // 2
    coarse, fine = (build_tables(SHAPE, each, indices, sent, ranked) for each in (KINDS[KINDS.index(kind) - 1], kind))
    seen = count(SHAPE, kind, indices, sent, ranked).sum(axis=1)
    assert (seen == 0).any()
    for table in np.flatnonzero(seen == 0):
        unit = table // 2  # of the conditioned tables: taps times segments, twice
        parent = coarse.frequencies[unit % SHAPE.segments if kind == "conditioned" else table // (SHAPE.codes + 1) ** 2]
        assert np.abs(fine.frequencies[table] - parent).max() <= SHAPE.codes  # the room that 1 each takes


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_at_the_cost_of_the_cross_entropy(kind):
    tables = build_tables(SHAPE, kind, *messages(500))
    many = messages(300, seed=1)
    encoder = constriction.stream.queue.RangeEncoder()
    for one in zip(*many, strict=True):
        tables.encode(encoder, *one)
    words = encoder.get_compressed()
    decoder = constriction.stream.queue.RangeDecoder(words)
    for indices, sent, ranked in zip(*many, strict=True):
        assert np.array_equal(tables.decode(decoder, sent, ranked), np.where(sent, indices, 0))
    assert 32 * len(words) == pytest.approx(tables.bits(*many).sum(), rel=1e-3, abs=64)


def test_cross_entropy_by_hand():
    frequencies = np.array([[TOTAL // 2, TOTAL // 4, TOTAL // 8, TOTAL // 8]] * 2)
    indices = np.zeros((1, 2, 9, 2), dtype=int)
    indices[0, 0, 0] = (1, 3)
    tables = Tables(SHAPE, "static", frequencies)
    sent = np.zeros(indices.shape, dtype=bool)
    sent[0, 0, 0] = sent[0, 1, 8, 0] = True
    assert tables.bits(indices, sent, np.zeros((1, 9), dtype=bool)).tolist() == [2 + 3 + 1]


def test_neighbours_pay_where_they_tell_and_not_where_they_do_not():
    def costs(training: tuple, held_back: tuple) -> dict[str, float]:
        return {kind: build_tables(SHAPE, kind, *training).bits(*held_back).mean() for kind in KINDS}

    related = costs(messages(3000), messages(300, seed=1))
    assert related["causal"] < 0.97 * related["static"]
    rng = np.random.default_rng(2)
    indices, sent, ranked = messages(100, seed=3)
    unrelated = (rng.integers(0, SHAPE.codes, indices.shape), sent, ranked)
    found = costs(unrelated, (rng.integers(0, SHAPE.codes, indices.shape), sent, ranked))
    assert found["causal"] > found["static"]


def test_a_kind_whose_tables_would_be_too_large_is_left_out():
    assert kinds_for(SHAPE) == list(KINDS)
    assert kinds_for(Shape(taps=2, tokens=4, segments=1, codes=256)) == ["static", "conditioned"]
    assert kinds_for(Shape(taps=2, tokens=4, segments=17, codes=65536)) == ["static"], "one is needed"
