"""The project's own files agree with each other: packages, versions, pipeline."""

import ast
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from uoisc.base.config import PARAMS, active_profile, document, load_params

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def pins() -> dict[str, Version]:
    """Package -> version, of every line of requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text().split("\n")
    parts = [line.split(";")[0].strip().split("==") for line in lines if line.strip()]
    return {canonicalize_name(name): Version(version) for name, version in parts}


def requirements() -> list[Requirement]:
    texts = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in texts for text in group]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_lock_pins_every_package_that_pyproject_asks_for(requirement):
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert version.local is None, "a local build (+cpu) is found on one machine only"


def imported(folder: str) -> set[str]:
    """The packages, by the names of their distributions, that code of a folder imports anywhere in it."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    own = {"uoisc", "benchmarks", *sys.stdlib_module_names}
    named = packages_distributions()
    return {canonicalize_name(name) for module in found - own for name in named.get(module, [module])[:1]}


# run as a program, or imported by name: Jupyter's commands, a plug-in of torch, a font
BY_NAME = {"jupyterlab", "torchvision", "manimgx-fonts"}


def test_what_the_package_imports_is_declared_and_nothing_else():
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert imported("uoisc") == declared - BY_NAME


def test_what_benchmarks_import_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    assert imported("benchmarks") - {"compressai"} <= declared  # which asks for an older numpy: used where it is there


def test_lock_leaves_the_cuda_packages_to_torch():
    assert not [name for name in pins() if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_lock_holds_no_address():
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_conda_environment_says_what_pyproject_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, wrapped = environment["dependencies"]
    assert environment["name"] == PROJECT["name"]
    newest = python.removeprefix("python=") + ".99"  # conda takes the newest patch release
    assert SpecifierSet(PROJECT["requires-python"]).contains(newest)
    assert pip == "pip"
    assert wrapped == {"pip": ["-r requirements.lock", "-e ."]}


def test_citation_carries_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"] == "MIT"
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2509.08913"


def test_ci_runs_the_tests():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


def test_the_pipeline_trains_what_the_active_profile_evaluates():
    params = document(PARAMS)
    trained = load_params(active_profile()).variants
    assert sorted(["uoisc", *params["ablations"], *params["dials"].split("+")]) == sorted(trained), (
        "uoisc activate PROFILE mends it"
    )


def outs() -> list[tuple[str, bool]]:
    """(path, kept in DVC's cache) of every output of the active profile; matrix items stand as `x`."""
    found = []
    for stage in STAGES.values():
        for out in stage.get("do", stage)["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            path = re.sub(r"\$\{(results|paper)\}", lambda key: document(PARAMS)[key[1]], path)
            path = path.replace("${active[0]}", document(PARAMS)["active"][0])
            found.append((re.sub(r"\$\{[^}]*\}", "x", path), options.get("cache", True)))
    return found


@pytest.mark.parametrize(("path", "cached"), outs())
def test_git_and_dvc_never_keep_the_same_output(path, cached):
    """Cached outputs are ignored by git; results, figures and tables are in git and out of the cache."""
    checked = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT)
    if checked.returncode > 1:
        pytest.skip("not a git clone")
    ignored = checked.returncode == 0
    assert ignored if cached else ignored == path.startswith("build/")


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter, `path` ahead of the installed packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )


def test_torchvision_imports_beside_a_torch_that_lacks_its_operators(tmp_path):
    """A stand-in package that dies at its first import as torchvision does without its compiled operators."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("from torchvision import early, ops\n")
    (package / "early.py").write_text("")
    (package / "ops.py").write_text(
        textwrap.dedent("""
            import torch

            @torch.library.register_fake("torchvision::nms")
            def nms(dets, scores, iou_threshold):
                return dets
        """)
    )
    plain = run_python("import torchvision", tmp_path)
    assert "operator torchvision::nms does not exist" in plain.stderr
    cured = run_python(
        """
        from uoisc.base.compat import import_torchvision
        first = import_torchvision()
        import torchvision, torchvision.ops
        assert first is torchvision is import_torchvision()
        """,
        tmp_path,
    )
    assert cured.returncode == 0, cured.stderr


def test_another_failure_of_torchvision_is_passed_on(tmp_path):
    (tmp_path / "torchvision.py").write_text('raise RuntimeError("something else")')
    result = run_python("from uoisc.base.compat import import_torchvision; import_torchvision()", tmp_path)
    assert result.returncode == 1 and "RuntimeError: something else" in result.stderr


def test_open_clip_imports_with_the_installed_torchvision():
    result = run_python("from uoisc.base.compat import import_torchvision; import_torchvision(); import open_clip")
    assert result.returncode == 0, result.stderr


def test_what_is_published_stays_small():
    """Models in git: 20 MB at most, in a clone that is to answer within two minutes."""
    assert sum(path.stat().st_size for path in (ROOT / "data").glob("*/published/**/*") if path.is_file()) <= 20e6


@pytest.mark.parametrize("path", ["README.md", "docs/results.md"])
def test_what_is_filled_in_is_a_table_of_one_line_per_row(path):
    """Wrapped as prose, its rows would run into each other. The outcome in a sentence is prose."""
    blocks = re.findall(r"<!-- (\w+):begin -->(.*?)<!-- \1:end -->", (ROOT / path).read_text(encoding="utf-8"), re.S)
    assert blocks
    for name, block in [(name, block) for name, block in blocks if name != "headline"]:
        assert all(line.startswith("| ") and line.endswith(" |") for line in block.strip().splitlines()), name


def test_a_copy_that_has_run_keeps_what_it_measured_and_takes_the_rest_anew(tmp_path):
    """`make repro PROFILE=...` twice with stand-ins for both commands, the tree changed in between."""
    programs = tmp_path / ".venv" / "bin"
    written = {
        "Makefile": (ROOT / "Makefile").read_text(),
        "dvc.yaml": (ROOT / "dvc.yaml").read_text(),
        "dvc.lock": "published",
        "params.yaml": "active: [small]\npublished: small\n",
        "README.md": "published",
        "results/summary.csv": "published",
        "results/kept.csv": "no stage's",
        "docs/index.html": "published",
        "paper/figures/a.pdf": "published",
        "paper/paper.typ": "old",
        "notebooks/gone.ipynb": "old",
        ".venv/bin/uoisc": "#!/bin/sh\n",
        ".venv/bin/dvc": "#!/bin/sh\nmkdir -p build paper/figures; test -e build/measured || for file in README.md "
        "dvc.lock results/summary.csv paper/figures/a.pdf build/measured; do echo own > $file; done\n",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("uoisc", "dvc"):
        (programs / name).chmod(0o755)
    (tmp_path / ".gitignore").write_text("build\n.venv\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    command = ["make", "-o", ".venv/.installed", "repro", "PROFILE=smoke"]
    copy = tmp_path / "build" / "repro-smoke"
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (copy / "paper/paper.typ").read_text() == "old" and (copy / "notebooks/gone.ipynb").exists()
    assert (copy / "results/kept.csv").exists() and not (copy / "docs/index.html").exists(), "nobody's page but its own"
    (tmp_path / "notebooks/gone.ipynb").unlink()
    (tmp_path / "results/kept.csv").unlink()
    (tmp_path / "paper/paper.typ").write_text("new")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    own = ("README.md", "dvc.lock", "results/summary.csv", "paper/figures/a.pdf")
    assert {(copy / name).read_text().strip() for name in own} == {"own"}
    assert (copy / "paper/paper.typ").read_text() == "new"
    assert not (copy / "notebooks/gone.ipynb").exists() and not (copy / "results/kept.csv").exists()
    assert (tmp_path / "results/summary.csv").read_text() == "published"
