"""Several one-thread processes side by side: on two busy cores faster than one of two threads."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from torch.nn.attention import SDPBackend, sdpa_kernel


def fast_attention():
    """Plain attention: on a CPU, at these head sizes, fused attention's backward pass is several times slower."""
    return sdpa_kernel(SDPBackend.MATH)


def run_side_by_side(function, jobs: list[tuple], workers: int) -> list:
    """`function(*job)` for every job, in one-thread processes; results in the jobs' order.

    One worker runs them in this process, without the seconds that a new one takes to start. An error in one
    stops the others and is raised here; so is Ctrl-C.
    """
    if min(workers, len(jobs)) == 1:
        return [function(*job) for job in jobs]
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that start below
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(pool._processes.values()):
                process.terminate()
            raise
