"""Figures about the link: answer match rate against Es/N0, and one scene as it comes through at several Es/N0."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.picture_data import Strip
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.link import channel
from uoisc.report import figures
from uoisc.report.pictures import asked, bare, credit, show_answer

LINKS = {name: link.title for name, link in channel.LINKS.items()}
AIRS = {"awgn": "AWGN", "rayleigh": "Rayleigh"}
APART = 0.006  # series stand this share of the axis apart, so that their intervals do not cover each other


def loosest(channel: pd.DataFrame) -> pd.DataFrame:
    """The independent judge's rows, of unseen objects if tested, each method at its loosest rate. Raises: ResultsError
    for none."""
    rows = figures.rows_of(channel, "channel.csv", judge=JUDGES[-1], split=figures.splits_of(channel)[0])
    return rows[rows["bits"] == rows.groupby("variant")["bits"].transform("max")]


def half_kept(line: pd.DataFrame, floor: float, perfect: float) -> float:
    """The Es/N0 in dB at which half of what a perfect link gives above the floor is left, interpolated; -inf where more
    is left at every point, inf where less is. `line`: one method's AMR on one link and fading, a row per Es/N0."""
    snr, value = line.sort_values("es_n0_db")[["es_n0_db", "value"]].to_numpy().T
    kept = (value - floor) / (perfect - floor)
    below = np.flatnonzero(kept < 0.5)
    if not len(below):
        return -np.inf
    ends = slice(below[-1], below[-1] + 2)
    return float(np.interp(0.5, kept[ends], snr[ends])) if kept[-1] >= 0.5 else np.inf


def half_points(channel: pd.DataFrame) -> pd.DataFrame:
    """`half_kept` in dB, a row per method, rate and link, a column per fading; NaN where the interval of what a perfect
    link gives does not lie above the floor's."""
    rows = channel[(channel["judge"] == JUDGES[-1]) & (channel["split"] == figures.splits_of(channel)[0])]
    found = {}
    for key, own in rows.groupby(["variant", "bits"]):
        perfect = own[own["link"] == "perfect"].set_index("metric")
        floor, highest = perfect.loc["amr_floor", ["value", "high"]]
        value, low = perfect.loc["amr", ["value", "low"]]
        for (link, fading), line in own[own["link"].isin(LINKS)].groupby(["link", "fading"]):
            found[*key, link, fading] = half_kept(line, floor, value) if low > highest else np.nan
    return pd.Series(found).rename_axis(["variant", "bits", "link", "fading"]).unstack("fading")


def until_flat(panel: pd.DataFrame) -> pd.DataFrame:
    """The points up to the last one at which any method's value differs from the one before."""
    changes = panel.pivot(index="es_n0_db", columns="variant", values="value").diff().abs().max(axis=1) > 0
    return panel[panel["es_n0_db"] <= changes[changes].index.max()] if changes.any() else panel


@figures.styled
def amr_against_snr(channel: pd.DataFrame) -> Figure:
    """AMR against Es/N0 of every method at its loosest rate, of unseen objects if tested, independent judge; floor
    dotted. One panel per fading and link, up to where nothing changes any more. Raises ResultsError for no rows."""
    rows = loosest(channel)
    floor = rows[rows["metric"] == "amr_floor"]["value"].mean()
    rows = rows[rows["metric"] == "amr"]
    variants = in_order(rows["variant"])
    shifts = APART * (np.arange(len(variants)) - (len(variants) - 1) / 2)
    links = [link for link in LINKS if link in set(rows["link"])]
    figure, grid = figures.page(3.9, len(AIRS), len(links), up=figures.AMR, sharey=True)
    for axes, (fading, link) in zip(grid.flat, [(f, k) for f in AIRS for k in links], strict=True):
        panel = until_flat(rows[(rows["fading"] == fading) & (rows["link"] == link)])
        span = np.ptp(panel["es_n0_db"])
        for variant, shift in zip(variants, shifts, strict=True):
            line = panel[panel["variant"] == variant].sort_values("es_n0_db")
            figures.method_curve(axes, line["es_n0_db"] + shift * span, line, variant)
        figures.finish(axes, floor, f"{AIRS[fading]}, {LINKS[link]} ({figures.count_of(panel)})")
        axes.set_xlabel("Es/N0 (dB)")
    bits = rows.groupby("variant")["bits"].first()
    figures.legend_below(figure, [figures.variant_key(v, more=f", {bits[v]:.0f} bits") for v in variants])
    return figure


@figures.styled
def picture_strip(strip: Strip) -> Figure:
    """A row per method, a column per Es/N0, the judge's answer under each picture."""
    rows = len(strip.pictures)
    figure, grid = figures.page(0.6 + 1.35 * rows, rows, len(strip.es_n0_db) + 1)
    for axes in grid.flat:
        bare(axes)
    for places, (method, pictures) in zip(grid, strip.pictures.items(), strict=True):
        places[0].imshow(strip.source)
        places[0].set(ylabel=label(method), xlabel=strip.answer)
        for axes, picture, (answer, match) in zip(places[1:], pictures, strip.answers[method], strict=True):
            axes.imshow(picture)
            show_answer(axes, answer, match)
    for axes, title in zip(grid[0], ["source", *(f"{snr:g} dB" for snr in strip.es_n0_db)], strict=True):
        axes.set_title(title)
    figure.suptitle(f"{asked(strip.query)}, uncoded 8-PSK, AWGN. {credit([strip.type])}", fontsize=7.5)
    return figure
