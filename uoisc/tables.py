"""Tables for the paper, each a pure function of the results (and of params.yaml).

Numbers come out as the text that is printed, so that the paper and the README cannot round differently:
`0.735 [0.700, 0.768]` is a value with its 95 % interval. `write_tables` writes each as a CSV that
paper.typ reads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from uoisc.bootstrap import nearest_bits
from uoisc.claims import Claim, decide, describe, gather, load_claims
from uoisc.errors import ResultsError
from uoisc.figures import MAIN, at_rate, in_order, label, rate_points, rows_of
from uoisc.link_figures import AIRS, LINKS, half_points
from uoisc.provenance import settings
from uoisc.rate_answer import bd_rates, nearest, read_points
from uoisc.results import POOLED, SEEN, UNSEEN, headline, read_table, write_csv
from uoisc.seeds import verdicts
from uoisc.settings import JUDGES

NONE = "–"
FAIR_CHANCE = "uoisc_"  # variants that give FiLM its fair chance are named so


def interval(value: float, low: float, high: float, percent: bool = False, signed: bool = False) -> str:
    """`0.735 [0.700, 0.768]`, or `+34.0 % [+25.1, +43.2]`; a dash where there is no number."""
    if pd.isna(value):
        return NONE
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    shown = [f"{scale * number:{'+' if signed else ''}.{digits}f}" for number in (value, low, high)]
    return f"{shown[0]}{unit} [{shown[1]}, {shown[2]}]".replace("-", "−")


def paper_figure(value: float | None, percent: bool) -> str:
    """The paper's figure in the unit of ours; a dash where it gives none."""
    return NONE if value is None else (f"{100 * value:+.1f} %" if percent else f"{value:+.3f}").replace("-", "−")


class _Lookup:
    """Formatted numbers of one table by their keys; a dash where a row lacks."""

    def __init__(self, table: pd.DataFrame, keys: list[str]) -> None:
        self.rows = headline(table).set_index(keys).sort_index()

    def __call__(self, *key: object, prefix: str = "", digits: int | None = None, **style: bool) -> str:
        """A value with its interval, or with so many digits alone."""
        if key not in self.rows.index:
            return NONE
        row = self.rows.loc[[key]].iloc[0]
        names = (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")
        if digits is None:
            return interval(*(row[name] for name in names), **style)
        return NONE if pd.isna(row[names[0]]) else f"{row[names[0]]:.{digits}f}"


def main_comparison(summary: pd.DataFrame) -> pd.DataFrame:
    """C1's table: the main variants at each rate, AMR with intervals, and all that AMR needs beside it."""
    of = _Lookup(summary, ["variant", "bits", "split", "judge", "metric"])
    llava, independent = JUDGES
    rows = []
    amr = rows_of(headline(summary), metric="amr", judge=independent, split=UNSEEN)
    for bits in rate_points(summary):
        near = at_rate(amr, bits)
        for variant in [v for v in in_order(near["variant"]) if v in (*MAIN, "jpeg2000")]:
            own = near[near["variant"] == variant].iloc[0]
            unseen, seen = (variant, own["bits"], UNSEEN), (variant, own["bits"], SEEN)
            rows.append({
                "method": label(variant), "bits": f"{own['bits']:g}", "n": f"{own['n']:g}",
                "unseen, LLaVA": of(*unseen, llava, "amr"),
                "unseen, independent": of(*unseen, independent, "amr"),
                "floor": of(*unseen, independent, "amr_floor", digits=3),
                "accuracy": of(*unseen, independent, "accuracy", digits=3),
                "source right": of(*unseen, independent, "amr_source_right", digits=3),
                "wrong query": of(*unseen, independent, "amr_wrong_query", digits=3),
                "seen, independent": of(*seen, independent, "amr"),
                "PSNR": of(*unseen, "none", "psnr", digits=1),
            })  # fmt: skip
    return pd.DataFrame(rows)


def against(differences: pd.DataFrame, variants: list[str], reference: str) -> pd.DataFrame:
    """Variants less one reference at the tightest rate: both judges on unseen, one on seen objects."""
    ours = headline(differences[differences["reference"] == reference])
    of = _Lookup(ours, ["variant", "bits", "split", "judge"])
    rows = []
    for variant in variants:
        bits = ours[ours["variant"] == variant]["bits"].min()
        if pd.isna(bits):
            continue
        llava, independent, seen = (
            (variant, bits, split, judge)
            for split, judge in ((UNSEEN, JUDGES[0]), (UNSEEN, JUDGES[1]), (SEEN, JUDGES[1]))
        )
        rows.append({
            "method": label(variant), "bits": f"{bits:g}",
            "unseen, LLaVA": of(*llava, prefix="difference", signed=True),
            "unseen, independent": of(*independent, prefix="difference", signed=True),
            "relative, independent": of(*independent, prefix="relative", signed=True, percent=True),
            "seen, independent": of(*seen, prefix="difference", signed=True),
        })  # fmt: skip
    if not rows:
        raise ResultsError(
            f"differences.csv has no rows against {reference}; run `make repro` again (stage evaluation)"
        )
    return pd.DataFrame(rows)


def ablations(differences: pd.DataFrame) -> pd.DataFrame:
    """C2's table: the method, each ablation and both readings of alignment, less `no_alignment`."""
    names = in_order(differences["variant"])
    return against(differences, [v for v in names if not v.startswith(FAIR_CHANCE)], "no_alignment")


def fair_chance(differences: pd.DataFrame) -> pd.DataFrame:
    """FiLM's fair chance: every other way in which the query was let into the codec, less `no_alignment`."""
    names = [v for v in in_order(differences["variant"]) if v == "uoisc" or v.startswith(FAIR_CHANCE)]
    return against(differences, names, "no_alignment")


def _with_rate(table: pd.DataFrame) -> pd.DataFrame:
    """The column `rate`: 0 for rows near the tightest rate of `uoisc`, 1 for the next, ...; the bits where none is."""
    rates = sorted(table.loc[table["variant"] == "uoisc", "bits"].unique())
    near = {bits: nearest_bits(bits, rates) for bits in table["bits"].unique()}
    names = {bits: f"{bits:g}" if rate is None else str(rates.index(rate)) for bits, rate in near.items()}
    return table.assign(rate=table["bits"].map(names))


def numbers(summary: pd.DataFrame) -> pd.DataFrame:
    """Every metric over all question types, as text for the prose; `rate` counts from the tightest of `uoisc`."""
    table = headline(summary)
    table = _with_rate(table[~table["metric"].str.contains(":")])
    shown = [interval(*row) for row in table[["value", "low", "high"]].to_numpy()]
    return table[["variant", "rate", "bits", "split", "judge", "metric", "n"]].assign(text=shown)


def pairs(differences: pd.DataFrame) -> pd.DataFrame:
    """Every paired difference as text for the prose; `sign`: on which side of zero its interval lies."""
    table = _with_rate(headline(differences))
    absolute, relative = (
        [interval(*row, percent=percent, signed=True) for row in table[columns].to_numpy()]
        for percent, columns in (
            (False, ["difference", "difference_low", "difference_high"]),
            (True, ["relative", "relative_low", "relative_high"]),
        )
    )
    sign = np.where(table["difference_low"] > 0, "above", np.where(table["difference_high"] < 0, "below", "unclear"))
    keys = ["variant", "reference", "rate", "bits", "reference_bits", "split", "judge", "n"]
    return table[keys].assign(difference=absolute, relative=relative, sign=sign)


def dial(summary: pd.DataFrame) -> pd.DataFrame:
    """The rate-answer table: AMR on unseen objects of the dial, its controls and its rivals, both judges, by budget.

    A column a budget: the point of each method nearest to the dial's own bits, which stand first.
    """
    rows = rows_of(headline(summary), metric="amr", split=UNSEEN)
    budgets = sorted(rows.loc[rows["variant"] == "dial", "bits"].unique())
    methods = [v for v in in_order(rows["variant"]) if v.startswith("dial") or v in MAIN]
    table = []
    for variant in methods:
        for judge in JUDGES:
            own = rows[(rows["variant"] == variant) & (rows["judge"] == judge)].set_index("bits")
            cells = {}
            for budget in budgets:
                bits = nearest_bits(budget, own.index)
                row = None if bits is None else own.loc[bits]
                cells[f"{budget:g}"] = NONE if row is None else interval(*row[["value", "low", "high"]])
            table.append({"method": label(variant), "judge": label(judge), **cells})
    return pd.DataFrame(table)


def foundation(table: pd.DataFrame) -> pd.DataFrame:
    """How good the stand-ins for the foundation models are, a row a metric, a column a model."""
    shown = table.assign(text=[interval(*row) for row in table[["value", "low", "high"]].to_numpy()])
    order = list(dict.fromkeys(table["metric"]))
    wide = shown.pivot_table(index="metric", columns="model", values="text", aggfunc="first").reindex(order)
    models = [m for m in ("clip", *JUDGES) if m in wide.columns] + sorted(set(wide.columns) - {"clip", *JUDGES})
    names = {"clip": "CLIP", "llava": "LLaVA", "llava_independent": "independent judge"}
    wide.index = [metric.replace("_", " ").replace(":", ", ") for metric in wide.index]
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
    """What the kinds of probability tables cost a message in bits, and the payload's real bytes, a row a codec."""
    wide = table.pivot_table(index=["variant", "bits"], columns="tables", values="entropy_bits")
    wide["bytes"] = table[table["chosen"]].groupby(["variant", "bits"])["payload_bits"].mean() / 8
    wide = wide.reindex(columns=["static", "conditioned", "causal", "bytes"]).reset_index()
    order = {name: place for place, name in enumerate(in_order(wide["variant"]))}
    wide = wide.sort_values(["variant", "bits"], key=lambda c: c.map(order) if c.name == "variant" else c)
    shown = wide[["static", "conditioned", "causal", "bytes"]].map(lambda v: NONE if pd.isna(v) else f"{v:.1f}")
    names = wide.assign(method=wide["variant"].map(label), bits=wide["bits"].map("{:g}".format))[["method", "bits"]]
    return pd.concat([names, shown], axis=1)


def equal_bytes(points: pd.DataFrame) -> pd.DataFrame:
    """The trained codecs' points and, of the standard ones, those nearest to UO-ISC's in bytes; the cheapest first."""
    of = _Lookup(points.assign(variant=points["codec"] + points["form"], bits=points["setting"]),
                 ["variant", "bits", "split", "judge", "metric"])  # fmt: skip
    llava, independent = JUDGES
    rows = []
    for _, point in nearest(points).iterrows():
        unseen, seen = ((point["codec"] + point["form"], point["setting"], split) for split in (UNSEEN, SEEN))
        rows.append({
            "method": label(point["codec"]), "form": label(point["form"]), "n": f"{point['n']:g}",
            "bytes": f"{point['bytes']:.1f}", "less flat": f"{point['bytes_less_flat']:.1f}",
            "unseen, LLaVA": of(*unseen, llava, "amr"),
            "unseen, independent": of(*unseen, independent, "amr"),
            "floor": of(*unseen, independent, "amr_floor", digits=3),
            "seen, independent": of(*seen, independent, "amr"),
            "PSNR": of(*unseen, "none", "psnr", digits=1),
        })  # fmt: skip
    return pd.DataFrame(rows)


def bd_rate(table: pd.DataFrame) -> pd.DataFrame:
    """BD-rate against the anchor in the same form, with the range that both reach; or why there is none."""
    shown = {"PSNR, unseen": (UNSEEN, "none"), "AMR unseen, LLaVA": (UNSEEN, JUDGES[0]),
             "AMR unseen, independent": (UNSEEN, JUDGES[1]), "AMR seen, independent": (SEEN, JUDGES[1])}  # fmt: skip
    rows = []
    for keys, cells in table.groupby(["codec", "form", "anchor", "anchor_form"], sort=False):
        row = dict(zip(("method", "form", "anchor", "its form"), map(label, keys), strict=True))
        for title, (split, judge) in shown.items():
            cell = rows_of(cells, split=split, judge=judge).iloc[0]
            digits = 1 if judge == "none" else 2
            over = f"{cell['low']:.{digits}f} to {cell['high']:.{digits}f}"
            row[title] = cell["undefined"] or f"{cell['bd_rate']:+.0f} % ({over})".replace("-", "−")
        rows.append(row)
    return pd.DataFrame(rows)


SHOWN_DB = (10, 20)  # of the Rayleigh points


def channel(table: pd.DataFrame) -> pd.DataFrame:
    """AMR over noisy links, unseen objects, independent judge: a row a method, rate and link, the floor last.

    Nothing: AMR where nothing arrives. The last columns: the Es/N0 in dB at which half of what a perfect link gives
    above the floor is left.
    """
    unseen = table[table["split"] == UNSEEN]
    halves = half_points(table)
    at = ["variant", "bits", "link", "fading", "es_n0_db"]
    amr = unseen[(unseen["judge"] == JUDGES[-1]) & (unseen["metric"] == "amr")].set_index(at)
    symbols = unseen[unseen["metric"] == "symbols"].groupby(at[:3])["value"].first()
    perfect, silent = (amr.xs(name, level="link").reset_index().set_index(at[:2]) for name in ("perfect", "silent"))
    rows, order = [], {key: place for place, key in enumerate([*in_order(halves.reset_index()["variant"]), *LINKS])}
    for variant, bits, link in sorted(halves.index, key=lambda key: (order[key[0]], key[1], order[key[2]])):
        shown = {"method": label(variant), "bits": f"{bits:.0f}", "link": LINKS[link],
                 "symbols": f"{symbols[variant, bits, link]:.0f}",
                 "no errors": _with_interval(perfect.loc[(variant, bits)])}  # fmt: skip
        nothing = silent["value"].get((variant, bits))
        shown["nothing"] = NONE if nothing is None else f"{nothing:.3f}"
        for snr in SHOWN_DB:
            shown[f"Rayleigh {snr} dB"] = _with_interval(amr.loc[(variant, bits, link, "rayleigh", snr)])
        for fading, name in AIRS.items():
            half = halves.at[(variant, bits, link), fading]
            shown[f"half at, {name}"] = f"{half:.1f}" if np.isfinite(half) else NONE
        rows.append(shown)
    floor = unseen[(unseen["judge"] == JUDGES[-1]) & (unseen["metric"] == "amr_floor")].iloc[0]
    return pd.DataFrame([*rows, {"method": "blank image", "no errors": _with_interval(floor)}]).fillna(NONE)


def _with_interval(row: pd.Series) -> str:
    return interval(row["value"], row["low"], row["high"])


def claims(entries: list[Claim], differences: pd.DataFrame) -> pd.DataFrame:
    """Each claim with the paper's figure, both judges' numbers and the verdict."""
    rows = []
    for claim in entries:
        evidence = gather(claim, differences)
        style = {"percent": claim.reading == "relative", "signed": True}
        shown = [interval(e.ours, e.low, e.high, **style) if e else NONE for e in map(evidence.get, JUDGES)]
        n = next((str(e.n) for e in evidence.values()), NONE)
        rows.append({"id": claim.id, "statement": claim.statement, "metric": describe(claim, evidence),
                     "paper": paper_figure(claim.paper, style["percent"]),
                     "LLaVA": shown[0], "independent": shown[1], "n": n,
                     "verdict": decide(evidence, claim.paper)})  # fmt: skip
    return pd.DataFrame(rows)


def goals(seeds: pd.DataFrame) -> pd.DataFrame:
    """Each goal over training seeds: the mean with its interval over seeds, both judges, and how many seeds meet it."""
    rows, decided = [], verdicts(seeds).set_index("id")
    for name, own in seeds.groupby("id", sort=False):
        one, style = own.iloc[0], {"percent": own["reading"].iloc[0] == "relative", "signed": True}
        mean = own[own["seed"] == POOLED].set_index("judge")
        rows.append({
            "id": name, "statement": one["statement"], "goal": paper_figure(one["goal"], style["percent"]),
            **{title: interval(*mean.loc[judge, ["value", "low", "high"]], **style) if judge in mean.index else NONE
               for title, judge in zip(("LLaVA", "independent"), JUDGES, strict=True)},
            "seeds": f"{decided.at[name, 'seeds_met']} of {decided.at[name, 'seeds']}",
            "verdict": "met" if decided.at[name, "met"] else "not met",
        })  # fmt: skip
    return pd.DataFrame(rows)


def write_tables(
    results_dir: Path, folder: Path, params: Path, profile: str, claims_path: Path, seeds: pd.DataFrame
) -> list[Path]:
    """Writes every table as `folder/NAME.csv`; returns the paths.

    Args:
        seeds: seeds.csv, which is of the published profile whichever this one is.

    Raises: ResultsError when a results file lacks, ConfigError when params.yaml or claims.yaml is wrong.
    """
    results_dir, folder = Path(results_dir), Path(folder)
    summary, differences = (read_table(results_dir, f"{name}.csv") for name in ("summary", "differences"))
    points = read_points(results_dir)
    tables = {
        "main": main_comparison(summary),
        "ablations": ablations(differences),
        "fair_chance": fair_chance(differences),
        "dial": dial(summary),
        "foundation": foundation(read_table(results_dir, "foundation.csv")),
        "data_card": data_card(read_table(results_dir, "data_card.csv")),
        "entropy": entropy(read_table(results_dir, "entropy.csv")),
        "equal_bytes": equal_bytes(points),
        "bd_rate": bd_rate(bd_rates(points)),
        "channel": channel(read_table(results_dir, "channel.csv")),
        "settings": settings(params, profile),
        "numbers": numbers(summary),
        "pairs": pairs(differences),
        "claims": claims(load_claims(claims_path), differences),
        "goals": goals(seeds),
    }
    paths = []
    for name, table in tables.items():
        paths.append(folder / f"{name}.csv")
        write_csv(table, paths[-1])
    return paths
