"""Whether a run that was trained anew agrees with the published one, row by row and verdict by verdict.

    summary.csv, published and other ──► rows: the AMR of each, their difference, inside the spread or not
    runs.csv, of the published fresh runs ──► the spread: what another seed alone moves
    claims.json, published and other ──► claims that turned

Another kind of CPU trains to other bytes; the same seed there is as good as another seed. So a row agrees where it lies
as near to the published one as two fresh runs lie to each other, and a claim stands where the other run's value is one
that a further run may have: Student's prediction interval, `LEVEL` for all primary claims together. Source: ours.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pandas as pd

from uoisc.base.config import ROOT
from uoisc.base.errors import ResultsError, first_line
from uoisc.base.results import NO_VERDICT, NOT_MEASURED, missing, read_json, read_table
from uoisc.judge.bootstrap import LEVEL

METRIC = "amr_reliable"  # the one that leads, which runs.csv holds too
KEYS = ["variant", "bits", "split", "judge"]


@dataclass(frozen=True)
class Comparison:
    """Rows: `KEYS`, `published`, `other`, `difference`, `inside` (a difference of at most `reach`, in AMR). verdicts:
    of each contrast, see `verdicts`. allowed: the largest share outside between any two fresh runs; NaN, as `reach`
    is, where there are fewer than two."""

    rows: pd.DataFrame
    verdicts: pd.DataFrame
    reach: float
    allowed: float

    @property
    def outside(self) -> float:
        """The share of rows outside."""
        return float((~self.rows["inside"]).mean())

    @property
    def agrees(self) -> bool:
        """No claim turned, and no more rows outside than between fresh runs."""
        return not self.verdicts["turned"].any() and not self.outside > self.allowed

    def to_json(self) -> str:
        """Everything, one JSON object."""
        tables = {name: json.loads(getattr(self, name).to_json(orient="records")) for name in ("rows", "verdicts")}
        reach = None if np.isnan(self.reach) else self.reach
        return json.dumps({"agrees": self.agrees, "summary": self.summary(), "reach": reach} | tables, indent=1)

    def summary(self) -> str:
        """One line."""
        size = self.rows["difference"].abs()
        found = f"{len(size)} rows differ by {size.mean():.3f} in AMR on average, {size.max():.3f} at most"
        turned = self.verdicts[self.verdicts["turned"]]["id"].tolist()
        said = f"claims that turned: {', '.join(turned) or 'none'}"
        if np.isnan(self.reach):
            return f"{found}; {said}; no fresh runs are published (`make seeds`), so nobody knows what a seed moves"
        spread = f"{self.outside:.0%} lie outside {self.reach:.3f} (between fresh runs at most {self.allowed:.0%})"
        return f"{'agrees' if self.agrees else 'DIFFERS'}: {found}; {spread}; {said}"


@contextmanager
def committed() -> Iterator[Path]:
    """A folder of the results that are published: what git holds of results/, whatever a run has written there since.

    Raises ResultsError where this is no git checkout.
    """
    with TemporaryDirectory() as folder:
        for name in ("summary.csv", "runs.csv", "claims.json"):
            shown = subprocess.run(["git", "show", f"HEAD:./results/{name}"], cwd=ROOT, capture_output=True)
            if shown.returncode:
                reason = first_line(shown.stderr.decode(errors="replace"))
                raise ResultsError(f"no published results/{name} in git ({reason}): run this in a clone of the project")
            (Path(folder) / name).write_bytes(shown.stdout)
        yield Path(folder)


def as_text(found: Comparison) -> str:
    """The rows outside, the primary claims then and now, all others that turned, and the summary."""
    claims = found.verdicts[found.verdicts["primary"] | found.verdicts["turned"]].drop(columns="primary")
    parts = {"rows outside": found.rows[~found.rows["inside"]], "claims": claims}
    shown = [
        f"{name}:\n{part.to_string(index=False, float_format='%.3f')}\n" for name, part in parts.items() if len(part)
    ]
    return "\n".join([*shown, found.summary()])


def compare(published: Path, other: Path) -> Comparison:
    """Holds one folder of results against the published one. Raises ResultsError where a table lacks, or they have no
    row in common."""
    tables = [read_table(folder, "summary.csv") for folder in (published, other)]
    sides = [table[table["metric"] == METRIC].set_index(KEYS)["value"] for table in tables]
    rows = sides[0].rename("published").to_frame().join(sides[1].rename("other"), how="inner")
    if rows.empty:
        of = " and ".join(dict.fromkeys(table["profile"].iloc[0] for table in tables))
        raise ResultsError(
            f"{other}: no method, rate, split and judge of it has {METRIC} in the published results too: they are of "
            f"other profiles ({of}) or of another state of the code"
        )
    runs = read_table(published, "runs.csv")
    reach, allowed = spread(runs[runs["profile"].isin(tables[0]["profile"])])
    rows["difference"] = rows["other"] - rows["published"]
    rows["inside"] = (rows["difference"].abs() <= reach) | np.isnan(reach)
    return Comparison(rows.reset_index(), verdicts(published, other), reach, allowed)


def spread(runs: pd.DataFrame) -> tuple[float, float]:
    """How far the AMR of two runs lies apart in `LEVEL` of cases, from the sd of a row over fresh runs, all rows
    pooled; and the largest share of rows that lie further apart between any two of them. NaN of fewer than two."""
    parts = runs["split"].astype(str).str.contains(":")  # of a split: of fewer queries than what is compared
    whole = runs[~parts]
    table = whole.pivot_table(index=KEYS, columns="seed", values="amr").dropna()
    if table.shape[1] < 2:
        return np.nan, np.nan
    from scipy import stats

    reach = float(stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(2 * table.var(axis=1).mean()))
    apart = [(table[one] - table[another]).abs() > reach for one, another in combinations(table, 2)]
    return reach, max(float(far.mean()) for far in apart)


class Claim(msgspec.Struct):
    """What is compared of a row of claims.json."""

    id: str
    verdict: str
    primary: bool
    runs: int
    value: float | None
    mean: float | None
    high: float | None


def _claims(folder: Path) -> pd.DataFrame:
    try:
        rows = msgspec.convert(read_json(folder, "claims.json"), list[Claim])
    except msgspec.ValidationError as error:
        raise missing(Path(folder) / "claims.json", f"holds no contrasts ({error})") from error
    return pd.DataFrame(map(msgspec.structs.asdict, rows), columns=Claim.__struct_fields__).set_index("id")


def verdicts(published: Path, other: Path) -> pd.DataFrame:
    """Of each contrast that both have: `id`, `published` and `other`, the verdicts; `value`, of the other's own run;
    of a `primary` one with two fresh runs or more `low` and `high`, where a further run's value lies; and `turned`:
    that value lies elsewhere, or both give a verdict and it is another."""
    from scipy import stats

    then, now = map(_claims, (published, other))
    table = then.join(now[["verdict", "value"]].add_suffix("_other"), how="inner").rename_axis("id")
    if table.empty:
        raise ResultsError(
            f"{other}/claims.json: has no claim that is published too; it is of another state of the code"
        )
    primary = table["primary"].astype(bool)
    runs = table["runs"]
    numbers = table[["value_other", "mean", "high"]].astype(float)
    alike = 1 - (1 - LEVEL) / 2 / max(1, primary.sum())  # Bonferroni's share of both ends
    wider = stats.t.ppf(alike, runs - 1) / stats.t.ppf((1 + LEVEL) / 2, runs - 1)  # than the interval of one mean
    reach = ((numbers["high"] - numbers["mean"]) * np.sqrt(runs + 1) * wider).where(primary)
    said = table[["verdict", "verdict_other"]].set_axis(["published", "other"], axis=1)
    given = ~said.apply(lambda column: column.str.contains(NO_VERDICT) | (column == NOT_MEASURED)).any(axis=1)
    said["value"] = numbers["value_other"]
    said["low"] = numbers["mean"] - reach
    said["high"] = numbers["mean"] + reach
    elsewhere = (numbers["value_other"] - numbers["mean"]).abs() > reach
    said["turned"] = elsewhere | given & (said["published"] != said["other"])
    return said.assign(primary=primary).reset_index()
