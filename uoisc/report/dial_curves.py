"""Figures of the rate dial: answers against bits under every control, and answers against the rest of the picture."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.results import UNSEEN
from uoisc.base.settings import JUDGES
from uoisc.report.figures import (
    PAGE,
    SHADES,
    in_order,
    label,
    legend_below,
    rate_panel,
    rate_points,
    styled,
    variant_key,
    with_interval,
)
from uoisc.report.names import FLOORS

LINES = ("dial", "dial_oracle", "dial_uniform", "dial_scratch_text", "dial_no_query", "dial_random", "uoisc")
OWN = "own"  # the packing that the dial picks by itself


@styled
def rate_dial(summary: pd.DataFrame) -> Figure:
    """AMR against bits on unseen objects, one panel per judge: the dial, its controls, and fixed-rate UO-ISC."""
    variants = [v for v in in_order(summary["variant"]) if v in LINES]
    figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, judge in zip(panels, JUDGES, strict=True):
        rate_panel(axes, summary, variants, judge, UNSEEN, rate_points(summary, "dial"))
        axes.set_xlabel("bits per image (nominal)")
    panels[0].set_ylabel("AMR (95 % interval)")
    legend_below(figure, [variant_key(v) for v in variants])
    return figure


@styled
def floor_dial(summary: pd.DataFrame) -> Figure:
    """AMR against whole-image PSNR of the dial as the floor changes, a line per budget, the floor's units beside it.

    The larger point without a number is the packing that the dial picks by itself.
    """
    floors = {"dial": OWN} | {name: str(units) for name, units in FLOORS.items()}
    rows = summary[(summary["split"] == UNSEEN) & summary["variant"].isin(floors)]
    table = rows.assign(floor=rows["variant"].map(floors), budget=_budgets(rows))
    figure = Figure(figsize=(PAGE, 2.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, judge in zip(panels, JUDGES, strict=True):
        keys = ["budget", "floor"]
        amr = table[(table["judge"] == judge) & (table["metric"] == "amr")].set_index(keys)
        psnr = table[table["metric"] == "psnr"].set_index(keys)["value"]
        for shade, (bits, line) in zip(SHADES, amr.groupby(level=0), strict=False):
            line = line.droplevel(0)
            line = line.assign(across=psnr[bits].reindex(line.index)).sort_values("across")
            axes.plot(line["across"], line["value"], color=shade, marker="o", label=f"up to {bits:g} bits")
            for floor, row in line.iterrows():
                with_interval(axes, row["across"], row, (shade, "o"))
                place = row["across"], row["value"]
                if floor == OWN:
                    axes.plot(*place, color=shade, marker="o", markersize=6)
                else:
                    axes.annotate(floor, place, (4, 3), textcoords="offset points", fontsize=7, color=shade)
        axes.set(title=f"{label(UNSEEN)}, {label(judge)}", xlabel="PSNR of the whole image, dB")
        axes.grid()
    panels[0].set_ylabel("AMR (95 % interval)")
    handles, _ = panels[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _budgets(table: pd.DataFrame) -> pd.Series:
    """The dial's own point that is nearest to each row's bits."""
    own = sorted(table.loc[table["variant"] == "dial", "bits"].unique())
    return table["bits"].map(lambda bits: min(own, key=lambda b: max(b / bits, bits / b)))
