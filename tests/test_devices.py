"""What a process does before models are opened."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import test_gpu
import torch
import workplace

from uoisc.base import devices
from uoisc.base.config import load_params
from uoisc.stages import foundation_jobs, machine


@pytest.mark.parametrize(("kind", "wanted", "expected"), [("cuda", True, 1), ("cuda", False, 0), ("cpu", True, 0)])
def test_same_bits_are_asked_for_on_a_gpu_alone(monkeypatch, kind, wanted, expected):
    asked = []
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(devices, "device", lambda: torch.device(kind))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, warn_only: asked.append((on, warn_only)))
    devices.settle(wanted)
    assert asked == [(True, True)] * expected and torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("widest", "has", "allowed", "native"),
    [("AVX512", True, True, True), ("AVX2", True, False, False), ("AVX512", False, True, False)]
    + [("AVX512", True, False, False), ("NEON", False, False, False)],
)
def test_bfloat16_where_the_processor_computes_in_it(monkeypatch, widest, has, allowed, native):
    """AVX512 without its bfloat16 instructions imitates them; instructions may be held back from either library."""
    devices.native_bfloat16.cache_clear()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: allowed)
    try:
        assert devices.native_bfloat16("cpu") is native
        assert machine.described()["precision"] == ("bfloat16" if native else "float32")
        with devices.precision(torch.device("cpu")):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if native else torch.float32)
    finally:
        devices.native_bfloat16.cache_clear()


def test_instructions_held_to_avx2_mean_float32():
    code = "from uoisc.stages.machine import described; print(described()['precision'])"
    held = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | held, capture_output=True, text=True)
    assert done.stdout.strip() == "float32", done.stderr


@pytest.mark.parametrize(
    ("cores", "gigabytes", "gpu", "expected"),
    [(2, 24, None, 2), (8, 64, None, 8), (64, 8, None, 7), (4, 0.5, None, 1), (16, 128, 80, devices.GPU_QUEUE)]
    + [(16, 128, 6, 3)],
)
def test_workers_follow_cores_memory_and_gpu(monkeypatch, cores, gigabytes, gpu, expected):
    card = type("Card", (), {"total_memory": (gpu or 0) * 10**9})
    monkeypatch.setattr(devices, "cores", lambda: cores)
    monkeypatch.setattr(devices, "memory", lambda: gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda where: card)
    assert devices.side_by_side(devices.AUTO) == expected and devices.side_by_side(3) == 3


@pytest.mark.parametrize(("gigabytes", "expected"), [(2, 1), (4, 1), (5, 2), (24, 3)])
def test_as_many_stand_ins_train_as_memory_bears(monkeypatch, gigabytes, expected):
    asked = []
    monkeypatch.setattr(devices, "memory", lambda: gigabytes * 1e9)
    monkeypatch.setattr(foundation_jobs, "open_world", lambda *_: None)
    monkeypatch.setattr(foundation_jobs, "written_folder", lambda path: nullcontext(path))
    monkeypatch.setattr(foundation_jobs, "check_writable", lambda path: None)
    monkeypatch.setattr(foundation_jobs, "run_side_by_side", lambda run, jobs, workers: asked.append(workers) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        foundation_jobs.train_foundation("small")
    assert asked == [expected]


def test_a_containers_limits_count(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "CONTAINER", tmp_path)
    free = devices.cores(), devices.memory()
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert (devices.cores(), devices.memory()) == (1, 1_000_000)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (devices.cores(), devices.memory()) == free
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert devices.cores() == os.cpu_count()


def test_parameters_of_the_tests_of_a_gpu_are_sound_where_none_is(tmp_path):
    place = workplace.make(tmp_path / "place", test_gpu.parameters())
    assert load_params("tiny", place / "params.yaml") == test_gpu.parameters()
