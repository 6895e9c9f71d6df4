"""Tables go with the codec that they were counted for, and with no other."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from test_bitstream import model

from uoisc.base.checkpoint import save_codec
from uoisc.base.config import Paths
from uoisc.base.errors import CheckpointError
from uoisc.base.storage import save_tensors
from uoisc.link.tables import codec_digest, read_tables, shared_model, write_tables
from uoisc.study import Study

STALE = "made from another checkpoint than the one here; run the rate stage again: uoisc run 08_rate --profile tiny$"


@pytest.fixture
def place(tmp_path):
    """A codec and its tables on disk."""
    place = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    train(place, 0.0)
    count_again(place)
    return place


def study(place: Paths) -> Study:
    return replace(tiny.study(), home=place)


def count_again(place: Paths, made_from: dict[str, str] | None = None) -> None:
    made_from = codec_digest(study(place), "adaptive", "low") if made_from is None else made_from
    write_tables(model("adaptive").tables, place.table("adaptive", "low"), made_from)


def train(place: Paths, shift: float) -> None:
    codec = tiny.codec("adaptive")
    with torch.no_grad():
        next(p for p in codec.parameters() if p.requires_grad).add_(shift)
    save_codec(codec, place.codec(2, "adaptive", "low"), "adaptive", "low", tiny.PARAMS)


def test_tables_that_are_older_than_their_codec(place):
    before = shared_model(study(place), "adaptive", "low").fingerprint
    train(place, 1.0)
    with pytest.raises(CheckpointError, match=STALE):
        shared_model(study(place), "adaptive", "low")
    count_again(place)
    assert shared_model(study(place), "adaptive", "low").fingerprint != before


@pytest.mark.parametrize("made_from", [{"checkpoint": "0" * 64}, {}])
def test_tables_of_equal_shape_that_are_anothers(place, made_from):
    count_again(place, made_from)
    with pytest.raises(CheckpointError, match=STALE):
        shared_model(study(place), "adaptive", "low")


def test_tables_go_round_and_a_broken_file_is_named(tmp_path):
    tables, path = model().tables, tmp_path / "tables" / "adaptive" / "low.safetensors"
    with pytest.raises(CheckpointError, match="tables/adaptive/low.safetensors: not there"):
        read_tables(path, {}, "tiny")
    write_tables(tables, path, {})
    read = read_tables(path, {}, "tiny")
    assert (read.shape, read.kind) == (tables.shape, tables.kind)
    assert np.array_equal(read.frequencies, tables.frequencies)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        read_tables(path, {}, "tiny")


@pytest.mark.parametrize("change", ["fewer rows", "zero", "sum", "kind", "shape"])
def test_frequencies_that_are_no_tables(tmp_path, change):
    tables = model("adaptive").tables
    shape, frequencies = tables.shape, tables.frequencies.astype(np.int32)
    label = {"kind": tables.kind, "shape": [shape.taps, shape.tokens, shape.segments, shape.codes]}
    if change == "fewer rows":
        frequencies = frequencies[:-1]
    elif change == "zero":
        frequencies[0, 0] = 0
    elif change == "sum":
        frequencies[0, 0] += 1
    else:
        label[change] = ["a"]
    path = tmp_path / "low.safetensors"
    save_tensors({"frequencies": torch.from_numpy(frequencies)}, path, label)
    with pytest.raises(CheckpointError, match="holds no tables; run the rate stage again"):
        read_tables(path, {}, "tiny")
