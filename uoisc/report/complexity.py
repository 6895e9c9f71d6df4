"""What complex and ambiguous queries cost: AMR by the tiles that an answer needs, and by how many answers are right."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.results import LeftOut
from uoisc.base.settings import JUDGES
from uoisc.claims.names import in_order, label
from uoisc.claims.runs import COMPLEX
from uoisc.judge.bootstrap import nearest_bits
from uoisc.report import figures

SHOWN = (*figures.MAIN, "dial", "dial_oracle")
CONTROL = {  # what a method leads by: the same codec but for its treatment of the query
    "uoisc": "no_alignment",
    "adaptive": "uniform",
    "dial": "dial_uniform",
}


def complexity(summary: pd.DataFrame) -> pd.DataFrame:
    """AMR by what a query asks for, with floor and interval: a row per model, judge, split and group.

    Index: variant, bits, seed, judge, split, group ("tiles:1" ... of queries with one right answer;
    "answers:one" and "answers:several", of the types that ask ambiguous ones). Columns: value, low, high, n, floor,
    source (the judge's accuracy on source images).
    Raises: LeftOut where no source says how many tiles an answer needs, as of photographs.
    """
    keys = ["variant", "bits", "seed", "judge", "split"]
    parts = summary["metric"].str.extract(r"^(amr|amr_floor|accuracy_source)_((?:tiles|answers):\w+)$")
    rows = summary.assign(metric=parts[0], group=parts[1]).dropna(subset="group")
    if rows.empty:
        raise LeftOut("nobody knows which part of these images an answer needs")
    by = rows.set_index([*keys, "group", "metric"])
    others = by["value"].unstack("metric")
    amr = by.xs("amr", level="metric")[["value", "low", "high", "n"]]
    return amr.join(others.rename(columns={"amr_floor": "floor", "accuracy_source": "source"})[["floor", "source"]])


def leads(summary: pd.DataFrame) -> pd.DataFrame:
    """What a method's treatment of the query is worth on simple and on complex queries: its AMR less its control's.

    Columns: variant, bits, seed, judge, split; contrast: "tiles" (one, against `COMPLEX` or more) or "answers" (one
    right answer, against several, to the same questions); simple, complex: the method's AMR; lead_simple,
    lead_complex: over `CONTROL` at the nearest rate; change: the lead on complex queries less that on simple ones.
    """
    table = complexity(summary).reset_index()
    table[["contrast", "asked"]] = table["group"].str.split(":", expand=True)
    sides = {"1": "simple", "one": "simple", "several": "complex"}
    table["side"] = [sides.get(a) or ("complex" if int(a) >= COMPLEX else None) for a in table["asked"]]
    keys = ["variant", "bits", "seed", "judge", "split", "contrast"]
    table = table.assign(matches=table["value"] * table["n"]).dropna(subset="side")
    sums = table.groupby([*keys, "side"])[["matches", "n"]].sum()
    means = (sums["matches"] / sums["n"]).unstack("side")[["simple", "complex"]]
    rows = []
    for variant, control in CONTROL.items():
        if not {variant, control} <= {*table["variant"]}:
            continue
        others = means.loc[control]
        for bits, own in means.loc[variant].groupby(level="bits"):
            near = nearest_bits(bits, others.index.get_level_values("bits").unique())
            if near is None:
                continue
            lead = own.droplevel("bits") - others.loc[near]
            both = own.droplevel("bits").join(lead.add_prefix("lead_"))
            rows.append(both.assign(variant=variant, bits=bits, change=lead["complex"] - lead["simple"]).reset_index())
    if not rows:
        raise LeftOut("no method is trained beside its control")
    return pd.concat(rows, ignore_index=True)[[*keys, "simple", "complex", "lead_simple", "lead_complex", "change"]]


def lead_table(summary: pd.DataFrame) -> pd.DataFrame:
    """`leads` as text, judges apart, unseen objects: a row per method, rate and contrast."""
    table = leads(summary)
    table = table[table["split"] == figures.splits_of(summary)[0]]
    shown = {
        "simple": "AMR, simple",
        "complex": "complex",
        "lead_simple": "lead, simple",
        "lead_complex": "lead, complex",
    }
    cells = table[[*shown, "change"]].map(lambda value: "–" if pd.isna(value) else f"{value:+.3f}".replace("-", "−"))
    keys = {"method": table["variant"].map(label), "bits": table["bits"].map("{:g}".format)}
    keys |= {"judge": table["judge"].map(label), "contrast": table["contrast"]}
    return pd.DataFrame(keys).join(cells.rename(columns=shown))


@figures.styled
def amr_by_complexity(summary: pd.DataFrame) -> Figure:
    """AMR by the tiles that an answer needs, and of questions with one right answer and with several, with floors, at
    UO-ISC's tightest rate on unseen objects, independent judge."""
    split = figures.splits_of(summary)[0]
    bits = figures.rate_points(summary)[0]
    chosen = figures.at_rate(summary[(summary["split"] == split) & (summary["judge"] == JUDGES[-1])], bits)
    table = complexity(chosen).reset_index()
    variants = [variant for variant in in_order(table["variant"]) if variant in SHOWN]
    groups = sorted(table["group"].unique())
    titles = {"tiles": "tiles that the answer needs", "answers": "right answers"}
    panels = {title: [g for g in groups if g.startswith(start)] for start, title in titles.items()}
    ratios = {"width_ratios": [len(own) + 0.5 for own in panels.values()]}
    figure, (grid,) = figures.page(2.4, 1, 2, up=figures.AMR, sharey=True, gridspec_kw=ratios)
    shifts = np.linspace(-0.32, 0.32, len(variants))
    for axes, (title, own) in zip(grid, panels.items(), strict=True):
        for place, group in enumerate(own):
            rows = table[table["group"] == group]
            axes.hlines(rows["floor"].mean(), place - 0.42, place + 0.42, color=figures.BLACK, linestyle=":")
            for variant, shift in zip(variants, shifts, strict=True):
                for _, row in rows[rows["variant"] == variant].iterrows():
                    figures.with_interval(axes, place + shift, row, figures.look_of(variant))
        counts = [figures.count_of(table[table["group"] == group]) for group in own]
        names = [group.split(":")[1] for group in own]
        axes.set_xticks(range(len(own)), [f"{name}\n({count})" for name, count in zip(names, counts, strict=True)])
        axes.set_xlabel(title)
        axes.grid(axis="y")
    grid[0].set_title(f"{label(split)}, {label(JUDGES[-1])}")
    rates = table.groupby("variant")["bits"].first()
    keys = [figures.variant_key(v, line="", more=f", {rates[v]:g} bits") for v in variants]
    figures.legend_below(figure, keys)
    return figure
