"""`.uoi` files: one image's message in real bytes.

    header (header.py) + payload

What follows is one range-coded payload: which tokens the query ranks first, where the codec chooses (the number of
that choice among all of its size), then the sent indices: a tap after the other, in it a token after the other, in
it a segment after the other. All integers are big-endian. The payload is cut to the fewest bytes that decode to the
same message. docs/bitstream.md says it all byte by byte. Source: ours.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from constriction import stream

from uoisc.base.storage import read_label
from uoisc.codec import Codec
from uoisc.link.entropy import Tables
from uoisc.link.header import COMPACT_MARK, HEAD, MAGIC, VERSION, BitstreamError, check_size, crc24, parse
from uoisc.message import Message
from uoisc.rate import Packing, RateDial

DIGIT = 1 << 12  # the choice of tokens is coded in digits of this base
SYMBOL_BYTES = 2  # an index costs 16 bits at most, as its table's smallest frequency is 1 of 2^16


@dataclass(frozen=True)
class SharedModel:
    """What both ends hold: the trained codec, its probability tables, and the fingerprint of both (4 bytes).

    `packing` is 0 for a codec of fixed rate, or the number from 1 on of the packing that its rate dial is set to.
    """

    trained: Codec
    tables: Tables
    fingerprint: bytes
    packing: int = 0

    def within(self, bits: int | float) -> SharedModel:
        """The model with its rate dial set to at most so many bits. Raises ConfigError as `RateDial.at`."""
        dial = self.trained.rate
        return self.at(dial.packings.index(dial.at(bits)) + 1)

    def at(self, packing: int) -> SharedModel:
        """The model with its rate dial, if it has one, set to the packing of that number.

        Raises BitstreamError where it has none of that number.
        """
        packings = self.trained.rate.packings if isinstance(self.trained.rate, RateDial) else []
        if not (1 if packings else 0) <= packing <= len(packings):
            raise BitstreamError(f"packing {packing} is none of this model's {len(packings)}: the file was altered")
        return replace(self, packing=packing)

    @cached_property
    def codec(self) -> Codec:
        """The codec as it is set."""
        return self.trained.packed(self.trained.rate.packings[self.packing - 1]) if self.packing else self.trained

    @property
    def chosen(self) -> int:
        """How many tokens the query chooses; 0 where it chooses none."""
        rate = self.codec.rate
        return rate.top if isinstance(rate, Packing) and rate.ranked else 0

    @property
    def unasked(self) -> np.ndarray:
        """Which tokens (N,) come first where no query chooses: a spread packing's own, of a fixed rate none."""
        none = torch.zeros(1, self.tables.shape.tokens)
        return (self.codec.rate.first(none) if isinstance(self.codec.rate, Packing) else none > 0)[0].numpy()

    def sent(self, ranked: np.ndarray) -> np.ndarray:
        """Which segments (M, N, G) are sent where these tokens (N,) rank first."""
        shape, rate = self.tables.shape, self.codec.rate
        if not isinstance(rate, Packing):
            return np.ones((shape.taps, shape.tokens, shape.segments), dtype=bool)
        return rate.sent(torch.from_numpy(ranked[None]))[0].numpy()

    def checksum(self, payload: bytes) -> bytes:
        """Of the compact form: it covers what that form does not say."""
        return crc24(self.fingerprint, bytes([self.packing]), payload)


def fingerprint(*files: Path) -> bytes:
    """The first four bytes of the SHA-256 of the digests that a model's files, in order, carry in their labels.

    Each digest covers its file's tensors and label, and the label the digests of what the file was made from: CLIP and
    the training judge, the parameters, the seed. Raises CheckpointError for a file that cannot be read.
    """
    digests = [read_label(file, "make it again (dvc repro)")["sha256"] for file in files]
    return hashlib.sha256("".join(digests).encode()).digest()[:4]


def ranked_of(message: Message) -> np.ndarray:
    """Of which tokens (B, N) a message sends most, where it leaves anything out; of none at a fixed rate."""
    units = message.mask.numpy().sum(axis=(1, 3))
    return (units == units.max(axis=1, keepdims=True)) & (message.sent is not None)


def write(message: Message, model: SharedModel, size: tuple[int, int] | None) -> bytes:
    """One message (B = 1) as a file; self-describing with the image's (width, height), compact without.

    Raises BitstreamError for a size that the header cannot hold.
    """
    message = message.cpu()
    payload = encode_payload(message.indices.numpy()[0], ranked_of(message)[0], message.mask.numpy()[0], model)
    if size is None:
        return bytes([COMPACT_MARK | VERSION]) + model.checksum(payload) + payload
    check_size(size)
    head = HEAD.pack(MAGIC, VERSION, model.fingerprint, *size, model.packing)
    return head + crc24(head, payload) + payload


def read(data: bytes, model: SharedModel) -> tuple[Message, tuple[int, int] | None]:
    """The message (B = 1) of a file, and the size of the image that it was made of (None in the compact form).

    Raises BitstreamError: see `parse`; also where the file is of another model.
    """
    file = parse(data)
    if file.compact:
        if file.checksum != model.checksum(file.payload):
            cause = "the file was altered, or written with another model or budget of bits"
            raise BitstreamError(f"the checksum does not fit: {cause}")
    elif file.fingerprint != model.fingerprint:
        told = f"written with model {file.fingerprint.hex()}, this one is {model.fingerprint.hex()}"
        raise BitstreamError(f"{told}: name the variant and profile that wrote it")
    else:
        model = model.at(file.packing)
    indices, _, sent = decode_payload(file.payload, model)
    some = torch.from_numpy(sent[None]) if isinstance(model.codec.rate, Packing) else None
    return Message(torch.from_numpy(indices[None]), some), file.size


def encode_payload(indices: np.ndarray, ranked: np.ndarray, sent: np.ndarray, model: SharedModel) -> bytes:
    """The choice of tokens (N,), and of the indices (M, N, G) what it sends, in as few bytes as decode to the same."""
    encoder = stream.queue.RangeEncoder()
    if model.chosen:
        for digit, base in _digits(_choice_number(ranked), math.comb(len(ranked), model.chosen)):
            encoder.encode(digit, stream.model.Uniform(base))
    model.tables.encode(encoder, indices, sent, ranked)
    return _shortest(encoder)


def decode_payload(payload: bytes, model: SharedModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The indices (M, N, G), 0 where nothing was sent, which tokens (N,) were chosen, and which segments were sent.

    Raises BitstreamError where no writer of this format can have made the payload for this model.
    """
    shape = model.tables.shape
    most = shape.taps * shape.tokens * shape.segments * SYMBOL_BYTES + shape.tokens
    if len(payload) > most:
        raise BitstreamError(f"a payload of {len(payload)} bytes, at most {most} with this model: no message of it")
    indices, ranked, sent = _decode(payload, model)
    if encode_payload(indices, ranked, sent, model) != payload:
        raise BitstreamError("the payload is not one that this model writes: the file was altered, fetch it again")
    return indices, ranked, sent


def _decode(payload: bytes, model: SharedModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    padded = payload + bytes(-len(payload) % 4) + bytes(8)
    decoder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    try:
        ranked = _read_choice(decoder, model.tables.shape.tokens, model.chosen) if model.chosen else model.unasked
        sent = model.sent(ranked)
        return model.tables.decode(decoder, sent, ranked), ranked, sent
    except AssertionError as error:  # constriction's word for bytes that no encoder can have made
        raise BitstreamError("the payload cannot be decoded: the file was altered, fetch it again") from error


def _read_choice(decoder, tokens: int, size: int) -> np.ndarray:
    """Which tokens (N,) come first."""
    total, number = math.comb(tokens, size), 0
    for base in _bases(total):
        number = number * DIGIT + int(decoder.decode(stream.model.Uniform(base)))
    if number >= total:
        raise BitstreamError("the payload names no choice of tokens: the file was altered, fetch it again")
    return _choice(number, tokens, size)


def _shortest(encoder) -> bytes:
    """The fewest bytes that decode to what a range coder holds, and of these the smallest number.

    Missing bytes read as zeros, and bytes decode alike just where their number, with these zeros, lies in the coder's
    interval [first, first + width). So nothing needs to be decoded to find them.
    """
    words, (lower, width) = encoder.pos()  # the words before the interval; its last 64 bits, and how wide it is
    best, bits = encoder.get_compressed().astype(">u4").tobytes(), 32 * words + 64
    number = int.from_bytes(best, "big") << bits - 8 * len(best)  # lies in the interval
    first = number - (number - lower) % (1 << 64)
    for length in range(len(best) - 1, -1, -1):
        zeros = bits - 8 * length
        number = -(-first >> zeros)  # rounded up
        if number << zeros >= first + width:
            break
        best = number.to_bytes(length, "big")
    return best


@cache
def _bases(total: int) -> list[int]:
    """Bases of the digits that a number below `total` has, the leading one as small as it may be."""
    further = 0
    while DIGIT ** (further + 1) < total:
        further += 1
    return [-(-total // DIGIT**further), *[DIGIT] * further]


def _digits(number: int, total: int) -> list[tuple[int, int]]:
    """(digit, base) from the leading one on."""
    bases = _bases(total)
    return [(number // DIGIT**place % base, base) for place, base in zip(range(len(bases))[::-1], bases, strict=True)]


def _choice_number(ranked: np.ndarray) -> int:
    """The number of a choice of tokens among all of its size, in colexicographic order."""
    return sum(math.comb(token, place) for place, token in enumerate(ranked.nonzero()[0].tolist(), start=1))


def _choice(number: int, tokens: int, size: int) -> np.ndarray:
    """Inverse of `_choice_number`: which of the tokens (N,)."""
    ranked = np.zeros(tokens, dtype=bool)
    token = tokens
    for place in range(size, 0, -1):
        token -= 1
        while math.comb(token, place) > number:
            token -= 1
        ranked[token] = True
        number -= math.comb(token, place)
    return ranked
