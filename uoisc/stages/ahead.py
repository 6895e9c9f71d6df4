"""Trains in one pool, however many cores there are, what DVC's stages would train two models at a time.

dvc repro --dry --> stages that are about to train --> all their models side by side --> states that are kept
dvc repro       --> each of these stages finds its models' training complete, and writes them
"""

import re
import subprocess
import sys
from time import monotonic

from uoisc.base.config import load_params
from uoisc.base.devices import side_by_side
from uoisc.base.processes import run_side_by_side
from uoisc.base.settings import DIAL
from uoisc.stages.machine import note
from uoisc.stages.notebooks import EXECUTED
from uoisc.stages.train_models import train_state

TRAINS = re.compile(r"^> uoisc run 0[345]_\w+ --profile (\S+) --variant (\S+)$", re.M)
DRY = ("-m", "dvc", "repro", "--dry", "--keep-going")  # what waits for a stage that has not run is passed over


def train_ahead() -> int:
    """Trains what two stages or more of the pipeline are about to train; returns how many models."""
    said = subprocess.run([sys.executable, *DRY], capture_output=True, text=True).stdout
    count = 0
    for profile, variants in due(said).items():
        params = load_params(profile)
        if len(variants) > 1 and side_by_side(params.workers) > 1:
            jobs = [(profile, name, rate) for name in variants for rate in params.variants[name]]
            jobs.sort(key=lambda job: job[2] != DIAL)  # the longest first
            start = monotonic()
            run_side_by_side(train_state, jobs, params.workers)
            note(EXECUTED / profile / "03 to 05 ahead", monotonic() - start)
            count += len(jobs)
    return count


def due(said: str) -> dict[str, list[str]]:
    """Profile -> variants that are about to be trained, by what `dvc repro --dry` has said."""
    found: dict[str, list[str]] = {}
    for profile, variants in TRAINS.findall(said):
        found.setdefault(profile, []).extend(variants.split("+"))
    return {profile: list(dict.fromkeys(names)) for profile, names in found.items()}
