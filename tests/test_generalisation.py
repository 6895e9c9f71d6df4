"""What the figure and the table of styles say of synthetic results."""

from dataclasses import replace

import pandas as pd
import pytest
import synthetic_results
import tiny

from uoisc.base.results import LeftOut
from uoisc.base.settings import Dial
from uoisc.judge.bootstrap import summarise
from uoisc.report import figures
from uoisc.report.generalisation import beyond, by_style, generalisation
from uoisc.stages import evaluation_jobs
from uoisc.study import Point


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return summarise(synthetic_results.answers(queries=60), resamples=200, reliable=synthetic_results.RELIABLE)


def test_only_models_of_every_style_are_shown(summary):
    assert set(beyond(summary)["variant"]) == set(synthetic_results.BEYOND)
    partly = summary[~((summary["variant"] == "uoisc") & (summary["split"] == "seen@novel"))]
    assert set(beyond(partly)["variant"]) == set(synthetic_results.BEYOND) - {"uoisc"}


def test_the_table_has_a_column_for_each_style_and_ends_with_floor_and_source(summary):
    table = by_style(summary)
    assert len(table.columns) == 3 + 6
    for _, own in table.groupby("judge"):
        assert own["method"].tolist()[-2:] == ["floor: blank image", "accuracy on source images"]
    where = (summary["variant"] == "uoisc") & (summary["bits"] == 144) & (summary["metric"] == "amr_reliable")
    rows = summary[where & (summary["split"] == "unseen@novel")].set_index("judge")["value"]
    shown = table[(table["method"] == "UO-ISC (FiLM)") & (table["bits"] == "144")].set_index("judge")
    for title, judge in {"independent": "llava_independent", "LLaVA": "llava"}.items():
        assert shown.loc[title, "unseen, style nobody saw"].startswith(f"{rows[judge]:.3f} ")


def test_a_panel_for_each_rate_and_kind_of_objects(summary, tmp_path):
    figure = generalisation(summary)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 6 and titles[0].startswith("unseen objects, about 144 bits")
    figures.save(figure, "generalisation", tmp_path)


def test_one_style_is_left_out(summary):
    with pytest.raises(LeftOut, match="one style"):
        beyond(summary[~summary["split"].str.contains("@")])


def test_main_models_are_tested_in_other_styles_at_the_rates_that_params_name():
    dial = Dial(**vars(tiny.PARAMS.codec.dial) | {"budgets": (60, 280)})  # `low` takes 288 bits
    chosen = replace(tiny.PARAMS.evaluation.beyond, variants=("uoisc", "dial"))
    params = replace(
        tiny.PARAMS,
        codec=replace(tiny.PARAMS.codec, dial=dial),
        evaluation=replace(tiny.PARAMS.evaluation, beyond=chosen),
    )
    study = replace(tiny.study(), params=params)
    models = [Point("uoisc", "low", None), Point("uoisc", "high", None), Point("plain_vq", "low", None)]
    models += [Point("dial", "dial", 60), Point("dial", "dial", 280)]
    assert evaluation_jobs.tested_beyond(study, models) == [models[0], models[-1]]
