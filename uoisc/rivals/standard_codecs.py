"""Image codecs that people use, by the bytes of their real files.

image (H, W, 3) uint8 --> encode(image, quality) --> bytes --> decode(bytes) --> image of the same size

At 96 x 96 pixels headers decide, so a rate is told in three ways: total bytes (`files`, `at_most`), bytes less those of
a flat image, and bytes per image of a mosaic of many, the amortised bound (`mosaic`). Encoders run on a
single thread at a high effort, without metadata: the same image and quality give the same bytes.

To add a format, write a `FileCodec` into `CODECS`: curves, tables and figures follow it.
"""

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import isqrt

import numpy as np
import pillow_jxl  # noqa: F401  Pillow reads and writes JPEG XL by it
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image

from uoisc.base.errors import UoiscError

BAD_STREAM = (OSError, ValueError, SyntaxError, RuntimeError)  # what Pillow and its plug-ins raise
LONGEST_SIDE = 4096  # pixels; a damaged header may claim any size
LARGEST_GRID = 255  # tokens per side; a byte
HALF_BYTES = 16  # a grid of fewer tokens per side has its places in four bits each
WIDE = 0xFF  # begins a place of a byte each: no square lies at (15, 15) of a smaller grid
COLOUR_BYTES = 3
FLAT_GREY = 128
LOOK_AHEAD = 4  # qualities; JPEG XL's file may be a tenth smaller than that of the quality below


class CodecError(UoiscError):
    """An image, a file's bytes or a quality cannot be used."""


def _check_images(images: np.ndarray, shape: str = "H W 3") -> None:
    if images.dtype != np.uint8 or images.ndim != len(shape.split()) or images.shape[-1] != 3 or not images.size:
        raise CodecError(f"needs uint8 of shape ({shape}), not {images.dtype} of shape {images.shape}")


@dataclass(frozen=True)
class FileCodec:
    """A file format of Pillow's, of the image made `factor` times smaller per side (bicubic, down and up again).

    Where sides cannot be divided the small image has the nearest whole number of pixels.

    Args:
        name: in results; `claims/names.py` has its title.
        format: Pillow's name of it.
        qualities: whole numbers, the worst first. settings: of Pillow's `save`, at a quality.
        end: the last bytes of every file. factor: divides the image's sides.
    """

    name: str
    format: str
    qualities: range
    settings: Callable[[int], dict]
    end: bytes = b""
    factor: int = 1

    def encode(self, image: np.ndarray, quality: int) -> bytes:
        """The file of an image (H, W, 3) uint8. Raises CodecError for other arrays and qualities."""
        _check_images(image)
        height, width, _ = image.shape
        if quality not in self.qualities:
            limits = f"[{self.qualities[0]}, {self.qualities[-1]}]"
            raise CodecError(f"{self.name}: quality must be a whole number in {limits}, not {quality}")
        size = (max(1, round(width / self.factor)), max(1, round(height / self.factor)))
        small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        small.save(file := io.BytesIO(), self.format, **self.settings(int(quality)))
        return file.getvalue()

    def decode(self, data: bytes, shape: tuple[int, ...] = ()) -> UInt8[np.ndarray, "H W 3"]:
        """The image of a file, H x W as `shape` begins where the receiver knows that, else `factor` times the file's.

        Raises CodecError where it is truncated, of another format or absurdly large.
        """
        try:
            with Image.open(io.BytesIO(data), formats=[self.format]) as file:
                size = (file.width * self.factor, file.height * self.factor)
                if self.factor > 1 and shape:
                    size = (shape[1], shape[0])
                if max(size) > LONGEST_SIDE or not data.endswith(self.end):
                    raise ValueError
                return np.array(file.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        except (*BAD_STREAM, Image.DecompressionBombError):
            limit = f"of at most {LONGEST_SIDE} pixels a side"
            raise CodecError(f"{self.name}: {len(data)} bytes that are no whole {self.format} file {limit}") from None


def _psnr(quality: int) -> dict:
    """JPEG 2000's quality is the wanted PSNR in tenths of a dB. mct: luma and chroma are coded, not R, G, B."""
    return dict(quality_mode="dB", quality_layers=[quality / 10], irreversible=True, mct=1, no_jp2=True)


def _ssim(quality: int) -> dict:
    """AVIF's tune=iq, libavif's default since 1.4, cannot make the small files that tune=ssim can."""
    return dict(quality=quality, subsampling="4:2:0", speed=4, max_threads=1, advanced={"tune": "ssim"})


END = b"\xff\xd9"  # of JPEG and JPEG 2000
JPEG = FileCodec("jpeg", "JPEG", range(1, 96), lambda q: dict(quality=q, optimize=True, subsampling="4:2:0"), END)
JPEG2000 = FileCodec("jpeg2000", "JPEG2000", range(150, 501), _psnr, END)
WEBP = FileCodec("webp", "WEBP", range(101), lambda q: dict(quality=q, method=6))
AVIF = FileCodec("avif", "AVIF", range(101), _ssim)
JPEG_XL = FileCodec("jpeg_xl", "JXL", range(100), lambda q: dict(quality=q, effort=9, num_threads=0))
DOWNSAMPLED = [replace(AVIF, name=f"avif_down{factor}", factor=factor) for factor in (2, 3, 4)]
CODECS = {codec.name: codec for codec in [JPEG, JPEG2000, WEBP, AVIF, JPEG_XL, *DOWNSAMPLED]}


def write_place(row: int, column: int, side: int, grid: int) -> bytes:
    """Where a square lies in grid x grid tokens: two bytes, or five where these are `HALF_BYTES` a side or more."""
    if grid < HALF_BYTES:
        return bytes([row << 4 | column, side << 4 | grid])
    return bytes([WIDE, row, column, side, grid])


def read_place(data: bytes) -> tuple[tuple[int, int, int, int], bytes]:
    """Row, column, side and grid as `write_place` wrote them, 0 where bytes lack, and what comes behind them."""
    if data[:1] == bytes([WIDE]):
        return tuple(data[1:5].ljust(4, b"\0")), data[5:]
    first, second = data[:2].ljust(2, b"\0")
    return (first >> 4, first & 15, second >> 4, second & 15), data[2:]


def token_square(relevance: np.ndarray, top: int, least: int = 2) -> tuple[int, int, int]:
    """Row, column and side, in tokens, of the smallest square that holds the `top` most relevant tokens.

    Of equally small squares the most relevant one is taken. Raises CodecError for any other map or `top`.

    Args:
        relevance: (R, R), finite, e.g. cosines of tokens and query. top: in [1, R^2]. least: side, at least.
    """
    grid = max(relevance.shape, default=0)
    if relevance.shape != (grid, grid) or not least <= grid <= LARGEST_GRID or not np.isfinite(relevance).all():
        raise CodecError(f"relevance must be finite, (R, R), R in [{least}, {LARGEST_GRID}], not {relevance.shape}")
    if not 1 <= top <= grid**2:
        raise CodecError(f"top = {top}: must be in [1, {grid**2}]")
    ranked = np.argsort(-relevance, axis=None, kind="stable")[:top]
    places = np.stack(np.unravel_index(ranked, relevance.shape))  # (2, top)
    first = places.min(axis=1)
    last = places.max(axis=1)
    side = max(least, *(last - first + 1).tolist())
    ends = zip(np.maximum(last - side + 1, 0).tolist(), np.minimum(first, grid - side).tolist(), strict=True)
    corners = product(*(range(low, high + 1) for low, high in ends))
    row, column = max(corners, key=lambda at: relevance[at[0] : at[0] + side, at[1] : at[1] + side].sum())
    return row, column, side


@dataclass(frozen=True, eq=False)
class RelevanceCrop:
    """AVIF of the `token_square` alone; the rest gets one flat colour, the mean of what is left out (ours).

    Bytes: the place (`write_place`), red, green, blue, then the AVIF file of the square: 5 or 8 bytes beside it.
    The square holds the `top` most relevant tokens, and is about a third of the side at least, as an object is.

    Args:
        relevance: (R, R) of the one image that is coded; its sides must be multiples of R. `decode` needs none.
        top: how many tokens; four are an object of a 6 x 6 grid.
    """

    relevance: np.ndarray
    top: int = 4
    name = "avif_crop"
    qualities = AVIF.qualities

    def encode(self, image: np.ndarray, quality: int) -> bytes:
        """Place, colour and square of an image (H, H, 3) uint8. Raises CodecError as `FileCodec.encode`."""
        _check_images(image)
        grid = len(self.relevance)
        row, column, side = token_square(self.relevance, self.top, max(2, grid // 3))
        token = len(image) // grid
        if not token or image.shape[:2] != (grid * token, grid * token):
            raise CodecError(f"{self.name}: an image of shape {image.shape} has no {grid} x {grid} whole tokens")
        rows, columns = (slice(at * token, (at + side) * token) for at in (row, column))
        rest = np.ones(image.shape[:2], dtype=bool)
        rest[rows, columns] = False
        colour = image[rest].mean(axis=0).round().astype(np.uint8) if rest.any() else (FLAT_GREY,) * COLOUR_BYTES
        file = AVIF.encode(np.ascontiguousarray(image[rows, columns]), quality)
        return write_place(row, column, side, grid) + bytes(colour) + file

    def decode(self, data: bytes, shape: tuple[int, ...] = ()) -> UInt8[np.ndarray, "H H 3"]:
        """The square on the flat colour. Raises CodecError where the place or the AVIF file cannot be."""
        (row, column, side, grid), rest = read_place(data)
        square = AVIF.decode(rest[COLOUR_BYTES:])
        height, width, _ = square.shape
        if not 0 < side <= grid - max(row, column) or height != width or height % side:
            raise CodecError(f"{self.name}: {side} of {grid} tokens at ({row}, {column}) cannot be {height} x {width}")
        token = height // side
        if grid * token > LONGEST_SIDE:
            raise CodecError(f"{self.name}: a side of {grid * token} pixels is above {LONGEST_SIDE}")
        image = np.tile(np.frombuffer(rest, np.uint8, COLOUR_BYTES), (grid * token, grid * token, 1))
        image[row * token : (row + side) * token, column * token : (column + side) * token] = square
        return image


StandardCodec = FileCodec | RelevanceCrop
Images = UInt8[np.ndarray, "B H W 3"]


def at_most(codec: StandardCodec, image: np.ndarray, max_bytes: int) -> tuple[int, bytes]:
    """The best quality whose file has `max_bytes` or fewer, and the file: bisection, then the next few, as sizes waver.

    Where no file is small enough the smallest that was tried comes back, over the budget.
    """
    made = {}

    def size(quality: int) -> int:
        made[quality] = codec.encode(image, quality)
        return len(made[quality])

    low = bisect_right(codec.qualities, max_bytes, key=size)
    sizes = {q: len(made[q]) if q in made else size(q) for q in (*made, *codec.qualities[low : low + LOOK_AHEAD])}
    fitting = [q for q, length in sizes.items() if length <= max_bytes]
    best = max(fitting, default=min(sizes, key=sizes.get))
    return best, made[best]


def files(codec: StandardCodec | Sequence[StandardCodec], images: Images, quality: int) -> tuple[Images, float]:
    """Images, one file each, of one codec or of one each (`RelevanceCrop`s): decoded, mean bytes."""
    _check_images(images, "B H W 3")
    codecs = codec if isinstance(codec, Sequence) else [codec] * len(images)
    if len(codecs) != len(images):
        raise CodecError(f"{len(codecs)} codecs for {len(images)} images: give one, or one each")
    made = [one.encode(image, quality) for one, image in zip(codecs, images, strict=True)]
    decoded = np.stack([one.decode(data, images.shape[1:]) for one, data in zip(codecs, made, strict=True)])
    return decoded, float(np.mean([len(data) for data in made]))


def rows_of_tiles(count: int) -> int:
    """Rows of the mosaic of so many images, as square as their number allows."""
    return max(n for n in range(1, isqrt(count) + 1) if count % n == 0)


def mosaic(codec: StandardCodec, images: Images, quality: int) -> tuple[Images, float]:
    """Images as the tiles of one, as square as B allows: decoded tiles and bytes per image.

    The amortised bound: the cost where B images share a header, tables and adaptation.
    """
    _check_images(images, "B H W 3")
    rows = rows_of_tiles(len(images))
    whole = np.ascontiguousarray(rearrange(images, "(r c) h w k -> (r h) (c w) k", r=rows))
    data = codec.encode(whole, quality)
    high, wide = images.shape[1:3]
    tiles = rearrange(codec.decode(data, whole.shape), "(r h) (c w) k -> (r c) h w k", r=rows, h=high, w=wide)
    return tiles, len(data) / len(images)
