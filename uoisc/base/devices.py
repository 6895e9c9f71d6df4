"""What a process asks of its device: threads, precision, kernels that give the same bits every time."""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from uoisc.base.distributed import device


def fast_attention():
    """Plain attention on a CPU: at these head sizes fused attention's backward pass is several times slower there."""
    return nullcontext() if device().type == "cuda" else sdpa_kernel(SDPBackend.MATH)


def settle(deterministic: bool) -> None:
    """One thread in this process; where `deterministic`, a GPU's kernels give the same bits, or torch warns by name."""
    torch.set_num_threads(1)
    if device().type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def precision(where: torch.device) -> torch.autocast:
    """bfloat16 where it is safe (convolutions, attention); quantisation and losses ask for float32 themselves."""
    return torch.autocast(where.type, torch.bfloat16)
