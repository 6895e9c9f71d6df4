"""Asks both judges about source images, reconstructions and blank images, and measures the pictures.

evaluation set (scenes without held-out objects: seen; queries about held-out ones: unseen)
    --> source answers, blank answers                      once per judge
    --> sent for the query, sent for another query --> answers, PSNR ...   once per model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.alignment import Identity
from uoisc.base.distributed import device, spread
from uoisc.codec import Codec, Message
from uoisc.data.answers import answers_match, normalise, vqa_accuracy
from uoisc.data.images import BLANK_GREY
from uoisc.data.questions import Asked
from uoisc.judge.bootstrap import bootstrap_interval
from uoisc.judge.metrics import clip_score, perceptual_distance, psnr, ssim
from uoisc.quantization import SegmentVQ
from uoisc.rate import Packing
from uoisc.study import Point, Study, open_study

EVALUATION_STREAM = 8  # training draws from [seed, 1] and [seed, 2]; test scenes from [seed, 8, split]


@dataclass(frozen=True)
class Evaluated:
    """What one model's evaluation gives: rows of answers.parquet, quality.csv and codebooks.csv."""

    answers: pd.DataFrame
    quality: pd.DataFrame
    codebooks: pd.DataFrame


Ranking = Callable[[Study, Asked, slice], Float[Tensor, "B N"] | None]


def from_codec(study: Study, asked: Asked, rows: slice) -> None:
    """The codec's own ranking."""
    return None


def from_clip(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: CLIP's cosine of token and query alone, without the head that refines it."""
    text = study.clip.text(asked.texts[rows])
    return study.clip.relevance(_tokens(study, asked, rows), text)


def at_random(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: tokens in random order."""
    generator = torch.Generator().manual_seed(study.params.seed + rows.start)
    return torch.rand((len(asked.queries[rows]), study.clip.grid**2), generator=generator).to(device())


def from_oracle(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: the tokens that show the answer first, where the source knows them; CLIP orders what is equal."""
    region = study.source.regions(asked.queries[rows], study.clip.grid)
    cosine = from_clip(study, asked, rows)
    return cosine if region is None else 10.0 * region.to(device()) + cosine


def without_query(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: whatever the query, the tokens first that CLIP sees least like the image's mean token."""
    tokens = _tokens(study, asked, rows)
    return -study.clip.relevance(tokens, tokens.mean(dim=1))


@dataclass(frozen=True)
class Control:
    """A variant's own model, sent otherwise: under another ranking of its tokens, or with a floor.

    name: in the results its rows are those of "variant_name".
    title, says: what figures call it behind the variant's title, and one line for a glossary.
    floor: of a rate dial: so many units for every token that does not come first; None: as its packing has it.
    """

    name: str
    title: str
    says: str
    ranking: Ranking = from_codec
    floor: int | None = None


def floor(units: int) -> Control:
    """The control of a rate dial with so many units for every token that does not come first."""
    shown = {0: "no unit for the rest", 1: "1 unit for all"}.get(units, f"{units} units for all")
    says = f"units of each token that does not come first: {units}"
    return Control(f"floor{units}", shown, says, floor=units)


RANDOM = Control("random", "random tokens", "which tokens come first is drawn at random", at_random)
ORACLE = Control("oracle", "oracle tokens", "the tokens that hold the answer come first", from_oracle)
CLIP = Control("clip", "CLIP's cosine alone", "without the head that refines CLIP's cosine", from_clip)
NO_QUERY = Control(
    "no_query", "tokens without query", "the image's odd tokens come first, whatever is asked", without_query
)
CONTROLS = {"adaptive": (RANDOM, ORACLE), "dial": (CLIP, ORACLE, RANDOM, NO_QUERY)}


def _tokens(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N e"]:
    return study.clip.see(source_images(asked, rows)).tokens


@torch.no_grad()
def reference_answers(profile: str, split: str, first: int | None = None) -> pd.DataFrame:
    """Both judges' answers on the source and on a blank image: one row per judge and query (`first`: so many)."""
    study = open_study(profile)
    asked = evaluation_questions(study, split, first)

    def answers(rows: slice) -> dict[str, tuple[list[str], list[str]]]:
        x, texts = source_images(asked, rows), asked.texts[rows]
        blank = torch.full_like(x, BLANK_GREY)
        return {name: (judge.answer(x, texts), judge.answer(blank, texts)) for name, judge in study.judges.items()}

    found = spread(answers, _batches(study, len(asked)))
    frames = []
    for name in study.judges:
        source, blank = (sum((batch[name][i] for batch in found), []) for i in (0, 1))
        frames.append(_query_columns(asked, name).assign(answer_source=source, answer_blank=blank))
    return pd.concat(frames, ignore_index=True)


@torch.no_grad()
def evaluate_model(
    profile: str, point: Point, control: Control | None, split: str, references: pd.DataFrame
) -> Evaluated:
    """One model at one rate on one split, or a control of it, which is called "variant_control"."""
    study = open_study(profile)
    asked = evaluation_questions(study, split)
    if control is None or control.floor is None:
        codec = study.codec(*point)
    else:
        codec = study.codec(point.variant, point.rate).at(point.bits, control.floor)
    ranking = from_codec if control is None else control.ranking
    asks = control is None and uses_query(codec)
    name = point.variant if control is None else f"{point.variant}_{control.name}"

    def received(rows: slice) -> Received:
        return receive(study, codec, asked, rows, ranking, asks)

    batches = spread(received, _batches(study, len(asked)))
    keys = {"profile": profile, "variant": name, "seed": study.params.seed, "bits": codec.bits}
    own = references[references["split"] == split].copy()
    for column in ("answer_hat", "answer_wrong_query"):
        answers = [answer for judge in study.judges for batch in batches for answer in getattr(batch, column)[judge]]
        own[column] = pd.Series(answers, index=own.index, dtype="object")
    answers = _matched(own.assign(**keys), asked, len(study.judges))
    measures = pd.concat([batch.quality for batch in batches])
    quality = mean_rows(measures, keys | {"split": split}, study.params.evaluation.resamples)
    indices = torch.cat([batch.message.indices for batch in batches])
    return Evaluated(answers, quality, codebook_rows(codec, indices, [batch.message.sent for batch in batches], keys))


@dataclass(frozen=True)
class Received:
    """What a batch of messages gives: each judge's answers, the pictures' quality, and the message itself."""

    answer_hat: dict[str, list[str]]
    answer_wrong_query: dict[str, list[str | None]]
    quality: pd.DataFrame
    message: Message


def receive(study: Study, codec: Codec, asked: Asked, rows: slice, ranking: Ranking, asks: bool) -> Received:
    """Sends a batch, and shows the judges what arrives.

    Where `asks`, they also see, for the same questions, what both ends make of another query: it goes the same way.
    """
    x, texts = source_images(asked, rows), asked.texts[rows]
    message = codec.encode(x, texts, ranking(study, asked, rows))
    x_hat = codec.decode(message, texts)
    others, nothing = [query.text for query in asked.others[rows]], [None] * len(texts)
    x_wrong = codec.decode(codec.encode(x, others), others) if asks else None
    return Received(
        {name: judge.answer(x_hat, texts) for name, judge in study.judges.items()},
        {name: judge.answer(x_wrong, texts) if asks else nothing for name, judge in study.judges.items()},
        picture_quality(study, x, x_hat, texts),
        message.cpu(),
    )


def uses_query(codec: Codec) -> bool:
    """Whether another query can change what is sent or drawn."""
    ranked = isinstance(codec.rate, Packing) and codec.rate.ranked
    return ranked or not all(isinstance(part, Identity) for part in (codec.alignment, codec.receiver))


def codebook_rows(codec: Codec, indices: Tensor, sent: list, keys: dict) -> pd.DataFrame:
    """Perplexity and never-chosen codes of each tap and segment, over what was sent."""
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


def evaluation_questions(study: Study, split: str, first: int | None = None) -> Asked:
    """What a split's evaluation asks, or the `first` so many of it."""
    return asked_of(study, split, EVALUATION_STREAM).first(first)


def asked_of(study: Study, split: str, stream: int) -> Asked:
    """A split's questions, `evaluation.queries` at most, from a stream of their own."""
    p = study.params
    return study.source.ask_split(split, p.data.held_out, p.evaluation.queries, [p.seed, stream])


def source_images(asked: Asked, rows: slice) -> Float[Tensor, "B 3 H W"]:
    """The images of these questions, where the models are."""
    return asked.images(rows).to(device())


def _batches(study: Study, n: int) -> list[slice]:
    size = study.params.evaluation.batch_size
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _query_columns(asked: Asked, judge: str) -> pd.DataFrame:
    return pd.DataFrame({
        "split": asked.split, "judge": judge, "query_id": np.arange(len(asked.queries)),
        "query": [q.text for q in asked.queries], "type": [q.type for q in asked.queries],
        "object": [q.object for q in asked.queries], "truth": [q.truth for q in asked.queries],
    })  # fmt: skip


def _matched(rows: pd.DataFrame, asked: Asked, judges: int) -> pd.DataFrame:
    """Which answers match; `rows` are the questions of `asked`, once per judge."""

    def match(column: str) -> list:
        pairs = zip(rows["query"], rows["answer_source"], rows[column], strict=True)
        return [None if pd.isna(other) else answers_match(query, source, other) for query, source, other in pairs]

    truth = rows["truth"].map(normalise)
    matched = rows.assign(
        match=match("answer_hat"),
        match_blank=match("answer_blank"),
        match_wrong_query=pd.array(match("answer_wrong_query"), dtype="boolean"),
        source_right=rows["answer_source"].map(normalise) == truth,
        correct=rows["answer_hat"].map(normalise) == truth,
    )
    people = [query.answers for query in asked.queries] * judges
    if any(people):
        answered = zip(rows["answer_hat"], people, strict=True)
        matched["vqa_accuracy"] = [vqa_accuracy(answer, said) if said else None for answer, said in answered]
    return matched


def picture_quality(study: Study, x: Tensor, x_hat: Tensor, texts: list[str]) -> pd.DataFrame:
    """Every measure of picture quality, a column each, of images (B, 3, H, W) in [0, 1]: a row per image."""
    return pd.DataFrame({
        "psnr": psnr(x, x_hat), "ssim": ssim(x, x_hat),
        "perceptual": perceptual_distance(study.clip, x, x_hat), "clip_score": clip_score(study.clip, x_hat, texts),
    })  # fmt: skip


def mean_rows(measures: pd.DataFrame, keys: dict, resamples: int) -> pd.DataFrame:
    """A row per column of `measures`: `keys`, and its mean over rows with the 95 % interval."""
    rows = []
    for metric in measures:
        values = measures[metric].to_numpy(dtype=np.float64)
        low, high = bootstrap_interval(values, keys["seed"], resamples)[-2:]
        rows.append(keys | {"metric": metric, "value": values.mean(), "low": low, "high": high, "n": len(values)})
    return pd.DataFrame(rows)
