"""The verdict on each contrast, computed from its values over runs, never written.

    results/seeds.csv (a value per contrast and run) ──► decide ──► results/claims.json

*Runs* are fresh training seeds, at least `ENOUGH`; fewer give no verdict. The mean has Student's interval over them.
*Direction*: t tests against the goal (0 without one), adjusted by Holm over the primary contrasts, `LEVEL` for all of
them together: supported, opposed, inconclusive.
*Size*, where the direction is supported and the paper has a number: exceeds or falls short where the interval lies
above or below it; compatible where the interval holds it and reaches no further than half of it; else undetermined.
*Reproduced*: supported, compatible, and the right query serves better than another; of the paper's own method alone.
A secondary contrast with a goal is met where its own interval lies above that; without one it is descriptive.
Source: ours; S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics, 1979.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from uoisc.base.results import NO_VERDICT, NOT_MEASURED, write_json
from uoisc.claims.contrasts import Contrast
from uoisc.judge.bootstrap import LEVEL

ENOUGH = 5
ALIKE = 1e-9  # runs whose values spread less were not independent
OF_ONE = ("value", "n", "types", "payload_bits", "reference_payload_bits")  # what is told of the profile's own run
OWN = "uoisc"  # the paper's own method
REPRODUCED = "reproduced"
SUPPORTED = "supported"
OPPOSED = "opposed"
INCONCLUSIVE = "inconclusive"
EXCEEDS = "exceeds"
FALLS_SHORT = "falls short"
COMPATIBLE = "compatible"
UNDETERMINED = "undetermined"
MET = "met"
NOT_MET = "not met"
DESCRIPTIVE = "descriptive"


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high) of independent runs: mean -+ t s / sqrt(n), Student's t with n - 1 degrees of freedom; NaN ends
    of one run."""
    from scipy import stats

    n = len(values)
    mean = float(np.mean(values)) if len(values) else np.nan
    if n < 2:
        return mean, np.nan, np.nan
    reach = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * float(np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - reach, mean + reach


def t_test(values: Sequence[float], null: float) -> float:
    """Two-sided p of the mean of independent runs against `null`; 1 of fewer than two, and of runs all alike."""
    from scipy import stats

    if len(values) < 2:
        return 1.0
    if np.ptp(values) < ALIKE:
        return 1.0
    return float(stats.ttest_1samp(values, null).pvalue)


def holm(p: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """Holm's adjusted p of m tests: of the k-th smallest the largest (m - i + 1) p_(i) of i <= k, at most 1."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1)[np.argsort(order)]


def size(low: float, high: float, paper: float) -> str:
    """How an interval stands to the paper's number."""
    if low > paper:
        return EXCEEDS
    if high < paper:
        return FALLS_SHORT
    return COMPATIBLE if (high - low) / 2 <= abs(paper) / 2 else UNDETERMINED


def decide(contrasts: Sequence[Contrast], seeds: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """A row per contrast: what was asked, the value of the profile's `own` run, the mean over `seeds`, the verdict.

    Args: seeds, own: rows of seeds.csv, of fresh runs and of one other.
    """
    single = own.set_index("id")
    rows = []
    for contrast in contrasts:
        measured = seeds[seeds["id"] == contrast.id].dropna(subset="value")
        row = {name: getattr(contrast, name) for name in ("id", "statement", "primary", "paper", "goal", "reading")}
        row |= {"compared": str(contrast), "variant": contrast.variant, "runs": len(measured)}
        row |= {name: single[name].get(contrast.id, np.nan) for name in OF_ONE}
        values = measured["value"].tolist()
        row |= dict(zip(("mean", "low", "high"), t_interval(values), strict=True))
        row["right_less_wrong_low"] = t_interval(measured["right_less_wrong"].dropna().tolist())[1]
        rows.append(row | {"p": t_test(values, contrast.goal or 0.0)})
    table = pd.DataFrame(rows)
    primary = table["primary"].to_numpy(bool)
    table.loc[primary, "p"] = holm(table.loc[primary, "p"].tolist())
    return table.assign(verdict=[verdict(row) for row in table.to_dict("records")])


def verdict(row: dict) -> str:
    """The word or two for a row of `decide`, whose p is adjusted."""
    if not row["runs"]:
        return NOT_MEASURED if pd.isna(row["value"]) else f"one run: {NO_VERDICT}"
    if row["runs"] < ENOUGH:
        return f"{row['runs']} runs: {NO_VERDICT}" if row["runs"] > 1 else f"one run: {NO_VERDICT}"
    goal, paper = (None if pd.isna(row[name]) else row[name] for name in ("goal", "paper"))
    if not row["primary"]:
        return DESCRIPTIVE if goal is None else MET if row["low"] > goal else NOT_MET
    if row["p"] >= 1 - LEVEL:
        return INCONCLUSIVE
    if row["mean"] < (goal or 0.0):
        return OPPOSED
    if paper is None:
        return SUPPORTED
    sized = size(row["low"], row["high"], paper)
    if sized == COMPATIBLE and row["variant"] == OWN and row["right_less_wrong_low"] > 0:
        return REPRODUCED
    return f"{SUPPORTED}, {sized}"


def write_claims(claims: pd.DataFrame, folder: Path) -> list[dict]:
    """Writes the rows of `decide` as claims.json; returns them."""
    rows = claims.astype(object).where(claims.notna(), None).to_dict("records")
    write_json(rows, Path(folder) / "claims.json")
    return rows
