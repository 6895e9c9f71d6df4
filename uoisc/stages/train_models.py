"""Trains variants' models side by side, one process and one thread each.

On two busy cores that is faster than one model on two threads, and the same seed gives the same weights.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch

from uoisc.base.checkpoint import save_codec
from uoisc.base.config import Params, load_params, paths
from uoisc.base.devices import fast_attention
from uoisc.base.distributed import rank, wait
from uoisc.base.errors import CheckpointError, ConfigError
from uoisc.base.folders import check_writable, is_there, written_aside
from uoisc.base.processes import run_side_by_side
from uoisc.base.resuming import Keeper, alone, run_label
from uoisc.base.settings import JUDGES
from uoisc.base.storage import read_label
from uoisc.base.terminal import bar, say
from uoisc.calibration import calibrate
from uoisc.codec import Codec
from uoisc.frozen import published
from uoisc.frozen.native import compile_blocks
from uoisc.quantization import code_use
from uoisc.rate import RateDial
from uoisc.study import Study, open_study
from uoisc.training import Bench, Log, train_phase1, train_phase2
from uoisc.variants import variant

LOOKED_AT = 8  # batches behind phase 2's own
COLLAPSED = 1.1  # perplexity, below which their indices are alike


def train_variant(profile: str, names: str, phases: tuple[int, ...] = (1, 2)) -> list[Path]:
    """Trains a variant, or several whose names are joined by +, at all rates, `workers` models at a time.

    Returns the checkpoints of the last phase. Raises ConfigError for an unknown variant, before any work.
    """
    params = load_params(profile)
    phases = in_order(phases)
    jobs = []
    for name in dict.fromkeys(names.split("+")):
        variant(name)
        if name not in params.variants:
            raise ConfigError(f"profile {profile} trains no {name}: name it under variants in params.yaml")
        jobs += [(profile, name, rate, phases) for rate in dict.fromkeys(params.variants[name])]
    where = paths(profile)
    check_writable(where.codecs, where.unfinished_work)
    here = all(is_whole(params, *job) for job in jobs)  # then no process has anything to do for long
    trained = run_side_by_side(train_model, jobs, 1 if here else params.workers)
    if rank() == 0:  # only now: of a stage that is stopped, DVC takes away the models that were finished as well
        for _, name, rate, _ in jobs:
            for phase in phases:
                where.unfinished(phase, name, rate).unlink(missing_ok=True)
    return trained


def is_whole(params: Params, profile: str, name: str, rate: str, phases: tuple[int, ...]) -> bool:
    """Whether a model's training lies there complete, and nothing is to be measured of it (`train_ahead`)."""
    last = paths(profile).unfinished(phases[-1], name, rate)
    kind = variant(name)
    cfg = params.of(name).training
    steps = cfg.phase2_steps if phases[-1] == 2 else params.codec.dial.steps if kind.dial else cfg.phase1_steps
    return not kind.ranked and last.is_file() and read_label(last, "delete it").get("step") == steps


def in_order(phases: tuple[int, ...]) -> tuple[int, ...]:
    """Phases in the order in which they are trained, once each. Raises ConfigError where one is neither 1 nor 2."""
    if not phases or not set(phases) <= {1, 2}:
        raise ConfigError(f"phases {list(phases)}: there are 1 and 2")
    return tuple(sorted(set(phases)))


def train_model(profile: str, name: str, rate: str, phases: tuple[int, ...]) -> Path:
    """Trains one model through the given phases; a phase 2 alone goes on from phase 1's checkpoint.

    What an interrupted run left is gone on from; where that was complete, nothing is trained again. Raises ProcessError
    where another process trains it, CheckpointError for a phase 1 of other parameters or models.
    """
    study = own_study(profile)
    phases = in_order(phases)
    if study.params.compiled:
        compile_blocks(study.judges[JUDGES[0]].model.model)
    with alone(paths(profile).lock(name, rate)) if rank() == 0 else nullcontext():
        for phase, codec, log, made_from in trained_phases(study, name, rate, phases):
            measure(study, codec, name, phase)
            path = paths(profile).codec(phase, name, rate)
            if rank() == 0:
                save_codec(codec, path, name, rate, study.params, made_from)
                with written_aside(path.with_suffix(".csv")) as aside:
                    pd.DataFrame(log.rows).to_csv(aside, index=False, float_format="%.6g", lineterminator="\r\n")
            wait()
    return path


def train_state(profile: str, name: str, rate: str) -> None:
    """As `train_model` through both phases, up to the kept states that `train_model` then finds complete."""
    with alone(paths(profile).lock(name, rate)):
        for _ in trained_phases(own_study(profile), name, rate, (1, 2)):
            pass


def own_study(profile: str) -> Study:
    """What codecs are trained on, whose work on training images is kept for the next one.

    Raises CheckpointError where no foundation is trained here: none takes the published one, which is rounded.
    """
    if published.is_packed(profile) and not is_there(paths(profile).foundation, CheckpointError):
        again = f"uoisc run 02_foundation --profile {profile}"
        raise CheckpointError(f"nothing of {profile} is trained here: run `make repro`, or `{again}` first")
    study = open_study(profile, judges=JUDGES[:1])
    study.keep_source_work()
    return study


def trained_phases(study: Study, name: str, rate: str, phases: tuple[int, ...]) -> Iterator[tuple]:
    """After each phase: its number, the codec, the phase's log, and what the codec is made from."""
    codec = untrained(study, name, rate) if 1 in phases else study.codec(name, rate, phase=1)
    for phase in phases:
        made_from = study.made_from(name, phase)
        label = run_label(params := study.params.of(name), variant=name, rate=rate, phase=phase, made_from=made_from)
        unfinished = paths(study.profile).unfinished(phase, name, rate)
        keeper = Keeper(unfinished, label, params.training.save_every)
        yield phase, codec, train_phase(study, codec, name, rate, phase, keeper), made_from


def untrained(study: Study, name: str, rate: str) -> Codec:
    """A codec as training starts it: the same seed gives the same weights."""
    torch.manual_seed(study.params.seed)
    return study.build(name, rate)


def fit(study: Study, codec: Codec, name: str, rate: str, phase: int) -> Log:
    """Trains a codec in place through one phase, kept nowhere, and measures it; returns the phase's log."""
    log = train_phase(study, codec, name, rate, phase)
    measure(study, codec, name, phase)
    return log


def train_phase(study: Study, codec: Codec, name: str, rate: str, phase: int, kept: Keeper | None = None) -> Log:
    """Trains a codec in place through one phase, from where `kept` left off; returns the phase's log."""
    params = study.params.of(name)
    torch.manual_seed(params.seed + phase)  # phase 2 draws the same whether or not phase 1 ran before it here
    log = Log(params.training.log_every)
    train = {1: train_phase1, 2: train_phase2}[phase]
    with fast_attention():
        train(codec, variant(name), bench(study, name), log, partial(steps_bar, f"{name} {rate}"), kept)
    return log


def measure(study: Study, codec: Codec, name: str, phase: int) -> None:
    """Behind its last phase a rate dial is measured, and a line says which segments of a codec say nothing."""
    if phase == 2:
        if variant(name).ranked:
            calibrate(codec, bench(study, name), name)
        if rank() == 0 and (dead := collapsed(codec, bench(study, name))):
            where = ", ".join(f"tap {tap} segment {segment}" for tap, segment in dead)
            say(f"{name} at {codec.bits:g} bits: nearly all vectors took one code in {where}", sys.stderr)


def collapsed(codec: Codec, bench: Bench) -> list[tuple[int, int]]:
    """Taps and segments whose indices are nearly all alike on training images: their bits say nothing."""
    p = bench.params
    sends = codec.at(codec.bits) if isinstance(codec.rate, RateDial) else codec
    batches = bench.source.batches([p.seed, 2], p.training.batch_size, p.data.held_out, p.training.phase2_steps)
    messages = [sends.encode(batch.images, batch.texts).cpu() for batch in islice(batches, LOOKED_AT)]
    return [(tap, segment) for tap, segment, used, _ in code_use(messages, codec.quantizer.codes) if used < COLLAPSED]


def bench(study: Study, name: str) -> Bench:
    """What training that variant takes of a study."""
    return Bench(study.params.of(name), study.source, study.clip, study.judges[JUDGES[0]])


def steps_bar(model: str, steps: range, label: str):
    """A progress bar, which starts where the steps start."""
    return bar(steps, desc=f"{model} {label}", initial=steps.start, total=steps.stop)
