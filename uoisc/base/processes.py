"""Several one-thread processes side by side: on two busy cores faster than one of two threads."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from uoisc.base.distributed import processes
from uoisc.base.errors import ProcessError
from uoisc.base.terminal import bar

_stopped: list[bool] = []  # in a worker: that it was told to


def run_side_by_side(function, jobs: list[tuple], workers: int, progress: str | None = None) -> list:
    """`function(*job)` for every job, in one-thread processes; results in the jobs' order.

    `progress` names a bar that counts finished jobs, for jobs that show none of their own.

    One worker runs them in this process, without the seconds that a new one takes to start; so do processes that were
    launched together, as they share out each job. An error in one stops the others and is raised here. So do Ctrl-C
    and SIGTERM, which raise KeyboardInterrupt once every worker has saved where it was.

    Raises ProcessError where a worker was killed from outside.
    """
    if not jobs:
        return []
    counter = bar(total=len(jobs), desc=progress, disable=progress is None)
    if min(workers, len(jobs)) == 1 or processes() > 1:
        return [_counted(function(*job), counter) for job in jobs]
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that start below
    context = multiprocessing.get_context("spawn")
    with (
        _sigterm_as_interrupt(),
        ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent) as pool,
    ):
        futures = [pool.submit(_run, function, job) for job in jobs]
        try:
            return [_counted(future.result(), counter) for future in futures]
        except BaseException as error:
            started = list(pool._processes.values())  # which a shutdown forgets
            pool.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.terminate()
            for process in started:
                process.join()
            if isinstance(error, BrokenProcessPool):
                raise ProcessError(
                    "a process that worked beside this one was killed (out of memory?): run the same again, training "
                    "goes on from its last checkpoint; with workers: 1 in params.yaml it takes half the memory"
                ) from error
            raise


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
    """In a worker: it ends with the process that started it. Nobody would hear of its result, and a new run would
    write the same files."""

    def follow() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _sigterm_as_interrupt():
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that workers are told too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _counted(result, counter):
    counter.update()
    return result
