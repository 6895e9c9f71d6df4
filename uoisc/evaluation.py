"""Asks both judges about source images, reconstructions and blank images, and measures the pictures.

evaluation set (scenes without held-out objects: seen; queries about held-out ones: unseen)
    --> source answers, blank answers                      once a judge
    --> codec(x, query), codec(x, another query) --> answers, PSNR ...   once a model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.alignment import Identity
from uoisc.bootstrap import bootstrap_interval
from uoisc.codec import Codec
from uoisc.metrics import answers_match, clip_score, perceptual_distance, psnr, ssim
from uoisc.models import Study, open_study
from uoisc.quantization import SegmentVQ
from uoisc.rate import RankedRate
from uoisc.scenes import TILES, TYPES, Query, Scenes, World

SPLITS = ("seen", "unseen")
EVALUATION_STREAM = 8  # training draws from [seed, 1] and [seed, 2]; test scenes from [seed, 8, split]
BLANK_GREY = 0.5


@dataclass(frozen=True)
class Asked:
    """A split's scenes with one query each, and another query of the same scene (the wrong-query control)."""

    split: str
    scenes: Scenes
    queries: list[Query]
    others: list[Query]


@dataclass(frozen=True)
class Evaluated:
    """What one model's evaluation gives: rows of answers.parquet, quality.csv and codebooks.csv."""

    answers: pd.DataFrame
    quality: pd.DataFrame
    codebooks: pd.DataFrame


Ranking = Callable[[Study, Asked, slice, Tensor], Float[Tensor, "B N"]]


def ask_split(world: World, split: str, held_out: str, n: int, seed: int, stream: int = EVALUATION_STREAM) -> Asked:
    """n scenes and queries of a split, the types in turn. The same seed gives the same ones.

    seen: no scene holds a held-out object. unseen: every scene holds one to four, and every query is about one.
    """
    rng = np.random.default_rng([seed, stream, SPLITS.index(split)])
    if split == "seen":
        allowed = subjects = world.pool(exclude=held_out)
        scenes = world.sample(rng, n, allowed)
    else:
        allowed, subjects = world.pool(), world.pool(only=held_out)
        scenes = world.sample(rng, n, allowed, focus=held_out)
    queries = world.ask_each(rng, scenes, 1, subjects)
    others = [another(world, rng, scenes, query, subjects) for query in queries]
    return Asked(split, scenes, queries, others)


def another(world: World, rng: np.random.Generator, scenes: Scenes, query: Query, subjects: np.ndarray) -> Query:
    """Another query of the same scene that, where the scene allows, looks at other tiles."""
    for attempt in count():
        kind = TYPES[int(rng.integers(len(TYPES)))]
        other = world.ask(rng, scenes, query.scene, kind, subjects)
        if other.text != query.text and (attempt >= 8 or not set(other.tiles) & set(query.tiles)):
            return other


def from_clip(study: Study, asked: Asked, rows: slice, clip_relevance: Tensor) -> Float[Tensor, "B N"]:
    """The codec's own ranking."""
    return clip_relevance


def at_random(study: Study, asked: Asked, rows: slice, clip_relevance: Tensor) -> Float[Tensor, "B N"]:
    """Control: tokens in random order."""
    generator = torch.Generator().manual_seed(study.params.seed + rows.start)
    return torch.rand(clip_relevance.shape, generator=generator)


def from_oracle(study: Study, asked: Asked, rows: slice, clip_relevance: Tensor) -> Float[Tensor, "B N"]:
    """Control: the tiles that hold the answer first; CLIP orders what is equal."""
    side = int(clip_relevance.shape[1] ** 0.5)
    tiles = torch.zeros(len(clip_relevance), TILES)
    for i, query in enumerate(asked.queries[rows]):
        tiles[i, list(query.tiles)] = 10.0
    step = side // int(TILES**0.5)
    grid = tiles.view(-1, side // step, side // step).repeat_interleave(step, 1).repeat_interleave(step, 2)
    return grid.flatten(1) + clip_relevance


CONTROLS: dict[str, Ranking] = {"adaptive_random": at_random, "adaptive_oracle": from_oracle}


@torch.no_grad()
def reference_answers(profile: str, split: str) -> pd.DataFrame:
    """Both judges' answers on the source and on a blank image: one row a judge and query."""
    study = open_study(profile)
    asked = _asked(study, split)
    texts = [q.text for q in asked.queries]
    frames = []
    for name, judge in study.judges.items():
        source, blank = [], []
        for rows in _batches(study, len(texts)):
            x = study.world.render(asked.scenes[rows])
            source += judge.answer(x, texts[rows])
            blank += judge.answer(torch.full_like(x, BLANK_GREY), texts[rows])
        frames.append(_query_columns(asked, name).assign(answer_source=source, answer_blank=blank))
    return pd.concat(frames, ignore_index=True)


@torch.no_grad()
def evaluate_model(profile: str, name: str, rate: str, split: str, references: pd.DataFrame) -> Evaluated:
    """One model on one split; `adaptive_random` and `adaptive_oracle` are adaptive's model under another ranking."""
    study = open_study(profile)
    asked = _asked(study, split)
    codec = study.codec("adaptive" if name in CONTROLS else name, rate)
    ranking = CONTROLS.get(name, from_clip)
    asks = name not in CONTROLS and uses_query(codec)
    texts, other_texts = [q.text for q in asked.queries], [q.text for q in asked.others]
    hats: dict[str, list] = {j: [] for j in study.judges}
    wrongs: dict[str, list] = {j: [] for j in study.judges}
    measures, indices, sent = [], [], []
    for rows in _batches(study, len(texts)):
        x = study.world.render(asked.scenes[rows])
        relevance = study.clip.relevance(study.clip.see(x).tokens, study.clip.text(texts[rows]))
        ranked = None if ranking is from_clip else ranking(study, asked, rows, relevance)
        message = codec.encode(x, texts[rows], ranked)
        x_hat = codec.decode(message, texts[rows])
        measures.append(_quality(study, x, x_hat, texts[rows]))
        indices.append(message.indices)
        sent.append(message.sent)
        x_wrong = codec(x, other_texts[rows]).x_hat if asks else None
        for judge, model in study.judges.items():
            hats[judge] += model.answer(x_hat, texts[rows])
            wrongs[judge] += model.answer(x_wrong, texts[rows]) if asks else [None] * len(x)
    keys = {"profile": profile, "variant": name, "seed": study.params.seed, "bits": codec.bits}
    own = references[references["split"] == split].copy()
    own["answer_hat"] = np.concatenate([hats[j] for j in study.judges])
    own["answer_wrong_query"] = pd.Series(sum((wrongs[j] for j in study.judges), []), index=own.index, dtype="object")
    answers = _matched(own.assign(**keys))
    quality = _quality_rows(pd.concat(measures), keys | {"split": split}, study.params.evaluation.resamples)
    return Evaluated(answers, quality, codebook_rows(codec, torch.cat(indices), sent, keys))


def uses_query(codec: Codec) -> bool:
    """Whether another query can change what is sent or drawn."""
    parts = (codec.alignment, codec.receiver)
    return isinstance(codec.rate, RankedRate) or not all(isinstance(part, Identity) for part in parts)


def codebook_rows(codec: Codec, indices: Tensor, sent: list, keys: dict) -> pd.DataFrame:
    """Perplexity and never-chosen codes a tap and segment, over what was sent."""
    mask = torch.ones_like(indices, dtype=torch.bool) if sent[0] is None else torch.cat(sent)
    rows = []
    for tap in range(indices.shape[1]):
        for segment in range(indices.shape[3]):
            chosen = indices[:, tap, :, segment][mask[:, tap, :, segment]]
            if len(chosen):
                perplexity, dead = SegmentVQ.perplexity(chosen[:, None], codec.quantizer.codes)
                rows.append(keys | {"tap": tap, "segment": segment, "perplexity": perplexity[0], "dead": dead[0],
                                    "codes": codec.quantizer.codes})  # fmt: skip
    return pd.DataFrame(rows)


def _asked(study: Study, split: str) -> Asked:
    p = study.params
    return ask_split(study.world, split, p.data.held_out, p.evaluation.queries, p.seed)


def _batches(study: Study, n: int) -> list[slice]:
    size = study.params.evaluation.batch_size
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _query_columns(asked: Asked, judge: str) -> pd.DataFrame:
    return pd.DataFrame({
        "split": asked.split, "judge": judge, "query_id": np.arange(len(asked.queries)),
        "query": [q.text for q in asked.queries], "type": [q.type for q in asked.queries],
        "object": [q.object for q in asked.queries], "truth": [q.truth for q in asked.queries],
    })  # fmt: skip


def _matched(rows: pd.DataFrame) -> pd.DataFrame:
    def match(column: str) -> list:
        pairs = zip(rows["query"], rows["answer_source"], rows[column], strict=True)
        return [None if pd.isna(other) else answers_match(query, source, other) for query, source, other in pairs]

    return rows.assign(
        match=match("answer_hat"),
        match_blank=match("answer_blank"),
        match_wrong_query=pd.array(match("answer_wrong_query"), dtype="boolean"),
        source_right=rows["answer_source"] == rows["truth"],
        correct=rows["answer_hat"] == rows["truth"],
    )


def _quality(study: Study, x: Tensor, x_hat: Tensor, texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame({
        "psnr": psnr(x, x_hat), "ssim": ssim(x, x_hat),
        "perceptual": perceptual_distance(study.clip, x, x_hat), "clip_score": clip_score(study.clip, x_hat, texts),
    })  # fmt: skip


def _quality_rows(measures: pd.DataFrame, keys: dict, resamples: int) -> pd.DataFrame:
    rows = []
    for metric in measures:
        values = measures[metric].to_numpy(dtype=np.float64)
        low, high = bootstrap_interval(values, keys["seed"], resamples)[-2:]
        rows.append(keys | {"metric": metric, "value": values.mean(), "low": low, "high": high, "n": len(values)})
    return pd.DataFrame(rows)
