"""The figure of several training seeds: how far each goal is reached, seed by seed and in the mean."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.report.figures import BESIDE, BLACK, JUDGE_LOOKS, judge_keys, legend_below, page, styled, with_interval
from uoisc.report.names import label
from uoisc.report.seeds import POOLED

TITLES = {"absolute": "difference of AMR", "relative": "ratio of AMR less one"}
SIGNS = {"absolute": "−", "relative": "/"}


@styled
def goals_over_seeds(table: pd.DataFrame) -> Figure:
    """A row per goal: each seed's value (small), the mean with its interval over seeds, and the goal itself (a tick).

    Args: table: seeds.csv.
    """
    readings = {reading: rows for reading in TITLES if len(rows := table[table["reading"] == reading])}
    goals = [rows["id"].nunique() for rows in readings.values()]
    figure, panels = page(1.0 + 0.24 * sum(goals), len(readings), 1, height_ratios=goals)
    for (axes,), (reading, rows) in zip(panels, readings.items(), strict=True):
        goals = rows.drop_duplicates("id")
        places = {name: place for place, name in enumerate(goals["id"])}
        for judge, shift in BESIDE.items():
            colour, marker = JUDGE_LOOKS[judge]
            for _, row in rows[rows["judge"] == judge].iterrows():
                place = places[row["id"]] + shift
                if row["seed"] == POOLED:
                    with_interval(axes, place, row, JUDGE_LOOKS[judge], sideways=True)
                else:
                    axes.plot(row["value"], place, marker, color=colour, markersize=2.2, markerfacecolor="white")
        axes.plot(goals["goal"], range(len(places)), "|", color=BLACK, markersize=9, markeredgewidth=1.2)
        compared = [
            f"{label(row.variant)} {row.bits:g} {SIGNS[reading]} {label(row.reference)} {row.reference_bits:g}"
            for row in goals.itertuples()
        ]
        axes.set_yticks(range(len(places)), compared)
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.axvline(0, color=BLACK, linewidth=0.6)
        axes.grid(axis="x")
        axes.set_xlabel(f"{TITLES[reading]}, unseen objects (95 % interval over seeds)")
    keys = [*judge_keys(), Line2D([], [], color=BLACK, marker="|", linestyle="", markeredgewidth=1.2, label="goal")]
    legend_below(figure, keys, columns=len(keys), floor=False)
    return figure
