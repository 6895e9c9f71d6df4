"""Prepares the embedded benchmark's drawings, and opens them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from uoisc.config import GRID, Params, load_params, paths
from uoisc.errors import DataError
from uoisc.objects import load_catalogue, rasterise
from uoisc.scenes import World


def prepare_data(profile: str) -> Path:
    """Rasterises the catalogue's drawings into data/PROFILE/objects/sprites.npz."""
    data, seed = load_params(profile).data, load_params(profile).seed
    entries = load_catalogue(data.objects)
    if data.held_out not in {entry.category for entry in entries}:
        raise DataError(f"data.held_out = {data.held_out!r}: no object has that category; see data/objects.csv")
    sprites = rasterise(entries, data.sprite_variants, data.image_size // GRID, seed)
    with written_folder(paths(profile).objects) as folder:
        np.savez(folder / "sprites.npz", sprites=sprites)
    return paths(profile).objects


def open_world(profile: str, params: Params) -> World:
    """The objects that the data stage has rasterised. Raises DataError where it has not run."""
    file = paths(profile).objects / "sprites.npz"
    if not file.is_file():
        raise DataError(f"data/{profile}/objects: not there; run the data stage (dvc repro), or notebook 01_data")
    return World(load_catalogue(params.data.objects), np.load(file)["sprites"])


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """A folder to fill beside `target`, which it replaces when all went well and leaves no trace of otherwise."""
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
