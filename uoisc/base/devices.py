"""What a process asks of its device: threads, precision, kernels that give the same bits; how many work at a time."""

import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from uoisc.base.distributed import device
from uoisc.base.schema import AUTO

WORKER = 1.0e9  # ours: bytes of memory of a process that trains a codec of `small`, measured .88
STAND_IN = 2.0e9  # ours: as above, of one that trains a stand-in and checks it, measured 1.4 to 1.6
BESIDE = 1.0e9  # ours: bytes that the notebook's own process and the rest of the machine take
GPU_WORKER = 2.0e9  # ours: as above, of a GPU's memory; measured .95 in training, batches of the evaluation are larger
GPU_QUEUE = 8  # ours: processes that launch to one GPU; seven keep it busy (99 % measured)
CONTAINER = Path("/sys/fs/cgroup")  # Linux: the limits of a container, where there are any


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
    """bfloat16 where it is safe (convolutions, attention); quantisation and losses ask for float32 themselves.

    float32 on a device that would imitate bfloat16: with AVX2 a step of training took seven times as long.
    """
    return torch.autocast(where.type, torch.bfloat16, enabled=native_bfloat16(where.type))


def autocast_type(kind: str) -> torch.dtype | None:
    """What autocast computes in at this point on such a device; None where it is off, or the device has none."""
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


@cache
def native_bfloat16(kind: str) -> bool:
    """Whether this machine's "cpu" or "cuda" computes in bfloat16 itself, with the instructions that it may use."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    widest = torch.backends.cpu.get_cpu_capability()  # honours ATEN_CPU_CAPABILITY, the operator ONEDNN_MAX_CPU_ISA
    has = kind == "cpu" and widest == "AVX512" and torch.cpu._is_avx512_bf16_supported()  # AMX comes with it
    return bool(has and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def side_by_side(workers: int) -> int:
    """How many processes work at a time: `workers`, or where that is AUTO as many as cores and memory bear."""
    if workers != AUTO:
        return workers
    found = [cores(), fit_in_memory(WORKER)]
    if torch.cuda.is_available():
        found += [GPU_QUEUE, torch.cuda.get_device_properties(device()).total_memory // GPU_WORKER]
    return max(1, int(min(found)))


def fit_in_memory(size: float) -> int:
    """How many processes of so many bytes the memory bears, one at least."""
    return max(1, int((memory() - BESIDE) // size))


def cores() -> int:
    """The processor cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))  # on Linux alone
    quota, _, period = _limit("cpu.max").partition(" ")
    return max(1, min(len(allowed(0)), int(quota) // int(period) if quota.isdigit() else 1024))


def memory() -> int:
    """The machine's memory in bytes, or a container's share of it."""
    most = _limit("memory.max")
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), int(most) if most.isdigit() else 1 << 60)


def _limit(name: str) -> str:
    return (CONTAINER / name).read_text().strip() if (CONTAINER / name).is_file() else ""
