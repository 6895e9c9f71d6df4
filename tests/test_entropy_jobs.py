"""The tables stage on the tiny study: what tables are counted on, which kind is written, and what messages cost."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from uoisc.judge.evaluation import batches, evaluation_questions
from uoisc.link.bitstream import SharedModel, parse, ranked_of, write
from uoisc.link.entropy import KINDS, Tables, build_tables
from uoisc.link.tables import read_tables
from uoisc.message import Message
from uoisc.stages import entropy_jobs

P = tiny.PARAMS
DIGEST = {"checkpoint": "of an untrained codec"}
HELD_BACK = 20  # of each budget; as many of the evaluation's say what messages cost
COUNTED = {"dial": 30, "uoisc": 60}


class Built(NamedTuple):
    """What the stage gave for one codec: its rows, the tables that it wrote; and its models, one a budget."""

    name: str
    rows: pd.DataFrame
    written: Tables
    models: list


@pytest.fixture(scope="module", params=[("dial", "dial"), ("uoisc", "low")], ids=lambda job: job[0])
def built(request, tmp_path_factory) -> Built:
    name, rate = request.param
    rows, written = build(name, rate, tmp_path_factory.mktemp("tables"))
    budgets = P.codec.dial.budgets if name == "dial" else [None]
    return Built(name, rows, written, [tiny.study().codec(name, rate, bits) for bits in budgets])


def build(name: str, rate: str, folder: Path) -> tuple[pd.DataFrame, Tables]:
    """The stage's rows for one codec, and the tables that it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entropy_jobs, "open_study", lambda profile, judges: tiny.study())
        patch.setattr(entropy_jobs, "codec_digest", lambda study, *job: DIGEST)
        rows = entropy_jobs.build_one("tiny", name, rate, folder)
    return rows, read_tables(folder / name / f"{rate}.safetensors", DIGEST, "tiny")


@torch.no_grad()
def by_hand(built: Built) -> tuple[dict[str, Tables], dict[str, float]]:
    """The tables of every kind, and what messages cost that were not counted, summed over the budgets."""
    scenes = tiny.world().batches([P.seed, entropy_jobs.TABLE_STREAM], P.evaluation.batch_size, P.data.held_out)
    own, counted = [], COUNTED[built.name]
    for model in built.models:
        of_model = []
        while sum(len(message.indices) for message in of_model) < counted + HELD_BACK:
            batch = next(scenes)
            of_model.append(model.encode(batch.images, batch.texts))
        arrays = zip(*((m.indices.numpy(), m.mask.numpy(), ranked_of(m)) for m in of_model), strict=True)
        own.append([np.concatenate(array) for array in arrays])
    shape = built.written.shape
    training = [np.concatenate([array[:counted] for array in arrays]) for arrays in zip(*own, strict=True)]
    tables = {kind: build_tables(shape, kind, *training) for kind in KINDS}
    held_back = [[array[counted : counted + HELD_BACK] for array in arrays] for arrays in own]
    return tables, {kind: sum(t.bits(*arrays).mean() for arrays in held_back) for kind, t in tables.items()}


@torch.no_grad()
def asked(model) -> list[Message]:
    """The messages of the evaluation's questions about unseen objects, one each."""
    asked = evaluation_questions(tiny.study(), "unseen", HELD_BACK)
    parts = [model.encode(asked.images(rows), asked.texts[rows]) for rows in batches(tiny.study(), asked)]
    return [
        Message(part.indices[i : i + 1], None if part.sent is None else part.sent[i : i + 1])
        for part in parts
        for i in range(len(part.indices))
    ]


def test_the_kind_that_costs_least_on_scenes_held_back_is_written(built):
    """Scenes are of the tables' own stream and hold no object that is held out."""
    tables, costs = by_hand(built)
    best = min(costs, key=costs.get)
    assert built.written.kind == best and np.array_equal(built.written.frequencies, tables[best].frequencies)
    assert (built.rows["chosen"] == (built.rows["tables"] == best)).all()
    assert set(built.rows["tables"]) == set(KINDS) and (built.rows["n"] == HELD_BACK).all()


def test_a_kind_that_fits_only_what_was_counted_is_not_written(tmp_path, monkeypatch):
    """Of indices that nothing relates the finest tables know by heart what they have seen."""
    rng, messages = np.random.default_rng(0), entropy_jobs.messages

    def unrelated(codec, pairs, n: int) -> tuple[np.ndarray, ...]:
        indices, *others = messages(codec, pairs, n)
        return rng.integers(0, codec.quantizer.codes, indices.shape), *others

    monkeypatch.setattr(entropy_jobs, "messages", unrelated)
    rows, written = build("uoisc", "low", tmp_path)
    assert written.kind != "causal" and not rows.set_index("tables").loc["causal", "chosen"]


def test_payload_bits_are_those_of_the_files(built):
    for model in built.models:
        shared = SharedModel(tiny.untrained(built.name, "dial" if built.name == "dial" else "low"), built.written, b"")
        shared = shared.within(model.bits) if built.name == "dial" else shared
        found = [8 * len(parse(write(message, shared, (9, 9))).payload) for message in asked(model)]
        assert (built.rows.loc[built.rows["bits"] == model.bits, "payload_bits"] == np.mean(found)).all()


def test_an_ideal_coder_spends_the_cross_entropy_and_what_the_choice_costs(built):
    tables, _ = by_hand(built)
    for model in built.models:
        sent = [(m.indices.numpy(), m.mask.numpy(), ranked_of(m)) for m in asked(model)]
        rows = built.rows[built.rows["bits"] == model.bits].set_index("tables")
        for kind in KINDS:
            ideal = np.mean([tables[kind].bits(*one).item() for one in sent]) + model.rate.side_bits
            assert rows.loc[kind, "entropy_bits"] == pytest.approx(ideal, rel=1e-9)
        assert (model.rate.side_bits > 0) == (built.name == "dial")
