"""How processes side by side end."""

import os
import signal
import subprocess
import sys
import time
from itertools import count, islice
from pathlib import Path

import pytest

from uoisc.base.errors import ProcessError
from uoisc.base.processes import handling, one_ahead, run_side_by_side

HERE = Path(__file__).parent


def work(folder: Path, name: str, how: str) -> str:
    """A job that says that it runs, and then works until it is stopped, fails, or is killed from outside."""
    heard = []
    with handling(lambda *_: heard.append(True), signal.SIGINT, signal.SIGTERM):
        (folder / name).write_text(str(os.getpid()))  # from here on it may be stopped
        if how == "done":
            return name
        if how == "fails":
            until(lambda: (folder / "works").exists())
            raise ValueError(f"{name} failed")
        if how == "killed":
            until(lambda: (folder / "works").exists())
            os.kill(os.getpid(), signal.SIGKILL)
        until(lambda: heard)
        (folder / f"{name}.saved").write_text("")
        raise KeyboardInterrupt


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pids(folder: Path) -> list[int]:
    """Of the jobs that have written theirs down."""
    return [int(text) for file in folder.iterdir() if file.suffix == "" and (text := file.read_text())]


def test_no_job_is_no_process():
    assert run_side_by_side(work, [], 2) == []


def test_results_come_in_the_jobs_order(tmp_path):
    assert run_side_by_side(work, [(tmp_path, name, "done") for name in "cab"], 2) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [("fails", ValueError, "one failed"), ("killed", ProcessError, "run the same again")],
)
def test_the_end_of_one_stops_the_others(tmp_path, how, error, message):
    """It is raised here; who worked beside it has saved and is gone, and no third job was begun."""
    jobs = [(tmp_path, "one", how), (tmp_path, "works", "on"), (tmp_path, "third", "on")]
    with pytest.raises(error, match=message):
        run_side_by_side(work, jobs, 2)
    assert not [pid for pid in pids(tmp_path) if alive(pid)]
    assert (tmp_path / "works.saved").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc who is alive")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_the_parent_alone_ends_the_workers_too(tmp_path, number):
    """What can be heard is passed on: they save. After SIGKILL they end at once, so that no two runs write one file."""
    script = (
        "from pathlib import Path; from test_processes import run_side_by_side, work; "
        f"jobs = [(Path({str(tmp_path)!r}), name, 'on') for name in ('a', 'b', 'c')]; run_side_by_side(work, jobs, 2)"
    )
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts background jobs, and so perhaps this test, with Ctrl-C switched off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until(lambda: len(pids(tmp_path)) == 2)
    started = pids(tmp_path)
    parent.send_signal(number)
    told = parent.communicate(timeout=60)[1]
    until(lambda: not any(map(alive, started)), 20)
    saved = {file.name for file in tmp_path.iterdir()} - {"a", "b"}
    if number == signal.SIGKILL:
        assert saved == set()
    else:
        assert saved == {"a.saved", "b.saved"} and told.strip().splitlines()[-1] == "KeyboardInterrupt"


def test_items_are_made_in_order_one_ahead_and_no_further():
    made, numbers = [], count()
    items = one_ahead(lambda: made.append(n := next(numbers)) or n)
    for n in range(3):
        assert next(items) == n
        until(lambda n=n: made == [*range(n + 2)])
    items.close()
    assert made == [*range(4)]


def test_an_item_that_cannot_be_made_is_told_where_it_is_wanted():
    numbers = count()
    items = one_ahead(lambda: 1 // (2 - next(numbers)))
    assert [*islice(items, 2)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_an_error_is_raised_before_longer_jobs_are_done():
    began = time.monotonic()
    with pytest.raises(ValueError, match="must be non-negative"):
        run_side_by_side(time.sleep, [(60,), (-1,)], 2)
    assert time.monotonic() - began < 50
