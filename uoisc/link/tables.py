"""Probability tables on disk, and the codecs that they go with."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from uoisc.base.errors import CheckpointError
from uoisc.base.folders import short
from uoisc.base.storage import check_made_from, read_label, read_tensors, save_tensors
from uoisc.link.bitstream import SharedModel, fingerprint
from uoisc.link.entropy import TOTAL, Tables, cells
from uoisc.message import Shape
from uoisc.study import Study


def codec_digest(study: Study, name: str, rate: str) -> dict[str, str]:
    """What a codec's tables are made from: that codec, by its checkpoint's digest."""
    checkpoint = study.home.codec(2, name, rate)
    return {"checkpoint": read_label(checkpoint, f"train it: uoisc train {name} --profile {study.profile}")["sha256"]}


def write_tables(tables: Tables, path: Path, made_from: dict[str, str]) -> None:
    """Writes the frequencies as int32, and what they are of, and made from, in the header."""
    label = {"kind": tables.kind, "shape": list(astuple(tables.shape)), "made_from": made_from}
    save_tensors({"frequencies": torch.from_numpy(tables.frequencies.astype(np.int32))}, path, label)


def read_tables(path: Path, made_from: dict[str, str], profile: str) -> Tables:
    """Raises CheckpointError where the file is missing, holds no tables, or was made from another codec."""
    remedy = f"run the rate stage again: uoisc run 08_rate --profile {profile}"
    tensors, label = read_tensors(path, remedy)
    check_made_from(path, label, made_from, remedy)
    try:
        shape = Shape(*label["shape"])
        kind = label["kind"]
        frequencies = tensors["frequencies"].numpy().astype(np.int64)
        rows = (cells(shape, kind) // shape.codes, shape.codes)
        if frequencies.shape != rows or frequencies.min() < 1 or (frequencies.sum(axis=1) != TOTAL).any():
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{short(path)}: holds no tables; {remedy}") from error
    return Tables(shape, kind, frequencies)


def shared_model(study: Study, name: str, rate: str) -> SharedModel:
    """A trained codec with its tables: what both ends of a link hold.

    Raises CheckpointError where one is missing, or the tables are another codec's.
    """
    codec = study.codec(name, rate)
    path = study.home.table(name, rate)
    tables = read_tables(path, codec_digest(study, name, rate), study.profile)
    return SharedModel(codec, tables, fingerprint(study.home.codec(2, name, rate), path))
