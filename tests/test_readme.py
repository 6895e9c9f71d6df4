"""Every code block of the README, and the conversation of docs/running.md, runs as printed, on a tiny study.

The study is called `small`, as the README's is, and has its rates' names; only `make` is not run here, but looked up.
"""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
import workplace
from PIL import Image

from uoisc.base.results import read_table
from uoisc.claims.compare import compare
from uoisc.stages.publish import Check

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"))
TALK = (ROOT / "docs/running.md").read_text(encoding="utf-8").split("## A conversation\n\n```sh\n")[1].split("```")[0]
SHELL = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
MADE = """
from uoisc.stages.entropy_jobs import make_tables
from uoisc.stages.foundation_jobs import train_foundation
from uoisc.stages.preparation import prepare_data
from uoisc.stages.train_models import train_variant
prepare_data("small"), train_foundation("small"), train_variant("small", "uoisc+dial"), make_tables("small")
"""
SUMMARY = pd.DataFrame({"profile": "small", "variant": ["uoisc", "dial"], "seed": 0, "judge": "llava", "split": "seen"})
SUMMARY = SUMMARY.assign(bits=144, metric="amr", value=0.5, low=0, high=1, n=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where a tiny study called `small` is trained, with a picture in it."""
    folder = tmp_path_factory.mktemp("readme")
    rates = dict(zip(("tight", "middle"), tiny.PARAMS.codec.rates.values(), strict=True))
    codec = replace(tiny.PARAMS.codec, rates=rates)
    variants = {"uoisc": ("middle",), "dial": ("dial",)}
    data = replace(tiny.PARAMS.data, objects=120)
    asked = replace(tiny.PARAMS.evaluation, beyond=replace(tiny.PARAMS.evaluation.beyond, rates=("tight",)))
    params = replace(tiny.PARAMS, data=data, codec=codec, variants=variants, evaluation=asked)
    place = workplace.make(folder / "place", params, "small")
    workplace.run(place, "-c", MADE)
    Image.new("RGB", (120, 90), (200, 30, 90)).save(place / "data" / "sample.png")
    SUMMARY.to_csv(place / "build" / "small" / "results" / "summary.csv")
    return place


def test_the_readme_is_made_of_blocks_that_run():
    assert {kind for kind, _ in BLOCKS} == {"sh", "python", "text"}
    assert all(line.startswith(("make ", "uoisc ")) for line in SHELL)


def run_as_printed(place: Path, script: str) -> None:
    """Runs lines of shell in a place, `uoisc` being the tests' own."""
    (place / "bin").mkdir(exist_ok=True)
    (place / "bin" / "uoisc").write_text('#!/bin/sh\nexec python -m uoisc.cli "$@"\n')
    (place / "bin" / "uoisc").chmod(0o755)
    environment = workplace.environment(place)
    environment["PATH"] = f"{place / 'bin'}:{environment['PATH']}"
    run = subprocess.run(["bash", "-euxc", script], cwd=place, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_what_is_printed_runs_as_printed(place):
    run_as_printed(place, "\n".join(line for line in SHELL if line.startswith("uoisc ")))
    assert {"received.png", "decoded.png", "first.uoi", "scene.png"} <= {path.name for path in place.iterdir()}
    assert Image.open(place / "decoded.png").size == (120, 90), "the picture's size is restored"


def test_a_conversation_runs_as_printed(place):
    shutil.copy(place / "data" / "sample.png", place / "photo.png")
    (place / "second.uoi").unlink(missing_ok=True)  # the README's
    run_as_printed(place, 'uoisc encode photo.png --query "where is the lion" -o photo.uoi\n' + TALK)
    assert Image.open(place / "third.png").size == (120, 90)


def test_what_check_and_compare_say_stands_there_as_they_say_it():
    (said,) = (" ".join(block.split()) for kind, block in BLOCKS if kind == "text")
    rows = read_table(ROOT / "results", "published.csv")
    rows = rows.assign(published=rows["amr"], here=rows["amr"], difference=0.0, close=True)
    form = re.escape(Check(rows).summary()).replace(re.escape("0.0000"), r"0\.00\d\d")
    assert re.match(form + " ", said)
    assert said.endswith(compare(ROOT / "results", ROOT / "results").summary())


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_the_code_runs_as_printed(place, block):
    bits, answer = workplace.run(place, "-c", block).stdout.split(maxsplit=1)
    assert 0 < float(bits) <= 150 and answer.strip().startswith("[")


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("make ")])
def test_the_targets_are_there(line):
    target = line.split()[1]
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"))
