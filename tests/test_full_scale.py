"""The paper's own setting, tiny: photographs with VQA v2's files, CLIP and two LLaVAs in the published formats, through
the commands that a user runs, in one process and in two.

Two processes compute what one does, but sum in another order; so the losses are compared in float32, where nothing is
near a rounding. torch's launcher stands for `accelerate launch`, which sets the same variables.
"""

import csv
import json
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import pandas as pd
import pytest
import tiny
import workplace

VARIANTS = ("uoisc", "query_aware", "no_alignment", "no_alignment_no_llava", "adaptive")
FLOAT32 = """
import contextlib, sys
from uoisc.base import devices
devices.precision = lambda where: contextlib.nullcontext()
from uoisc.stages.train_models import train_variant
train_variant("tiny", sys.argv[1])
"""
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where everything has run once, in one process."""
    base = tmp_path_factory.mktemp("full_scale")
    data = replace(tiny.vqav2(base / "vqav2", images=48), loaders=1)
    models = tiny.pretrained(base)
    training = replace(tiny.PARAMS.training, phase1_steps=6, phase2_steps=4, intent_step=2, save_every=2)
    params = replace(
        tiny.PARAMS, data=data, foundation=models, variants={name: ("low",) for name in VARIANTS}, training=training,
        evaluation=replace(tiny.PARAMS.evaluation, queries=14, batch_size=4),
    )  # fmt: skip
    place = workplace.make(base / "place", params)
    (place / "float32.py").write_text(FLOAT32)
    workplace.run(
        place, "-c", "from uoisc.stages.preparation import prepare_data; "
        "from uoisc.stages.foundation_jobs import train_foundation; "
        "prepare_data('tiny'); print(train_foundation('tiny'))",
    )  # fmt: skip
    workplace.run(place, "float32.py", "+".join(VARIANTS))
    workplace.run(place, "-m", "uoisc.cli", "evaluate", "--profile", "tiny")
    return place


def copy_of(place, target, *left_out: str):
    shutil.copytree(place, target, ignore=shutil.ignore_patterns(*left_out, "__pycache__"))
    return target


def log(place, phase: int, name: str) -> list[dict[str, float]]:
    text = (place / f"data/tiny/codecs/phase{phase}/{name}/low.csv").read_text()
    return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(text.splitlines())]


def results(place):
    return place / "build/tiny/results"


def test_every_stage_runs_from_the_official_files_to_the_tables(place):
    answers = pd.read_parquet(results(place) / "answers.parquet")
    assert set(answers["variant"]) == {*VARIANTS, "adaptive_random", "adaptive_oracle"} and set(answers["split"]) == {
        "seen",
        "unseen",
    }
    assert (answers.groupby(["variant", "split", "judge"]).size() == 14).all()
    assert answers["vqa_accuracy"].between(0, 1).all() and set(answers["type"]) == {"yes/no", "number", "other"}
    summary = pd.read_csv(results(place) / "summary.csv")
    beside = {"long_answers", "vqa_accuracy_source", "vqa_accuracy_original"}
    assert {"amr", "amr_floor", "vqa_accuracy", *beside} <= set(summary["metric"])
    checks = pd.read_csv(results(place) / "foundation.csv")
    assert set(checks["model"]) == {"clip", "llava", "llava_independent"} and (checks["n"] > 1).all()
    located = {"localisation_chance", "localisation_top1:query_key", "localisation_top1:value_value"}
    assert located <= set(checks["metric"])
    examples = json.loads((results(place) / "examples.json").read_text())
    assert len(examples["rows"]) == 5 and len(examples["scene_texts"]["queries"]) == 2


def test_two_processes_follow_one(place, tmp_path):
    """Phase 2's critic is far from converged and its gradient penalty near 10: a relative bound serves all terms."""
    two = copy_of(place, tmp_path / "two", "codecs", "build")
    names = ("uoisc", "adaptive")  # query_aware has batch norms, which torch sums over processes on GPUs alone
    workplace.run(two, *LAUNCH, "float32.py", "+".join(names))
    for phase in (1, 2):
        for name in names:
            for ours, theirs in zip(log(two, phase, name), log(place, phase, name), strict=True):
                assert ours == pytest.approx(theirs, rel=1e-3, abs=2e-5), (name, phase, ours["step"])


def test_evaluation_shared_out_gives_the_same_tables(place, tmp_path):
    """Four batches a split, the last of two queries: unequal shares. Every table is the same to the byte."""
    two = copy_of(place, tmp_path / "two", "build")
    workplace.run(two, *LAUNCH, "-m", "uoisc.cli", "evaluate", "--profile", "tiny")
    tables = sorted(file.name for file in results(place).iterdir())
    assert len(tables) > 8 and tables == sorted(file.name for file in results(two).iterdir())
    for name in tables:
        assert (results(two) / name).read_bytes() == (results(place) / name).read_bytes(), name


def test_a_batch_that_cannot_be_shared_out_is_one_line(place, tmp_path):
    two = copy_of(place, tmp_path / "odd", "codecs", "build")
    odd = re.sub(r"batch_size: 4(\s+accumulation)", r"batch_size: 3\1", (two / "params.yaml").read_text())
    (two / "params.yaml").write_text(odd)
    done = workplace.run(two, *LAUNCH, "-m", "uoisc.cli", "train", "uoisc", "--profile", "tiny", check=False)
    assert done.returncode and "error: training.batch_size = 3: must be a multiple of the 2 processes" in done.stderr


def test_dvc_goes_on_from_the_checkpoint_after_a_kill(place, tmp_path):
    """DVC empties a stage's outputs before it runs it again; what training goes on from lies elsewhere."""
    copy = copy_of(place, tmp_path / "killed", "codecs", "build")
    params = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(params.replace("phase1_steps: 6", "phase1_steps: 60"))
    whole = copy_of(copy, tmp_path / "whole")
    stage = "stages:\n  train:\n    cmd: python -m uoisc.cli train uoisc --profile tiny\n    outs: [data/tiny/codecs]\n"
    (copy / "dvc.yaml").write_text(stage)
    workplace.run(copy, "-m", "dvc", "init", "--no-scm", "-q")
    kept = copy / "data/tiny/unfinished/phase1/uoisc/low.safetensors"
    began = subprocess.Popen(
        ["python", "-m", "dvc", "repro"], cwd=copy, env=workplace.environment(copy), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not kept.exists():
        assert began.poll() is None and time.monotonic() < deadline, "training saved nothing"
        time.sleep(0.01)
    workplace.kill_group(began, signal.SIGKILL)
    assert kept.exists() and not (copy / "data/tiny/codecs/phase2").exists()
    again = workplace.run(copy, "-m", "dvc", "repro", TQDM_DISABLE="", UOISC_BARS="1")
    steps = [int(step) for step in re.findall(r"phase 1: .*?(\d+)/60 ", again.stderr)]
    assert steps[0] > 0 and steps[-1] == 60, "it goes on from there"
    assert not kept.exists()
    workplace.run(whole, "-m", "uoisc.cli", "train", "uoisc", "--profile", "tiny")
    for phase in (1, 2):
        path = f"data/tiny/codecs/phase{phase}/uoisc/low.safetensors"
        assert (copy / path).read_bytes() == (whole / path).read_bytes()
