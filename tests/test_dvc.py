"""docs/experiments.md: its commands are run here as they stand, on the pipeline's first two stages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from uoisc.base.config import load_params
from uoisc.base.documents import parse_yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/experiments.md").read_text()
SPRITES = "data/smoke/source/sprites.npz"


def commands(heading: str) -> str:
    """The blocks marked `sh` of one section of the page, as one script."""
    (section,) = re.findall(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    return "\n".join(re.findall(r"(?ms)^```sh\n(.*?)^```", section))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A git repository with this project's stages `nbsrc` and `data` and what they read, nothing run yet."""
    folder = tmp_path_factory.mktemp("dvc") / "project"
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("uoisc", "notebooks", "data", ".dvc"):
        (folder / name).mkdir(parents=True)
    (folder / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {name: stages[name] for name in ("nbsrc", "asked", "data")}})
    )
    files = [
        "params.yaml",
        ".gitignore",
        ".dvcignore",
        ".dvc/config",
        ".dvc/.gitignore",
        "data/objects.csv",
        "notebooks/01_data.ipynb",
    ]
    for file in [*files, *(str(path.relative_to(ROOT)) for path in (ROOT / "uoisc").rglob("*.py"))]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    shell(folder, "git init -q -b main; git add .; git commit -qm 'First two stages'")
    yield folder
    shell(folder, "dvc queue stop --kill")  # where a test stopped half way, its worker still runs


def shell(folder: Path, script: str) -> str:
    """Output of a script that may not fail, run in `folder` with a git user, away from other DVC caches."""
    user = {f"GIT_{role}_{what}": "test@example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PYTHONPATH": str(ROOT), "PATH": path, "DVC_SITE_CACHE_DIR": str(folder.parent / "site")}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, **user, **own, **quiet}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def files(folder: Path) -> dict[Path, bytes]:
    """Every file of the workspace but byte code and what git and DVC keep for themselves."""
    aside = {".git", ".dvc", "__pycache__"}
    found = (path for path in folder.rglob("*") if path.is_file() and not aside & set(path.parts))
    return {path.relative_to(folder): path.read_bytes() for path in found}


def test_what_one_pushes_another_pulls(project):
    assert shell(project, "uoisc plan").splitlines()[1].split()[0] == "01_data"
    shell(project, commands("Share what was made"))
    assert shell(project, "uoisc plan").startswith("nothing is to be run")
    made = files(project)
    assert Path(SPRITES) in made
    for lost in (".dvc/cache", "data/smoke"):
        shutil.rmtree(project / lost)
    shell(project, "dvc pull --quiet data@smoke")
    assert files(project) == made


def test_queued_experiments_run_beside_the_workspace(project):
    """Each in its own copy with its own parameters, whatever tree is installed."""
    before = files(project)
    shell(project, commands("Queue experiments"))
    taken = {name: project.parent / f"{name}.npz" for name in ("few", "more")}
    counts = {name: len(np.load(path)["drawn"]) for name, path in taken.items()}
    assert counts == {"few": 60, "more": 90}
    tried = yaml.safe_load(shell(project, "git show $(git for-each-ref --format='%(refname)' '**/few'):params.yaml"))
    assert tried["base"]["data"]["objects"] == 60
    assert len(np.load(project / SPRITES)["drawn"]) == 258
    assert files(project) == before
    if (ROOT / SPRITES).exists():  # the installed tree's own, which notebooks may be using beside this test
        assert len(np.load(ROOT / SPRITES)["drawn"]) == 258
    assert shell(project, "git status --porcelain; git stash list") == ""


def test_what_dvc_writes_into_params_is_read_and_edited(project):
    """`1e-05`, as DVC writes a small number, and lists in rows."""
    sets = "-S base.training.emphasis.pixel=10 -S profiles.smoke.training.learning_rate=0.00001 -S 'active=[smoke]'"
    shell(project, f"dvc exp run {sets} nbsrc")
    params = project / "params.yaml"
    assert "1e-05" in params.read_text()
    assert load_params("smoke", params).training.learning_rate == 0.00001
    assert load_params("small", params).training.emphasis.pixel == 10
    shell(project, "uoisc activate seeds --seed 20; dvc status; git add params.yaml")
    assert parse_yaml(params.read_text(), "")["active"] == ["seeds"] and load_params("seeds", params).seed == 20
    assert load_params("smoke", params).training.learning_rate == 0.00001
    shell(project, "git reset -q --hard; git clean -qfd")


def test_another_name_of_a_drawing_makes_all_that_follows_due(project):
    """Stages take names from the list, drawings from the data stage: the two may not come apart."""
    shell(project, "uoisc activate smoke; dvc repro --quiet data")

    def made() -> dict:
        return yaml.safe_load((project / "dvc.lock").read_text())["stages"]["data@smoke"]["outs"]

    before = made()
    path = project / "data/objects.csv"
    path.write_text(path.read_text().replace(",lion,animal,", ",leo,animal,"))
    said = shell(project, "dvc status; uoisc plan")
    assert "asked@objects" in said and "01_data" in said
    shell(project, "dvc repro --quiet data")
    assert made() != before
