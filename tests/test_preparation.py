"""The data stage on one's own images: what it prints, and what it wants of a small set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import yaml
from own_data import N, of_a_profile, two_each, written

from uoisc import study
from uoisc.base import config
from uoisc.base.config import Paths
from uoisc.base.errors import DataError
from uoisc.base.settings import Manifest
from uoisc.data.objects import load_catalogue
from uoisc.importers import sources
from uoisc.importers.sources import open_source, open_world
from uoisc.stages import preparation
from uoisc.stages.preparation import prepare_data
from uoisc.study import open_questions


@pytest.fixture
def lines() -> list[dict]:
    return two_each()


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Runs the data stage on a manifest of these lines; returns where it writes, and the profile."""

    def run(told: list[dict]) -> tuple[Path, config.Params]:
        params = of_a_profile(written(tmp_path, told))
        where = replace(config.paths("small"), source=tmp_path / "data" / "source")
        for module in (preparation, sources):
            monkeypatch.setattr(module, "paths", lambda profile: where)
        monkeypatch.setattr(preparation, "load_params", lambda profile: params)
        with pytest.raises(DataError, match="run the data stage"):
            open_source("mine", params)
        return prepare_data("mine"), params

    return run


def test_the_data_stage_prepares_what_a_profile_names(stage, lines, capsys):
    folder, params = stage(lines)
    printed = capsys.readouterr().out
    assert f"{2 * N} of {2 * N} questions about {N} images can be used" in printed
    assert f"\nunseen: {N // 2} questions about {N // 4} images\n" in printed and "\ntraining: " in printed
    assert "foundation.clip cannot be asked whether it reads every question" in printed
    source = open_source("mine", params)
    assert folder == source.index.folder
    assert next(source.batches([0], 4, "animal")).images.shape == (4, 3, tiny.IMAGE, tiny.IMAGE)


ASKED = ("Is there a dog?", "What is it?")


def tiny_set(splits: tuple[str, ...], questions: tuple[str, ...] = ASKED) -> list[dict]:
    return [
        {"image": f"photos/{i}.png", "question": question, "answer": "yes", "split": split}
        for i, split in enumerate(splits)
        for question in questions
    ]


def test_a_set_of_three_images_is_enough(stage, capsys):
    _, params = stage(tiny_set(("train", "seen", "unseen")))
    assert "\nseen: 2 questions about 1 images\nunseen: 2 questions about 1 images\n" in capsys.readouterr().out
    source = open_source("mine", params)
    assert next(source.batches([0], 8, "animal")).images.shape[0] == 8
    assert len(source.ask_split("unseen", "animal", 5, [0])) == 2


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (tiny_set(("seen", "unseen")), "no image is left to train on"),
        (tiny_set(("train", "train")), "no image is left to ask about"),
        (tiny_set(("train", "seen"), ASKED[:1]), "split seen has one question: it needs two different ones"),
    ],
)
def test_what_a_tiny_set_lacks_is_one_line_of_the_data_stage(stage, tmp_path, told, says):
    with pytest.raises(DataError, match=says) as raised:
        stage(told)
    assert "\n" not in str(raised.value) and "training: " in str(raised.value)
    assert list((tmp_path / "data").iterdir()) == []


PAGE = (config.ROOT / "docs" / "own_data.md").read_text()


def test_the_page_s_profile_is_complete(tmp_path):
    """As it is printed, over `base`."""
    document = yaml.safe_load(config.PARAMS.read_text())
    if "base" not in document:
        pytest.skip("params.yaml has no base that a profile changes")
    own = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**document, "profiles": document["profiles"] | own}))
    params = config.load_params("mine", tmp_path / "params.yaml")
    assert isinstance(params.data, Manifest) and params.data.loaders == 0


def test_the_page_s_lines_are_a_manifest(stage):
    lines = [json.loads(line) for line in PAGE.split("```\n")[1].splitlines()]
    told = [line | {"split": "unseen" if line["image"] == "photos/1.jpg" else "train"} for line in lines]
    for line in told:
        line["image"] = line["image"].replace(".jpg", ".png")  # as `written` draws them
    folder, params = stage(told)
    assert open_source("mine", params).index.report.problems == {}


def test_drawings_know_what_they_stand_for(tmp_path, monkeypatch):
    """Others under the same names would be asked about; where the published models lie they are drawn again."""
    home = Paths(tmp_path / "home" / "source", *(tmp_path for _ in range(4)))
    monkeypatch.setattr(study, "paths", lambda profile: None)  # nothing is trained here
    home.source.parent.mkdir()
    world = open_questions("tiny", tiny.PARAMS, home)
    again = open_questions("tiny", tiny.PARAMS, home)
    assert world.names == again.names
    drawn = (home.source / "sprites.npz").read_bytes()
    entries = load_catalogue(tiny.PARAMS.data.objects)
    others = (replace(entries[0], name="something else"), *entries[1:])
    monkeypatch.setattr(sources, "load_catalogue", lambda limit: others)
    with pytest.raises(DataError, match="sprites.npz: drawn of another data/objects.csv; run the data stage again"):
        open_world("tiny", tiny.PARAMS, home.source)
    assert open_questions("tiny", tiny.PARAMS, home).names[0] == "something else"
    assert (home.source / "sprites.npz").read_bytes() != drawn
