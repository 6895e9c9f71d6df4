"""Figures about training: loss terms of both phases, use of the codebooks, and AMR by the weights of the loss."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from uoisc.base.results import UNSEEN, missing
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.report.figures import AMR, SHADES, legend_below, look_of, page, styled, with_interval

TERMS = ("loss", "pixel", "perceptual", "vq", "intent", "adversarial", "critic", "gradient_norm")
TITLES = {"loss": "total", "vq": "quantisation", "intent": "user-intent relevance", "gradient_norm": "gradient norm"}
SHOWN = ("uoisc", "no_alignment", "query_aware", "adaptive", "no_llava", "plain_vq")
DASHES = ("", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1), (2, 2))  # one per variant of `SHOWN`
SHADE = "#EEEEEE"
LEGIBLE = 4  # segments whose numbers a panel has room for; of more the shade alone
BINS = 60  # points per curve; steps that fall into one bin are averaged


def _tightest(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The main variants' rows, each at its tightest rate. Raises: ResultsError when there are none."""
    tightest = table.groupby("variant")["bits"].transform("min")
    rows = table[(table["bits"] == tightest) & table["variant"].isin(SHOWN)]
    if rows.empty:
        raise missing(Path(name), "has none of the main variants")
    return rows


def _panels(count: int, across: int, row_height: float, rest: float, **options: bool) -> tuple[Figure, np.ndarray]:
    """A figure of `count` panels, at most so many across; heights in inches, of a row and of the rest."""
    across = min(across, count)
    down = -(-count // across)
    figure, grid = page(rest + row_height * down, down, across, **options)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    return figure, grid.flat[:count]


def _on_one_axis(training: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Steps counted through both phases (they may start anew in phase 2), and where phase 2 starts."""
    first = training["phase"] == training["phase"].min()
    end = float(training.loc[first, "step"].max()) + 1
    restarted = ~first & (training.loc[~first, "step"].min() < end)
    return training.assign(step=training["step"] + np.where(restarted, end, 0.0)), end


@styled
def training_curves(training: pd.DataFrame) -> Figure:
    """Each loss term against the step for the main variants at their tightest rate; phase 2 is shaded.

    Raises: ResultsError when none of the main variants was logged.
    """
    rows, phase2 = _on_one_axis(_tightest(training, "training.csv"))
    width = max(1.0, (rows["step"].max() + 1) / BINS)
    rows = rows.assign(step=(rows["step"] // width + 0.5) * width)
    terms = [term for term in TERMS if term in rows.columns and rows[term].notna().any()]
    variants = in_order(rows["variant"])
    figure, grid = _panels(len(terms), across=4, row_height=1.05, rest=0.5, sharex=True)
    palette = {v: look_of(v)[0] for v in variants}
    dashes = dict(zip(variants, DASHES, strict=False))
    by_variant = dict(hue="variant", hue_order=variants, palette=palette, style="variant", dashes=dashes)
    for axes, term in zip(grid, terms, strict=True):
        logged = rows.dropna(subset=[term])
        sns.lineplot(logged, x="step", y=term, **by_variant, errorbar=None, legend=False, ax=axes)
        axes.axvspan(phase2, rows["step"].max(), color=SHADE, zorder=0, linewidth=0)
        axes.set(title=TITLES.get(term, term), xlabel="step", ylabel="")
        axes.margins(x=0)
    handles = [
        Line2D([], [], color=palette[v], linestyle=(0, dashes[v]) if dashes[v] else "-", label=label(v))
        for v in variants
    ]
    handles.append(Patch(color=SHADE, label="phase 2, with the critic"))
    legend_below(figure, handles, columns=min(5, len(handles)), floor=False)
    return figure


@styled
def codebook_use(codebooks: pd.DataFrame) -> Figure:
    """Perplexity of every codebook as a share of its codes, per tap and segment, dead codes in brackets.

    One panel per variant at its tightest rate. Perplexity exp(-sum_k p_k log p_k) is how many codes are in
    effective use; a dead code is one that was never sent, on the mean over splits.
    """
    rows = _tightest(codebooks, "codebooks.csv")
    variants = in_order(rows["variant"])
    tallest = rows.groupby("variant")["tap"].nunique().max()
    figure, grid = _panels(len(variants), across=3, row_height=0.72 + 0.17 * tallest, rest=0.0)
    look = dict(vmin=0, vmax=1, cmap="Blues", fmt="", annot_kws={"size": 7}, cbar=False, linewidths=0.5)
    for axes, variant in zip(grid, variants, strict=True):
        mine = rows[rows["variant"] == variant]
        bits, codes = mine[["bits", "codes"]].iloc[0]
        mine = mine.groupby(["tap", "segment"], sort=False).mean(numeric_only=True)
        share = (mine["perplexity"] / mine["codes"]).unstack("segment")
        dead = mine["dead"].map(lambda codes: f" ({codes:.1f})".replace(".0", "") if codes else "")
        words = (mine["perplexity"].map("{:.1f}".format) + dead).unstack("segment")
        sns.heatmap(share, annot=words if words.shape[1] <= LEGIBLE else False, **look, ax=axes)
        axes.set(title=f"{label(variant)}\n{bits:g} bits, {codes:g} codes", xlabel="segment", ylabel="tap")
        axes.tick_params(length=0, labelrotation=0)
    return figure


@styled
def intent_weight(trials: pd.DataFrame) -> Figure:
    """AMR of unseen validation objects against the weight of the intent loss, a line per weight of the perceptual term.

    Args: trials: intent_weight.csv, each of whose `changes` names both weights.
    """
    named = trials["changes"].str.extractall(r"weights\.(intent|perceptual)=([\d.]+)").droplevel(1)
    weights = named.set_index(0, append=True)[1].astype(float).unstack()
    rows = trials.join(weights)
    rows = rows[rows["split"] == UNSEEN].sort_values("intent")
    across = sorted(rows["intent"].unique())
    figure, (panels,) = page(2.2, across="weight of the intent loss", up=AMR, sharey=True)
    for axes, judge in zip(panels, JUDGES, strict=True):
        own = rows[rows["judge"] == judge].rename(columns={"amr": "value"})
        for shade, (weight, line) in zip(SHADES, own.groupby("perceptual"), strict=False):
            places = [float(across.index(w)) for w in line["intent"]]
            axes.plot(places, line["value"], color=shade, label=f"perceptual term: {weight:g}")
            for place, (_, row) in zip(places, line.iterrows(), strict=True):
                with_interval(axes, place, row, (shade, "o"))
        axes.set_xticks(range(len(across)), [f"{w:g}" for w in across])
        axes.set_title(f"{label(UNSEEN)}, {label(judge)}")
        axes.grid()
    handles, _ = panels[0].get_legend_handles_labels()
    legend_below(figure, handles, columns=len(handles), floor=False)
    return figure
