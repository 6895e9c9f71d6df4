"""Plans training and evaluation at the paper's own size: memory, time a step, what limits it, hours on 1 to 64 GPUs.

`python -m benchmarks.scaling` prints the tables of docs/scaling.md. What a sample costs is counted
(`scaling_costs.py`). Of `Machine`, `share` and `operation` were measured on one GPU, all else is an assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scaling_costs import SOURCE, Cost, Setting, costs, paper_setting
from benchmarks.shapes import TEXT
from uoisc.base.config import load_params
from uoisc.claims.verdicts import ENOUGH

COUNTS = (1, 4, 8, 64)  # GPUs
DEPTHS = 4  # of LLaVA, whose states the intent loss compares
HALF, ADAM = 2, 16  # bytes a frozen weight (bfloat16); a trained one with gradient and both moments (float32)

PHASES = {  # what a step of each phase runs
    1: ("CLIP, image and query", "codec", "perceptual loss", "intent loss, LLaVA 0.5B"),
    2: ("CLIP, image and query", "codec", "perceptual loss", "intent loss, LLaVA 0.5B", "critic"),
}
TRAINED = ("codec", "critic")
JUDGES = ("answer, LLaVA 0.5B", "answer, LLaVA 7B")


@dataclass(frozen=True)
class Machine:
    """The data sheet of an 80 GB accelerator, and what was reached of the same peak on an H200 (docs/scaling.md)."""

    peak: float = 989e12  # FLOP/s, bfloat16, dense
    share: float = 0.25  # of the peak, once a batch fills the device; measured: .26 in phase 1, .23 in phase 2
    operation: float = 19e-6  # s, the host's time to launch one operation from Python; measured at batch 1
    memory: float = 80e9  # bytes
    usable: float = 0.9  # of the memory
    memory_rate: float = 3.35e12  # bytes/s: decoding an answer reads all weights once a token
    node: int = 8  # GPUs
    inside: float = 300e9  # bytes/s of an all-reduce in a node
    between: float = 40e9  # bytes/s of an all-reduce between nodes, a GPU
    cores: int = 12  # for reading data, a GPU
    jpegs: float = 150.0  # images/s a core: read, decode, resize (199 without reading: 640 x 480, 82 kB, one Xeon core)


@dataclass(frozen=True)
class Study:
    """How much is trained and asked (`paper_study`)."""

    samples: int  # a phase
    batch: int  # in all, whatever the number of GPUs, so that training is the same
    codecs: int  # variants and rates
    questions: int  # of both splits
    questions_trained: int
    seeds: int = ENOUGH  # fewer give no verdict
    all_questions: int = 214_354  # of VQAv2's validation set
    answer_batch: int = 32


def paper_study() -> Study:
    """The study that the profile `paper` describes."""
    p = load_params("paper")
    t, codecs = p.training, sum(len(rates) for rates in p.variants.values())
    return Study(t.phase1_steps * t.batch_size, t.batch_size, codecs, 2 * p.evaluation.queries, p.data.questions)


@dataclass(frozen=True)
class Step:
    """Seconds of one training step on so many GPUs: arithmetic or launching, whichever is longer, or waiting for
    images where these take longer still; then the all-reduce, none of which is hidden (the worst case)."""

    arithmetic: float
    launching: float
    reading: float
    reducing: float

    @property
    def seconds(self) -> float:
        return max(self.arithmetic, self.launching, self.reading) + self.reducing

    @property
    def limit(self) -> str:
        """What takes longest."""
        return max(("arithmetic", "launching", "reading", "reducing"), key=lambda part: getattr(self, part))


def step(found: dict[str, Cost], phase: int, gpus: int, study: Study, machine: Machine) -> Step:
    """One step of a phase, the study's batch spread over the GPUs."""
    parts, batch = [found[name] for name in PHASES[phase]], study.batch / gpus
    passes = math.ceil(batch / held(found, machine))  # gradients are summed over them
    gradient = 4 * sum(found[name].parameters for name in PHASES[phase] if name in TRAINED)  # bytes, float32
    rate = machine.inside if gpus <= machine.node else machine.between
    return Step(
        arithmetic=batch * sum(part.flops for part in parts) / (machine.peak * machine.share),
        launching=passes * machine.operation * sum(part.operations for part in parts),
        reading=batch / (machine.cores * machine.jpegs),
        reducing=2 * (gpus - 1) / gpus * gradient / rate,
    )


def memory(found: dict[str, Cost]) -> tuple[int, int]:
    """Bytes that phase 2 needs on a GPU whatever the batch, and bytes a sample."""
    parts = [(found[name], ADAM if name in TRAINED else HALF) for name in PHASES[2]]
    return sum(own * cost.parameters for cost, own in parts), sum(cost.kept for cost, _ in parts)


def held(found: dict[str, Cost], machine: Machine) -> int:
    """How many samples a GPU holds in phase 2."""
    fixed, kept = memory(found)
    return int((machine.usable * machine.memory - fixed) // kept)


def training_hours(found: dict[str, Cost], gpus: int, study: Study, machine: Machine) -> float:
    """Both phases of one codec."""
    steps = math.ceil(study.samples / study.batch)
    return steps * sum(step(found, phase, gpus, study, machine).seconds for phase in PHASES) / 3600


def answer_seconds(cost: Cost, setting: Setting, study: Study, machine: Machine) -> float:
    """One answer on one GPU: arithmetic, and reading all weights once for every token of a batch's answers."""
    weights = HALF * cost.parameters * setting.answer_tokens / machine.memory_rate / study.answer_batch
    return cost.flops / (machine.peak * machine.share) + weights


def evaluation_hours(found: dict[str, Cost], questions: int, setting: Setting, study: Study, machine: Machine) -> float:
    """One codec on one GPU: for every question both judges see the reconstruction and that for another query."""
    judges = sum(answer_seconds(found[name], setting, study, machine) for name in JUDGES)
    codec = sum(found[name].flops for name in ("CLIP, image and query", "codec")) / (machine.peak * machine.share)
    return 2 * questions * (judges + codec) / 3600


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def cost_table(found: dict[str, Cost]) -> str:
    """Parts of a step: what a sample costs, and what lies in a GPU's memory."""
    rows = []
    for name, cost in found.items():
        own = ADAM if name in TRAINED else HALF
        runs = [names + (SOURCE,) for names in PHASES.values()] + [JUDGES]
        flops = [f"{cost.flops / 1e9:,.0f}" if name in names else "" for names in runs]
        rows.append([name, f"{cost.parameters / 1e6:,.1f}", *flops, f"{cost.operations:,}",
                     f"{own * cost.parameters / 1e9:.2f}", f"{cost.kept / 1e6:,.0f}"])  # fmt: skip
    sums = [f"**{sum(found[name].flops for name in PHASES[phase]) / 1e9:,.0f}**" for phase in PHASES]
    rows.append(["**a step**", "", *sums, "", "", "", ""])
    return table(["part", "million weights", "phase 1, GFLOP a sample", "phase 2", "evaluation, an answer",
                  "operations", "GB of weights", "MB kept a sample"], rows)  # fmt: skip


def memory_line(found: dict[str, Cost], machine: Machine) -> str:
    """How many samples one GPU holds in phase 2."""
    fixed, kept = memory(found)
    return (
        f"Phase 2 keeps {fixed / 1e9:.1f} GB whatever the batch and {kept / 1e9:.2f} GB a sample: "
        f"{machine.memory / 1e9:.0f} GB hold {held(found, machine)} samples.\n"
    )


def kept_line(found: dict[str, Cost], setting: Setting, study: Study) -> str:
    """What it saves, and takes on disk, to keep LLaVA's states of the sources."""
    whole = sum(found[name].flops for name in PHASES[1])
    size = DEPTHS * setting.prompt_tokens * TEXT["hidden_size"] * HALF * study.questions_trained
    return (
        f"Keeping the source's states saves {found[SOURCE].flops / whole:.0%} of phase 1's FLOPs and takes "
        f"{size / 1e9:.1f} GB for {study.questions_trained:,} questions.\n"
    )


def step_table(found: dict[str, Cost], study: Study, machine: Machine) -> str:
    """One codec on more and more GPUs."""
    rows, alone = [], training_hours(found, 1, study, machine)
    for gpus in COUNTS:
        one, hours = step(found, 2, gpus, study, machine), training_hours(found, gpus, study, machine)
        times = [one.arithmetic, one.launching, one.reading, one.reducing, one.seconds]
        needed = study.batch / one.seconds
        batch = study.batch // gpus
        passes = math.ceil(batch / held(found, machine))
        shown = f"{passes} x {batch // passes}" if passes > 1 else f"{batch}"
        rows.append([f"{gpus}", shown, *(f"{1000 * t:,.1f}" for t in times), one.limit,
                     f"{needed:,.0f}", f"{hours:.1f}", f"{alone / hours / gpus:.0%}"])  # fmt: skip
    return table(["GPUs", "batch a GPU", "arithmetic, ms", "launching", "reading", "all-reduce", "step of phase 2",
                  "limit", "JPEG/s in all", "hours, both phases", "efficiency"], rows)  # fmt: skip


def study_table(found: dict[str, Cost], setting: Setting, study: Study, machine: Machine) -> str:
    """All codecs and seeds: independent jobs, each on one GPU or on a node."""
    rows, jobs = [], study.codecs * study.seeds
    small, full = (evaluation_hours(found, n, setting, study, machine) for n in (study.questions, study.all_questions))
    for gpus in COUNTS:
        for each in sorted({1, min(gpus, machine.node)}):
            rounds = math.ceil(jobs / (gpus // each))
            hours = [rounds * training_hours(found, each, study, machine), *(rounds * h / each for h in (small, full))]
            rows.append([f"{gpus}", f"{each}", f"{rounds}", *(f"{h:,.1f}" for h in hours)])
    return table(["GPUs", "a job", "rounds", "hours of training", f"evaluation, {study.questions:,} questions",
                  f"evaluation, {study.all_questions:,} questions"], rows)  # fmt: skip


def tables(found: dict[str, Cost], setting: Setting, study: Study, machine: Machine) -> str:
    """What docs/scaling.md holds between its markers; `found` are the costs of this setting."""
    return "\n".join([
        cost_table(found), memory_line(found, machine), kept_line(found, setting, study),
        step_table(found, study, machine), study_table(found, setting, study, machine),
    ])  # fmt: skip


if __name__ == "__main__":
    setting = paper_setting()
    print(tables(costs(setting), setting, paper_study(), Machine()), end="")
