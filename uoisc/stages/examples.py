"""Picks and draws up what the visual comparison and the picture of three questions show.

The comparison is one of codecs over the authors' link, as the paper's is: every panel but the source crosses uncoded
8-PSK under Rayleigh fading, with one coefficient a row, the same for all of its panels. Of JPEG 2000 the first bytes
are free of errors (authors' code). The three questions are asked without a link's errors.
"""

import math

import numpy as np
import pandas as pd
import torch
from einops import rearrange

from uoisc.base.config import DIAL
from uoisc.base.distributed import device
from uoisc.base.picture_data import PANELS, Examples
from uoisc.base.settings import JUDGES
from uoisc.data.answers import answers_match
from uoisc.data.images import to_bytes
from uoisc.data.questions import SPLITS
from uoisc.frozen.llava import FrozenLlava
from uoisc.judge.evaluation import evaluation_questions
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import fading_coefficients, seeded
from uoisc.rivals.standard_codecs import JPEG2000
from uoisc.rivals.transmission import PROTECTED, FileSender, MessageSender
from uoisc.study import Study

SHOWN = (("unseen", "existence"), ("unseen", "colour"), ("unseen", "place"), ("seen", "what"), ("seen", "place"))
FADING = "rayleigh"
METHODS = ("uoisc", "adaptive", DIAL)  # of the three questions
ES_N0_DB = 10.0  # the authors' link; ours: where tables and text compare methods over it


@torch.no_grad()
def make_examples(study: Study, answers: pd.DataFrame) -> Examples:
    """The first query of each split and type in `SHOWN` whose source answer is right: chosen by rule, not by eye.

    The seed, the split and the query's number alone decide the errors.
    """
    judge = study.judges[JUDGES[0]]
    table = BlerTable()
    variants = study.params.variants
    codecs = {name: study.codec(name, rate) for name, rate in compared(variants).items()}
    images = {panel: [] for panel in PANELS if panel in {"source", *codecs, "jpeg2000"}}
    rows = []
    for split, kind in shown(answers):
        asked = evaluation_questions(study, split)
        index = _first_right(answers[(answers["split"] == split) & (answers["type"] == kind)])
        query = asked.queries[index]
        x = asked.only(index).all_images().to(device())
        texts = [query.text]
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
            match = query.match(answer, heard)
            panels[name] = {"answer": heard, "match": match, "bits": sender.bits}
            images[name].append(to_bytes(x_hat)[0])
        gain = fading_coefficients(FADING, 1, seeded(name_of_errors)).abs().item()  # what every sender drew first
        row = {"query": query.text, "type": query.type, "split": split, "truth": query.truth, "panels": panels}
        rows.append(row | {"es_n0_db": round(ES_N0_DB + 20 * math.log10(gain), 1)})
    stacked = {panel: np.stack(pictures) for panel, pictures in images.items()}
    link = {"es_n0_db": ES_N0_DB, "protected": PROTECTED}
    return Examples(JUDGES[0], link, rows, stacked, *_one_scene(study, judge))


def compared(variants: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The panels that a profile trains, each with the widest rate that all have, or else with its own widest."""
    names = [panel for panel in PANELS if panel in variants]
    common = [rate for rate in variants["uoisc"] if all(rate in variants[name] for name in names)]
    return {name: (common or variants[name])[-1] for name in names}


def shown(answers: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Split and type of each row: `SHOWN`; of other questions than the benchmark's all types, unseen ones first."""
    asked = set(zip(answers["split"], answers["type"], strict=True))
    others = [(split, kind) for split in reversed(SPLITS) for own, kind in sorted(asked) if own == split]
    return SHOWN if asked >= {*SHOWN} else tuple(others)[: len(SHOWN)]


def _one_scene(study: Study, judge: FrozenLlava) -> tuple:
    """One scene of the unseen split under several queries, at the tightest rate: by each of `METHODS` that is trained
    the answers, what is drawn, and each token's bits. A rate dial has UO-ISC's bits."""
    image, texts = evaluation_questions(study, study.source.splits[-1]).about_one_image()
    x = image.to(device()).expand(len(texts), -1, -1, -1).contiguous()
    source = judge.answer(x, texts)
    rates = study.params.variants
    grid = study.clip.grid
    sent = {}
    drawn = {}
    token_bits = {}
    for name in [name for name in METHODS if name in rates]:
        codec = study.codec(name, rates[name][0])
        codec = codec.at(sent["uoisc"]["bits"]) if name == DIAL else codec
        message = codec.encode(x, texts)
        x_hat = codec.decode(message, texts)
        units = rearrange(message.mask.sum((1, 3)), "q (h w) -> q h w", h=grid).cpu().numpy()
        answers = judge.answer(x_hat, texts)
        matches = list(map(answers_match, texts, source, answers))
        sent[name] = {"bits": codec.bits, "answers": answers, "matches": matches}
        drawn[name] = to_bytes(x_hat)
        token_bits[name] = (units * math.log2(codec.quantizer.codes)).astype(np.float32)
    return {"queries": texts, "answers": source, "sent": sent}, to_bytes(image)[0], drawn, token_bits


def _first_right(answers: pd.DataFrame) -> int:
    """The first query whose source answer is right, or the first of all where none is."""
    rows = answers[answers["judge"] == JUDGES[0]]
    right = rows[rows["source_right"]]
    return int((right if len(right) else rows)["query_id"].min())
