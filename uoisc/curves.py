"""Figures about training: the loss terms of both phases, and how much of each codebook is used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.errors import ResultsError
from uoisc.figures import GREY, LOOKS, PAGE, in_order, label, styled

TERMS = {
    "loss": "total",
    "pixel": "pixel",
    "perceptual": "perceptual",
    "vq": "quantisation",
    "intent": "user-intent relevance",
    "adversarial": "adversarial",
    "critic": "critic",
    "gradient_norm": "gradient norm",
}
SHOWN = ("uoisc", "no_alignment", "query_aware", "adaptive", "no_llava", "plain_vq")
DASHES = ("", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (2, 2))  # one a variant of `SHOWN`
BINS = 60  # points a curve; steps that fall into one bin are averaged


def _on_one_axis(training: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Steps counted through both phases (they may start anew in phase 2), and where phase 2 starts."""
    phases = sorted(training["phase"].unique())
    first = training[training["phase"] == phases[0]]
    end = float(first["step"].max()) + 1
    later = training["phase"] != phases[0]
    restarted = later.any() and training.loc[later, "step"].min() < end
    return training.assign(step=training["step"] + np.where(later & restarted, end, 0.0)), end


@styled
def training_curves(training: pd.DataFrame) -> Figure:
    """Each loss term against the step for the main variants at their tightest rate; phase 2 is shaded.

    Raises: ResultsError when none of the main variants was logged.
    """
    tightest = training.groupby("variant")["bits"].transform("min")
    rows = training[(training["bits"] == tightest) & training["variant"].isin(SHOWN)]
    if rows.empty:
        raise ResultsError("training.csv has none of the main variants; run `make repro` again (stage training)")
    rows, phase2 = _on_one_axis(rows)
    width = max(1.0, (rows["step"].max() + 1) / BINS)
    rows = rows.assign(step=(rows["step"] // width + 0.5) * width)
    terms = [term for term in TERMS if term in rows.columns and rows[term].notna().any()]
    variants, across = in_order(rows["variant"]), min(4, len(terms))
    figure = Figure(figsize=(PAGE, 0.6 + 1.12 * -(-len(terms) // across)), layout="constrained")
    grid = np.atleast_1d(figure.subplots(-(-len(terms) // across), across, sharex=True)).ravel()
    palette = {v: LOOKS.get(v, (GREY, "."))[0] for v in variants}
    dashes = dict(zip(variants, DASHES, strict=False))
    for axes, term in zip(grid, terms, strict=False):
        sns.lineplot(rows.dropna(subset=[term]), x="step", y=term, hue="variant", hue_order=variants, palette=palette,
                     style="variant", dashes=dashes, errorbar=None, legend=False, ax=axes)  # fmt: skip
        axes.axvspan(phase2, rows["step"].max(), color="#EEEEEE", zorder=0, linewidth=0)
        axes.set(title=TERMS[term], xlabel="step", ylabel="")
        axes.margins(x=0)
    for axes in grid[len(terms):]:
        axes.set_axis_off()
    handles = [Line2D([], [], color=palette[v], linestyle=(0, dashes[v]) if dashes[v] else "-", label=label(v))
               for v in variants]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)),
                  title="means of step bins; grey: phase 2, with the critic", title_fontsize=7)  # fmt: skip
    return figure


@styled
def codebook_use(codebooks: pd.DataFrame) -> Figure:
    """Perplexity of every codebook as a share of its codes, per tap and segment, dead codes in brackets.

    One panel a variant at its tightest rate. Perplexity exp(-sum_k p_k log p_k) is how many codes are in
    effective use; a dead code is one that was never sent.
    """
    tightest = codebooks.groupby("variant")["bits"].transform("min")
    rows = codebooks[(codebooks["bits"] == tightest) & codebooks["variant"].isin(SHOWN)]
    if rows.empty:
        raise ResultsError("codebooks.csv has none of the main variants; run `make repro` again (stage training)")
    variants = in_order(rows["variant"])
    across = min(3, len(variants))
    down = -(-len(variants) // across)
    tallest = rows.groupby("variant")["tap"].nunique().max()
    figure = Figure(figsize=(PAGE, down * (0.72 + 0.17 * tallest)), layout="constrained")
    grid = np.atleast_1d(figure.subplots(down, across)).ravel()
    for axes, variant in zip(grid, variants, strict=False):
        mine = rows[rows["variant"] == variant].groupby(["tap", "segment"], sort=False).mean(numeric_only=True)
        share = (mine["perplexity"] / mine["codes"]).unstack("segment")
        words = mine.apply(lambda row: f"{row['perplexity']:.1f}" + (f" ({row['dead']:g})" if row["dead"] else ""),
                           axis=1).unstack("segment")  # fmt: skip
        sns.heatmap(share, vmin=0, vmax=1, cmap="Blues", annot=words, fmt="", annot_kws={"size": 7}, cbar=False,
                    linewidths=0.5, ax=axes)  # fmt: skip
        codes, bits = mine["codes"].iloc[0], rows[rows["variant"] == variant]["bits"].iloc[0]
        axes.set(title=f"{label(variant)}\n{bits:g} bits, {codes:g} codes", xlabel="segment", ylabel="tap")
        axes.tick_params(length=0, labelrotation=0)
    for axes in grid[len(variants):]:
        axes.set_axis_off()
    return figure
