"""A user's own images, in and out, and images of 8 bits per channel."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.base.errors import DataError
from uoisc.data.image_colour import to_rgb

MAX_PIXELS = 150_000_000  # ours: nearly all cameras' and phones' images, which take 600 MB while they are read
BLANK_GREY = 0.5  # of an image that shows nothing, and of a file that is no picture any more
MISSING = "image missing"
UNREADABLE = "image unreadable"
TRUNCATED = "image truncated"

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or Python prints what Pillow logs


class ImageError(DataError):
    """An image that cannot be read; `kind` is the sort of fault, by which an importer counts it."""

    def __init__(self, message: str, kind: str = UNREADABLE):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Picture:
    """A user's image, resized to the codec's square, the (width, height) that it had, and notes on how it was read."""

    x: Float[Tensor, "1 3 H W"]
    size: tuple[int, int]
    notes: tuple[str, ...] = ()


def to_bytes(x: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Images in [0, 1] in 8 bits per channel, rounded."""
    return rearrange((x.clamp(0, 1) * 255).round().to(torch.uint8), "b c h w -> b h w c").cpu().numpy()


def from_bytes(images: UInt8[np.ndarray, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Images of 8 bits per channel in [0, 1]."""
    return rearrange(torch.from_numpy(images).float() / 255, "b h w c -> b c h w").contiguous()


def read_image(source: Path | io.BytesIO, size: int) -> Picture:
    """An image file of any mode and shape in [0, 1], resized (bicubic) to a square of `size` pixels.

    Raises ImageError where there is no such file, it is no image, or nobody knows what its pixels mean.
    """
    pixels, had, notes = read_pixels(source, size)
    return Picture(from_bytes(pixels[None]), had, notes)


def read_pixels(
    source: Path | io.BytesIO, size: int | None
) -> tuple[UInt8[np.ndarray, "H W 3"], tuple[int, int], tuple[str, ...]]:
    """`read_image` in 8 bits per channel, the (width, height) that the image had upright, and notes.

    Without a `size` the image is as large as in its file.
    """
    from PIL import Image

    with quiet(), opened(source) as file:
        image, notes = to_rgb(file)
        sized = image if size is None else image.resize((size, size), Image.Resampling.BICUBIC)
        return np.array(sized), image.size, notes


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, of large images and odd files: what matters of them is an error or a note here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def opened(source: Path | io.BytesIO) -> Iterator:
    """A Pillow image of a file, its header read. Whatever goes wrong inside comes out as one ImageError."""
    from PIL import Image

    name = source if isinstance(source, Path) else "standard input"
    try:
        with Image.open(source) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield file
    except Exception as error:  # each format's decoder has its own way to fail
        kind, reason = _fault(error)
        raise ImageError(f"{name}: {reason}", kind) from None


def _fault(error: Exception) -> tuple[str, str]:
    """The sort of fault, and what to say of it."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, FileNotFoundError):
        return MISSING, "no such file"
    if isinstance(error, IsADirectoryError):
        return UNREADABLE, "a folder; name the images in it"
    if isinstance(error, UnidentifiedImageError):
        return UNREADABLE, "not an image of a kind that is known here: no image at all, or one to save as .png first"
    if isinstance(error, Image.DecompressionBombError):
        return UNREADABLE, f"more than {MAX_PIXELS // 10**6} million pixels, which are too many: make it smaller"
    if isinstance(error, OSError) and error.strerror:
        return UNREADABLE, f"cannot be read ({error.strerror})"
    reason = " ".join(str(error).split()) or type(error).__name__
    kind = TRUNCATED if "truncated" in reason else UNREADABLE
    return kind, f"not an image that can be read ({reason})"


def check_suffix(suffix: str) -> str:
    """Pillow's name of the kind of image that `suffix` (`.png`) stands for. Raises DataError where there is none."""
    from PIL import Image

    kind = Image.registered_extensions().get(suffix.lower())
    if kind not in Image.SAVE or kind not in Image.OPEN:
        raise DataError(f"{suffix or 'no suffix'}: no kind of image that can be written, name a .png")
    return kind


def image_bytes(x: Float[Tensor, "1 3 H W"], suffix: str, size: tuple[int, int] | None = None) -> bytes:
    """A batch of one, in [0, 1], as an image file of the kind that `suffix` names (`.png`).

    Args:
        size: (width, height) to resize to (bicubic); as it is where None.

    Raises DataError for a suffix that names no kind of image, or one that cannot hold an image of that size.
    """
    from PIL import Image

    kind = check_suffix(suffix)
    image = Image.fromarray(to_bytes(x)[0])
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind)
        with Image.open(io.BytesIO(buffer.getvalue())) as written:
            if written.size != image.size:
                raise ValueError("that kind changes the size")
    except Exception as error:  # each format's encoder has its own way to fail
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"an image of {image.width} x {image.height} pixels cannot be written as {suffix} ({reason}), name a .png"
        ) from None
    return buffer.getvalue()
