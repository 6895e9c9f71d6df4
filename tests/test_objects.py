"""The catalogue is whole, its errors say what to do, and its drawings depend on their own seed alone."""

from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from uoisc.base.errors import DataError
from uoisc.data.objects import (
    ATTRIBUTION,
    CATALOGUE,
    COLUMNS,
    DRAWINGS,
    NOTO_EMOJI,
    SCALE,
    _glyph,
    load_catalogue,
    plural,
    rasterise,
)

HEADER = ",".join(COLUMNS)
LION = "1F981,lion,animal,kept,"
CAR = "1F697,car,vehicle,kept,"


def write_catalogue(folder, *lines):
    path = folder / "objects.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_catalogue_is_large_distinct_and_ordered():
    entries = load_catalogue()
    counts = Counter(entry.category for entry in entries)
    assert 230 <= len(entries) <= 270
    assert min(counts.values()) >= 10
    assert 50 <= counts["animal"] <= 65
    assert len({entry.name for entry in entries}) == len(entries)
    assert [entry.hexcode for entry in entries] == sorted(entry.hexcode for entry in entries)


def test_names_read_well_in_a_question():
    for entry in load_catalogue():
        assert entry.name.replace(" ", "").replace("-", "").isalpha() and entry.name == entry.name.lower()
        assert 1 <= len(entry.name.split()) <= 2


def test_no_name_is_another_name_with_a_word_added():
    names = {entry.name for entry in load_catalogue()}
    longer = [name for name in names if len(name.split()) > 1]
    assert [name for name in longer if set(name.split()) & names] == []


def test_a_look_alike_names_a_kept_object():
    rows = [line.split(",") for line in CATALOGUE.read_text(encoding="utf-8").splitlines()]
    kept = {entry.name for entry in load_catalogue()}
    likes = [row[4].removeprefix("looks like: ") for row in rows if row[4].startswith("looks like: ")]
    assert len(likes) > 50
    assert [like for like in likes if like not in kept] == []


@pytest.mark.parametrize("limit", [14, 30, 100])
def test_limit_spreads_over_the_categories(limit):
    entries = load_catalogue(limit)
    counts = Counter(entry.category for entry in entries)
    full = Counter(entry.category for entry in load_catalogue())
    assert len(entries) == limit and entries == load_catalogue(limit)
    assert set(counts) == set(full)
    # A category may fall behind the largest share only when all its members are taken.
    assert all(count >= max(counts.values()) - 1 or count == full[name] for name, count in counts.items())


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("hexcode,name,category,status", "1F981,lion,animal,kept"), r"row 1: no column reason"),
        ((HEADER, LION, "1F42F,lion,animal,kept,"), r"row 3: 'lion' already stands in row 2"),
        ((HEADER, LION, "1F981,big cat,animal,kept,"), r"row 3: '1F981' already stands in row 2"),
        ((HEADER, "1F981,lion,animal,maybe,"), r"row 2: unknown status 'maybe'; write one of kept, dropped"),
        ((HEADER, "1F981,lion,,kept,"), r"row 2: category is empty"),
        ((HEADER, "1F981,lion,animal,dropped,"), r"row 2: 'lion' is dropped without a reason"),
        ((HEADER, "NOSUCH,lion,animal,kept,"), r"row 2: OpenMoji .* has no drawing NOSUCH.svg"),
        ((HEADER,), r"no row has the status 'kept'"),
    ],
)
def test_a_wrong_row_is_one_clear_line(tmp_path, lines, says):
    with pytest.raises(DataError, match=says) as caught:
        load_catalogue(path=write_catalogue(tmp_path, *lines))
    assert "\n" not in str(caught.value) and "objects.csv" in str(caught.value)


def test_a_missing_catalogue_and_an_impossible_limit_are_named(tmp_path):
    with pytest.raises(DataError, match="not there"):
        load_catalogue(path=tmp_path / "objects.csv")
    with pytest.raises(DataError, match="limit is 0"):
        load_catalogue(limit=0)


def test_dropped_rows_are_left_out(tmp_path):
    path = write_catalogue(tmp_path, HEADER, LION, "1F42F,tiger,animal,dropped,looks like: lion", CAR)
    assert [entry.name for entry in load_catalogue(path=path)] == ["car", "lion"]


def test_sprites_fill_their_tile_and_differ_between_variants():
    sprites = rasterise(load_catalogue(28), variants=3, size=32, seed=0)
    assert sprites.shape == (28, 3, 32, 32, 4) and sprites.dtype == np.uint8
    shown = sprites[..., 3] > 16  # (n, variants, S, S)
    width = shown.any(axis=2).sum(axis=-1)
    height = shown.any(axis=3).sum(axis=-1)
    longer = np.maximum(width, height)
    # One pixel off at either end: a faint rim may fall under the threshold.
    assert longer.min() >= SCALE[0] * 32 - 2 and longer.max() <= 32
    assert all((sprites[:, a] != sprites[:, b]).any(axis=(1, 2, 3)).all() for a, b in [(0, 1), (0, 2), (1, 2)])


def test_colours_are_not_premultiplied():
    ship = tuple(entry for entry in load_catalogue() if entry.name == "ship")
    sprite = rasterise(ship, variants=6, size=32, seed=0)
    # The ship's water has no black outline: its half-transparent rim stays bright unless alpha darkened it.
    rim = sprite[(sprite[..., 3] > 30) & (sprite[..., 3] < 120)]
    assert (rim[:, 2] > 200).sum() > 10
    assert (sprite[sprite[..., 3] == 0] == 0).all()


def test_sprites_depend_on_seed_object_and_variant_alone():
    entries = load_catalogue(15)
    sprites = rasterise(entries, variants=2, size=32, seed=7)
    assert (sprites == rasterise(entries, variants=2, size=32, seed=7)).all()
    assert (sprites[::-1] == rasterise(entries[::-1], variants=2, size=32, seed=7)).all()
    assert (sprites[3:4] == rasterise(entries[3:4], variants=2, size=32, seed=7)).all()
    assert (sprites == rasterise(entries, variants=3, size=32, seed=7)[:, :2]).all()
    assert (sprites != rasterise(entries, variants=2, size=32, seed=8)).any()


def test_fills_and_lines_are_parts_of_a_drawing():
    """Black outlines are what the fills lack, colours what the lines lack; some drawings have black fills."""
    entries = load_catalogue(28)
    drawn, fills, lines = (rasterise(entries, 2, 32, 0, kind) for kind in ("drawn", "fills", "lines"))

    def dark(sprites):  # pixels, of each object
        return ((sprites[..., :3].max(-1) < 64) & (sprites[..., 3] > 128)).sum((1, 2, 3))

    assert (dark(fills) < dark(drawn)).mean() > 0.9
    seen = lines[lines[..., 3] > 128][:, :3].astype(int)
    assert (np.ptp(seen, axis=1) < 32).mean() > 0.98
    assert (lines[..., 3] > 128).sum() < 0.6 * (drawn[..., 3] > 128).sum()


def test_every_object_is_drawn_in_every_way():
    entries = load_catalogue()
    for kind in DRAWINGS:
        assert (rasterise(entries, 1, 16, 0, kind)[..., 3].mean((1, 2, 3)) > 12).all(), kind
    lacking = "10FFFD"  # the font shows a box for it
    box, *glyphs = (_glyph(code, 64, np.random.default_rng(0)) for code in (lacking, *(e.hexcode for e in entries)))
    assert not [entry for entry, glyph in zip(entries, glyphs, strict=True) if glyph == box]


def test_a_glyph_is_ink_and_three_parts_without_a_hole():
    sprites = rasterise(load_catalogue(28), 3, 64, 0, "glyphs")
    for sprite in sprites.reshape(-1, 64, 64, 4).astype(int):
        solid = sprite[..., 3] > 250
        assert (sprite[solid][:, 0] > 128).mean() > 0.02, "some of it is ink"
        assert sprite[solid][:, :3].sum(1).max() <= 255 + 9, "shares of a pixel, but for rounding and resampling"
        assert (binary_fill_holes(sprite[..., 3] > 128) & (sprite[..., 3] <= 128)).sum() < 8
    ink = [(sprites[:, v, ..., 0] > 128).sum() for v in range(3)]
    assert len(set(ink)) == 3, "each variant has a weight of its own"


def test_plurals_and_attribution():
    assert "Noto Emoji" in NOTO_EMOJI and "Open Font License" in NOTO_EMOJI
    assert plural("animal") == "animals"
    assert plural("clothing") == "pieces of clothing"
    assert "OpenMoji" in ATTRIBUTION and "CC BY-SA 4.0" in ATTRIBUTION and "https://openmoji.org" in ATTRIBUTION
