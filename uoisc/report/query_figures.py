"""What the query changes, and what text in a picture's place would do: figures and a table."""

from collections.abc import Iterator
from math import ceil

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uoisc.base.results import BOTH
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.judge.bootstrap import nearest_bits
from uoisc.report import figures
from uoisc.report.tables import NONE, cell

TEXTS = ("answer", "description", "sprites")
PERFECT = "perfect"  # the description by a recogniser that never errs: a control, in the table alone
GUESS = "guess"  # nothing is sent
LINES = ("-", "--", "-.", ":", (0, (1, 2)), (0, (6, 1.5)))  # of one method's rates
CHANGED = {
    "flips": (figures.SKY, "o", "indices that differ"),
    "moves": (figures.BLACK, "D", "first tokens that differ"),
}
POOLED = (figures.BLACK, "D")  # the look of both judges' mean


@figures.styled
def right_less_wrong(effect: pd.DataFrame) -> Figure:
    """AMR for the right query less AMR for another one on unseen objects, each method at UO-ISC's rates, and which
    shares of the indices and of the first tokens that other query changes."""
    split = figures.splits_of(effect)[0]
    table = figures.rows_of(effect, "query_effect.csv", split=split)
    known = figures.rows_of(table, "query_effect.csv", variant="uoisc")["bits"].unique()
    sent = {(row.variant, row.bits) for row in table.itertuples() if nearest_bits(row.bits, known) is not None}
    order = in_order(table["variant"])
    shown = sorted(sent, key=lambda point: (order.index(point[0]), point[1]))
    places = {point: place for place, point in enumerate(shown)}
    figure, (panels,) = figures.page(max(1.4, 0.75 + 0.155 * len(shown)), sharey=True, width_ratios=(1.5, 1))
    for row in table.to_dict("records"):
        if (place := places.get((row["variant"], row["bits"]))) is None:
            continue
        look = figures.JUDGE_LOOKS.get(row["judge"], POOLED)
        figures.with_interval(panels[0], place + figures.BESIDE.get(row["judge"], 0) * 1.5, row, look, sideways=True)
        for name, (colour, marker, _) in CHANGED.items() if row["judge"] == BOTH else ():
            panels[1].plot(100 * row[name], place, marker, color=colour)
    panels[0].axvline(0, color=figures.BLACK, linestyle=":", linewidth=0.9)
    panels[0].set_xlabel(f"AMR, right query less another one{figures.CI}")
    panels[0].set_title(f"{label(split)} ({figures.count_of(table)})")
    panels[0].set_yticks(range(len(shown)), [f"{label(v)}, {bits:g} bits" for v, bits in shown])
    panels[0].set_ylim(len(shown) - 0.5, -0.5)
    panels[1].set_xscale("symlog", linthresh=1)  # even in [0, 1] %, where FiLM's lie, then by tens
    panels[1].set_xticks(shares := (0, 0.5, 1, 10, 100), [f"{share:g}" for share in shares])
    panels[1].set(xlabel="%", title="changed by another query", xlim=(-0.1, 130))
    for axes in panels:
        axes.grid(axis="x")
    pooled = Line2D([], [], color=POOLED[0], marker=POOLED[1], label="both judges")
    shares = [Line2D([], [], color=c, marker=m, linestyle="", label=name) for c, m, name in CHANGED.values()]
    figures.legend_below(figure, [*figures.judge_keys(), pooled, *shares], columns=5, floor=False)
    return figure


def _series(bounds: pd.DataFrame, entropy: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(method, title, rows of the independent judge on unseen objects by the number of questions) of texts, and of
    pictures rate by rate; bits are ideal ones, of pictures those of the chosen tables."""
    table = figures.rows_of(bounds, "text_bounds.csv", split=figures.splits_of(bounds)[0], judge=JUDGES[-1])
    ideal = entropy[entropy["chosen"]].set_index(["variant", "bits"])["entropy_bits"]
    for method in [m for m in in_order(table["method"]) if m != GUESS]:
        own = table[table["method"] == method]
        if method in (*TEXTS, PERFECT):
            yield method, label(method), own.set_index("questions")
            continue
        for bits, rate in own.groupby("bits"):
            spent = ideal.get((method, bits), bits)
            yield method, f"{label(method)}, {bits:g} bits", rate.assign(bits=spent).set_index("questions")


@figures.styled
def text_bounds(bounds: pd.DataFrame, entropy: pd.DataFrame) -> Figure:
    """What so many questions about one scene cost as text and as one picture, sent for the first of them, and the share
    that is answered as about the scene, independent judge; the first question is about unseen objects."""
    labels = ("ideal bits in all", f"AMR over the questions{figures.CI}")
    figure, (panels,) = figures.page(2.9, across="questions about one scene")
    keys = []
    for i, (method, title, rows) in enumerate(one for one in _series(bounds, entropy) if one[0] != PERFECT):
        amr = rows[rows["metric"] == "amr"]
        colour, marker = figures.look_of(method)
        line = LINES[sum(drawn == method for drawn, _ in keys) % len(LINES)]
        panels[0].plot(amr.index, amr["bits"], color=colour, marker=marker, linestyle=line)
        panels[1].plot(amr.index, amr["value"], color=colour, linestyle=line)
        for known, row in amr.iterrows():
            figures.with_interval(panels[1], known * figures.SHIFT**i, row, (colour, marker))
        keys.append((method, Line2D([], [], color=colour, marker=marker, linestyle=line, label=title)))
    for axes, up in zip(panels, labels, strict=True):
        axes.set_xscale("log", base=2)
        axes.set_xticks(amr.index, [f"{known:g}" for known in amr.index])
        axes.set_ylabel(up)
        axes.grid()
    panels[0].set_yscale("log")
    figures.legend_below(figure, [key for _, key in keys], columns=4, floor=False)
    return figure


def text_table(bounds: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """Text and pictures for one question and for eight: bits, AMR of the independent judge on unseen objects, on
    questions not foreseen, and from how many questions on it is cheaper than answers; last the query's own bits."""
    series = [*_series(bounds, entropy)]
    table = []
    each = next(rows["bits"].iloc[0] for method, _, rows in series if method == "answer")
    for method, title, rows in series:
        by = {(known, row["metric"]): row for known, row in rows.iterrows()}
        first = by[1, "amr"]
        last = by[max(rows.index), "amr"]
        row = {"what is sent": title, "bits, 1 question": f"{first['bits']:.1f}", "bits, all": f"{last['bits']:.1f}"}
        row |= {"AMR, 1 question": cell(first), "AMR, all": cell(last)}
        row |= {"AMR, not foreseen": cell(by.get((1, "amr_unforeseen")))}
        table.append(row | {"cheaper from": NONE if method == "answer" else f"{ceil(first['bits'] / each)}"})
    query = bounds[(bounds["method"] == "query") & (bounds["split"] == figures.splits_of(bounds)[0])]
    names = {"utf8_bits": "the query itself, as text", "ideal_bits": "the query itself, ideally"}
    for row in query.to_dict("records"):
        table.append({"what is sent": names[row["metric"]], "bits, 1 question": f"{row['value']:.1f}"})
    return pd.DataFrame(table).fillna(NONE)
