"""The evaluation stage: every trained model on both splits, side by side, into the results tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from uoisc.bootstrap import default_pairs, differences, summarise
from uoisc.config import paths
from uoisc.distributed import rank, wait
from uoisc.evaluation import CONTROLS, Control, evaluate_model, evaluation_questions, floor, reference_answers
from uoisc.examples import can_be_shown, make_examples
from uoisc.models import Point, Study, open_study, points
from uoisc.picture_data import write_examples
from uoisc.processes import run_side_by_side
from uoisc.rate import RateDial
from uoisc.results import check_complete, write_csv, write_parquet


def evaluate(profile: str) -> pd.DataFrame:
    """Evaluates every trained model on both splits and writes the results tables; returns the summary."""
    study = open_study(profile)
    params, results = study.params, paths(profile).results
    results.mkdir(parents=True, exist_ok=True)
    splits = study.source.splits
    models = [(point, control) for point in distinct(study) for control in controls(study, point)]
    references = pd.concat(
        run_side_by_side(reference_answers, [(profile, split) for split in splits], params.workers), ignore_index=True
    )
    jobs = [(profile, *model, split, references) for model in models for split in splits]
    evaluated = run_side_by_side(evaluate_model, jobs, params.workers, "models and splits evaluated")
    answers = pd.concat([e.answers for e in evaluated], ignore_index=True)
    quality = pd.concat([e.quality for e in evaluated], ignore_index=True)
    books = pd.concat([e.codebooks for e in evaluated], ignore_index=True)
    bits = {(e.answers["variant"].iloc[0], e.answers["bits"].iloc[0]) for e in evaluated}
    check_complete(
        answers, [(v, b, split, judge) for v, b in sorted(bits) for split in splits for judge in study.judges]
    )
    resamples = params.evaluation.resamples
    summary = summarise(answers, quality, params.seed, resamples)
    if rank() != 0:  # one process writes; the others wait for it
        wait()
        return summary
    write_parquet(answers, results / "answers.parquet")
    write_csv(quality, results / "quality.csv")
    write_csv(summary, results / "summary.csv")
    write_csv(differences(answers, default_pairs(answers), params.seed, resamples), results / "differences.csv")
    write_csv(
        books.groupby(["profile", "variant", "bits", "seed", "tap", "segment"], as_index=False).mean(),
        results / "codebooks.csv",
    )
    write_csv(training_log(profile), results / "training.csv")
    write_csv(pd.read_csv(paths(profile).foundation / "checks.csv"), results / "foundation.csv")
    write_csv(data_card(study), results / "data_card.csv")
    if can_be_shown(params.variants):
        write_examples(make_examples(study, answers), results)
    wait()
    return summary


def distinct(study: Study) -> list[Point]:
    """Every rate point, but one of two budgets at which a dial sends alike."""
    found = {(point.variant, study.codec(*point).bits): point for point in reversed(points(study.params))}
    return list(reversed(found.values()))


def controls(study: Study, point: Point) -> list[Control | None]:
    """What is evaluated of a model at one rate: itself, other rankings, and for `dial` the floors."""
    found = [None, *CONTROLS.get(point.variant, ())]
    if point.variant == "dial":
        found += floors(study.codec(point.variant, point.rate).rate, study.params.codec.dial.budgets)[point.bits]
    return found


def floors(dial: RateDial, budgets: Sequence[int]) -> dict[int, list[Control]]:
    """The floors at each budget that make another packing than any that the dial picks or that a tighter budget has."""
    known = {dial.at(bits) for bits in budgets}
    found = {}
    for bits in sorted(budgets):
        backgrounds = sorted({p.background for p in dial.packings if p.bits <= bits})
        packings = {units: dial.at(bits, units) for units in backgrounds}
        found[bits] = [floor(units) for units, packing in packings.items() if packing not in known]
        known |= set(packings.values())
    return found


def training_log(profile: str) -> pd.DataFrame:
    """The loss terms of every model and phase in one tidy table."""
    study = open_study(profile)
    frames = []
    for name, rates in study.params.variants.items():
        for rate in rates:
            keys = {
                "profile": profile,
                "variant": name,
                "bits": study.build(name, rate).bits,
                "seed": study.params.seed,
            }
            for phase in (1, 2):
                log = pd.read_csv(paths(profile).codec(phase, name, rate).with_suffix(".csv"))
                frames.append(pd.concat([pd.DataFrame([keys] * len(log)), log], axis=1))
    return pd.concat(frames, ignore_index=True)


def data_card(study: Study) -> pd.DataFrame:
    """How often each answer is right in the evaluation set, by split and type; names are pooled."""
    rows = []
    for split in study.source.splits:
        rows += [(split, q.type, q.truth) for q in evaluation_questions(study, split).queries]
    table = pd.DataFrame(rows, columns=["split", "type", "answer"])
    return table.groupby(["split", "type", "answer"], as_index=False).size().rename(columns={"size": "count"})
