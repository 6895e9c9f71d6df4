"""Figures with a point per run: every contrast against what was asked of it, and answers against payload bytes."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.results import LeftOut
from uoisc.base.settings import JUDGES
from uoisc.claims.contrasts import KEPT
from uoisc.claims.names import label
from uoisc.claims.verdicts import DESCRIPTIVE, NOT_MEASURED
from uoisc.judge.bootstrap import HEADLINE
from uoisc.report import figures
from uoisc.report.figures import BLACK, BLUE, GREY, RED, legend_below, page, rows_of, styled, with_interval
from uoisc.report.rate_answer import payload_bytes

READINGS = {"-": "difference of AMR", "/": "ratio of AMR less one", KEPT: "difference of the share kept"}


@styled
def contrasts_over_runs(claims: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """A row per contrast that was tested: the value of the published run (a cross) and of each fresh one (small), their
    mean with its interval, and what was asked: the paper's number, or the goal (ticks).

    Args: claims: of `verdicts.decide`. seeds: seeds.csv.
    """
    asked = claims[~claims["verdict"].isin([NOT_MEASURED, DESCRIPTIVE]) & (claims["primary"] | claims["goal"].notna())]
    groups = [own for reading in READINGS if len(own := asked[asked["reading"] == reading])]
    if not groups:
        raise LeftOut("no contrast speaks of this profile's models")
    figure, panels = page(1.0 + 0.16 * len(asked), len(groups), 1, height_ratios=[len(own) for own in groups])
    for (axes,), own in zip(panels, groups, strict=True):
        for place, (_, row) in enumerate(own.iterrows()):
            each = seeds.loc[seeds["id"] == row["id"], "value"]
            axes.plot(each, [place] * len(each), "o", color=BLUE, markersize=2.2, markerfacecolor="white")
            axes.plot(row["value"], place, "x", color=GREY)
            if row["runs"] > 1:
                mean = row.rename({"value": "one", "mean": "value"})
                with_interval(axes, place - 0.2, mean, (BLUE, "o"), sideways=True)
            for name, colour in (("paper", RED), ("goal", BLACK)):
                axes.plot(row[name], place, "|", color=colour, markersize=9, markeredgewidth=1.2)
        axes.set_yticks(range(len(own)), [f"{row.id}: {row.compared.removeprefix('AMR ')}" for row in own.itertuples()])
        axes.set_ylim(len(own) - 0.5, -0.5)
        axes.axvline(0, color=BLACK, linewidth=0.6)
        axes.grid(axis="x")
        axes.set_xlabel(READINGS[own["reading"].iloc[0]])
    looks = {"mean of fresh runs (95 % interval)": ("o", BLUE), "published run": ("x", GREY)}
    looks |= {"paper": ("|", RED), "goal": ("|", BLACK)}
    keys = [Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, (m, c) in looks.items()]
    legend_below(figure, keys, columns=len(keys), floor=False)
    return figure


@styled
def amr_against_rate(summary: pd.DataFrame, entropy: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """AMR against payload bytes for the main variants and the dial, where at two rates or more, one panel per split and
    judge; a hollow point for each fresh run of `runs` (runs.csv)."""
    rows = rows_of(summary, metric=HEADLINE)
    several = rows.groupby("variant")["bits"].nunique()
    if not (variants := [v for v in (*figures.MAIN, "dial") if several.get(v, 0) > 1]):
        raise LeftOut("no main variant is trained at two rates")
    rows = rows.assign(bytes=payload_bytes(rows, entropy)).dropna(subset="bytes")
    splits, labels = figures.splits_of(summary), ("payload bytes per image (mean)", figures.AMR)
    figure, grid = page(3.2, len(JUDGES), len(splits), *labels, sharex=True, sharey=True)
    sizes = rows.loc[rows["variant"].isin(variants), "bytes"]
    ticks = [float(f"{size:.2g}") for size in np.geomspace(sizes.min(), sizes.max(), 5)]
    for axes, (judge, split) in zip(grid.flat, [(j, s) for j in JUDGES for s in splits], strict=True):
        panel = rows_of(rows, judge=judge, split=split)
        for variant in variants:
            line = panel[panel["variant"] == variant].sort_values("bytes")
            figures.method_curve(axes, line["bytes"], line, variant)
            own = runs[(runs["variant"] == variant) & (runs["judge"] == judge) & (runs["split"] == split)]
            colour, marker = figures.look_of(variant)
            look = dict(color=colour, markersize=2.2, markerfacecolor="white")
            axes.plot(own["payload_bits"] / 8, own["amr"], marker, **look)
        floor = rows_of(summary, metric=figures.FLOOR_OF, judge=judge, split=split)["value"].mean()
        figures.finish(axes, floor, f"{label(split)}, {label(judge)} ({figures.count_of(panel)})", ticks)
    legend_below(figure, [figures.variant_key(v) for v in variants])
    return figure
