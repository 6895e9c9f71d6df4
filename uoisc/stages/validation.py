"""Chooses settings without looking at the test split: another category held out, other scenes, one model at a time.

validate("small", "adaptive", "tight", ("training.batch_size=8",))  -->  match rates of both judges, seen and unseen
"""

from dataclasses import replace
from math import nan
from pathlib import Path
from tempfile import gettempdir

import pandas as pd
import torch
from filelock import FileLock

from uoisc.base.config import DIAL, load_params
from uoisc.base.distributed import rank
from uoisc.base.errors import ConfigError, reason
from uoisc.base.folders import check_writable
from uoisc.base.results import missing, read_table, write_csv
from uoisc.base.settings import JUDGES
from uoisc.base.storage import digest_of
from uoisc.codec import Codec
from uoisc.data.questions import Asked
from uoisc.judge import evaluation
from uoisc.judge.bootstrap import mean_rows
from uoisc.stages.evaluation_jobs import ASKED
from uoisc.stages.train_models import fit, untrained
from uoisc.study import Study, assemble, check_rate

COLUMNS = ["bits", "split", "judge", "ranking", "amr", "low", "high", "floor", "right_less_wrong", "n"]
TRIAL = ["profile", "variant", "rate", "changes", "seed"]  # what tells one from another in a table of trials
VALIDATION_STREAM = 6  # scenes that neither training nor the evaluation draws
FREE = ("seed", "codec.", "training.", *ASKED)  # what may be changed: data and stand-ins are made already


def validate(
    profile: str, name: str, rate: str, changes: tuple[str, ...] = (), log: Path | None = None
) -> pd.DataFrame:
    """Trains a variant through both phases where `data.validation` is held out; returns its answer match rates.

    Args:
        name, rate: any variant of variants.py, whether or not the profile trains it, and a rate that it can have.
        changes: `key=value`, keys as in params.yaml.
        log: a table of trials (results/trials.csv), which takes in the rows, in the place of those of the same trial.

    Returns one row per budget, split, ranking of the tokens (its own, and `CONTROLS`) and judge: bits, amr with its
    95 % interval, the floor of a blank image, the amr less that of what is sent for another query (under a codec's own
    ranking, where it reads the query; else empty), n.
    Raises ConfigError, before any work, for an unknown variant or rate and for a change of data or stand-ins, or an
    impossible one; ResultsError for a log that is no table of trials.
    """
    if log is not None:
        trials(log)
        check_writable(log.parent)
    study = _study(profile, name, rate, changes)
    codec = untrained(study, name, rate)
    params = study.params
    for phase in (1, 2):
        fit(study, codec, name, rate, phase)
    rankings = {"own": None} | {control.name: control.ranking for control in evaluation.CONTROLS.get(name, ())}
    codecs = [codec.at(bits) for bits in params.codec.dial.budgets] if rate == DIAL else [codec]
    splits = study.source.splits
    questions = [evaluation.evaluation_questions(study, split, stream=VALIDATION_STREAM) for split in splits]
    references = pd.concat([evaluation.ask_references(study, asked) for asked in questions], ignore_index=True)
    rows = [
        row | {"ranking": ranking}
        for codec in codecs
        for asked in questions
        for ranking in rankings
        for row in _match_rates(study, codec, asked, rankings[ranking], references)
    ]
    table = pd.DataFrame(rows).rename(columns={"value": "amr"})[COLUMNS]
    if log is not None and rank() == 0:
        _keep(table, log, dict(zip(TRIAL, (profile, name, rate, " ".join(sorted(changes)), params.seed), strict=True)))
    return table


def _study(profile: str, name: str, rate: str, changes: tuple[str, ...]) -> Study:
    """The profile with these changes and the other category held out."""
    for change in changes:
        if not change.startswith(FREE):
            raise ConfigError(f"{change!r}: data and stand-ins are made already; only {', '.join(FREE)} may change")
    params = load_params(profile, changes=changes)
    check_rate(params, name, rate)
    study = assemble(profile, params, JUDGES)
    data = replace(params.data, held_out=params.data.validation, validation=params.data.held_out)
    return replace(study, params=replace(params, data=data))


def trials(log: Path) -> pd.DataFrame:
    """The rows of a table of trials; none where there is no such file yet. Raises ResultsError where it is no such."""
    if not log.exists():
        return pd.DataFrame(columns=[*TRIAL, *COLUMNS])
    table = read_table(log.parent, log.name, [*TRIAL, *COLUMNS])
    try:
        return table.astype({"seed": int, "changes": object}).fillna({"changes": ""})
    except ValueError as error:
        raise missing(log, f"its column `seed` holds no whole numbers ({reason(error)})") from error


def _keep(table: pd.DataFrame, log: Path, trial: dict) -> None:
    """Writes a trial's rows, for one process at a time."""
    with FileLock(Path(gettempdir()) / f"{digest_of(str(log.resolve()))[:16]}.lock"):
        before = trials(log)
        others = before[(before[TRIAL] != pd.Series(trial)).any(axis=1)]
        rows = table.assign(**trial)[before.columns]
        write_csv((pd.concat([others, rows]) if len(others) else rows).sort_values(TRIAL, kind="stable"), log)


@torch.no_grad()
def _match_rates(study: Study, codec: Codec, asked: Asked, ranking, references: pd.DataFrame) -> list[dict]:
    """One row per judge."""
    table, _, _ = evaluation.hear(study, codec, asked, references, {}, ranking, ranking is None)
    rows = []
    for name, own in table[table["match"].notna()].groupby("judge", sort=False):
        keys = {"bits": codec.bits, "split": asked.split, "judge": name, "floor": own["match_blank"].mean()}
        wrong = own["match_wrong_query"].dropna()
        keys["right_less_wrong"] = own["match"].mean() - wrong.mean() if len(wrong) else nan
        rows += mean_rows({"amr": own["match"]}, study.params, keys)
    return rows
