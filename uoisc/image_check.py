"""Whether image files are what a list says they are, without decoding them: that would take half an hour for COCO."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from uoisc.terminal import bar

THREADS = 8  # ours: they wait for the disk, and that of a network answers many at once
TAIL = 1024  # bytes: some writers pad a JPEG behind its end-of-image marker
END_OF_IMAGE = b"\xff\xd9"
MISSING, UNREADABLE, TRUNCATED, OTHER_SIZE = (
    "image missing",
    "image unreadable",
    "image truncated",
    "image of other size",
)


def check_images(files: list[Path], sizes: list[tuple[int, int]] | None = None) -> list[tuple[str, str] | None]:
    """(kind, detail) of what is wrong with each file, None where nothing is; in the files' order.

    Args:
        sizes: the (width, height) that each must have; any where None.
    """
    wanted = [None] * len(files) if sizes is None else sizes
    with ThreadPoolExecutor(THREADS) as pool:
        checks = pool.map(check_image, files, wanted)
        return list(bar(checks, total=len(files), desc="images", unit_scale=True, mininterval=1))


def check_image(file: Path, size: tuple[int, int] | None = None) -> tuple[str, str] | None:
    """Checks a file's header, its size in pixels and, of a JPEG, that it ends where an image ends.

    A JPEG without an end-of-image marker among its last `TAIL` bytes, and any other format, is decoded whole.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if size is not None and image.size != size:
                return OTHER_SIZE, "{} x {}, not {} x {}".format(*image.size, *size)
            jpeg = image.format in ("JPEG", "MPO")
            if not jpeg or not _ends(image.fp):
                image.load()
    except FileNotFoundError:
        return MISSING, str(file)
    except UnidentifiedImageError:
        return UNREADABLE, f"{file}: no image"
    except Exception as error:  # each format's decoder has its own way to fail
        reason = " ".join(str(error).split())
        return TRUNCATED if "truncated" in reason else UNREADABLE, f"{file}: {reason}"
    return None


def _ends(stream) -> bool:
    """Whether the end-of-image marker is near the end of an open file, whose position is left as it was."""
    position = stream.tell()
    stream.seek(-min(TAIL, stream.seek(0, os.SEEK_END)), os.SEEK_END)
    found = END_OF_IMAGE in stream.read()
    stream.seek(position)
    return found
