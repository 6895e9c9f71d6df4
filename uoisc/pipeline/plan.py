"""What `dvc repro` is about to run, and about how many minutes that takes on this machine.

    dvc.yaml, dvc.lock, the tree ----------------> pieces of work that are due
    build/executed/PROFILE/, this machine's own --+
    results/minutes.json, another machine's ------+--> minutes of each

Another machine's are scaled by the time of one piece of training here and there. What was timed nowhere has no minutes.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from uoisc.base.config import ROOT, Params, load_params, paths
from uoisc.base.devices import precision, settle, side_by_side
from uoisc.base.distributed import device
from uoisc.base.errors import ConfigError, first_line
from uoisc.base.results import missing, read_json, write_json
from uoisc.pipeline.closures import write_closures
from uoisc.pipeline.notebooks import EXECUTED
from uoisc.stages.machine import described, records

RUNS = re.compile(r"uoisc (?:run )?(\w+)(?: --profile (\S+))?(?: --variant (\S+))?")  # commands of dvc.yaml
TRAINING = "03 to 05"  # all models in one pool, which the stages then find trained (`ahead.py`)
PER_MODEL = (TRAINING, "06_evaluation", "08_rate")  # what takes longer, the more models there are
AT_ONCE = ("06_evaluation", "10_standard_codecs")  # beside training: what keeps every process busy
KEPT = "minutes.json"  # among results


@dataclass(frozen=True)
class Timed:
    """What a piece of work took: seconds, of how many models, with how many processes side by side."""

    seconds: float
    models: int
    processes: int

    def again(self, piece: str, models: int, processes: int) -> float:
        """Seconds of the same for so many models and processes."""
        if piece == TRAINING:  # a model is one process's: the last ones leave some idle
            return self.seconds / ceil(self.models / self.processes) * ceil(models / processes)
        seconds = self.seconds * (models / self.models if piece in PER_MODEL else 1)
        return seconds * (self.processes / processes if piece in AT_ONCE else 1)


def due(stages: Sequence[str] = ()) -> list[str]:
    """Commands that `dvc repro` would run for these stages, or for all, as dvc.yaml orders them: of those that changed,
    and of all that follow from them. Raises ConfigError for a stage that is not there."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    write_closures()
    with Repo(".") as repo:
        for stage in repo.index.stages:  # as the closures: what a stage looks at is made before it is held against
            if stage.cmd and not RUNS.match(stage.cmd) and not all(out.exists for out in stage.outs):
                subprocess.run(stage.cmd, shell=True)
        graph, differs = repo.index.graph, repo.status()  # the graph leads from a stage to those that it needs
        try:
            wanted = {stage for name in stages for stage in repo.stage.collect(name)} or set(graph)
        except DvcException as error:
            raise ConfigError(first_line(error)) from None
        needed = _reached(wanted, graph.successors)
        follows = _reached({stage for stage in graph if stage.addressing in differs}, graph.predecessors)
        return [stage.cmd for stage in graph if stage in needed & follows and RUNS.match(stage.cmd)]


def _reached(start: set, beside: Callable) -> set:
    """What can be come to from `start`, itself included, going `beside` each."""
    found = set(start)
    ahead = list(start)
    while ahead:
        new = set(beside(ahead.pop())) - found
        found |= new
        ahead += new
    return found


def trained(commands: Sequence[str]) -> dict[str, list[str]]:
    """Profile -> variants that commands train."""
    found: dict[str, list[str]] = {}
    for command in commands:
        _, profile, variants = RUNS.match(command).groups()
        if variants:
            found.setdefault(profile, []).extend(variants.split("+"))
    return {profile: list(dict.fromkeys(names)) for profile, names in found.items()}


def pieces(commands: Sequence[str], profile: str, params: Params) -> dict[str, int]:
    """The work that commands are about for a profile, by name and in order, and how many models each piece is of."""
    found: dict[str, int] = {}
    for command in commands:
        piece, own, variants = RUNS.match(command).groups()
        if own in (None, profile) and piece not in ("nbsrc", "paper"):  # which take seconds
            names = trained(commands)[profile] if variants else params.variants
            found[TRAINING if variants else piece] = sum(len(params.variants[name]) for name in names)
    return found


def expected(profile: str, params: Params, work: Iterable[str]) -> tuple[dict[str, Timed], str]:
    """What pieces of work take here, those that were timed anywhere, and where this is known from: from this machine's
    last run, or from results/minutes.json at this machine's speed. Raises: ResultsError where that file is broken."""
    here = timed(EXECUTED / profile)
    path = ROOT / "results" / KEPT
    if here.keys() >= set(work):
        return here, "as each took here when it last ran"
    kept = read_json(path.parent, KEPT) if path.is_file() else {}
    try:
        if not kept or size(load_params(kept["profile"])) != size(params):
            return here, f"?: not timed here, nor in results/{KEPT} at this size of study"
        slower = kept["piece_of_training"]
        there = {name: Timed(**one) for name, one in kept["pieces"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise missing(path, f"is not what `uoisc plan --keep` writes ({first_line(error)})") from None
    slower = piece_of_training() / slower
    scaled = {name: replace(one, seconds=one.seconds * slower) for name, one in there.items()}
    where = f"results/{KEPT} ({kept['device']}, {kept['precision']})"
    return scaled | here, f"not timed here: as in {where}, times {slower:.2f} for a piece of training; ?: nowhere"


def timed(runs: Path) -> dict[str, Timed]:
    """What this machine's last run of a profile took, by piece; training with the stages that write its models."""
    noted = {name: one for name, one in records(runs).items() if "models" in one}
    found = {name: Timed(one["seconds"], one["models"], one["processes"]) for name, one in noted.items()}
    training = [found.pop(name) for name in sorted(found) if name[:2] in ("03", "04", "05")]  # the pool comes first
    if training:
        models = noted[TRAINING]["models"] if TRAINING in noted else sum(one.models for one in training)
        found[TRAINING] = replace(training[0], seconds=sum(one.seconds for one in training), models=models)
    return found


def size(params: Params) -> tuple:
    """What decides how long a study takes, beside its models."""
    steps = (getattr(params.training, name) for name in ("batch_size", "phase1_steps", "phase2_steps"))
    return (type(params.data), params.data.image_size, *steps, params.evaluation.queries)


def plan(profile: str, stages: Sequence[str] = ()) -> list[str]:
    """A line for each piece of work that is due, with its models and minutes, one for all, and where this is from."""
    params = load_params(profile)
    work = pieces(due(stages), profile, params)
    processes = side_by_side(params.workers)
    if not work:
        return ["nothing is to be run: all is as code and parameters make it"]
    known, source = expected(profile, params, work)
    seconds = {piece: known[piece].again(piece, n, processes) for piece, n in work.items() if piece in known}
    rows = [(piece, n if piece in PER_MODEL else "", seconds.get(piece)) for piece, n in work.items()]
    rows.append(("all" if len(seconds) in (0, len(work)) else "all but ?", "", sum(seconds.values()) or None))
    width = max(map(len, work)) + 2
    lines = [f"{piece:<{width}}{n:>6}{'?' if s is None else f'{s / 60:.1f}':>9}" for piece, n, s in rows]
    return [f"{'to be run':<{width}}{'models':>6}{'minutes':>9}", *lines, source]


def keep(profile: str) -> Path:
    """Writes results/minutes.json: what each piece of this machine's last run of a profile took."""
    path = paths(profile).results / KEPT
    took = timed(EXECUTED / profile)
    kept = {"profile": profile, **described(), "piece_of_training": piece_of_training()}
    write_json(kept | {"pieces": {name: asdict(one) for name, one in took.items()}}, path)
    return path


def piece_of_training() -> float:
    """Seconds of a fixed piece of training in one process, the best of three: convolutions and matrices of a codec's
    sizes in the precision that models train in."""
    settle(deterministic=False)
    where = device()
    best = float("inf")
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 64, 3, padding=1), nn.GELU(), nn.Flatten(2)]
    model = nn.Sequential(*layers, nn.Linear(96 * 96, 128)).to(where)
    images = torch.rand(16, 3, 96, 96, device=where)
    for _ in range(3):
        start = perf_counter()
        for _ in range(4):
            with precision(where):
                loss = model(images).square().mean()
            loss.backward()
        loss.item()  # waits for a GPU
        best = min(best, perf_counter() - start)
    return best
