"""What is said before a run: which work is due, and the minutes that it took where it was timed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny

from uoisc.base.errors import ResultsError
from uoisc.pipeline import plan
from uoisc.pipeline.plan import RUNS, TRAINING, Timed

PARAMS = replace(tiny.PARAMS, workers=2, variants={"uoisc": ("low", "high"), "adaptive": ("low",), "dial": ("dial",)})
COMMANDS = [
    "uoisc nbsrc",
    "uoisc run 02_foundation --profile small",
    "uoisc run 03_phase1 --profile small --variant uoisc",
    "uoisc run 04_phase2 --profile small --variant uoisc",
    "uoisc run 05_ablations --profile small --variant dial",
    "uoisc run 06_evaluation --profile small",
    "uoisc publish --profile small",
    "uoisc paper",
    "uoisc run 02_foundation --profile other",
]
NOTED = {"device": "cpu (AVX2)", "precision": "float32", "torch": "2"}
TOOK = {
    "02_foundation": {"seconds": 600.0, "models": 4, "processes": 2},
    "06_evaluation": {"seconds": 240.0, "models": 4, "processes": 2},
    TRAINING: {"seconds": 400.0, "models": 4, "processes": 2},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project's folder where `COMMANDS` are due, its models in `PARAMS`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    monkeypatch.setattr(plan, "due", lambda stages: COMMANDS)
    monkeypatch.setattr(plan, "load_params", lambda profile: PARAMS)
    monkeypatch.setattr(plan, "piece_of_training", lambda: 3.0)
    (tmp_path / "results").mkdir()
    return tmp_path


def note(place, names=tuple(TOOK)):
    folder = place / plan.EXECUTED / "small"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(NOTED | TOOK[name]))


def keep(place, piece_of_training):
    kept = {"profile": "small", **NOTED, "piece_of_training": piece_of_training, "pieces": TOOK}
    (place / "results" / plan.KEPT).write_text(json.dumps(kept))


def minutes(lines):
    return {line.split()[0]: line.split()[-1] for line in lines[1:-1] if not line.startswith(TRAINING)} | {
        TRAINING: next(line.split()[-1] for line in lines if line.startswith(TRAINING))
    }


def test_work_is_named_once_with_the_models_that_it_is_of():
    found = plan.pieces(COMMANDS, "small", PARAMS)
    assert found == {"02_foundation": 4, TRAINING: 3, "06_evaluation": 4, "publish": 4}
    assert plan.trained(COMMANDS) == {"small": ["uoisc", "dial"]}


def test_what_this_machine_took_is_expected_again(place):
    note(place)
    lines = plan.plan("small")
    # of four models in 400 s two at a time, three take two rounds of 200 s
    assert minutes(lines) == {
        "02_foundation": "10.0",
        TRAINING: "6.7",
        "06_evaluation": "4.0",
        "publish": "?",
        "all": "20.7",
    }
    assert "all but ?" in lines[-2]


def test_what_another_machine_took_is_scaled_by_a_piece_of_training(place):
    keep(place, 1.5)
    assert minutes(plan.plan("small"))["02_foundation"] == "20.0"
    note(place, ["06_evaluation"])
    lines = plan.plan("small")
    assert minutes(lines)["02_foundation"] == "20.0" and minutes(lines)["06_evaluation"] == "4.0"
    assert "times 2.00" in lines[-1] and "AVX2" in lines[-1]


def test_nothing_is_said_where_nothing_was_timed(place, monkeypatch):
    assert minutes(plan.plan("small"))["all"] == "?"
    keep(place, 1.5)
    other = replace(PARAMS, training=replace(PARAMS.training, phase1_steps=7))
    monkeypatch.setattr(plan, "load_params", lambda profile: other if profile == "mine" else PARAMS)
    monkeypatch.setattr(plan, "due", lambda stages: [line.replace("small", "mine") for line in COMMANDS])
    assert "this size" in plan.plan("mine")[-1]
    monkeypatch.setattr(plan, "due", lambda stages: [])
    assert plan.plan("small") == ["nothing is to be run: all is as code and parameters make it"]


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"profile": "small"}', '{"profile": "small", "pieces": [], "piece_of_training": 1}']
)
def test_a_broken_record_is_one_line(place, text):
    (place / "results" / plan.KEPT).write_text(text)
    with pytest.raises(ResultsError, match=plan.KEPT) as caught:
        plan.plan("small")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("piece", "models", "processes", "seconds"),
    [
        (TRAINING, 1, 8, 20.0),  # one model takes what one process needs for it
        (TRAINING, 9, 8, 40.0),
        ("06_evaluation", 4, 4, 20.0),
        ("02_foundation", 4, 8, 100.0),
        ("08_rate", 5, 8, 50.0),
    ],
)
def test_more_models_take_longer_and_more_processes_less(piece, models, processes, seconds):
    assert Timed(100.0, 10, 2).again(piece, models, processes) == pytest.approx(seconds)


def test_training_is_the_pool_and_the_stages_that_write_its_models(place):
    folder = place / plan.EXECUTED / "small"
    folder.mkdir(parents=True)
    for name, seconds, models in (("03_phase1-uoisc", 60, 2), ("05_ablations-adaptive", 40, 1)):
        (folder / f"{name}.json").write_text(json.dumps({"seconds": float(seconds), "models": models, "processes": 2}))
    (folder / "01_data.json").write_text(json.dumps({"seconds": 5}))  # of before models were noted
    assert plan.timed(folder) == {TRAINING: Timed(100.0, 3, 2)}  # each stage trained its own
    (folder / f"{TRAINING}.json").write_text(json.dumps(TOOK[TRAINING]))
    assert plan.timed(folder) == {TRAINING: Timed(500.0, 4, 2)}


def test_what_is_kept_is_read_again(place, monkeypatch):
    note(place)
    monkeypatch.setattr(plan, "paths", lambda profile: SimpleNamespace(results=place / "results"))
    assert plan.keep("small") == place / "results" / plan.KEPT
    kept = json.loads((place / "results" / plan.KEPT).read_text())
    assert kept["pieces"] == TOOK and kept["piece_of_training"] == 3.0


def test_as_many_models_again_take_as_long():
    for models, processes in ((3, 2), (1, 2), (19, 2)):
        assert Timed(600.0, models, processes).again(TRAINING, models, processes) == 600


def test_a_profile_may_have_a_hyphen():
    assert RUNS.match("uoisc run 03_phase1 --profile my-run --variant uoisc").groups() == (
        "03_phase1",
        "my-run",
        "uoisc",
    )
