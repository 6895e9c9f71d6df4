"""The importer of VQA v2 on a small folder in the official format: what it keeps, leaves out and says."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from uoisc.base.errors import DataError
from uoisc.importers.question_index import LINES, Index
from uoisc.importers.vqav2 import index
from uoisc.importers.vqav2_files import ANNOTATIONS_FILE, INSTANCES_FILE, QUESTIONS_FILE, image_file

SAMPLES = tiny.SAMPLES
FIRST = 100_000  # the first image of the training part, which asks questions 100000000 to 100000002


@pytest.fixture
def data(tmp_path):
    return tiny.vqav2(tmp_path / "vqav2")


def change(data, name: str, edit: Callable[[dict], None]) -> None:
    file = Path(data.folder) / name.format("train")
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def photo(data, image_id: int = FIRST) -> Path:
    return Path(data.folder) / image_file("train", image_id)


def report_lines(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "report.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def cut(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])


def as_words(data):
    """An image file that holds text."""
    photo(data).write_text("<html>404</html>")


def halved(data):
    """Cut among its pixels, which are of some size only where they are noise."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photo(data), quality=95)
    cut(photo(data), 0.5)


def edited(name: str, edit: Callable[[dict], None]) -> Callable:
    """A breakage of one of the training part's documents."""
    return lambda data: change(data, name, edit)


def question_of_foreign_bytes(data):
    file = Path(data.folder) / QUESTIONS_FILE.format("train")
    file.write_bytes(file.read_bytes().replace(b'"question": "', b'"question": "\xff', 1))


IMAGE, QUESTION = str(FIRST), str(1000 * FIRST)
ONE, ALL = 1, 3  # questions that go with it, of the first image's three
UNKNOWN = ["instance of no image or category", "question about no image of the instances"]
NO_QUESTION = ["annotation without question", "question incomplete"]
NO_ANNOTATION = ["annotation incomplete", "question without annotation"]
WRONG_NAME, RENAMED = {"file_name": "COCO_train2014_000000000001.jpg"}, "COCO_train2014_100000.jpg"
BREAKAGES = [
    (as_words, ["image unreadable"], IMAGE, ALL),
    (halved, ["image truncated"], IMAGE, ALL),
    (lambda data: cut(photo(data), 0.1), ["image unreadable"], IMAGE, ALL),
    (lambda data: photo(data).write_bytes(b""), ["image unreadable"], IMAGE, ALL),
    (lambda data: cut(photo(data), 0.95), ["image truncated"], IMAGE, ALL),
    (lambda data: Image.new("RGB", (30, 30)).save(photo(data)), ["image of other size"], IMAGE, ALL),
    (lambda data: photo(data).unlink(), ["image missing"], IMAGE, ALL),
    (lambda data: photo(data).rename(photo(data).with_name(RENAMED)), ["image missing"], IMAGE, ALL),
    *(
        (edited(INSTANCES_FILE, edit), kinds, identity, lost)
        for edit, kinds, identity, lost in (
            (lambda d: d["images"][0].update(WRONG_NAME), ["image of other name", *UNKNOWN], IMAGE, ALL),
            (lambda d: d["images"].pop(0), UNKNOWN, QUESTION, ALL),
            (lambda d: d["images"][0].pop("width"), ["image incomplete", *UNKNOWN], IMAGE, ALL),
            (lambda d: d["images"].append(d["images"][0]), ["image twice"], IMAGE, 0),
            (lambda d: d["annotations"][0].pop("category_id"), ["instance incomplete"], IMAGE, 0),
            (lambda d: d["annotations"][0].pop("bbox"), ["instance without box"], IMAGE, 0),
            (lambda d: d["annotations"][0].update(bbox=[1, 2, "wide", 4]), ["instance without box"], IMAGE, 0),
            (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), ["instance without box"], IMAGE, 0),
            (lambda d: d["annotations"][0].update(bbox=[1, 2, -3, 4]), ["instance without box"], IMAGE, 0),
            (lambda d: d["annotations"][0].update(bbox=[1, 2, 300, 4]), ["instance without box"], IMAGE, 0),
            (lambda d: d["annotations"][0].update(image_id=5), UNKNOWN[:1], "5", 0),
            (lambda d: d["annotations"][0].update(category_id=91), UNKNOWN[:1], IMAGE, 0),
        )
    ),
    *(
        (edited(QUESTIONS_FILE, edit), kinds, QUESTION, lost)
        for edit, kinds, lost in (
            (lambda d: d["questions"].append(d["questions"][0]), ["question twice"], ONE),
            (lambda d: d["questions"][0].pop("question"), NO_QUESTION, ONE),
            (lambda d: d["questions"][0].update(question="  "), NO_QUESTION, ONE),
            (lambda d: d["questions"][0].update(image_id="first"), NO_QUESTION, ONE),
            (lambda d: d["questions"][0].update(question_id=2**64), NO_QUESTION, ONE),
            (lambda d: d["questions"].pop(0), NO_QUESTION[:1], 0),
        )
    ),
    (question_of_foreign_bytes, NO_QUESTION, QUESTION, ONE),
    *(
        (edited(ANNOTATIONS_FILE, edit), kinds, QUESTION, lost)
        for edit, kinds, lost in (
            (lambda d: d["annotations"].pop(0), NO_ANNOTATION[1:], ONE),
            (lambda d: d["annotations"].append(d["annotations"][0]), ["annotation twice"], 0),
            (lambda d: d["annotations"][0].pop("answer_type"), NO_ANNOTATION, ONE),
            (lambda d: d["annotations"][0]["answers"].pop(), NO_ANNOTATION, ONE),
            (
                lambda d: d["annotations"][0].update(image_id=FIRST + 7),
                ["annotation of other image", *NO_ANNOTATION[1:]],
                ONE,
            ),
        )
    ),
]


def test_all_of_a_sound_folder_is_kept(data, tmp_path):
    report = index(data, tmp_path / "source")
    assert (report.entries, report.usable, report.images, report.problems) == (144, 144, 48, {})
    assert report_lines(tmp_path / "source") == []
    found = Index(tmp_path / "source")
    entry = found.entries(np.array([1]))[0]
    assert entry["file"] == image_file("train", FIRST)
    assert (entry["type"], entry["text"], entry["truth"]) == ("number", "How many people are there?", "2")
    assert entry["answers"] == ["2"] * 7 + ["3"] * 3
    assert Index(tmp_path / "source").report == report


@pytest.mark.parametrize(("breakage", "kinds", "identity", "lost"), BREAKAGES)
def test_what_is_broken_is_named_and_left_out(data, tmp_path, breakage, kinds, identity, lost):
    breakage(data)
    report = index(data, tmp_path / "source")
    lines = report_lines(tmp_path / "source")
    assert sorted(report.problems) == sorted({kind for kind, _, _ in lines}) == kinds
    assert identity in {which for _, which, _ in lines}
    assert report.entries - report.usable == lost
    assert len(Index(tmp_path / "source").questions) == report.usable
    assert sum(report.problems.values()) == len(lines)


def test_an_image_that_nothing_usable_is_asked_about_is_not_looked_at(data, tmp_path):
    change(data, ANNOTATIONS_FILE, lambda d: d.update(annotations=d["annotations"][3:]))
    photo(data).unlink()
    report = index(data, tmp_path / "source")
    assert (report.images, report.problems) == (47, {"question without annotation": 3})


def test_a_padded_image_is_whole(data, tmp_path):
    """Some of COCO's files go on behind their end-of-image marker."""
    for padding in (b"\0" * 7, b"\0" * 5000):
        photo(data).write_bytes(photo(data).read_bytes() + padding)
    assert index(data, tmp_path / "source").problems == {}


def test_too_many_broken_entries_stop_and_leave_only_the_report(data, tmp_path):
    for n in range(24):
        photo(data, FIRST + 7 * n).unlink()
    with pytest.raises(DataError) as raised:
        index(data, tmp_path / "data" / "source")
    message = str(raised.value)
    report = tmp_path / "data" / "source_report.csv"
    assert "\n" not in message
    assert "72 of 144 questions" in message and "image missing: 24" in message and str(report) in message
    assert [path.name for path in (tmp_path / "data").iterdir()] == [report.name]
    assert len(report.read_text().splitlines()) == 25
    index(replace(data, unusable=0.5), tmp_path / "data" / "source")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["source"]


def test_a_failure_leaves_the_index_that_was_there(data, tmp_path):
    index(data, tmp_path / "source")
    before = {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}
    cut(Path(data.folder) / ANNOTATIONS_FILE.format("val"), 0.7)
    with pytest.raises(DataError):
        index(data, tmp_path / "source")
    assert {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()} == before


def test_a_report_holds_so_many_lines_of_a_kind(tmp_path):
    data = tiny.vqav2(tmp_path / "vqav2", images=2, questions=LINES)
    change(data, ANNOTATIONS_FILE, lambda d: d.update(annotations=d["annotations"][2 * LINES - 5 :]))
    report = index(replace(data, unusable=0.9), tmp_path / "source")
    assert report.problems == {"question without annotation": 2 * LINES - 5}
    assert len(report_lines(tmp_path / "source")) == LINES


@pytest.mark.parametrize("key", ["held_out", "validation"])
def test_an_unknown_category_is_one_line(data, tmp_path, key):
    with pytest.raises(DataError, match=f"data.{key} = 'unicorn': choose of animal, human, indoor, outdoor"):
        index(replace(data, **{key: "unicorn"}), tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_groups_are_what_coco_s_instances_say(data, tmp_path):
    index(data, tmp_path / "source")
    found = Index(tmp_path / "source")
    shown = {name: found.has(name)[:8].astype(int).tolist() for name in ("animal", "human", "indoor", "outdoor", "dog")}
    assert shown == {
        "animal": [1, 0, 0, 0, 0, 1, 0, 0],
        "human": [0, 0, 1, 0, 1, 0, 0, 0],
        "indoor": [0, 1, 0, 0, 0, 1, 0, 0],
        "outdoor": [0, 0, 1, 0, 0, 0, 1, 0],
        "dog": [1, 0, 0, 0, 0, 1, 0, 0],
    }


def test_an_image_shows_what_an_instance_without_box_is_of(data, tmp_path):
    """It is held out as any other: only where in it the dog is, nobody knows."""
    change(data, INSTANCES_FILE, lambda d: d["annotations"][0].pop("bbox"))
    index(data, tmp_path / "source")
    found = Index(tmp_path / "source")
    assert found.has("animal")[0] and found.entries(np.array([0]))[0]["boxes"] == []


def test_questions_hold_the_boxes_of_what_they_name_in_their_image(data, tmp_path):
    """Of a dog, a couch and a person, where the generated folder puts the first and the second thing of an image."""
    index(data, tmp_path / "source")
    entries = Index(tmp_path / "source").entries(np.arange(144))
    places = {0: {"dog": 0}, 1: {"couch": 0}, 2: {"person": 1}, 4: {"person": 0}, 5: {"couch": 0, "dog": 1}}
    words = {"Is there a dog on the couch?": ("dog", "couch"), "How many people are there?": ("person",)}
    for entry in entries:
        shown = places.get((entry["image"] % 24) % 8, {})
        named = sorted(shown[name] for name in words.get(entry["text"], ()) if name in shown)
        boxes = [(0.1 + 0.4 * place, 0.2 + 0.2 * place, 0.45 + 0.4 * place, 0.6 + 0.2 * place) for place in named]
        assert sorted(map(tuple, entry["boxes"])) == [pytest.approx(box, abs=1e-3) for box in boxes]
    located = sum(bool(entry["boxes"]) for entry in entries)
    assert f"note: boxes say of {located} questions where the answer lies" in str(Index(tmp_path / "source").report)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_real_questions_are_indexed(tmp_path):
    report = index(replace(tiny.vqav2(tmp_path / "unused", parts=()), folder=str(SAMPLES)), tmp_path / "source")
    assert (report.entries, report.usable, report.images, report.problems) == (63, 63, 42, {})
    entry = Index(tmp_path / "source").entries(np.array([2]))[0]
    assert entry["text"] == "What is the giraffe standing behind?"
    assert len(entry["answers"]) == 10
