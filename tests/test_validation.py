"""Settings are chosen on another category and other scenes than the test's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny

from uoisc.base.errors import ConfigError, ResultsError
from uoisc.data.scenes import World
from uoisc.judge import evaluation
from uoisc.judge.evaluation import EVALUATION_STREAM
from uoisc.stages import validation
from uoisc.training import Bench


def assembling(monkeypatch) -> list:
    """The studies that are put together, over the tiny world; parameters come from the tests' own."""
    made = []

    def assemble(profile, params, judges):
        made.append(replace(tiny.study(), params=params))
        return made[-1]

    monkeypatch.setattr(validation, "load_params", lambda profile, changes: tiny.PARAMS)
    monkeypatch.setattr(validation, "assemble", assemble)
    return made


@pytest.fixture
def assembled(monkeypatch):
    return assembling(monkeypatch)


@pytest.fixture(scope="module")
def tables() -> dict:
    """What some variants give, trained once for all tests."""
    asked = {"uoisc": "low", "no_llava": "low", "no_alignment": "low", "dial": "dial"}
    with pytest.MonkeyPatch.context() as patch:
        assembling(patch)
        return {name: validation.validate("small", name, rate) for name, rate in asked.items()}


def test_one_row_a_split_and_judge(tables):
    table = tables["uoisc"]
    assert list(zip(table["split"], table["judge"], strict=True)) == [
        (split, judge) for split in ("seen", "unseen") for judge in tiny.study().judges
    ]
    assert (table["n"] == tiny.PARAMS.evaluation.queries).all()
    assert ((table["low"] <= table["amr"]) & (table["amr"] <= table["high"])).all()


def test_a_dial_is_asked_at_every_budget_and_under_every_ranking(tables):
    table = tables["dial"]
    rows = table.groupby(["bits", "ranking"]).size()
    assert set(table["ranking"]) == {"own", "clip", "oracle", "random", "no_query"}
    assert table["bits"].nunique() == len(tiny.PARAMS.codec.dial.budgets) and (rows == 4).all()


def test_the_validation_category_is_held_out_of_training_and_the_test_category_is_not_asked_about(
    assembled, monkeypatch
):
    sets, ask_split = [], World.ask_split
    monkeypatch.setattr(World, "ask_split", lambda *given: sets.append(given[1:]) or ask_split(*given))
    validation.validate("small", "uoisc", "low")
    n, stream = tiny.PARAMS.evaluation.queries, [tiny.PARAMS.seed, validation.VALIDATION_STREAM]
    assert sets == [(split, "food", n, stream) for split in ("seen", "unseen")]
    study = validation._study("small", "uoisc", "low", ())
    assert len(assembled) == 2 and assembled[0].params.data.held_out == "animal", "the data stage's own"
    params, world = study.params, study.source
    assert (params.data.held_out, params.data.validation) == ("food", "animal")
    bench = Bench(params, world, study.clip, study.judges["llava"])
    foods = set(np.flatnonzero(world.pool(only="food")))
    shown, batches = [], bench.batches(1)
    monkeypatch.setattr(
        world, "render", lambda scenes: shown.append(scenes) or World.render(world, scenes), raising=False
    )
    for _ in range(20):
        next(batches)
    assert len(shown) == 20 and not any(foods & set(scenes.objects.ravel()) for scenes in shown)
    asked = world.ask_split("unseen", params.data.held_out, 40, [0, validation.VALIDATION_STREAM])
    members = {world.names[i] for i in foods} | {"food"}
    assert {query.object for query in asked.queries} <= members
    test = world.ask_split("unseen", params.data.held_out, 40, [0, EVALUATION_STREAM])
    assert not np.array_equal(asked.scenes.objects, test.scenes.objects)


@pytest.mark.parametrize("change", ["data.objects=40", "foundation.llava.steps=5", "workers=1"])
def test_data_and_stand_ins_stay(change):
    with pytest.raises(ConfigError, match="data and stand-ins are made already"):
        validation.validate("small", "uoisc", "low", (change,))


@pytest.mark.parametrize(
    ("name", "rate", "says"),
    [
        ("uoics", "low", "unknown variant 'uoics': .*did you mean uoisc"),
        ("uoisc", "lo", "uoisc has no rate 'lo': .*did you mean low"),
        ("dial", "low", "dial has no rate 'low': choose of dial"),
    ],
)
def test_an_unknown_variant_or_rate_is_told_before_any_work(assembled, name, rate, says):
    with pytest.raises(ConfigError, match=says):
        validation.validate("small", name, rate)
    assert not assembled


def test_a_variant_that_the_profile_does_not_train_is_tried_as_well(tables):
    assert "no_llava" not in tiny.PARAMS.variants
    table = tables["no_llava"]
    assert len(table) == 4 and table["amr"].between(0, 1).all()


def test_a_codec_that_reads_the_query_is_asked_with_another_one_too(tables):
    assert all(tables[name]["right_less_wrong"].notna().all() for name in ("uoisc", "no_llava"))
    assert tables["no_alignment"]["right_less_wrong"].isna().all()
    dial = tables["dial"]
    assert (dial["right_less_wrong"].isna() == (dial["ranking"] != "own")).all()


def test_what_is_made_for_another_query_counts_against_what_is_made_for_its_own(monkeypatch):
    """Where the other query was asked: three of four match, and one of three."""
    heard = pd.DataFrame({"judge": "llava", "match": [True, True, True, False], "match_blank": [False] * 3 + [True]})
    heard["match_wrong_query"] = pd.array([False, True, False, None], dtype="boolean")
    monkeypatch.setattr(evaluation, "hear", lambda *_: (heard, heard, []))
    asked = evaluation.evaluation_questions(tiny.study(), "seen")
    (row,) = validation._match_rates(tiny.study(), tiny.codec("uoisc"), asked, None, heard)
    assert row["right_less_wrong"] == pytest.approx(3 / 4 - 1 / 3)
    assert (row["value"], row["floor"], row["judge"], row["split"]) == (0.75, 0.25, "llava", "seen")


def test_trials_are_kept_once_each_and_asked_for_by_what_they_changed(assembled, tmp_path):
    log = tmp_path / "new" / "trials.csv"
    assert validation.trials(log).empty
    changes = ("training.log_every=2", "seed=0")
    tables = [validation.validate("small", "uoisc", "low", own, log) for own in ((), changes, ())]
    kept = validation.trials(log)
    assert list(kept.columns) == [*validation.TRIAL, *validation.COLUMNS] and len(kept) == 2 * len(tables[0])
    assert set(kept["changes"]) == {"", "seed=0 training.log_every=2"}
    np.testing.assert_allclose(kept["amr"][: len(tables[0])], tables[0]["amr"], rtol=1e-5)
    before = log.read_bytes()
    validation.validate("small", "uoisc", "low", changes, log)
    assert log.read_bytes() == before and [file.name for file in log.parent.iterdir()] == ["trials.csv"]
    made = len(assembled)
    log.write_text("variant,rate\nuoisc,low\n")
    with pytest.raises(ResultsError, match=r"trials.csv lacks the column profile, changes.*restore it with git"):
        validation.validate("small", "uoisc", "low", (), log)
    assert len(assembled) == made, "before any work"
