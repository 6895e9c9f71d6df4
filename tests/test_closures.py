"""What a stage's code is: digests of everything that it reaches, and of nothing else."""

from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from uoisc.pipeline import closures
from uoisc.pipeline.closures import closure, imports, write_closures

ROOT = Path(__file__).resolve().parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of a notebook and a few modules in a temporary folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(closures, "COMMANDS", {"paper": "from uoisc.top import x"})
    modules = {
        "room/a": "from uoisc.b import f",
        "b": "def f():\n    from uoisc.room import c",
        "room/c": "import numpy",
        "room/d": "",
        "top": "x = 1",
    }
    for name, code in modules.items():
        path = Path(f"uoisc/{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    write("talk", "%matplotlib inline\nfrom uoisc.room.a import f", "print(1)")
    return tmp_path


def write(name: str, *cells: str) -> None:
    path = Path("notebooks") / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# title"), *map(new_code_cell, cells)]), path)


def test_imports_are_found_in_every_form_and_followed(project):
    direct = imports("import uoisc.b as b, os\nfrom uoisc.room import d, nothing\nfrom numpy import e")
    assert direct == {Path("uoisc/b.py"), Path("uoisc/room/d.py")}
    assert closure("def g():\n    from uoisc.room.a import h") == [
        Path("uoisc/b.py"), Path("uoisc/room/a.py"), Path("uoisc/room/c.py")
    ]  # fmt: skip


def test_a_stages_file_changes_with_the_code_that_it_reaches_alone(project):
    talk, paper = write_closures()
    before = talk.read_bytes(), paper.read_bytes()
    assert [line.split()[1] for line in talk.read_text().splitlines()] == [
        "talk", "uoisc/b.py", "uoisc/room/a.py", "uoisc/room/c.py"
    ]  # fmt: skip
    Path("uoisc/room/d.py").write_text("y = 2")
    write_closures()
    assert (talk.read_bytes(), paper.read_bytes()) == before
    Path("uoisc/room/c.py").write_text("import torch")
    write_closures()
    assert talk.read_bytes() != before[0] and paper.read_bytes() == before[1]
    Path("uoisc/top.py").write_text("x = 2")
    write_closures()
    assert paper.read_bytes() != before[1]


def test_outputs_and_prose_of_a_notebook_do_not_count(project):
    talk, _ = write_closures()
    before, path = talk.read_bytes(), Path("notebooks/talk.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "# another title"
    notebook.cells[1].execution_count = 7
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, path)
    write_closures()
    assert talk.read_bytes() == before
    notebook.cells[2].source = "print(2)"
    nbformat.write(notebook, path)
    write_closures()
    assert talk.read_bytes() != before


def test_cells_that_only_show_do_not_count(project):
    path = Path("notebooks/talk.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [new_code_cell("from uoisc.room.d import y\nprint(y)", metadata={"tags": ["show"]})]
    before = write_closures()[0].read_bytes()
    nbformat.write(notebook, path)
    assert write_closures()[0].read_bytes() == before


@pytest.mark.parametrize(
    ("notebook", "never"),
    [
        ("01_data", ("uoisc/losses", "uoisc/training", "frozen/foundation", "report")),
        ("02_foundation", ("losses", "training", "variants", "report")),
        ("03_phase1", ("report", "judge/bootstrap", "link/")),
        ("06_evaluation", ("report",)),
        ("09_channel", ("report",)),
        ("07_figures_and_tables", ("uoisc/training", "stages/evaluation", "stages/train")),
    ],
)
def test_a_notebook_opens_no_more_than_it_uses(notebook, never, monkeypatch):
    """A changed loss trains no CLIP, and a changed colour asks no judge."""
    monkeypatch.chdir(ROOT)
    reached = [path.as_posix() for path in closure(closures.making(notebook))]
    assert reached and not [path for path in reached for part in never if part in path]


@pytest.mark.parametrize("name", [name for name in STAGES if name != "asked"])
def test_each_stage_of_the_pipeline_watches_its_own_code(name):
    stage = STAGES[name]
    command, *rest = stage["cmd"].split()[1:]
    if command == "nbsrc":
        assert stage["deps"] == ["notebooks", "uoisc"]
        return
    code = [dep for dep in stage["deps"] if dep.endswith((".deps", ".py"))]
    assert code == [f"build/nbsrc/{rest[0] if command == 'run' else command}.deps"]


def test_the_pipeline_makes_the_file_of_every_stage():
    assert STAGES["nbsrc"]["outs"] == [{closures.CLOSURES.as_posix(): {"cache": False}}]
    deps = (dep for stage in STAGES.values() for dep in stage.get("deps", ()))
    wanted = {Path(dep).stem for dep in deps if dep.startswith("build/nbsrc/")}
    assert wanted == {*closures.names(), *closures.COMMANDS} - {"11_explore"}  # which makes nothing
