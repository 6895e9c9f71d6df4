"""A user's own images, in and out, and images of 8 bits a channel."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from uoisc.errors import DataError


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
    """`read_image` in 8 bits a channel, and the (width, height) that the image had."""
    from PIL import Image, UnidentifiedImageError

    name = source if isinstance(source, Path) else "standard input"
    try:
        with Image.open(source) as file:
            image = file.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            had = file.size
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: not an image that can be read ({' '.join(str(error).split())})") from None
    return np.array(image), had


def image_bytes(x: Float[Tensor, "1 3 H W"], suffix: str, size: tuple[int, int] | None = None) -> bytes:
    """A batch of one, in [0, 1], as an image file of the kind that `suffix` names (`.png`).

    Args:
        size: (width, height) to resize to (bicubic); as it is where None.

    Raises DataError for a suffix that names no kind of image.
    """
    from PIL import Image

    image = Image.fromarray(to_bytes(x)[0])
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    kind = Image.registered_extensions().get(suffix.lower())
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind or suffix)
    except (OSError, ValueError, KeyError):
        raise DataError(f"{suffix or 'no suffix'}: no kind of image that can be written, name a .png") from None
    return buffer.getvalue()


def write_file(data: bytes, path: Path) -> None:
    """Writes aside, then renames: no half of a file is left behind. Raises DataError where it cannot be written."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that is there"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
