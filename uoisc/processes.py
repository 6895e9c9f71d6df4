"""Several one-thread processes side by side: on two busy cores faster than one of two threads."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from uoisc.distributed import device, processes


def fast_attention():
    """Plain attention on a CPU: at these head sizes fused attention's backward pass is several times slower there."""
    return nullcontext() if device().type == "cuda" else sdpa_kernel(SDPBackend.MATH)


def settle(deterministic: bool) -> None:
    """One thread in this process; on a GPU, where `deterministic`, kernels that give the same bits every time.

    Of an operation that has no such kernel torch warns by name. On a CPU all are.
    """
    torch.set_num_threads(1)
    if device().type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def precision(where: torch.device) -> torch.autocast:
    """bfloat16 where it is safe (convolutions, attention); quantisation and losses ask for float32 themselves."""
    return torch.autocast(where.type, torch.bfloat16)


def run_side_by_side(function, jobs: list[tuple], workers: int, progress: str | None = None) -> list:
    """`function(*job)` for every job, in one-thread processes; results in the jobs' order.

    `progress` names a bar that counts finished jobs, for jobs that show none of their own.

    One worker runs them in this process, without the seconds that a new one takes to start; so do processes that were
    launched together, as they share out each job. An error in one stops the others and is raised here; so is Ctrl-C.
    """
    bar = tqdm(total=len(jobs), desc=progress, disable=progress is None)
    if min(workers, len(jobs)) == 1 or processes() > 1:
        return [_counted(function(*job), bar) for job in jobs]
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that start below
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            return [_counted(future.result(), bar) for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(pool._processes.values()):
                process.terminate()
            raise


def _counted(result, bar: tqdm):
    bar.update()
    return result
