"""Picks and draws up what the visual comparison and the relevance maps show.

The comparison is one of codecs over the authors' link, as the paper's is: every panel but the source crosses uncoded
8-PSK under Rayleigh fading, with one coefficient a row, the same for all of its panels. Of JPEG 2000 the first bytes
are free of errors (authors' code). The maps are of a link without errors.
"""

import math

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from uoisc.base.config import DIAL
from uoisc.base.distributed import device
from uoisc.base.picture_data import PANELS, Examples
from uoisc.base.results import of_codecs
from uoisc.base.settings import JUDGES
from uoisc.data.answers import answers_match
from uoisc.data.images import to_bytes
from uoisc.data.questions import SPLITS
from uoisc.judge.evaluation import evaluation_questions
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import fading_coefficients, seeded
from uoisc.rivals.standard_codecs import JPEG2000
from uoisc.rivals.transmission import PROTECTED, FileSender, MessageSender
from uoisc.study import Study

SHOWN = (("unseen", "existence"), ("unseen", "colour"), ("unseen", "place"), ("seen", "what"), ("seen", "place"))
FADING = "rayleigh"
ES_N0_DB = 10.0  # the authors' link; ours: where tables and text compare methods over it


@torch.no_grad()
def make_examples(study: Study, answers: pd.DataFrame) -> Examples:
    """The first query of each split and type in `SHOWN` whose source answer is right: chosen by rule, not by eye.

    The seed, the split and the query's number alone decide the errors.
    """
    judge, table, variants = study.judges[JUDGES[0]], BlerTable(), study.params.variants
    codecs = {name: study.codec(name, rate) for name, rate in compared(variants).items()}
    images = {panel: [] for panel in PANELS if panel in {"source", *codecs, "jpeg2000"}}
    rows = []
    for split, kind in shown(answers):
        asked = evaluation_questions(study, split)
        index = _first_right(answers[(answers["split"] == split) & (answers["type"] == kind)])
        query = asked.queries[index]
        x, texts = asked.only(index).all_images().to(device()), [query.text]
        answer = judge.answer(x, texts)[0]
        panels = {"source": {"answer": answer, "match": None, "bits": None}}
        images["source"].append(to_bytes(x)[0])
        senders = {name: MessageSender(codec, codec.encode(x, texts), texts, table) for name, codec in codecs.items()}
        senders["jpeg2000"] = FileSender.fitting(JPEG2000, to_bytes(x), table, PROTECTED)
        name_of_errors = f"{study.params.seed}/{split}/examples/{index}"
        for name, sender in senders.items():
            arrival = sender.uncoded(ES_N0_DB, FADING, seeded(name_of_errors))
            x_hat = sender.draw([0], arrival.contents)
            heard = judge.answer(x_hat, texts)[0]
            match = answers_match(query.text, answer, heard)
            panels[name] = {"answer": heard, "match": match, "bits": sender.bits}
            images[name].append(to_bytes(x_hat)[0])
        gain = fading_coefficients(FADING, 1, seeded(name_of_errors)).abs().item()  # what every sender drew first
        row = {"query": query.text, "type": query.type, "split": split, "truth": query.truth, "panels": panels}
        rows.append(row | {"es_n0_db": round(ES_N0_DB + 20 * math.log10(gain), 1)})
    stacked = {panel: np.stack(pictures) for panel, pictures in images.items()}
    link = {"es_n0_db": ES_N0_DB, "protected": PROTECTED}
    return Examples(JUDGES[0], link, rows, stacked, *_maps(study, judge, codecs["uoisc"].bits))


def compared(variants: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The panels that a profile trains, each with the widest rate that all have, or else with its own widest."""
    names = [panel for panel in PANELS if panel in variants]
    common = [rate for rate in variants["uoisc"] if all(rate in variants[name] for name in names)]
    return {name: (common or variants[name])[-1] for name in names}


def shown(answers: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Split and type of each row: `SHOWN`; of other questions than the benchmark's all types, unseen ones first."""
    asked = set(zip(answers["split"], answers["type"], strict=True))
    others = sorted(asked, key=lambda pair: (-SPLITS.index(pair[0]), pair[1]))
    return SHOWN if asked >= {*SHOWN} else tuple(others)[: len(SHOWN)]


def _maps(study: Study, judge, budget: float) -> tuple:
    """One image of the unseen split under several queries, by the rate dial at most at `budget` bits (where a profile
    has none, by the tightest `adaptive`, and no map without): the relevance that ranks its tokens, each token's bits,
    reconstruction."""
    image, texts = evaluation_questions(study, of_codecs(study.source.splits)[-1]).about_one_image()
    x = image.to(device()).expand(len(texts), -1, -1, -1).contiguous()
    rates, grid = study.params.variants, study.clip.grid
    if not {"dial", "adaptive"} & {*rates}:
        none = np.zeros((0, grid, grid), dtype=np.float32)
        return {"queries": [], "answers": [], "matches": [], "bits": 0.0}, to_bytes(x)[0], none, none, to_bytes(x[:0])
    codec = study.codec("dial", DIAL, budget) if "dial" in rates else study.codec("adaptive", rates["adaptive"][0])
    out = codec(x, texts)  # for the relevance that ranks; the picture goes the way that every other goes
    x_hat = codec.decode(out.message, texts)
    relevance = rearrange(out.relevance, "q (h w) -> q h w", h=grid).cpu().numpy()
    units = rearrange(out.message.sent.sum((1, 3)), "q (h w) -> q h w", h=grid).cpu().numpy()
    token_bits = (units * math.log2(codec.quantizer.codes)).astype(np.float32)
    sources, answers = judge.answer(x, texts), judge.answer(x_hat, texts)
    matches = map(answers_match, texts, sources, answers)
    maps = {"queries": texts, "answers": answers, "matches": list(matches), "bits": codec.bits}
    return maps, to_bytes(x)[0], relevance, token_bits, to_bytes(x_hat)


def _first_right(answers: pd.DataFrame) -> int:
    """The first query whose source answer is right, or the first of all where none is."""
    rows = answers[answers["judge"] == JUDGES[0]]
    right = rows[rows["source_right"]]
    return int((right if len(right) else rows)["query_id"].min())
