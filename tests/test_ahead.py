"""Which models are trained ahead of the pipeline, and that its stages then write the same bytes."""

import subprocess
from dataclasses import replace

import pytest
import tiny

from uoisc.base.config import DIAL, Paths
from uoisc.stages import ahead, train_models

SAID = """Stage 'nbsrc' didn't change, skipping
Running stage 'phase1@small':
> uoisc run 03_phase1 --profile small --variant uoisc

Running stage 'ablations@small-adaptive':
> uoisc run 05_ablations --profile small --variant adaptive

Running stage 'dials@small':
> uoisc run 05_ablations --profile small --variant dial+dial_uniform
"""
EVALUATION = "Running stage 'evaluation':\n> uoisc run 06_evaluation --profile small\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Tiny models, and where they are written."""
    where = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    monkeypatch.setattr(train_models, "open_study", lambda profile, judges: tiny.study())
    monkeypatch.setattr(train_models, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(train_models, "paths", lambda profile: where)
    return where


def test_what_dvc_is_about_to_train_is_read_off_what_it_says():
    assert ahead.due(SAID + EVALUATION) == {"small": ["uoisc", "adaptive", "dial", "dial_uniform"]}
    assert ahead.due(EVALUATION) == {}


@pytest.mark.parametrize(("said", "workers", "count"), [(SAID, 8, 3), (SAID, 1, 0), (EVALUATION, 8, 0)])
def test_all_models_in_one_pool_the_longest_first(monkeypatch, tmp_path, said, workers, count):
    jobs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "load_params", lambda profile: replace(tiny.PARAMS, workers=workers))
    monkeypatch.setattr(ahead, "run_side_by_side", lambda f, given, at_once: jobs.extend(given))
    said = said.replace("dial+dial_uniform", "dial")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, said, ""))
    assert ahead.train_ahead() == count
    assert jobs == [("small", "dial", DIAL), ("small", "uoisc", "low"), ("small", "adaptive", "low")][:count]


def test_one_new_variant_is_left_to_its_own_stage(monkeypatch):
    (one,) = [line for line in SAID.splitlines() if "adaptive" in line and line.startswith(">")]
    monkeypatch.setattr(ahead, "load_params", lambda profile: replace(tiny.PARAMS, workers=8))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, one, ""))
    assert ahead.train_ahead() == 0


@pytest.mark.parametrize(("name", "rate"), [("uoisc", "low"), ("dial", DIAL)])
def test_a_stage_writes_the_same_bytes_and_trains_nothing(place, monkeypatch, name, rate):
    path = train_models.train_model("tiny", name, rate, (1, 2))
    trained = path.read_bytes()
    for phase in (1, 2):
        place.unfinished(phase, name, rate).unlink()
    path.unlink()
    train_models.train_state("tiny", name, rate)
    assert not path.exists()
    whole = train_models.is_whole(tiny.PARAMS, "tiny", name, rate, (1, 2))
    assert whole is (name == "uoisc")  # the dial is still to be measured
    steps = []
    own = train_models.steps_bar
    monkeypatch.setattr(train_models, "steps_bar", lambda *each: steps.extend(each[1]) or own(*each))
    train_models.train_variant("tiny", name)
    assert path.read_bytes() == trained and steps == []
    assert not place.unfinished(2, name, rate).exists()
    assert not train_models.is_whole(tiny.PARAMS, "tiny", name, rate, (1, 2))
