"""What a process does before models are opened."""

import pytest
import torch

from uoisc.base import devices


@pytest.mark.parametrize(("kind", "wanted", "expected"), [("cuda", True, 1), ("cuda", False, 0), ("cpu", True, 0)])
def test_same_bits_are_asked_for_on_a_gpu_alone(monkeypatch, kind, wanted, expected):
    asked = []
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(devices, "device", lambda: torch.device(kind))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, warn_only: asked.append((on, warn_only)))
    devices.settle(wanted)
    assert asked == [(True, True)] * expected and torch.get_num_threads() == 1
