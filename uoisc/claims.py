"""The paper's claims, each held against the measured differences; the verdict is computed, never written.

    paper/claims.yaml (statement, what is compared, the paper's figure) ─┐
    results/differences.csv (ours, with intervals, two judges) ──────────┴─► results/claims.json

Rule (`decide`): *reproduced* when, for both judges, the interval lies above zero and reaches the paper's
figure or passes it; *partly* when both differences are above zero and at least one judge's interval lies
above zero; *not* otherwise; *not testable* where a number lacks, the method
spends more bits, or the reference is no better than a blank image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
import yaml

from uoisc.errors import ConfigError
from uoisc.results import BLANK, GAP, SEEN, UNSEEN, headline, read_table, write_json
from uoisc.settings import JUDGES

REPRODUCED, PARTLY, NOT, NOT_TESTABLE = "reproduced", "partly", "not", "not testable"
CHOICES = {
    "rate": ("tightest", "middle", "loosest"),
    "reading": ("absolute", "relative"),
    "split": (SEEN, UNSEEN, GAP),
}
MORE_BITS = 1.03  # a method that spends over 3 % more bits than its reference is not compared with it


@dataclass(frozen=True)
class Claim:
    """One reading of one claim of the paper.

    id, statement: short name, and what is claimed, in our words.
    variant, reference: AMR(variant) is held against AMR(reference); reference `blank` is a blank image.
    split: seen, unseen, or `unseen-seen` (the difference on unseen objects less that on seen ones).
    rate: which of the variant's rate points that the reference has too (tightest, middle, loosest).
    reading: absolute (a difference of AMR) or relative (a ratio less one).
    paper: the paper's figure in the same unit (0.048 for 4.8 %), None where it gives none.
    untestable: why the claim cannot be tested here; then all but id and statement may be left out.
    """

    id: str
    statement: str
    variant: str | None = None
    reference: str | None = None
    split: str = UNSEEN
    rate: str = "tightest"
    reading: str = "absolute"
    paper: float | None = None
    untestable: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What one judge measured: value and 95 % interval, n queries, and the two rates in bits an image.

    reference_alive: the reference's own AMR lies above its floor. A rival that sends nothing proves nothing.
    """

    ours: float
    low: float
    high: float
    n: int
    bits: float
    reference_bits: float
    reference_alive: bool = True


def load_claims(path: Path) -> list[Claim]:
    """The claims of `claims.yaml`. Raises: ConfigError that names the claim and the key that is wrong."""
    try:
        entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["claims"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no list of claims can be read ({type(error).__name__})") from error
    known, claims = {field.name for field in fields(Claim)}, []
    for entry in entries:
        name = entry.get("id", "a claim without id")
        wrong = sorted(set(entry) - known) or [key for key in ("id", "statement") if not entry.get(key)]
        if not entry.get("untestable"):
            wrong = wrong or [key for key in ("variant", "reference") if not entry.get(key)]
        if wrong:
            raise ConfigError(f"{path}: {name}: unknown or missing key {', '.join(wrong)}")
        claim = Claim(**entry)
        for key, allowed in CHOICES.items():
            if getattr(claim, key) not in allowed:
                raise ConfigError(f"{path}: {name}: {key} must be one of {', '.join(allowed)}")
        if claim.split == GAP and claim.reading == "relative":
            raise ConfigError(f"{path}: {name}: the split {GAP} has an absolute reading only")
        claims.append(claim)
    return claims


def gather(claim: Claim, differences: pd.DataFrame) -> dict[str, Evidence]:
    """What each judge measured for a claim; empty when the claim's rate point or pair was not evaluated."""
    ours = headline(differences[differences["variant"] == claim.variant])
    if claim.untestable or ours.empty:
        return {}
    ours = ours[ours["reference"] == claim.reference]  # rates at which the reference has a near one
    rates = sorted(ours["bits"].unique())
    if not rates:
        return {}
    bits = rates[{"tightest": 0, "middle": len(rates) // 2, "loosest": -1}[claim.rate]]
    rows = ours[(ours["bits"] == bits) & (ours["split"] == claim.split)]
    prefix = "difference" if claim.reading == "absolute" else "relative"
    return {
        row["judge"]: Evidence(float(row[prefix]), float(row[f"{prefix}_low"]), float(row[f"{prefix}_high"]),
                               int(row["n"]), float(row["bits"]), float(row["reference_bits"]),
                               _above_floor(row, differences))
        for _, row in rows.dropna(subset=[prefix]).iterrows()
    }  # fmt: skip


def _above_floor(row: pd.Series, differences: pd.DataFrame) -> bool:
    """Whether a pair's reference matches more answers than a blank image does; true where that was not measured."""
    floor = headline(differences[(differences["variant"] == row["reference"]) & (differences["reference"] == BLANK)])
    own = floor[(floor["bits"] == row["reference_bits"]) & (floor["judge"] == row["judge"])]
    own = own[own["split"] == (UNSEEN if row["split"] == GAP else row["split"])]
    return own.empty or bool(own["difference_low"].iloc[0] > 0)


def decide(evidence: dict[str, Evidence], paper: float | None) -> str:
    """The verdict from what the judges measured and the paper's figure (rule: the module's docstring)."""
    found = [evidence[judge] for judge in JUDGES if judge in evidence]
    if len(found) < len(JUDGES):
        return NOT_TESTABLE
    if any(e.reference_bits > 0 and e.bits > MORE_BITS * e.reference_bits for e in found):
        return NOT_TESTABLE
    if not all(e.reference_alive for e in found):
        return NOT_TESTABLE
    if all(e.low > 0 for e in found) and (paper is None or all(e.high >= paper for e in found)):
        return REPRODUCED
    if all(e.ours > 0 for e in found) and any(e.low > 0 for e in found):
        return PARTLY
    return NOT


def describe(claim: Claim, evidence: dict[str, Evidence]) -> str:
    """The metric of a claim in one line: what is subtracted or divided, where, at which bits."""
    if claim.untestable:
        return f"none: {claim.untestable}"
    sign = "-" if claim.reading == "absolute" else "/"
    reference = "blank image" if claim.reference == BLANK else claim.reference
    text = f"AMR {claim.variant} {sign} {reference}" + (" - 1" if sign == "/" else "") + f", {claim.split}"
    if not evidence:
        return f"{text}, {claim.rate} rate: not evaluated"
    one = next(iter(evidence.values()))
    rates = f"{one.bits:g}" if claim.reference == BLANK else f"{one.bits:g} against {one.reference_bits:g}"
    return f"{text}, {rates} bits"


def evaluate(claims: list[Claim], differences: pd.DataFrame) -> list[dict]:
    """The rows of claims.json. `ours`, `low`, `high`, `n` are of the judge that no codec was trained with."""
    rows = []
    for claim in claims:
        evidence = gather(claim, differences)
        shown = evidence.get(JUDGES[-1])
        judge = f", judge {JUDGES[-1]} (verdict: both)" if shown else ""
        numbers = {k: v for k, v in asdict(shown).items() if k in ("ours", "low", "high", "n")} if shown else {}
        rows.append(
            {
                "id": claim.id,
                "statement": claim.statement,
                "metric": describe(claim, evidence) + judge,
                "paper": claim.paper,
                "ours": None,
                "low": None,
                "high": None,
                "n": None,
                **numbers,
                "verdict": decide(evidence, claim.paper),
            }
        )
    return rows


def write_claims(results_dir: Path, claims_path: Path) -> list[dict]:
    """Reads differences.csv, writes claims.json beside it, and returns its rows."""
    rows = evaluate(load_claims(claims_path), read_table(Path(results_dir), "differences.csv"))
    write_json(rows, Path(results_dir) / "claims.json")
    return rows
