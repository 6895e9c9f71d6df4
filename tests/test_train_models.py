"""Which models are trained, in which order: checked before any work."""

from dataclasses import replace

import pytest
import tiny
import torch

from uoisc.base.config import Paths
from uoisc.base.errors import ConfigError, DataError
from uoisc.base.storage import save_tensors
from uoisc.stages import train_models


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The jobs that a call hands to processes; nothing is trained."""
    jobs = []
    place = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    monkeypatch.setattr(train_models, "paths", lambda profile: place)
    monkeypatch.setattr(train_models, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(train_models, "run_side_by_side", lambda f, given, workers: jobs.extend(given) or [])
    return jobs


@pytest.mark.parametrize("phases", [(2, 1), (1, 2), (2, 1, 2, 1)])
def test_phases_are_a_set(asked, phases):
    train_models.train_variant("tiny", "uoisc", phases)
    assert asked == [("tiny", "uoisc", "low", (1, 2))]


def test_a_variant_that_is_named_twice_is_trained_once(asked):
    train_models.train_variant("tiny", "uoisc+adaptive+uoisc")
    assert [job[1] for job in asked] == ["uoisc", "adaptive"]


@pytest.mark.parametrize(
    ("name", "phases", "steps"), [("uoisc", (1,), 3), ("dial_uniform", (1,), 4), ("dial_uniform", (1, 2), 2)]
)
def test_training_is_whole_after_the_last_phases_steps_of_which_a_dial_has_its_own(asked, name, phases, steps):
    codec = replace(tiny.PARAMS.codec, dial=replace(tiny.PARAMS.codec.dial, steps=4))
    params = replace(tiny.PARAMS, codec=codec)
    found = []
    for done in (1, 2, 3, 4):
        save_tensors({}, train_models.paths("tiny").unfinished(phases[-1], name, "low"), {"step": done})
        found.append(train_models.is_whole(params, "tiny", name, "low", phases))
    assert found == [done == steps for done in (1, 2, 3, 4)]


@pytest.mark.parametrize("phases", [(), (0,), (1, 3)])
def test_unknown_phases(asked, phases):
    with pytest.raises(ConfigError, match="there are 1 and 2"):
        train_models.train_variant("tiny", "uoisc", phases)
    with pytest.raises(ConfigError, match="there are 1 and 2"):
        train_models.in_order(phases)


@pytest.mark.parametrize("names", ["uoisc+", "+", "", "uoisc+unicorn"])
def test_empty_and_unknown_names(asked, names):
    with pytest.raises(ConfigError, match="unknown variant '(unicorn)?': choose of"):
        train_models.train_variant("tiny", names)
    assert not asked


def test_a_folder_that_takes_no_checkpoint_is_found_before_any_work(asked, tmp_path):
    (tmp_path / "codecs").write_text("a file in its place")
    with pytest.raises(DataError, match="codecs: cannot be written .File exists.; make room"):
        train_models.train_variant("tiny", "uoisc")
    assert not asked


@pytest.mark.parametrize(("name", "rate"), [("uoisc", "low"), ("adaptive", "low"), ("dial", "dial")])
def test_segments_whose_indices_are_all_alike_are_told(capsys, name, rate):
    """One code for all: of equal ones the first is nearest."""
    codec = tiny.untrained(name, rate).eval()
    with torch.no_grad():
        codec.quantizer.codebooks[0] = codec.quantizer.codebooks[0, :1]
    found = train_models.collapsed(codec, train_models.bench(tiny.study(), name))
    assert {(0, 0), (1, 0)} <= set(found) and len(found) < 2 * codec.quantizer.segments
    train_models.measure(tiny.study(), codec, name, 1)
    assert not capsys.readouterr().err
    train_models.measure(tiny.study(), codec, name, 2)
    assert "bits: nearly all vectors took one code in tap 0 segment 0" in capsys.readouterr().err
