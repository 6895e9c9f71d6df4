"""`.uoi` files: one image's message in real bytes.

    header (header.py) + payload

What follows is one range-coded payload: which tokens the query ranks first, where the codec chooses (the number of
that choice among all of its size), then the sent indices: a tap after the other, in it a token after the other, in
it a segment after the other. All integers are big-endian. The payload is cut to the fewest bytes that decode to the
same message. docs/bitstream.md says it all byte by byte.
A file that follows another holds what that one lacks. Source: ours.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from constriction import stream

from uoisc.base.storage import read_label
from uoisc.codec import Codec
from uoisc.link.choice import read_choice, write_choice
from uoisc.link.entropy import Tables
from uoisc.link.header import (
    COMPACT_MARK,
    FOLLOWING,
    HEAD,
    MAGIC,
    VERSION,
    BitstreamError,
    File,
    check_size,
    crc24,
    parse,
)
from uoisc.message import Message
from uoisc.rate import Packing, RateDial

SAME_PICTURE = 0.8  # ours: least share of equal indices; of the same picture all are, but few that round otherwise
SYMBOL_BYTES = 2  # an index costs 16 bits at most, as its table's smallest frequency is 1 of 2^16


@dataclass(frozen=True)
class Held:
    """What both ends hold of a picture from earlier files: their messages as one (B = 1); the last one's checksum, and
    the packing that it was sent by."""

    message: Message
    checksum: bytes
    packing: int


@dataclass(frozen=True)
class SharedModel:
    """What both ends hold: the trained codec, its probability tables, and the fingerprint of both (4 bytes).

    `packing` is 0 for a codec without a rate dial, or the number from 1 on of the packing that its rate dial is set to.
    """

    trained: Codec
    tables: Tables
    fingerprint: bytes
    packing: int = 0

    def within(self, bits: int | float) -> "SharedModel":
        """The model with its rate dial set to at most so many bits. Raises ConfigError as `RateDial.at`."""
        dial = self.trained.rate
        return self.at(dial.packings.index(dial.at(bits)) + 1)

    def at(self, packing: int) -> "SharedModel":
        """The model with its rate dial, if it has one, set to the packing of that number.

        Raises BitstreamError where it has none of that number.
        """
        packings = self.trained.rate.packings if isinstance(self.trained.rate, RateDial) else []
        if not (1 if packings else 0) <= packing <= len(packings):
            raise BitstreamError(f"packing {packing} is none of this model's {len(packings)}: the file was altered")
        return replace(self, packing=packing)

    def message(self, x, query: str, held: Held | None, bits: int | float | None) -> "tuple[Message, SharedModel]":
        """What is sent of an image (1, 3, H, W) to who holds that, and the model as it is set for it.

        bits: of a rate dial, at most so many are added to what is held; None, or no dial: by the last file's packing.
        Raises BitstreamError where what is held is of another picture.
        """
        if held is None:
            return self.codec.encode(x, [query]), self
        if bits is None or not self.packing:
            model = self.at(held.packing)
            message = model.codec.encode(x, [query], known=held.message)
        else:
            message = self.trained.adding(bits).encode(x, [query], known=held.message)
            settings = [packing.setting for packing in self.trained.rate.packings]
            model = self.at(settings.index(message.setting[0]) + 1)
        alike = (message.indices.cpu() == held.message.indices)[held.message.mask].float().mean()
        if alike < SAME_PICTURE:
            raise BitstreamError(f"another picture than that of --after: {alike:.0%} of the indices held are its own")
        return message, model

    @cached_property
    def codec(self) -> Codec:
        """The codec as it is set."""
        return self.trained.packed(self.trained.rate.packings[self.packing - 1]) if self.packing else self.trained

    @property
    def chosen(self) -> int:
        """How many tokens the query chooses; 0 where it chooses none."""
        rate = self.codec.rate
        return rate.top if isinstance(rate, Packing) and rate.ranked else 0

    def lacking(self, held: np.ndarray) -> np.ndarray:
        """Which tokens (N,) a query can choose where these segments (M, N, G) are held."""
        return self.codec.rate.lacking(torch.from_numpy(held[None]))[0].numpy()

    def ranked(self, sent: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Which tokens (N,) come first in a message that sends these segments to who holds those (M, N, G)."""
        return self.lacking(held) & ~self.lacking(sent | held) if self.chosen else self.unasked

    @property
    def unasked(self) -> np.ndarray:
        """Which tokens (N,) come first where no query chooses: a spread packing's own, of a fixed rate none."""
        none = torch.zeros(1, self.tables.shape.tokens)
        return (self.codec.rate.first(none) if isinstance(self.codec.rate, Packing) else none > 0)[0].numpy()

    def sent(self, ranked: np.ndarray) -> np.ndarray:
        """Which segments (M, N, G) are sent where these tokens (N,) rank first."""
        shape = self.tables.shape
        rate = self.codec.rate
        if not isinstance(rate, Packing):
            return np.ones((shape.taps, shape.tokens, shape.segments), dtype=bool)
        return rate.sent(torch.from_numpy(ranked[None]))[0].numpy()

    def checksum(self, payload: bytes, after: Held | None) -> bytes:
        """Of the compact form: it covers what that form does not say."""
        return crc24(self.fingerprint, bytes([self.packing]), after.checksum if after else b"", payload)


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


def write(message: Message, model: SharedModel, size: tuple[int, int] | None, after: Held | None = None) -> bytes:
    """One message (B = 1) as a file; self-describing with the image's (width, height), compact without.

    after: what both ends hold, where the message adds to that. Raises BitstreamError for a size that the header cannot
    hold, or a message that is not sent, or does not add to that, by the model's packing.
    """
    message = message.cpu()
    sent = message.mask.numpy()[0]
    held = _known(model, after) < model.tables.shape.codes
    ranked = model.ranked(sent, held)
    other = model.chosen and ranked.sum() not in model.codec.rate.counts(int(model.lacking(held).sum()))
    if other or (sent != (model.sent(ranked) & ~held)).any():
        told = "adds to what the receiver holds" if after else "sends at this setting"
        raise BitstreamError(f"the message is not what this model {told}: encode it again")
    payload = encode_payload(message.indices.numpy()[0], ranked, sent, model, after)
    version, last = (FOLLOWING, after.checksum) if after else (VERSION, b"")
    if size is None:
        head = bytes([COMPACT_MARK | version, *([model.packing] if after else [])])
        return head + model.checksum(payload, after) + payload
    check_size(size)
    head = HEAD.pack(MAGIC, version, model.fingerprint, *size, model.packing) + last
    return head + crc24(head, payload) + payload


def read(data: bytes, model: SharedModel, after: Held | None = None) -> tuple[Message, tuple[int, int] | None]:
    """The message (B = 1) of a file, and the size of the image that it was made of (None in the compact form).

    Raises BitstreamError: see `parse`; also where the file is of another model, or follows another file than `after`.
    """
    file = parse(data)
    _check_after(file, after)
    if file.fingerprint is None:
        model = model if after is None else model.at(file.packing)
        if file.checksum != model.checksum(file.payload, after):
            cause = "the file was altered, or written with another model or budget of bits, or after another file"
            raise BitstreamError(f"the checksum does not fit: {cause}")
    elif file.fingerprint != model.fingerprint:
        told = f"written with model {file.fingerprint.hex()}, this one is {model.fingerprint.hex()}"
        raise BitstreamError(f"{told}: name the variant and profile that wrote it")
    else:
        model = model.at(file.packing)
    indices, _, sent = decode_payload(file.payload, model, after)
    some = torch.from_numpy(sent[None]) if isinstance(model.codec.rate, Packing) else None
    return Message(torch.from_numpy(indices[None]), some), file.size


def hold(data: bytes, model: SharedModel, before: Held | None = None) -> Held:
    """What both ends hold once a file has joined what they held `before`. Raises BitstreamError as `read`."""
    message, _ = read(data, model, before)
    file = parse(data)
    packing = model.packing if file.packing is None else file.packing
    return Held(message.after(before.message) if before else message, file.checksum, packing)


def _check_after(file: File, after: Held | None) -> None:
    """Raises BitstreamError where a file follows another one than what is held, or none."""
    named = "another file" if file.after is None else f"the file of checksum {file.after.hex()}"
    if file.version == FOLLOWING and after is None:
        raise BitstreamError(f"it follows {named}: give that by --after")
    if file.version != FOLLOWING and after is not None:
        raise BitstreamError("it is the first of its picture and follows no file: leave --after out")
    if file.after is not None and file.after != after.checksum:
        raise BitstreamError(f"it follows {named}, --after gives {after.checksum.hex()}: give all in their order")


def _known(model: SharedModel, after: Held | None) -> np.ndarray:
    """The indices (M, N, G) that both ends hold, K where they hold none.

    Raises BitstreamError for a model whose messages add nothing to one another.
    """
    shape = model.tables.shape
    if after is None:
        return np.full((shape.taps, shape.tokens, shape.segments), shape.codes)
    if not isinstance(model.codec.rate, Packing):
        raise BitstreamError("a model of fixed rate sends all at once: no file of it follows another")
    return np.where(after.message.mask.numpy()[0], after.message.indices.numpy()[0], shape.codes)


def encode_payload(
    indices: np.ndarray, ranked: np.ndarray, sent: np.ndarray, model: SharedModel, after: Held | None = None
) -> bytes:
    """The choice of tokens (N,), and of the indices (M, N, G) what it sends, in as few bytes as decode to the same."""
    encoder = stream.queue.RangeEncoder()
    known = _known(model, after)
    if model.chosen:
        write_choice(encoder, ranked, model.lacking(known < model.tables.shape.codes), model.codec.rate)
    model.tables.encode(encoder, indices, sent, ranked, known)
    return _shortest(encoder)


def decode_payload(
    payload: bytes, model: SharedModel, after: Held | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The indices (M, N, G), 0 where nothing was sent, which tokens (N,) were chosen, and which segments were sent.

    Raises BitstreamError where no writer of this format can have made the payload for this model.
    """
    shape = model.tables.shape
    known = _known(model, after)
    held = known < shape.codes
    most = shape.taps * shape.tokens * shape.segments * SYMBOL_BYTES + shape.tokens
    if len(payload) > most:
        raise BitstreamError(f"a payload of {len(payload)} bytes, at most {most} with this model: no message of it")
    padded = payload + bytes(-len(payload) % 4) + bytes(8)
    decoder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    try:
        ranked = read_choice(decoder, model.lacking(held), model.codec.rate) if model.chosen else model.unasked
        sent = model.sent(ranked) & ~held
        indices = model.tables.decode(decoder, sent, ranked, known)
    except AssertionError as error:  # constriction's word for bytes that no encoder can have made
        raise BitstreamError("the payload cannot be decoded: the file was altered, fetch it again") from error
    if encode_payload(indices, ranked, sent, model, after) != payload:
        raise BitstreamError("the payload is not one that this model writes: the file was altered, fetch it again")
    return indices, ranked, sent


def _shortest(encoder) -> bytes:
    """The fewest bytes that decode to what a range coder holds, and of these the smallest number.

    Missing bytes read as zeros, and bytes decode alike just where their number, with these zeros, lies in the coder's
    interval [first, first + width). So nothing needs to be decoded to find them.
    """
    words, (lower, width) = encoder.pos()  # the words before the interval; its last 64 bits, and how wide it is
    best = encoder.get_compressed().astype(">u4").tobytes()
    bits = 32 * words + 64
    number = int.from_bytes(best, "big") << bits - 8 * len(best)  # lies in the interval
    first = number - (number - lower) % (1 << 64)
    for length in range(len(best) - 1, -1, -1):
        zeros = bits - 8 * length
        number = -(-first >> zeros)  # rounded up
        if number << zeros >= first + width:
            break
        best = number.to_bytes(length, "big")
    return best
