"""Opens what the pipeline has made, and trains a variant's models side by side.

One process a model, one thread each: on two busy cores faster than one model on two threads, and the same
seed gives the same weights.
"""

from __future__ import annotations

import csv
import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from uoisc.calibration import calibrate
from uoisc.checkpoint import load_codec, save_codec
from uoisc.clip import FrozenCLIP, load_clip
from uoisc.codec import Codec
from uoisc.config import DIAL, Params, load_params, paths
from uoisc.distributed import device, rank, synchronised, wait
from uoisc.errors import ConfigError, choices
from uoisc.llava import FrozenLlava, load_llava
from uoisc.pretrained import open_pretrained
from uoisc.processes import fast_attention, run_side_by_side, settle
from uoisc.questions import Source
from uoisc.resuming import Keeper, alone, run_label
from uoisc.settings import Pretrained
from uoisc.sources import open_source
from uoisc.terminal import bar
from uoisc.training import Bench, Log, train_phase1, train_phase2
from uoisc.variants import variant

JUDGES = ("llava", "llava_independent")  # the first one's view is a loss, the second never meets a codec in training


class Point(NamedTuple):
    """One point of the rate axis: a variant's model, and for a rate dial the budget that it is set to."""

    variant: str
    rate: str
    bits: int | float | None


def points(params: Params) -> list[Point]:
    """Every rate point of every variant that the profile trains."""
    return [
        Point(name, rate, bits)
        for name, rates in params.variants.items()
        for rate in rates
        for bits in (params.codec.dial.budgets if rate == DIAL else [None])
    ]


def check_rate(params: Params, name: str, rate: str) -> None:
    """Raises ConfigError for an unknown variant, or a rate that it does not have."""
    known = [DIAL] if variant(name).dial else list(params.codec.rates)
    if rate not in known:
        raise ConfigError(f"{name} has no rate {rate!r}: {choices(rate, known)}")


@dataclass(frozen=True)
class Study:
    """A profile, opened: parameters, the source of questions (None where none is asked), the frozen CLIP and the judges
    by name."""

    profile: str
    params: Params
    source: Source | None
    clip: FrozenCLIP
    judges: dict[str, FrozenLlava]

    def build(self, name: str, rate: str) -> Codec:
        """An untrained codec of that variant. Raises ConfigError for an unknown variant or rate."""
        check_rate(self.params, name, rate)
        return synchronised(variant(name).build(self.clip, self.params, rate).to(device()))

    def codec(self, name: str, rate: str, bits: int | float | None = None, phase: int = 2) -> Codec:
        """A trained codec, its rate dial set to at most `bits` where it has one and they are given.

        Raises CheckpointError where there is none, ConfigError where the bits are too few.
        """
        path = paths(self.profile).codec(phase, name, rate)
        codec = load_codec(self.build(name, rate), path, name, rate, self.params)
        return codec if bits is None else codec.at(bits)


@lru_cache(maxsize=2)
def open_study(profile: str, judges: tuple[str, ...] = JUDGES) -> Study:
    """Everything that is frozen. Raises ConfigError, DataError or CheckpointError with what to run."""
    return assemble(profile, load_params(profile), judges)


@lru_cache(maxsize=2)
def open_codecs(profile: str, judges: tuple[str, ...] = ()) -> Study:
    """As `open_study`, without the source of questions: what sending and drawing a user's images takes."""
    return _frozen(profile, load_params(profile), judges, None)


def assemble(profile: str, params: Params, judges: tuple[str, ...]) -> Study:
    """The profile's frozen models and questions under these parameters."""
    return _frozen(profile, params, judges, open_source(profile, params))


def _frozen(profile: str, params: Params, judges: tuple[str, ...], source: Source | None) -> Study:
    settle(params.deterministic)
    clip, answering = open_foundation(profile, params, judges)
    answering = {name: judge.to(device()) for name, judge in answering.items()}
    return Study(profile, params, source, clip.to(device()), answering)


def open_foundation(profile: str, params: Params, judges: tuple[str, ...]) -> tuple[FrozenCLIP, dict[str, FrozenLlava]]:
    """CLIP and the judges: the stand-ins that the foundation stage trained, or others' checkpoints."""
    if isinstance(params.foundation, Pretrained):
        return open_pretrained(params.foundation, params.codec.taps, params.data.image_size, judges, device().type)
    folder = paths(profile).foundation
    clip = load_clip(str(folder / "clip"), None, params.codec.taps)
    return clip, {name: load_llava(str(folder / name)) for name in judges}


def train_variant(profile: str, names: str, phases: tuple[int, ...] = (1, 2)) -> list[Path]:
    """Trains a variant, or several whose names are joined by +, at all rates, `workers` models at a time.

    Returns the checkpoints of the last phase. Raises ConfigError for an unknown variant, before any work.
    """
    params, wanted = load_params(profile), names.split("+")
    for name in wanted:
        variant(name)
        if name not in params.variants:
            raise ConfigError(f"profile {profile} trains no {name}: name it under variants in params.yaml")
    if not set(phases) <= {1, 2}:
        raise ConfigError(f"phases {list(phases)}: there are 1 and 2")
    jobs = [(profile, name, rate, phases) for name in wanted for rate in params.variants[name]]
    trained = run_side_by_side(train_model, jobs, params.workers)
    if rank() == 0:  # only now: of a stage that is stopped, DVC takes away the models that were finished as well
        for _, name, rate, _ in jobs:
            for phase in phases:
                paths(profile).unfinished(phase, name, rate).unlink(missing_ok=True)
    return trained


def train_model(profile: str, name: str, rate: str, phases: tuple[int, ...]) -> Path:
    """Trains one model through the given phases; a phase 2 alone goes on from phase 1's checkpoint.

    What an interrupted run left is gone on from; where that was complete, nothing is trained again. Raises ProcessError
    where another process trains it.
    """
    study = open_study(profile, judges=("llava",))
    with alone(paths(profile).lock(name, rate)) if rank() == 0 else nullcontext():
        codec = untrained(study, name, rate) if 1 in phases else study.codec(name, rate, phase=1)
        for phase in phases:
            log = fit(study, codec, name, rate, phase, keeper(study, name, rate, phase))
            path = paths(profile).codec(phase, name, rate)
            if rank() == 0:
                save_codec(codec, path, name, rate, study.params)
                write_log(log, path.with_suffix(".csv"))
            wait()
    return path


def keeper(study: Study, name: str, rate: str, phase: int) -> Keeper:
    """Where an interrupted phase of a model is kept."""
    label = run_label(study.params, variant=name, rate=rate, phase=phase)
    return Keeper(paths(study.profile).unfinished(phase, name, rate), label, study.params.training.save_every)


def untrained(study: Study, name: str, rate: str) -> Codec:
    """A codec as training starts it: the same seed gives the same weights."""
    torch.manual_seed(study.params.seed)
    return study.build(name, rate)


def fit(study: Study, codec: Codec, name: str, rate: str, phase: int, kept: Keeper | None = None) -> Log:
    """Trains a codec in place through one phase, from where `kept` left off; returns the phase's log."""
    params = study.params
    torch.manual_seed(params.seed + phase)  # phase 2 draws the same whether or not phase 1 ran before it here
    bench = Bench(params, study.source, study.clip, study.judges["llava"])
    log = Log(params.training.log_every)
    train = {1: train_phase1, 2: train_phase2}[phase]
    with fast_attention():
        train(codec, variant(name), bench, log, partial(steps_bar, f"{name} {rate}"), kept)
    if phase == 2 and variant(name).ranked:
        calibrate(codec, bench, name)
    return log


def steps_bar(model: str, steps: range, label: str):
    """A progress bar, which starts where the steps start."""
    return bar(steps, desc=f"{model} {label}", initial=steps.start, total=steps.stop)


def write_log(log: Log, path: Path) -> None:
    """The loss terms as a tidy CSV, six significant digits."""
    columns = list(dict.fromkeys(key for row in log.rows for key in row))
    aside = path.with_suffix(".tmp")
    with aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in log.rows)
    os.replace(aside, path)
