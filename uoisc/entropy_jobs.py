"""The tables stage: probability tables of every trained codec, and what they save on messages they never met."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from uoisc.bitstream import SharedModel, encode_payload, fingerprint, ranked_of
from uoisc.checkpoint import save_tensors
from uoisc.codec import Codec
from uoisc.config import load_params, paths
from uoisc.entropy import Shape, Tables, best_tables
from uoisc.errors import CheckpointError
from uoisc.models import Study, open_study
from uoisc.preparation import written_folder
from uoisc.processes import run_side_by_side
from uoisc.results import write_csv

TABLE_STREAM = 5  # scenes that neither training nor evaluation nor validation draws
COUNTED, HELD_BACK = 3000, 500  # scenes that tables are counted on, and scenes that choose among their kinds


def table_path(profile: str, name: str, rate: str) -> Path:
    """Where a codec's tables lie."""
    return paths(profile).tables / name / f"{rate}.safetensors"


def make_tables(profile: str) -> pd.DataFrame:
    """Builds and writes every trained codec's tables; returns and writes what each kind costs a message."""
    params = load_params(profile)
    jobs = [(name, rate) for name, rates in params.variants.items() for rate in rates]
    with written_folder(paths(profile).tables) as folder:
        rows = run_side_by_side(
            build_one, [(profile, *job, folder) for job in jobs], params.workers, "codecs' tables counted"
        )
        table = pd.concat(rows, ignore_index=True)
    write_csv(table, paths(profile).results / "entropy.csv")
    return table


@torch.no_grad()
def build_one(profile: str, name: str, rate: str, folder: Path) -> pd.DataFrame:
    """Counts one codec's tables, writes the kind that costs least, and says what each kind costs."""
    study = open_study(profile, judges=())
    codec = study.codec(name, rate)
    shape = shape_of(codec)
    scale = min(1.0, study.params.evaluation.queries / 1000)
    counted, held_back = (max(20, int(n * scale)) for n in (COUNTED, HELD_BACK))
    rng = np.random.default_rng([study.params.seed, TABLE_STREAM])
    messages = _messages(study, codec, rng, counted + held_back)
    kinds = best_tables(
        shape, *(tuple(part[rows] for part in messages) for rows in (slice(counted), slice(counted, None)))
    )
    best = min(kinds, key=lambda kind: kinds[kind][1])
    write_tables(kinds[best][0], folder / name / f"{rate}.safetensors")
    model = SharedModel(codec, kinds[best][0], b"")
    indices, _, ranked = (part[counted:] for part in messages)
    real = [8 * len(encode_payload(i, r, model)) for i, r in zip(indices, ranked, strict=True)]
    keys = {"profile": profile, "variant": name, "seed": study.params.seed, "bits": codec.bits, "n": len(indices)}
    side = getattr(codec.rate, "map_bits", 0)
    rows = [keys | {"tables": kind, "entropy_bits": cost + side} for kind, (_, cost) in kinds.items()]
    return pd.DataFrame(rows).assign(chosen=lambda t: t["tables"] == best, payload_bits=float(np.mean(real)))


def _messages(study: Study, codec: Codec, rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Indices, which were sent, and which tokens were chosen, for n queries about scenes as in training."""
    allowed = study.world.pool(exclude=study.params.data.held_out)
    scenes = study.world.sample(rng, n, allowed)
    texts = [query.text for query in study.world.ask_each(rng, scenes, 1, allowed)]
    indices, sent, ranked = [], [], []
    for start in range(0, n, study.params.evaluation.batch_size):
        rows = slice(start, start + study.params.evaluation.batch_size)
        message = codec.encode(study.world.render(scenes[rows]), texts[rows])
        indices.append(message.indices.numpy())
        sent.append(np.ones_like(indices[-1], dtype=bool) if message.sent is None else message.sent.numpy())
        ranked.append(ranked_of(message))
    return np.concatenate(indices), np.concatenate(sent), np.concatenate(ranked)


def shape_of(codec: Codec) -> Shape:
    """What a codec's messages look like."""
    taps, quantizer = len(codec.projection.projections), codec.quantizer
    return Shape(taps, codec.decoder.grid**2, quantizer.segments, quantizer.codes)


def write_tables(tables: Tables, path: Path) -> None:
    """Writes the frequencies as int32, and what they are of in the header."""
    shape = tables.shape
    label = {"kind": tables.kind, "shape": [shape.taps, shape.tokens, shape.segments, shape.codes]}
    frequencies = torch.from_numpy(tables.frequencies.astype(np.int32))
    save_tensors({"frequencies": frequencies}, path, {"tables": json.dumps(label, sort_keys=True)})


def read_tables(path: Path) -> Tables:
    """Raises CheckpointError where the file is missing or is not one that `write_tables` wrote."""
    if not path.is_file():
        raise CheckpointError(f"{'/'.join(path.parts[-3:])}: not there; run the rate stage (dvc repro)")
    try:
        with safe_open(path, framework="np") as file:
            label = json.loads((file.metadata() or {})["tables"])
            frequencies = file.get_tensor("frequencies").astype(np.int64)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{'/'.join(path.parts[-3:])}: no tables can be read; make them again") from error
    return Tables(Shape(*label["shape"]), label["kind"], frequencies)


def shared_model(study: Study, name: str, rate: str) -> SharedModel:
    """A trained codec with its tables: what both ends of a link hold. Raises CheckpointError where one is missing."""
    checkpoint, tables = paths(study.profile).codec(2, name, rate), table_path(study.profile, name, rate)
    return SharedModel(study.codec(name, rate), read_tables(tables), fingerprint(checkpoint, tables))
