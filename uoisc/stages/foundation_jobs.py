"""The foundation stage: trains and checks CLIP and both judges, side by side."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uoisc.base.config import Params, load_params, paths
from uoisc.base.devices import STAND_IN, fast_attention, fit_in_memory
from uoisc.base.distributed import device
from uoisc.base.errors import CheckpointError, DataError
from uoisc.base.folders import check_writable, written_folder
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import write_csv
from uoisc.base.settings import JUDGES, Pretrained
from uoisc.base.terminal import bar
from uoisc.data.questions import POOLED_TYPES, SPLITS, Asked, Source
from uoisc.data.styles import PLAIN, STYLES
from uoisc.frozen.clip import ATTENTIONS, FrozenCLIP
from uoisc.frozen.clip_files import save_clip
from uoisc.frozen.foundation import clip_fields, localisation, train_clip, train_tower
from uoisc.frozen.foundation_llava import judge_accuracy, train_llava
from uoisc.frozen.llava_files import save_llava
from uoisc.frozen.pretrained import open_pretrained
from uoisc.importers.sources import open_source, open_world
from uoisc.judge.bootstrap import mean_rows

CHECK_STREAM = 99  # scenes on which the stand-ins are checked: neither their training nor the test scenes
CHECKED = 4000  # questions, and scenes, of that check in the codecs' style
CHECKED_STYLE = 600  # and in each other one
CHECKED_PHOTOGRAPHS = 64  # questions per split, of others' judges
LOCATED = 512  # questions per split, of others' CLIP; about half of VQA v2's name something that is boxed


def train_foundation(profile: str) -> pd.DataFrame:
    """Trains CLIP and both judges side by side, or checks others'; returns and writes the checks, one row per model and
    metric. Raises CheckpointError where another's model is missing or not the one that params.yaml says."""
    params = load_params(profile)
    check_writable(paths(profile).foundation.parent)
    jobs = [("llava", params.seed), ("llava_independent", params.seed + 1), ("clip", params.seed)]
    with written_folder(paths(profile).foundation) as folder:
        if isinstance(params.foundation, Pretrained):
            rows = check_pretrained(profile)
        else:
            open_world(profile, params)  # stops here, before any process starts, where the data stage has not run
            # All three, whatever the cores: on two they end sooner than two and then one.
            workers = 1 if params.workers == 1 else min(len(jobs), fit_in_memory(STAND_IN))
            rows = run_side_by_side(train_stand_in, [(profile, *job, folder) for job in jobs], workers)
        table = pd.concat(rows, ignore_index=True)
        write_csv(table, folder / "checks.csv")
    return table


def train_stand_in(profile: str, model: str, seed: int, folder: Path) -> pd.DataFrame:
    """Trains one stand-in and checks it on fresh scenes. A judge brings up a vision tower of its own first: a CLIP's,
    or, the independent one, which is of another family, a tower that learns labels."""
    torch.set_num_threads(1)
    params = load_params(profile)
    world = open_world(profile, params)
    cfg = params.foundation
    size = params.data.image_size

    def progress(steps: range, label: str):
        return bar(steps, desc=f"{model} {label}")

    with fast_attention():
        if model == "clip":
            clip, frozen = train_clip(cfg.clip, world, size, seed, progress)
            save_clip(clip, folder / model, **clip_fields(cfg.clip, size))
            found = {
                f"localisation_top1{name}": localisation(frozen, world, CHECK_STREAM, *which)
                for name, which in _kinds(params).items()
            }
            check_learnt(model, found, ["localisation_top1"], cfg.least)
            return _checks(profile, model, found, params)
        if model == JUDGES[0]:
            tower = cfg.tower
            judge = cfg.llava
            _, frozen = train_clip(cfg.tower, world, size, seed, progress)
        else:
            tower = cfg.tower_independent
            judge = cfg.llava_independent
            frozen = train_tower(tower, world, size, seed, progress)
        llava = train_llava(judge, tower, frozen, world, size, seed, progress)
    save_llava(llava.model, llava.processor, folder / model)
    values = {}
    for name, which in _kinds(params).items():
        right = judge_accuracy(llava, world, CHECK_STREAM, *which)
        objects, at, style = name.partition("@")
        values |= {f"accuracy{objects}:{kind}{at}{style}": v for kind, v in right.items()}
        values[f"accuracy{name}"] = np.concatenate([right[kind] for kind in POOLED_TYPES])
    check_learnt(model, values, [f"accuracy:{kind}" for kind in POOLED_TYPES], cfg.least)
    return _checks(profile, model, values, params)


def check_learnt(model: str, found: dict[str, np.ndarray], metrics: Sequence[str], least: float) -> None:
    """Raises CheckpointError where a stand-in is right too seldom to stand for anything."""
    worst = min(metrics, key=lambda metric: found[metric].mean())
    if (share := found[worst].mean()) < least:
        says = f"foundation.{model}: its {worst} is {share:.2f}, at least foundation.least = {least:g} is wanted"
        raise CheckpointError(f"{says}: raise its steps, or give the profile another seed")


def _kinds(params: Params) -> dict[str, tuple[int, str | None, str]]:
    """What stands behind a metric's name -> how many questions, of which category (None: any), in which style."""
    kinds = {}
    for style in STYLES:
        most, each, end = (CHECKED, 50, "") if style.name == PLAIN else (CHECKED_STYLE, 10, f"@{style.name}")
        for name, category in (("", None), ("_unseen", params.data.held_out)):
            kinds[f"{name}{end}"] = (min(most, each * params.evaluation.queries), category, style.name)
    return kinds


def _checks(profile: str, model: str, values: dict[str, np.ndarray], params: Params) -> pd.DataFrame:
    return pd.DataFrame(mean_rows(values, params, {"profile": profile, "model": model}))


@torch.no_grad()
def check_pretrained(profile: str) -> list[pd.DataFrame]:
    """How well others' CLIP localises, and the share of their judges' right answers on source images, by split, on
    questions that no test split asks (`to_check`); their images may be of codecs' training."""
    params = load_params(profile)
    source = open_source(profile, params)
    clip, judges = open_pretrained(params.foundation, params.codec.taps, params.data.image_size)
    rows = []
    for split, suffix in zip(SPLITS, ("", "_unseen"), strict=True):
        asked = to_check(source, split, params)
        if asked is None:
            continue
        found = located(clip.to(device()), source, asked, suffix, params.evaluation.batch_size)
        rows.append(_checks(profile, "clip", found, params))
        asked = asked.first(CHECKED_PHOTOGRAPHS)
        for name, judge in judges.items():
            answers = judge.to(device()).answer(asked.all_images().to(device()), asked.texts)
            right = [query.right(answer) for query, answer in zip(asked.queries, answers, strict=True)]
            rows.append(_checks(profile, name, {f"accuracy{suffix}": np.array(right)}, params))
    return rows


def to_check(source: Source, split: str, params: Params) -> Asked | None:
    """At most `LOCATED` questions of a split where `data.validation` is held out. Small sets may have too few there:
    then seen objects' are those of training images, and unseen objects are not checked."""
    stream = [params.seed, CHECK_STREAM]
    try:
        return source.ask_split(split, params.data.validation, LOCATED, stream)
    except DataError:
        if split != SPLITS[0]:
            return None
    batch = next(source.batches(stream, LOCATED, params.data.held_out))
    once = sorted({name: row for row, name in enumerate(batch.names)}.values())  # drawn with repetition where few
    queries = [batch.queries[row] for row in once]
    return Asked(split, queries, queries, lambda rows: batch.images[once][rows])


def located(clip: FrozenCLIP, source: Source, asked: Asked, suffix: str, batch_size: int) -> dict[str, np.ndarray]:
    """Whether the token most relevant to a question lies where its answer does, (n,), by each attention of CLIP's last
    block, and chance: the share of the tokens that do. Of the questions whose region is known; without any, nothing."""
    own = clip.attention
    found = defaultdict(list)
    for start in range(0, len(asked), batch_size):
        rows = slice(start, start + batch_size)
        region = source.regions(asked.queries[rows], clip.grid)
        if not region.any():
            continue
        known = region.any(1)
        x = asked.images(rows)[known]
        text = clip.text(asked.texts[rows])[known.to(device())]
        found[f"localisation_chance{suffix}"].append(region[known].float().mean(1))
        for name, attention in ATTENTIONS.items():
            first = clip.relevance(clip.attending(attention).see(x).tokens, text).argmax(1).cpu()
            found[f"localisation_top1{suffix}:{name}"].append(region[known].gather(1, first[:, None])[:, 0])
    clip.attention = own
    return {name: torch.cat(hits).numpy() for name, hits in found.items()}
