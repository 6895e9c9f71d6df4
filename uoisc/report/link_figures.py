"""Figures about the link: answer match rate against Es/N0, and one scene as it comes through at several Es/N0."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.errors import ResultsError
from uoisc.base.picture_data import Strip
from uoisc.base.results import UNSEEN
from uoisc.base.settings import JUDGES
from uoisc.link import channel
from uoisc.report.figures import (
    BLACK,
    GREEN,
    LOOKS,
    PAGE,
    RED,
    count_of,
    legend_below,
    styled,
    variant_key,
    with_interval,
)
from uoisc.report.names import in_order, label
from uoisc.report.pictures import ATTRIBUTION

LINKS = {name: link.title for name, link in channel.LINKS.items()}
AIRS = {"awgn": "AWGN", "rayleigh": "Rayleigh"}
APART = 0.006  # series stand this share of the axis apart, so that their intervals do not cover each other


def loosest(channel: pd.DataFrame, judge: str = JUDGES[-1], split: str = UNSEEN) -> pd.DataFrame:
    """A judge's rows of channel.csv on one split, each method at its loosest rate.

    Raises: ResultsError when there are none.
    """
    rows = channel[(channel["judge"] == judge) & (channel["split"] == split)]
    if rows.empty:
        raise ResultsError(f"channel.csv has no rows of {judge}, {split}; run `make repro` again (stage channel)")
    return rows[rows["bits"] == rows.groupby("variant")["bits"].transform("max")]


def half_kept(line: pd.DataFrame, floor: float, perfect: float) -> float:
    """The Es/N0 in dB at which half of what a perfect link gives above the floor is left, interpolated.

    Args:
        line: one method's AMR on one link and fading, a row per Es/N0.

    Returns -inf where more is left at every point, inf where less is.
    """
    line = line.sort_values("es_n0_db")
    snr = line["es_n0_db"].to_numpy()
    kept = (line["value"].to_numpy() - floor) / (perfect - floor)
    below = np.flatnonzero(kept < 0.5)
    if not len(below):
        return -np.inf
    last = below[-1]
    if last == len(kept) - 1:
        return np.inf
    return float(np.interp(0.5, kept[last : last + 2], snr[last : last + 2]))


def half_points(channel: pd.DataFrame, judge: str = JUDGES[-1], split: str = UNSEEN) -> pd.DataFrame:
    """`half_kept` in dB, a row per method, rate and link, a column per fading; NaN: nothing lies above the floor."""
    rows = channel[(channel["judge"] == judge) & (channel["split"] == split)]
    found = {}
    for key, own in rows.groupby(["variant", "bits"]):
        perfect = own[own["link"] == "perfect"].set_index("metric")
        floor = perfect.at["amr_floor", "value"]
        value, low = perfect.loc["amr", ["value", "low"]]
        for (link, fading), line in own[own["link"].isin(LINKS)].groupby(["link", "fading"]):
            found[*key, link, fading] = half_kept(line, floor, value) if low > floor else np.nan
    return pd.Series(found).rename_axis(["variant", "bits", "link", "fading"]).unstack("fading")


def until_flat(panel: pd.DataFrame) -> pd.DataFrame:
    """The points up to the last one at which any method's value differs from the one before."""
    changes = panel.pivot(index="es_n0_db", columns="variant", values="value").diff().abs().max(axis=1) > 0
    return panel[panel["es_n0_db"] <= changes[changes].index.max()] if changes.any() else panel


@styled
def amr_against_snr(channel: pd.DataFrame, judge: str = JUDGES[-1], split: str = UNSEEN) -> Figure:
    """AMR against Es/N0 of every method at its loosest rate; one panel per fading and link, floor dotted.

    A panel ends where nothing changes any more.

    Args:
        channel: channel.csv.
    """
    rows = loosest(channel, judge, split)
    floor = rows[rows["metric"] == "amr_floor"]["value"].mean()
    rows = rows[rows["metric"] == "amr"]
    variants = in_order(rows["variant"])
    shifts = APART * (np.arange(len(variants)) - (len(variants) - 1) / 2)
    figure = Figure(figsize=(PAGE, 3.9), layout="constrained")
    links = [link for link in LINKS if link in set(rows["link"])]
    grid = figure.subplots(len(AIRS), len(links), sharey=True, squeeze=False)
    for axes, (fading, link) in zip(grid.flat, [(f, k) for f in AIRS for k in links], strict=True):
        panel = until_flat(rows[(rows["fading"] == fading) & (rows["link"] == link)])
        span = np.ptp(panel["es_n0_db"])
        for variant, shift in zip(variants, shifts, strict=True):
            line = panel[panel["variant"] == variant].sort_values("es_n0_db")
            axes.plot(line["es_n0_db"] + shift * span, line["value"], color=LOOKS[variant][0])
            for _, row in line.iterrows():
                with_interval(axes, row["es_n0_db"] + shift * span, row, LOOKS[variant])
        axes.axhline(floor, color=BLACK, linestyle=":", linewidth=0.9)
        axes.set_title(f"{AIRS[fading]}, {LINKS[link]} ({count_of(panel)})")
        axes.grid()
    for axes in grid.flat:
        axes.set_xlabel("Es/N0 (dB)")
    for left in grid[:, 0]:
        left.set_ylabel("AMR (95 % interval)")
    bits = rows.groupby("variant")["bits"].first()
    legend_below(figure, [variant_key(v, more=f", {bits[v]:.0f} bits") for v in variants])
    return figure


@styled
def picture_strip(strip: Strip) -> Figure:
    """A row per method, a column per Es/N0, the judge's answer under each picture."""
    rows = len(strip.pictures)
    figure = Figure(figsize=(PAGE, 0.6 + 1.35 * rows), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, len(strip.es_n0_db) + 1))
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for places, (method, pictures) in zip(grid, strip.pictures.items(), strict=True):
        places[0].imshow(strip.source)
        places[0].set_ylabel(label(method))
        places[0].set_xlabel(strip.answer)
        for axes, picture, (answer, match) in zip(places[1:], pictures, strip.answers[method], strict=True):
            axes.imshow(picture)
            axes.set_xlabel(f"{'✓' if match else '✗'} {answer or 'no answer'}", color=GREEN if match else RED)
    for axes, title in zip(grid[0], ["source", *(f"{snr:g} dB" for snr in strip.es_n0_db)], strict=True):
        axes.set_title(title)
    figure.suptitle(f"“{strip.query}?”, uncoded 8-PSK, AWGN. {ATTRIBUTION}", fontsize=7.5)
    return figure
