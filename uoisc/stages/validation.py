"""Chooses settings without looking at the test split: another category held out, other scenes, one model at a time.

validate("small", "adaptive", "tight", ("training.emphasis=4",))  -->  match rates of both judges, seen and unseen
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from uoisc.base.config import DIAL, load_params
from uoisc.base.errors import ConfigError
from uoisc.base.settings import JUDGES
from uoisc.codec import Codec
from uoisc.data.answers import answers_match
from uoisc.data.images import BLANK_GREY
from uoisc.judge.bootstrap import bootstrap_interval
from uoisc.judge.evaluation import CONTROLS, Ranking, asked_of, from_codec, source_images
from uoisc.stages.train_models import fit, untrained
from uoisc.study import Study, assemble, check_rate

VALIDATION_STREAM = 6  # scenes that neither training nor the evaluation draws
FREE = ("seed", "codec.", "training.", "evaluation.")  # what may be changed: data and stand-ins are made already


def validate(profile: str, name: str, rate: str, changes: tuple[str, ...] = ()) -> pd.DataFrame:
    """Trains a variant through both phases where `data.validation` is held out; returns its answer match rates.

    Args:
        name, rate: any variant of variants.py, whether or not the profile trains it, and a rate that it can have.
        changes: `key=value`, keys as in params.yaml.

    Returns one row per budget, split, ranking of the tokens (its own, and `CONTROLS`) and judge: bits, amr with its
    95 % interval, the floor of a blank image, n.
    Raises ConfigError, before any work, for an unknown variant or rate and for a change of data or stand-ins, or an
    impossible one.
    """
    for change in changes:
        if not change.startswith(FREE):
            raise ConfigError(f"{change!r}: data and stand-ins are made already; only {', '.join(FREE)} may change")
    params = load_params(profile, changes=changes)
    check_rate(params, name, rate)
    params = replace(
        params, data=replace(params.data, held_out=params.data.validation, validation=params.data.held_out)
    )
    study = assemble(profile, params, JUDGES)
    codec = untrained(study, name, rate)
    for phase in (1, 2):
        fit(study, codec, name, rate, phase)
    rankings = {"own": from_codec} | {control.name: control.ranking for control in CONTROLS.get(name, ())}
    budgets = params.codec.dial.budgets if rate == DIAL else [None]
    rows = [
        row | {"ranking": ranking}
        for bits in budgets
        for split in study.source.splits
        for ranking in rankings
        for row in _asked(study, codec if bits is None else codec.at(bits), split, rankings[ranking])
    ]
    return pd.DataFrame(rows)


@torch.no_grad()
def _asked(study: Study, codec: Codec, split: str, ranking: Ranking) -> list[dict]:
    """One row per judge."""
    p = study.params
    asked = asked_of(study, split, VALIDATION_STREAM)
    texts, answers = asked.texts, {name: ([], [], []) for name in study.judges}
    for start in range(0, len(asked), p.evaluation.batch_size):
        rows = slice(start, start + p.evaluation.batch_size)
        x = source_images(asked, rows)
        x_hat = codec.decode(codec.encode(x, texts[rows], ranking(study, asked, rows)), texts[rows])
        for name, judge in study.judges.items():
            for heard, images in zip(answers[name], (x, x_hat, torch.full_like(x, BLANK_GREY)), strict=True):
                heard += judge.answer(images, texts[rows])
    rows = []
    for name, (source, sent, blank) in answers.items():
        match, floor = (
            np.array([answers_match(*answers) for answers in zip(texts, source, other, strict=True)], dtype=float)
            for other in (sent, blank)
        )
        value, low, high = bootstrap_interval(match, p.seed, p.evaluation.resamples)
        rows.append({"bits": codec.bits, "split": split, "judge": name, "amr": value, "low": low, "high": high,
                     "floor": floor.mean(), "n": len(match)})  # fmt: skip
    return rows
