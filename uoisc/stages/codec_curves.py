"""The stage of standard codecs: what codecs that know neither query nor domain need for the same answers.

scenes of a split, 8 bits per channel --> FORMS[form](codec, images, quality) --> bytes per image, decoded images
    --> both judges' answers, picture quality --> standard_codecs.csv: one row per metric of one point of a curve

Points are chosen by bytes alone: from a codec's smallest files to `SPAN` times that, evenly in the logarithm. AVIF, of
whole images, of half their side and of crops, is asked all queries of the evaluation, as the trained codecs are; the
others the first tenth. Where a mosaic holds fewer, as many.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from uoisc.base.config import Params, load_params, paths
from uoisc.base.folders import check_writable
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import COLUMNS, found, write_csv
from uoisc.data.images import from_bytes, to_bytes
from uoisc.data.questions import Asked
from uoisc.judge.bootstrap import mean_rows, reliable_types
from uoisc.judge.evaluation import MEASURED_PICTURES, ask, evaluation_questions, every_reference, judged, source_images
from uoisc.judge.metrics import picture_quality
from uoisc.rivals.standard_codecs import (
    CODECS,
    FLAT_GREY,
    LONGEST_SIDE,
    RelevanceCrop,
    StandardCodec,
    files,
    mosaic,
    rows_of_tiles,
)
from uoisc.study import Study, open_study

EVERY = ("avif", "avif_down2", RelevanceCrop.name)  # are asked all queries: the cheapest of their kinds
SHARE = 0.1  # of the evaluation's queries: what the others are asked
POINTS = 5  # of a curve
SPAN = 4.0  # its largest files are about so many times its smallest
SIZED = 25  # images whose files choose the points
FORMS: dict[str, Callable] = {"file": files, "mosaic": mosaic}  # one file per image; all images as tiles of one file
CURVES = [(name, form) for name in CODECS for form in FORMS] + [(RelevanceCrop.name, "file")]


def make_curves(profile: str) -> pd.DataFrame:
    """Codes, judges and measures every curve on the splits in the codecs' style; returns and writes
    standard_codecs.csv."""
    params = load_params(profile)
    check_writable(paths(profile).results)
    study = open_study(profile)
    references = every_reference(study, study.source.splits, query_count(params, EVERY[0]))
    checks = pd.read_csv(found(paths(profile).foundation / "checks.csv"))
    references["reliable"] = references["type"].isin(reliable_types(checks, references["type"]))
    longest_first = sorted(CURVES, key=lambda curve: curve[0] not in EVERY)
    jobs = [(profile, *curve, references) for curve in longest_first]
    measured = run_side_by_side(measure_curve, jobs, params.workers, "codecs and forms measured")
    curves = dict(zip(longest_first, measured, strict=True))
    table = pd.concat([curves[curve] for curve in CURVES], ignore_index=True)[COLUMNS["standard_codecs.csv"]]
    write_csv(table, paths(profile).results / "standard_codecs.csv")
    return table


def query_count(params: Params, name: str) -> int:
    """A split's queries that a codec is asked: as many of its share as a mosaic within the longest side holds."""
    n = int(params.evaluation.queries * (1 if name in EVERY else SHARE))
    side = LONGEST_SIDE // params.data.image_size
    return next(n for n in range(min(n, side**2), 1, -1) if n // rows_of_tiles(n) <= side) if n > 1 else 1


@torch.no_grad()
def measure_curve(profile: str, name: str, form: str, references: pd.DataFrame) -> pd.DataFrame:
    """One codec in one form: every point of its curve on each split, by both judges."""
    study = open_study(profile)
    code = FORMS[form]
    count = query_count(study.params, name)
    references = references[references["query_id"] < count]
    rows = []
    qualities: list[int] = []
    for split in study.source.splits:
        asked = evaluation_questions(study, split, count)
        x = source_images(study, asked, slice(0, len(asked)))
        images = to_bytes(x)
        codec = codec_for(study, name, x, asked)
        qualities = qualities or pick_qualities(code, codec, images[:SIZED])
        flat = code(codec, np.full_like(images, FLAT_GREY), qualities[0])[1]  # about what a header costs in that form
        for quality in qualities:
            decoded, size = code(codec, images, quality)
            keys = {"profile": profile, "seed": study.params.seed, "codec": name, "setting": quality, "form": form}
            keys |= {"split": split, "bytes": size, "bytes_less_flat": size - flat}
            rows += measure(study, asked, x, from_bytes(decoded).to(x.device), references, keys)
    return pd.DataFrame(rows)


def codec_for(study: Study, name: str, x: Tensor, asked: Asked) -> StandardCodec | list[RelevanceCrop]:
    """The codec of that name; where it crops, one per image, by CLIP's relevance of the image's query."""
    if name != RelevanceCrop.name:
        return CODECS[name]
    relevance = study.clip.relevance(study.clip.see(x).tokens, study.clip.text(asked.texts)).cpu()
    return [RelevanceCrop(tokens) for tokens in rearrange(relevance, "b (h w) -> b h w", h=study.clip.grid).numpy()]


def pick_qualities(code: Callable, codec: StandardCodec | Sequence[StandardCodec], images: np.ndarray) -> list[int]:
    """At most `POINTS` qualities whose bytes per image rise from the lowest quality's to `SPAN` times that.

    Each is the lowest quality that reaches its share of the logarithm; sizes are those of `images` (B, H, W, 3) uint8.
    """
    one_each = isinstance(codec, Sequence)
    of, known = (codec[: len(images)], codec[0].qualities) if one_each else (codec, codec.qualities)
    size = lru_cache(None)(lambda quality: code(of, images, quality)[1])
    targets = size(known[0]) * SPAN ** np.linspace(0, 1, POINTS)
    places = {min(bisect_left(known, target, key=size), len(known) - 1) for target in targets[1:]}
    return [known[place] for place in sorted({0} | places)]


def measure(study: Study, asked: Asked, x: Tensor, x_hat: Tensor, references: pd.DataFrame, keys: dict) -> list[dict]:
    """Rows of one point on one split: AMR, its floor and accuracy by judge, of all queries and of those that
    `references` calls reliable; picture quality, of the first `MEASURED_PICTURES`, with the judge `none`."""
    texts = asked.texts
    params = study.params
    some = slice(MEASURED_PICTURES)
    rows = mean_rows(picture_quality(study.clip, x[some], x_hat[some], texts[some]), params, keys | {"judge": "none"})
    for name, own in judged(references, asked, ask(study, x_hat, texts), {}).groupby("judge", sort=False):
        for end, part in (("", own), ("_reliable", own[own["reliable"]])):
            measures = {"amr": part["match"], "amr_floor": part["match_blank"], "accuracy": part["correct"]}
            measures = {f"{metric}{end}": values for metric, values in measures.items() if len(values)}
            rows += mean_rows(measures, params, keys | {"judge": name})
    return rows
