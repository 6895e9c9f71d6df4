"""Everything that wants a GPU, in one go of some minutes: `python -m benchmarks.gpu FOLDER`.

    tests of the borders | data, then stand-ins of `small`     side by side
    a step at full size, batch by batch                        alone
    two variants of `small`, all rates side by side            alone
    their evaluation                                           alone

Each part is a process of its own, stopped where its time or that of the whole is up; what it printed lies in FOLDER.
Neither DVC nor papermill nor typst is needed. The table says how long each part took and how it ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import monotonic

VARIANTS = "uoisc+adaptive"
DATA = "from uoisc.stages.preparation import prepare_data; prepare_data({0!r})"
STAND_INS = (
    "from uoisc.stages.foundation_jobs import train_foundation; print(train_foundation({0!r}).to_string(index=False))"
)
WATCH = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader", "-l", "2")
END = 20  # seconds kept for the table, and for a stopped part to end
QUIET = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "UOISC_BARS": "1", "TQDM_MININTERVAL": "10"}


@dataclass(frozen=True)
class Part:
    """A process: its name, what Python is given, and the seconds that it may take at most."""

    name: str
    command: tuple[str, ...]
    limit: int


def plan(profile: str) -> list[list[Part]]:
    """Groups of parts, one group after the other; `Session.group` says how each runs."""
    border = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_gpu.py")
    tests, data = Part("tests", border, 240), Part("data", ("-c", DATA.format(profile)), 60)
    return [
        [tests, data, Part("stand-ins", ("-c", STAND_INS.format(profile)), 340)],
        [Part("full size", ("-m", "benchmarks.full_size", "--batches", "1", "16", "32"), 200)],
        [Part("variants", ("-m", "uoisc.cli", "train", VARIANTS, "--profile", profile), 240)],
        [Part("evaluation", ("-m", "uoisc.cli", "evaluate", "--profile", profile, "--variants", VARIANTS), 120)],
    ]


class Session:
    """Runs parts until its time is up.

    Args:
        folder: takes what they print. seconds: for all.
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder = folder
        self.end = monotonic() + seconds - END
        self.rows: list[tuple[str, float, str]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, part: Part) -> None:
        """Runs one part, or says that there was no time."""
        limit, start = min(part.limit, self.end - monotonic()), monotonic()
        if limit < 5:
            self.rows.append((part.name, 0.0, "no time left"))
            return
        with self.log(part.name).open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *part.command], stdout=log, stderr=subprocess.STDOUT, env=QUIET | os.environ
            )
            try:
                ended = f"exit code {process.wait(limit)}"
            except subprocess.TimeoutExpired:
                process.terminate()  # training saves, and stops its workers
                ended = f"stopped after {limit:.0f} s"
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.rows.append((part.name, monotonic() - start, ended))
        print(f"{part.name}: {self.rows[-1][1]:.0f} s, {ended}", flush=True)

    def log(self, name: str) -> Path:
        """Where a part's output goes."""
        return self.folder / f"{name.replace(' ', '_')}.log"

    def group(self, parts: list[Part]) -> None:
        """Runs the first part beside the others, which take turns."""
        first, *others = parts
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(self.run, first)
            for part in others:
                self.run(part)
            waiting.result()

    def show(self) -> None:
        """The table, and the end of what each part printed."""
        for name, _, _ in self.rows:
            if self.log(name).exists():
                text = self.log(name).read_text(errors="replace").replace("\r", "\n")
                print(f"\n== {name}\n" + "\n".join(text.splitlines()[-LINES.get(name, 12) :]))
        print(f"\n{'part':<12}{'seconds':>9}  ended")
        for name, seconds, ended in self.rows:
            print(f"{name:<12}{seconds:>9.0f}  {ended}")


LINES = {"tests": 60, "full size": 60, "stand-ins": 30, "evaluation": 20}


def main() -> None:
    """Runs the parts that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="takes what each part prints")
    parser.add_argument("--profile", default="small")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--leave-out", nargs="*", default=[], help="names of parts")
    asked = parser.parse_args()
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")), flush=True)
    session = Session(asked.folder, 60 * asked.minutes)
    try:
        watch = subprocess.Popen(WATCH, stdout=session.log("gpu").open("w"), stderr=subprocess.DEVNULL)
    except OSError:
        watch = None
        print("no nvidia-smi here: nothing says how busy the GPU is")
    for parts in plan(asked.profile):
        if wanted := [part for part in parts if part.name not in asked.leave_out]:
            session.group(wanted)
    if watch is not None:
        watch.terminate()
    session.show()


if __name__ == "__main__":
    main()
