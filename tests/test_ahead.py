"""Which models are trained ahead of the pipeline, and that its stages then write the same bytes."""

from dataclasses import replace

import pytest
import tiny

from uoisc.base.config import DIAL, Paths
from uoisc.pipeline import ahead, notebooks
from uoisc.stages import machine, train_models
from uoisc.study import Study

TRAINED = [
    "uoisc run 03_phase1 --profile small --variant uoisc",
    "uoisc run 05_ablations --profile small --variant adaptive",
    "uoisc run 05_ablations --profile small --variant dial",
]
EVALUATION = ["uoisc run 06_evaluation --profile small"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Tiny models, and where they are written."""
    where = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    monkeypatch.setattr(train_models, "open_study", lambda profile, judges: tiny.study())
    monkeypatch.setattr(train_models, "load_params", lambda profile: tiny.PARAMS)
    monkeypatch.setattr(train_models, "paths", lambda profile: where)
    return where


@pytest.mark.parametrize(
    ("commands", "workers", "count"),
    [(TRAINED + EVALUATION, 8, 3), (TRAINED, 1, 0), (TRAINED[:1], 8, 0), (EVALUATION, 8, 0)],
    ids=["several", "one process", "a new variant alone", "no training"],
)
def test_all_models_in_one_pool_the_longest_first(monkeypatch, tmp_path, commands, workers, count):
    jobs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "due", lambda: commands)
    for module in (ahead, notebooks):
        monkeypatch.setattr(module, "load_params", lambda profile: replace(tiny.PARAMS, workers=workers))
    monkeypatch.setattr(ahead, "run_side_by_side", lambda f, given, at_once: jobs.extend(given))
    assert ahead.train_ahead() == count
    assert jobs == [("small", "dial", DIAL), ("small", "uoisc", "low"), ("small", "adaptive", "low")][:count]
    noted = machine.records(notebooks.EXECUTED / "small")
    assert [one["models"] for one in noted.values()] == ([count] if count else [])


@pytest.mark.parametrize(("name", "rate"), [("uoisc", "low"), ("dial", DIAL)])
def test_a_stage_writes_the_same_bytes_and_trains_nothing(place, monkeypatch, name, rate):
    path = train_models.train_model("tiny", name, rate, (1, 2))
    trained = path.read_bytes()
    for phase in (1, 2):
        place.unfinished(phase, name, rate).unlink()
    path.unlink()
    kept = []
    monkeypatch.setattr(Study, "keep_source_work", lambda study: kept.append(study))
    train_models.train_state("tiny", name, rate)
    assert not path.exists() and len(kept) == 1
    whole = train_models.is_whole(tiny.PARAMS, "tiny", name, rate, (1, 2))
    assert whole is (name == "uoisc")  # the dial is still to be measured
    steps = []
    own = train_models.steps_bar
    monkeypatch.setattr(train_models, "steps_bar", lambda *each: steps.extend(each[1]) or own(*each))
    train_models.train_variant("tiny", name)
    assert path.read_bytes() == trained and steps == []
    assert not place.unfinished(2, name, rate).exists()
    assert not train_models.is_whole(tiny.PARAMS, "tiny", name, rate, (1, 2))
