"""Picks and draws up what the visual comparison and the relevance maps show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from torch import Tensor

from uoisc.evaluation import ask_split
from uoisc.images import from_bytes, to_bytes
from uoisc.metrics import answers_match
from uoisc.models import JUDGES, Study
from uoisc.pictures import PANELS, Examples
from uoisc.scenes import Query
from uoisc.standard_codecs import JPEG2000, at_most

SHOWN = (("unseen", "existence"), ("unseen", "colour"), ("unseen", "place"), ("seen", "what"), ("seen", "place"))


@torch.no_grad()
def make_examples(study: Study, answers: pd.DataFrame) -> Examples:
    """The first query of each split and type in `SHOWN` whose source answer is right: chosen by rule, not by eye."""
    judge_name = JUDGES[0]
    judge, rows, images = study.judges[judge_name], [], {panel: [] for panel in PANELS}
    p = study.params
    rate = p.variants["no_alignment"][-1]  # the widest that all panels have
    codecs = {name: study.codec(name, rate) for name in PANELS[1:-1]}
    for split, kind in SHOWN:
        asked = ask_split(study.world, split, p.data.held_out, p.evaluation.queries, p.seed)
        index = _first_right(answers, judge_name, split, kind)
        query = asked.queries[index]
        x = study.world.render(asked.scenes[[index]])
        answer = judge.answer(x, [query.text])[0]
        panels = {"source": {"answer": answer, "match": None, "bits": None, "bytes": None}}
        images["source"].append(to_bytes(x)[0])
        for name, codec in codecs.items():
            x_hat = codec(x, [query.text]).x_hat
            panels[name] = _panel(judge, query, answer, x_hat, bits=codec.bits)
            images[name].append(to_bytes(x_hat)[0])
        budget = int(np.ceil(codecs["uoisc"].bits / 8))
        coded = at_most(JPEG2000, to_bytes(x)[0], budget)
        panels["jpeg2000"] = _panel(judge, query, answer, from_bytes(coded.image[None]), bits=8 * coded.bytes)
        images["jpeg2000"].append(coded.image)
        rows.append({"query": query.text, "type": query.type, "split": split, "truth": query.truth, "panels": panels})
    stacked = {panel: np.stack(pictures) for panel, pictures in images.items()}
    return Examples(judge_name, rows, stacked, *_maps(study, judge))


def _maps(study: Study, judge) -> tuple:
    """One scene of the unseen split under three queries: relevance, tokens sent in full, reconstruction."""
    p = study.params
    asked = ask_split(study.world, "unseen", p.data.held_out, p.evaluation.queries, p.seed)
    crowded = int(np.argmax((asked.scenes.objects >= 0).sum(1)))  # the first of the fullest scenes
    scenes = asked.scenes[[crowded]]
    tiles = np.flatnonzero(scenes.objects[0] >= 0)[:3]
    queries = [
        study.world.ask_about(scenes, 0, kind, int(t))
        for kind, t in zip(("place", "colour", "what"), tiles, strict=True)
    ]
    texts = [q.text for q in queries]
    x = study.world.render(scenes).expand(3, -1, -1, -1).contiguous()
    codec = study.codec("adaptive", p.variants["adaptive"][-1])
    out = codec(x, texts)
    grid = study.clip.grid
    relevance = rearrange(out.relevance, "q (h w) -> q h w", h=grid).numpy()
    selected = rearrange(codec.rate.first(out.relevance), "q (h w) -> q h w", h=grid).numpy()
    sources, answers = judge.answer(x, texts), judge.answer(out.x_hat, texts)
    matches = [answers_match(t, a, b) for t, a, b in zip(texts, sources, answers, strict=True)]
    maps = {"queries": texts, "answers": answers, "matches": matches, "bits": codec.bits}
    return maps, to_bytes(x)[0], relevance, selected, to_bytes(out.x_hat)


def _first_right(answers: pd.DataFrame, judge: str, split: str, kind: str) -> int:
    rows = answers[(answers["judge"] == judge) & (answers["split"] == split) & (answers["type"] == kind)]
    right = rows[rows["source_right"]]
    return int((right if len(right) else rows)["query_id"].min())


def _panel(judge, query: Query, source: str, x_hat: Tensor, bits: int | float) -> dict:
    answer = judge.answer(x_hat, [query.text])[0]
    match = answers_match(query.text, source, answer)
    return {"answer": answer, "match": match, "bits": bits, "bytes": int(np.ceil(bits / 8))}
