"""Figures with a point per run: every contrast against what was asked of it, and answers against payload bytes."""

from itertools import chain

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.results import LeftOut
from uoisc.base.settings import JUDGES
from uoisc.claims.contrasts import GUESSED, KEPT
from uoisc.claims.names import in_order
from uoisc.claims.verdicts import DESCRIPTIVE, NOT_MEASURED
from uoisc.judge.bootstrap import HEADLINE
from uoisc.report import figures
from uoisc.report.figures import BLACK, BLUE, GREY, RED, legend_below, page, rows_of, styled, with_interval
from uoisc.report.query_figures import TEXTS
from uoisc.report.rate_answer import TICKS, payload_bytes

HOLLOW = dict(markersize=2.2, markerfacecolor="white")
READINGS = {
    "-": "difference of AMR",
    "/": "ratio of AMR less one",
    KEPT: "difference of the share kept",
    GUESSED: "difference of the share kept above guessing",
}


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
            axes.plot(each, [place] * len(each), "o", color=BLUE, **HOLLOW)
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
    looks = {f"mean of {asked['runs'].max()} fresh runs (95 % interval)": ("o", BLUE), "published run": ("x", GREY)}
    looks |= {"paper": ("|", RED), "goal": ("|", BLACK)}
    keys = [Line2D([], [], color=c, marker=m, linestyle="", label=name) for name, (m, c) in looks.items()]
    legend_below(figure, keys, columns=len(keys), floor=False)
    return figure


@styled
def amr_against_rate(summary: pd.DataFrame, entropy: pd.DataFrame, runs: pd.DataFrame, bounds: pd.DataFrame) -> Figure:
    """AMR against payload bytes for the main variants and the dial, where at two rates or more, one panel per split and
    judge; a hollow point for each fresh run of `runs` (runs.csv); what text would do for the same questions."""
    several = rows_of(summary, metric=HEADLINE).groupby("variant")["bits"].nunique()
    if not (variants := [v for v in (*figures.MAIN, "dial") if several.get(v, 0) > 1]):
        raise LeftOut("no main variant is trained at two rates")
    text = bounds[bounds["method"].isin(TEXTS)].assign(variant=bounds["method"], bits=bounds["bits"] / 8)
    own = summary[summary["variant"].isin(variants)]
    rows = pd.concat([own.assign(bits=payload_bytes(own, entropy)).dropna(subset="bits"), text])
    cells = [[(judge, split) for split in figures.splits_of(summary)] for judge in JUDGES]
    ticks = [tick for tick in TICKS if rows["bits"].min() / 2 < tick < 2 * rows["bits"].max()]
    one = Line2D([], [], color=BLACK, marker="o", linestyle="", label="a fresh run of the method", **HOLLOW)
    shown = [*variants, *in_order(text["variant"])]
    across = "payload bytes per image (mean)"
    keys = [one][: len(runs)]
    figure = figures.rate_curves(rows, shown, cells, ticks, 3.4, across, keys)
    for axes, (judge, split) in zip(figure.axes, chain(*cells), strict=True):
        for variant in variants:
            own = runs[(runs["variant"] == variant) & (runs["judge"] == judge) & (runs["split"] == split)]
            colour, marker = figures.look_of(variant)
            axes.plot(own["payload_bits"] / 8, own["amr"], marker, color=colour, **HOLLOW)
    return figure
