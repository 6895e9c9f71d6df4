"""What the data stage accepts, training reads; what it refuses, training would refuse."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_image_colour import png, saved

from uoisc.base.errors import DataError
from uoisc.data.images import read_pixels
from uoisc.importers import image_check
from uoisc.importers.image_check import check_image, check_images

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((160, 120))


def jpeg(**options) -> bytes:
    return saved(PHOTO, "JPEG", **options).getvalue()


def marked(data: bytes, process: int, bits: int = 8) -> bytes:
    """A baseline JPEG that says it is of another process, and so cannot be decoded as what it is."""
    at = data.index(b"\xff\xc0")
    return data[: at + 1] + bytes([process]) + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :]


def odd_files() -> dict[str, bytes]:
    """Files of every kind that users have: some sound, some not."""
    grey, wide = PHOTO.convert("L"), np.asarray(PHOTO.convert("L")).astype(np.int64)
    plain, progressive = jpeg(), jpeg(progressive=True)
    tables = bytearray(plain)
    tables[plain.index(b"\xff\xc4") + 6] = 255  # codes of a length, more than there can be
    scans = bytearray(progressive)
    scans[progressive.rindex(b"\xff\xc4") + 6] = 255
    files = {
        "plain.jpg": plain, "progressive.jpg": progressive, "grey.jpg": saved(grey, "JPEG").getvalue(),
        "inks.jpg": saved(PHOTO.convert("CMYK"), "JPEG").getvalue(), "exif.jpg": jpeg(exif=b"Exif\0\0" + bytes(30_000)),
        "profile.jpg": jpeg(icc_profile=b"junk"), "padded.jpg": plain + bytes(5000), "cut.jpg": plain[:-50],
        "half.jpg": plain[: len(plain) // 2], "head.jpg": plain[:100], "tables.jpg": bytes(tables),
        "scans.jpg": bytes(scans), "lossless.jpg": marked(plain, 0xC3), "arithmetic.jpg": marked(plain, 0xC9),
        "twelve.jpg": marked(plain, 0xC1, 12), "differential.jpg": marked(plain, 0xC5), "empty.jpg": b"",
        "text.png": b"<html>404</html>", "no_pixels.gif": b"GIF89a" + bytes(7) + b";",
        "cut.png": saved(PHOTO).getvalue()[:-900], "cut.gif": saved(PHOTO, "GIF").getvalue()[:-900],
        "float.tiff": saved(Image.fromarray(wide.astype(np.float32)), "TIFF").getvalue(),
        "float.jpg": saved(Image.fromarray(wide.astype(np.float32)), "TIFF").getvalue(),
        "integer.tiff": saved(Image.fromarray(wide.astype(np.int32)), "TIFF").getvalue(),
        "sixteen.tiff": saved(Image.fromarray(wide.astype(np.uint16)), "TIFF").getvalue(),
        "lab.tiff": saved(Image.new("LAB", (9, 9)), "TIFF").getvalue(),
        "palette.png": saved(PHOTO.quantize(16)).getvalue(), "one.png": saved(PHOTO.convert("1")).getvalue(),
        "tiny.png": png(1, 1, 8, 0, [b"\0"]).getvalue(), "bytes.png": random.Random(0).randbytes(3000),
    }  # fmt: skip
    return files


@pytest.mark.parametrize("by_header", [True, False])
def test_what_is_accepted_is_read_and_what_is_refused_would_not_be(tmp_path, by_header, recwarn, capfd):
    """Both ways: a rule of the data stage's own would part from the loader's in one of them."""
    files = odd_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in files]
    sound = {}
    for path, checked in zip(paths, check_images(paths, by_header=by_header), strict=True):
        try:
            sound[path.name] = read_pixels(path, 8)[0].shape == (8, 8, 3)
        except DataError:
            sound[path.name] = False
        assert (checked.problem is None) == sound[path.name], (path.name, checked)
    refused = {name for name, read in sound.items() if not read}
    assert {"half.jpg", "tables.jpg", "float.tiff", "float.jpg", "integer.tiff", "twelve.jpg", "text.png"} <= refused
    assert {"plain.jpg", "progressive.jpg", "inks.jpg", "exif.jpg", "sixteen.tiff", "lab.tiff"} <= set(sound) - refused
    assert not recwarn.list and capfd.readouterr().err == ""


def test_a_damaged_byte_is_found_or_does_no_harm(tmp_path):
    rng, path, refused = random.Random(0), tmp_path / "a.jpg", 0
    for data in (jpeg(), jpeg(progressive=True)):
        for _ in range(150):
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(damaged)
            if check_image(path).problem is None:
                read_pixels(path, 8)
            else:
                refused += 1
    assert refused


def test_notes_are_the_same_from_the_header_as_from_all_of_it(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x010E] = "a ball"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (jpeg(icc_profile=b"junk"), saved(PHOTO.convert("CMYK"), "JPEG").getvalue(), jpeg()):
        path.write_bytes(data)
        assert check_image(path, by_header=True) == check_image(path)
    for data in (jpeg(exif=exif), jpeg(icc_profile=srgb), jpeg(exif=exif, icc_profile=srgb)):
        path.write_bytes(data)
        assert check_image(path, by_header=True) == check_image(path) == (None, ())
    path.write_bytes(jpeg(icc_profile=b"junk"))
    assert "its colour profile cannot be used" in check_image(path, by_header=True).notes[0]


def test_a_plain_jpeg_is_judged_by_its_ends(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    monkeypatch.setattr(image_check, "opened", None)  # what decodes all of it
    assert check_image(path, (160, 120), by_header=True).problem is None


def test_the_size_is_the_stored_one(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    for by_header in (True, False):
        assert check_image(tmp_path / "a.jpg", (160, 120), by_header).problem is None
        assert check_image(tmp_path / "a.jpg", (120, 160), by_header).problem[0] == "image of other size"


@pytest.mark.parametrize("by_header", [True, False])
def test_a_jpeg_of_too_many_pixels_is_refused_either_way(tmp_path, by_header):
    """Its header says 15,000 x 10,001."""
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = (10_001).to_bytes(2) + (15_000).to_bytes(2)
    (tmp_path / "a.jpg").write_bytes(data)
    kind, said = check_images([tmp_path / "a.jpg"], [(15_000, 10_001)], by_header)[0].problem
    assert kind == "image unreadable" and "more than 150 million pixels" in said


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    found = check_images([tmp_path / "pipe.png", tmp_path / "folder.png", Path("/dev/zero"), tmp_path / "none.png"])
    assert [kind for (kind, _), _ in found] == ["image unreadable"] * 3 + ["image missing"]


def test_a_profile_of_many_parts_is_no_hindrance(tmp_path):
    """Longer than the header that is read at once: the whole file is looked at."""
    (tmp_path / "a.jpg").write_bytes(jpeg(icc_profile=bytes(200_000)))
    assert check_image(tmp_path / "a.jpg", by_header=True).problem is None
