"""Prepares what a profile's questions are asked about: drawings, or an index of photographs."""

import shutil
from pathlib import Path

import numpy as np

from uoisc.base.config import Params, load_params, paths
from uoisc.base.errors import DataError
from uoisc.base.folders import check_writable
from uoisc.base.settings import Drawings, Vqav2
from uoisc.data.objects import load_catalogue
from uoisc.data.questions import SPLITS
from uoisc.importers.sources import draw, open_source


def prepare_data(profile: str) -> Path:
    """Fills data/PROFILE/source: rasterises the catalogue's drawings, or indexes photographs and says what it found.

    Raises DataError where they cannot be used, also where a split lacks what training or evaluation needs.
    """
    params = load_params(profile)
    folder = paths(profile).source
    check_writable(folder.parent)
    if isinstance(params.data, Drawings):
        entries = load_catalogue(params.data.objects)
        held_out = params.data.held_out
        if held_out not in {entry.category for entry in entries}:
            raise DataError(f"data.held_out = {held_out!r}: no object has that category; see data/objects.csv")
        draw(params, folder)
        return folder
    from uoisc.frozen.pretrained import open_readers
    from uoisc.importers import manifest, vqav2

    readers, absent = open_readers(params.foundation)
    importer = vqav2 if isinstance(params.data, Vqav2) else manifest
    print(importer.index(params.data, folder, readers))
    print(*(f"note: {line}" for line in absent), sep="\n", end="\n" if absent else "")
    print(_splits(open_source(profile, params), params))
    return folder


def _splits(source, params: Params) -> str:
    """What each split of photographs holds, and how many of its questions are used where it holds more, a line each.
    Raises DataError where there is nothing to train on or to ask about, or a split without two different questions;
    the index is then taken away: no later stage starts on it."""
    held_out = params.data.held_out
    most = {"training": source.questions} | dict.fromkeys(SPLITS, params.evaluation.queries)
    found = {split: source.rows(split, held_out) for split in most}
    texts = source.index.questions["text"]
    wrong = ""
    if not found["training"].size:
        wrong = f"no image is left to train on: add some that do not show {held_out!r}, or give lines the split train"
    elif not any(found[split].size for split in SPLITS):
        wrong = f"no image is left to ask about: add some that show {held_out!r}, or give lines the split seen"
    for split in SPLITS:
        if found[split].size and len({text.lower() for text in texts.take(found[split]).to_pylist()}) < 2:
            wrong = f"split {split} has one question: it needs two different ones, as each is compared with another"
    lines = [
        f"{s}: {r.size:,} questions about {np.unique(source.index.image_of[r]).size:,} images"
        + (f", of which {most[s]:,} are used" if r.size > (most[s] or r.size) else "")
        for s, r in found.items()
    ]
    if wrong:
        shutil.rmtree(source.index.folder)
        raise DataError(f"{wrong} ({'; '.join(lines)})")
    return "\n".join(lines)
