"""Checkpoints: what they are of stands in them, and no half of one is ever read or left behind."""

import dataclasses

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from uoisc.base import storage
from uoisc.base.checkpoint import fingerprint, load_codec, save_codec
from uoisc.base.errors import CheckpointError
from uoisc.base.folders import written_folder
from uoisc.base.storage import save_tensors

QUERIES = ["where is the hammer", "how many animals are there"]


@pytest.fixture
def path(tmp_path):
    """A checkpoint of uoisc at the rate low."""
    path = tmp_path / "phase2" / "uoisc" / "low.safetensors"
    save_codec(tiny.codec("uoisc"), path, "uoisc", "low", tiny.PARAMS)
    return path


def load(path, variant: str = "uoisc", rate: str = "low", params=tiny.PARAMS):
    fresh = untrained(variant, rate)
    return load_codec(fresh, path, variant, rate, params)


def untrained(variant: str, rate: str):
    """A codec of other weights than `tiny.codec`'s."""
    codec = tiny.codec(variant, rate)
    with torch.no_grad():
        for parameter in codec.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    return codec


def refused(match: str, *arguments, **options) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load(*arguments, **options)
    assert "\n" not in str(caught.value) and "train it" in str(caught.value)


def test_a_codec_goes_round_and_comes_back_in_evaluation_mode(path):
    x, loaded = tiny.images(2), load(path)
    assert torch.equal(loaded(x, QUERIES).x_hat, tiny.codec("uoisc")(x, QUERIES).x_hat)
    assert not loaded.training
    assert [file.name for file in path.parent.iterdir()] == ["low.safetensors"]


def test_no_clip_weights_are_repeated(path):
    assert not [key for key in load_file(path) if key.startswith("vision")]


def test_missing(tmp_path):
    refused(
        "phase2/uoisc/high.safetensors: not there; train it first", tmp_path / "phase2" / "uoisc" / "high.safetensors"
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused("truncated or no safetensors file", path)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_flipped_bit(path, place):
    """Anywhere among the tensors: safetensors itself would read it in silence."""
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    whole[header + int(place * (len(whole) - header))] ^= 0x10
    path.write_bytes(whole)
    refused(r"damaged \(its digest does not fit what it holds\)", path)


def test_a_label_that_was_changed(path):
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'uoisc\\"', b'nolla\\"', 1))
    assert path.read_bytes() != whole
    refused("damaged", path)


def test_no_safetensors_file(path):
    path.write_bytes(b"\x80\x04 not one at all" * 100)
    refused("truncated or no safetensors file", path)


def test_of_another_variant_rate_or_parameters(path):
    refused("a checkpoint of other variant 'uoisc', wanted no_llava at low", path, "no_llava")
    refused("a checkpoint of other rate 'low', wanted uoisc at high", path, rate="high")
    wider = dataclasses.replace(tiny.PARAMS, codec=dataclasses.replace(tiny.PARAMS.codec, text_width=32))
    refused(r"other parameters \(params.yaml has changed since\)", path, params=wider)


@pytest.mark.parametrize("ablated", ["no_alignment", "plain_vq", "query_aware", "uoisc_query_decoder"])
def test_an_ablated_models_weights_never_load_as_uoisc(tmp_path, ablated):
    """Neither by their label nor, where the label is forged, by their keys and shapes."""
    path = tmp_path / "phase2" / "uoisc" / "low.safetensors"
    save_codec(tiny.codec(ablated), path, ablated, "low", tiny.PARAMS)
    refused(f"other variant '{ablated}'", path)
    save_codec(tiny.codec(ablated), path, "uoisc", "low", tiny.PARAMS)
    refused("does not fit this codec", path)


def test_a_file_without_a_label(path):
    save_file(load_file(path), path)
    refused("not written by this program", path)


def test_fingerprint_follows_what_shapes_a_codec_and_nothing_else():
    other = dataclasses.replace(tiny.PARAMS, training=dataclasses.replace(tiny.PARAMS.training, phase1_steps=9))
    taps = dataclasses.replace(tiny.PARAMS, codec=dataclasses.replace(tiny.PARAMS.codec, taps=(0, 1)))
    assert fingerprint(tiny.PARAMS, "low") == fingerprint(other, "low") != fingerprint(taps, "low")
    dial = dataclasses.replace(tiny.PARAMS.codec.dial, segments=8)
    dialled = dataclasses.replace(tiny.PARAMS, codec=dataclasses.replace(tiny.PARAMS.codec, dial=dial))
    assert fingerprint(dialled, "low") == fingerprint(tiny.PARAMS, "low"), "no dial shapes a codec of fixed rate"
    assert fingerprint(dialled, "dial") != fingerprint(tiny.PARAMS, "dial")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "clip"
    with written_folder(target) as folder:
        (folder / "a").write_text("first")
    with pytest.raises(KeyboardInterrupt), written_folder(target) as folder:
        (folder / "a").write_text("half")
        raise KeyboardInterrupt
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["clip", "clip/a"]
    assert (target / "a").read_text() == "first"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(path, monkeypatch, failure):
    before = path.read_bytes()

    def fails(file):
        raise failure

    monkeypatch.setattr(storage.os, "fsync", fails)  # where written data meet the disk
    with pytest.raises((KeyboardInterrupt, CheckpointError)) as caught:
        save_tensors({"a": torch.ones(3)}, path, {})
    if caught.type is CheckpointError:
        assert "cannot be written (No space left on device); make room" in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["low.safetensors"]
