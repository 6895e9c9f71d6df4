"""Whether image files are what a list says they are, and whether training will be able to read them.

The rule is the loader's own (`images.opened`, `image_colour.to_rgb`): a file is decoded as training will, a JPEG at an
eighth of its size, 3 ms for one of COCO's. As that takes minutes for all of COCO, a plain JPEG may be judged by its
beginning, which libjpeg reads up to the first blocks, and its end: 0.2 ms. What that cannot see is damage among the
blocks that leaves the end whole; libjpeg draws nearly all such files, and training names the others.
"""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from uoisc.base.errors import reason
from uoisc.base.terminal import bar
from uoisc.data.image_colour import in_srgb, to_rgb, upright
from uoisc.data.images import MAX_PIXELS, UNREADABLE, ImageError, opened, quiet

THREADS = 8  # ours: they wait for the disk, and that of a network answers many at once
BEGINNING = 512  # bytes of the first blocks: libjpeg has set its tables up by then
TAIL = 1024  # bytes: some writers pad a JPEG behind its end-of-image marker
END_OF_IMAGE = b"\xff\xd9"
OTHER_SIZE = "image of other size"


class Checked(NamedTuple):
    """What there is to say of an image file: (kind, detail) of why it is left out, and notes on how it is read."""

    problem: tuple[str, str] | None
    notes: tuple[str, ...] = ()


def check_images(
    files: list[Path], sizes: list[tuple[int, int]] | None = None, by_header: bool = False
) -> list[Checked]:
    """What there is to say of each file, in the files' order.

    Args:
        sizes: the (width, height) that each must have; any where None.
        by_header: whether the beginning and the end of a plain JPEG do.
    """
    wanted = [None] * len(files) if sizes is None else sizes
    with quiet(), ThreadPoolExecutor(THREADS) as pool:
        checks = pool.map(partial(check_image, by_header=by_header), files, wanted)
        return list(bar(checks, total=len(files), desc="images", unit_scale=True, mininterval=1))


def check_image(file: Path, size: tuple[int, int] | None = None, by_header: bool = False) -> Checked:
    """Whether a file is an image of that (width, height), as stored, and can be read."""
    try:
        if not file.is_file() and file.exists():  # a pipe would be waited for
            return Checked((UNREADABLE, f"{file}: no plain file"))
    except OSError as error:  # a name that is too long, a folder that may not be entered
        return Checked((UNREADABLE, f"{file}: cannot be read ({reason(error)})"))
    if by_header and (notes := _plain_jpeg(file, size)) is not None:
        return Checked(None, notes)
    try:
        with opened(file) as image:
            if size is not None and image.size != size:
                return Checked((OTHER_SIZE, "{} x {}, not {} x {}".format(*image.size, *size)))
            image.draft(image.mode, (1, 1))
            return Checked(None, to_rgb(image)[1])
    except ImageError as error:
        return Checked((error.kind, str(error)))


def _plain_jpeg(file: Path, size: tuple[int, int] | None) -> tuple[str, ...] | None:
    """The notes on a JPEG of one scan whose beginning libjpeg accepts and that ends; None: look at all of it.

    Progressive ones and those of several scans have tables further on.
    """
    from PIL import Image

    try:
        with file.open("rb") as stream, Image.open(stream, formats=("JPEG",)) as image:
            begun = stream.tell()  # behind the scan's header
            colours = image.layers
            fits = size in (None, image.size) and image.width * image.height <= MAX_PIXELS
            if image.format != "JPEG" or image.info.get("progressive") or not fits or not _ends(stream):
                return None
            stream.seek(0)
            beginning = stream.read(begun + BEGINNING)
            if not beginning[:begun].endswith(b"\xff\xda", 0, begun - 2 * colours - 6):
                return None
            image.fp = io.BytesIO(beginning)
            image.draft(image.mode, (1, 1))
            try:
                image.load()
            except OSError as error:
                if not str(error).startswith("image file is truncated"):
                    return None
            notes = []
            if image.mode != "CMYK" and not {"icc_profile", "exif"} & {*image.info}:
                return ()
            upright(in_srgb(Image.new(image.mode, (1, 1)), image.info.get("icc_profile"), notes), image, notes)
            return tuple(notes)
    except Exception:  # `check_image` decodes the whole file, and says why
        return None


def _ends(stream) -> bool:
    """Whether the end-of-image marker is near the end of an open file."""
    stream.seek(-min(TAIL, stream.seek(0, os.SEEK_END)), os.SEEK_END)
    return END_OF_IMAGE in stream.read()
