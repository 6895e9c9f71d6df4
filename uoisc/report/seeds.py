"""Goals over several training seeds: each seed's paired difference, and their mean with an interval over seeds.

    answers.parquet of each seed ──► compare ──► results/seeds.csv     (goal, judge, seed)
                                                       └──► verdicts   (goal: met, or not)

A seed has its own models, judges and test scenes, so seeds are independent draws of the whole study, and Student's t
over them speaks of training as well as of queries. One seed's intervals are bootstraps over queries, as everywhere.
`make seeds` trains the seeds that `make repro` does not. Source: ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from uoisc.base.config import ROOT, load_params, paths
from uoisc.base.errors import ResultsError
from uoisc.base.folders import readable
from uoisc.base.outputs import check_outputs
from uoisc.base.results import UNSEEN, LeftOut, read_table, write_csv
from uoisc.base.settings import JUDGES
from uoisc.judge.bootstrap import LEVEL, answered, difference, estimate, paired_means, relative, split_seed
from uoisc.report.claims import read_entries

POOLED = "all"  # in the column `seed`: the mean over every seed
READINGS = {"absolute": difference, "relative": relative}
INTERVAL = ("value", "low", "high")


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one comparison on unseen objects should come to; stated before any seed but the published one was trained.

    id, statement: short name, and what is asked, in our words.
    variant, reference: AMR(variant) is held against AMR(reference).
    bits, reference_bits: each is taken at the most bits that it sends within these, as a rate dial spends a budget.
    reading: absolute (a difference of AMR) or relative (a ratio less one).
    goal: the least value that meets it.
    """

    id: str
    statement: str
    variant: str
    bits: int
    reference: str
    reference_bits: int
    reading: str
    goal: float


def load_goals(path: Path) -> list[Goal]:
    """The goals of `claims.yaml`. Raises: ConfigError that names the goal and the key that is wrong."""
    return read_entries(path, "goals", Goal, {"reading": tuple(READINGS)})


def read_seeds(path: Path) -> pd.DataFrame:
    """The rows that `write_seeds` wrote. Raises: ResultsError where the file or a column is missing."""
    readable(path, "restore it with git, or run `make seeds` (an hour or two)", ResultsError)
    table = pd.read_csv(path, dtype={"seed": str})
    lacking = [name for name in ("id", "judge", "seed", "goal", *INTERVAL, "n") if name not in table]
    if lacking:
        raise ResultsError(f"{path} lacks the column {', '.join(lacking)}; restore it with git, or run `make seeds`")
    return table


def evaluated(table: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The goals of seeds.csv whose two models a profile has, at those bits. Raises: LeftOut where it has none."""
    known = set(zip(summary["variant"], summary["bits"], strict=True))
    sides = [table[["variant", "sent_bits"]], table[["reference", "sent_reference_bits"]]]
    has = np.all([[key in known for key in side.itertuples(index=False, name=None)] for side in sides], axis=0)
    own = table[table["id"].isin(table["id"][has])]
    if own.empty:
        raise LeftOut("no goal over training seeds speaks of this profile's models")
    return own


def compare(answers: pd.DataFrame, goals: Iterable[Goal], resamples: int) -> pd.DataFrame:
    """seeds.csv: a row per goal, judge and seed, and for two seeds or more their mean (`POOLED`), of n seeds.

    Args:
        answers: rows of answers.parquet, of one seed or several.
        resamples: of each seed's bootstrap.

    Raises: ResultsError where a variant was not evaluated within its bits, or on other queries than its reference.
    """
    unseen = answers[answers["split"] == UNSEEN]
    rows = []
    for goal in goals:
        for judge in JUDGES:
            keys = msgspec.structs.asdict(goal) | {"judge": judge}
            found = []
            for seed, own in unseen[unseen["judge"] == judge].groupby("seed"):
                sent, matches = _paired(own, goal, seed)
                draws = READINGS[goal.reading](paired_means(matches, split_seed(UNSEEN, int(seed)), resamples))
                measured = dict(zip(INTERVAL, estimate(draws), strict=True))
                rows.append(keys | {"seed": seed, **sent, **measured, "n": len(matches)})
                found.append(measured["value"])
            if len(found) > 1:
                mean = dict(zip(INTERVAL, over_seeds(found), strict=True))
                rows.append(keys | {"seed": POOLED, **mean, "n": len(found)})
    return pd.DataFrame(rows)


def over_seeds(values: list[float]) -> tuple[float, float, float]:
    """(value, low, high) of independent seeds: mean -+ t s / sqrt(n), Student's t with n - 1 degrees of freedom."""
    from scipy import stats

    mean = float(np.mean(values))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - reach, mean + reach


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A row per goal: how many seeds meet it by both judges, and `met`, for the mean over seeds.

    Met: for both judges the mean reaches the goal, and for a goal above zero its interval lies above zero.
    """
    rows = []
    for name, own in table.groupby("id", sort=False):
        reached = own["value"] >= own["goal"]
        seeds = reached[own["seed"] != POOLED].groupby(own["seed"]).all()
        mean = own["seed"] == POOLED
        apart = (own["low"] > 0) | (own["goal"] <= 0)
        met = bool(mean.any() and (reached & apart)[mean].all())
        rows.append({"id": name, "seeds": len(seeds), "seeds_met": int(seeds.sum()), "met": met})
    return pd.DataFrame(rows)


def write_seeds(folders: Iterable[Path], claims_path: Path, resamples: int, path: Path) -> pd.DataFrame:
    """Compares the answers of every folder of results and writes them to `path`; returns the rows.

    Raises: ResultsError where a folder has no answers, or two have the same seed.
    """
    answers = pd.concat([read_table(folder, "answers.parquet") for folder in folders], ignore_index=True)
    repeated = answers.duplicated(["variant", "bits", "split", "judge", "query_id", "seed"])
    if repeated.any():
        raise ResultsError(f"seed {answers['seed'][repeated].iloc[0]}: two folders hold answers of it; give each once")
    table = compare(answers, load_goals(claims_path), resamples)
    write_csv(table, path)
    return table


def write_profile_seeds(profile: str, folders: Sequence[Path], force: bool) -> pd.DataFrame:
    """As `write_seeds`, of a profile's results and those in `folders`: among the profile's results.

    Raises also DataError where that table is there already and is not to be replaced.
    """
    results = paths(profile).results
    target, sources = results / "seeds.csv", [results, *folders]
    check_outputs([str(target)], [str(folder / "answers.parquet") for folder in sources], force)
    resamples = load_params(profile).evaluation.resamples
    return write_seeds(sources, ROOT / "paper" / "claims.yaml", resamples, target)


def _paired(own: pd.DataFrame, goal: Goal, seed: str) -> tuple[dict[str, float], np.ndarray]:
    """The bits that both send, and whether each matched, 0 or 1, (queries, 2), in the order of the queries' ids."""
    sent = {}
    matches = []
    asked = {"sent_bits": (goal.variant, goal.bits), "sent_reference_bits": (goal.reference, goal.reference_bits)}
    for key, (name, budget) in asked.items():
        rows = own[(own["variant"] == name) & (own["bits"] <= budget)]
        if rows.empty:
            lacking = f"{name} within {budget:g} bits, seed {seed}, which goal {goal.id} is about"
            raise ResultsError(f"answers.parquet lacks {lacking}; run `make seeds` again")
        sent[key] = rows["bits"].max()
        matches.append(rows[rows["bits"] == sent[key]].set_index("query_id")["match"].sort_index())
    if not matches[0].index.equals(matches[1].index):
        who = f"{goal.variant} and {goal.reference} did not answer the same queries (seed {seed})"
        raise ResultsError(f"answers.parquet: {who}; run `make seeds` again")
    return sent, answered(*matches)
