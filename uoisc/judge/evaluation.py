"""Asks both judges about source images, reconstructions and blank images, and measures the pictures.

evaluation set (scenes without held-out objects: seen; queries about held-out ones: unseen)
    --> source answers, blank answers                      once per judge
    --> sent for the query, sent for another query --> answers, PSNR ...   once per model
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uoisc.alignment import Identity
from uoisc.base.devices import precision
from uoisc.base.distributed import device, spread
from uoisc.base.processes import run_side_by_side
from uoisc.codec import Codec
from uoisc.data.answers import is_long, vqa_accuracy
from uoisc.data.images import BLANK_GREY
from uoisc.data.questions import Asked
from uoisc.frozen.kept import Memory
from uoisc.judge.bootstrap import mean_rows
from uoisc.judge.metrics import picture_quality, query_changes
from uoisc.message import Message
from uoisc.quantization import code_use
from uoisc.rate import Packing
from uoisc.study import Point, Study, open_study

REFERENCE_COLUMNS = ["split", "judge", "query_id", "query", "type", "object", "truth", "tiles", "ambiguous"]
REFERENCE_COLUMNS += ["answer_source", "answer_blank"]
ROOM = 5e8  # ours: bytes of what CLIP makes of source images that a process keeps; `small` takes 4e8
MEASURED_PICTURES = 100  # the first so many of a split: to measure a picture takes longer than to ask about it
EVALUATION_STREAM = 8  # training draws from [seed, 1] and [seed, 2]; test scenes from [seed, 8, 0 or 1: unseen]


class Evaluated(NamedTuple):
    """What models' evaluation gives: rows of answers.parquet, quality.csv and codebooks.csv."""

    answers: pd.DataFrame
    quality: pd.DataFrame
    codebooks: pd.DataFrame


Answers = dict[str, list[str]]  # by judge
Ranking = Callable[[Study, Asked, slice], Float[Tensor, "B N"]]


def from_clip(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: CLIP's cosine of token and query alone, without the head that refines it."""
    with precision(device()):  # as `encode` ranks
        return study.clip.relevance(_tokens(study, asked, rows), study.clip.text(asked.texts[rows]))


def at_random(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: tokens in random order."""
    generator = torch.Generator().manual_seed(study.params.seed + rows.start)
    return torch.rand((len(asked.queries[rows]), study.clip.grid**2), generator=generator).to(device())


def from_oracle(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: the tokens that show the answer first; CLIP orders what is equal."""
    region = study.source.regions(asked.queries[rows], study.clip.grid)
    return 10.0 * region.to(device()) + from_clip(study, asked, rows)


def without_query(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N"]:
    """Control: whatever the query, the tokens first that CLIP sees least like the image's mean token."""
    with precision(device()):
        tokens = _tokens(study, asked, rows)
        return -study.clip.relevance(tokens, tokens.mean(dim=1))


@dataclass(frozen=True)
class Control:
    """A variant's own model, sent otherwise: under another ranking of its tokens, or with a floor.

    name: in the results its rows are those of "variant_name".
    ranking: the relevance of each token; None: the codec's own.
    floor: of a rate dial: so many units for every token that does not come first; None: as its packing has it.
    """

    name: str
    ranking: Ranking | None = None
    floor: int | None = None


RANDOM, ORACLE = Control("random", at_random), Control("oracle", from_oracle)
CONTROLS = {
    "adaptive": (RANDOM, ORACLE),
    "dial": (Control("clip", from_clip), ORACLE, RANDOM, Control("no_query", without_query)),
}


def _tokens(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B N e"]:
    return study.clip.see(source_images(study, asked, rows)).tokens


def every_reference(study: Study, splits: Sequence[str], first: int | None = None, changes=()) -> pd.DataFrame:
    """`reference_answers` of these splits, side by side."""
    jobs = [(study.profile, split, first, changes) for split in splits]
    return pd.concat(run_side_by_side(reference_answers, jobs, study.params.workers), ignore_index=True)


@torch.no_grad()
def reference_answers(profile: str, split: str, first: int | None = None, changes=()) -> pd.DataFrame:
    """`ask_references` of a split's evaluation questions, or the `first` so many of them."""
    study = open_study(profile, changes=changes)
    return ask_references(study, evaluation_questions(study, split, first))


def ask_references(study: Study, asked: Asked) -> pd.DataFrame:
    """Both judges' answers on source, blank image and a photograph's own file: one row per judge and query."""

    def answers(rows: slice) -> list[Answers]:
        x, texts = source_images(study, asked, rows), asked.texts[rows]
        found = [ask(study, images, texts) for images in (x, torch.full_like(x, BLANK_GREY))]
        if asked.originals is not None:
            found.append({name: j.answer_files(asked.originals(rows), texts) for name, j in study.judges.items()})
        return found

    found = [*map(joined, zip(*spread(answers, batches(study, asked)), strict=True))]
    about = [(q.text, q.type, q.object, q.truth, len(q.tiles), q.ambiguous) for q in asked.queries]
    rows = [
        (asked.split, name, i, *query, *(answers[name][i] for answers in found))
        for name in study.judges
        for i, query in enumerate(about)
    ]
    return pd.DataFrame(rows, columns=[*REFERENCE_COLUMNS, "answer_original"][: len(rows[0])])


@torch.no_grad()
def evaluate_model(
    profile: str, point: Point, control: Control | None, split: str, references: pd.DataFrame, changes=()
) -> Evaluated:
    """One model at one rate on one split, or a control of it, which is called "variant_control"."""
    study = open_study(profile, changes=changes)
    asked = evaluation_questions(study, split)
    if control is None or control.floor is None:
        codec = study.codec(*point)
    else:
        codec = study.codec(point.variant, point.rate).at(point.bits, control.floor)
    name = point.variant if control is None else f"{point.variant}_{control.name}"
    ranking, asks = (control.ranking, False) if control else (None, split in study.source.splits)
    keys = {"profile": profile, "variant": name, "seed": study.params.seed, "bits": codec.bits}
    rows, measures, messages = hear(study, codec, asked, references, keys, ranking, asks)
    seen = {name: values.dropna() for name, values in measures.items() if values.notna().any()}
    quality = pd.DataFrame(mean_rows(seen, study.params, keys | {"split": split}))
    return Evaluated(rows, quality, codebook_rows(codec, messages, keys))


def hear(
    study: Study, codec: Codec, asked: Asked, references: pd.DataFrame, keys: dict, ranking: Ranking | None, asks: bool
) -> tuple[pd.DataFrame, pd.DataFrame, Sequence[Message]]:
    """Sends every batch. Returns rows of `judged` and measures of the pictures, both of the questions that count, and
    the messages. `asks`: judges are asked about another query's picture too, where that can be another one."""
    asks = asks and uses_query(codec)
    received = spread(lambda rows: receive(study, codec, asked, rows, ranking, asks), batches(study, asked))
    answers, wrong, measures, messages = zip(*received, strict=True)
    known = known_to(ranking, asked)
    rows = counted(judged(references, asked, joined(answers), keys, joined(wrong) if asks else None), known)
    return rows, pd.concat(measures)[known], messages


def receive(
    study: Study, codec: Codec, asked: Asked, rows: slice, ranking: Ranking | None, asks: bool
) -> tuple[Answers, Answers, pd.DataFrame, Message]:
    """Sends a batch: the judges' answers on what arrives and (none unless `asks`) on what both ends make of another
    query, which goes the same way; the first pictures' quality and what that other query changes; the message."""
    texts = asked.texts[rows]
    others = [query.text for query in asked.others[rows]]
    x, message, x_hat = send(study, codec, asked, rows, ranking)
    answers = ask(study, x_hat, texts)
    wrong = {}
    some = slice(max(0, MEASURED_PICTURES - rows.start))
    measures = picture_quality(study.clip, x[some], x_hat[some], texts[some]).reindex(range(len(texts)))
    if asks:
        other = codec.encode(x, others)
        wrong = ask(study, codec.decode(other, others), texts)
        measures = measures.assign(**query_changes(message, other))
    return answers, wrong, measures, message.cpu()


def send(
    study: Study, codec: Codec, asked: Asked, rows: slice, ranking: Ranking | None
) -> tuple[Tensor, Message, Tensor]:
    """A batch's images (B, 3, H, W), the message about them, and what is drawn of it, in [0, 1]."""
    x = source_images(study, asked, rows)
    texts = asked.texts[rows]
    message = codec.encode(x, texts, ranking and ranking(study, asked, rows))
    return x, message, codec.decode(message, texts)


def ask(study: Study, x: Float[Tensor, "B 3 H W"], texts: list[str]) -> Answers:
    """Each judge's answers about images in [0, 1], one question each."""
    size = study.params.evaluation.batch_size
    return {name: judge.answer(x, texts, size) for name, judge in study.judges.items()}


def known_to(ranking: Ranking | None, asked: Asked) -> Bool[np.ndarray, " queries"]:
    """Which questions a ranking counts for: all; for the oracle those of which the source knows where answers lie."""
    return np.array([ranking is not from_oracle or query.located for query in asked.queries])


def judged(
    references: pd.DataFrame, asked: Asked, answers: Answers, keys: dict, wrong: Answers | None = None
) -> pd.DataFrame:
    """Rows of answers.parquet: what the judges answered, and whether that matches their answers on the source.

    Args:
        references: as `ask_references` gives them, of these questions or of more splits.
        answers: each judge's, on what was received. wrong: on what was made for another query; None: not asked.
        keys: columns that say what was received.
    """
    own = references[references["split"] == asked.split].copy()
    for column, given in (("answer_hat", answers), ("answer_wrong_query", wrong)):
        heard = [None] * len(own) if given is None else [answer for name in given for answer in given[name]]
        own[column] = pd.Series(heard, index=own.index, dtype="object")

    queries = asked.queries * len(answers)

    def match(column: str) -> list:
        rows = zip(queries, own["answer_source"], own[column], strict=True)
        return [None if pd.isna(other) else query.match(source, other) for query, source, other in rows]

    def right(column: str) -> list[bool]:
        return [query.right(answer) for query, answer in zip(queries, own[column], strict=True)]

    rows = own.assign(
        **keys,
        match=match("answer_hat"),
        match_blank=match("answer_blank"),
        match_wrong_query=pd.array(match("answer_wrong_query"), dtype="boolean"),
        source_right=right("answer_source"),
        correct=right("answer_hat"),
    )
    people = [query.answers for query in queries]
    if any(people):
        for end in [end for end in ("", "_source", "_original") if f"answer{end or '_hat'}" in own]:
            answered = zip(own[f"answer{end or '_hat'}"], people, strict=True)
            rows[f"vqa_accuracy{end}"] = [vqa_accuracy(answer, said) if said else None for answer, said in answered]
    if asked.originals is not None:  # photographs: no stand-in answers in sentences
        rows["long_answer"] = own["answer_source"].map(is_long)
    return rows


def counted(rows: pd.DataFrame, known: Bool[np.ndarray, " queries"]) -> pd.DataFrame:
    """Rows of `judged`; questions that do not count (`known_to`) get null for the answer and whether it is right."""
    if known.all():
        return rows
    names = ["answer_hat", "match", "correct", "vqa_accuracy"]
    kept = np.tile(known, len(rows) // len(known))
    return rows.assign(**{name: rows[name].convert_dtypes().where(kept) for name in rows.columns.intersection(names)})


def uses_query(codec: Codec) -> bool:
    """Whether another query can change what is sent or drawn."""
    ranked = isinstance(codec.rate, Packing) and codec.rate.ranked
    return ranked or not all(isinstance(part, Identity) for part in (codec.alignment, codec.receiver))


def codebook_rows(codec: Codec, messages: Sequence[Message], keys: dict) -> pd.DataFrame:
    """Perplexity and never-chosen codes of each tap and segment, over what was sent."""
    named = ("tap", "segment", "perplexity", "dead")
    codes = codec.quantizer.codes
    found = [dict(zip(named, row, strict=True)) for row in code_use(messages, codes)]
    return pd.DataFrame([keys | row | {"codes": codes} for row in found])


def evaluation_questions(study: Study, split: str, first: int | None = None, stream: int = EVALUATION_STREAM) -> Asked:
    """What a split's evaluation asks, or the `first` so many of it; of another stream, other questions."""
    p = study.params
    n = (p.evaluation.beyond if split in study.source.beyond else p.evaluation).queries
    asked = study.source.ask_split(split, p.data.held_out, n, [p.seed, stream])
    return replace(asked, name=f"{p.seed}-{stream}-{n}-{p.data.held_out}-{split}").first(first)


def source_images(study: Study, asked: Asked, rows: slice) -> Float[Tensor, "B 3 H W"]:
    """The images of these questions, where the models are; what CLIP makes of them is kept for the next model."""
    names = (f"{asked.name}-{rows.start}-{rows.stop}",) if asked.name else ()
    kept = study.clip.kept
    if not kept.names or kept.names != names:
        kept.shelf = kept.shelf or Memory(ROOM)
        kept.know(asked.images(rows).to(device()), names)
    return kept.images


def batches(study: Study, asked: Asked) -> list[slice]:
    """The questions' rows, `evaluation.batch_size` at a time."""
    size = study.params.evaluation.batch_size
    return [slice(start, min(start + size, len(asked))) for start in range(0, len(asked), size)]


def joined(found: Sequence[Answers]) -> Answers:
    """Each judge's answers of several batches as one list."""
    return {name: [answer for batch in found for answer in batch[name]] for name in found[0]}
