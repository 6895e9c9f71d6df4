"""Tables for the paper, each a pure function of the results.

Numbers come out as the text that is printed, so that the paper and the README cannot round differently:
`0.735 [0.700, 0.768]` is a value with its 95 % interval. `exhibits.py` lists all tables and says how to add one.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from uoisc.base.results import SEEN, UNSEEN, LeftOut
from uoisc.base.settings import JUDGES
from uoisc.claims.names import DIALS, FAIR_CHANCE, SAYS, in_order, label
from uoisc.claims.verdicts import NOT_MEASURED
from uoisc.data.questions import POOLED_TYPES
from uoisc.judge.bootstrap import HEADLINE, nearest_bits
from uoisc.report.figures import MAIN, at_rate, rate_points, rows_of, splits_of
from uoisc.report.link_figures import AIRS, LINKS, half_points
from uoisc.report.rate_answer import nearest, payload_bytes

NONE = "–"
INDEPENDENT = JUDGES[1]
JUDGED = dict(zip(("LLaVA", "independent"), JUDGES, strict=True))  # a column's title -> the judge
ALIKE = "no_alignment"  # what ablations are held against
SHOWN_DB = (10, 20)  # Es/N0 of the Rayleigh points in the table of links


def interval(value: float, low: float, high: float, percent: bool = False, signed: bool = False) -> str:
    """`0.735 [0.700, 0.768]`, or `+34.0 % [+25.1, +43.2]`; a dash where there is no number."""
    if pd.isna(value):
        return NONE
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    shown = [f"{scale * number:{'+' if signed else ''}.{digits}f}" for number in (value, low, high)]
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]".replace("-", "−")


def change(value: float | None, percent: bool) -> str:
    """A difference, or a ratio less one, without an interval; a dash where there is none."""
    if pd.isna(value):
        return NONE
    shown = f"{100 * value:+.1f} %" if percent else f"{round(value, 3) + 0.0:+.3f}"  # no -0.000
    return shown.replace("-", "−")


def cell(row: dict | pd.Series | None, prefix: str = "", digits: int | None = None, **style: bool) -> str:
    """A row's value with its interval (columns `prefix`, `prefix_low`, `prefix_high`), or with so many digits alone."""
    names = (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")
    if row is None or pd.isna(row[names[0]]):
        return NONE
    return interval(*(row[name] for name in names), **style) if digits is None else f"{row[names[0]]:.{digits}f}"


def _lookup(table: pd.DataFrame, keys: list[str]) -> Callable[..., str]:
    """Gives formatted numbers of one table by their keys; a dash where a row lacks."""
    rows = table.set_index(keys).sort_index()
    return lambda *key, **style: cell(rows.loc[[key]].iloc[0] if key in rows.index else None, **style)


def _measured(of: Callable[..., str], point: tuple, beside: dict[str, str]) -> dict[str, str]:
    """Cells of a point: AMR of both judges, what stands `beside` (title -> metric), AMR on seen objects, PSNR."""
    row = {f"unseen, {title}": of(*point, UNSEEN, judge, HEADLINE) for title, judge in JUDGED.items()}
    row |= {title: of(*point, UNSEEN, INDEPENDENT, metric, digits=3) for title, metric in beside.items()}
    seen, psnr = of(*point, SEEN, INDEPENDENT, HEADLINE), of(*point, UNSEEN, "none", "psnr", digits=1)
    return row | {"seen, independent": seen, "PSNR": psnr}


def _bytes(rows: pd.DataFrame, entropy: pd.DataFrame) -> pd.Series:
    """Payload bytes as text."""
    return payload_bytes(rows, entropy).map(lambda size: NONE if pd.isna(size) else f"{size:.1f}")


def main_comparison(summary: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """C1's table: the main variants at each rate, AMR with intervals, and all that AMR needs beside it, over the types
    of question that both judges answer reliably, but for the column of all."""
    of = _lookup(summary, ["variant", "bits", "split", "judge", "metric"])
    beside = {"floor": "amr_floor", "accuracy": "accuracy", "source right": "amr_source_right"}
    beside = {title: f"{metric}_reliable" for title, metric in (beside | {"wrong query": "amr_wrong_query"}).items()}
    rows = []
    amr = rows_of(summary, metric=HEADLINE, judge=INDEPENDENT, split=splits_of(summary)[0])
    amr = amr.assign(bytes=_bytes(amr, entropy))
    for rate in rate_points(summary):
        near = at_rate(amr, rate).drop_duplicates("variant").set_index("variant")
        for variant in [v for v in in_order(near.index) if v in (*MAIN, "jpeg2000")]:
            size, bits, n = near.loc[variant, ["bytes", "bits", "n"]]
            row = {"method": label(variant), "bytes": size, "bits": f"{bits:g}", "n": f"{n:g}"}
            rows.append(row | _measured(of, (variant, bits), beside | {"all types": "amr"}))
    return pd.DataFrame(rows)


def against(differences: pd.DataFrame, entropy: pd.DataFrame, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """The `wanted` variants, less `ALIKE`, at the tightest rate: both judges on unseen, one on seen objects."""
    ours = differences[differences["reference"] == ALIKE]
    ours = ours.assign(bytes=_bytes(ours, entropy))
    of = _lookup(ours, ["variant", "bits", "split", "judge"])
    tightest = ours.sort_values("bits", kind="stable").groupby("variant")[["bytes", "bits"]].first()
    rows = []
    for variant in filter(wanted, in_order(tightest.index)):
        size, bits = tightest.loc[variant]
        row = {"method": label(variant), "bytes": size, "bits": f"{bits:g}"}
        for title, judge in JUDGED.items():
            row[f"unseen, {title}"] = of(variant, bits, UNSEEN, judge, prefix="difference", signed=True)
        relative = of(variant, bits, UNSEEN, INDEPENDENT, prefix="relative", signed=True, percent=True)
        seen = of(variant, bits, SEEN, INDEPENDENT, prefix="difference", signed=True)
        rows.append(row | {"relative, independent": relative, "seen, independent": seen})
    if not rows:
        raise LeftOut(f"nothing else is trained to hold against `{ALIKE}`")
    return pd.DataFrame(rows)


def ablations(differences: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """C2's table: the method, each ablation and both readings of alignment, less `no_alignment`."""
    return against(differences, entropy, lambda name: name not in FAIR_CHANCE)


def fair_chance(differences: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """FiLM's fair chance: every other way in which the query was let into the codec, less `no_alignment`."""
    return against(differences, entropy, lambda name: name in ("uoisc", *FAIR_CHANCE))


def _with_rate(table: pd.DataFrame) -> pd.DataFrame:
    """The column `rate`: 0 for rows near the tightest rate of `uoisc`, 1 for the next, ...; the bits where none is."""
    rates = sorted(table.loc[table["variant"] == "uoisc", "bits"].unique())
    near = {bits: nearest_bits(bits, rates) for bits in table["bits"].unique()}
    names = {bits: f"{bits:g}" if rate is None else str(rates.index(rate)) for bits, rate in near.items()}
    return table.assign(rate=table["bits"].map(names))


def numbers(summary: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """Every metric over several question types, as text for the prose; `rate` counts from the tightest of `uoisc`."""
    table = _with_rate(summary[~summary["metric"].str.contains(":")])
    table = table.assign(bytes=_bytes(table, entropy), text=table.apply(cell, axis=1))
    return table[["variant", "rate", "bytes", "bits", "split", "judge", "metric", "n", "text"]]


def pairs(differences: pd.DataFrame) -> pd.DataFrame:
    """Every paired difference as text for the prose; `sign`: on which side of zero its interval lies."""
    table = _with_rate(differences)
    rows = table.to_dict("records")
    sign = np.where(table["difference_low"] > 0, "above", np.where(table["difference_high"] < 0, "below", "unclear"))
    keys = ["variant", "reference", "rate", "bits", "reference_bits", "split", "judge", "n"]
    return table[keys].assign(
        difference=[cell(row, "difference", signed=True) for row in rows],
        relative=[cell(row, "relative", signed=True, percent=True) for row in rows],
        sign=sign,
    )


def dial(summary: pd.DataFrame, entropy: pd.DataFrame) -> pd.DataFrame:
    """The rate-answer table: AMR on unseen objects of the dial, its controls and its rivals, both judges, by budget.

    A column per budget, called by the dial's own payload and bits: the point of each method nearest to those bits.
    """
    budgets, table = rate_points(summary, "dial"), []
    rows = rows_of(summary, metric=HEADLINE, split=splits_of(summary)[0])
    sizes = _bytes(pd.DataFrame({"variant": "dial", "bits": budgets}), entropy)
    titles = [f"{size} bytes ({budget:g} bits)" for size, budget in zip(sizes, budgets, strict=True)]
    for variant in [v for v in in_order(rows["variant"]) if v in DIALS or v in MAIN]:
        for judge in JUDGES:
            own = rows[(rows["variant"] == variant) & (rows["judge"] == judge)].set_index("bits")
            near = [nearest_bits(budget, own.index) for budget in budgets]
            cells = [cell(None if bits is None else own.loc[bits]) for bits in near]
            table.append({"method": label(variant), "judge": label(judge), **dict(zip(titles, cells, strict=True))})
    return pd.DataFrame(table)


def foundation(table: pd.DataFrame) -> pd.DataFrame:
    """How good the stand-ins are, a row per metric and style, a column per model; of several types, which."""
    shown = table.assign(text=table.apply(cell, axis=1))
    of_types = table["metric"].str.contains("^accuracy.*:")
    order = list(dict.fromkeys(table["metric"][~of_types]))
    wide = shown.pivot_table(index="metric", columns="model", values="text", aggfunc="first").reindex(order)
    models = [m for m in ("clip", *JUDGES) if m in wide.columns] + sorted(set(wide.columns) - {"clip", *JUDGES})
    names = {"clip": "CLIP", JUDGES[0]: "LLaVA", JUDGES[1]: "independent judge"}
    pooled = f" of {', '.join(POOLED_TYPES)}" if of_types.any() else ""
    rows = [metric.replace("accuracy", f"accuracy{pooled}").replace("_", " ") for metric in order]
    wide.index = [row.replace(":", ", ").replace("@", ", ") for row in rows]
    return wide[models].fillna(NONE).rename(columns=names).rename_axis("metric").reset_index()


def data_card(table: pd.DataFrame) -> pd.DataFrame:
    """Per question type and split: questions, distinct answers, (the best constant answer's accuracy)."""
    rows = []
    for kind in in_order(table["type"]):
        row = {"type": label(kind)}
        for split in dict.fromkeys(table["split"]):
            counts = table[(table["type"] == kind) & (table["split"] == split)]["count"]
            row[split] = f"{counts.sum():g}, {len(counts)} ({counts.max() / counts.sum():.2f})" if len(counts) else NONE
        rows.append(row)
    return pd.DataFrame(rows)


def entropy(table: pd.DataFrame) -> pd.DataFrame:
    """What the kinds of probability tables cost a message in bits, and the payload's real bytes, a row per codec."""
    wide = table.pivot_table(index=["variant", "bits"], columns="tables", values="entropy_bits")
    wide["bytes"] = table[table["chosen"]].groupby(["variant", "bits"])["payload_bits"].mean() / 8
    shown = wide.reindex(columns=["static", "conditioned", "causal", "bytes"])
    shown = shown.map(lambda value: NONE if pd.isna(value) else f"{value:.1f}").reset_index()
    order = in_order(shown["variant"])
    shown = shown.sort_values(["variant", "bits"], key=lambda c: c.map(order.index) if c.name == "variant" else c)
    shown = shown.assign(variant=shown["variant"].map(label), bits=shown["bits"].map("{:g}".format))
    return shown.rename(columns={"variant": "method"})


def equal_bytes(points: pd.DataFrame) -> pd.DataFrame:
    """The trained codecs' points and, of the standard ones, those nearest to UO-ISC's in bytes; the cheapest first."""
    of = _lookup(points, ["codec", "form", "setting", "split", "judge", "metric"])
    rows = []
    for _, point in nearest(points).iterrows():
        key = (point["codec"], point["form"], point["setting"])
        row = {"method": label(point["codec"]), "form": label(point["form"]), "n": f"{point['n']:g}"}
        row |= {"bytes": f"{point['bytes']:.1f}", "less flat": f"{point['bytes_less_flat']:.1f}"}
        rows.append(row | _measured(of, key, {"floor": "amr_floor_reliable"}))
    return pd.DataFrame(rows)


def bd_rate(table: pd.DataFrame) -> pd.DataFrame:
    """BD-rate against the anchor in the same form, with the range that both reach; or why there is none."""
    shown = {"PSNR, unseen": (UNSEEN, "none")}
    shown |= {f"AMR unseen, {title}": (UNSEEN, judge) for title, judge in JUDGED.items()}
    shown["AMR seen, independent"] = (SEEN, INDEPENDENT)
    rows = []
    for keys, cells in table.groupby(["codec", "form", "anchor", "anchor_form"], sort=False):
        row = dict(zip(("method", "form", "anchor", "its form"), map(label, keys), strict=True))
        for title, (split, judge) in shown.items():
            if split not in set(cells["split"]):
                row[title] = NONE
                continue
            own = rows_of(cells, split=split, judge=judge).iloc[0]
            digits = 1 if judge == "none" else 2
            over = f"{own['low']:.{digits}f} to {own['high']:.{digits}f}"
            row[title] = own["undefined"] or f"{own['bd_rate']:+.0f} % ({over})".replace("-", "−")
        rows.append(row)
    return pd.DataFrame(rows)


def channel(table: pd.DataFrame) -> pd.DataFrame:
    """AMR over noisy links, unseen objects, independent judge: a row per method, rate and link, the floor last.

    Nothing: AMR where nothing arrives. The last columns: the Es/N0 in dB at which half of what a perfect link gives
    above the floor is left.
    """
    unseen = table[table["split"] == splits_of(table)[0]]
    halves = half_points(table)
    at = ["variant", "bits", "link", "fading", "es_n0_db"]
    judged = unseen[unseen["judge"] == INDEPENDENT]
    amr = judged[judged["metric"] == "amr"].set_index(at)
    symbols = unseen[unseen["metric"] == "symbols"].groupby(at[:3])["value"].first()
    perfect, silent = (amr.xs(name, level="link").reset_index().set_index(at[:2]) for name in ("perfect", "silent"))
    order = {key: place for place, key in enumerate([*in_order(halves.reset_index()["variant"]), *LINKS])}
    rows = []
    for variant, bits, link in sorted(halves.index, key=lambda key: (order[key[0]], key[1], order[key[2]])):
        point = (variant, bits)
        row = {"method": label(variant), "bits": f"{bits:.0f}", "link": LINKS[link]}
        row |= {"symbols": f"{symbols[variant, bits, link]:.0f}", "no errors": cell(perfect.loc[point])}
        row["nothing"] = cell(silent.loc[point] if point in silent.index else None, digits=3)
        row |= {f"Rayleigh {snr} dB": cell(amr.loc[(variant, bits, link, "rayleigh", snr)]) for snr in SHOWN_DB}
        for fading, name in AIRS.items():
            half = halves.at[(variant, bits, link), fading]
            row[f"half at, {name}"] = f"{half:.1f}" if np.isfinite(half) else NONE
        rows.append(row)
    floor = judged[judged["metric"] == "amr_floor"].iloc[0]
    return pd.DataFrame([*rows, {"method": "blank image", "no errors": cell(floor)}]).fillna(NONE)


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `verdicts.decide` as text: this run's value, and the mean with its interval over fresh runs."""
    table = []
    for row in rows.to_dict("records"):
        percent = row["reading"] == "/"
        cells = {name: row[name] for name in ("id", "statement", "compared")}
        sizes = [row[f"{side}payload_bits"] / 8 for side in ("", "reference_")]
        cells["bytes"] = " / ".join(f"{size:.1f}" for size in sizes if not pd.isna(size)) or NONE
        columns = {"paper": "paper", "goal": "goal", "one run": "value", "over runs": "mean"}
        cells |= {title: change(row[name], percent) for title, name in columns.items()}
        if row["runs"] > 1:
            cells["over runs"] = interval(row["mean"], row["low"], row["high"], percent, signed=True)
        table.append(cells | {"runs": row["runs"], "verdict": row["verdict"]})
    return pd.DataFrame(table)


def claims(rows: pd.DataFrame) -> pd.DataFrame:
    """The primary contrasts: the paper's number, this run's, the mean over runs, the verdict; the types that count."""
    counted = [", ".join(map(label, kinds.split("+"))) for kinds in rows["types"].dropna().unique()]
    table = _verdicts(rows[rows["primary"].astype(bool)]).drop(columns="goal")
    return table.assign(types=next(iter(counted), NONE))


def goals(rows: pd.DataFrame) -> pd.DataFrame:
    """The secondary contrasts that were measured, those with a goal first. Raises: LeftOut where none was."""
    own = rows[~rows["primary"].astype(bool) & (rows["verdict"] != NOT_MEASURED)]
    if own.empty:
        raise LeftOut("no secondary contrast speaks of this profile's models")
    return _verdicts(own)


def methods(summary: pd.DataFrame) -> pd.DataFrame:
    """The glossary: each method's name in the results, what tables call it, and what it is."""
    rows = [(name, label(name), SAYS[name]) for name in in_order(summary["variant"]) if name in SAYS]
    return pd.DataFrame(rows, columns=["name", "method", "what it is"])
