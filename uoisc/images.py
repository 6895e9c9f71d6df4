"""A user's own images, in and out, and images of 8 bits a channel."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.errors import DataError

BLANK_GREY = 0.5  # of an image that shows nothing, and of a file that is no picture any more


@dataclass(frozen=True)
class Picture:
    """A user's image, resized to the codec's square, and the (width, height) that it had."""

    x: Float[Tensor, "1 3 H W"]
    size: tuple[int, int]


def to_bytes(x: Float[Tensor, "B 3 H W"]) -> UInt8[np.ndarray, "B H W 3"]:
    """Images in [0, 1] in 8 bits a channel, rounded."""
    return rearrange((x.clamp(0, 1) * 255).round().to(torch.uint8), "b c h w -> b h w c").numpy()


def from_bytes(images: UInt8[np.ndarray, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Images of 8 bits a channel in [0, 1]."""
    return rearrange(torch.from_numpy(images).float() / 255, "b h w c -> b c h w").contiguous()


def read_image(source: Path | io.BytesIO, size: int) -> Picture:
    """An image file of any mode and shape in [0, 1], resized (bicubic) to a square of `size` pixels.

    Raises DataError where there is no such file or it is no image.
    """
    pixels, had = read_pixels(source, size)
    return Picture(from_bytes(pixels[None]), had)


def read_pixels(source: Path | io.BytesIO, size: int) -> tuple[UInt8[np.ndarray, "H W 3"], tuple[int, int]]:
    """`read_image` in 8 bits a channel, and the (width, height) that the image had, upright as its EXIF data say."""
    from PIL import Image, UnidentifiedImageError

    name = source if isinstance(source, Path) else "standard input"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images and odd palettes: both are read
            with Image.open(source) as file:
                image = _in_colour(file)
        had = image.size
        return np.array(image.resize((size, size), Image.Resampling.BICUBIC)), had
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{name}: a folder; name the images in it") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image of a kind that is known here") from None
    except Exception as error:  # each format's decoder has its own way to fail
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: not an image that can be read ({reason})") from None


def _in_colour(file):
    """A Pillow image upright, in 8 bits of red, green and blue; what it lets through shows white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would cut all above 255 off
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65_535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its floating-point pixels have no known range: save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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


def write_file(data: bytes, path: Path) -> None:
    """Writes aside, then renames: no half of a file is left behind. Raises DataError where it cannot be written.

    Where `path` is a link, its target is written.
    """
    path, aside = Path(os.path.realpath(path)), None
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise DataError(f"{path.name}: there is something that is no file; name another one, or - for a pipe")
        aside = path.with_name(f".{os.getpid()}.partial")
        aside.write_bytes(data)
        os.replace(aside, path)
    except OSError as error:
        raise DataError(
            f"{path.name}: cannot be written ({error.strerror}); name a file in a folder that is there and takes it"
        ) from None
    finally:
        if aside is not None:
            with suppress(OSError):
                aside.unlink()
