"""dvc.lock is of the code as it stands, and a touched module makes DVC run again what uses it, nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project's files as git would take them, in a folder of their own, its stages' code recorded."""
    folder = tmp_path_factory.mktemp("lock") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    for file in filter(None, listed.stdout.split("\0")):
        if (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def changed(folder: Path) -> dict[str, list[str]]:
    """Stage -> which of its dependencies that are in git, or made of what is, differ from the lock."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PYTHONPATH": str(folder), "PATH": path, "DVC_SITE_CACHE_DIR": str(folder.parent / "site")}
    environment = os.environ | own
    subprocess.run([sys.executable, "-m", "uoisc.cli", "nbsrc"], cwd=folder, env=environment, check=True)
    run = subprocess.run(["dvc", "status", "--json"], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    absent = ("deleted", "not in cache")  # what is made of data, in no clone before the pipeline has run
    found: dict[str, list[str]] = {}
    for stage, entries in json.loads(run.stdout).items():
        told = [entry if isinstance(entry, dict) else {"changed deps": {entry: "changed"}} for entry in entries]
        kinds = [entry.get(kind, {}) for entry in told for kind in ("changed deps", "changed outs")]
        if paths := [path for states in kinds for path, state in states.items() if state not in absent]:
            found[stage] = paths
    return found


@pytest.fixture(scope="module")
def standing(copy):
    """What differs before anything is touched."""
    return changed(copy)


def test_the_lock_is_of_the_code_and_the_results_in_the_tree_or_the_readme_says_that_they_are_not(standing):
    differ = dict(standing)
    differ.pop("nbsrc", None)  # depends on all code, and writes only what the others are held against
    withdrawn = "are of an earlier state of the code" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert bool(differ) == withdrawn, (
        "run `make repro`; where a change leaves every output's bytes alone, `uoisc record`"
    )


@pytest.fixture
def touched(copy, standing):
    """Adds a line to a module; the stages that `dvc status` then finds changed."""
    if standing.keys() - {"nbsrc"}:
        pytest.skip("dvc.lock is of an earlier state of the code: `dvc status` cannot tell what a touch adds")
    kept = {}

    def touch(file: str) -> set[str]:
        path = copy / file
        kept[path] = path.read_text(encoding="utf-8")
        path.write_text(kept[path] + "\n# touched\n", encoding="utf-8")
        again = {stage.partition("@")[0] for stage, about in changed(copy).items() if about != standing.get(stage)}
        return again - {"nbsrc"}

    yield touch
    for path, text in kept.items():
        path.write_text(text, encoding="utf-8")


def test_a_figure_draws_figures_again_and_trains_nothing(touched):
    assert touched("uoisc/report/curves.py") == {"figures"}


def test_a_loss_trains_codecs_again_and_no_foundation(touched):
    again = touched("uoisc/losses.py")
    assert {"phase1", "phase2", "ablations", "dials"} <= again
    assert not again & {"data", "foundation", "figures"}


def test_what_is_about_to_run_is_said_in_order_and_with_what_it_needs(copy):
    """In a clone nothing was made yet: all of the study is due, or of a stage what it needs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PYTHONPATH": str(copy), "PATH": path, "DVC_SITE_CACHE_DIR": str(copy.parent / "site")}
    run = subprocess.run(
        [sys.executable, "-m", "uoisc.cli", "plan", "evalution"],
        cwd=copy,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and run.stderr.strip() == "error: Stage 'evalution' not found inside 'dvc.yaml' file"
    for stages, due in (([], ("01_data", "02_foundation", "03 to 05", "06_evaluation")), (["foundation"], ())):
        command = [sys.executable, "-m", "uoisc.cli", "plan", *stages]
        run = subprocess.run(command, cwd=copy, env=os.environ | own, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        said = [line[:24].strip() for line in run.stdout.splitlines()[1:-2]]
        if stages:
            assert said == ["01_data", "02_foundation"]
        else:
            assert [name for name in said if name in due] == list(due) and "page" in said and "nbsrc" not in said
