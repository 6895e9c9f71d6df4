"""Standard codecs: their files' real bytes, the three ways to tell a rate, and how they fail."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tiny
from PIL import Image

from uoisc.rivals.standard_codecs import (
    AVIF,
    CODECS,
    JPEG,
    JPEG2000,
    JPEG_XL,
    WEBP,
    CodecError,
    RelevanceCrop,
    at_most,
    files,
    mosaic,
    read_place,
    token_square,
)

FORMATS = [JPEG, JPEG2000, WEBP, AVIF, JPEG_XL]
MAGIC = {  # where a file of a format says what it is, and how, by the format's standard; add a new format's
    "JPEG": (0, b"\xff\xd8\xff"),
    "JPEG2000": (0, b"\xff\x4f\xff\x51"),
    "WEBP": (8, b"WEBPVP8 "),
    "AVIF": (4, b"ftypavif"),
    "JXL": (0, b"\xff\x0a"),
}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
every_format = pytest.mark.parametrize("codec", FORMATS, ids=lambda codec: codec.name)


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """(9, 96, 96, 3) uint8."""
    return (tiny.images(9).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def scene(scenes) -> np.ndarray:
    return scenes[0]


@pytest.fixture
def relevance() -> np.ndarray:
    """Of a query about the object of tokens (1..2, 3..4)."""
    relevance = np.random.default_rng(0).uniform(0, 0.2, (6, 6))
    relevance[1:3, 3:5] += 0.5
    return relevance


def flat_bytes(codec, size: tuple[int, int]) -> int:
    """Bytes of a mid-grey image of (H, W) pixels at the lowest quality: about the header."""
    return len(codec.encode(np.full((*size, 3), 128, dtype=np.uint8), codec.qualities[0]))


def squared_error(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(image.astype(float) - other).mean())


def some_qualities(codec, n: int = 3) -> list[int]:
    """From the lowest to the highest, apart enough for errors to be in order."""
    return [codec.qualities[i] for i in np.linspace(0, len(codec.qualities) - 1, n).astype(int)]


@every_codec
def test_round_trip_is_nearer_at_a_higher_quality(codec, scene):
    files = [codec.encode(scene, quality) for quality in some_qualities(codec)]
    decoded = [codec.decode(data) for data in files]
    assert all(image.shape == scene.shape and image.dtype == np.uint8 for image in decoded)
    errors = [squared_error(image, scene) for image in decoded]
    assert errors[0] > errors[1] > errors[2]
    assert len(files[0]) < len(files[1]) < len(files[2])


@every_codec
def test_bytes_are_those_of_a_real_file(codec, scene, tmp_path):
    """What is counted, alone on a disk, is a file that any reader of the format opens as what `decode` gives."""
    data = codec.encode(scene, codec.qualities[30])
    assert isinstance(data, bytes) and data == codec.encode(scene.copy(), codec.qualities[30])
    start, magic = MAGIC[codec.format]
    assert data[start:].startswith(magic)
    (path := tmp_path / "file").write_bytes(data)
    with Image.open(path) as file:
        assert file.format == codec.format and file.size == (96 // codec.factor, 96 // codec.factor)
        shown = np.array(file.resize((96, 96), Image.Resampling.BICUBIC))
    assert np.array_equal(shown, codec.decode(data))


def test_files_are_those_of_the_encoders_run_by_hand(scene):
    def save(name: str, image: np.ndarray = scene, **settings) -> bytes:
        Image.fromarray(image).save(file := io.BytesIO(), name, **settings)
        return file.getvalue()

    assert JPEG.encode(scene, 40) == save("JPEG", quality=40, optimize=True, subsampling="4:2:0")
    assert WEBP.encode(scene, 40) == save("WEBP", quality=40, method=6)
    assert JPEG_XL.encode(scene, 40) == save("JXL", quality=40, effort=9)
    half = np.array(Image.fromarray(scene).resize((48, 48), Image.Resampling.BICUBIC))
    settings = dict(quality=40, speed=4, subsampling="4:2:0", advanced={"tune": "ssim"})
    assert CODECS["avif_down2"].encode(scene, 40) == save("AVIF", half, **settings)


def test_jpeg2000_quality_is_the_psnr_in_tenths_of_a_db(scene):
    """Within 1.5 dB: the encoder's estimate is of wavelet coefficients."""
    for wanted in (250, 300, 350):
        error = squared_error(JPEG2000.decode(JPEG2000.encode(scene, wanted)), scene)
        assert 10 * np.log10(255**2 / error) == pytest.approx(wanted / 10, abs=1.5)


@every_format
def test_at_most_keeps_the_budget_and_spends_it(codec, scene):
    quality, data = at_most(codec, scene, 1000)
    # a quality step costs less than a fifth of the bytes here
    assert 800 < len(data) <= 1000 and data == codec.encode(scene, quality)
    _, smaller = at_most(codec, scene, 600)
    assert squared_error(codec.decode(data), scene) < squared_error(codec.decode(smaller), scene)


WAVERING = replace(WEBP, name="wavering", qualities=range(100), settings=lambda q: WEBP.settings(q ^ 3))


@pytest.mark.parametrize("codec", [JPEG, WEBP, WAVERING], ids=lambda codec: codec.name)
def test_at_most_finds_what_trying_all_qualities_finds(codec, scene):
    """Also where sizes fall for three qualities and rise at the fourth: there bisection alone misses some."""
    sizes = {quality: len(codec.encode(scene, quality)) for quality in codec.qualities}
    assert (sizes[11] < sizes[8]) == (codec is WAVERING)
    for budget in (min(sizes.values()), 500, 650, 700, 1000):
        assert at_most(codec, scene, budget)[0] == max(q for q, size in sizes.items() if size <= budget)


@every_codec
def test_a_budget_that_cannot_be_met_gets_the_smallest_file_with_its_real_size(codec, scene):
    quality, data = at_most(codec, scene, 18)
    lowest = codec.encode(scene, codec.qualities[0])
    assert 18 < len(data) <= len(lowest)
    assert data == codec.encode(scene, quality)
    assert codec.decode(data, scene.shape).shape == scene.shape


@every_codec
def test_a_flat_image_costs_less_than_any_scene(codec, scenes):
    flat, quality = flat_bytes(codec, (96, 96)), codec.qualities[len(codec.qualities) // 4]
    assert 50 < flat < min(len(codec.encode(scene, quality)) for scene in scenes[:4])
    # at its lowest quality JPEG 2000 may send nothing but its header
    assert flat <= len(codec.encode(scenes[0], codec.qualities[0])) - (codec is not JPEG2000)


def test_files_gives_every_image_and_the_mean_of_its_files(scenes, relevance):
    """Of one codec for all images, or of one for each."""
    crops = [RelevanceCrop(relevance), RelevanceCrop(relevance.T)]
    for given, each in ((crops, crops), (WEBP, [WEBP, WEBP])):
        made = [codec.encode(image, 30) for codec, image in zip(each, scenes, strict=False)]
        decoded, size = files(given, scenes[:2], 30)
        assert size == np.mean([len(data) for data in made])
        assert np.array_equal(decoded, [codec.decode(data) for codec, data in zip(each, made, strict=True)])
    with pytest.raises(CodecError, match="2 codecs for 3 images"):
        files(crops, scenes[:3], 30)


@every_format
def test_a_mosaic_costs_less_an_image_than_images_alone(codec, scenes):
    quality = some_qualities(codec)[1]
    tiles, size = mosaic(codec, scenes, quality)
    alone = [codec.encode(image, quality) for image in scenes]
    # eight of nine headers are saved
    assert size < np.mean([len(data) for data in alone]) - flat_bytes(codec, (96, 96)) / 2
    assert tiles.shape == scenes.shape and tiles.dtype == np.uint8
    # every tile is its own image, as near to it as alone within 3 dB
    for tile, image, data in zip(tiles, scenes, alone, strict=True):
        assert squared_error(tile, image) < 2 * squared_error(codec.decode(data), image)


def test_mosaic_is_one_file_of_rows_of_tiles(scenes):
    tiles, size = mosaic(JPEG, scenes[:6], 80)  # 2 rows of 3
    sheet = np.concatenate([np.concatenate(scenes[i : i + 3], axis=1) for i in (0, 3)], axis=0)
    data = JPEG.encode(sheet, 80)
    assert size == len(data) / 6
    assert np.array_equal(tiles[4], JPEG.decode(data)[96:, 96:192])


def test_token_square_is_the_smallest_that_holds_the_most_relevant():
    """Against a search of all squares of all sides."""
    rng = np.random.default_rng(0)
    for top in (1, 2, 4, 9):
        relevance = rng.uniform(size=(6, 6))
        row, column, side = token_square(relevance, top)
        best = set(zip(*np.unravel_index(np.argsort(-relevance, axis=None)[:top], (6, 6)), strict=True))
        holding = []
        for s in range(2, 7):
            for r in range(7 - s):
                for c in range(7 - s):
                    if all(r <= i < r + s and c <= j < c + s for i, j in best):
                        holding.append((s, -relevance[r : r + s, c : c + s].sum(), r, c))
        smallest, _, *corner = min(holding)
        assert (row, column, side) == (*corner, smallest)


def test_relevance_crop_keeps_the_object_better_than_avif_at_the_same_bytes(scene, relevance):
    """The object's pixels, 2 x 2 tokens of 16 pixels, where the crop gets the fewer bytes of the two."""
    _, file = at_most(AVIF, scene, 500)
    _, crop_file = at_most(RelevanceCrop(relevance), scene, len(file))
    assert len(crop_file) <= len(file) <= 500
    whole, crop = AVIF.decode(file), RelevanceCrop(relevance).decode(crop_file)
    where = np.s_[16:48, 48:80]
    assert squared_error(crop[where], scene[where]) < squared_error(whole[where], scene[where]) / 2
    # and pays with the rest
    assert squared_error(crop, scene) > squared_error(whole, scene)


def test_relevance_crop_sends_place_colour_and_the_square_alone(scene, relevance):
    data = RelevanceCrop(relevance).encode(scene, 40)
    rest = np.ones((96, 96), dtype=bool)
    rest[16:48, 48:80] = False
    colour = scene[rest].mean(axis=0).round().astype(np.uint8)
    assert data == bytes([0x13, 0x26, *colour]) + AVIF.encode(scene[16:48, 48:80].copy(), 40)
    decoded = RelevanceCrop(np.zeros((6, 6))).decode(data)  # the receiver has no map
    assert decoded.shape == scene.shape and (decoded[rest] == colour).all()
    assert np.array_equal(decoded[16:48, 48:80], AVIF.decode(data[5:]))


def test_relevance_crop_of_the_whole_grid_is_avif(scene):
    corners = np.zeros((6, 6))
    corners[0, 0] = corners[5, 5] = 1
    crop = RelevanceCrop(corners, top=2)
    assert crop.encode(scene, 40)[5:] == AVIF.encode(scene, 40)
    assert np.array_equal(crop.decode(crop.encode(scene, 40)), AVIF.decode(AVIF.encode(scene, 40)))
    assert flat_bytes(RelevanceCrop(corners), (96, 96)) == flat_bytes(AVIF, (96, 96)) + 5


@every_codec
def test_decode_refuses_truncated_and_foreign_files(codec, scene):
    data = codec.encode(scene, codec.qualities[20])
    foreign = (JPEG if codec.format == WEBP.format else WEBP).encode(scene, 30)
    cuts = [data[:n] for n in (0, 1, 4, len(data) // 2, len(data) - 2, len(data) - 1)]
    for bad in (*cuts, foreign, b"no image at all", bytes(300)):
        with pytest.raises(CodecError, match=rf"{codec.name}: {len(bad)} bytes that are no whole") as error:
            codec.decode(bad)
        assert "\n" not in str(error.value)


@every_format
def test_damaged_files_never_crash(codec, scene):
    """A damaged file decodes to some image or is refused; whether damage shows is the format's matter."""
    rng, data = np.random.default_rng(0), codec.encode(scene, codec.qualities[20])
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        try:
            assert codec.decode(damaged.tobytes()).dtype == np.uint8
        except CodecError as error:
            assert str(error).startswith(codec.name)


def test_relevance_crop_refuses_impossible_places(scene, relevance):
    crop = RelevanceCrop(relevance)
    data = crop.encode(scene, 30)
    for place in (b"\x55\x26", b"\x13\x06", b"\x13\x56", b"\x13\x20"):
        with pytest.raises(CodecError, match="avif_crop: .* cannot be 32 x 32"):
            crop.decode(place + data[2:])
    for bad in (b"", data[:4], data[:-1], AVIF.encode(scene, 30)):
        with pytest.raises(CodecError, match="no whole AVIF file"):
            crop.decode(bad)
    huge = np.zeros((1024, 1024, 3), dtype=np.uint8)
    with pytest.raises(CodecError, match="a side of 15360 pixels is above 4096"):
        crop.decode(b"\x00\x1f" + data[2:5] + AVIF.encode(huge, 0))


@every_codec
def test_encode_refuses_other_arrays_and_qualities(codec, scene, relevance):
    for one in (codec, RelevanceCrop(relevance)):
        for bad in (scene / 255, scene[None], scene[..., 0], np.zeros((0, 96, 3), np.uint8)):
            with pytest.raises(CodecError, match=r"needs uint8 of shape \(H W 3\), not (float64|uint8) of shape"):
                one.encode(bad, 50)
        for quality in (-1, 1000):
            with pytest.raises(CodecError, match="quality must be a whole number in"):
                one.encode(scene, quality)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_sides_that_do_not_divide_come_back_whole(scene, factor):
    """As 352 pixels by 3: the small picture is rounded, the receiver knows the size."""
    odd, codec = scene[:95, :94].copy(), CODECS[f"avif_down{factor}"]
    decoded, _ = files(codec, odd[None], 90)
    tiles, _ = mosaic(codec, np.stack([odd] * 4), 90)
    assert decoded.shape == (1, *odd.shape) and tiles.shape == (4, *odd.shape)
    assert squared_error(decoded[0], odd) < squared_error(np.full_like(odd, odd.mean()), odd) / 2


@pytest.mark.parametrize("grid", [15, 16, 22, 255])
def test_a_crop_of_a_fine_grid_has_places_of_a_byte(grid):
    relevance = np.zeros((grid, grid))
    relevance[grid - 3 :, grid - 2 :] = 1
    image = np.tile(np.arange(grid, dtype=np.uint8)[:, None, None], (4, grid * 4, 3)).copy()
    crop = RelevanceCrop(relevance)
    data, side = crop.encode(image, 60), max(2, grid // 3)
    (*corner, sent, known), rest = read_place(data)
    assert (sent, known) == (max(3, side), grid) and max(corner) <= grid - sent
    assert len(data) - len(rest) == (2 if grid < 16 else 5)
    decoded = crop.decode(data, image.shape)
    assert decoded.shape == image.shape and np.array_equal(decoded, crop.decode(data))


def test_tokens_must_be_whole(scene, relevance):
    with pytest.raises(CodecError, match="no 6 x 6 whole tokens"):
        RelevanceCrop(relevance).encode(scene[:94], 50)
    for top, bad in ((0, relevance), (37, relevance), (1, relevance[:5]), (1, relevance * np.nan)):
        with pytest.raises(CodecError, match=r"top = |relevance must be finite, \(R, R\)"):
            token_square(bad, top)
