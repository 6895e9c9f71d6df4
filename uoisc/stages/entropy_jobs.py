"""The tables stage: probability tables of every trained codec, and what they make of the evaluation's messages, which
they never met; what a second question about a picture costs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uoisc.base.config import load_params, paths
from uoisc.base.distributed import device
from uoisc.base.folders import check_writable, written_folder
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import COLUMNS, write_csv
from uoisc.codec import Codec
from uoisc.judge.evaluation import batches, evaluation_questions
from uoisc.link.bitstream import SharedModel, encode_payload, ranked_of
from uoisc.link.conversation import TALKS, converse
from uoisc.link.entropy import build_tables, kinds_for
from uoisc.link.tables import codec_digest, write_tables
from uoisc.study import open_study, points

TABLE_STREAM = 5  # scenes that neither training nor evaluation nor validation draws; of photographs, training images
COUNTED = 3000  # scenes that tables are counted on
HELD_BACK = 500  # scenes that choose among their kinds; as many of the evaluation's last split say what messages cost


def make_tables(profile: str) -> pd.DataFrame:
    """Builds and writes every trained codec's tables; returns and writes what each kind costs a message."""
    params = load_params(profile)
    where = paths(profile)
    jobs = [(name, rate) for name, rates in params.variants.items() for rate in rates]
    check_writable(where.tables.parent, where.results)
    study = open_study(profile, judges=())
    for job in jobs:
        study.codec(*job)  # stops here, before hours of work, where one is missing or of other models
    with written_folder(where.tables) as folder:
        each = [(profile, *job, folder) for job in jobs]
        rows = run_side_by_side(build_one, each, params.workers, "codecs' tables counted")
        table = pd.concat(rows, ignore_index=True)
    write_csv(table, where.results / "entropy.csv")
    return table


def measure_conversation(profile: str) -> pd.DataFrame:
    """What a second question about the same picture costs, on scenes of the codecs' style; returns and writes it.

    It is empty where no dial is trained.
    """
    params = load_params(profile)
    rows = [pd.DataFrame(columns=COLUMNS["conversation.csv"])]
    if TALKS in params.variants:
        splits = open_study(profile).source.splits
        rows = run_side_by_side(converse, [(profile, split) for split in splits], params.workers)
    table = pd.concat(rows, ignore_index=True)
    write_csv(table, paths(profile).results / "conversation.csv")
    return table


@torch.no_grad()
def build_one(profile: str, name: str, rate: str, folder: Path) -> pd.DataFrame:
    """Counts one codec's tables, over all budgets of a rate dial, writes the kind that costs least on other training
    scenes, and says what each kind costs at each budget on the evaluation's, of unseen objects where there are any."""
    study = open_study(profile, judges=())
    p = study.params
    codec = study.codec(name, rate)
    own = study.distinct([point for point in points(p, [name]) if point.rate == rate])
    models = [codec if point.bits is None else codec.at(point.bits) for point in own]
    scale = min(1.0, p.evaluation.queries / 1000)
    counted, held_back = (max(20, int(n * scale)) for n in (COUNTED // len(models), HELD_BACK))
    scenes = study.source.batches([p.seed, TABLE_STREAM], p.evaluation.batch_size, p.data.held_out)
    pairs = ((batch.images, batch.texts) for batch in scenes)
    drawn = [messages(model, pairs, counted + held_back) for model in models]
    training = tuple(np.concatenate([part[:counted] for part in parts]) for parts in zip(*drawn, strict=True))
    tables = {kind: build_tables(codec.rate.shape, kind, *training) for kind in kinds_for(codec.rate.shape)}
    held = [tuple(part[counted:] for part in parts) for parts in drawn]
    costs = {kind: [float(t.bits(*parts).mean()) for parts in held] for kind, t in tables.items()}
    best = min(costs, key=lambda kind: sum(costs[kind]))
    asked = evaluation_questions(study, study.source.splits[-1], held_back)
    sent = [
        messages(m, ((asked.images(at), asked.texts[at]) for at in batches(study, asked)), len(asked)) for m in models
    ]
    write_tables(tables[best], folder / name / f"{rate}.safetensors", codec_digest(study, name, rate))
    rows = []
    for model, (indices, mask, ranked) in zip(models, sent, strict=True):
        shared = SharedModel(model, tables[best], b"")
        real = np.mean([8 * len(encode_payload(*one, shared)) for one in zip(indices, ranked, mask, strict=True)])
        keys = {"profile": profile, "variant": name, "seed": p.seed, "bits": model.bits, "n": len(indices)}
        for kind, table in tables.items():
            ideal = float(table.bits(indices, mask, ranked).mean()) + model.rate.side_bits
            found = {"tables": kind, "entropy_bits": ideal, "chosen": kind == best, "payload_bits": float(real)}
            rows.append(keys | found)
    return pd.DataFrame(rows)


def messages(codec: Codec, pairs: Iterator[tuple[Tensor, list[str]]], n: int) -> tuple[np.ndarray, ...]:
    """Indices, which were sent, and which tokens were chosen, for the first n of images and their queries."""
    found = []
    counted = 0
    while counted < n:
        images, texts = next(pairs)
        message = codec.encode(images.to(device()), texts).cpu()
        found.append((message.indices.numpy(), message.mask.numpy(), ranked_of(message)))
        counted += len(texts)
    return tuple(np.concatenate(parts)[:n] for parts in zip(*found, strict=True))
