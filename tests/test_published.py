"""Models that git keeps: packed, opened where nothing is trained, measured here and elsewhere."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_bitstream import model

from uoisc import study as core
from uoisc.base.checkpoint import save_codec
from uoisc.base.config import DIAL, Paths
from uoisc.base.errors import CheckpointError, ResultsError
from uoisc.base.results import write_csv
from uoisc.frozen import published
from uoisc.frozen.clip_files import save_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.llava_files import save_llava
from uoisc.frozen.published import pack, unpack
from uoisc.link.tables import codec_digest, shared_model, write_tables
from uoisc.stages import asking, publish, train_models
from uoisc.study import Study

RATES = {"uoisc": "low", "dial": DIAL}
PARAMS = replace(
    tiny.PARAMS,
    data=replace(tiny.PARAMS.data, objects=258),
    variants={name: (rate,) for name, rate in RATES.items()},
)


def test_what_is_unpacked_is_as_near_as_8_bits_come():
    torch.manual_seed(0)
    tensors = {"matrix": torch.randn(40, 3, 5, 5) * torch.logspace(-3, 3, 40)[:, None, None, None], "few": torch.eye(3)}
    tensors |= {"vector": torch.randn(5000), "count": torch.tensor(7), "words": torch.randn(400, 16)}
    tensors["counts"] = torch.tensor([[0, 65535], [1, 70]], dtype=torch.int32)
    kept = torch.tensor([3, 70, 399])
    back = unpack(pack(tensors, {"words": kept}))
    assert {name: value.shape for name, value in back.items()} == {name: v.shape for name, v in tensors.items()}
    step = tensors["matrix"].flatten(1).abs().amax(1) / 127
    assert ((back["matrix"] - tensors["matrix"]).flatten(1).abs().amax(1) <= step / 2 * 1.001).all()
    assert torch.equal(back["few"], tensors["few"]) and back["count"] == 7
    torch.testing.assert_close(back["vector"], tensors["vector"], rtol=1e-3, atol=1e-6)
    assert torch.equal(back["counts"], tensors["counts"]) and back["counts"].dtype == torch.int32
    others = torch.ones(400, dtype=torch.bool).index_fill(0, kept, False)
    assert not back["words"][others].any()
    torch.testing.assert_close(back["words"][kept], tensors["words"][kept], rtol=0, atol=0.02)


def lie(top: Path) -> Paths:
    names = ("source", "foundation", "codecs", "tables")
    return Paths(*(top / "data" / "tiny" / name for name in names), top / "results")


def settle(patch: pytest.MonkeyPatch, top: Path) -> Paths:
    """Makes a folder the tree that the modules work in."""
    where = lie(top)
    patch.setattr(published, "ROOT", top)
    patch.setattr(publish, "MODELS", {name: [rate] for name, rate in RATES.items()})
    for module in (core, published, publish, train_models, asking):
        if hasattr(module, "paths"):
            patch.setattr(module, "paths", lambda profile: where)
        if hasattr(module, "load_params"):
            patch.setattr(module, "load_params", lambda profile, **_: PARAMS)
    patch.setattr(publish, "check_ready", lambda profile: PARAMS)
    patch.setattr(core, "open_questions", lambda *_: tiny.world())
    for cached in (core._opened, core.open_codecs, publish.open_published):
        cached.cache_clear()
    return where


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """A tree in which the tiny study is trained, stand-ins, two codecs, their tables, and then published."""
    top = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        where = settle(patch, top)
        save_clip(tiny.clip_model(), where.foundation / "clip", **clip_fields(tiny.CLIP, tiny.IMAGE))
        for seed, name in enumerate(("llava", "llava_independent")):
            save_llava(tiny.llava_model(seed), tiny.processor(), where.foundation / name)
        study = Study("tiny", PARAMS, where, tiny.world(), tiny.clip(), {})
        for name, rate in RATES.items():
            made_from, path = study.made_from(name, 2), where.codec(2, name, rate)
            save_codec(tiny.untrained(name, rate), path, name, rate, PARAMS, made_from)
            write_tables(model(name).tables, where.table(name, rate), codec_digest(study, name, rate))
        write_csv(summary(), where.results / "summary.csv")
        publish.publish("tiny")
    return top


@pytest.fixture
def place(once, tmp_path, monkeypatch) -> Paths:
    """A copy of that tree of the test's own."""
    shutil.copytree(once, tmp_path / "tree")
    yield settle(monkeypatch, tmp_path / "tree")
    for cached in (core._opened, core.open_codecs, publish.open_published):
        cached.cache_clear()


def summary() -> pd.DataFrame:
    keys = {"profile": "tiny", "seed": 0, "metric": "amr", "low": 0, "high": 1, "n": 20}
    bits = {"uoisc": tiny.codec("uoisc").bits, "dial": tiny.codec("dial").bits}
    rows = [(name, bits[name], split, "llava", 0.5) for name in bits for split in ("seen", "unseen")]
    return pd.DataFrame(rows, columns=["variant", "bits", "split", "judge", "value"]).assign(**keys)


@pytest.fixture
def packed(place) -> Paths:
    """The same without what was trained."""
    for folder in (place.foundation, place.codecs, place.tables):
        folder.rename(folder.with_name(f"trained_{folder.name}"))
    return place


def test_published_models_serve_where_nothing_is_trained_and_that_is_said(packed, capsys):
    study = core.open_study("tiny")
    assert "published models serve (data/tiny/published)" in capsys.readouterr().err
    assert not study.trained_here and study.home == published.unpacked("tiny")
    for name, rate in RATES.items():
        shared = shared_model(study, name, rate)
        trained = tiny.untrained(name, rate)
        for key, value in shared.trained.own_state().items():
            torch.testing.assert_close(value, trained.own_state()[key], rtol=0.01, atol=0.02, equal_nan=True)
    texts = tiny.queries(3)
    assert all(isinstance(answer, str) for answer in study.judges["llava"].answer(tiny.images(3), texts))
    torch.testing.assert_close(study.clip.text(texts), tiny.clip().text(texts), rtol=0.1, atol=0.02)


def test_they_take_a_fraction_of_the_room(packed):
    def size(folder) -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))

    whole = sum(size(packed.foundation.with_name(f"trained_{name}")) for name in ("foundation", "codecs"))
    assert size(packed.published) < 0.3 * whole
    words = load_file(packed.published / "foundation/clip/open_clip_model.safetensors")[publish.PIECES]
    assert 200 < len(words) < 2000


def test_what_is_trained_here_comes_first(place, capsys):
    assert core.open_codecs("tiny").trained_here
    assert "published" not in capsys.readouterr().err
    assert [home.codecs.parent.name for home in core.homes("tiny")][0] == "tiny" and len(core.homes("tiny")) == 2


def test_nothing_trains_on_published_models(packed):
    with pytest.raises(CheckpointError, match="nothing of tiny is trained here: run `make repro`"):
        train_models.own_study("tiny")


def test_a_model_that_is_not_published_is_one_line(packed):
    study = core.open_study("tiny")
    with pytest.raises(
        CheckpointError, match="not there; train it first .make repro PROFILE=tiny: the published models lack it"
    ):
        replace(study, params=replace(PARAMS, variants={"adaptive": ("low",)})).codec("adaptive", "low")


def test_a_damaged_file_is_one_line_and_nothing_is_left(packed):
    file = packed.published / "foundation" / "llava" / "model.safetensors"
    for folder in (published.ROOT / "build" / "published").glob("tiny-*"):
        if folder.is_dir():
            folder.rename(folder.with_name("moved"))
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="llava/model.safetensors: damaged .*git checkout -- data"):
        published.unpacked("tiny")
    assert not [f for f in (published.ROOT / "build" / "published").glob("*tiny-*") if f.is_dir()]


def test_check_holds_this_machine_against_the_table(packed):
    table = pd.read_csv(packed.results / "published.csv")
    assert set(table["variant"]) == set(RATES) and set(table["split"]) == {"seen", "unseen"}
    assert len(table) == 2 * 2 * (1 + 2), "two splits and judges; one rate, and two budgets of the dial"
    found = publish.check("tiny")
    assert found.agrees and found.summary().startswith("agrees: 12 rows differ by 0.0000")
    assert len(found.rows) == len(table) and json.loads(found.to_json())["agrees"]
    table.loc[3, "amr"] += 0.02
    write_csv(table, packed.results / "published.csv")
    found = publish.check("tiny")
    assert not found.agrees and "1 by more than 0.01" in found.summary() and found.rows["close"].sum() == 11
    write_csv(table.iloc[1:], packed.results / "published.csv")
    with pytest.raises(ResultsError, match="published.csv is not of the published models"):
        publish.check("tiny")


def test_the_card_tells_what_they_are(packed):
    card = (packed.published / "README.md").read_text()
    assert "CC BY-SA 4.0" in card and "MIT" in card and "| uoisc |" in card and '"animal"' in card
    assert len(card.splitlines()) > 20


def test_without_published_models_check_says_so(place):
    shutil.rmtree(place.published)
    (place.results / "published.csv").unlink()
    with pytest.raises(ResultsError, match="published.csv: not there"):
        publish.check("tiny")
    with pytest.raises(CheckpointError, match="profile tiny publishes no models"):
        publish.open_published("tiny")
