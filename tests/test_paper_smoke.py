"""The paper's own setting, tiny, through the pipeline as a user starts it: `make repro PROFILE=paper_smoke` in a clone.

Official files, published formats of models, 22 x 22 tokens, ten notebooks, the paper: minutes, and nothing by hand but
that the environment is this one.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from uoisc.base.config import load_params
from uoisc.base.results import COLUMNS, STAGES, read_table
from uoisc.report.exhibits import FIGURES, TABLES

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 60  # a busy machine fails nothing


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tree as it stands, where that has run."""
    folder = tmp_path_factory.mktemp("clone") / "tree"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, found.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "DVC_SITE_CACHE_DIR": str(folder.parent / "site"), "TQDM_DISABLE": "1"}
    left = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS", "MFLAGS")}
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    done = subprocess.run(
        ["make", "-o", ".venv/.installed", "repro", "PROFILE=paper_smoke"],
        cwd=folder, env=left | own, capture_output=True, text=True, timeout=60 * MINUTES,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return folder


def test_the_papers_setting_comes_to_its_paper(clone):
    copy, params = clone / "build/repro-paper_smoke", load_params("paper_smoke")
    assert (copy / "paper/paper.pdf").read_bytes().startswith(b"%PDF")
    assert {path.stem for path in (copy / "paper/figures").glob("*.pdf")} == {*FIGURES}
    assert {path.stem for path in (copy / "paper/tables").iterdir()} == {*TABLES}
    summary = read_table(copy / "results", "summary.csv")
    assert {*params.variants} <= {*summary["variant"]} and {*summary["split"]} == {"seen", "unseen"}
    bits = summary.groupby("variant")["bits"].agg(["min", "max"]).loc["uoisc"].tolist()
    assert bits == [4 * 22 * 22 * 2 * 6, 4 * 22 * 22 * 16 * 6], "as the authors' code"
    for name in STAGES.keys() & COLUMNS.keys():
        assert not read_table(copy / "results", name).empty
    channel = pd.read_csv(copy / "results/channel.csv")
    assert {"uoisc", "adaptive", "jpeg2000"} <= {*channel["variant"]}
    assert {"uncoded", "coded", "coded_16qam"} <= {*channel["link"]}


def test_every_notebook_ran_to_its_last_cell(clone):
    executed = list((clone / "build/repro-paper_smoke/build/executed/paper_smoke").glob("*.ipynb"))
    names = {path.stem.partition("-")[0] for path in executed}
    assert names == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} - {"11_explore"}  # which makes nothing
    for path in executed:
        outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
        assert not [out for out in outputs if out.output_type == "error"], path.stem


def test_what_is_published_stays_as_it_was(clone):
    for name in ("params.yaml", "results/summary.csv", "paper/paper.pdf"):
        assert (clone / name).read_bytes() == (ROOT / name).read_bytes()
    assert (clone / "build/repro-paper_smoke/data/generated").is_symlink(), "data and models lie outside of the copy"
