"""Notebooks as stages, and the house's rules for the notebooks themselves."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import run_notebooks
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from uoisc.base.config import PARAMS, document
from uoisc.base.errors import ConfigError, DataError, UoiscError
from uoisc.pipeline import notebooks
from uoisc.pipeline.notebooks import NotebookError

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project in a temporary folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "uoisc").mkdir()
    return tmp_path


def write(name: str, *cells: str, parameters: str = 'profile = "smoke"') -> Path:
    """A notebook with a `parameters` cell and the given code cells."""
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    path = Path("notebooks") / f"{name}.ipynb"
    notebook = new_notebook(cells=[new_markdown_cell("# title"), first, *map(new_code_cell, cells)])
    nbformat.write(notebook, path)
    return path


def test_run_passes_the_parameters_and_prints_live(project, capfd):
    write(
        "talk",
        'print("heard", profile, variant)',
        'open("where", "w").write("here")',
        parameters='profile = "smoke"\nvariant = "uoisc"',
    )
    executed = notebooks.run_notebook("talk", profile="small", variant="plain_vq")
    assert executed == Path("build/executed/small/talk-plain_vq.ipynb")
    assert "heard small plain_vq" in capfd.readouterr().out
    assert Path("notebooks/where").exists(), "a notebook runs in its own folder, as in JupyterLab"
    there = sorted(executed.parent.iterdir())
    assert there == [executed, executed.with_suffix(".json")], "its minutes beside it; no partial copy stays behind"


def test_a_parameter_that_nothing_reads_is_an_error(project):
    write("deaf")
    with pytest.raises(NotebookError, match="deaf does not take variant: .* declares profile"):
        notebooks.run_notebook("deaf", profile="small", variant="plain_vq")
    assert not Path("build").exists(), "before any work"


@pytest.mark.parametrize("name", ["talk", "talk.ipynb", "notebooks/talk.ipynb", "./notebooks/talk.ipynb"])
def test_a_notebook_is_found_by_its_name_or_its_file(project, name):
    write("talk")
    assert notebooks.find(name) == Path("notebooks/talk.ipynb")
    assert notebooks.find(str(Path("notebooks/talk.ipynb").resolve())) == Path("notebooks/talk.ipynb")
    for other in ("other/talk.ipynb", "../talk", "talk.py"):
        with pytest.raises(NotebookError, match="no notebook"):
            notebooks.find(other)


@pytest.mark.parametrize(("profile", "variant"), [("../escaped", None), ("small", "../escaped"), ("small", "a/b")])
def test_what_would_lead_out_of_the_folder_is_refused_before_any_work(project, profile, variant):
    write("talk", parameters='profile = "smoke"\nvariant = "uoisc"')
    with pytest.raises(UoiscError, match="'../escaped' is no profile's name|--variant"):
        notebooks.run_notebook("talk", profile, variant)
    assert not Path("build").exists()


def test_a_failed_cell_is_one_line_and_keeps_the_copy_apart(project):
    write("fall", "1 / 0")
    with pytest.raises(NotebookError, match=r"fall stopped at In \[3\]: ZeroDivision.*fall\.partial\.ipynb"):
        notebooks.run_notebook("fall", profile="smoke")
    assert not Path("build/executed/smoke/fall.ipynb").exists()
    assert Path("build/executed/smoke/fall.partial.ipynb").exists()


def test_an_error_meant_for_the_user_comes_through_alone(project):
    write("refuse", 'from uoisc.base.errors import DataError\nraise DataError("no such image: give a PNG")')
    with pytest.raises(NotebookError, match="^no such image: give a PNG$"):
        notebooks.run_notebook("refuse", profile="smoke")


def test_a_broken_notebook_is_one_line(project):
    Path("notebooks/broken.ipynb").write_text("{ no json")
    with pytest.raises(NotebookError, match="broken.ipynb is not a notebook"):
        notebooks.code_cells("broken")
    with pytest.raises(NotebookError, match="no notebook .*absent.ipynb"):
        notebooks.code_cells("absent")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"nbformat": 4}', '{"cells": [], "metadata": {}, "nbformat": 9, "nbformat_minor": 0}', "\udcff"],
)
def test_a_file_that_is_no_notebook_or_of_a_newer_format_is_one_line(project, text):
    Path("notebooks/odd.ipynb").write_text(text, errors="surrogateescape")
    with pytest.raises(NotebookError, match=r"odd.ipynb is not a notebook \(.*\): restore it") as caught:
        notebooks.run_notebook("odd", profile="smoke")
    assert "\n" not in str(caught.value)


def test_parameters_that_are_no_python_are_one_line(project):
    write("odd", parameters="profile = ")
    with pytest.raises(NotebookError, match="odd: its `parameters` cell is no Python"):
        notebooks.run_notebook("odd", profile="smoke")


def test_an_unknown_profile_makes_no_folder(project):
    write("talk", "open('ran', 'w')")
    with pytest.raises(ConfigError, match="'../../escaped' is no profile's name"):
        notebooks.run_notebook("talk", profile="../../escaped")
    assert not Path("build").exists() and not Path("notebooks/ran").exists()


def test_a_killed_kernel_is_one_line(project):
    write("dies", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(NotebookError, match="dies stopped, as its kernel .* was killed .*run the same command again"):
        notebooks.run_notebook("dies", profile="smoke")
    assert not Path("build/executed/smoke/dies.ipynb").exists()


@pytest.mark.parametrize("error", [RuntimeError("Kernel died before replying\nto kernel_info"), TimeoutError()])
def test_a_kernel_that_does_not_start_is_one_line(project, monkeypatch, error):
    import papermill

    def fails(*_, **__):
        raise error

    write("waits", "1")
    monkeypatch.setattr(papermill, "execute_notebook", fails)
    with pytest.raises(NotebookError, match="waits stopped, as its kernel did not start") as caught:
        notebooks.run_notebook("waits", profile="smoke")
    assert "\n" not in str(caught.value)


def test_a_folder_that_takes_no_copy_is_found_before_any_work(project):
    write("talk", "open('ran', 'w')")
    Path("build").write_text("a file in its place")
    with pytest.raises(DataError, match="cannot be written"):
        notebooks.run_notebook("talk", profile="smoke")
    assert not Path("notebooks/ran").exists()


# ----------------------------------------------------------------------------- the notebooks of this project


@pytest.fixture
def top(monkeypatch):
    """The project's own top folder, as the working directory."""
    monkeypatch.chdir(ROOT)


SAVED = sorted([*run_notebooks.NOTEBOOKS.glob("*.ipynb"), *run_notebooks.COPIES.glob("*.ipynb")])


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_cell_was_executed_in_order(path):
    """nbval passes a notebook that was never executed: it has no output to compare."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_the_published_run_and_trains_nothing(top, name):
    (cell,) = [cell for cell in notebooks.code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    assert values["profile"] == document(PARAMS)["published"] and values.get("remake", False) is False


@pytest.mark.parametrize("path", sorted(run_notebooks.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_numbers_told_of_the_published_run_stand_in_the_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    parts = [part for cell in cells if cell.cell_type == "markdown" for part in cell.source.split("\n\n")]
    told = [number for part in parts if part.startswith("*Published run") for number in re.findall(r"\d+\.\d+", part)]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    shown = "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs)
    assert not set(told) - set(re.findall(r"\d+\.\d+", shown))
    assert told or path.stem in ("01_data", "03_phase1", "07_figures_and_tables", "11_explore")


def test_what_nbval_runs_at_smoke_are_the_same_notebooks():
    wanted = run_notebooks.copies()
    saved = {path.stem: nbformat.read(path, as_version=4) for path in sorted(run_notebooks.COPIES.glob("*.ipynb"))}

    def told(notebook) -> list[tuple]:
        return [(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in notebook.cells]

    assert {name: told(one) for name, one in saved.items()} == {name: told(one) for name, one in wanted.items()}, (
        "run `python tests/run_notebooks.py tests/notebooks`, which runs and saves them"
    )


def test_every_stage_that_is_a_notebook_can_be_made_here():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    ran = {stage["cmd"].split()[2] for stage in stages if stage.get("cmd", "").startswith("uoisc run ")}
    assert ran == {*run_notebooks.copies()}


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_tell_and_the_package_does(top, name):
    for cell in notebooks.code_cells(name):
        assert len(cell.source.splitlines()) <= 20, cell.source
        lines = [line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        nodes = ast.walk(ast.parse("\n".join(lines)))
        assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)], cell.source
