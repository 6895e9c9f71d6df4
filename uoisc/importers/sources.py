"""Opens what the data stage has prepared."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from uoisc.base.config import ROOT, Params, paths
from uoisc.base.errors import DataError, reason
from uoisc.base.folders import readable, short, written_folder
from uoisc.base.settings import GRID, Drawings, Vqav2
from uoisc.data.objects import DRAWINGS, ObjectEntry, load_catalogue
from uoisc.data.questions import Source
from uoisc.data.scenes import World
from uoisc.data.styles import drawings

SPRITES = "sprites.npz"


def open_source(profile: str, params: Params, folder: Path | None = None) -> Source:
    """What the data stage has prepared, in its folder unless another is given.

    Raises DataError where it has not run, or for another held-out category.
    """
    data = params.data
    folder = folder or paths(profile).source
    if isinstance(data, Drawings):
        return open_world(profile, params, folder)
    from uoisc.importers.photographs import Photographs

    vqav2 = isinstance(data, Vqav2)
    root, questions = (ROOT / data.folder, data.questions) if vqav2 else ((ROOT / data.file).parent, None)
    source = Photographs(folder, root, data.image_size, questions, data.loaders)
    if source.index.held_out != data.held_out:
        raise DataError(
            f"data.held_out = {data.held_out!r}: the data stage has held out {source.index.held_out!r}; run it again "
            "(dvc repro, or notebook 01_data)"
        )
    return source


def draw(params: Params, folder: Path) -> None:
    """Rasterises the catalogue's drawings into a folder. Raises DataError where it cannot be written."""
    entries = load_catalogue(params.data.objects)
    variants = params.data.sprite_variants + params.data.test_variants
    with written_folder(folder) as aside:
        drawn = drawings(entries, variants, params.data.image_size, params.seed)
        np.savez(aside / SPRITES, **drawn, catalogue=_names(entries))


def _names(entries: Sequence[ObjectEntry]) -> np.ndarray:
    """What the drawings stand for, in their order."""
    return np.array([f"{entry.hexcode} {entry.name} ({entry.category})" for entry in entries])


def open_world(profile: str, params: Params, folder: Path | None = None) -> World:
    """The objects that the data stage has rasterised, as `open_source`."""
    file = (folder or paths(profile).source) / SPRITES
    remedy = f"run the data stage again: uoisc run 01_data --profile {profile}"
    readable(file, remedy)
    try:
        with np.load(file) as stored:
            drawn = {name: stored[name] for name in stored.files}
        shapes = {kind: drawn[kind].shape for kind in DRAWINGS}
        names = drawn.pop("catalogue")
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{short(file)}: cannot be read ({reason(error)}); {remedy}") from error
    catalogue = load_catalogue(params.data.objects)
    side = params.data.image_size // GRID
    expected = (len(catalogue), params.data.sprite_variants + params.data.test_variants, side, side, 4)
    for kind, shape in shapes.items():
        if shape != expected:
            raise DataError(f"{short(file)}: {kind} of shape {shape}, params.yaml asks for {expected}; {remedy}")
    if not np.array_equal(names, _names(catalogue)):
        raise DataError(f"{short(file)}: drawn of another data/objects.csv; {remedy}")
    return World(catalogue, drawn, params.data.test_variants)
