"""What a phase of training changes, kept every few steps: an interrupted run goes on as if nothing had happened.

    keeper.resume(running)      at the start: everything back as it was, or step 0
    keeper.over(bar, running)   the steps; saves every `every` ones, at the last one, and when it is asked to stop

Ctrl-C and SIGTERM are heard at the end of a step. Whatever else ends the process costs the steps since the last save.
The data's position is the step itself (`Source.batches`).
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from uoisc.base.config import Params
from uoisc.base.distributed import device, rank, total
from uoisc.base.errors import CheckpointError, ProcessError, first_line
from uoisc.base.folders import is_there, short, unwritable
from uoisc.base.processes import handling
from uoisc.base.storage import code_digest, digest_of, read_tensors, save_tensors


@dataclass
class Running:
    """Everything that a phase's steps change."""

    codec: nn.Module  # a `Codec`: tells its own weights from those of the frozen CLIP in it
    log: object  # `training.Log`: rows, and the sums since the last one
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    critic: nn.Module | None = None
    critic_optimiser: torch.optim.Optimizer | None = None
    generator: torch.Generator | None = None

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """As tensors, and as JSON values for what is no tensor."""
        tensors = {f"codec.{key}": value for key, value in self.codec.own_state().items()}
        values = {"log": asdict(self.log), "schedule": self.schedule.state_dict()}
        for name, optimiser in self._optimisers().items():
            state = optimiser.state_dict()
            for index, entry in state["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in entry.items()}
            values[name] = state["param_groups"]
        if self.critic is not None:
            tensors |= {f"critic.{key}": value for key, value in self.critic.state_dict().items()}
            tensors["random.critic"] = self.generator.get_state()
        tensors["random"] = torch.get_rng_state()
        return tensors, values

    def restore(self, tensors: dict[str, Tensor], values: dict) -> None:
        """Inverse of `state`. Raises RuntimeError or KeyError where it does not fit."""
        self.codec.load_own_state(_under("codec.", tensors))
        for name, optimiser in self._optimisers().items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(f"{name}.", tensors).items():
                index, _, entry = key.partition(".")
                state.setdefault(int(index), {})[entry] = value
            optimiser.load_state_dict({"state": state, "param_groups": values[name]})
        self.schedule.load_state_dict(values["schedule"])
        for key, value in values["log"].items():
            setattr(self.log, key, value)
        if self.critic is not None:
            self.critic.load_state_dict(_under("critic.", tensors))
            self.generator.set_state(tensors["random.critic"])
        torch.set_rng_state(tensors["random"])

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        named = {"optimiser": self.optimiser, "critic_optimiser": self.critic_optimiser}
        return {name: optimiser for name, optimiser in named.items() if optimiser is not None}


@dataclass
class Keeper:
    """Where a phase's state is kept, and how often."""

    path: Path | None = None  # None: nowhere
    label: dict | None = None  # whose state it is; a file of another one is refused
    every: int = 1  # steps from one save to the next

    def resume(self, running: Running) -> int:
        """Restores what was kept; returns the step to go on from. Raises CheckpointError: damaged, another run's."""
        if self.path is None or not is_there(self.path, CheckpointError):
            return 0
        remedy = "delete it to begin this model anew"
        tensors, label = read_tensors(self.path, remedy)
        if label.get("run") != self.label:
            of = "an interrupted run of other parameters, code or foundation than are here"
            raise CheckpointError(f"{short(self.path)}: {of}; restore them to go on with it, or {remedy}")
        try:
            running.restore({key: value.to(_place(key)) for key, value in tensors.items()}, label["values"])
        except (RuntimeError, ValueError, KeyError) as error:
            says = f"does not fit this program ({first_line(error)}); {remedy}"
            raise CheckpointError(f"{short(self.path)}: {says}") from error
        return label["step"]

    def save(self, running: Running, step: int) -> None:
        """Keeps the state after so many steps, in the place of the one before."""
        if self.path is not None and rank() == 0:
            tensors, values = running.state()
            save_tensors(tensors, self.path, {"run": self.label, "step": step, "values": values})

    def over(self, steps: Iterable[int], running: Running, last: int) -> Iterator[int]:
        """The steps, saved on the way. Raises KeyboardInterrupt after the save that a signal asks for."""
        heard: list[bool] = []
        with handling(lambda *_: heard.append(True), signal.SIGINT, signal.SIGTERM):
            for step in steps:
                yield step
                stop = bool(total(torch.tensor(float(any(heard)), device=device())))
                if stop or (step + 1) % self.every == 0 or step + 1 == last:
                    self.save(running, step + 1)
                if stop:
                    raise KeyboardInterrupt


@contextmanager
def alone(lock: Path):
    """Until the block or this process ends no other trains the model that `lock` stands for.

    Raises ProcessError where one does, CheckpointError where nothing can be written.
    """
    held = FileLock(lock, timeout=0)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        what = f"{lock.parent.name} at {lock.stem}"
        raise ProcessError(f"{what} is being trained by another process: wait for it, or stop it") from None
    except OSError as error:
        raise unwritable(lock, error, CheckpointError) from error
    try:
        yield
    finally:
        held.release()


def run_label(params: Params, **names) -> dict:
    """Whose state it is: names, and digests of all parameters and of the code that training depends on."""
    values = asdict(params)
    sections = ("seed", "data", "foundation", "codec", "training")
    parameters = digest_of({section: values[section] for section in sections})[:16]
    return names | {"parameters": parameters, "code": code_digest()[:16]}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _place(key: str) -> torch.device:
    """States of random generators stay on the CPU."""
    return torch.device("cpu") if key.startswith("random") else device()
