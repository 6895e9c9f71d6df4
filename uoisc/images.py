"""A user's own images, in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.errors import DataError


def read_image(path: Path, size: int) -> Float[Tensor, "1 3 size size"]:
    """An image file of any mode and shape as a batch of one in [0, 1], resized (bicubic) to a square of `size` pixels.

    Raises DataError where there is no such file or it is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image that can be read ({' '.join(str(error).split())})") from None
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def write_image(x: Float[Tensor, "1 3 H W"], path: Path) -> None:
    """Writes a batch of one, in [0, 1], as an image file of the path's kind. Raises DataError where it cannot."""
    from PIL import Image

    pixels = (x[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    try:
        Image.fromarray(pixels).save(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be written ({error}); name a .png in a folder that is there") from None
