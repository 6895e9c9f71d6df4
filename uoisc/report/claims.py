"""The paper's claims, each held against the measured differences; the verdict is computed, never written.

    paper/claims.yaml (statement, what is compared, the paper's figure) ─┐
    results/differences.csv (ours, with intervals, two judges) ──────────┴─► results/claims.json

Rule (`decide`): *reproduced* when, for both judges, the interval lies above zero and reaches the paper's
figure or passes it; *partly* when both differences are above zero and at least one judge's interval lies above zero;
*not* otherwise; *not testable* where a number lacks, the method spends more bits, or the reference is no better than a
blank image.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd

from uoisc.base.documents import parse_yaml, read_text
from uoisc.base.errors import ConfigError
from uoisc.base.results import BLANK, GAP, SEEN, UNSEEN, read_table, write_json
from uoisc.base.settings import JUDGES

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT = "not"
NOT_TESTABLE = "not testable"
CHOICES = {"rate": ("tightest", "middle", "loosest"), "reading": ("absolute", "relative"), "split": (SEEN, UNSEEN, GAP)}
MORE_BITS = 1.03  # a method that spends over 3 % more bits than its reference is not compared with it


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
    """What one judge measured: value and 95 % interval, n queries, and the two rates in bits per image.

    reference_alive: the reference's own AMR lies above its floor. A rival that sends nothing proves nothing.
    """

    ours: float
    low: float
    high: float
    n: int
    bits: float
    reference_bits: float
    reference_alive: bool = True


def read_entries(path: Path, section: str, kind: type, choices: dict[str, tuple]) -> list:
    """One list of claims.yaml as structs of a `kind`; `choices`: what some of its fields may be.

    Raises: ConfigError that names the entry and the key that is wrong.
    """
    whole = parse_yaml(read_text(Path(path)), Path(path).name)
    entries = whole.get(section) if isinstance(whole, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path}: {section} must be a list of mappings")
    found = []
    for entry in entries:
        name = f"{path}: {entry.get('id', f'an entry of {section} without id')}"
        for key in choices:
            if key in entry and entry[key] not in choices[key]:
                raise ConfigError(f"{name}: {key} must be one of {', '.join(choices[key])}")
        try:
            found.append(msgspec.convert(entry, kind))
        except msgspec.ValidationError as error:
            raise ConfigError(f"{name}: {error}") from error
    return found


def load_claims(path: Path) -> list[Claim]:
    """The claims of `claims.yaml`. Raises: ConfigError that names the claim and the key that is wrong."""
    claims = read_entries(path, "claims", Claim, CHOICES)
    for claim in claims:
        if not claim.untestable and not (claim.variant and claim.reference):
            raise ConfigError(f"{path}: {claim.id}: missing key {'reference' if claim.variant else 'variant'}")
        if claim.split == GAP and claim.reading == "relative":
            raise ConfigError(f"{path}: {claim.id}: the split {GAP} has an absolute reading only")
    return claims


def gather(claim: Claim, differences: pd.DataFrame) -> dict[str, Evidence]:
    """What each judge measured for a claim; empty when the claim's rate point or pair was not evaluated."""
    ours = differences[(differences["variant"] == claim.variant) & (differences["reference"] == claim.reference)]
    rates = sorted(ours["bits"].unique())  # at which the reference has a near one
    if claim.untestable or not rates:
        return {}
    bits = rates[{"tightest": 0, "middle": len(rates) // 2, "loosest": -1}[claim.rate]]
    rows = ours[(ours["bits"] == bits) & (ours["split"] == claim.split)]
    prefix = "difference" if claim.reading == "absolute" else "relative"
    found = {}
    for _, row in rows.dropna(subset=[prefix]).iterrows():
        numbers = (float(row[name]) for name in (prefix, f"{prefix}_low", f"{prefix}_high"))
        rate = (float(row["bits"]), float(row["reference_bits"]))
        found[row["judge"]] = Evidence(*numbers, int(row["n"]), *rate, _above_floor(row, differences))
    return found


def _above_floor(row: pd.Series, differences: pd.DataFrame) -> bool:
    """Whether a pair's reference matches more answers than a blank image does; true where that was not measured."""
    floor = differences[(differences["variant"] == row["reference"]) & (differences["reference"] == BLANK)]
    own = floor[(floor["bits"] == row["reference_bits"]) & (floor["judge"] == row["judge"])]
    own = own[own["split"] == (UNSEEN if row["split"] == GAP else row["split"])]
    return own.empty or bool(own["difference_low"].iloc[0] > 0)


def decide(evidence: dict[str, Evidence], paper: float | None) -> str:
    """The verdict from what the judges measured and the paper's figure (rule: the module's docstring)."""
    found = [evidence[judge] for judge in JUDGES if judge in evidence]
    if len(found) < len(JUDGES):
        return NOT_TESTABLE
    paid = any(e.reference_bits > 0 and e.bits > MORE_BITS * e.reference_bits for e in found)
    if paid or not all(e.reference_alive for e in found):
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
    text = f"AMR {claim.variant} {sign} {reference}{' - 1' if sign == '/' else ''}, {claim.split}"
    if not evidence:
        return f"{text}, {claim.rate} rate: not evaluated"
    one = next(iter(evidence.values()))
    rates = f"{one.bits:g}" if claim.reference == BLANK else f"{one.bits:g} against {one.reference_bits:g}"
    return f"{text}, {rates} bits"


def claim_rows(claims: list[Claim], differences: pd.DataFrame) -> list[dict]:
    """The rows of claims.json. `ours`, `low`, `high`, `n` are of the judge that no codec was trained with."""
    rows = []
    for claim in claims:
        evidence = gather(claim, differences)
        shown = evidence.get(JUDGES[-1])
        judge = f", judge {JUDGES[-1]} (verdict: both)" if shown else ""
        metric = describe(claim, evidence) + judge
        row = {"id": claim.id, "statement": claim.statement, "metric": metric, "paper": claim.paper}
        row |= {name: getattr(shown, name, None) for name in ("ours", "low", "high", "n")}
        rows.append(row | {"verdict": decide(evidence, claim.paper)})
    return rows


def write_claims(results_dir: Path, claims: list[Claim]) -> list[dict]:
    """Reads differences.csv, writes claims.json beside it, and returns its rows."""
    rows = claim_rows(claims, read_table(Path(results_dir), "differences.csv"))
    write_json(rows, Path(results_dir) / "claims.json")
    return rows
