"""Entropy coding of indices: integer probability tables, and the contexts that choose among them.

    counts of training messages --> tables (contexts, K), rows of integers that sum to 2^16 --> range coder

| tables      | an index's table is chosen by                                                       |
|-------------|-------------------------------------------------------------------------------------|
| static      | its segment                                                                         |
| conditioned | tap, segment, and whether its token is one that the query ranks first               |
| causal      | the same, and the indices of the same segment left of it and above it, where sent   |

All arithmetic that both ends must agree on is on integers. The range coder is constriction's. Source: ours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from constriction import stream
from jaxtyping import Bool, Int

from uoisc.message import Shape

TOTAL = 1 << 16  # what a table's frequencies sum to
PRIOR = 8  # how many observations the coarser table counts for in a finer one
MAX_CELLS = 1 << 20  # entries of all tables of a model together
KINDS = ("static", "conditioned", "causal")
Indices = Int[np.ndarray, "B M N G"]
Mask = Bool[np.ndarray, "B M N G"]
Ranked = Bool[np.ndarray, "B N"]


def cells(shape: Shape, kind: str) -> int:
    """Entries of all tables of a kind."""
    finest = shape.units * 2 * (shape.codes + 1) ** 2
    return {"static": shape.segments, "conditioned": shape.units * 2, "causal": finest}[kind] * shape.codes


@dataclass(frozen=True)
class Tables:
    """A model's probability tables: `frequencies` (contexts, K), each row positive integers that sum to 2^16."""

    shape: Shape
    kind: str
    frequencies: Int[np.ndarray, "C K"]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The frequencies as exact fractions of 2^16, which is the form that the range coder takes."""
        return self.frequencies / TOTAL

    @cached_property
    def models(self) -> list:
        """The range coder's own model of each context."""
        return [stream.model.Categorical(row, perfect=False) for row in self.probabilities]

    def bits(self, indices: Indices, sent: Mask, ranked: Ranked) -> np.ndarray:
        """Each message's cross-entropy under the tables, in bits: what an ideal coder would spend."""
        table = contexts(self.shape, self.kind, indices, sent, ranked)
        cost = -np.log2(self.probabilities[table, indices])
        return np.where(sent, cost, 0.0).sum(axis=(1, 2, 3))

    def encode(
        self, encoder, indices: Int[np.ndarray, "M N G"], sent: np.ndarray, ranked: np.ndarray, known=None
    ) -> None:
        """Appends one message's sent indices to a constriction range encoder; `known` as in `decode`."""
        there = sent
        if known is not None:
            indices = np.where(sent, indices, known)
            there = sent | (known < self.shape.codes)
        table = contexts(self.shape, self.kind, indices[None], there[None], ranked[None])[0]
        if sent.any():
            symbols = indices[sent].astype(np.int32)
            encoder.encode(symbols, stream.model.Categorical(perfect=False), self.probabilities[table[sent]])

    def decode(
        self, decoder, sent: Bool[np.ndarray, "M N G"], ranked: Bool[np.ndarray, " N"], known=None
    ) -> np.ndarray:
        """Reads one message's indices (M, N, G) from a range decoder; 0 where nothing was sent.

        known: indices (M, N, G) that both ends hold already, K where they hold none; None: none at all.
        """
        shape = self.shape
        side = self.shape.side
        none = self.shape.codes
        row = side * shape.segments
        chosen = ranked.tolist()
        models = self.models
        known = [none] * sent.size if known is None else known.flatten().tolist()  # as in `contexts`
        places = zip(np.flatnonzero(sent).tolist(), *(axis.tolist() for axis in sent.nonzero()), strict=True)
        for at, m, n, g in places:
            left = known[at - shape.segments] if n % side else none
            above = known[at - row] if n >= side else none
            unit = m * shape.segments + g
            known[at] = decoder.decode(models[_number(shape, self.kind, unit, chosen[n], left, above)])
        return np.where(sent, np.array(known).reshape(sent.shape), 0)


def contexts(shape: Shape, kind: str, indices: Indices, sent: Mask, ranked: Ranked) -> Indices:
    """Which table each index uses."""
    side = shape.side
    batch = len(indices)
    rows = (batch, shape.taps, side, side, shape.segments)
    known = np.full((batch, shape.taps, side + 1, side + 1, shape.segments), shape.codes)  # K: "nothing there"
    np.copyto(known[:, :, 1:, 1:], indices.reshape(rows), where=sent.reshape(rows))
    unit = np.arange(shape.units).reshape(shape.taps, 1, 1, shape.segments)
    chosen = ranked.reshape(batch, 1, side, side, 1)
    number = _number(shape, kind, unit, chosen, known[:, :, 1:, :-1], known[:, :, :-1, 1:])
    return np.broadcast_to(number, rows).reshape(indices.shape)


def _number(shape: Shape, kind: str, unit, ranked, left, above):
    """The number of the table, of whole arrays or of one index; `unit` counts a tap's segments after the other's."""
    if kind == "static":
        return unit % shape.segments
    number = unit * 2 + ranked
    if kind == "conditioned":
        return number
    return (number * (shape.codes + 1) + left) * (shape.codes + 1) + above


def count(shape: Shape, kind: str, indices: Indices, sent: Mask, ranked: Ranked) -> Int[np.ndarray, "C K"]:
    """How often each code came up in each context."""
    table = contexts(shape, kind, indices, sent, ranked)
    counts = np.bincount(table[sent] * shape.codes + indices[sent], minlength=cells(shape, kind))
    return counts.reshape(-1, shape.codes)


def build_tables(shape: Shape, kind: str, indices: Indices, sent: Mask, ranked: Ranked) -> Tables:
    """Tables from training messages; a context that was rarely seen falls back on the next coarser kind's."""
    counts = count(shape, kind, indices, sent, ranked)
    if kind == "static":
        prior = np.full((1, shape.codes), TOTAL // shape.codes)
    else:
        coarser = build_tables(shape, KINDS[KINDS.index(kind) - 1], indices, sent, ranked).frequencies
        number = np.arange(len(counts))
        prior = coarser[number // 2 % shape.segments if kind == "conditioned" else number // (shape.codes + 1) ** 2]
    return Tables(shape, kind, to_frequencies(counts * TOTAL + PRIOR * prior))


def to_frequencies(weights: Int[np.ndarray, "C K"]) -> Int[np.ndarray, "C K"]:
    """Positive integers that sum to 2^16 a row, in proportion to the weights; the largest gets what is left."""
    codes = weights.shape[1]
    frequencies = 1 + weights * (TOTAL - codes) // weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(weights))
    frequencies[rows, frequencies.argmax(axis=1)] += TOTAL - frequencies.sum(axis=1)
    return frequencies


def kinds_for(shape: Shape) -> list[str]:
    """The kinds of tables that are not too large; of those that all are the smallest."""
    return [kind for kind in KINDS if cells(shape, kind) <= MAX_CELLS] or [KINDS[0]]
