"""A stopwatch of named stretches of code, for comparing them on a machine that does other things too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, process_time

import torch

WARM_UP = 2  # rounds; the first ones fill caches and are not counted


def seconds() -> float:
    """The processor's seconds, so that waiting for other programs does not count; where there is a GPU those of the
    clock on the wall, once it has done what it was told."""
    if not torch.cuda.is_available():
        return process_time()
    torch.cuda.synchronize()
    return perf_counter()


@dataclass
class Clock:
    """Seconds by name; several stretches of one name add up within a round.

    `now` tells the time.
    """

    now: Callable[[], float] = seconds
    rounds: list[dict[str, float]] = field(default_factory=list)

    def start_round(self) -> None:
        """What is timed from here on belongs to a new round."""
        self.rounds.append(defaultdict(float))

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time of the block to `name` in this round."""
        start = self.now()
        yield
        self.rounds[-1][name] += self.now() - start

    @contextmanager
    def on(self, owner: object, method: str, name: str) -> Iterator[None]:
        """Within the block each call of `owner.method` counts under `name`."""
        inner = getattr(owner, method)

        def timed(*args, **kwargs):
            with self(name):
                return inner(*args, **kwargs)

        setattr(owner, method, timed)
        try:
            yield
        finally:
            delattr(owner, method)  # the class's own shows again

    def median(self, name: str) -> float:
        """The median over the rounds after the warm-up, seconds."""
        return median(r.get(name, 0.0) for r in self.rounds[WARM_UP:])

    def ratio(self, name: str, other: str) -> float:
        """`name` over `other`: the median of each counted round's own ratio, as rounds meet the same load."""
        return median(r[name] / r[other] for r in self.rounds[WARM_UP:])
