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

from uoisc import bootstrap, curves, diagram, figures, pictures
from uoisc.errors import ResultsError
from uoisc.paper import FIGURES


@cache
def a_summary() -> pd.DataFrame:
    table = synthetic.answers(queries=60)
    return bootstrap.summarise(table, synthetic.quality(table))


@pytest.fixture
def summary() -> pd.DataFrame:
    return a_summary()


@cache
def drawn(name: str) -> Figure:
    """A figure by name, from the synthetic tables; drawn once for all tests."""
    return {
        "system_diagram": lambda: diagram.system_diagram(),
        "visual_comparison": lambda: pictures.visual_comparison(synthetic.examples()),
        "amr_by_method": lambda: figures.amr_by_method(a_summary()),
        "amr_against_rate": lambda: figures.amr_against_rate(a_summary()),
        "amr_by_type": lambda: figures.amr_by_type(a_summary()),
        "relevance_maps": lambda: pictures.relevance_maps(synthetic.examples()),
        "training_curves": lambda: curves.training_curves(synthetic.training()),
        "codebook_use": lambda: curves.codebook_use(synthetic.codebooks()),
    }[name]()


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
    assert "n = 60" in texts(drawn("amr_by_method"))
    assert "floor" in texts(drawn("amr_against_rate"))
    assert "n = 12" in texts(drawn("amr_by_type"))
    for name in ("visual_comparison", "relevance_maps"):
        assert "OpenMoji" in texts(drawn(name)) and "CC BY-SA 4.0" in texts(drawn(name))


def test_intervals_are_drawn_where_the_table_has_them(summary):
    figure = drawn("amr_by_method")
    row = summary[(summary.variant == "adaptive") & (summary.bits == 138) & (summary.metric == "amr")]
    row = row[(row.judge == "llava") & (row.split == "unseen")].iloc[0]
    ends = [
        tuple(segment[:, 0]) for bar in figure.axes[0].containers for line in bar[2] for segment in line.get_segments()
    ]
    assert any(pair == pytest.approx((row.low, row.high)) for pair in ends)


def test_an_unknown_variant_is_its_own_label(summary):
    renamed = summary.assign(variant=summary.variant.replace("plain_vq", "brand_new"))
    assert "brand_new, 144 bits" in texts(figures.amr_by_method(renamed))


def test_missing_rows_are_a_named_error(summary):
    with pytest.raises(ResultsError, match="variant uoisc, metric amr"):
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
    pictures.write_examples(examples, tmp_path)
    back = pictures.read_examples(tmp_path)
    assert back.rows == examples.rows and back.maps == examples.maps
    assert all(np.array_equal(back.images[p], examples.images[p]) for p in pictures.PANELS)
    assert np.array_equal(back.selected, examples.selected)
    del examples.rows[1]["panels"]["jpeg2000"]
    pictures.write_examples(replace(examples, images={p: examples.images[p] for p in pictures.PANELS[1:]}), tmp_path)
    with pytest.raises(ResultsError, match="examples.npz lacks source, jpeg2000 of row 1"):
        pictures.read_examples(tmp_path)
