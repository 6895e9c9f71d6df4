"""Every figure is drawn at print size, with legible text inside its frame, and with the same bytes again."""

from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import synthetic_results as synthetic
from matplotlib.figure import Figure
from matplotlib.text import Text

from uoisc.base import picture_data
from uoisc.base.errors import ResultsError
from uoisc.claims import contrasts, names, verdicts
from uoisc.judge import bootstrap
from uoisc.report import curves, figures, link_figures, rate_answer, seed_figures
from uoisc.report.exhibits import FIGURES

ASKED = contrasts.load_contrasts(synthetic.CLAIMS)


@cache
def a_summary() -> pd.DataFrame:
    table = synthetic.answers(queries=60)
    return bootstrap.summarise(table, synthetic.quality(table), reliable=synthetic.RELIABLE)


@pytest.fixture
def summary() -> pd.DataFrame:
    return a_summary()


def all_points() -> pd.DataFrame:
    return rate_answer.curve_points(
        a_summary(), synthetic.entropy(), synthetic.standard_codecs(60).astype({"seed": str})
    )


@cache
def some_claims() -> pd.DataFrame:
    one = contrasts.measured(ASKED, synthetic.answers(queries=60), synthetic.entropy(), synthetic.RELIABLE)
    return verdicts.decide(ASKED, synthetic.over_runs()["seeds"], one)


def an_effect() -> pd.DataFrame:
    table = synthetic.answers(queries=60)
    return bootstrap.query_effect(table, synthetic.quality(table))


SOURCES = {
    "summary": a_summary,
    "points": all_points,
    "examples": synthetic.examples,
    "training": synthetic.training,
    "codebooks": synthetic.codebooks,
    "channel": synthetic.channel,
    "entropy": synthetic.entropy,
    "seeds": lambda: synthetic.over_runs()["seeds"],
    "runs": lambda: synthetic.over_runs()["runs"],
    "claims": some_claims,
    "intent_weight": synthetic.intent_weight,
    "text_bounds": synthetic.text_bounds,
    "query_effect": an_effect,
}


@cache
def drawn(name: str) -> Figure:
    """A figure by name, from the synthetic tables; drawn once for all tests."""
    return FIGURES[name].made({source: SOURCES[source]() for source in FIGURES[name].sources})


def test_every_contrast_that_was_tested_is_drawn_whatever_it_reads():
    row = {"verdict": "met", "primary": True, "goal": 0.1, "paper": np.nan, "value": 0.2, "runs": 1}
    readings = ["-", "/", contrasts.KEPT, contrasts.GUESSED]
    claims = pd.DataFrame([row | {"id": f"S{i}", "compared": "x", "reading": r} for i, r in enumerate(readings)])
    drawn = seed_figures.contrasts_over_runs(claims, pd.DataFrame({"id": [], "value": []}))
    assert [tick.get_text() for axes in drawn.axes for tick in axes.get_yticklabels()] == [f"S{i}: x" for i in range(4)]
    assert len({axes.get_xlabel() for axes in drawn.axes}) == len(readings)


@pytest.mark.parametrize("name", FIGURES)
def test_print_size_and_legible_text(name):
    figure = drawn(name)
    width, height = figure.get_size_inches()
    assert width == figures.PAGE and height <= 9.25, "must fit an IEEE page at its own size"
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    figure.draw_without_rendering()
    frame = figure.bbox.padded(1)  # a pixel for rounding
    for part in (*figure.axes, *figure.legends, *figure.texts):
        box = part.get_tightbbox()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1, f"cut off at a side: {part}"
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1, f"cut off above or below: {part}"


def test_saved_bytes_repeat_and_hold_no_date(tmp_path, summary):
    first = figures.save(figures.amr_by_type(summary), "a", tmp_path)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9}):  # whatever style the caller has set
        second = figures.save(figures.amr_by_type(summary), "b", tmp_path)
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert b"CreationDate" not in first[0].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdf", "a.png", "b.pdf", "b.png"]


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_figures_state_n_floor_and_attribution():
    assert "n = 50" in texts(drawn("amr_by_method")), "of the types that count"
    assert "floor" in texts(drawn("amr_against_rate"))
    assert "n = 10" in texts(drawn("amr_by_type"))
    for name in ("visual_comparison", "three_questions"):
        assert "OpenMoji" in texts(drawn(name)) and "CC BY-SA 4.0" in texts(drawn(name))
    assert all(part in texts(drawn("visual_comparison")) for part in ("Es/N0 of 10 dB", "Es/N0 13.0 dB", "200 bytes"))
    assert all(part in texts(drawn("three_questions")) for part in ("40 or 8 bits", "✗ grey", "138 bits", "blue"))
    assert "n = 60" in texts(drawn("right_less_wrong"))


def test_intervals_are_drawn_where_the_table_has_them(summary):
    figure = drawn("amr_by_method")
    row = summary[(summary.variant == "adaptive") & (summary.bits == 138) & (summary.metric == "amr_reliable")]
    row = row[(row.judge == "llava") & (row.split == "unseen")].iloc[0]
    ends = [
        tuple(segment[:, 0]) for bar in figure.axes[0].containers for line in bar[2] for segment in line.get_segments()
    ]
    assert any(pair == pytest.approx((row.low, row.high)) for pair in ends)


def test_every_variant_and_control_has_a_title_and_a_line_and_stands_by_its_model():
    from uoisc.judge.evaluation import CONTROLS
    from uoisc.variants import VARIANTS

    controls = {f"{name}_{control.name}" for name in CONTROLS for control in CONTROLS[name]}
    assert {*VARIANTS} | controls | {"dial_floor4"} <= {*names.SAYS} and {*VARIANTS} > names.FAIR_CHANCE
    for name, says in names.SAYS.items():
        assert names.LABELS[name] and len(says) < 90 and not says.endswith("."), name
    order = names.in_order(["dial_oracle", "uniform", "adaptive_random", "brand_new", "dial", "adaptive"])
    assert order == ["adaptive", "adaptive_random", "uniform", "dial", "dial_oracle", "brand_new"]
    assert names.label("dial_floor4") == "dial, 4 units for all" and "dial_floor4" in names.DIALS


def test_a_floor_is_drawn_with_its_units(summary):
    shown = texts(drawn("floor_dial")).split("\n")
    assert {"1", "2"} <= set(shown) and "own" not in shown


def test_an_unknown_variant_is_its_own_label(summary):
    renamed = summary.assign(variant=summary.variant.replace("plain_vq", "brand_new"))
    assert "brand_new, 144 bits" in texts(figures.amr_by_method(renamed))


def test_missing_rows_are_a_named_error(summary):
    with pytest.raises(ResultsError, match="`uoisc` is not trained"):
        figures.amr_by_method(summary[summary.variant != "uoisc"])
    with pytest.raises(ResultsError, match=r"split unseen, metric amr_floor:"):
        figures.amr_by_type(summary[~summary.metric.str.startswith("amr_floor")])
    with pytest.raises(ResultsError, match="training.csv has none"):
        curves.training_curves(synthetic.training().assign(variant="other"))


def test_phase_2_steps_that_start_anew_are_counted_on():
    training = synthetic.training()
    later = training.phase == 2
    restarted = training.assign(step=training.step - 400 * later)
    assert curves._on_one_axis(restarted)[0].step.max() == curves._on_one_axis(training)[0].step.max() - 9


def test_examples_come_back_and_what_lacks_is_named(tmp_path):
    examples = synthetic.examples()
    picture_data.write_examples(examples, tmp_path)
    back = picture_data.read_examples(tmp_path)
    assert back.rows == examples.rows and back.scene_texts == examples.scene_texts and back.link == examples.link
    assert all(np.array_equal(back.images[p], examples.images[p]) for p in picture_data.PANELS)
    for read, made in ((back.token_bits, examples.token_bits), (back.drawn, examples.drawn)):
        assert read.keys() == made.keys() and all(np.array_equal(read[name], made[name]) for name in made)
    del examples.rows[1]["panels"]["jpeg2000"]
    picture_data.write_examples(
        replace(examples, images={p: examples.images[p] for p in picture_data.PANELS[1:]}), tmp_path
    )
    with pytest.raises(ResultsError, match="examples.npz lacks source, jpeg2000 of row 1"):
        picture_data.read_examples(tmp_path)


def test_the_link_figure_has_a_line_a_method_and_its_loosest_rate():
    figure = drawn("amr_against_snr")
    assert "n = 300" in texts(figure) and "floor" in texts(figure)
    assert "UO-ISC (FiLM), 432 bits" in texts(figure) and "144 bits" not in texts(figure)
    uncoded = figure.axes[0]
    curves = [line for line in uncoded.lines if len(line.get_xdata()) == 3 and line.get_marker() in ("None", "")]
    assert [list(line.get_ydata()) for line in curves if line.get_color() == figures.BLACK] == [
        pytest.approx([0.2, 0.5, 0.8])
    ]


def test_half_of_what_is_left_is_found_between_two_points():
    halves = link_figures.half_points(synthetic.channel())
    assert halves.loc[("uoisc", 432, "uncoded")].tolist() == pytest.approx([10, 10])
    assert halves.loc[("uoisc", 432, "coded")].tolist() == pytest.approx([0.5, 5])
    dead = synthetic.channel().assign(low=lambda rows: rows["low"].where(rows["metric"] != "amr", 0.1))
    assert link_figures.half_points(dead).isna().all(axis=None), "no more than the floor without errors"
    unsure = synthetic.channel().assign(high=lambda rows: rows["high"].where(rows["metric"] != "amr_floor", 1.0))
    assert link_figures.half_points(unsure).isna().all(axis=None), "nor than its interval"
    line = pd.DataFrame({"es_n0_db": [10.0, 0.0], "value": [0.9, 0.3]})
    assert link_figures.half_kept(line, 0.2, 1.0) == pytest.approx(5.0)
    assert link_figures.half_kept(line, 0.0, 0.4) == -np.inf and link_figures.half_kept(line, 0.2, 2.0) == np.inf


def test_a_panel_of_the_link_figure_ends_where_nothing_changes():
    rows = synthetic.channel()[lambda t: (t["metric"] == "amr") & (t["judge"] == "llava") & (t["split"] == "seen")]
    coded = rows[(rows["link"] == "coded") & (rows["fading"] == "awgn") & (rows["bits"] != 144)]
    assert set(link_figures.until_flat(coded)["es_n0_db"]) == {0, 1}
    assert link_figures.until_flat(coded[coded["es_n0_db"] > 0]).equals(coded[coded["es_n0_db"] > 0])


def test_a_channel_table_without_the_judge_is_a_named_error():
    with pytest.raises(ResultsError, match="channel.csv has no rows with judge llava_independent, split unseen"):
        link_figures.amr_against_snr(synthetic.channel()[lambda rows: rows["judge"] == "llava"])


def test_a_strip_marks_which_answers_match():
    picture = synthetic.examples().scene
    strip = picture_data.Strip(
        "where is the cup", "place", "left", picture, (5.0, 20.0), {"uoisc": [picture, picture]},
        {"uoisc": [("right", False), ("left", True)]},
    )  # fmt: skip
    shown = texts(link_figures.picture_strip(strip))
    assert "✗ right" in shown and "✓ left" in shown and "20 dB" in shown and "CC BY-SA 4.0" in shown
