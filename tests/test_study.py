"""What one stage made is held against what is here when another one opens it."""

import os
from dataclasses import replace

import pytest
import tiny

from uoisc import study as opened
from uoisc.base.checkpoint import save_codec
from uoisc.base.config import Paths
from uoisc.base.errors import CheckpointError
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint, Pretrained
from uoisc.frozen.clip_files import save_clip
from uoisc.frozen.foundation import clip_fields
from uoisc.frozen.llava_files import save_llava
from uoisc.frozen.pretrained import identity
from uoisc.link.bitstream import fingerprint
from uoisc.stages import train_models
from uoisc.study import Study


@pytest.fixture
def common_mask():
    """New files can be read by others, whatever the shell's umask is."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A profile's folders, with a foundation."""
    where = Paths(*(tmp_path / name for name in ("source", "foundation", "codecs", "tables", "results")))
    for module in (opened, train_models):
        monkeypatch.setattr(module, "paths", lambda profile: where)
    write_clip(where)
    (where.foundation / "llava").mkdir()
    (where.foundation / "llava" / "model.safetensors").write_text("one judge")
    return where


def write_clip(place: Paths, seed: int = 0) -> None:
    save_clip(tiny.clip_model(seed), place.foundation / "clip", **clip_fields(tiny.CLIP, tiny.IMAGE))


def study(**training) -> Study:
    params = replace(tiny.PARAMS, training=replace(tiny.PARAMS.training, **training))
    return Study("tiny", params, opened.paths("tiny"), tiny.world(), tiny.clip(), tiny.study().judges)


def train(place: Paths, name: str = "uoisc", phase: int = 2) -> None:
    made = study()
    path = place.codec(phase, name, "low")
    save_codec(tiny.codec(name), path, name, "low", made.params, made.made_from(name, phase))


def refused(what: str, name: str = "uoisc", phase: int = 2, **training) -> None:
    with pytest.raises(CheckpointError, match=f"made from another {what} than the one here") as caught:
        study(**training).codec(name, "low", phase=phase)
    assert str(caught.value).endswith(f"train it again (uoisc train {name} --profile tiny)")


def test_a_codec_of_another_clip_is_refused_and_has_another_digest(place):
    train(place)
    study().codec("uoisc", "low")
    before = fingerprint(place.codec(2, "uoisc", "low"))
    write_clip(place, seed=1)
    refused("CLIP")
    train(place)
    study().codec("uoisc", "low")
    assert fingerprint(place.codec(2, "uoisc", "low")) != before, "the same weights on another CLIP: another model"


def test_a_codec_of_another_training_judge_is_refused_where_a_judge_trains_it(place):
    train(place)
    train(place, "no_llava")
    (place.foundation / "llava" / "model.safetensors").write_text("another judge")
    refused("training judge")
    study().codec("no_llava", "low")


def test_a_receiver_needs_no_judge(place):
    train(place)
    (place.foundation / "llava" / "model.safetensors").unlink()
    (place.foundation / "llava").rmdir()
    assert study().codec("uoisc", "low").bits == tiny.codec("uoisc").bits


def test_other_parameters_are_refused_but_for_those_that_leave_weights_as_they_are(place):
    for phase in (1, 2):
        train(place, phase=phase)
        refused("`training` in params.yaml", phase=phase, learning_rate=1e-4)
        study(log_every=7, save_every=9, accumulation=2).codec("uoisc", "low", phase=phase)
    refused("`training` in params.yaml", phase=2, phase2_steps=9)
    study(phase2_steps=9, critic_channels=8).codec("uoisc", "low", phase=1)


def test_a_variants_own_training_concerns_that_variant_alone(place):
    own = {"uoisc": replace(tiny.PARAMS.training, learning_rate=1e-4)}
    for name in ("uoisc", "no_llava"):
        train(place, name)
    refused("`training` in params.yaml", of=own)
    study(of=own).codec("no_llava", "low")
    assert study(of=own).made_from("uoisc", 1) == study(learning_rate=1e-4).made_from("uoisc", 1)


def test_phase_2_does_not_start_from_a_phase_1_of_other_parameters(place, monkeypatch):
    train(place, phase=1)
    monkeypatch.setattr(train_models, "open_study", lambda profile, judges: study(rounding_step=0))
    with pytest.raises(CheckpointError, match="phase1/uoisc/low.safetensors: made from another `training`"):
        train_models.train_model("tiny", "uoisc", "low", (2,))
    assert not place.codec(2, "uoisc", "low").exists()


def test_a_checkpoint_that_says_nothing_of_its_foundation_is_refused(place):
    save_codec(tiny.codec("uoisc"), place.codec(2, "uoisc", "low"), "uoisc", "low", tiny.PARAMS)
    refused("`seed` in params.yaml")


def test_a_foundation_of_other_parameters_is_one_line(place):
    wider = replace(tiny.PARAMS.foundation, clip=replace(tiny.CLIP, width=96))
    with pytest.raises(CheckpointError, match="foundation stage again: uoisc run 02_foundation --profile tiny"):
        opened.open_foundation("tiny", replace(tiny.PARAMS, foundation=wider), (), place.foundation)


def test_a_foundation_that_is_not_there_is_one_line(place):
    with pytest.raises(
        CheckpointError, match="foundation/llava_independent: not there; run the foundation stage again"
    ):
        opened.open_foundation("tiny", tiny.PARAMS, ("llava", "llava_independent"), place.foundation)


def test_a_pinned_checkpoint_is_known_by_its_digest_wherever_it_lies():
    one, moved = (ClipCheckpoint(name, "", "a" * 64, 16, 12, "query_key") for name in ("here", "there"))
    assert identity(one) == identity(moved) != identity(replace(one, sha256="b" * 64))
    assert identity(one) != identity(replace(one, relevance_attention="value_value")), "other tokens rank first"
    assert identity(replace(one, sha256="unpinned")) != identity(replace(moved, sha256="unpinned"))


def test_a_codec_is_trained_on_with_the_same_question_and_evaluated_with_any(place, tmp_path):
    judge = LlavaCheckpoint("here", "", {"a": "c" * 64}, "In a word.")
    models = Pretrained(ClipCheckpoint("here", "", "a" * 64, 16, 3, "query_key"), judge, judge)
    data = tiny.vqav2(tmp_path / "vqav2")
    params = replace(tiny.PARAMS, foundation=models, data=data, variants={"uoisc": ("low",)})
    bare = replace(params, foundation=replace(models, llava=replace(judge, suffix="")))
    one, other = (opened.Study("tiny", p, opened.paths("tiny"), None, tiny.clip(), {}) for p in (params, bare))
    for phase in (1, 2):
        path = place.codec(phase, "uoisc", "low")
        save_codec(tiny.codec("uoisc"), path, "uoisc", "low", params, one.made_from("uoisc", phase))
        assert one.codec("uoisc", "low", phase=phase)
    assert other.codec("uoisc", "low", phase=2)
    with pytest.raises(CheckpointError, match="made from another foundation.llava.suffix than the one here"):
        other.codec("uoisc", "low", phase=1)


@pytest.mark.usefixtures("common_mask")
def test_what_is_written_can_be_read_by_others(place):
    train(place)
    save_llava(tiny.llava_model(), tiny.processor(), place.foundation / "other")
    for file in (*place.foundation.rglob("*"), place.codec(2, "uoisc", "low")):
        assert file.is_dir() or file.stat().st_mode & 0o044 == 0o044, file
