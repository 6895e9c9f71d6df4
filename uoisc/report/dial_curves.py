"""Of the rate dial: figures of answers against bits under every control and against the rest of the picture, and the
table of what a second question costs."""

import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.settings import JUDGES
from uoisc.claims.names import FLOORS, in_order, label
from uoisc.judge.bootstrap import HEADLINE
from uoisc.report import figures
from uoisc.report.rate_answer import payload_bytes
from uoisc.report.tables import JUDGED, NONE, cell

OWN_MODELS = ("dial", "dial_blind_decoder", "dial_uniform", "dial_scratch_text", "uoisc")  # they write files
LINES = (*OWN_MODELS, "dial_oracle", "dial_no_query", "dial_random")
BYTES = (8, 12, 16, 24, 32, 48, 64, 96, 128)  # ticks
OWN = "own"  # the packing that the dial picks by itself
SECOND = {"fresh": "alone", "lacking": "what the first lacks", "adding": "as many bits more"}


@figures.styled
def rate_dial(summary: pd.DataFrame) -> Figure:
    """AMR against bits on unseen objects, one panel per judge: the dial, its controls, and fixed-rate UO-ISC."""
    ticks = figures.rate_points(summary, "dial")
    split = figures.splits_of(summary)[0]
    variants = [v for v in in_order(summary["variant"]) if v in LINES]
    return figures.rate_curves(summary, variants, [[(judge, split) for judge in JUDGES]], ticks, 2.5)


@figures.styled
def rate_dial_bytes(summary: pd.DataFrame, entropy: pd.DataFrame) -> Figure:
    """As `rate_dial` against the mean bytes of a file's payload, of what has files of its own."""
    own = summary[summary["variant"].isin(OWN_MODELS)]
    split = figures.splits_of(summary)[0]
    rows = own.assign(bits=payload_bytes(own, entropy)).dropna(subset="bits")
    figures.rate_points(rows, "dial")
    cells = [[(judge, split) for judge in JUDGES]]
    across = "payload of a file, bytes"
    return figures.rate_curves(rows, in_order(rows["variant"]), cells, BYTES, 2.5, across)


@figures.styled
def floor_dial(summary: pd.DataFrame) -> Figure:
    """AMR against whole-image PSNR of the dial as the floor changes, a line per budget, the floor's units beside it.

    The larger point without a number is the packing that the dial picks by itself.
    """
    floors = {"dial": OWN} | {name: str(units) for name, units in FLOORS.items()}
    own = figures.rate_points(summary, "dial")
    split = figures.splits_of(summary)[0]
    rows = summary[(summary["split"] == split) & summary["variant"].isin(floors)]
    budgets = rows["bits"].map(lambda bits: min(own, key=lambda point: max(point / bits, bits / point)))  # the nearest
    table = rows.assign(floor=rows["variant"].map(floors), budget=budgets).set_index(["budget", "floor"])
    psnr = table[table["metric"] == "psnr"]["value"]
    figure, (panels,) = figures.page(2.3, across="PSNR of the whole image, dB", up=figures.AMR, sharey=True)
    for axes, judge in zip(panels, JUDGES, strict=True):
        amr = table[(table["judge"] == judge) & (table["metric"] == HEADLINE)]
        for shade, (bits, line) in zip(figures.SHADES, amr.groupby(level=0), strict=False):
            line = line.droplevel(0)
            line = line.assign(across=psnr[bits].reindex(line.index)).sort_values("across")
            axes.plot(line["across"], line["value"], color=shade, marker="o", label=f"up to {bits:g} bits")
            for floor, row in line.iterrows():
                figures.with_interval(axes, row["across"], row, (shade, "o"))
                place = row["across"], row["value"]
                if floor == OWN:
                    axes.plot(*place, color=shade, marker="o", markersize=6)
                else:
                    axes.annotate(floor, place, (4, 3), textcoords="offset points", fontsize=7, color=shade)
        axes.set_title(f"{label(split)}, {label(judge)}")
        axes.grid()
    handles, _ = panels[0].get_legend_handles_labels()
    figures.legend_below(figure, handles, columns=len(handles), floor=False)
    return figure


def conversation(table: pd.DataFrame) -> pd.DataFrame:
    """A second question about a picture, a row per budget and form: payload, bits saved, AMR and its gain, on unseen
    objects."""
    rows = figures.rows_of(table, split=figures.splits_of(table)[0])
    fresh = figures.rows_of(rows, form="fresh", metric="payload_bits").set_index("bits")["value"]
    found = []
    for (bits, form), own in rows.groupby(["bits", "form"], sort=False):
        of = own.set_index(["judge", "metric"])
        spent = of.loc[("none", "payload_bits"), "value"]
        row = {"bits": f"{bits:g}", "second message": SECOND[form], "n": f"{of['n'].iloc[0]:g}"}
        row |= {"payload bits": f"{spent:.1f}", "saved": f"{100 * (1 - spent / fresh[bits]):.0f} %".replace("-", "−")}
        for title, judge in JUDGED.items():
            row[title] = cell(of.loc[(judge, "amr")])
            row[f"gain, {title}"] = cell(of.loc[(judge, "amr_gain")], signed=True) if form != "fresh" else NONE
        found.append(row)
    return pd.DataFrame(found)
