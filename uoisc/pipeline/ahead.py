"""Trains in one pool, however many cores there are, what DVC's stages would train two models at a time.

what `dvc repro` is about to train --> all these models side by side --> states that are kept
dvc repro                          --> each stage finds its models' training complete, and writes them
"""

from uoisc.base.config import load_params
from uoisc.base.devices import side_by_side
from uoisc.base.processes import run_side_by_side
from uoisc.base.settings import DIAL
from uoisc.pipeline.notebooks import clocked
from uoisc.pipeline.plan import TRAINING, due, trained
from uoisc.stages.train_models import train_state


def train_ahead() -> int:
    """Trains what two stages or more of the pipeline are about to train; returns how many models."""
    count = 0
    for profile, variants in trained(due()).items():
        params = load_params(profile)
        if len(variants) > 1 and side_by_side(params.workers) > 1:
            jobs = [(profile, name, rate) for name in variants for rate in params.variants[name]]
            jobs.sort(key=lambda job: job[2] != DIAL)  # the longest first
            with clocked(TRAINING, profile, variants):
                run_side_by_side(train_state, jobs, params.workers)
            count += len(jobs)
    return count
