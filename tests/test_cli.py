"""The command line: quick to start, one line for bad input."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from uoisc import cli
from uoisc.base import config
from uoisc.base.errors import DataError

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "uoisc.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def uoisc(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True)


def one_error_line(result: subprocess.CompletedProcess) -> str:
    """The error line of a command that refused its input, held to the house's form."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_help_loads_no_heavy_package():
    """What keeps `uoisc --help` under a second, checked without a clock."""
    code = [sys.executable, "-c", "import sys, uoisc.cli; print(*sys.modules)"]
    loaded = subprocess.run(code, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "open_clip", "transformers", "pandas", "matplotlib", "papermill", "nbformat", "numpy"}
    assert "uoisc.cli" in loaded and not heavy & set(loaded)


def test_what_a_run_depends_on_is_one_object_for_programs():
    told = json.loads(CliRunner().invoke(cli.app, ["info", "--profile", "smoke", "--json"]).stdout)
    assert (told["profile"], told["seed"], told["processes"]) == ("smoke", 0, 1)
    assert told["packages"]["torch"] == told["torch"] and "(" in told["device"] and isinstance(told["stages"], dict)


def test_help_names_every_command():
    shown = CliRunner().invoke(cli.app, ["--help"])
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in ("run", "nbsrc", "paper", "ask", "validate", "doctor", "info"))


def test_unknown_notebook_is_one_line_that_names_the_known_ones(tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "notebooks/01_data.ipynb")
    line = one_error_line(uoisc("run", "99_nothing", cwd=tmp_path))
    assert "99_nothing" in line and "01_data" in line


def test_errors_of_several_lines_are_printed_as_one(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", lambda **_: (_ for _ in ()).throw(DataError("first\n  second")))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: first second\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "Missing argument 'name'; see `uoisc run --help`"),
        (["encode", "x.jpg"], "Missing option '--query'; see `uoisc encode --help`"),
        (["run", "--nope", "x"], "No such option: --nope; see `uoisc run --help`"),
        (["ask", "x.jpg", "--query", "q", "--bits", "many"], "Invalid value for '--bits': "),
        (["frobnicate"], "No such command 'frobnicate'; see `uoisc --help`"),
    ],
)
def test_wrong_usage_is_one_line(monkeypatch, capsys, words, says):
    monkeypatch.setattr(sys, "argv", ["uoisc", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    assert stop.value.code == 2 and printed.out == ""
    assert printed.err.startswith(f"error: {says}") and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [[], *[[name.name or name.callback.__name__] for name in cli.app.registered_commands]]
)
def test_h_is_help(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["uoisc", *command, "-h"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code and "Usage: uoisc" in capsys.readouterr().out


def test_every_profile_option_is_the_active_one_unless_given(monkeypatch):
    asked = []
    monkeypatch.setattr(config, "active_profile", lambda: asked.append(True) or "chosen")
    files = ("ask x --query q", "encode x --query q -o y", "decode x -o y")
    for command in ("run x", "train x", "evaluate", "seeds x", "validate x y", "doctor", *files):
        name, *words = command.split()
        context = get_command(cli.app).commands[name].make_context(name, words)
        assert context.params["profile"] == "chosen", command
    assert len(asked) == 9


def test_the_nearest_name_is_suggested(tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "notebooks/01_data.ipynb")
    for words, near in (
        (["encod"], "Did you mean 'encode'"),
        (["info", "--profil", "small"], "--profile"),
        (["info", "--profile", "smal"], "did you mean small?"),
        (["run", "01_dat"], "did you mean 01_data?"),
    ):
        assert near in one_error_line(uoisc(*words, cwd=tmp_path))


def test_an_option_that_info_would_not_read_is_refused(tmp_path):
    assert "--profile: a file is described without one" in one_error_line(
        uoisc("info", "a.uoi", "--profile", "smoke", cwd=tmp_path)
    )


def test_names_reach_the_terminal_whole_and_without_escapes(tmp_path):
    line = one_error_line(uoisc("info", "./a  \x1b[31mb\n.uoi", cwd=tmp_path))
    assert line == "error: ./a  \\x1b[31mb\\n.uoi: no such file"


def test_without_a_command_the_help_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["uoisc"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    assert stop.value.code == 2 and "Usage: uoisc" in printed.out and printed.err == ""


def test_unknown_profile_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert "nowhere" in one_error_line(uoisc("info", "--profile", "nowhere", cwd=tmp_path))


@pytest.mark.parametrize(
    "command", ["run 01_data", "train uoisc", "evaluate", "doctor", "info", "validate uoisc tight"]
)
def test_a_profile_that_leads_elsewhere_is_one_line_in_every_command(tmp_path, command):
    before = {*ROOT.glob("*"), ROOT / "build"}
    assert "is no profile's name" in one_error_line(uoisc(*command.split(), "--profile", "../../../escaped", cwd=ROOT))
    assert {*ROOT.glob("*")} <= before and not (ROOT / "build/escaped").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_standard_output_that_takes_no_more_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for buffered in ("", "1"):
        environment = ENVIRONMENT | {"PYTHONUNBUFFERED": buffered}
        with open("/dev/full", "w") as full:
            result = subprocess.run(
                [*COMMAND, "info"], cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert "No space left on device" in one_error_line(result)


def test_activate_says_where_results_go_and_works_in_a_top_folder_alone(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert "run this in the project's top folder" in one_error_line(uoisc("activate", "smoke", cwd=tmp_path))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    done = uoisc("activate", "smoke", cwd=tmp_path)
    assert done.returncode == 0 and "writes build/smoke/results, build/smoke/paper" in done.stdout


def test_a_profile_without_the_method_itself_is_not_activated(tmp_path):
    before = (ROOT / "params.yaml").read_text().replace("{uoisc: [tight, middle], no_align", "{no_align", 1)
    (tmp_path / "params.yaml").write_text(before)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    line = one_error_line(uoisc("activate", "smoke", cwd=tmp_path))
    assert "profile smoke lacks variants.uoisc" in line
    assert (tmp_path / "params.yaml").read_text() == before


@pytest.mark.parametrize("words", [["run", "01_data"], ["nbsrc"], ["activate", "smoke"], ["paper"]])
def test_a_command_of_the_top_folder_says_so_elsewhere(tmp_path, words):
    assert "run this in the project's top folder" in one_error_line(uoisc(*words, cwd=tmp_path))
    assert not list(tmp_path.iterdir())


def test_paper_without_results_is_one_line(tmp_path):
    (tmp_path / "paper").mkdir()
    assert "claims.json" in one_error_line(uoisc("paper", cwd=tmp_path))


def test_ctrl_c_says_how_to_go_on_and_leaves_no_executed_notebook(tmp_path):
    notebook = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell('profile = "smoke"', metadata={"tags": ["parameters"]})
    wait = textwrap.dedent("""
        import pathlib, time
        pathlib.Path("started").touch()
        time.sleep(60)
    """)
    notebook.cells = [parameters, nbformat.v4.new_code_cell(wait)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks/wait.ipynb")
    process = subprocess.Popen(
        [*COMMAND, "run", "wait", "--profile", "smoke"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts background jobs, and so perhaps this test, with Ctrl-C switched off
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while not (tmp_path / "notebooks/started").exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert error.strip().splitlines()[-1].startswith("stopped: run the same command again")
    assert not (tmp_path / "build/executed/smoke/wait.ipynb").exists()


def installed_command(cwd: Path) -> str:
    """What `uoisc info` of this tree, found as an installed command finds it, prints in a folder."""
    code = [sys.executable, "-P", "-c", "import sys; from uoisc.cli import main; sys.argv[1:] = ['info']; main()"]
    return subprocess.run(code, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def test_in_a_copy_of_the_project_its_own_package_runs(tmp_path):
    """So that an experiment of DVC's never writes into the installed tree; its kernels inherit PYTHONPATH."""
    (tmp_path / "uoisc").mkdir()
    (tmp_path / "uoisc/__init__.py").write_text("")
    (tmp_path / "uoisc/cli.py").write_text("import os, sys\nprint(*sys.argv[1:], os.environ['PYTHONPATH'], sep='|')\n")
    assert installed_command(tmp_path).startswith("profile small"), "without a pipeline it is no copy of the project"
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    assert installed_command(tmp_path) == f"info|{tmp_path}{os.pathsep}{ROOT}\n"
