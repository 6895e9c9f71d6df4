"""The figure of several training seeds: how far each goal is reached, seed by seed and in the mean."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.settings import JUDGES
from uoisc.report.figures import BLACK, JUDGE_LOOKS, PAGE, judge_keys, label, styled, with_interval
from uoisc.report.seeds import POOLED

SHIFT = 0.17  # the judges' rows stand this far above and below a goal's line
TITLES = {"absolute": "difference of AMR", "relative": "ratio of AMR less one"}


@styled
def goals_over_seeds(table: pd.DataFrame) -> Figure:
    """A row per goal: each seed's value (small), the mean with its interval over seeds, and the goal itself (a tick).

    Args:
        table: seeds.csv.
    """
    readings = [reading for reading in TITLES if reading in set(table["reading"])]
    rows = [table[table["reading"] == reading]["id"].nunique() for reading in readings]
    figure = Figure(figsize=(PAGE, 1.0 + 0.24 * sum(rows)), layout="constrained")
    panels = figure.subplots(len(readings), 1, height_ratios=rows, squeeze=False)[:, 0]
    for axes, reading in zip(panels, readings, strict=True):
        goal_panel(axes, table[table["reading"] == reading])
        axes.set_xlabel(f"{TITLES[reading]}, unseen objects (95 % interval over seeds)")
    keys = [*judge_keys(), Line2D([], [], color=BLACK, marker="|", linestyle="", markeredgewidth=1.2, label="goal")]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    return figure


def goal_panel(axes: Axes, table: pd.DataFrame) -> None:
    """The goals of one reading, one below the other."""
    names = list(dict.fromkeys(table["id"]))
    for judge, shift in zip(JUDGES, (-SHIFT, SHIFT), strict=True):
        colour, marker = JUDGE_LOOKS[judge]
        for _, row in table[table["judge"] == judge].iterrows():
            place = names.index(row["id"]) + shift
            if row["seed"] == POOLED:
                with_interval(axes, place, row, JUDGE_LOOKS[judge], sideways=True)
            else:
                axes.plot(row["value"], place, marker, color=colour, markersize=2.2, markerfacecolor="white")
    first = table.drop_duplicates("id")
    axes.plot(first["goal"], range(len(names)), "|", color=BLACK, markersize=9, markeredgewidth=1.2)
    sign = {"absolute": "−", "relative": "/"}
    compared = [
        f"{label(row.variant)} {row.bits:g} {sign[row.reading]} {label(row.reference)} {row.reference_bits:g}"
        for row in first.itertuples()
    ]
    axes.set_yticks(range(len(names)), compared)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color=BLACK, linewidth=0.6)
    axes.grid(axis="x")
