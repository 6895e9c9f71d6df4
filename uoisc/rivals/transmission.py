"""Messages and files over the links of `channel.py`: what arrives, and the picture that the receiver makes of it.

    a codec's messages --> uncoded: indices, some wrong    coded: the first segments, up to the first lost block
    a format's files   --> uncoded: bytes, some wrong      coded: the whole file, or nothing
                                    |
                     contents, bytes per image --> draw --> picture (mid-grey where a file is none any more)

Equal contents of one image give equal pictures, so that a caller draws and judges each once.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.codec import Codec
from uoisc.data.images import BLANK_GREY, from_bytes
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import QPSK, UNCODED, CodedLink, Link, UncodedLink, keep_prefix, split_segments, transmit_bits
from uoisc.message import Message
from uoisc.rivals.standard_codecs import CodecError, FileCodec, Images, at_most

BLOCKS = 2  # ours: of an image's segments, so that the first half may survive the second
FILE_BYTES = 400  # of 96 x 96 pixels, .35 bpp: below, AVIF has no files for many scenes
FILE_PIXELS = 96 * 96
PROTECTED = 200  # authors' code: so many first bytes of a JPEG 2000 file are free of errors
LOST = b""  # the contents of a file that is no picture any more


class Arrival(NamedTuple):
    """What the receiver holds of each image, and what the link did to it: metric -> one value per image."""

    contents: list[bytes]
    measures: dict[str, np.ndarray]


class MessageSender:
    """A codec's messages about a batch of images, and the receiver that decodes them.

    On the coded link the map of a codec that chooses tokens rides in block 0; on the uncoded one it is taken to arrive
    (`UncodedLink`). Segments that do not arrive are zeros to the decoder, as segments that were never sent: of a rate
    dial's tokens the units come first segment first, so that what is left of each is a prefix of its units. Blocks
    share the segments that the codec sends at all; where that is one, it is one block.

    Args:
        codec: a trained codec. message: of a batch of images. queries: one per image, known to the receiver.
        table: measured block error rates.
    """

    def __init__(self, codec: Codec, message: Message, queries: list[str], table: BlerTable):
        self.codec = codec
        self.message = message = Message(message.indices, message.mask).cpu()  # where links work
        self.queries = queries
        self.table = table
        segments = codec.quantizer.segments
        width = math.ceil(math.log2(codec.quantizer.codes))
        bits = message.mask[0].sum((0, 1)) * width  # (G,): every image of a codec sends as many segments
        used = int((bits > 0).sum())  # the first ones
        self.groups = torch.full((segments,), min(BLOCKS, used) - 1)
        self.groups[:used] = split_segments(used, min(BLOCKS, used))
        self.block_bits = [int(bits[self.groups == block].sum()) for block in self.groups.unique()]
        self.block_bits[0] += codec.rate.side_bits
        self.bits = float(codec.bits)

    def prefix(self, blocks: int | None) -> Arrival:
        """The first blocks alone arrive; None: all, without an error."""
        some = len(self.block_bits) if blocks is None else blocks
        arrived = torch.arange(len(self.block_bits)).expand(len(self.queries), -1) < some
        return self._arrival(keep_prefix(self.message, self.groups, arrived), {})

    def uncoded(self, es_n0_db: float, fading: str, generator: torch.Generator, link: Link = UNCODED) -> Arrival:
        """Over an uncoded link: the share of wrong indices among those that were sent."""
        over = UncodedLink(self.codec.quantizer.codes, es_n0_db, fading, link.modulation)
        received = over(self.message, generator)
        wrong = (received.indices != self.message.indices) & self.message.sent
        symbols = math.ceil(sum(self.block_bits) / link.modulation.bits)
        return self._arrival(received, {"index_errors": self._share(wrong), "symbols": self._each(symbols)})

    def coded(self, es_n0_db: float, fading: str, generator: torch.Generator, link: Link = QPSK) -> Arrival:
        """Over LDPC blocks: the share of the sent indices that arrived."""
        over = CodedLink(self.table, *link.scheme, es_n0_db, fading)
        received = over(self.message, self.groups, self.block_bits, generator)
        coded = [self.table.segmented(bits, *link.scheme) for bits in self.block_bits]
        symbols = sum(blocks * code.symbols for code, blocks in coded)
        return self._arrival(received, {"arrived": self._share(received.sent), "symbols": self._each(symbols)})

    def draw(self, images: Sequence[int], contents: Sequence[bytes]) -> Float[Tensor, "B 3 H W"]:
        """The pictures of some images' contents."""
        shape = self.message.indices.shape[1:]
        values = np.stack([np.frombuffer(content, dtype=np.int32).reshape(shape) for content in contents])
        indices = torch.from_numpy(values).long()  # (B, M, N, G), -1 where nothing arrived
        return self.codec.decode(Message(indices.clamp(min=0), indices >= 0), [self.queries[i] for i in images])

    def _arrival(self, received: Message, measures: dict[str, np.ndarray]) -> Arrival:
        values = torch.where(received.sent, received.indices, -1).to(torch.int32).numpy()
        return Arrival([image.tobytes() for image in values], measures)

    def _share(self, mask: Tensor) -> np.ndarray:
        return (mask.flatten(1).sum(1) / self.message.sent.flatten(1).sum(1)).double().numpy()

    def _each(self, value: int) -> np.ndarray:
        return np.full(len(self.queries), float(value))


@dataclass
class FileSender:
    """Files of a standard codec, one per image, and a receiver that shows mid-grey where a file is no picture.

    Args:
        codec: the format. files: one per image. size: (H, W) of the images. table: measured block error rates.
        protected: so many first bytes of a file are free of errors on the uncoded link (authors' code: `PROTECTED`).
            The format's last bytes, where they are the same in every file, are too (ours: the receiver knows them).
    """

    codec: FileCodec
    files: list[bytes]
    size: tuple[int, int]
    table: BlerTable
    protected: int = 0

    def __post_init__(self):
        self.lengths = np.array([len(file) for file in self.files])
        self.bits = float(8 * self.lengths.mean())

    @classmethod
    def fitting(cls, codec: FileCodec, images: Images, table: BlerTable, protected: int = 0) -> "FileSender":
        """Of each image the best file of at most `FILE_BYTES`, in proportion to its pixels."""
        most = FILE_BYTES * images.shape[1] * images.shape[2] // FILE_PIXELS
        files = [at_most(codec, image, most)[1] for image in images]
        return cls(codec, files, images.shape[1:3], table, protected)

    def prefix(self, blocks: int | None) -> Arrival:
        """The first blocks alone arrive, and make no picture; None: all, without an error."""
        return Arrival(self.files if blocks is None else [LOST] * len(self.files), {})

    def uncoded(self, es_n0_db: float, fading: str, generator: torch.Generator, link: Link = UNCODED) -> Arrival:
        """Over an uncoded link: the shares of wrong bytes and of files that are no picture any more."""
        padded = np.zeros((len(self.files), self.lengths.max()), dtype=np.uint8)
        for row, file in zip(padded, self.files, strict=True):
            row[: len(file)] = np.frombuffer(file, dtype=np.uint8)
        bits = torch.from_numpy(np.unpackbits(padded, axis=1)).long()
        arrived = transmit_bits(bits, es_n0_db, fading, generator, link.modulation)
        received = np.packbits(arrived.numpy().astype(np.uint8), axis=1)
        mended = [self._mended(row.tobytes(), file) for row, file in zip(received, self.files, strict=True)]
        pairs = zip(mended, self.files, strict=True)
        wrong = [np.mean(np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8)) for a, b in pairs]
        contents = [file if self._picture(file) is not None else LOST for file in mended]
        lost = np.array([content == LOST for content in contents], dtype=float)
        symbols = np.ceil(8 * self.lengths / link.modulation.bits)
        return Arrival(contents, {"byte_errors": np.array(wrong), "undecodable": lost, "symbols": symbols})

    def coded(self, es_n0_db: float, fading: str, generator: torch.Generator, link: Link = QPSK) -> Arrival:
        """Over LDPC blocks of the largest size: the share of files all of whose blocks arrived."""
        code = self.table.largest(*link.scheme)
        blocks = -(-8 * self.lengths // code.k)  # (B,)
        over = CodedLink(self.table, *link.scheme, es_n0_db, fading)
        arrived = over.arrived([code.k] * int(blocks.max()), len(self.files), generator).numpy()  # (B, P)
        whole = (arrived | (np.arange(blocks.max()) >= blocks[:, None])).all(1)
        contents = [file if kept else LOST for file, kept in zip(self.files, whole, strict=True)]
        return Arrival(contents, {"arrived": whole.astype(float), "symbols": (blocks * code.symbols).astype(float)})

    def draw(self, images: Sequence[int], contents: Sequence[bytes]) -> Float[Tensor, "B 3 H W"]:
        """The pictures of some images' contents."""
        grey = torch.full((1, 3, *self.size), BLANK_GREY)
        pictures = [self._picture(content) for content in contents]
        return torch.cat([grey if picture is None else from_bytes(picture[None]) for picture in pictures])

    def _mended(self, received: bytes, file: bytes) -> bytes:
        """A received file with what is free of errors put back, cut to its length."""
        middle = slice(self.protected, max(self.protected, len(file) - len(self.codec.end)))
        return file[: middle.start] + received[middle] + file[middle.stop :]

    def _picture(self, file: bytes) -> UInt8[np.ndarray, "H W 3"] | None:
        """None where the file cannot be decoded, or claims another size."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a damaged header may claim a huge picture: it is not opened
                picture = self.codec.decode(file)
        except CodecError:
            return None
        return picture if picture.shape[:2] == self.size else None
