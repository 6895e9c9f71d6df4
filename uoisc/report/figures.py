"""Figures about the answer match rate (AMR), the house's plotting style, and how a figure is saved.

Every figure is a pure function of tables: no state, no date, no random number, so the bytes of its PDF and PNG depend
on the tables alone. Sizes are print sizes of an IEEE page, no text is below 7 pt, colours are Okabe and Ito's
(colour-blind safe) and never the only mark of a series. `exhibits.py` lists all figures and says how to add one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.errors import ResultsError
from uoisc.base.folders import written_aside
from uoisc.base.results import SEEN, UNSEEN
from uoisc.base.settings import JUDGES
from uoisc.judge.bootstrap import nearest_bits
from uoisc.report.names import in_order, label

PAGE = 7.16  # inches, the width of an IEEE page's text
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
RED = "#D55E00"
PINK = "#CC79A7"
SKY = "#56B4E9"
BLACK = "#000000"
BROWN = "#8C6D31"
GREY = "#777777"
SHADES = (BLACK, BLUE, RED, GREEN, GREY)  # of lines that are no methods
LOOKS = {  # one colour and marker per method, in every figure
    "uoisc": (BLUE, "o"),
    "no_alignment": (RED, "s"),
    "query_aware": (GREEN, "^"),
    "adaptive": (BLACK, "D"),
    "uniform": (ORANGE, "v"),
    "no_llava": (SKY, "P"),
    "no_alignment_no_llava": (PINK, "X"),
    "plain_vq": (BROWN, "h"),
    "dial": ("#5B2A86", "D"),
    "dial_oracle": (GREY, "*"),
    "dial_uniform": (ORANGE, "v"),
    "dial_scratch_text": (GREEN, "<"),
    "dial_no_query": (PINK, "X"),
    "dial_random": (SKY, "P"),
    "jpeg": (GREY, "v"),
    "jpeg2000": (BROWN, "h"),
    "jpeg2000_protected": (PINK, "*"),
    "webp": (SKY, "P"),
    "jpeg_xl": (PINK, "d"),
    "avif": (ORANGE, "X"),
    "avif_down2": (ORANGE, "<"),
    "avif_down3": (ORANGE, ">"),
    "avif_down4": (ORANGE, "p"),
    "avif_crop": (ORANGE, "*"),
}
JUDGE_LOOKS = {JUDGES[0]: (SKY, "s"), JUDGES[1]: (BLUE, "o")}
SHIFT = 1.015  # series stand this factor of the rate apart, so that their intervals do not cover each other
MAIN = ("uoisc", "no_alignment", "query_aware", "adaptive", "uniform")
SIZES = {  # points
    8: ["axes.titlesize"],
    7.5: ["font.size", "axes.labelsize"],
    7: ["xtick.labelsize", "ytick.labelsize", "legend.fontsize"],
    4: ["lines.markersize"],
    2.5: ["xtick.major.size", "ytick.major.size"],
    1.1: ["lines.linewidth"],
    0.6: ["axes.linewidth", "xtick.major.width", "ytick.major.width"],
    0.4: ["grid.linewidth"],
}
LOOK = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "grid.color": "#DDDDDD",
    "pdf.fonttype": 42,
    "svg.hashsalt": "uoisc",
    "savefig.dpi": 300,
    "figure.facecolor": "white",
}
OFF = dict.fromkeys(["legend.frameon", "axes.spines.top", "axes.spines.right"], False)
STYLE = sns.axes_style("ticks") | LOOK | OFF | {key: size for size, keys in SIZES.items() for key in keys}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Runs a drawing function under the house style, whatever style the caller has set."""

    @functools.wraps(draw)
    def inside(*arguments: object, **options: object) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*arguments, **options)

    return inside


def save(figure: Figure, name: str, folder: Path) -> tuple[Path, Path]:
    """Writes `name.pdf` and `name.png` (300 dpi), atomically and without dates; returns the paths."""
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    paths = tuple(Path(folder) / f"{name}.{kind}" for kind in metadata)
    with mpl.rc_context(STYLE):
        for path, (kind, fixed) in zip(paths, metadata.items(), strict=True):
            with written_aside(path) as aside:
                figure.savefig(aside, format=kind, metadata=fixed)
    return paths


def rows_of(summary: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows of a summary that equal the given values. Raises: ResultsError when there are none."""
    kept = summary
    for column, value in where.items():
        kept = kept[kept[column] == value]
    if kept.empty:
        asked = ", ".join(f"{column} {value}" for column, value in where.items())
        raise ResultsError(f"summary.csv has no rows with {asked}; run `make repro` again (stage evaluation)")
    return kept


def rate_points(summary: pd.DataFrame, variant: str = "uoisc") -> list[float]:
    """The rates of a variant in bits per image, tightest first."""
    return sorted(rows_of(summary, variant=variant, metric="amr")["bits"].unique())


def at_rate(summary: pd.DataFrame, bits: float) -> pd.DataFrame:
    """For each variant its rows at the rate nearest to `bits`; a variant without a near rate drops out."""
    nearest = {v: nearest_bits(bits, rows["bits"].unique()) for v, rows in summary.groupby("variant")}
    return summary[summary["bits"] == summary["variant"].map(nearest)]


def with_interval(axes: Axes, across: float, row: pd.Series, look: tuple[str, str], sideways: bool = False) -> None:
    """A value with its 95 % interval; `sideways` puts the value on the horizontal axis."""
    spread = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
    colour, marker = look
    place = ([row["value"]], [across]) if sideways else ([across], [row["value"]])
    style = dict(color=colour, marker=marker, markersize=3.6, elinewidth=1, capsize=1.6, linestyle="")
    axes.errorbar(*place, **{"xerr" if sideways else "yerr": spread}, **style)


def count_of(rows: pd.DataFrame) -> str:
    """The number of queries behind some rows: `n = 1000`, or a range where it differs."""
    counts = [int(n) for n in sorted(rows["n"].unique())]
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def variant_key(variant: str, line: str = "-", more: str = "") -> Line2D:
    """A legend's entry for a variant."""
    colour, marker = LOOKS.get(variant, (GREY, "."))
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label(variant) + more)


def judge_keys() -> list[Line2D]:
    """A legend's entries for the judges."""
    return [Line2D([], [], color=c, marker=m, label=label(judge)) for judge, (c, m) in JUDGE_LOOKS.items()]


def legend_below(figure: Figure, handles: list[Artist], floor: str = ":", columns: int = 3) -> None:
    """A legend under the panels, so many entries per row, the floor last; `floor`: its line style or marker."""
    mark = {"linestyle": floor} if floor == ":" else {"marker": floor, "linestyle": "", "markeredgewidth": 1}
    handles = [*handles, Line2D([], [], color=BLACK, label="floor: blank image", **mark)]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


@styled
def amr_by_method(summary: pd.DataFrame, rate: int = 0) -> Figure:
    """AMR of every variant at one rate point, unseen and seen, both judges; a tick marks each floor.

    Args:
        summary: summary.csv.
        rate: which of UO-ISC's rate points, 0 is the tightest.
    """
    table = at_rate(summary[summary["judge"].isin(JUDGES)], rate_points(summary)[rate])
    variants = in_order(table["variant"])
    figure = Figure(figsize=(PAGE, 0.62 + 0.195 * len(variants)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, split in zip(panels, (UNSEEN, SEEN), strict=True):
        rows = rows_of(table, metric="amr", split=split)
        floors = rows_of(table, metric="amr_floor", split=split)
        for judge, shift in zip(JUDGES, (-0.17, 0.17), strict=True):
            for _, row in rows[rows["judge"] == judge].iterrows():
                place = variants.index(row["variant"]) + shift
                with_interval(axes, place, row, JUDGE_LOOKS[judge], sideways=True)
            for _, row in floors[floors["judge"] == judge].iterrows():
                place = variants.index(row["variant"]) + shift
                axes.plot([row["value"]], [place], "|", color=BLACK, markersize=6, markeredgewidth=1)
        axes.set_title(f"{label(split)} ({count_of(rows)} queries)")
        axes.set_xlabel("answer match rate (95 % interval)")
        axes.grid(axis="x")
    bits = {v: table[table["variant"] == v]["bits"].iloc[0] for v in variants}
    panels[0].set_yticks(range(len(variants)), [f"{label(v)}, {bits[v]:g} bits" for v in variants])
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    legend_below(figure, judge_keys(), floor="|")
    return figure


@styled
def amr_against_rate(summary: pd.DataFrame) -> Figure:
    """AMR against bits per image for the main variants with two rates or more; one panel per split and judge."""
    rows = rows_of(summary, metric="amr")
    several = rows.groupby("variant")["bits"].nunique()
    variants = [v for v in MAIN if several.get(v, 0) > 1]
    figure = Figure(figsize=(PAGE, 3.2), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (judge, split) in zip(grid.flat, [(j, s) for j in JUDGES for s in (UNSEEN, SEEN)], strict=True):
        rate_panel(axes, summary, variants, judge, split, rate_points(summary))
    for bottom, left in zip(grid[1], grid[:, 0], strict=True):
        bottom.set_xlabel("bits per image (nominal)")
        left.set_ylabel("AMR (95 % interval)")
    legend_below(figure, [variant_key(v) for v in variants])
    return figure


def rate_panel(
    axes: Axes, summary: pd.DataFrame, variants: list[str], judge: str, split: str, ticks: list[float]
) -> None:
    """AMR of variants against bits, with intervals and the blank image's floor; `ticks` are bits."""
    panel = rows_of(summary, metric="amr", judge=judge, split=split)
    for place, variant in enumerate(variants):
        shift = SHIFT ** (place - (len(variants) - 1) / 2)
        line = panel[panel["variant"] == variant].sort_values("bits")
        axes.plot(line["bits"] * shift, line["value"], color=LOOKS[variant][0])
        for _, row in line.iterrows():
            with_interval(axes, row["bits"] * shift, row, LOOKS[variant])
    floor = rows_of(summary, metric="amr_floor", judge=judge, split=split)["value"].mean()
    axes.axhline(floor, color=BLACK, linestyle=":", linewidth=0.9)
    axes.set_title(f"{label(split)}, {label(judge)} ({count_of(panel)})")
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{bits:g}" for bits in ticks])
    axes.minorticks_off()
    axes.grid()


@styled
def amr_by_type(summary: pd.DataFrame, rate: int = 0, judge: str = JUDGES[-1]) -> Figure:
    """AMR by question type at one rate point, unseen and seen, with the floor of each type."""
    table = at_rate(rows_of(summary, judge=judge), rate_points(summary)[rate])
    types = in_order([m.removeprefix("amr:") for m in table["metric"].unique() if m.startswith("amr:")])
    variants = [v for v in MAIN if v in set(table["variant"])]
    shifts = np.linspace(-0.3, 0.3, len(variants))
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, split in zip(panels, (UNSEEN, SEEN), strict=True):
        ticks = []
        for x, kind in enumerate(types):
            rows = rows_of(table, split=split, metric=f"amr:{kind}")
            floor = rows_of(table, split=split, metric=f"amr_floor:{kind}")["value"].mean()
            axes.hlines(floor, x - 0.42, x + 0.42, color=BLACK, linestyle=":", linewidth=1.1)
            for variant, shift in zip(variants, shifts, strict=True):
                for _, row in rows[rows["variant"] == variant].iterrows():
                    with_interval(axes, x + shift, row, LOOKS[variant])
            ticks.append(f"{label(kind)}\n({count_of(rows)})")
        axes.set_xticks(range(len(types)), ticks)
        axes.set_title(f"{label(split)}, {label(judge)}")
        axes.grid(axis="y")
    panels[0].set_ylabel("answer match rate\n(95 % interval)")
    bits = {v: table[table["variant"] == v]["bits"].iloc[0] for v in variants}
    legend_below(figure, [variant_key(v, line="", more=f", {bits[v]:g} bits") for v in variants])
    return figure
