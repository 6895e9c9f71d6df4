"""Trained and standard codecs on one axis: what an answer costs in bytes.

summary.csv, entropy.csv, standard_codecs.csv --> curve_points --> rate_answer, nearest, bd_rates --> bd_rate.csv

A trained codec's bytes are its mean range-coded payload on test scenes of unseen objects, on both splits, and the
compact header: on seen objects `small`'s payloads are the same within 1.5 %. Both ends share the model, as both ends of
a standard codec share its standard.
"""

from itertools import product
from pathlib import Path

import bjontegaard
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.results import COLUMNS, missing, read_table, write_csv
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.judge.bootstrap import HEADLINE
from uoisc.link.header import COMPACT_BYTES
from uoisc.report import figures
from uoisc.report.figures import rows_of, splits_of

TRAINED = ("uoisc", "adaptive", "dial", "no_alignment", "query_aware")
LEAST_POINTS = 4  # of a curve (VCEG-M33)
MESSAGE = "message"  # the form of a trained codec's points
FORMS = ("file", "mosaic")  # those of standard codecs
ANCHOR = "avif"  # of BD-rate: the one whose downsampled and cropped kin are measured too
MEASURES = [("psnr", "none"), *((HEADLINE, judge) for judge in JUDGES)]
LINES = {"avif_down2": "--", "avif_down3": "-.", "avif_down4": ":", "avif_crop": (0, (6, 1.5))}  # they share a colour
TICKS = [step * 10**power for power in range(-1, 6) for step in (1, 2, 5)]


def payload_bytes(rows: pd.DataFrame, entropy: pd.DataFrame) -> pd.Series:
    """The mean payload of each row's variant at its bits, in bytes; NaN of what entropy.csv lacks, as controls."""
    known = entropy[entropy["chosen"]].set_index(["variant", "bits"])["payload_bits"] / 8
    return known.reindex(pd.MultiIndex.from_frame(rows[["variant", "bits"]])).set_axis(rows.index)


def curve_points(summary: pd.DataFrame, entropy: pd.DataFrame, standard: pd.DataFrame) -> pd.DataFrame:
    """Every point of every curve, a row per metric: standard_codecs.csv, and the trained codecs in its columns.

    Their `setting` is the nominal bits, their bytes less a flat image's are the payload. Raises: ResultsError where
    entropy.csv lacks a codec that summary.csv has.
    """
    rows = summary[summary["variant"].isin(TRAINED) & ~summary["metric"].str.contains(":")]
    paid = payload_bytes(rows, entropy)
    if paid.isna().any():
        lacking = rows[paid.isna()].iloc[0]
        raise missing(Path("entropy.csv"), f"lacks {lacking['variant']} at {lacking['bits']:g} bits")
    trained = rows.rename(columns={"variant": "codec", "bits": "setting"}).assign(
        form=MESSAGE, bytes=paid + COMPACT_BYTES, bytes_less_flat=paid
    )
    return pd.concat([trained, standard], ignore_index=True)[COLUMNS["standard_codecs.csv"]]


def nearest(table: pd.DataFrame) -> pd.DataFrame:
    """The trained codecs' points and, of every other curve, those nearest in bytes to UO-ISC's.

    One row per point, the cheapest first: its AMR on unseen objects by the independent judge.
    """
    amr = rows_of(table, metric=HEADLINE, judge=JUDGES[-1], split=splits_of(table)[0])
    chosen = [amr[amr["form"] == MESSAGE]]
    for _, curve in amr[amr["form"] != MESSAGE].groupby(["codec", "form"]):
        distances = [(np.log(curve["bytes"] / size)).abs() for size in rows_of(chosen[0], codec="uoisc")["bytes"]]
        chosen.append(curve.loc[sorted({distance.idxmin() for distance in distances})])
    return pd.concat(chosen).sort_values("bytes", kind="stable")


def front(curve: pd.DataFrame) -> Float[np.ndarray, "P 2"]:
    """(bytes, value) of the points that no cheaper or equal point reaches: a curve that rises."""
    rising = curve.sort_values(["bytes", "value"], ascending=[True, False])[["bytes", "value"]].to_numpy()
    best = np.maximum.accumulate(np.r_[-np.inf, rising[:-1, 1]])
    return rising[rising[:, 1] > best]


def bd_rates(table: pd.DataFrame) -> pd.DataFrame:
    """bd_rate.csv: every curve against AVIF's in the same form, by PSNR and by both judges' AMR.

    A curve is its `front`, as BD-rate needs one that rises; `low` and `high` bound what both reach. A row without a
    rate says why in `undefined`: curves of unlike numbers of queries or pictures are not compared, either.
    """
    profile, seed = table[["profile", "seed"]].iloc[-1]
    rows = []
    for split, (metric, judge) in product(splits_of(table), MEASURES):
        measured = rows_of(table, split=split, metric=metric, judge=judge)
        curves = {key: (front(curve), set(curve["n"])) for key, curve in measured.groupby(["codec", "form"])}
        for (codec, form), (curve, asked) in curves.items():
            for anchor_form in FORMS if form == MESSAGE else (form,):
                if codec == ANCHOR:
                    continue
                anchor, of_anchor = curves[(ANCHOR, anchor_form)]
                compared = bd_rate(anchor, curve) if asked == of_anchor else (np.nan, np.nan, np.nan, "other queries")
                rows.append((profile, seed, codec, form, ANCHOR, anchor_form, split, judge, metric, *compared))
    return pd.DataFrame(rows, columns=COLUMNS["bd_rate.csv"])


def bd_rate(anchor: Float[np.ndarray, "P 2"], curve: Float[np.ndarray, "Q 2"]) -> tuple[float, float, float, str]:
    """Of two `front`s: the ends of the range that both reach, the mean rate difference in percent at equal quality over
    it (negative where `curve` needs fewer bytes; NaN where there is none), and why there is none.

    Bjontegaard (VCEG-M33) with pchip interpolation, as JVET's test conditions: it never leaves the range of its points,
    as cubics and Akima do where a curve saturates.
    """
    low = max(anchor[0, 1], curve[0, 1])
    high = min(anchor[-1, 1], curve[-1, 1])
    if low >= high:
        return np.nan, np.nan, np.nan, "no shared range"
    if (fewest := min(len(anchor), len(curve))) < LEAST_POINTS:
        whose = "the anchor" if len(anchor) == fewest else "the codec"
        return low, high, np.nan, f"{whose} has {fewest} rising points, {LEAST_POINTS} are needed"
    return low, high, float(bjontegaard.bd_rate(*anchor.T, *curve.T, "pchip", False, min_overlap=0)), ""


def write_bd_rates(results: Path) -> pd.DataFrame:
    """Writes bd_rate.csv from the other results; returns it."""
    table = bd_rates(read_points(results))
    write_csv(table, Path(results) / "bd_rate.csv")
    return table


def read_points(results: Path) -> pd.DataFrame:
    """`curve_points` of a folder's tables. Raises: ResultsError where one lacks."""
    return curve_points(*(read_table(results, f"{name}.csv") for name in ("summary", "entropy", "standard_codecs")))


def _look(codec: str) -> dict:
    """Colour, marker and line of a curve; a trained codec's is thick."""
    colour, marker = figures.look_of(codec)
    width, above = (1.6, 3) if codec in TRAINED else (0.8, 2)
    return dict(color=colour, marker=marker, linestyle=LINES.get(codec, "-"), linewidth=width, zorder=above)


@figures.styled
def rate_answer(table: pd.DataFrame) -> Figure:
    """AMR against bytes per image on both splits, standard codecs as files and as a mosaic, trained ones in each panel;
    of `curve_points`. The floor is that of the trained codecs' queries."""
    rows, floors = (rows_of(table, judge=JUDGES[-1], metric=metric) for metric in (HEADLINE, figures.FLOOR_OF))
    standard, trained = (
        figures.count_of(rows[(rows["form"] == MESSAGE) == is_trained]) for is_trained in (False, True)
    )
    labels = (f"bytes per image ({standard}, trained codecs {trained})", figures.AMR)
    splits = splits_of(rows)
    least, most = np.quantile(rows["bytes"], (0, 1))
    ticks = [tick for tick in TICKS if least / 2 < tick < 2 * most]
    figure, grid = figures.page(4.2, len(splits), 2, *labels, sharex=True, sharey=True)
    for axes, (split, form) in zip(grid.flat, product(splits, FORMS), strict=True):
        panel = rows_of(rows, split=split)
        for codec, curve in panel[panel["form"].isin([form, MESSAGE])].sort_values("bytes").groupby("codec"):
            spread = [curve["value"] - curve["low"], curve["high"] - curve["value"]]
            axes.errorbar(curve["bytes"], curve["value"], yerr=spread, elinewidth=0.5, markersize=3.6, **_look(codec))
        floor = rows_of(floors, split=split, form=MESSAGE)["value"].iloc[0]
        figures.finish(axes, floor, f"{label(split)}, {label(form)}", ticks)
    keys = [Line2D([], [], label=label(codec), **_look(codec)) for codec in in_order(table["codec"])]
    figures.legend_below(figure, keys, columns=5)
    return figure
