"""Settings are chosen on another category and other scenes than the test's."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from uoisc.base.errors import ConfigError
from uoisc.data.scenes import World
from uoisc.judge.evaluation import EVALUATION_STREAM
from uoisc.stages import validation
from uoisc.training import Bench


@pytest.fixture
def assembled(monkeypatch):
    """The studies that were put together, over the tiny world; parameters come from the tests' own."""
    made = []

    def assemble(profile, params, judges):
        made.append(replace(tiny.study(), params=params))
        return made[-1]

    monkeypatch.setattr(validation, "load_params", lambda profile, changes: tiny.PARAMS)
    monkeypatch.setattr(validation, "assemble", assemble)
    return made


def test_one_row_a_split_and_judge(assembled):
    table = validation.validate("small", "uoisc", "low")
    assert list(zip(table["split"], table["judge"], strict=True)) == [
        (split, judge) for split in ("seen", "unseen") for judge in tiny.study().judges
    ]
    assert (table["n"] == tiny.PARAMS.evaluation.queries).all()
    assert ((table["low"] <= table["amr"]) & (table["amr"] <= table["high"])).all()


def test_a_dial_is_asked_at_every_budget_and_under_every_ranking(assembled):
    table = validation.validate("small", "dial", "dial")
    rows = table.groupby(["bits", "ranking"]).size()
    assert set(table["ranking"]) == {"own", "clip", "oracle", "random", "no_query"}
    assert table["bits"].nunique() == len(tiny.PARAMS.codec.dial.budgets) and (rows == 4).all()


def test_the_validation_category_is_held_out_of_training_and_the_test_category_is_not_asked_about(
    assembled, monkeypatch
):
    validation.validate("small", "uoisc", "low")
    (study,) = assembled
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


def test_a_variant_that_the_profile_does_not_train_is_tried_as_well(assembled):
    assert "no_llava" not in tiny.PARAMS.variants
    table = validation.validate("small", "no_llava", "low")
    assert len(table) == 4 and table["amr"].between(0, 1).all()
