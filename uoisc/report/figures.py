"""Figures about the answer match rate (AMR), the house's plotting style, and how a figure is saved.

Every figure is a pure function of tables: no state, no date, no random number, so the bytes of its PDF and PNG depend
on the tables alone. Sizes are print sizes of an IEEE page, no text is below 7 pt, colours are Okabe and Ito's
(colour-blind safe) and three of ours, and never the only mark of a series. `exhibits.py` lists all figures and says how
to add one.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.folders import written_aside
from uoisc.base.results import SEEN, UNSEEN, LeftOut, missing
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.judge.bootstrap import HEADLINE, nearest_bits

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
PURPLE = "#5B2A86"
SHADES = (BLACK, BLUE, RED, GREEN, GREY)  # of lines that are no methods
MARKERS = {  # a colour, and the methods that have it: one colour and marker per method, in every figure
    BLUE: {"uoisc": "o"},
    RED: {"no_alignment": "s"},
    GREEN: {"query_aware": "^", "dial_scratch_text": "<"},
    BLACK: {"adaptive": "D"},
    ORANGE: {"uniform": "v", "dial_uniform": "v"},
    SKY: {"no_llava": "P", "dial_random": "P", "webp": "P"},
    PINK: {"no_alignment_no_llava": "X", "dial_no_query": "X", "jpeg2000_protected": "*", "jpeg_xl": "d"},
    BROWN: {"plain_vq": "h", "jpeg2000": "h"},
    PURPLE: {"dial": "D"},
    GREY: {"dial_oracle": "*", "dial_blind_decoder": "s", "jpeg": "v"},
}
MARKERS[ORANGE] |= {"avif": "X", "avif_down2": "<", "avif_down3": ">", "avif_down4": "p", "avif_crop": "*"}
MARKERS[GREEN] |= {"answer": "o"}
MARKERS[BROWN] |= {"description": "p"}
MARKERS[PINK] |= {"sprites": "s"}
LOOKS = {method: (colour, marker) for colour, own in MARKERS.items() for method, marker in own.items()}
JUDGE_LOOKS = {JUDGES[0]: (SKY, "s"), JUDGES[1]: (BLUE, "o")}
BESIDE = dict(zip(JUDGES, (-0.17, 0.17), strict=True))  # so far from a row's line stand the judges' points
CI = " (95 % interval)"
AMR = f"AMR{CI}"
FLOOR = "floor: blank image"  # in legends
FLOOR_OF = "amr_floor_reliable"  # the floor of HEADLINE
SHIFT = 1.015  # series stand this factor of the rate apart, so that their intervals do not cover each other
MAIN = ("uoisc", "no_alignment", "query_aware", "adaptive", "uniform")
SIZES = {  # points
    8: "axes.titlesize",
    7.5: "font.size axes.labelsize",
    7: "xtick.labelsize ytick.labelsize legend.fontsize",
    4: "lines.markersize",
    2.5: "xtick.major.size ytick.major.size",
    1.1: "lines.linewidth",
    0.6: "axes.linewidth xtick.major.width ytick.major.width",
    0.4: "grid.linewidth",
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
STYLE = sns.axes_style("ticks") | LOOK | OFF | {key: size for size, keys in SIZES.items() for key in keys.split()}
styled = mpl.rc_context(STYLE)  # runs a drawing function under the house style, whatever style the caller has set


@styled
def save(figure: Figure, name: str, folder: Path) -> tuple[Path, Path]:
    """Writes `name.pdf` and `name.png` (300 dpi), atomically and without dates; returns the paths."""
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    paths = tuple(Path(folder) / f"{name}.{kind}" for kind in metadata)
    for path, (kind, fixed) in zip(paths, metadata.items(), strict=True):
        with written_aside(path) as aside:
            figure.savefig(aside, format=kind, metadata=fixed)
    return paths


def rows_of(table: pd.DataFrame, file: str = "summary.csv", **where: object) -> pd.DataFrame:
    """The rows of a results table that equal the given values. Raises: ResultsError, of `file`, for none."""
    kept = table
    for column, value in where.items():
        kept = kept[kept[column] == value]
    if kept.empty:
        asked = ", ".join(f"{column} {value}" for column, value in where.items())
        raise missing(Path(file), f"has no rows with {asked}")
    return kept


def splits_of(table: pd.DataFrame) -> list[str]:
    """Those that were tested, unseen objects first."""
    return [split for split in (UNSEEN, SEEN) if split in set(table["split"])]


def rate_points(summary: pd.DataFrame, variant: str = "uoisc") -> list[float]:
    """The rates of a variant in bits per image, tightest first. Raises: LeftOut where it is not trained."""
    if variant not in set(summary["variant"]):
        raise LeftOut(f"`{variant}` is not trained")
    return sorted(rows_of(summary, variant=variant, metric="amr")["bits"].unique())


def at_rate(summary: pd.DataFrame, bits: float) -> pd.DataFrame:
    """For each variant its rows at the rate nearest to `bits`; a variant without a near rate drops out."""
    nearest = {v: nearest_bits(bits, rows["bits"].unique()) for v, rows in summary.groupby("variant")}
    return summary[summary["bits"] == summary["variant"].map(nearest)]


def page(
    height: float, rows: int = 1, columns: int = 2, across: str = "", up: str = "", **options: object
) -> tuple[Figure, np.ndarray]:
    """A figure as wide as a page and so many inches high, and its panels, (rows, columns).

    across, up: labels of the lowest panels' horizontal axes, and of the leftmost ones' vertical axes. options: of
    matplotlib's `subplots`.
    """
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in grid[-1]:
        axes.set_xlabel(across)
    for axes in grid[:, 0]:
        axes.set_ylabel(up)
    return figure, grid


def with_interval(
    axes: Axes, across: float | int, row: Mapping | pd.Series, look: tuple[str, str], sideways: bool = False
) -> None:
    """A value with its 95 % interval; `sideways` puts the value on the horizontal axis."""
    spread = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
    colour, marker = look
    place = ([row["value"]], [across]) if sideways else ([across], [row["value"]])
    style = dict(color=colour, marker=marker, markersize=3.6, elinewidth=1, capsize=1.6, linestyle="")
    axes.errorbar(*place, **{"xerr" if sideways else "yerr": spread}, **style)


def look_of(name: str) -> tuple[str, str]:
    """Colour and marker of a method; a grey point of one that `MARKERS` does not list."""
    return LOOKS.get(name, (GREY, "."))


def method_curve(axes: Axes, across: pd.Series, rows: pd.DataFrame, variant: str) -> None:
    """A method's line through its values, each with its interval."""
    axes.plot(across, rows["value"], color=look_of(variant)[0])
    for place, (_, row) in zip(across, rows.iterrows(), strict=True):
        with_interval(axes, place, row, look_of(variant))


def finish(axes: Axes, floor: float, title: str, ticks: Sequence[int | float] = ()) -> None:
    """The blank image's AMR as a dotted line, a title and a grid; with `ticks`, a logarithmic horizontal axis."""
    axes.axhline(floor, color=BLACK, linestyle=":", linewidth=0.9)
    axes.set_title(title)
    axes.grid()
    if ticks:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()


def count_of(rows: pd.DataFrame) -> str:
    """The number of queries behind some rows: `n = 1000`, or a range where it differs."""
    counts = [int(n) for n in sorted(rows["n"].unique())]
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"


def variant_key(variant: str, line: str = "-", more: str = "") -> Line2D:
    """A legend's entry for a variant."""
    colour, marker = look_of(variant)
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label(variant) + more)


def judge_keys() -> list[Line2D]:
    """A legend's entries for the judges."""
    return [Line2D([], [], color=c, marker=m, label=label(judge)) for judge, (c, m) in JUDGE_LOOKS.items()]


def legend_below(figure: Figure, handles: list[Artist], columns: int = 3, floor: bool = True) -> None:
    """A legend under the panels, so many entries per row; last, where there is one, the dotted line of the floor."""
    floors = [Line2D([], [], color=BLACK, linestyle=":", label=FLOOR)] if floor else []
    figure.legend(handles=[*handles, *floors], loc="outside lower center", ncols=columns)


@styled
def amr_by_method(summary: pd.DataFrame) -> Figure:
    """AMR of every variant at UO-ISC's tightest rate, unseen and seen, both judges; a tick marks each floor."""
    table = at_rate(summary[summary["judge"].isin(JUDGES)], rate_points(summary)[0])
    variants = in_order(table["variant"])
    height = max(1.4, 0.62 + 0.195 * len(variants))
    splits = splits_of(table)
    figure, (panels,) = page(height, 1, len(splits), f"answer match rate{CI}", sharey=True, sharex=True)
    for axes, split in zip(panels, splits, strict=True):
        rows, floors = (rows_of(table, metric=metric, split=split) for metric in (HEADLINE, FLOOR_OF))
        for judge, shift in BESIDE.items():
            for _, row in rows[rows["judge"] == judge].iterrows():
                with_interval(axes, variants.index(row["variant"]) + shift, row, JUDGE_LOOKS[judge], sideways=True)
            for row in floors[floors["judge"] == judge].itertuples():
                place = variants.index(row.variant) + shift
                axes.plot([row.value], [place], "|", color=BLACK, markersize=6, markeredgewidth=1)
        axes.set_title(f"{label(split)} ({count_of(rows)} queries)")
        axes.grid(axis="x")
    bits = table.groupby("variant")["bits"].first()
    panels[0].set_yticks(range(len(variants)), [f"{label(v)}, {bits[v]:g} bits" for v in variants])
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    tick = Line2D([], [], color=BLACK, marker="|", linestyle="", markeredgewidth=1, label=FLOOR)
    legend_below(figure, [*judge_keys(), tick], floor=False)
    return figure


def rate_curves(
    summary: pd.DataFrame,
    variants: list[str],
    cells: list[list[tuple[str, str]]],
    ticks: Sequence[int | float],
    height: float,
    across: str = "bits per image (nominal)",
    more: Sequence[Line2D] = (),
) -> Figure:
    """AMR of variants against bits, a panel per (judge, split) of the rows of `cells`; `ticks` are bits, `more` keys of
    the legend."""
    figure, grid = page(height, len(cells), len(cells[0]), across, AMR, sharex=True, sharey=True)
    for axes, (judge, split) in zip(grid.flat, chain(*cells), strict=True):
        panel = rows_of(summary, metric=HEADLINE, judge=judge, split=split)
        for place, variant in enumerate(variants):
            line = panel[panel["variant"] == variant].sort_values("bits")
            method_curve(axes, line["bits"] * SHIFT ** (place - (len(variants) - 1) / 2), line, variant)
        floor = rows_of(summary, metric=FLOOR_OF, judge=judge, split=split)["value"].mean()
        finish(axes, floor, f"{label(split)}, {label(judge)} ({count_of(panel)})", ticks)
    keys = [*map(variant_key, variants), *more]
    legend_below(figure, keys, columns=3 if len(keys) < 9 else 4)
    return figure


@styled
def amr_by_type(summary: pd.DataFrame) -> Figure:
    """AMR by question type at UO-ISC's tightest rate, unseen and seen, with the floor of each type."""
    table = at_rate(rows_of(summary, judge=JUDGES[-1]), rate_points(summary)[0])
    types = in_order([m.removeprefix("amr:") for m in table["metric"].unique() if m.startswith("amr:")])
    variants = [v for v in MAIN if v in set(table["variant"])]
    shifts = np.linspace(-0.3, 0.3, len(variants))
    splits = splits_of(table)
    figure, (panels,) = page(2.5, 1, len(splits), up=f"answer match rate\n{CI.strip()}", sharey=True)
    for axes, split in zip(panels, splits, strict=True):
        own = table[(table["split"] == split) & table["metric"].isin([f"amr:{kind}" for kind in types])]
        kinds = [kind for kind in types if f"amr:{kind}" in set(own["metric"])]
        for x, kind in enumerate(kinds):
            rows = rows_of(table, split=split, metric=f"amr:{kind}")
            floor = rows_of(table, split=split, metric=f"amr_floor:{kind}")["value"].mean()
            axes.hlines(floor, x - 0.42, x + 0.42, color=BLACK, linestyle=":", linewidth=1.1)
            for variant, shift in zip(variants, shifts, strict=True):
                for _, row in rows[rows["variant"] == variant].iterrows():
                    with_interval(axes, x + shift, row, LOOKS[variant])
        axes.set_xticks(range(len(kinds)), map(label, kinds), rotation=35, ha="right", rotation_mode="anchor")
        axes.set_title(f"{label(split)}, {label(JUDGES[-1])} ({count_of(own)} a type)")
        axes.grid(axis="y")
    bits = table.groupby("variant")["bits"].first()
    legend_below(figure, [variant_key(v, line="", more=f", {bits[v]:g} bits") for v in variants])
    return figure
