"""Contrasts of answer match rates (AMR): what paper/claims.yaml asks, and what each run gives.

    paper/claims.yaml ─────────────────────────────┐
    a run's answers.parquet, entropy.csv ──► Run ──┴──► measured ──► results/seeds.csv   (contrast, run)

Runs (`runs.py`) are what a verdict counts (`verdicts.py`). Of a contrast each gives one value, paired over queries and
averaged over both judges. `make seeds` trains them. Source: ours.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from jaxtyping import Float

from uoisc.base.config import ROOT, load_params, paths
from uoisc.base.documents import parse_yaml, read_text
from uoisc.base.errors import ConfigError, ResultsError, choices
from uoisc.base.outputs import check_outputs
from uoisc.base.results import BLANK, COLUMNS, UNSEEN, read_table, write_csv
from uoisc.base.settings import JUDGES
from uoisc.claims.names import SAYS
from uoisc.claims.runs import ASKED, RATES, STYLED, USED, NotSentError, Run, points, run_of
from uoisc.judge.bootstrap import reliable_types

OVER_RUNS = ROOT / "results"  # seeds.csv and runs.csv, of every profile that has fresh runs
KEPT = "kept"  # a reading: the share of queries that need the picture whose answer it keeps
GUESSED = f"{KEPT} above guessing"  # that, less the share that a picture which tells nothing keeps (`runs.guessed`)
PAYLOAD = "payload"  # as a budget: the bits of the other side's payload
SPLITS = (*STYLED, *(f"{split}:{asked}" for split in STYLED[::3] for asked in ASKED))
BUDGET = rf"\d+|{'|'.join(RATES)}"
COMPARED = re.compile(rf"(\w+)@({BUDGET}|{PAYLOAD}) (?:({GUESSED}|{KEPT})|([-/]) (?:({BLANK})|(\w+)@({BUDGET})))")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contrast as claims.yaml has it, whose head says what each key means."""

    id: str
    statement: str
    compare: str
    on: str = UNSEEN
    paper: float | None = None
    goal: float | None = None


@dataclass(frozen=True)
class Contrast:
    """AMR(variant) less AMR(reference), or their ratio less one, on `split`; or what the variant keeps (`KEPT`,
    `GUESSED`); with `less`, less that on another split.

    bits, reference_bits: budgets in bits, of which each spends the most that it can; or of `RATES`; or PAYLOAD.
    paper: the paper's number. goal: the least value that would do. primary: tested with others (`verdicts.py`).
    """

    id: str
    statement: str
    variant: str
    bits: str
    reading: str
    reference: str
    reference_bits: str
    split: str
    less: str
    paper: float | None
    goal: float | None
    primary: bool

    def __str__(self) -> str:
        """`AMR dial@100 / query_aware@tight - 1, unseen`, `kept by dial@100, unseen`."""
        reference = BLANK if self.reference == BLANK else f"{self.reference}@{self.reference_bits}"
        ratio = self.reading == "/"
        where = f"{self.split} less {self.less}" if self.less else self.split
        if self.reading in (KEPT, GUESSED):
            return f"{self.reading} by {self.variant}@{self.bits}, {where}"
        return f"AMR {self.variant}@{self.bits} {self.reading} {reference}{' - 1' if ratio else ''}, {where}"


def load_contrasts(path: Path) -> list[Contrast]:
    """The contrasts of claims.yaml, the primary ones first. Raises: ConfigError that names the one that is wrong."""
    whole = parse_yaml(read_text(Path(path)), Path(path).name)
    found = []
    for section in ("primary", "secondary"):
        entries = whole.get(section) if isinstance(whole, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ConfigError(f"{path}: {section} must be a list of mappings")
        for entry in entries:
            name = f"{path}: {entry.get('id', f'an entry of {section} without id')}"
            try:
                found.append(_parsed(msgspec.convert(entry, Entry), section == "primary"))
            except (msgspec.ValidationError, ConfigError) as error:
                raise ConfigError(f"{name}: {error}") from error
            if found[-1].id in [one.id for one in found[:-1]]:
                raise ConfigError(f"{name}: stands there twice")
    return found


def _parsed(entry: Entry, primary: bool) -> Contrast:
    compared = COMPARED.fullmatch(entry.compare)
    if not compared:
        raise ConfigError(
            f"compare: {entry.compare!r} is not like `dial@100 - uoisc@tight`, `dial@100 / blank` or `dial@100 kept`"
        )
    variant, bits, kept, reading, blank, reference, reference_bits = compared.groups()
    for name in (variant, reference or BLANK):
        if name not in (*SAYS, BLANK):
            raise ConfigError(f"compare: no method {name!r}: {choices(name, SAYS)}")
    split, _, less = entry.on.partition(" less ")
    if split not in SPLITS or less not in ("", *SPLITS):
        raise ConfigError(f"on: {entry.on!r}: a split, or two with ` less ` between; those are {', '.join(SPLITS)}")
    if not reference and bits == PAYLOAD or less and reading == "/":
        raise ConfigError("a blank image has no payload, and a ratio no other split")
    sides = (variant, bits, kept or reading, reference or BLANK, reference_bits or "0", split, less)
    return Contrast(entry.id, entry.statement, *sides, entry.paper, entry.goal, primary)


def measure(contrast: Contrast, run: Run) -> dict:
    """A row of seeds.csv, but for what all types give, and what was asked.

    Raises: NotSentError where the run lacks a side, ResultsError where both sides answered other queries.
    """
    sides = [_compared(contrast, run, split) for split in (contrast.split, contrast.less) if split]
    sent, gain, _ = sides[0]
    means = [_means(*matches) for _, _, matches in sides]  # (judges, 2) each
    value = _read(contrast.reading, *(mean.mean(0) for mean in means))
    each = {f"value_{name}": _read(contrast.reading, *(mean[j] for mean in means)) for j, name in enumerate(JUDGES)}
    gain = gain[~np.isnan(gain)]
    found = {"id": contrast.id, "seed": run.seed, "value": value, **each, **sent}
    counted = [int((~np.isnan(own + other)).sum()) // len(JUDGES) for _, _, (own, other) in sides]
    return found | {"right_less_wrong": gain.mean() if gain.size else np.nan, "n": min(counted)}


def _means(own: np.ndarray, other: np.ndarray) -> Float[np.ndarray, "judges 2"]:
    """Both match rates by judge, over the queries that count for both. Raises: NotSentError where a judge has none."""
    counted = ~np.isnan(own + other)
    if not counted.any(axis=1).all():
        raise NotSentError("no query counts")
    return np.stack([np.where(counted, side, 0).sum(1) / counted.sum(1) for side in (own, other)], axis=1)


def _read(reading: str, amr: np.ndarray, less: np.ndarray | None = None) -> float:
    """The difference of two match rates, (2,), or their ratio less one; less that of another split."""
    if reading == "/":
        return float(amr[0] / amr[1] - 1) if amr[1] else np.nan
    return float(amr[0] - amr[1]) - (0.0 if less is None else float(less[0] - less[1]))


def _compared(contrast: Contrast, run: Run, split: str) -> tuple[dict, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """What both sides send on a split, the variant's gain (`Cell`), and whether each side's answers match."""
    blank = contrast.reference == BLANK
    paid = run.payloads
    other_bits, other = (0.0, None) if blank else run.side(contrast.reference, contrast.reference_bits, split)
    other_paid = paid.get((contrast.reference, other_bits), np.nan)
    if contrast.bits == PAYLOAD:
        bits, own_paid, own = run.at_payload(contrast.variant, other_paid, split)
    else:
        bits, own = run.side(contrast.variant, contrast.bits, split)
        own_paid = paid.get((contrast.variant, bits), np.nan)
    if not (blank or np.array_equal(own.queries, other.queries)):
        who = f"{contrast.variant} and {contrast.reference} did not answer the same queries (seed {run.seed})"
        raise ResultsError(f"answers.parquet: {who}; run `make seeds` again")
    sent = {"bits": bits, "reference_bits": other_bits, "reference_payload_bits": other_paid, "payload_bits": own_paid}
    if contrast.reading in (KEPT, GUESSED):
        less = own.guessed if contrast.reading == GUESSED else np.zeros_like(own.own)
        return sent, own.gain, (np.where(own.needs == 1, own.own, np.nan), less)
    return sent, own.gain, (own.own, own.blank if blank else other.own)


def measured(
    contrasts: Iterable[Contrast],
    answers: pd.DataFrame,
    entropy: pd.DataFrame,
    types: Sequence[str],
    rates: Collection[str] = RATES,
) -> pd.DataFrame:
    """Rows of seeds.csv of one run: of each contrast whose sides it has.

    Args: answers, entropy: the run's tables. types: of question, which count; what is kept is of all, query by query.
        rates: the names of those that UO-ISC has.
    """
    run, whole = (run_of(rows, entropy, rates) for rows in (answers[answers["type"].isin(types)], answers))
    rows = []
    for contrast in contrasts:
        with suppress(NotSentError):
            every = measure(contrast, whole)
            row = every if contrast.reading in (KEPT, GUESSED) else measure(contrast, run)
            beside = {"value_all_types": every["value"], "types": "+".join(types), "compared": str(contrast)}
            rows.append(row | beside)
    return pd.DataFrame(rows, columns=COLUMNS["seeds.csv"]).assign(profile=answers["profile"].iloc[0])


def write_seeds(profile: str, folders: Sequence[Path], force: bool) -> pd.DataFrame:
    """Measures the run of every folder of results; writes the profile's rows of results/seeds.csv and runs.csv, and
    returns those of the first. Which types of question count is what the profile's own judges say, for all runs.

    Raises: ResultsError where a folder lacks a table, or its seed is another's or the profile's, whose results were
    looked at before goals were set; DataError where a table is there already and is not to be replaced.
    """
    asked = load_contrasts(ROOT / "paper" / "claims.yaml")
    checks = read_table(paths(profile).results, "foundation.csv")
    targets = [OVER_RUNS / name for name in ("seeds.csv", "runs.csv")]
    check_outputs([*map(str, targets)], [str(folder / "answers.parquet") for folder in folders], force)
    runs = [(read_table(folder, "answers.parquet")[USED], read_table(folder, "entropy.csv")) for folder in folders]
    seeds = [str(load_params(profile).seed), *(seed for answers, _ in runs for seed in answers["seed"].unique())]
    if repeated := [seed for seed in seeds[1:] if seeds.count(seed) > 1]:
        raise ResultsError(f"seed {repeated[0]}: two runs have it, or it is the published one's; each must be fresh")
    kinds = {kind for answers, _ in runs for kind in answers["type"].unique()}
    types = reliable_types(checks, kinds)
    rates = load_params(profile).variants.get("uoisc", ())
    tables = [[measured(asked, *run, types, rates) for run in runs], [points(*run, types) for run in runs]]
    for target, parts in zip(targets, tables, strict=True):
        rows = [pd.concat(parts).assign(profile=profile)]
        if target.exists():
            known = read_table(OVER_RUNS, target.name, ["profile"])
            rows = [of for of in (known[known["profile"] != profile], *rows) if len(of)]
        write_csv(pd.concat(rows, ignore_index=True), target)
    return pd.concat(tables[0], ignore_index=True).assign(profile=profile)
