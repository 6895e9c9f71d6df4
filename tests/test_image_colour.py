"""An image is read as it looks: profiles, bits, transparency, gamma, frames; or it is refused in one line."""

import io
import struct
import zlib
from pathlib import Path

import icc
import numpy as np
import pytest
import tiny
from PIL import Image, ImageOps

from uoisc.base.errors import DataError
from uoisc.data.images import read_image, read_pixels

SAMPLES = tiny.SAMPLES / "val2014"
PATCHES = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 160, 200]]], dtype=np.uint8)
RAMP = np.tile(np.arange(0, 256, 17, dtype=np.uint8), (16, 1))  # all values that 4 bits can say


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return io.BytesIO(stream.getvalue())


def seen(stream: io.BytesIO | Path, side: int) -> np.ndarray:
    return read_pixels(stream, side)[0].astype(int)


def notes(stream: io.BytesIO) -> tuple[str, ...]:
    return read_image(stream, 4).notes


def png(width: int, height: int, bits: int, kind: int, rows: list[bytes], **chunks: bytes) -> io.BytesIO:
    """A PNG by the letter of its standard."""

    def chunk(name: str, data: bytes) -> bytes:
        body = name.encode() + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = {"IHDR": struct.pack(">2I5B", width, height, bits, kind, 0, 0, 0), **chunks, "IDAT": data, "IEND": b""}
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items()))


def expected(columns, gamma: float, rgb: np.ndarray) -> np.ndarray:
    """The colours in sRGB, by matrices: independent of littleCMS."""
    linear = (rgb / 255) ** gamma @ np.array(columns) @ np.linalg.inv(np.array(icc.SRGB))
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize(
    ("columns", "gamma"), [(icc.ADOBE, 2.2), (icc.P3, 2.2), (icc.SRGB, 1.0), (icc.SRGB[::-1], 2.2)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_colour_profile_is_heeded(columns, gamma, kind):
    """Adobe RGB, Display P3, linear light, and red and blue in each other's place."""
    options = {"lossless": True} if kind == "WEBP" else {}
    stream = saved(Image.fromarray(PATCHES), kind, icc_profile=icc.matrix(columns, gamma), **options)
    np.testing.assert_allclose(seen(stream, 2), expected(columns, gamma, PATCHES), atol=3)
    assert np.abs(expected(columns, gamma, PATCHES) - PATCHES).max() > 10, "the test can fail"


def test_srgb_by_another_profile_keeps_its_pixels():
    from PIL import ImageCms

    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert np.array_equal(seen(saved(noise, icc_profile=own), 16), np.asarray(noise))


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_photographs_in_srgb_keep_their_pixels():
    kept = changed = 0
    for file in sorted(SAMPLES.glob("*.jpg")):
        with Image.open(file) as image:
            profile = image.info.get("icc_profile", b"")
            plain = ImageOps.exif_transpose(image).convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
        same = np.array_equal(seen(file, 64), np.asarray(plain))
        assert same or b"Adobe RGB" in profile or b"Camera RGB" in profile or b"Display" in profile, file.name
        kept, changed = kept + same, changed + (not same)
    assert kept > 25 and changed > 3


def test_a_profile_that_moves_colours_a_little_is_heeded_too():
    """By 6 of 255 at most: sRGB's primaries, and a power law in the place of its curve."""
    greys = np.repeat(RAMP[..., None], 3, axis=2)
    found = seen(saved(Image.fromarray(greys), icc_profile=icc.matrix(icc.SRGB, 2.1)), 16)
    assert 4 < np.abs(found - greys).max() < 8
    np.testing.assert_allclose(found, expected(icc.SRGB, 2.1, greys), atol=1.5)


def test_black_becomes_black_and_greys_look_as_by_relative_intent():
    greys = Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2))
    found, same = (seen(saved(greys, icc_profile=icc.faded(20, white)), 16) for white in (60, 100))
    np.testing.assert_array_equal(found, same)
    assert found[:, 0].max() <= 1 and found[:, -1].min() >= 254 and 100 < found[:, 8].mean() < 160


def test_a_profile_goes_with_palettes_greys_and_transparency():
    linear, half = icc.matrix(icc.SRGB, 1.0), np.full((4, 4, 3), 55, dtype=np.uint8)  # 55 of light is 128 in sRGB
    colours = Image.fromarray(half)
    assert abs(seen(saved(colours.quantize(2), icc_profile=linear), 4) - 128).max() <= 2
    assert abs(seen(saved(colours.convert("L"), icc_profile=icc.grey(1.0)), 4) - 128).max() <= 2
    assert abs(seen(saved(colours.convert("L"), icc_profile=linear), 4) - 128).max() <= 2
    clear = Image.fromarray(np.dstack([half, np.full((4, 4), 128, dtype=np.uint8)]))
    assert abs(seen(saved(clear, icc_profile=linear), 4) - 191).max() <= 2, "128 half over white"


def test_inks_look_as_their_profile_says_or_plain_with_a_note():
    cyan = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    profiled = saved(cyan, "TIFF", icc_profile=icc.inks())
    lab = Image.new("LAB", (2, 2), (153, 128 - 30, 128 - 40))  # as `icc.INKS` has cyan
    np.testing.assert_allclose(seen(profiled, 2), seen(saved(lab, "TIFF"), 2), atol=3)
    assert seen(saved(Image.new("CMYK", (2, 2)), "TIFF", icc_profile=icc.inks()), 2).min() >= 253, "paper is white"
    assert seen(saved(cyan, "TIFF"), 2)[0, 0].tolist() == [0, 255, 255]
    assert notes(saved(cyan, "JPEG")) == ("inks without a colour profile: read by the plain formula",)


def test_cielab_is_read():
    """L* = 53.6 is sRGB's 128; (54.3, 80.8, 69.9) under D50 is its red."""
    for lab, rgb in (((137, 128, 128), (128, 128, 128)), ((138, 128 + 81, 128 + 70), (255, 0, 0))):
        stream = saved(Image.new("LAB", (2, 2), lab), "TIFF")
        np.testing.assert_allclose(seen(stream, 2)[0, 0], rgb, atol=6)  # a* and b* are whole numbers


@pytest.mark.parametrize("profile", [b"junk", icc.matrix(icc.ADOBE, 2.2)[:200], icc.inks(), icc.grey(1.0)])
def test_a_profile_that_cannot_be_used_is_passed_over_with_a_note(profile):
    stream = saved(Image.fromarray(PATCHES), icc_profile=profile)
    (note,) = notes(stream)
    assert "its colour profile cannot be used" in note and "\n" not in note
    assert np.array_equal(seen(stream, 2), PATCHES)


def test_sixteen_bits_are_scaled_by_257():
    wide = np.array([[0, 128, 129, 32_768, 65_407, 65_535]], dtype=np.uint16).repeat(6, 0)
    assert seen(saved(Image.fromarray(wide)), 6)[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]


def test_white_is_zero_in_sixteen_bits():
    data = bytearray(saved(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF").getvalue())
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data[at : at + 2] = b"\0\0"  # photometric interpretation: WhiteIsZero
    assert np.array_equal(seen(io.BytesIO(data), 16)[..., 0], 255 - RAMP)


@pytest.mark.parametrize("bits", [1, 2, 4, 16])
def test_a_grey_that_shows_nothing_is_white(bits):
    """The middle row is of the value that a PNG's tRNS chunk calls clear: in the file's own bits."""
    white = 2**bits - 1
    rows = [0, white if bits < 16 else 1000, 0]
    packed = [
        (value if bits == 16 else value * (0xFFFF // white)).to_bytes(2, "big") * (bits * 16 // 16) for value in rows
    ]
    clear = rows[1] if bits == 16 else 0
    stream = png(16, 3, bits, 0, [row.ljust(2 * bits, row[-1:]) for row in packed], tRNS=struct.pack(">H", clear))
    found = read_pixels(stream, 48)[0][:, 24, 0].astype(int)
    assert found[24] > 240 and (found[[4, -4]] > 240).all() == (bits < 16)


def test_a_colour_of_sixteen_bits_that_shows_nothing_is_white():
    red, blue = struct.pack(">3H", 65_535, 0, 0), struct.pack(">3H", 0, 0, 65_535)
    found = seen(png(8, 8, 16, 2, [red * 4 + blue * 4] * 8, tRNS=red), 8)
    assert found[4, 1].tolist() == [255, 255, 255] and found[4, 6].tolist() == [0, 0, 255]


def test_greys_of_sixteen_bits_with_alpha_are_grey():
    rows = [struct.pack(">2H", 0x8080, 0xFFFF) * 4] * 4
    assert (seen(png(4, 4, 16, 4, rows), 4) == 128).all()


@pytest.mark.parametrize(("values", "kind"), [(np.int32, "integer"), (np.float32, "floating-point")])
def test_pixels_of_no_known_range_are_refused(values, kind):
    with pytest.raises(DataError, match=f"its {kind} pixels have no known range: save it with 8 or 16 bits"):
        seen(saved(Image.fromarray(RAMP.astype(values)), "TIFF"), 8)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read_and_it_is_said(kind):
    first, *others = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    stream = saved(first, kind, save_all=True, append_images=others, **options)
    assert notes(stream) == ("first of 3 frames",)
    assert seen(stream, 8)[4, 4].tolist() == [255, 0, 0]
    assert notes(saved(first, kind)) == ()


def test_broken_exif_data_hide_no_image():
    stream = saved(Image.fromarray(PATCHES), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(9), quality=100)
    assert seen(stream, 2).shape == (2, 2, 3)
