"""One model on many processes: who takes which rows, and what is summed over all.

    accelerate launch -m uoisc.cli train ...   -->   N processes, each sees rows `share(B)` of every batch

Started without a launcher there is one process, and everything here is the identity. Hugging Face Accelerate starts
the process group, picks the device, averages gradients and accumulates them.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor

from uoisc.base.errors import ConfigError


def processes() -> int:
    """How many processes were launched together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this is; the first one, 0, writes files."""
    return int(os.environ.get("RANK", 0))


def accelerator(accumulation: int = 1):
    """Accelerate's handle on devices and processes; `accumulation` micro-batches make a step."""
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # Not every variant's every parameter takes part in every step; and no buffer changes but by what all have seen.
    settings = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    cpu = device().type == "cpu"  # said, as Accelerate otherwise takes launched CPU processes for single ones
    return Accelerator(cpu=cpu, gradient_accumulation_steps=accumulation, kwargs_handlers=[settings])


def device() -> torch.device:
    """Where models run: this process's GPU where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def synchronised(module: torch.nn.Module) -> torch.nn.Module:
    """The module, its batch norms over the rows of all processes (torch has none such for CPUs: there over its own)."""
    if processes() > 1 and device().type == "cuda":
        return torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module


def share(rows: int, parts: int = 1) -> slice:
    """Which rows of a batch this process takes, in so many micro-batches. Raises ConfigError for uneven shares."""
    if rows % (processes() * parts):
        wants = f"a multiple of the {processes()} processes launched times training.accumulation = {parts}"
        raise ConfigError(f"training.batch_size = {rows}: must be {wants}")
    own = rows // processes()
    return slice(rank() * own, (rank() + 1) * own)


def total(values: Tensor) -> Tensor:
    """The sum over all processes; no gradient passes."""
    if processes() > 1:
        values = values.detach().clone()
        torch.distributed.all_reduce(values)
    return values


def mean_over(summed: Tensor, counted: Tensor) -> Tensor:
    """summed / counted over all processes' rows, once processes are averaged: each sum is divided by the mean count."""
    return summed / (total(counted) / processes()).clamp(min=1)


def gathered(values: Tensor, dim: int) -> Tensor:
    """Every process's values, joined along `dim` in the order of the batch's rows; no gradient passes."""
    if processes() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(processes())]
    torch.distributed.all_gather(parts, values.detach().contiguous())
    return torch.cat(parts, dim)


def average_gradients(module: torch.nn.Module) -> None:
    """Gradients become their mean over processes, for a module that Accelerate does not wrap."""
    for parameter in module.parameters() if processes() > 1 else ():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes()


def spread(function: Callable, parts: list) -> list:
    """`function(part)` for every part, shared out over processes; all of them get all results, in order."""
    own = [(index, function(part)) for index, part in list(enumerate(parts))[rank() :: processes()]]
    if processes() > 1:
        accelerator()  # the process group
        everyone: list = [None] * processes()
        torch.distributed.all_gather_object(everyone, own)
        own = [pair for theirs in everyone for pair in theirs]
    return [result for _, result in sorted(own, key=lambda pair: pair[0])]


def wait() -> None:
    """Returns when all processes have come here."""
    if processes() > 1:
        accelerator().wait_for_everyone()
