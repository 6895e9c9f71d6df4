"""Trains a tiny codec again and again, each time killed (SIGKILL) at a random moment, until it was killed often enough,
in both phases, and is done; prints one JSON line. Run by test_resuming.py in a process of its own:

    python tests/kill_and_resume.py VARIANT RATE KILLS FOLDER

Every attempt is a fork of this process, which has imported everything but has not trained: so an attempt starts in
milliseconds and dies as a process of its own.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import tiny
import torch

from uoisc.base.config import Paths
from uoisc.stages import train_models

training = replace(tiny.PARAMS.training, phase1_steps=24, phase2_steps=16, intent_step=8, save_every=2)
dial = replace(tiny.PARAMS.codec.dial, steps=24)
EACH = 3  # kills in each phase, at least
PARAMS = replace(tiny.PARAMS, training=training, codec=replace(tiny.PARAMS.codec, dial=dial))


def attempt(name: str, rate: str, folder: Path) -> int:
    """Starts training in a fork; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress bars
        torch.set_num_threads(1)
        study = replace(tiny.study(), params=PARAMS)
        train_models.open_study = lambda profile, judges: study
        train_models.paths = lambda profile: Paths(folder, folder, folder / "codecs", folder, folder)
        train_models.train_model("tiny", name, rate, (1, 2))
        os._exit(0)
    except BaseException as error:
        print(json.dumps({"error": repr(error)}), flush=True)
        os._exit(1)


def weights(folder: Path) -> dict[str, str]:
    """A digest of every file that training leaves."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*")) if p.is_file()
    }  # fmt: skip


def main(name: str, rate: str, kills: int, folder: Path) -> None:
    tiny.study()
    began = time.monotonic()
    _, status = os.waitpid(attempt(name, rate, folder / "whole"), 0)
    assert status == 0, "the uninterrupted run failed"
    whole = time.monotonic() - began
    random.seed(0)
    killed, resumed_from, ends = 0, Counter(), []
    run, before = folder / "killed", []
    while True:
        enough = killed >= kills and min(resumed_from["phase1"], resumed_from["phase2"]) >= EACH
        # an eighth of the whole run an attempt on average, so that kills fall all over both phases
        child, limit = attempt(name, rate, run), float("inf") if enough else random.uniform(0.0, whole / 4)
        deadline = time.monotonic() + limit
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            kept = sorted(run.rglob("unfinished/*/*/*.safetensors"))
            resumed_from[kept[-1].parts[-3] if kept else "start"] += 1
            now = [(path, path.stat().st_mtime_ns) for path in kept]
            whole, before = whole * (1.2 if now == before else 1), now  # a machine that has become busier needs longer
            continue
        assert done[1] == 0, "a resumed run failed"
        ends.append(weights(run))
        if enough:
            break
        shutil.rmtree(run)  # done before it was killed often enough: once more from the start
    same = all(end == weights(folder / "whole") for end in ends)
    print(json.dumps({"killed": killed, "runs": len(ends), "same": same, "resumed_from": resumed_from,
                      "files": sorted(ends[0])}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
