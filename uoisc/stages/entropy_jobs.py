"""The tables stage: probability tables of every trained codec, and what they save on messages they never met."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from uoisc.base.config import DIAL, load_params, paths
from uoisc.base.distributed import device
from uoisc.base.errors import CheckpointError
from uoisc.base.folders import check_writable, short, written_folder
from uoisc.base.processes import run_side_by_side
from uoisc.base.results import write_csv
from uoisc.base.storage import check_made_from, read_label, read_tensors, save_tensors
from uoisc.codec import Codec
from uoisc.data.questions import Batch
from uoisc.link.bitstream import SharedModel, encode_payload, fingerprint, ranked_of, sent_of
from uoisc.link.entropy import TOTAL, Tables, build_tables, cells, kinds_for
from uoisc.rate import Shape
from uoisc.study import Study, open_study

TABLE_STREAM = 5  # scenes that neither training nor evaluation nor validation draws
COUNTED, HELD_BACK = 3000, 500  # scenes that tables are counted on, and scenes that choose among their kinds


def table_path(profile: str, name: str, rate: str) -> Path:
    """Where a codec's tables lie."""
    return paths(profile).tables / name / f"{rate}.safetensors"


def make_tables(profile: str) -> pd.DataFrame:
    """Builds and writes every trained codec's tables; returns and writes what each kind costs a message."""
    params, where = load_params(profile), paths(profile)
    jobs = [(name, rate) for name, rates in params.variants.items() for rate in rates]
    check_writable(where.tables.parent, where.results)
    study = open_study(profile, judges=())
    for job in jobs:
        study.codec(*job)  # stops here, before hours of work, where one is missing or of other models
    with written_folder(where.tables) as folder:
        rows = run_side_by_side(
            build_one, [(profile, *job, folder) for job in jobs], params.workers, "codecs' tables counted"
        )
        table = pd.concat(rows, ignore_index=True)
    write_csv(table, where.results / "entropy.csv")
    return table


@torch.no_grad()
def build_one(profile: str, name: str, rate: str, folder: Path) -> pd.DataFrame:
    """Counts one codec's tables, over all budgets of a rate dial, writes the kind that costs least, and says what
    each kind costs at each budget."""
    study = open_study(profile, judges=())
    codec = study.codec(name, rate)
    budgets = study.params.codec.dial.budgets if rate == DIAL else [None]
    scale = min(1.0, study.params.evaluation.queries / 1000)
    counted, held_back = (max(20, int(n * scale)) for n in (COUNTED // len(budgets), HELD_BACK))
    p = study.params
    batches = study.source.batches([p.seed, TABLE_STREAM], p.evaluation.batch_size, p.data.held_out)
    models = [codec if bits is None else codec.at(bits) for bits in budgets]
    drawn = [messages(model, batches, counted + held_back) for model in models]
    training = tuple(np.concatenate([part[:counted] for part in parts]) for parts in zip(*drawn, strict=True))
    tables = {kind: build_tables(codec.rate.shape, kind, *training) for kind in kinds_for(codec.rate.shape)}
    held = [tuple(part[counted:] for part in parts) for parts in drawn]
    costs = {kind: [float(t.bits(*parts).mean()) for parts in held] for kind, t in tables.items()}
    best = min(costs, key=lambda kind: sum(costs[kind]))
    write_tables(tables[best], folder / name / f"{rate}.safetensors", codec_digest(study, name, rate))
    rows = []
    for i, (bits, (indices, sent, ranked)) in enumerate(zip(budgets, held, strict=True)):
        model = SharedModel(codec, tables[best], b"")
        model = model if bits is None else model.within(bits)
        real = np.mean([8 * len(encode_payload(*one, model)) for one in zip(indices, ranked, sent, strict=True)])
        keys = {"profile": profile, "variant": name, "seed": study.params.seed, "bits": model.codec.bits,
                "n": len(indices)}  # fmt: skip
        rows += [keys | {"tables": kind, "entropy_bits": cost[i] + model.codec.rate.side_bits, "chosen": kind == best,
                         "payload_bits": float(real)} for kind, cost in costs.items()]  # fmt: skip
    return pd.DataFrame(rows)


def messages(codec: Codec, batches: Iterator[Batch], n: int) -> tuple[np.ndarray, ...]:
    """Indices, which were sent, and which tokens were chosen, for the first n queries of training batches."""
    indices, sent, ranked, counted = [], [], [], 0
    while counted < n:
        batch = next(batches).to(device())
        message = codec.encode(batch.images, batch.texts).cpu()
        indices.append(message.indices.numpy())
        sent.append(sent_of(message))
        ranked.append(ranked_of(message))
        counted += len(batch.queries)
    return tuple(np.concatenate(parts)[:n] for parts in (indices, sent, ranked))


def codec_digest(study: Study, name: str, rate: str) -> dict[str, str]:
    """What a codec's tables are made from: that codec, by its checkpoint's digest."""
    checkpoint = paths(study.profile).codec(2, name, rate)
    return {"checkpoint": read_label(checkpoint, f"train it: uoisc train {name} --profile {study.profile}")["sha256"]}


def write_tables(tables: Tables, path: Path, made_from: dict[str, str] | None = None) -> None:
    """Writes the frequencies as int32, and what they are of, and made from, in the header."""
    shape = tables.shape
    label = {
        "kind": tables.kind,
        "shape": [shape.taps, shape.tokens, shape.segments, shape.codes],
        "made_from": made_from or {},
    }
    frequencies = torch.from_numpy(tables.frequencies.astype(np.int32))
    save_tensors({"frequencies": frequencies}, path, label)


def read_tables(path: Path, made_from: dict[str, str] | None = None, profile: str = "PROFILE") -> Tables:
    """Raises CheckpointError where the file is missing, holds no tables, or was made from another codec."""
    remedy = f"run the rate stage again: uoisc run 08_rate --profile {profile}"
    tensors, label = read_tensors(path, remedy)
    check_made_from(path, label, made_from or {}, remedy)
    try:
        shape, kind = Shape(*label["shape"]), label["kind"]
        frequencies = tensors["frequencies"].numpy().astype(np.int64)
        rows = (cells(shape, kind) // shape.codes, shape.codes)
        if frequencies.shape != rows or frequencies.min() < 1 or (frequencies.sum(axis=1) != TOTAL).any():
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{short(path)}: holds no tables; {remedy}") from error
    return Tables(shape, kind, frequencies)


def shared_model(study: Study, name: str, rate: str) -> SharedModel:
    """A trained codec with its tables: what both ends of a link hold.

    Raises CheckpointError where one is missing, or the tables are another codec's.
    """
    codec, path = study.codec(name, rate), table_path(study.profile, name, rate)
    tables = read_tables(path, codec_digest(study, name, rate), study.profile)
    return SharedModel(codec, tables, fingerprint(paths(study.profile).codec(2, name, rate), path))
