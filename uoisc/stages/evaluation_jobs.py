"""The evaluation stage: every trained model on both splits, side by side, into the results tables."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from uoisc.base.config import ROOT, check_ready, load_params, paths
from uoisc.base.distributed import rank, wait
from uoisc.base.errors import ConfigError, choices
from uoisc.base.folders import check_writable, readable
from uoisc.base.picture_data import write_examples
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import write_csv, write_json, write_parquet
from uoisc.base.settings import DIAL, JUDGES
from uoisc.judge import evaluation
from uoisc.judge.bootstrap import default_pairs, differences, nearest_bits, query_effect, reliable_types, summarise
from uoisc.rate import RateDial
from uoisc.rivals.text import text_bounds
from uoisc.stages.examples import make_examples
from uoisc.stages.machine import recorded
from uoisc.study import Point, Study, open_study, points

ASKED = ("evaluation.", *(f"foundation.{judge}.suffix=" for judge in JUDGES))  # what `score` may change
SCORED = ("amr", "amr_floor", "long_answers", "vqa_accuracy", "vqa_accuracy_source")  # what it shows
LONGEST = 200  # characters of its folder's name


def evaluate(profile: str) -> pd.DataFrame:
    """Evaluates every trained model on both splits and writes the results tables; returns the summary."""
    check_ready(profile)
    study = open_study(profile)
    params = study.params
    results = paths(profile).results
    check_writable(results)
    checks = paths(profile).foundation / "checks.csv"  # read before hours of work, in case one is missing
    again = f"run the foundation stage again: uoisc run 02_foundation --profile {profile}"
    logs = training_log(profile)
    checks = pd.read_csv(readable(checks, again))
    found = _ask(study, study.distinct(points(params)))
    reliable = reliable_types(checks, found.answers["type"])
    summary = _write_asked(study, found, results, reliable)
    bounds = run_side_by_side(
        text_bounds, [(profile, split, reliable) for split in study.source.splits], params.workers
    )
    if rank() == 0:  # one process writes; the others wait for it
        own = found.answers[found.answers["type"].isin(reliable)]
        compared = differences(own, default_pairs(own), params.seed, params.evaluation.resamples)
        write_csv(compared, results / "differences.csv")
        effect = query_effect(own, found.quality, params.seed, params.evaluation.resamples)
        write_csv(effect, results / "query_effect.csv")
        write_csv(pd.concat(bounds, ignore_index=True), results / "text_bounds.csv")
        keys = ["profile", "variant", "bits", "seed", "tap", "segment"]
        write_csv(found.codebooks.groupby(keys, as_index=False).mean(), results / "codebooks.csv")
        write_csv(logs, results / "training.csv")
        write_csv(checks, results / "foundation.csv")
        write_csv(data_card(study), results / "data_card.csv")
        write_json(recorded(), results / "machine.json")
        if "uoisc" in params.variants:  # what the pictures are about
            write_examples(make_examples(study, found.answers), results)
    wait()
    return summary


def score(profile: str, names: str, changes: tuple[str, ...] = ()) -> tuple[pd.DataFrame, Path]:
    """Evaluates some variants, joined by +: their answer match rates, and the folder that holds all that was found.

    The results tables are left alone: their rows are all of one state of the code. Raises ConfigError, before any
    work, for a variant that the profile does not train. `changes`: `key=value`, of how codecs are evaluated alone:
    `evaluation.`, and what follows questions to a judge.
    """
    for change in changes:
        if not change.startswith(ASKED):
            raise ConfigError(f"{change!r}: codecs are trained already; only {', '.join(ASKED)} may change")
    trained = load_params(profile).variants
    wanted = list(dict.fromkeys(names.split("+")))
    for name in wanted:
        if name not in trained:
            raise ConfigError(f"profile {profile} trains no {name!r}: {choices(name, trained)}")
    study = open_study(profile, changes=changes)
    name = "+".join([*wanted, *(re.sub(r"[^\w.=]+", "_", change) for change in changes)])
    folder = Path("build", profile, "scores", name[:LONGEST])
    summary = _write_asked(study, _ask(study, study.distinct(points(study.params, wanted)), changes), ROOT / folder)
    wait()
    rates = summary[summary["metric"].isin(SCORED)]
    return rates.drop(columns=["profile", "seed"]), folder


def _write_asked(study: Study, found: evaluation.Evaluated, folder: Path, reliable: Sequence[str] = ()) -> pd.DataFrame:
    """The summary of what was found; the first process writes both."""
    seed = study.params.seed
    resamples = study.params.evaluation.resamples
    summary = summarise(found.answers, found.quality, seed, resamples, reliable)
    if rank() == 0:
        write_parquet(found.answers, folder / "answers.parquet")
        write_csv(found.quality, folder / "quality.csv")
        write_csv(summary, folder / "summary.csv")
    return summary


def _ask(study: Study, models: list[Point], changes: tuple[str, ...] = ()) -> evaluation.Evaluated:
    """Both judges about these models and their controls, on both splits; about the main ones in other styles too."""
    splits = study.source.splits
    references = evaluation.every_reference(study, (*splits, *study.source.beyond), changes=changes)
    located = any(query.located for split in splits for query in evaluation.evaluation_questions(study, split).queries)
    tested = [
        (point, control, split)
        for point in models
        for control in controls(study, point)
        if located or control is not evaluation.ORACLE
        for split in splits
    ]
    tested += product(tested_beyond(study, models), [None], study.source.beyond)
    jobs = [(study.profile, *one, references, changes) for one in tested]
    evaluated = run_side_by_side(evaluation.evaluate_model, jobs, study.params.workers, "models and splits evaluated")
    return evaluation.Evaluated(*(pd.concat(tables, ignore_index=True) for tables in zip(*evaluated, strict=True)))


def tested_beyond(study: Study, models: Sequence[Point]) -> list[Point]:
    """Those models that are evaluated in other styles than their own as well (`evaluation.beyond`)."""
    p = study.params
    chosen = p.evaluation.beyond
    budgets = {nearest_bits(study.build("uoisc", rate).bits, map(float, p.codec.dial.budgets)) for rate in chosen.rates}
    wanted = [point for point in models if point.variant in chosen.variants]
    return [point for point in wanted if (point.bits in budgets if point.rate == DIAL else point.rate in chosen.rates)]


def controls(study: Study, point: Point) -> list[evaluation.Control | None]:
    """What is evaluated of a model at one rate: itself, other rankings, and for `dial` the floors."""
    found = [None, *evaluation.CONTROLS.get(point.variant, ())]
    if point.variant == "dial":
        found += floors(study.codec(point.variant, point.rate).rate, study.params.codec.dial.budgets)[point.bits]
    return found


def floors(dial: RateDial, budgets: Sequence[int]) -> dict[int, list[evaluation.Control]]:
    """The floors at each budget that make another packing than any that the dial picks or that a tighter budget has."""
    known = {dial.at(bits) for bits in budgets}
    found = {}
    for bits in sorted(budgets):
        backgrounds = sorted({p.background for p in dial.packings if p.bits <= bits})
        packings = {units: dial.at(bits, units) for units in backgrounds}
        found[bits] = [
            evaluation.Control(f"floor{units}", floor=units)
            for units, packing in packings.items()
            if packing not in known
        ]
        known |= set(packings.values())
    return found


def training_log(profile: str) -> pd.DataFrame:
    """The loss terms of every model and phase in one tidy table."""
    study = open_study(profile)
    frames = []
    for name, rates in study.params.variants.items():
        for rate in rates:
            bits = study.build(name, rate).bits
            keys = {"profile": profile, "variant": name, "bits": bits, "seed": study.params.seed}
            for phase in (1, 2):
                path = paths(profile).codec(phase, name, rate).with_suffix(".csv")
                log = pd.read_csv(readable(path, f"train it: uoisc train {name} --profile {profile}"))
                frames.append(pd.concat([pd.DataFrame([keys] * len(log)), log], axis=1))
    return pd.concat(frames, ignore_index=True)


def data_card(study: Study) -> pd.DataFrame:
    """How often each answer is right in the evaluation set, by split and type; names are pooled."""
    splits = (*study.source.splits, *study.source.beyond)
    asked = {split: evaluation.evaluation_questions(study, split).queries for split in splits}
    keys = ["split", "type", "answer"]
    table = pd.DataFrame([(split, q.type, q.truth) for split in asked for q in asked[split]], columns=keys)
    return table.groupby(keys, as_index=False).size().rename(columns={"size": "count"})
