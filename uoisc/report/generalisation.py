"""How far codecs carry: objects that they have not been trained on, in styles that they have not been trained on.

The styles are the codecs' own, those of the pre-training of CLIP and the judges, and one that nobody has seen
(`data/styles.py`). What no codec can pass, the judge itself, stands beside: its accuracy on source images.
"""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uoisc.base.results import DOMAINS, SEEN, UNSEEN, LeftOut, split_of
from uoisc.claims.names import in_order, label
from uoisc.judge.bootstrap import HEADLINE
from uoisc.report import figures
from uoisc.report.tables import INDEPENDENT, JUDGED, NONE, cell

# rows of the table
BELOW = {"floor: blank image": figures.FLOOR_OF, "accuracy on source images": "accuracy_source_reliable"}


def beyond(summary: pd.DataFrame, judge: str = INDEPENDENT) -> pd.DataFrame:
    """A judge's rows about the models that were tested in every style. Raises: LeftOut for none."""
    splits = {split_of(objects, domain) for objects, domain in product((SEEN, UNSEEN), DOMAINS)}
    own = summary[(summary["judge"] == judge) & summary["split"].isin(splits)]
    whole = own[own["metric"] == HEADLINE].groupby(["variant", "bits"])["split"].nunique() == len(splits)
    if not whole.any():
        raise LeftOut("images come in one style")
    return own.set_index(["variant", "bits"]).loc[whole.index[whole]].reset_index()


@figures.styled
def generalisation(summary: pd.DataFrame) -> Figure:
    """AMR over the types that count, by style, at each rate of the models that were tested in every style."""
    table = beyond(summary)
    rates = [bits for bits in figures.rate_points(summary) if bits in set(figures.at_rate(table, bits)["bits"])]
    figure, grid = figures.page(1.0 + 1.4 * len(rates), len(rates), 2, up=figures.AMR, sharey=True, sharex=True)
    for panels, bits in zip(grid, rates, strict=True):
        rows = figures.at_rate(table, bits)
        variants = in_order(rows["variant"])
        for axes, objects in zip(panels, (UNSEEN, SEEN), strict=True):
            for x, domain in enumerate(DOMAINS):
                own = rows[rows["split"] == split_of(objects, domain)]
                floor = own.loc[own["metric"] == figures.FLOOR_OF, "value"].mean()
                axes.hlines(floor, x - 0.42, x + 0.42, color=figures.BLACK, linestyle=":", linewidth=1.1)
                amr = own[own["metric"] == HEADLINE].set_index("variant")
                for variant, shift in zip(variants, np.linspace(-0.3, 0.3, len(variants)), strict=True):
                    figures.with_interval(axes, x + shift, amr.loc[variant], figures.look_of(variant))
            axes.set_xticks(range(len(DOMAINS)), [label(domain) for domain in DOMAINS])
            axes.set_title(f"{label(objects)}, about {bits:g} bits ({figures.count_of(amr)} in the last style)")
            axes.grid(axis="y")
    figures.legend_below(figure, [figures.variant_key(v, line="") for v in in_order(table["variant"])])
    return figure


def by_style(summary: pd.DataFrame) -> pd.DataFrame:
    """AMR over the types that count, by style, both judges; last of each, what no codec can do without (`BELOW`)."""
    columns = {split_of(objects, domain): (objects, domain) for objects in (UNSEEN, SEEN) for domain in DOMAINS}
    titles = {split: f"{objects}, {label(domain)}" for split, (objects, domain) in columns.items()}
    rows = []
    for of, judge in reversed(JUDGED.items()):
        table = beyond(summary, judge)
        amr = table[table["metric"] == HEADLINE].set_index(["variant", "bits", "split"]).sort_index()
        points = [(v, bits) for v in in_order(table["variant"]) for bits in sorted(amr.loc[v].index.unique("bits"))]
        for variant, bits in points:
            row = {"judge": of, "method": label(variant), "bits": f"{bits:g}"}
            rows.append(row | {title: cell(amr.loc[variant, bits, split]) for split, title in titles.items()})
        for name, metric in BELOW.items():
            means = table[table["metric"] == metric].groupby("split")["value"].mean()
            row = {"judge": of, "method": name, "bits": NONE}
            rows.append(row | {title: f"{means[split]:.3f}" for split, title in titles.items()})
    return pd.DataFrame(rows)


def judges_by_type(table: pd.DataFrame) -> pd.DataFrame:
    """The judges' accuracy on source images in the codecs' style by type of question. Raises: LeftOut for no types."""
    parts = table["metric"].str.extract(r"^accuracy(_unseen)?:(\w+)$")
    asked = table.assign(unseen=parts[0].notna(), type=parts[1]).dropna(subset="type")
    if asked.empty:
        raise LeftOut("the judges were checked on no types of question")
    rows = []
    for kind, own in asked.groupby("type", sort=False):
        cells = {(row["model"], row["unseen"]): cell(row) for _, row in own.iterrows()}
        titles = product(JUDGED.items(), ((False, "all objects"), (True, "unseen")))
        shown = {f"{title}, {of}": cells.get((judge, unseen), NONE) for (title, judge), (unseen, of) in titles}
        rows.append({"type": label(kind)} | shown)
    return pd.DataFrame(rows)
