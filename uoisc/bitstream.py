"""`.uoi` files: one image's message in real bytes.

| bytes | self-describing form (16)       | | bytes | compact form (4), for two ends that share the model |
|-------|---------------------------------|-|-------|------------------------------------------------------|
| 0-2   | "UOI"                           | | 0     | 0xC0 + version                                       |
| 3     | version                         | | 1-3   | low 24 bits of CRC-32 over fingerprint and payload   |
| 4-7   | fingerprint of the model        | |       |                                                      |
| 8-11  | width, height in pixels         | |       |                                                      |
| 12-15 | CRC-32 of all other bytes       | |       |                                                      |

What follows is one range-coded payload: which tokens the query ranks first, where the codec chooses (the number of
that choice among all of its size), then the sent indices: a tap after the other, in it a token after the other, in
it a segment after the other. All integers are big-endian. The payload is cut to the fewest bytes that decode to the
same message. Source: ours.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uoisc.codec import Codec, Message
from uoisc.entropy import Tables
from uoisc.errors import UoiscError
from uoisc.rate import RankedRate

MAGIC, VERSION, COMPACT_MARK = b"UOI", 1, 0xC0
HEADER_BYTES, COMPACT_BYTES = 16, 4
MAX_SIDE = 16_384  # pixels a side of the restored image
DIGIT = 1 << 12  # the choice of tokens is coded in digits of this base
SYMBOL_BYTES = 2  # an index costs 16 bits at most, as its table's smallest frequency is 1 of 2^16


class BitstreamError(UoiscError):
    """A .uoi file is truncated, altered, foreign, of a newer version or of another model."""


@dataclass(frozen=True)
class SharedModel:
    """What both ends hold: the codec, its probability tables, and the fingerprint of both (4 bytes)."""

    codec: Codec
    tables: Tables
    fingerprint: bytes

    @property
    def chosen(self) -> int:
        """How many tokens the query chooses; 0 at a fixed rate."""
        return self.codec.rate.top if isinstance(self.codec.rate, RankedRate) else 0

    def sent(self, ranked: np.ndarray) -> np.ndarray:
        """Which segments (M, N, G) are sent where these tokens (N,) rank first."""
        mask = self.codec.rate.sent(torch.from_numpy(ranked[None].astype(np.float32)))
        shape = self.tables.shape
        return np.ones((shape.taps, shape.tokens, shape.segments), dtype=bool) if mask is None else mask[0].numpy()


@dataclass(frozen=True)
class File:
    """A parsed file: what its header says, and the payload. In the compact form size and fingerprint are None."""

    version: int
    compact: bool
    fingerprint: bytes | None
    size: tuple[int, int] | None
    payload: bytes
    checksum: int


def fingerprint(*files: Path) -> bytes:
    """The first four bytes of the SHA-256 of a model's files, in order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.digest()[:4]


def ranked_of(message: Message) -> np.ndarray:
    """Which tokens (B, N) a message sends whole; none at a fixed rate."""
    batch, _, tokens, _ = message.indices.shape
    if message.sent is None:
        return np.zeros((batch, tokens), dtype=bool)
    return message.sent.all(dim=3).all(dim=1).numpy()


def write(message: Message, model: SharedModel, size: tuple[int, int] | None) -> bytes:
    """One message (B = 1) as a file; self-describing with the image's (width, height), compact without.

    Raises BitstreamError for a size that the header cannot hold.
    """
    payload = encode_payload(message.indices[0].numpy(), ranked_of(message)[0], model)
    if size is None:
        return _compact_header(payload, model.fingerprint) + payload
    _check_size(size)
    head = MAGIC + bytes([VERSION]) + model.fingerprint + size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
    return head + zlib.crc32(head + payload).to_bytes(4, "big") + payload


def read(data: bytes, model: SharedModel) -> tuple[Message, tuple[int, int] | None]:
    """The message (B = 1) of a file, and the size of the image that it was made of (None in the compact form).

    Raises BitstreamError: see `parse`; also where the file is of another model.
    """
    file = parse(data)
    if file.compact:
        if file.checksum != _crc24(file.payload, model.fingerprint):
            raise BitstreamError("the checksum does not fit: the file was altered, or written with another model")
    elif file.fingerprint != model.fingerprint:
        raise BitstreamError(
            f"written with model {file.fingerprint.hex()}, this one is {model.fingerprint.hex()}: name the variant, "
            "rate and profile that wrote it"
        )
    indices, ranked = decode_payload(file.payload, model)
    sent = None if model.chosen == 0 else torch.from_numpy(model.sent(ranked)[None])
    return Message(torch.from_numpy(indices[None]), sent), file.size


def parse(data: bytes) -> File:
    """What a file says of itself, checked as far as that goes without a model.

    Raises BitstreamError for an empty, truncated, altered or foreign file, a newer version, an absurd size.
    """
    if not data:
        raise BitstreamError("the file is empty: write it again")
    if data[0] & 0xF0 == COMPACT_MARK:
        _check_version(data[0] & 0x0F)
        if len(data) < COMPACT_BYTES:
            raise BitstreamError(f"{len(data)} bytes are less than a header: the file is truncated")
        return File(data[0] & 0x0F, True, None, None, data[COMPACT_BYTES:], int.from_bytes(data[1:4], "big"))
    if data[:3] != MAGIC[: len(data)]:
        raise BitstreamError("no .uoi file: its first bytes are not 'UOI'")
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"{len(data)} bytes are less than a header: the file is truncated")
    _check_version(data[3])
    payload, checksum = data[HEADER_BYTES:], int.from_bytes(data[12:16], "big")
    if zlib.crc32(data[:12] + payload) != checksum:
        raise BitstreamError("the checksum does not fit: the file was altered or truncated, fetch it again")
    size = (int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big"))
    _check_size(size)
    return File(data[3], False, data[4:8], size, payload, checksum)


def encode_payload(indices: np.ndarray, ranked: np.ndarray, model: SharedModel) -> bytes:
    """The choice of tokens (N,) and the indices (M, N, G) in as few bytes as decode to the same."""
    import constriction

    encoder = constriction.stream.queue.RangeEncoder()
    shape = model.tables.shape
    if model.chosen:
        for digit, base in _digits(_choice_number(ranked), math.comb(shape.tokens, model.chosen)):
            encoder.encode(digit, constriction.stream.model.Uniform(base))
    sent = model.sent(ranked)
    model.tables.encode(encoder, indices, sent, ranked)
    whole = encoder.get_compressed().astype(">u4").tobytes()
    wanted = np.where(sent, indices, 0)

    def same(payload: bytes) -> bool:
        try:
            found, chosen = _decode(payload, model)
        except BitstreamError:
            return False
        return np.array_equal(found, wanted) and np.array_equal(chosen, ranked)

    return _shortest(whole, same)


def decode_payload(payload: bytes, model: SharedModel) -> tuple[np.ndarray, np.ndarray]:
    """The indices (M, N, G), 0 where nothing was sent, and which tokens (N,) were chosen.

    Raises BitstreamError where no writer of this format can have made the payload for this model.
    """
    shape = model.tables.shape
    most = shape.taps * shape.tokens * shape.segments * SYMBOL_BYTES + shape.tokens
    if len(payload) > most:
        raise BitstreamError(f"a payload of {len(payload)} bytes, at most {most} with this model: no message of it")
    indices, ranked = _decode(payload, model)
    if encode_payload(indices, ranked, model) != payload:
        raise BitstreamError("the payload is not one that this model writes: the file was altered, fetch it again")
    return indices, ranked


def _decode(payload: bytes, model: SharedModel) -> tuple[np.ndarray, np.ndarray]:
    import constriction

    padded = payload + bytes(-len(payload) % 4) + bytes(8)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    shape, number = model.tables.shape, 0
    try:
        if model.chosen:
            total = math.comb(shape.tokens, model.chosen)
            for base in _bases(total):
                number = number * DIGIT + int(decoder.decode(constriction.stream.model.Uniform(base)))
            if number >= total:
                raise BitstreamError("the payload names no choice of tokens: the file was altered, fetch it again")
        ranked = _choice(number, shape.tokens, model.chosen)
        return model.tables.decode(decoder, model.sent(ranked), ranked), ranked
    except AssertionError as error:  # constriction's word for bytes that no encoder can have made
        raise BitstreamError("the payload cannot be decoded: the file was altered, fetch it again") from error


def _shortest(whole: bytes, same: Callable[[bytes], bool]) -> bytes:
    """The shortest prefix of a range coder's output, its last byte raised by one where that helps, that decodes alike.

    Missing bytes read as zeros, so a cut falls below the coder's interval; one step up may lie in it.
    """
    best = whole
    for length in range(len(whole) - 1, -1, -1):
        cut = int.from_bytes(whole[:length], "big")
        candidates = [n.to_bytes(length, "big") for n in (cut, cut + 1) if n < 1 << 8 * length]
        fitting = [candidate for candidate in candidates if same(candidate)]
        if not fitting:
            break
        best = fitting[0]
    return best


def _bases(total: int) -> list[int]:
    """Bases of the digits that a number below `total` has, the leading one as small as it may be."""
    further = 0
    while DIGIT ** (further + 1) < total:
        further += 1
    return [-(-total // DIGIT**further), *[DIGIT] * further]


def _digits(number: int, total: int) -> list[tuple[int, int]]:
    """(digit, base) from the leading one on."""
    pairs = []
    for base in reversed(_bases(total)[1:]):
        number, digit = divmod(number, base)
        pairs.append((digit, base))
    return [(number, _bases(total)[0]), *reversed(pairs)]


def _choice_number(ranked: np.ndarray) -> int:
    """The number of a choice of tokens among all of its size, in colexicographic order."""
    return sum(math.comb(token, place) for place, token in enumerate(np.flatnonzero(ranked).tolist(), start=1))


def _choice(number: int, tokens: int, size: int) -> np.ndarray:
    """Inverse of `_choice_number`: which of the tokens (N,)."""
    ranked = np.zeros(tokens, dtype=bool)
    for place in range(size, 0, -1):
        token = place - 1
        while math.comb(token + 1, place) <= number:
            token += 1
        ranked[token] = True
        number -= math.comb(token, place)
    return ranked


def _compact_header(payload: bytes, model: bytes) -> bytes:
    return bytes([COMPACT_MARK | VERSION]) + _crc24(payload, model).to_bytes(3, "big")


def _crc24(payload: bytes, model: bytes) -> int:
    return zlib.crc32(model + payload) & 0xFFFFFF


def _check_version(version: int) -> None:
    if version != VERSION:
        raise BitstreamError(f"version {version} of the format, this program reads {VERSION}: use one that is newer")


def _check_size(size: tuple[int, int]) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise BitstreamError(f"an image of {size[0]} x {size[1]} pixels: 1 to {MAX_SIDE} a side can be sent")
