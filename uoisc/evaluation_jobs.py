"""The evaluation stage: every trained model on both splits, side by side, into the results tables."""

from __future__ import annotations

import pandas as pd

from uoisc.bootstrap import default_pairs, differences, summarise
from uoisc.config import load_params, paths
from uoisc.evaluation import CONTROLS, SPLITS, ask_split, evaluate_model, reference_answers
from uoisc.examples import make_examples
from uoisc.models import open_study
from uoisc.pictures import write_examples
from uoisc.preparation import open_world
from uoisc.processes import run_side_by_side
from uoisc.results import check_complete, write_csv, write_parquet


def evaluate(profile: str) -> pd.DataFrame:
    """Evaluates every trained model on both splits and writes the results tables; returns the summary."""
    study = open_study(profile)
    params, results = study.params, paths(profile).results
    results.mkdir(parents=True, exist_ok=True)
    models = [(name, rate) for name, rates in params.variants.items() for rate in rates]
    models += [(control, rate) for control in CONTROLS for rate in params.variants.get("adaptive", ())]
    references = pd.concat(
        run_side_by_side(reference_answers, [(profile, split) for split in SPLITS], params.workers), ignore_index=True
    )
    jobs = [(profile, name, rate, split, references) for name, rate in models for split in SPLITS]
    evaluated = run_side_by_side(evaluate_model, jobs, params.workers, "models and splits evaluated")
    answers = pd.concat([e.answers for e in evaluated], ignore_index=True)
    quality = pd.concat([e.quality for e in evaluated], ignore_index=True)
    books = pd.concat([e.codebooks for e in evaluated], ignore_index=True)
    bits = {(e.answers["variant"].iloc[0], e.answers["bits"].iloc[0]) for e in evaluated}
    check_complete(
        answers, [(v, b, split, judge) for v, b in sorted(bits) for split in SPLITS for judge in study.judges]
    )
    resamples = params.evaluation.resamples
    summary = summarise(answers, quality, params.seed, resamples)
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
    write_csv(data_card(profile), results / "data_card.csv")
    write_examples(make_examples(study, answers), results)
    return summary


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


def data_card(profile: str) -> pd.DataFrame:
    """How often each answer is right in the evaluation set, a split and type; names are pooled."""
    params = load_params(profile)
    world = open_world(profile, params)
    rows = []
    for split in SPLITS:
        asked = ask_split(world, split, params.data.held_out, params.evaluation.queries, params.seed)
        rows += [(split, q.type, q.truth) for q in asked.queries]
    table = pd.DataFrame(rows, columns=["split", "type", "answer"])
    return table.groupby(["split", "type", "answer"], as_index=False).size().rename(columns={"size": "count"})
