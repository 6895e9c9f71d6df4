"""What the notebooks call, a function a stage; each writes its outputs aside and renames them when done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from uoisc.bootstrap import bootstrap_interval, default_pairs, differences, summarise
from uoisc.clip import FrozenCLIP, save_clip
from uoisc.config import Params, load_params, paths
from uoisc.errors import DataError
from uoisc.evaluation import CONTROLS, SPLITS, ask_split, evaluate_model, reference_answers
from uoisc.examples import make_examples
from uoisc.foundation import clip_fields, localisation, train_clip
from uoisc.foundation_llava import judge_accuracy, train_llava
from uoisc.llava import save_llava
from uoisc.models import fast_attention, open_study, open_world, run_side_by_side
from uoisc.objects import load_catalogue, rasterise
from uoisc.pictures import write_examples
from uoisc.results import check_complete, write_csv, write_parquet
from uoisc.scenes import GRID, World
from uoisc.variants import VARIANTS

CHECK_STREAM = 99  # scenes on which the stand-ins are checked: neither their training nor the test scenes
CHECKED = 2000  # questions, and scenes, of that check


def prepare_data(profile: str) -> Path:
    """Rasterises the catalogue's drawings into data/PROFILE/objects/sprites.npz."""
    data, seed = load_params(profile).data, load_params(profile).seed
    entries = load_catalogue(data.objects)
    if data.held_out not in {entry.category for entry in entries}:
        raise DataError(f"data.held_out = {data.held_out!r}: no object has that category; see data/objects.csv")
    sprites = rasterise(entries, data.sprite_variants, data.image_size // GRID, seed)
    with written_folder(paths(profile).objects) as folder:
        np.savez(folder / "sprites.npz", sprites=sprites)
    return paths(profile).objects


def train_foundation(profile: str) -> pd.DataFrame:
    """Trains CLIP and both judges side by side; returns their checks, one row a model and metric."""
    params = load_params(profile)
    open_world(profile, params)  # stops here, before any process starts, where the data stage has not run
    jobs = [("llava", params.seed), ("llava_independent", params.seed + 1), ("clip", params.seed)]
    with written_folder(paths(profile).foundation) as folder:
        rows = run_side_by_side(train_stand_in, [(profile, *job, folder) for job in jobs], params.workers)
        table = pd.concat(rows, ignore_index=True)
        write_csv(table, folder / "checks.csv")
    return table


def train_stand_in(profile: str, model: str, seed: int, folder: Path) -> pd.DataFrame:
    """Trains one stand-in and checks it on fresh scenes. A judge brings up a vision tower of its own first."""
    torch.set_num_threads(1)
    params = load_params(profile)
    world, cfg, size = open_world(profile, params), params.foundation, params.data.image_size

    def progress(steps: range, label: str) -> tqdm:
        return tqdm(steps, desc=f"{model} {label}")

    n = min(CHECKED, 50 * params.evaluation.queries)
    with fast_attention():
        if model == "clip":
            clip, frozen = train_clip(cfg.clip, world, size, seed, progress)
            save_clip(clip, folder / model, **clip_fields(cfg.clip, size))
            values = {name: localisation(frozen, world, CHECK_STREAM, n, category) for name, category in _splits(params)}
            return _checks(profile, model, {f"localisation_top1{s}": v for s, v in values.items()}, params)
        _, frozen = train_clip(cfg.tower, world, size, seed, progress)
        llava = train_llava(cfg.llava, cfg.tower, frozen, world, size, seed, progress)
    save_llava(llava.model, llava.processor, folder / model)
    values = {}
    for name, category in _splits(params):
        right = judge_accuracy(llava, world, CHECK_STREAM, n, category)
        values |= {f"accuracy{name}:{kind}": v for kind, v in right.items()}
        values[f"accuracy{name}"] = np.concatenate([right[k] for k in ("existence", "place", "colour")])
    return _checks(profile, model, values, params)


def evaluate(profile: str) -> pd.DataFrame:
    """Evaluates every trained model on both splits and writes the results tables; returns the summary."""
    study = open_study(profile)
    params, results = study.params, paths(profile).results
    results.mkdir(parents=True, exist_ok=True)
    models = [(name, rate) for name, rates in params.training.variants.items() for rate in rates]
    models += [(control, rate) for control in CONTROLS for rate in params.training.variants.get("adaptive", ())]
    references = pd.concat(
        run_side_by_side(reference_answers, [(profile, split) for split in SPLITS], params.workers), ignore_index=True
    )
    jobs = [(profile, name, rate, split, references) for name, rate in models for split in SPLITS]
    evaluated = run_side_by_side(evaluate_model, jobs, params.workers)
    answers = pd.concat([e.answers for e in evaluated], ignore_index=True)
    quality = pd.concat([e.quality for e in evaluated], ignore_index=True)
    books = pd.concat([e.codebooks for e in evaluated], ignore_index=True)
    bits = {(e.answers["variant"].iloc[0], e.answers["bits"].iloc[0]) for e in evaluated}
    check_complete(answers, [(v, b, split, judge) for v, b in sorted(bits) for split in SPLITS for judge in study.judges])
    resamples = params.evaluation.resamples
    summary = summarise(answers, quality, params.seed, resamples)
    write_parquet(answers, results / "answers.parquet")
    write_csv(quality, results / "quality.csv")
    write_csv(summary, results / "summary.csv")
    write_csv(differences(answers, default_pairs(answers), params.seed, resamples), results / "differences.csv")
    write_csv(books.groupby(["profile", "variant", "bits", "seed", "tap", "segment"], as_index=False).mean(), results / "codebooks.csv")
    write_csv(training_log(profile), results / "training.csv")
    write_csv(pd.read_csv(paths(profile).foundation / "checks.csv"), results / "foundation.csv")
    write_csv(data_card(profile), results / "data_card.csv")
    write_examples(make_examples(study, answers), results)
    return summary


def training_log(profile: str) -> pd.DataFrame:
    """The loss terms of every model and phase in one tidy table."""
    study = open_study(profile)
    frames = []
    for name, rates in study.params.training.variants.items():
        for rate in rates:
            keys = {"profile": profile, "variant": name, "bits": study.build(name, rate).bits, "seed": study.params.seed}
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


def _splits(params: Params) -> tuple[tuple[str, str | None], ...]:
    return (("", None), ("_unseen", params.data.held_out))


def _checks(profile: str, model: str, values: dict[str, np.ndarray], params: Params) -> pd.DataFrame:
    rows = []
    for metric, right in values.items():
        value, low, high = bootstrap_interval(right, params.seed, params.evaluation.resamples)
        rows.append((profile, model, metric, value, low, high, len(right)))
    return pd.DataFrame(rows, columns=["profile", "model", "metric", "value", "low", "high", "n"])


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """A folder to fill beside `target`, which it replaces when all went well and leaves no trace of otherwise."""
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
