"""Several one-thread processes side by side: on two busy cores faster than one of two threads."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import starmap
from typing import Any

from uoisc.base.devices import side_by_side
from uoisc.base.distributed import processes
from uoisc.base.errors import ProcessError
from uoisc.base.terminal import bar

_stopped: list[bool] = []  # in a worker: that it was told to


def run_side_by_side(function, jobs: list[tuple], workers: int, progress: str | None = None) -> list:
    """`function(*job)` for every job, in one-thread processes; results in the jobs' order.

    `workers` of them at a time, or as many as the machine bears where that is AUTO. `progress` names a bar that counts
    finished jobs, for jobs that show none of their own. One worker runs them in this process, as do processes that were
    launched together and share out each job. An error in one stops the others and is raised here, as are Ctrl-C and
    SIGTERM, as KeyboardInterrupt, once every worker has saved where it was; ProcessError where a worker was killed from
    outside.
    """
    if not jobs:
        return []
    counted = partial(bar, total=len(jobs), desc=progress, disable=progress is None)
    count = min(side_by_side(workers), len(jobs))
    if count == 1 or processes() > 1:
        return list(counted(starmap(function, jobs)))
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that start below
    context = multiprocessing.get_context("spawn")
    with (
        handling(signal.default_int_handler, signal.SIGTERM),
        ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool,
    ):
        futures = [pool.submit(_run, function, job) for job in jobs]
        try:
            for future in counted(as_completed(futures)):
                future.result()
            return [future.result() for future in futures]
        except BaseException as error:
            started = list(pool._processes.values())  # which a shutdown forgets
            pool.shutdown(wait=False, cancel_futures=True)
            while alive := [process for process in started if process.is_alive()]:
                for process in alive:
                    process.terminate()  # again each second: one may wait for a lock that another took to its end
                multiprocessing.connection.wait([process.sentinel for process in alive], timeout=1)
            if isinstance(error, BrokenProcessPool):
                raise ProcessError(
                    "a process that worked beside this one was killed (out of memory?): run the same again, training "
                    "goes on from its last checkpoint; with workers: 1 in params.yaml it takes the least memory"
                ) from error
            raise


def one_ahead(make: Callable) -> Iterator:
    """What `make` returns, again and again, each made by a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make)
        while True:
            made = coming.result()
            coming = thread.submit(make)
            yield made


def _run(function, job: tuple):
    """In a worker: the job; once it was told to stop it begins no other, though the pool may still hand it one."""
    if _stopped:
        raise KeyboardInterrupt
    try:
        return function(*job)
    except KeyboardInterrupt:
        _stopped.append(True)
        raise


def _end_with_parent() -> None:
    """In a worker: it ends with the process that started it, as nobody would hear of its result."""

    def follow() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def handling(handler: Callable[[int, Any], None], *numbers: int) -> Iterator[None]:
    """Until the block ends these signals call `handler`; outside the main thread, which alone hears them, nothing."""
    heard = numbers if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, standing in before.items():
            signal.signal(number, standing)
