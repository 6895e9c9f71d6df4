"""The full-size step, at a size that a test can afford: what it times and that each part does its work."""

import sys

import pytest
import torch

from benchmarks import full_models
from benchmarks import full_size as benchmark_full
from benchmarks.full_size import Meter, Models
from uoisc.base.config import load_params
from uoisc.frozen.clip import open_clip
from uoisc.frozen.native import Norm


@pytest.fixture
def small_sizes(monkeypatch):
    """The same layouts, tiny; the profile's codec on a CLIP of 22 x 22 tokens, as in full size."""
    small = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    monkeypatch.setattr(full_models, "VISION", full_models.VISION | small | {"image_size": 56})
    text = small | {"num_key_value_heads": 2, "num_hidden_layers": 4, "vocab_size": 50}
    monkeypatch.setattr(full_models, "TEXT", full_models.TEXT | text)
    real = open_clip.get_model_config

    def config(name: str) -> dict:
        made = real(name)
        made["vision_cfg"] |= {"width": 64}
        made["text_cfg"] |= {"width": 64, "heads": 2, "layers": 1}
        return made | {"embed_dim": 32}

    monkeypatch.setattr(open_clip, "get_model_config", config)


def test_both_phases_are_timed_part_by_part(small_sizes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_full", "--parts", "--batches", "2", "--device", "cpu"])
    benchmark_full.main()
    shown = capsys.readouterr().out
    assert "LLaVA in float32; intent loss over 16 image tokens" in shown and "phase 2, batch 2" in shown
    first, second = shown.split("one step of phase ")[1:]
    parts = ("CLIP", "alignment, VQ", "decoder", "perceptual", "LLaVA", "LLaVA, back", "codec, back", "optimiser")
    assert all(part in first and part in second for part in parts)
    assert "critic" not in first and "critic" in second


def test_the_table_times_real_steps_way_by_way(small_sizes, monkeypatch, capsys):
    """Random weights in bfloat16, as on a GPU: every way has its row, none of which failed."""
    monkeypatch.setattr(benchmark_full, "WARM_UP", 1)
    given = ["--batches", "1", "--rounds", "1", "--device", "cpu", "--bfloat16"]
    monkeypatch.setattr(sys, "argv", ["benchmark_full", *given])
    benchmark_full.main()
    rows = capsys.readouterr().out.split("images/s\n")[1].splitlines()
    ways = ("as before", "own bfloat16", "own bfloat16, states kept")
    assert [(row.split()[0], row[7:34].strip()) for row in rows] == [("1", way) for way in ways]
    assert all(float(cell) > 0 for row in rows for cell in row[34:].split())


def test_the_way_as_before_is_another_than_today(small_sizes):
    kinds = full_models.Wide, full_models.FrozenLlava
    before, today = (full_models.random_llava(torch.bfloat16, kind=kind) for kind in kinds)
    norms = [sum(isinstance(module, Norm) for module in llava.modules()) for llava in (before, today)]
    assert (before.native, today.native) == (False, True) and norms[0] == 0 < norms[1]


def test_a_step_moves_the_codec_and_nothing_frozen(small_sizes):
    params = load_params("paper")
    clip, llava = full_models.random_clip(params), full_models.random_llava(torch.float32)
    codec = benchmark_full.variant("uoisc").build(clip, params, "wide").train()
    own = {name: p.detach().clone() for name, p in codec.named_parameters() if p.requires_grad}
    frozen = clip.model.visual.proj.clone()
    optimiser = torch.optim.SGD([p for p in codec.parameters() if p.requires_grad], lr=1.0)
    x = torch.rand(1, 3, 352, 352)
    benchmark_full.step(Meter(torch.device("cpu")), Models(params, clip, llava), codec, x, optimiser, None)
    moved = {name for name, p in codec.named_parameters() if name in own and not torch.equal(p, own[name])}
    assert any(name.startswith("decoder") for name in moved) and any(name.startswith("projection") for name in moved)
    assert any(name.startswith("alignment") for name in moved)
    assert torch.equal(clip.model.visual.proj, frozen)


def test_full_size_is_that_of_the_published_files():
    """Parameters, counted without memory for them: those of the published files."""
    with torch.device("meta"):
        config = open_clip.get_model_config(full_models.CLIP_NAME)
        assert sum(p.numel() for p in open_clip.CLIP(**config).parameters()) == 149_620_737  # OpenAI's ViT-B/16


def test_the_meter_adds_up_parts_and_keeps_the_peak():
    meter = Meter(torch.device("cpu"))
    with meter("a"):
        big = torch.ones(30_000_000)  # 120 MB
    del big
    with meter("b"):
        pass
    with meter("a"):
        pass
    assert list(meter.seconds) == ["a", "b"] and min(meter.peak.values()) > 0
    assert meter.peak["a"] >= meter.peak["b"]
