"""Asks both judges about source images, reconstructions and blank images, and measures the pictures.

evaluation set (scenes without held-out objects: seen; queries about held-out ones: unseen)
    --> source answers, blank answers                      once a judge
    --> codec(x, query), codec(x, another query) --> answers, PSNR ...   once a model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from uoisc.models import Point, Study, open_study
from uoisc.quantization import SegmentVQ
from uoisc.rate import Packing
from uoisc.scenes import TYPES, Query, Scenes, World, regions

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


Ranking = Callable[[Study, Asked, slice], Float[Tensor, "B N"] | None]


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


def from_codec(study: Study, asked: Asked, rows: slice) -> None:
    """The codec's own ranking."""
    return None


def from_clip(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: CLIP's cosine of token and query alone, without the head that refines it."""
    text = study.clip.text([q.text for q in asked.queries[rows]])
    return study.clip.relevance(_tokens(study, asked, rows), text)


def at_random(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: tokens in random order."""
    generator = torch.Generator().manual_seed(study.params.seed + rows.start)
    return torch.rand((len(asked.queries[rows]), study.clip.grid**2), generator=generator)


def from_oracle(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: the tiles that hold the answer first; CLIP orders what is equal."""
    return 10.0 * regions(asked.queries[rows], study.clip.grid) + from_clip(study, asked, rows)


def without_query(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: whatever the query, the tokens first that CLIP sees least like the image's mean token."""
    tokens = _tokens(study, asked, rows)
    return -study.clip.relevance(tokens, tokens.mean(dim=1))


CONTROLS: dict[str, dict[str, Ranking]] = {  # a variant's model under other rankings of the tokens
    "adaptive": {"random": at_random, "oracle": from_oracle},
    "dial": {"clip": from_clip, "oracle": from_oracle, "random": at_random, "no_query": without_query},
}
FLOOR = "floor"  # the control "floor4": a dial whose every token sends four units at least


def _tokens(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N e"]:
    return study.clip.see(study.world.render(asked.scenes[rows])).tokens


@torch.no_grad()
def reference_answers(profile: str, split: str, first: int | None = None) -> pd.DataFrame:
    """Both judges' answers on the source and on a blank image: one row a judge and query, of the `first` or of all."""
    study = open_study(profile)
    asked = evaluation_scenes(study, split, first)
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
def evaluate_model(profile: str, point: Point, control: str | None, split: str, references: pd.DataFrame) -> Evaluated:
    """One model at one rate on one split, or a control of it, which is called "variant_control"."""
    study, name = open_study(profile), point.variant
    asked = evaluation_scenes(study, split)
    codec, ranking = study.codec(*point), from_codec
    if control is not None and control.startswith(FLOOR):
        codec = study.codec(name, point.rate).at(point.bits, int(control.removeprefix(FLOOR)))
    elif control is not None:
        ranking = CONTROLS[name][control]
    asks = control is None and uses_query(codec)
    name = name if control is None else f"{name}_{control}"
    texts, other_texts = [q.text for q in asked.queries], [q.text for q in asked.others]
    hats: dict[str, list] = {j: [] for j in study.judges}
    wrongs: dict[str, list] = {j: [] for j in study.judges}
    measures, indices, sent = [], [], []
    for rows in _batches(study, len(texts)):
        x = study.world.render(asked.scenes[rows])
        message = codec.encode(x, texts[rows], ranking(study, asked, rows))
        x_hat = codec.decode(message, texts[rows])
        measures.append(picture_quality(study, x, x_hat, texts[rows]))
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
    quality = mean_rows(pd.concat(measures), keys | {"split": split}, study.params.evaluation.resamples)
    return Evaluated(answers, quality, codebook_rows(codec, torch.cat(indices), sent, keys))


def uses_query(codec: Codec) -> bool:
    """Whether another query can change what is sent or drawn."""
    ranked = isinstance(codec.rate, Packing) and codec.rate.ranked
    return ranked or not all(isinstance(part, Identity) for part in (codec.alignment, codec.receiver))


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


def evaluation_scenes(study: Study, split: str, first: int | None = None) -> Asked:
    """What a split's evaluation asks, or the `first` so many of it."""
    p = study.params
    asked = ask_split(study.world, split, p.data.held_out, p.evaluation.queries, p.seed)
    return replace(asked, scenes=asked.scenes[:first], queries=asked.queries[:first], others=asked.others[:first])


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


def picture_quality(study: Study, x: Tensor, x_hat: Tensor, texts: list[str]) -> pd.DataFrame:
    """Every measure of picture quality, a column each, of images (B, 3, H, W) in [0, 1]: a row an image."""
    return pd.DataFrame({
        "psnr": psnr(x, x_hat), "ssim": ssim(x, x_hat),
        "perceptual": perceptual_distance(study.clip, x, x_hat), "clip_score": clip_score(study.clip, x_hat, texts),
    })  # fmt: skip


def mean_rows(measures: pd.DataFrame, keys: dict, resamples: int) -> pd.DataFrame:
    """A row a column of `measures`: `keys`, and its mean over rows with the 95 % interval."""
    rows = []
    for metric in measures:
        values = measures[metric].to_numpy(dtype=np.float64)
        low, high = bootstrap_interval(values, keys["seed"], resamples)[-2:]
        rows.append(keys | {"metric": metric, "value": values.mean(), "low": low, "high": high, "n": len(values)})
    return pd.DataFrame(rows)
