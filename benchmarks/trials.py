"""Tries the same settings on every method of the main comparisons, so that none is tuned more than another.

    make trials                        all that `trials` of params.yaml lists and results/trials.csv lacks
    params.yaml, training.of           takes the best setting of each, which is printed last

Each is trained and asked as by `uoisc validate`: another category held out, other scenes than the test's. Stopped and
started again, it goes on; rows of older code do not count, so delete the file when the method has changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from uoisc.base.config import PARAMS, ROOT, active_profile, document, load_params
from uoisc.base.errors import ConfigError, UoiscError
from uoisc.base.processes import run_side_by_side
from uoisc.base.terminal import show
from uoisc.stages.validation import TRIAL, trials, validate
from uoisc.study import check_rate

LOG = ROOT / "results" / "trials.csv"


def jobs(profile: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(profile, variant, rate, changes) of every trial of params.yaml. Raises ConfigError for one that cannot run."""
    try:
        wanted = document(PARAMS)["trials"]
        models = [tuple(model.split()) for model in wanted["models"]]
        found = [(profile, *model, tuple(change.split())) for change in wanted["settings"] for model in models]
        for _, name, rate, changes in found:
            check_rate(load_params(profile, changes=changes), name, rate)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"params.yaml: trials: wants `models` and `settings`, lists of text ({error})") from error
    return found


def missing(profile: str, log: Path) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The trials that are not in the table yet."""
    done = set(trials(log)[TRIAL].itertuples(index=False, name=None))
    return [
        job
        for job in jobs(profile)
        if (*job[:3], " ".join(sorted(job[3])), load_params(profile, changes=job[3]).seed) not in done
    ]


def try_one(profile: str, name: str, rate: str, changes: tuple[str, ...], log: Path) -> None:
    """One trial, into the table."""
    validate(profile, name, rate, changes, log)


def summary(table: pd.DataFrame, profile: str) -> pd.DataFrame:
    """A row per method and setting: the AMR of its own ranking, the mean over judges, splits and budgets, and whether
    that is the method's best."""
    own = table[(table["ranking"] == "own") & (table["profile"] == profile)]
    means = own.groupby(["variant", "rate", "changes"], as_index=False)[["amr", "right_less_wrong"]].mean()
    best = means.groupby(["variant", "rate"])["amr"].transform("max")
    return means.assign(best=(means["amr"] == best).map({True: "best", False: ""}))


def main(profile: str) -> None:
    """Runs what is missing, side by side, and shows what was found."""
    todo = [(*job, LOG) for job in missing(profile, LOG)]
    run_side_by_side(try_one, todo, load_params(profile).workers, "trials")
    show(summary(trials(LOG), profile).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2] or [active_profile()])
    except UoiscError as error:
        sys.exit(f"error: {error}")
