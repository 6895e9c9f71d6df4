"""VQA v2's official files: missing, cut short, of another name, or holding what cannot be asked or held out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from PIL import Image
from test_vqav2 import ALL, QUESTION, change, cut, photo, report_lines

from uoisc.base.errors import DataError
from uoisc.frozen.clip import clip_reader
from uoisc.importers.vqav2 import index
from uoisc.importers.vqav2_files import ANNOTATIONS_FILE, INSTANCES_FILE, QUESTIONS_FILE


@pytest.fixture
def data(tmp_path):
    return tiny.vqav2(tmp_path / "vqav2")


@pytest.mark.parametrize("name", [QUESTIONS_FILE, ANNOTATIONS_FILE, INSTANCES_FILE])
@pytest.mark.parametrize("keep", [0, 0.6])
def test_a_file_cut_short_is_one_line(data, tmp_path, name, keep):
    cut(Path(data.folder) / name.format("val"), keep)
    with pytest.raises(DataError, match="cut short or not the official file") as raised:
        index(data, tmp_path / "source")
    assert "\n" not in str(raised.value) and name.format("val") in str(raised.value)
    assert not (tmp_path / "source").exists()


def test_a_file_of_something_else_is_one_line(data, tmp_path):
    (Path(data.folder) / INSTANCES_FILE.format("train")).write_text("[1, 2]")
    with pytest.raises(DataError, match="not the official file"):
        index(data, tmp_path / "source")


@pytest.mark.parametrize("name", [ANNOTATIONS_FILE, INSTANCES_FILE])
def test_a_missing_file_is_one_line(data, tmp_path, name):
    (Path(data.folder) / name.format("train")).unlink()
    with pytest.raises(DataError, match="not there"):
        index(data, tmp_path / "source")


def test_instances_may_lie_where_cocos_archive_unpacks_them(data, tmp_path):
    flat = index(data, tmp_path / "flat")
    folder = Path(data.folder)
    (folder / "annotations").mkdir()
    for part in ("train", "val"):
        name = INSTANCES_FILE.format(part)
        (folder / name).rename(folder / "annotations" / name)
    assert index(data, tmp_path / "nested") == flat


def test_a_folder_in_a_files_place_is_one_line(data, tmp_path):
    file = Path(data.folder) / ANNOTATIONS_FILE.format("train")
    file.unlink()
    file.mkdir()
    with pytest.raises(DataError, match="cannot be read .Is a directory."):
        index(data, tmp_path / "source")


def test_a_folder_without_questions_is_one_line(tmp_path):
    data = tiny.vqav2(tmp_path / "vqav2", parts=())
    with pytest.raises(DataError, match="download VQA v2"):
        index(data, tmp_path / "source")


LONG = "Is there " + "a very " * 80 + "old dog?"


@pytest.mark.parametrize("text", [LONG, "What is in <image>?", "</s>", "?", "Is\u200b it?"])
def test_a_question_that_models_would_not_read_is_named_and_left_out(data, tmp_path, text):
    change(data, QUESTIONS_FILE, lambda d: d["questions"][0].update(question=text))
    report = index(data, tmp_path / "source", [clip_reader(tiny.clip().tokenizer), tiny.llava().reader])
    assert (report.usable, report.problems) == (143, {"question unreadable": 1})
    ((kind, identity, why),) = report_lines(tmp_path / "source")
    assert (kind, identity) == ("question unreadable", QUESTION) and "the query" in why


def lossless(data):
    """A file that names itself a JPEG without loss, which libjpeg does not find in it."""
    content = photo(data).read_bytes()
    photo(data).write_bytes(content.replace(b"\xff\xc0", b"\xff\xc3", 1))


def as_floats(data):
    with Image.open(photo(data)) as image:
        pixels = image.convert("F")
    pixels.save(photo(data), "TIFF")


@pytest.mark.parametrize("breakage", [lossless, as_floats])
def test_an_image_that_training_could_not_read_is_left_out(data, tmp_path, breakage):
    breakage(data)
    report = index(data, tmp_path / "source")
    assert (report.entries - report.usable, report.problems) == (ALL, {"image unreadable": 1})


def test_parts_that_are_used_are_said(data, tmp_path):
    assert "note: the train part is trained on, the val part is the test part" in str(index(data, tmp_path / "two"))
    alone = tiny.vqav2(tmp_path / "val", parts=("val",))
    assert "note: the val part alone: one in five of its images" in str(index(alone, tmp_path / "one"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_part_does_not_go_missing_in_silence(data, tmp_path, part):
    """Its questions under another name would leave the other part to be split in its place."""
    file = Path(data.folder) / QUESTIONS_FILE.format(part)
    file.rename(file.with_name(f"{part}2014_questions.json"))
    with pytest.raises(DataError, match=f"{file.name}: not there, though .*{part}2014.* is; give the file that name"):
        index(data, tmp_path / "source")


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("held_out", ["animal", "dog"])
def test_instances_without_what_is_held_out_are_refused(data, tmp_path, part, held_out):
    file = Path(data.folder) / INSTANCES_FILE.format(part)
    document = json.loads(file.read_text())
    document["annotations"] = [entry for entry in document["annotations"] if entry["category_id"] != 18]
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=f"{file.name}: no instance of '{held_out}' .dog.*would be trained on"):
        index(replace(data, held_out=held_out), tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_an_instance_category_in_another_spelling_is_refused(data, tmp_path):
    change(data, INSTANCES_FILE, lambda d: d["categories"].append({"id": 99, "name": "Dog"}))
    with pytest.raises(DataError, match="'dog' .* and 'Dog' .* differ in spelling alone"):
        index(data, tmp_path / "source")
