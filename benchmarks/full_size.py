"""Prints what a training step of the paper's own setting costs, way by way: `python -m benchmarks.full_size`.

Real steps of both phases at each batch size: as before source states were kept and the LLaVA computed in its own
bfloat16, then with each of these. `--parts` prints one step of each phase part by part instead. The models have the
full size and random weights (full_models.py), whose time and memory do not depend on what they know.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from benchmarks.clock import Clock
from benchmarks.full_models import QUERY, Wide, random_clip, random_llava
from benchmarks.step import time_losses
from uoisc.base.config import Params, load_params
from uoisc.base.devices import fast_attention
from uoisc.base.errors import first_line
from uoisc.codec import Codec
from uoisc.critic import PatchCritic
from uoisc.data.questions import Batch, Query
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.kept import Folder, Kept
from uoisc.frozen.llava import FrozenLlava
from uoisc.frozen.native import compile_blocks
from uoisc.training import Bench, Log, train_phase1, train_phase2
from uoisc.variants import variant

PROFILE, VARIANT, RATE = "paper", "uoisc", "wide"
WARM_UP = 3  # steps: memory is taken, kernels are chosen, source states are kept
CODEC_PARTS = (  # of the codec, the method that is timed, and under which name
    ("vision", "text", "CLIP: taps and text"),
    ("vision", "see", "CLIP: taps and text"),
    ("projection", "forward", "projection, alignment, VQ"),
    ("alignment", "forward", "projection, alignment, VQ"),
    ("quantizer", "forward", "projection, alignment, VQ"),
    ("decoder", "forward", "decoder"),
)


class Models(NamedTuple):
    """What a step asks, under `Bench`'s names."""

    params: Params
    clip: FrozenCLIP
    llava: FrozenLlava


class Meter(Clock):
    """Seconds and peak memory of named parts, in the order in which they first ran; parts of one name add up.

    On a CPU these are the processor's seconds, so that waiting for other programs does not count.
    """

    def __init__(self, device: torch.device):
        super().__init__(perf_counter if device.type == "cuda" else process_time)
        self.device = device
        self.peak: dict[str, int] = {}
        self.start_round()

    @property
    def seconds(self) -> dict[str, float]:
        """By part."""
        return self.rounds[0]

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the block and takes the most memory that the process, or the GPU, held in it, bytes."""
        self._reset()
        with super().__call__(name):
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        self.peak[name] = max(self.peak.get(name, 0), self._peak())

    def _reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        status = Path("/proc/self/status")
        if status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the whole run

    def show(self, title: str) -> None:
        """One line a part."""
        print(f"{title:<34}{'seconds':>9}{'peak GB':>9}")
        for name, seconds in self.seconds.items():
            print(f"{name:<34}{seconds:9.2f}{self.peak[name] / 1e9:9.2f}")
        print(f"{'in all':<34}{sum(self.seconds.values()):9.2f}{max(self.peak.values()) / 1e9:9.2f}\n")


def step(meter: Meter, bench: Models, codec: Codec, x: Tensor, optimiser, critic: PatchCritic | None) -> None:
    """One step, part by part."""
    queries = [QUERY] * len(x)
    with ExitStack() as timed:
        for part, method, name in CODEC_PARTS:
            timed.enter_context(meter.on(getattr(codec, part), method, name))
        out = codec(x, queries)
    time_losses(meter, bench, x, queries, out, optimiser, critic)


def print_parts(models: Models, where: torch.device, batch: int) -> None:
    """Both phases' tables: one step each, after a first one that fills caches."""
    params, size = models.params, models.params.data.image_size
    codec = variant(VARIANT).build(models.clip, params, RATE).to(where).train()
    critic = PatchCritic(params.training.critic_channels).to(where)
    own = [p for p in codec.parameters() if p.requires_grad]
    x = torch.rand(batch, 3, size, size, device=where)
    optimiser = torch.optim.Adam(own, lr=params.training.learning_rate, betas=(0.5, 0.999), fused=True)
    with fast_attention() if where.type == "cpu" else nullcontext():
        step(Meter(where), models, codec, x, optimiser, critic)
        for phase in (1, 2):
            meter = Meter(where)
            step(meter, models, codec, x, optimiser, critic if phase == 2 else None)
            meter.show(f"one step of phase {phase}, batch {batch}")


@dataclass(frozen=True)
class Noise:
    """A `questions.Source` of the same random images with questions of several lengths, whatever the step."""

    image_size: int
    splits: ClassVar[tuple[str, ...]] = ()
    beyond: ClassVar[tuple[str, ...]] = ()

    def batches(self, stream, size: int, held_out: str, start: int = 0, share: slice = slice(None)) -> Iterator[Batch]:
        """The same batch again and again, its rows named."""
        images, words = torch.rand(size, 3, self.image_size, self.image_size), QUERY.split()
        queries = [Query(i, "", " ".join(words[: 4 + i % 8]), "", "") for i in range(size)]
        while True:
            yield Batch(images, queries, tuple(map(str, range(size))))

    def ask_split(self, split: str, held_out: str, n: int, stream: list[int]):
        """Nobody asks."""

    def regions(self, queries, side: int) -> None:
        """Nobody knows them."""


def time_steps(models: Models, where: torch.device, batch: int, rounds: int) -> list[tuple[float, float]]:
    """Of the real loop of phase 1, then 2: the median step's seconds, and the most memory held, GB."""
    steps, found = WARM_UP + rounds, []
    settings = {"batch_size": batch, "accumulation": 1, "phase1_steps": steps, "phase2_steps": steps, "of": {}}
    params = replace(models.params, training=replace(models.params.training, **settings))
    bench = Bench(params, Noise(params.data.image_size), models.clip, models.llava)
    codec = variant(VARIANT).build(models.clip, params, RATE).to(where).train()

    def timed(numbers: range, label: str) -> Iterator[int]:
        for number in numbers:
            if number == WARM_UP:
                meter.start_round()
            with meter(str(number)):
                yield number

    for train in (train_phase1, train_phase2):
        meter = Meter(where)
        with fast_attention() if where.type == "cpu" else nullcontext():
            train(codec, variant(VARIANT), bench, Log(every=1), timed)
        last = meter.rounds[-1]
        found.append((statistics.median(last.values()), max(meter.peak[name] for name in last) / 1e9))
    return found


def print_steps(params: Params, clip: FrozenCLIP, where: torch.device, asked: argparse.Namespace) -> None:
    """One row a batch size and way."""
    dtype = torch.bfloat16 if asked.bfloat16 or where.type == "cuda" else torch.float32
    heads = ("phase 1, s", "phase 2, s", "peak 1, GB", "peak 2, GB", "images/s")
    print(f"batch  {'way':<28}" + "".join(f"{head:>11}" for head in heads))
    ways = {"as before": (Wide, False, False), "own bfloat16": (FrozenLlava, False, False)}
    ways["own bfloat16, states kept"] = (FrozenLlava, True, False)
    if asked.compile:
        ways["the same, compiled"] = (FrozenLlava, True, True)
    for way, (kind, keeps, compiled) in ways.items():
        llava = random_llava(dtype, where, kind)
        if compiled:
            compile_blocks(llava.model.model)
        for batch in asked.batches:
            with tempfile.TemporaryDirectory() as folder:
                llava.kept = Kept(Folder(Path(folder), {}) if keeps else None)
                clip.kept = Kept()
                try:
                    cells = time_steps(Models(params, clip, llava), where, batch, asked.rounds)
                    (one, peak), (two, peak_two) = cells
                    shown = f"{one:11.3f}{two:11.3f}{peak:11.1f}{peak_two:11.1f}{batch / one:11.1f}"
                except Exception as error:  # out of memory, or a compiler's: the other rows still come
                    shown = f"  {first_line(error)[:80]}"
            print(f"{batch:5d}  {way:<28}{shown}", flush=True)
        del llava
        gc.collect()
        if where.type == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    """Prints the table, or with `--parts` both phases' parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, help="cpu (one thread) or cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 32], help="images a step")
    parser.add_argument("--rounds", type=int, default=7, help="steps that are timed; their median is printed")
    parser.add_argument("--bfloat16", action="store_true", help="the LLaVA's weights in bfloat16, as on a GPU")
    parser.add_argument("--compile", action="store_true", help="a further way: the LLaVA's blocks compiled")
    parser.add_argument("--parts", action="store_true", help="one step of each phase, part by part")
    asked = parser.parse_args()
    where = torch.device(asked.device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    params = load_params(PROFILE)
    low = asked.bfloat16 or where.type == "cuda"
    clip, llava = random_clip(params).to(where), random_llava(torch.bfloat16 if low else torch.float32, where)
    codec = variant(VARIANT).build(clip, params, RATE)
    for name, model in (("CLIP", clip), ("LLaVA", llava), ("codec", codec)):
        parts = [p for p in model.parameters() if name != "codec" or p.requires_grad]
        print(f"{name}: {sum(p.numel() for p in parts) / 1e6:,.1f} million parameters")
    card = torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu, one thread"
    print(f"torch {torch.__version__}, {card}, LLaVA in {'bf' if low else 'float'}{16 if low else 32}; "
          f"intent loss over {llava.image_tokens} image tokens\n")  # fmt: skip
    if asked.parts:
        for batch in asked.batches:
            print_parts(Models(params, clip, llava), where, batch)
        return
    del llava, codec
    print_steps(params, clip, where, asked)


if __name__ == "__main__":
    main()
