"""Prepares what a profile's questions are asked about: drawings, or an index of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uoisc.config import load_params, paths
from uoisc.errors import DataError
from uoisc.folders import written_folder
from uoisc.objects import load_catalogue, rasterise
from uoisc.settings import GRID, Drawings, Vqav2


def prepare_data(profile: str) -> Path:
    """Fills data/PROFILE/source: rasterises the catalogue's drawings, or indexes photographs and says what it found."""
    params, folder = load_params(profile), paths(profile).source
    if isinstance(params.data, Drawings):
        _rasterise_drawings(params.data, params.seed, folder)
    elif isinstance(params.data, Vqav2):
        from uoisc import vqav2

        print(vqav2.index(params.data, folder))
    else:
        from uoisc import manifest

        print(manifest.index(params.data, folder))
    return folder


def _rasterise_drawings(data: Drawings, seed: int, target: Path) -> None:
    entries = load_catalogue(data.objects)
    if data.held_out not in {entry.category for entry in entries}:
        raise DataError(f"data.held_out = {data.held_out!r}: no object has that category; see data/objects.csv")
    sprites = rasterise(entries, data.sprite_variants, data.image_size // GRID, seed)
    with written_folder(target) as folder:
        np.savez(folder / "sprites.npz", sprites=sprites)
