"""The commands of a first minute, on the models that come with the code: ask, encode, sample, variants."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from uoisc import cli
from uoisc.base.config import ROOT, load_params
from uoisc.base.errors import ConfigError, DataError
from uoisc.data.question_types import TYPES
from uoisc.stages import asking

SCENE = str(ROOT / "data" / "sample.png")
QUERY = ("--query", "where is the lion")


def told(*arguments: str):
    """What a command of the published profile prints, on both streams."""
    return CliRunner().invoke(cli.app, [*arguments, "--profile", "small"], catch_exceptions=False)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A sampled scene and what is said of it."""
    path = tmp_path_factory.mktemp("sample") / "scene.png"
    return path, told("sample", "-o", str(path), "--seed", "3", "--split", "unseen").stdout


def test_a_question_as_one_object_for_programs(tmp_path):
    found = json.loads(told("ask", SCENE, *QUERY, "--bits", "144", "-o", str(tmp_path / "x.png"), "--json").stdout)
    assert found["bits"] <= 144 and found["match"] == (found["source"] == found["reconstruction"])
    assert Image.open(tmp_path / "x.png").size == Image.open(SCENE).size
    as_text = told("ask", SCENE, *QUERY, "--bits", "144").stdout
    assert found["source"] in as_text and found["reconstruction"] in as_text


def test_encoding_tells_programs_of_each_file(scene, tmp_path):
    images = [SCENE, str(scene[0])]
    result = told("encode", *images, *QUERY, "-o", f"{tmp_path}/", "--bits", "144", "--json")
    rows = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [row["bytes"] for row in rows] == [(tmp_path / f"{name}.uoi").stat().st_size for name in ("sample", "scene")]


def test_a_sampled_scene_is_the_same_each_time_and_of_its_split(scene, tmp_path):
    path, said = scene
    again, other = tmp_path / "again.png", tmp_path / "other.png"
    assert told("sample", "-o", str(again), "--seed", "3", "--split", "unseen").stdout == said
    assert again.read_bytes() == path.read_bytes()
    told("sample", "-o", str(other), "--seed", "4", "--split", "unseen")
    assert np.any(np.array(Image.open(other)) != np.array(Image.open(path)))
    assert Image.open(path).size == (load_params("small").data.image_size,) * 2
    asked = [line.split(": ") for line in said.splitlines()]
    assert len(asked) == len(TYPES) and all(question and answer for question, answer in asked)


def test_judges_agree_with_what_is_said_of_a_sampled_scene(scene):
    """Of what they answer reliably: where things are, and of which colour the ground is."""
    path, said = scene
    asked = [line.split(": ") for line in said.splitlines() if line.startswith(("where is the", "what colour is"))]
    answers = [json.loads(told("ask", str(path), "--query", question, "--json").stdout) for question, _ in asked]
    right = [found["source"] in accepted.split(" or ") for found, (_, accepted) in zip(answers, asked, strict=True)]
    assert right and all(right)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("--profile", "small", "--split", "unsen"), ConfigError, "no split 'unsen': .*unseen"),
        (("--profile", "paper"), ConfigError, "asks about photographs"),
        (("--profile", "small", "--seed", "3"), DataError, "--force"),
    ],
)
def test_a_sample_that_cannot_be_is_one_line_and_changes_nothing(tmp_path, arguments, error, match):
    (path := tmp_path / "x.png").write_bytes(b"mine")
    result = CliRunner().invoke(cli.app, ["sample", "-o", str(path), *arguments])
    with pytest.raises(error, match=match):
        raise result.exception
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("output", "says"), [("", "-o: empty"), (".", "a folder or a disk"), ("nowhere/x.png", "nowhere: no such folder")]
)
def test_a_place_that_takes_no_picture_is_told_before_any_work(tmp_path, monkeypatch, output, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asking, "open_questions", None)
    monkeypatch.setattr(asking, "open_codecs", None)
    for arguments in (["sample"], ["ask", SCENE, *QUERY]):
        result = CliRunner().invoke(cli.app, [*arguments, "-o", output, "--profile", "small"])
        with pytest.raises(DataError, match=says):
            raise result.exception
    assert not list(tmp_path.iterdir())


def test_a_seed_below_nothing_is_refused(tmp_path):
    result = CliRunner().invoke(cli.app, ["sample", "-o", str(tmp_path / "x.png"), "--seed", "-1"])
    assert result.exit_code == 2 and "greater than or equal to 0" in result.output


def test_variants_are_those_of_the_results_and_say_where_models_are():
    rows = pd.DataFrame(json.loads(told("variants", "--json").stdout))
    assert {*rows["variant"]} == {*load_params("small").variants}
    shipped = rows.set_index("variant")["models"].groupby(level=0).first()
    assert shipped["dial"] == "dial" and shipped["uoisc"] == "tight+middle+wide"
    summary = pd.read_csv(ROOT / "results" / "summary.csv")
    own = summary[(summary["metric"] == "amr") & (summary["variant"] == "uoisc") & (summary["bits"] == 144)]
    expected = own[own["split"] == "unseen"]["value"].mean()
    assert rows[(rows["variant"] == "uoisc") & (rows["bits"] == 144)]["unseen"].item() == pytest.approx(expected)
    as_text = told("variants").stdout
    assert "none here" in as_text and f"{expected:.3f}" in as_text
