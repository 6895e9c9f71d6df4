"""What a notebook needs is read off the pipeline, and made where it is missing."""

import subprocess
from dataclasses import replace

import pytest

from uoisc.base import config
from uoisc.base.errors import DataError
from uoisc.pipeline import prerequisites
from uoisc.pipeline.prerequisites import before, need


def commands(notebook: str) -> list[str]:
    return [" ".join(command) for command, _ in before(notebook, "smoke")]


def test_the_pipeline_says_what_comes_before_a_notebook():
    assert commands("01_data") == []
    assert commands("02_foundation") == ["run 01_data --profile smoke"]
    assert commands("04_phase2")[-1] == "run 03_phase1 --profile smoke --variant uoisc"
    assert commands("05_ablations") == commands("03_phase1")
    trained = commands("06_evaluation")
    others = [name for name in config.load_params("smoke").variants if name != "uoisc"]
    dials = [name for name in others if name.startswith("dial")]
    assert trained[2:4] == [f"run 0{3 + i}_phase{1 + i} --profile smoke --variant uoisc" for i in range(2)]
    one_by_one = [f"run 05_ablations --profile smoke --variant {name}" for name in others if name not in dials]
    assert trained[4:] == [*one_by_one, f"run 05_ablations --profile smoke --variant {'+'.join(dials)}"]
    assert [command.split()[1] for command in commands("07_figures_and_tables")] == [
        "06_evaluation", "08_rate", "10_standard_codecs", "09_channel"
    ]  # fmt: skip


def test_results_of_a_profile_that_is_not_published_lie_in_its_own_folder():
    results = str(config.paths("smoke").results)
    outs = [out for _, outs in before("07_figures_and_tables", "smoke") for out in outs]
    assert f"{results}/summary.csv" in outs
    assert not [out for out in outs if out.startswith("data/")], "figures are drawn from results alone"


def test_a_profile_without_a_dial_needs_none():
    dial = [command for command, _ in before("06_evaluation", "smoke") if "dial+dial_uniform" in command]
    rates = config.load_params("smoke").variants
    assert len(dial) == 1
    with pytest.MonkeyPatch.context() as patch:
        few = replace(config.load_params("smoke"), variants={"uoisc": rates["uoisc"]})
        patch.setattr(prerequisites, "load_params", lambda _: few)
        assert commands("06_evaluation")[-1] == "run 04_phase2 --profile smoke --variant uoisc"


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """An empty project with this pipeline; the commands that `need` would run, none of which makes anything."""
    (tmp_path / "dvc.yaml").write_text((prerequisites.ROOT / "dvc.yaml").read_text())
    monkeypatch.setattr(prerequisites, "ROOT", tmp_path)
    asked = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, cwd: asked.append(command[3:]) or subprocess.CompletedProcess(command, 0)
    )
    return asked


def test_only_what_is_missing_is_made(runs, tmp_path):
    (tmp_path / "data/smoke/source").mkdir(parents=True)
    need("03_phase1", "smoke")
    assert runs == [["run", "02_foundation", "--profile", "smoke"]]


def test_a_stage_of_several_variants_runs_once(runs, tmp_path):
    for place in ("source", "foundation", "codecs/phase1/uniform", "codecs/phase2/uniform"):
        (tmp_path / "data/smoke" / place).mkdir(parents=True)
    need("06_evaluation", "smoke")
    stages = [command[1] for command in runs]
    assert stages == ["03_phase1", "04_phase2", "05_ablations"]
    assert {*runs[-1][-1].split("+")} == {*config.load_params("smoke").variants} - {"uoisc", "uniform"}


def test_another_profile_is_never_made_by_the_way(runs):
    with pytest.raises(DataError, match="03_phase1 at profile small needs the stages before it: run `make repro`"):
        need("03_phase1", "small")
    assert runs == []


def test_a_stage_that_fails_is_named(runs, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, cwd: subprocess.CompletedProcess(command, 2))
    with pytest.raises(DataError, match="02_foundation needs `uoisc run 01_data --profile smoke`, which has failed"):
        need("02_foundation", "smoke")
