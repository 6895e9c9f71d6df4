"""The plan for full-size runs: counts against independent ones, times against their formulas, the page against both.

`python tests/test_scaling.py` writes the page's tables anew.
"""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import scaling
from benchmarks.scaling import HALF, Machine, paper_study
from benchmarks.scaling_costs import SOURCE, Counter, costs, count, paper_setting
from uoisc.critic import PatchCritic

PAGE = Path(__file__).resolve().parent.parent / "docs/scaling.md"
GUIDE = PAGE.with_name("full_scale.md")
TABLES = re.compile(r"(<!-- tables:begin -->\n).*?(<!-- tables:end -->)", re.DOTALL)


@pytest.fixture(scope="module")
def found():
    """Costs at full size; all tests share them, as they take seconds."""
    return costs(paper_setting())


def test_the_page_holds_what_the_script_prints(found):
    assert TABLES.search(PAGE.read_text())[0].split("\n", 1)[1].rsplit("<!--", 1)[0] == scaling.tables(
        found, paper_setting(), paper_study(), Machine()
    )


def test_flops_and_bytes_of_a_layer_are_those_counted_by_hand():
    layer = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh())
    cost = count(lambda batch: layer(torch.rand(batch, 3, 8)).sum(), layer)
    assert cost.flops == 2 * (2 * 3 * 8 * 16)  # forward, and the weight's gradient; the input needs none
    assert cost.kept == 4 * 3 * (8 + 16)  # the layer's input and tanh's output, float32
    assert cost.parameters == 8 * 16


def test_flops_are_those_of_torchs_own_counter():
    critic, x = PatchCritic(8), torch.rand(2, 3, 32, 32)
    with Counter() as ours:
        critic(x).sum().backward()
    with FlopCounterMode(display=False) as theirs:
        critic(x).sum().backward()
    assert ours.flops == theirs.get_total_flops() > 0


def transformer(layers: int, tokens: int, width: int, mlp: float = 4) -> float:
    """FLOPs of a plain transformer: projections and MLP, then the two products of attention."""
    return layers * (2 * tokens * width**2 * (4 + 2 * mlp) + 4 * tokens**2 * width)


def test_flops_of_the_big_models_are_those_of_the_textbook(found):
    text = transformer(12, 77, 512)
    image = transformer(12, 485, 768) + 2 * 484 * 768 * (3 * 16**2) + 2 * 484 * 768 * 512
    assert found["CLIP, image and query"].flops == pytest.approx(image + text, rel=0.01)
    tower = transformer(24, 577, 1024) + 2 * 576 * (3 * 14**2 * 1024 + 1024 * 4096 + 4096**2)
    llama = transformer(32, 576 + 45, 4096, mlp=1.5 * 11_008 / 4096)  # three matrices in place of two
    assert found["answer, LLaVA 7B"].flops == pytest.approx(tower + llama, rel=0.01)


def test_models_have_their_published_sizes(found):
    """Millions: OpenAI's ViT-B/16 149.6 at 224 px; LLaVA 1.5 7,063; the small one 864.0, as its pinned file holds."""
    millions = {name: cost.parameters / 1e6 for name, cost in found.items()}
    assert millions["CLIP, image and query"] == pytest.approx(149.6, rel=0.01)
    assert millions["answer, LLaVA 7B"] == pytest.approx(7063, abs=1)
    assert millions["answer, LLaVA 0.5B"] == pytest.approx(864.0, abs=0.1)


def test_the_loss_costs_two_looks_and_a_way_back(found):
    """Frozen weights have no gradient: the way back costs about one look more, and attention's recomputation."""
    look = found["answer, LLaVA 0.5B"].flops
    assert 2.9 < found["intent loss, LLaVA 0.5B"].flops / look < 3.3
    assert found[SOURCE].flops == pytest.approx(look, rel=0.03) and found[SOURCE].kept == 0
    assert found["answer, LLaVA 0.5B"].kept == 0 < found["intent loss, LLaVA 0.5B"].kept


def measured() -> dict[int, tuple[float, float, float]]:
    """Batch -> seconds of phase 1 and 2, GB, of the page's first card."""
    rows = re.findall(r"(?m)^\| H200[^|]*\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text())
    return {int(batch): tuple(map(float, rest)) for batch, *rest in rows}


def test_the_assumed_share_and_launch_are_those_measured(found):
    """Of the same peak as on the plan's data sheet, batch 32; launching limits batch 1."""
    machine, rows = Machine(), measured()
    flops = [sum(found[name].flops for name in names) for names in scaling.PHASES.values()]
    shares = [32 * f / s / machine.peak for f, s in zip(flops, rows[32][:2], strict=True)]
    assert sum(shares) / 2 == pytest.approx(machine.share, abs=0.005)
    operations = [sum(found[name].operations for name in names) for names in scaling.PHASES.values()]
    for count_of, seconds in zip(operations, rows[1][:2], strict=True):
        assert seconds / count_of == pytest.approx(machine.operation, rel=0.05)
    fixed, kept = scaling.memory(found)
    assert (fixed + 32 * kept) / 1e9 == pytest.approx(rows[32][2], rel=0.05)


def test_a_step_by_hand(found):
    machine, study = Machine(), paper_study()
    one = scaling.step(found, 2, 64, study, machine)
    trained = found["codec"].parameters + found["critic"].parameters
    assert one.reducing == pytest.approx(2 * 63 / 64 * 4 * trained / machine.between)
    assert one.limit == "launching" and one.seconds == pytest.approx(one.launching + one.reducing)
    alone = scaling.step(found, 2, 1, study, machine)
    assert alone.reducing == 0 and alone.limit == "arithmetic"
    assert alone.launching == 2 * one.launching, "64 samples do not fit at once"
    slow = replace(machine, jpegs=1.0)
    assert scaling.step(found, 2, 8, study, slow).limit == "reading"
    narrow = replace(machine, between=1e8)
    assert scaling.step(found, 2, 64, study, narrow).limit == "reducing"


def test_an_answer_waits_for_the_weights_once_a_token(found):
    cost, machine, study = found["answer, LLaVA 7B"], Machine(), paper_study()
    fast = replace(machine, memory_rate=1e30)
    waits = [scaling.answer_seconds(cost, paper_setting(), study, m) for m in (machine, fast)]
    weights = HALF * cost.parameters / machine.memory_rate
    assert waits[0] - waits[1] == pytest.approx(paper_setting().answer_tokens * weights / study.answer_batch)


def test_the_guide_to_full_size_runs_quotes_the_plan():
    plan, guide = PAGE.read_text(), " ".join(GUIDE.read_text().split())
    one, eight = (re.search(rf"(?m)^\| {gpus} \|.* ([\d.]+) \| \d+% \|$", plan)[1] for gpus in (1, 8))
    study = paper_study()
    jobs = study.codecs * study.seeds
    hours, few, all_of_it = re.search(rf"(?m)^\| 1 \| 1 \| {jobs} \| (\S+) \| (\S+) \| (\S+) \|$", plan).groups()
    told = f"all {jobs} ({study.codecs} codecs, {study.seeds} seeds) {hours} GPU hours"
    assert f"one codec {one} on one GPU, {eight} on eight; {told}" in guide
    assert f"evaluating them {few} on 4,000 questions, {all_of_it} on all validation questions" in guide


def test_the_guides_batch_script_is_a_script_that_wants_a_variant(tmp_path):
    (script,) = re.findall(r"(?ms)^```bash\n(.*?)^```", GUIDE.read_text())
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert run.returncode != 0 and "usage: sbatch train.sbatch VARIANT" in run.stderr
    fakes = {"scontrol": "echo node1; echo node2", "srun": 'shift; "$@"', "accelerate": 'echo "$@"'}
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "build").mkdir()
    (tmp_path / ".venv/bin/activate").write_text("")
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2"}
    environment = os.environ | slurm | {"SLURM_NODEID": "1", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    runs = [
        subprocess.run(
            ["bash", "-c", script, "train.sbatch", "dial"],
            env=environment | {"SLURM_ARRAY_JOB_ID": job},
            capture_output=True,
            text=True,
        )
        for job in ("7", "7", "8")
    ]
    assert [bool(run.stdout) for run in runs] == [True, False, True], "once a job, and again by another one"
    run = runs[0]
    assert run.stdout.split("--mixed_precision")[0].split() == [
        *("launch", "--num_machines", "2", "--machine_rank", "1", "--num_processes", "16"),
        *("--main_process_ip", "node1", "--main_process_port", "29500"),
    ], run.stderr
    assert run.stdout.endswith("--mixed_precision bf16 -m uoisc.cli train dial --profile paper\n")


if __name__ == "__main__":
    new = scaling.tables(costs(paper_setting()), paper_setting(), paper_study(), Machine())
    PAGE.write_text(TABLES.sub(lambda match: match[1] + new + match[2], PAGE.read_text()))
