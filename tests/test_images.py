"""Images of every mode come in as they look, and go out at their size, whole or not at all."""

import io

import numpy as np
import pytest
import torch
from away import away
from PIL import Image

from uoisc.base.errors import DataError
from uoisc.data.images import MAX_PIXELS, check_suffix, image_bytes, read_pixels, to_bytes
from uoisc.importers.image_check import check_images

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))  # 64 x 64


def saved(image: Image.Image, kind: str, **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return io.BytesIO(stream.getvalue())


def pixels(stream: io.BytesIO, side: int = 64) -> np.ndarray:
    return read_pixels(stream, side)[0]


def test_a_gpus_pictures_become_bytes():
    x = torch.rand(2, 3, 4, 5)
    with pytest.raises(TypeError, match="cuda"):
        (away(x) * 255).numpy()
    np.testing.assert_array_equal(to_bytes(away(x)), to_bytes(x))


def test_pictures_become_the_nearest_bytes():
    levels = torch.tensor([-3, 0, 0.49, 0.51, 1.49, 1.51, 127.6, 254.4, 254.6, 255, 300]) / 255
    found = to_bytes(levels.view(1, 1, 1, -1).expand(-1, 3, -1, -1))
    assert found.dtype == np.uint8 and found[0, 0].T.tolist() == [[0, 0, 0, 1, 1, 2, 128, 254, 255, 255, 255]] * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_look_as_eight_do(kind):
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert wide.mode.startswith("I")
    assert np.array_equal(pixels(saved(wide, kind)), pixels(saved(Image.fromarray(RAMP), "PNG")))


def test_floating_point_pixels_are_refused():
    with pytest.raises(DataError, match="standard input: .*no known range"):
        pixels(saved(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode):
    drawing = np.zeros((64, 64, 4), dtype=np.uint8)
    drawing[16:48, 16:48, 3] = 255  # a black square on black that is not there
    image = Image.fromarray(drawing).convert("RGBA" if mode == "P" else mode)
    if mode == "P":
        image = image.quantize(4)
    found = pixels(saved(image, "PNG"))
    assert (found[:8] == 255).all() and (found[24:40, 24:40] == 0).all()


def test_a_photograph_taken_upright_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its right side: turn it by a quarter
    lying = Image.fromarray(np.repeat(RAMP[:32, :, None], 3, axis=2))
    found, size, _ = read_pixels(saved(lying, "PNG", exif=exif), 64)
    assert size == (32, 64), "width and height as it is seen"
    assert found[0].mean() < 8 and found[-1].mean() > 247, "dark left becomes dark top"


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_what_is_no_image_is_one_line(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="a.png: not an image") as caught:
        read_pixels(tmp_path / "a.png", 8)
    assert "\n" not in str(caught.value) and str(caught.value).count("a.png") == 1
    with pytest.raises(DataError, match="a folder; name the images in it"):
        read_pixels(tmp_path, 8)


def test_whatever_a_decoder_raises_is_one_line(tmp_path, monkeypatch):
    saved_png = saved(Image.fromarray(RAMP), "PNG")

    def broken(*args):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", broken)
    with pytest.raises(DataError, match=r"not an image that can be read \(MemoryError\)"):
        read_pixels(saved_png, 8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_an_image_goes_out_at_its_size(suffix):
    with Image.open(io.BytesIO(image_bytes(torch.rand(1, 3, 96, 96), suffix, (50, 70)))) as image:
        assert image.size == (50, 70)


@pytest.mark.parametrize("suffix", ["", ".abc", ".pdf"])
def test_an_unknown_suffix_is_refused_before_any_work(suffix):
    with pytest.raises(DataError, match="no kind of image that can be written"):
        check_suffix(suffix)


@pytest.mark.parametrize(("suffix", "size"), [(".ico", (640, 426)), (".webp", (16_384, 2))])
def test_a_kind_that_cannot_hold_the_size_says_so(suffix, size):
    with pytest.raises(DataError, match=f"{size[0]} x {size[1]} pixels cannot be written as {suffix}"):
        image_bytes(torch.rand(1, 3, 8, 8), suffix, size)


def test_large_images_are_read_in_silence_and_too_large_ones_refused(tmp_path, recwarn):
    """Pillow warns from 89 million pixels on and refuses twice as many: our own limit is between."""
    assert Image.MAX_IMAGE_PIXELS < MAX_PIXELS < 2 * Image.MAX_IMAGE_PIXELS
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")
    Image.new("1", (16_000, 9_500)).save(tmp_path / "larger.png")
    Image.new("1", (20_000, 9_500)).save(tmp_path / "largest.png")
    assert check_images([tmp_path / "large.png"]) == [(None, ())]
    assert read_pixels(tmp_path / "large.png", 8)[1] == (10_000, 9_500)
    for name in ("larger.png", "largest.png"):
        with pytest.raises(DataError, match="more than 150 million pixels, which are too many: make it smaller"):
            read_pixels(tmp_path / name, 8)
    assert not recwarn.list


def test_a_drawing_in_svg_is_refused_with_advice(tmp_path):
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    with pytest.raises(DataError, match="a.svg: not an image of a kind that is known here.*save as .png first"):
        read_pixels(tmp_path / "a.svg", 8)


def test_a_bomb_of_text_is_one_line():
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "0" * 20_000_000, zip=True)
    with pytest.raises(DataError, match=r"not an image that can be read \(Decompressed data too large") as caught:
        pixels(saved(Image.fromarray(RAMP), "PNG", pnginfo=info))
    assert "\n" not in str(caught.value)


def test_a_file_without_the_right_to_read_says_so(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(DataError, match=r"a.png: cannot be read \(Permission denied\)"):
        read_pixels(tmp_path / "a.png", 8)
