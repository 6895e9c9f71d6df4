"""The importer of one's own images: what a manifest's lines become, and which are refused."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from own_data import DATA, N, of_a_profile, two_each, written
from PIL import Image
from test_image_check import odd_files

from uoisc.base import config
from uoisc.base.errors import DataError
from uoisc.frozen.clip import clip_reader
from uoisc.frozen.weights import folder_digest
from uoisc.importers import sources
from uoisc.importers.manifest import index
from uoisc.importers.photographs import Photographs, query
from uoisc.importers.sources import open_source
from uoisc.stages.foundation_jobs import to_check

WHY = {"image": "photos/0.png", "question": "Why?", "answer": "no"}


@pytest.fixture
def lines() -> list[dict]:
    return two_each()


def opened(folder: Path, lines: list[dict | str]) -> Photographs:
    index(written(folder, lines), folder / "source")
    return Photographs(folder / "source", folder, 48)


def files(source: Photographs, split: str, held_out: str = "animal") -> set[str]:
    return {entry["file"] for entry in source.index.entries(source.rows(split, held_out))}


def test_lines_become_questions(tmp_path, lines):
    lines[0] |= {"type": "existence", "answers": ["yes", "yes", "no"]}
    source = opened(tmp_path, lines)
    entries = source.index.entries(np.arange(3))
    assert [(e["file"], e["type"], e["text"], e["truth"], e["answers"]) for e in entries] == [
        ("photos/0.png", "existence", "Question 0?", "yes", ["yes", "yes", "no"]),
        ("photos/0.png", "number", "Question 1?", "3", []),
        ("photos/1.png", "yes/no", "Question 0?", "yes", []),
    ]
    report = source.index.report
    assert (report.entries, report.usable, report.images, report.problems) == (2 * N, 2 * N, N, {})


def test_a_line_says_where_its_answer_lies(tmp_path, lines):
    lines[0]["boxes"] = [[0.5, 0, 1, 0.25], [0, 0, 0.1, 1]]
    lines[1]["boxes"] = []
    source = opened(tmp_path, lines)
    queries = [query(0, entry) for entry in source.index.entries(np.arange(3))]
    assert [q.located for q in queries] == [True, False, False]
    grid = source.regions(queries, 4).view(3, 4, 4)
    assert grid[0].int().tolist() == [[1, 0, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]] and not grid[1:].any()
    assert "note: boxes say of 1 questions where the answer lies" in str(source.index.report)


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ([[0, 0, 1]], "Expected `array` of length 4"),
        ([0, 0, 1, 1], "Expected `array`, got `int`"),
        ([["0", 0, 1, 1]], "Expected `float`, got `str`"),
        (
            [[10, 20, 30, 40]],
            r"no box of an image: \[10.0, 20.0, 30.0, 40.0\]; give \[left, top, right, bottom\] in shares",
        ),
        ([[0, 0, 0.5, 0.5], [0.5, 0, 0.2, 1]], "no box of an image"),
    ],
)
def test_an_impossible_box_is_named_by_its_line(tmp_path, lines, boxes, says):
    lines[2]["boxes"] = boxes
    report = opened(tmp_path, lines).index.report
    assert (report.entries - report.usable, report.problems) == (1, {"line unreadable": 1})
    (row,) = (tmp_path / "source" / "report.csv").read_text().splitlines()[1:]
    assert row.startswith("line unreadable,line 3") and re.search(says, row)


def test_categories_split_what_nobody_has_split(tmp_path, lines):
    source = opened(tmp_path, lines)
    animals = {line["image"] for line in lines if "animal" in line["categories"]}
    everything = {line["image"] for line in lines}
    assert files(source, "unseen") == animals
    assert files(source, "training") | files(source, "seen") == everything - animals
    assert files(source, "training") and files(source, "seen")
    assert not files(source, "training") & files(source, "seen")
    assert source.splits == ("seen", "unseen")


def test_a_new_image_leaves_the_others_where_they_are(tmp_path, lines):
    few, all_ = opened(tmp_path / "few", lines[: N // 2]), opened(tmp_path / "all", lines)
    named = {line["image"] for line in lines[: N // 2]}
    assert files(few, "training") == files(all_, "training") & named


def test_a_line_says_its_split(tmp_path, lines):
    for i, line in enumerate(lines):
        line["split"] = ("train", "seen", "unseen")[i // 2 % 3]
        line["categories"] = []
    source = opened(tmp_path, lines)
    for split, named in (("training", "train"), ("seen", "seen"), ("unseen", "unseen")):
        assert files(source, split) == {line["image"] for line in lines if line["split"] == named}


def test_an_image_of_the_held_out_category_is_never_trained_on(tmp_path, lines):
    for line in lines:
        line["split"] = "train"
    source = opened(tmp_path, lines)
    assert files(source, "training") == {line["image"] for line in lines if "animal" not in line["categories"]}
    assert source.splits == ()


def test_all_lines_of_an_image_say_what_it_shows(tmp_path, lines):
    lines[5]["categories"] = ["animal"]
    assert lines[4]["image"] in files(opened(tmp_path, lines), "unseen")


@pytest.mark.parametrize("split", [None, "train"])
@pytest.mark.parametrize(
    "broken", ["question", "answer", "number", "split", "numbered", "twice", "word", "named", "words", "other"]
)
def test_a_line_that_cannot_be_used_says_what_its_image_shows_all_the_same(tmp_path, lines, broken, split):
    """Or an image of the held-out category would be trained on for a slip in one of its lines."""
    lines = [line | ({"split": split} if split else {}) for line in lines]
    told = [line | {"categories": []} for line in lines[2:4]]
    lines[2:4] = told
    image = told[0]["image"]
    assert image not in files(opened(tmp_path / "without", lines), "unseen")
    faults = {"question": {"question": "<image>"}, "answer": {"answer": " "}, "number": {"answer": 3}}
    faults |= {"split": {"split": "test"}, "numbered": {"split": 1}, "twice": {"question": told[0]["question"]}}
    faults |= {"word": {"categories": "animal"}, "named": {"categories": [7, {"animal": ["dog"]}]}}
    faults |= {"words": {"categories": "Animal, grass"}, "other": {"categories": {"Car": 1, "animal": 2}}}
    line = told[0] | {"question": "Why?", "categories": ["animal"]} | faults[broken]
    source = opened(tmp_path / "with", [*lines, line])
    assert sum(source.index.report.problems.values()) == 1
    assert image not in files(source, "training")
    assert split or image in files(source, "unseen")


def test_other_pictures_under_the_same_names_are_another_index(tmp_path, lines):
    """What is kept of images and what was trained on them is of these files."""
    data = written(tmp_path, lines)
    digests = []
    for side in (20, 20, 21):
        Image.fromarray(np.full((side, 30, 3), 9, dtype=np.uint8)).resize((90, 90)).rotate(side).save(
            tmp_path / "photos" / "1.png"
        )
        index(data, tmp_path / "source")
        digests.append(folder_digest(tmp_path / "source"))
    assert digests[0] == digests[1] != digests[2]


def test_a_name_that_no_file_can_have_is_one_line_of_the_report(tmp_path, lines):
    report = index(replace(written(tmp_path, [*lines, WHY | {"image": "x" * 300}]), unusable=0.5), tmp_path / "long")
    assert report.usable == len(lines) and report.broken


def test_without_unseen_images_there_is_one_split(tmp_path, lines):
    for line in lines:
        line.pop("categories")
    source = opened(tmp_path, lines)
    assert source.splits == ("seen",)
    with pytest.raises(DataError, match="no question.*'unseen'"):
        source.ask_split("unseen", "animal", 5, [0])


def test_settings_are_chosen_on_other_images(tmp_path, lines):
    source = opened(tmp_path, lines)
    tested = files(source, "seen") | files(source, "unseen")
    for split in ("training", "seen", "unseen"):
        assert files(source, split, "food") and not files(source, split, "food") & tested


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        ('{"image": "photos/0.png", "question": "Why?"', "line unreadable", "truncated"),
        ("yes", "line unreadable", "malformed"),
        ('["photos/0.png"]', "line unreadable", "object"),
        ({"image": "photos/0.png", "question": "Why?"}, "line unreadable", "answer"),
        (WHY | {"answer": 3}, "line unreadable", "str"),
        (WHY | {"question": " "}, "line unreadable", "`question` is empty"),
        (WHY | {"category": "dog"}, "line unreadable", "category"),
        (WHY | {"split": "test"}, "line unreadable", "'test'"),
        (WHY | {"question": "Question 1?"}, "question twice", "line 3"),
        (WHY | {"image": "photos/1.png", "split": "seen"}, "split contradicts", "line 4"),
        (WHY | {"image": "photos/none.png"}, "image missing", "photos/none.png"),
        (WHY | {"image": "questions.jsonl"}, "image unreadable", "no image"),
        (WHY | {"image": "photos/cut.png"}, "image truncated", "photos/cut.png"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_by_its_number(tmp_path, lines, line, kind, says):
    lines[2]["split"] = "train"
    data = written(tmp_path, ["", *lines, line])
    whole = (tmp_path / "photos" / "3.png").read_bytes()
    (tmp_path / "photos" / "cut.png").write_bytes(whole[: len(whole) // 2])
    report = index(data, tmp_path / "source")
    assert (report.entries, report.usable, report.problems) == (2 * N + 1, 2 * N, {kind: 1})
    (found,) = (tmp_path / "source" / "report.csv").read_text().splitlines()[1:]
    where = f"line {2 * N + 2}" if not kind.startswith("image") else line["image"]
    assert found.startswith(f"{kind},{where},") and says in found


def test_too_many_broken_lines_stop_and_leave_only_the_report(tmp_path, lines):
    data = written(tmp_path, ["broken"] * N + lines)
    with pytest.raises(DataError, match=f"{N} of {3 * N} questions.*line unreadable: {N}.*source_report.csv") as raised:
        index(data, tmp_path / "data" / "source")
    assert "\n" not in str(raised.value)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["source_report.csv"]


def test_a_held_out_category_that_no_line_names_is_refused(tmp_path, lines):
    """A slip of the pen would train on what is to be held out. Lines may name no categories, or say their splits."""
    data = replace(written(tmp_path, lines), held_out="animl")
    with pytest.raises(DataError, match="held_out = 'animl': no line has that category; choose of animal, car, dog"):
        index(data, tmp_path / "source")
    assert not (tmp_path / "source").exists()
    index(replace(written(tmp_path, [line | {"categories": []} for line in lines]), held_out="animl"), tmp_path / "a")
    index(replace(written(tmp_path, [line | {"split": "unseen"} for line in lines]), held_out="animl"), tmp_path / "b")


def test_an_image_of_two_names_is_one(tmp_path, lines):
    """It would otherwise be drawn twice, and might be trained on and tested."""
    again = [line | {"image": f"photos/../photos/./{i // 2}.png", "question": "Else?"} for i, line in enumerate(lines)]
    source = opened(tmp_path, lines + again[::2])
    assert len(source.index.images) == N and not files(source, "training") & files(source, "seen")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_the_image_that_it_leads_to(tmp_path, lines, link):
    """Also one that leads out of the folder, which is allowed: images may lie on a disk of their own."""
    data = written(tmp_path / "mine", lines)
    elsewhere = (tmp_path / "mine" / "photos" / "0.png").rename(tmp_path / "elsewhere.png")
    for name in ("0.png", "again.png"):
        link(elsewhere, tmp_path / "mine" / "photos" / name)
    line = lines[2] | {"image": "photos/again.png", "question": "Else?", "split": "seen"}
    told = [lines[0] | {"split": "train"}, *lines[1:], line]
    (tmp_path / "mine" / "questions.jsonl").write_text("\n".join(map(json.dumps, told)))
    report = index(data, tmp_path / "source")
    assert (report.images, report.problems) == (N, {"split contradicts": 1})


@pytest.mark.parametrize("name", ["/etc/photo.png", "../photo.png", "photos/../../photo.png", "..", "//photo.png"])
def test_an_image_outside_the_folder_is_refused_by_its_line(tmp_path, lines, name):
    told = written(tmp_path, [*lines, WHY | {"image": name}])
    assert index(told, tmp_path / "source").problems == {"line unreadable": 1}
    report = (tmp_path / "source" / "report.csv").read_text().replace('"', "")
    assert f"line {2 * N + 1},image {name!r}: not below" in report


@pytest.fixture(scope="module")
def readers():
    return [clip_reader(tiny.clip().tokenizer), tiny.llava().reader]


LONG = "Is there " + "a very " * 80 + "old dog?"


@pytest.mark.parametrize(
    "question", [LONG, "What is <image> of?", "<|endoftext|>", "Is\u200b it?", "nul\0", "...", "\u200b"]
)
def test_a_question_that_models_would_not_read_is_named_by_its_line(tmp_path, lines, question, readers):
    report = index(written(tmp_path, [*lines, WHY | {"question": question}]), tmp_path / "source", readers)
    assert (report.usable, report.problems) == (2 * N, {"question unreadable": 1})
    assert f"question unreadable,line {2 * N + 1}," in (tmp_path / "source" / "report.csv").read_text()


def test_accepted_batches_are_read_by_loader_clip_and_judge(tmp_path, readers):
    """Odd images and odd questions in one folder: whatever the data stage accepts goes through."""
    (tmp_path / "photos").mkdir()
    odd = odd_files()
    for name, data in odd.items():
        (tmp_path / "photos" / name).write_bytes(data)
    asked = ["Is it?", LONG, "<image>", "¿Qué es esto?", "这是什么", "a  b\tc?", "x" * 90, "&lt;image&gt;"]
    asked += ["Why 🐶?", "</s>"]
    lines = [{"image": f"photos/{name}", "question": q, "answer": "yes"} for name in odd for q in asked]
    data = replace(written(tmp_path, lines), unusable=0.99)
    report = index(data, tmp_path / "source", readers)
    assert 0 < report.usable < report.entries and report.problems["question unreadable"] > len(odd)
    source = Photographs(tmp_path / "source", tmp_path, 48)
    entries = source.index.entries(np.arange(report.usable))
    assert source.pixels([entry["file"] for entry in entries]).shape == (report.usable, 48, 48, 3)
    texts = sorted({entry["text"] for entry in entries})
    assert "a b c?" in texts and len(tiny.clip().tokenize(texts)) == len(tiny.llava().tokenize(texts)[0]) == len(texts)


def test_notes_on_images_are_counted_and_listed(tmp_path, lines):
    data, further = written(tmp_path, [*lines, WHY | {"image": "photos/a.gif"}]), [Image.new("L", (8, 8), 9)]
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.gif", save_all=True, append_images=further)
    report = index(data, tmp_path / "source")
    assert report.notes == {"image read with a note": 1} and report.problems == {}
    assert str(report).endswith("(nothing broken)\nnote: image read with a note")
    listed = (tmp_path / "source" / "report.csv").read_text()
    assert f"image read with a note,photos/a.gif,line {2 * N + 1}: first of 2 frames" in listed


def test_nested_lines_are_one_problem_each(tmp_path, lines):
    deep = '{"image": "photos/0.png", "categories": ' + "[" * 200_000
    assert index(written(tmp_path, [*lines, deep]), tmp_path / "source").problems == {"line unreadable": 1}


def test_another_category_than_the_data_stage_held_out(tmp_path, lines, monkeypatch):
    index(written(tmp_path, lines), tmp_path / "source")
    place = config.Paths(tmp_path / "source", *(tmp_path for _ in range(4)))
    monkeypatch.setattr(sources, "paths", lambda profile: place)
    data = written(tmp_path, lines)
    assert open_source("mine", of_a_profile(data)).splits == ("seen", "unseen")
    swapped = replace(data, held_out=data.validation, validation=data.held_out)
    for told in (swapped, replace(data, held_out="car")):
        says = f"data.held_out = '{told.held_out}': the data stage has held out 'animal'; run it again"
        with pytest.raises(DataError, match=says):
            open_source("mine", of_a_profile(told))


def test_models_of_a_small_set_are_checked_on_training_images(tmp_path):
    """Three images with a `split`, as docs/own_data.md says: none is left where the other category is held out."""
    named = zip(("train", "seen", "unseen"), ("p.png", "q.png", "r.png"), strict=True)
    asked = [{"image": f"photos/{i}.png", "question": f"{name} {q}?", "answer": "no", "split": split}
             for i, (split, name) in enumerate(named) for q in "ab"]  # fmt: skip
    source = opened(tmp_path, asked)
    params = of_a_profile(DATA)
    found = to_check(source, "seen", params)
    assert {query.text for query in found.queries} == {"p.png a?", "p.png b?"} and found.split == "seen"
    assert found.images(slice(1, 3)).shape == (1, 3, 48, 48)
    assert to_check(source, "unseen", params) is None


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, lines):
    data = written(tmp_path, lines)
    Path(data.file).write_bytes(b"\xef\xbb\xbf" + Path(data.file).read_bytes())
    assert index(data, tmp_path / "source").usable == len(lines)


def test_an_empty_manifest_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no question"):
        index(written(tmp_path, []), tmp_path / "source")


def test_a_missing_manifest_is_one_line(tmp_path):
    with pytest.raises(DataError, match="data.file"):
        index(replace(DATA, file=str(tmp_path / "none.jsonl")), tmp_path / "source")
