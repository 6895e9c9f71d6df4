"""Where a photograph shows what a question asks about: names of things in questions, boxes, and the tokens in them."""

import math

import numpy as np
import pytest
import tiny

from uoisc.importers.regions import ALSO, Names, box_of, tokens_in

NAMES = ("person", "bicycle", "tennis racket", "hot dog", "dog", "traffic light", "bus", "sheep", "teddy bear", "bear")
NAMES += ("baseball bat", "knife", "skis", "animal", "couch", "orange")
named = Names({name: number for number, name in enumerate(NAMES)})


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("Is the woman wearing earrings?", "person"),
        ("What are the BOYS doing?", "person"),
        ("Is this man's bike new?", "person, bicycle"),
        ("How many people are there?", "person"),
        ("Is the hot dog on a plate?", "hot dog"),
        ("Who holds the tennis-rackets?", "tennis racket"),
        ("Is there a dog near the hot dogs?", "dog, hot dog"),
        ("How many busses do you see?", "bus"),
        ("Are the buses red? The traffic\nlight?", "bus, traffic light"),
        ("Is the teddy bear brown?", "teddy bear"),
        ("Is the bear brown?", "bear"),
        ("Are there stuffed animals or animals?", "teddy bear, animal"),
        ("Which knives are sharp?", "knife"),
        ("Do these ski boards have personality?", "skis"),
        ("Is the sofa soft?", "couch"),
        ("Is the dogwood in bloom on the mandate of a businessman?", ""),
        ("What is on top of the mountains?", ""),
    ],
)
def test_a_text_names_whole_words_the_longest_first(text, things):
    assert {NAMES[number] for number in named(text)} == {*filter(None, things.split(", "))}


def test_names_of_ones_own_data_are_found_too():
    assert Names({"Red Kite": 7})("Are there red kites?") == {7}


def test_no_word_is_of_two_categories():
    words = [word for also in ALSO.values() for word in also.split()]
    assert len(words) == len(set(words)) and not set(words) & set(ALSO)


BOX = (0.2, 0.1, 0.5, 0.9)


@pytest.mark.parametrize(
    "box",
    [
        (0.5, 0.1, 0.2, 0.9),
        (0.2, 0.9, 0.5, 0.1),
        (-0.2, 0.1, 0.5, 0.9),
        (0.2, 0.1, 0.5, 1.2),
        (math.nan, 0.1, 0.5, 0.9),
        (0.2, 0.1, math.inf, 0.9),
    ],
)
def test_an_impossible_box_is_none(box):
    assert box_of(*BOX) == BOX and box_of(*box) is None


def test_a_box_that_hangs_over_the_edge_is_cut_there():
    assert box_of(-0.004, 0.0, 0.5, 1.001) == (0.0, 0.0, 0.5, 1.0)


@pytest.mark.parametrize("side", [22, 6, 7])
def test_tokens_are_those_whose_centres_lie_in_a_box(side):
    rng = np.random.default_rng(side)
    for _ in range(50):
        left, right = sorted(rng.random(2))
        top, bottom = sorted(rng.random(2))
        grid = tokens_in([(left, top, right, bottom)], side)
        x = [left <= (i + 0.5) / side < right for i in range(side)]
        y = [top <= (i + 0.5) / side < bottom for i in range(side)]
        if any(x) and any(y):
            assert np.array_equal(grid, np.outer(y, x))
    assert tokens_in([(0.0, 0.0, 1.0, 1.0)], side).all() and not tokens_in([], side).any()


def test_a_small_or_thin_box_holds_the_tokens_at_its_middle():
    assert np.argwhere(tokens_in([(0.5, 0.25, 0.505, 0.2505)], 22)).tolist() == [[5, 11]]
    assert np.argwhere(tokens_in([(1.0, 1.0, 1.0, 1.0)], 22)).tolist() == [[21, 21]]
    pole = tokens_in([(0.5, 0.0, 0.51, 1.0)], 22)
    assert pole[:, 11].all() and pole.sum() == 22


def test_boxes_add_up():
    one, other = (0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 1.0, 1.0)
    assert np.array_equal(tokens_in([one, other], 22), tokens_in([one], 22) | tokens_in([other], 22))


SAMPLES = tiny.SAMPLES


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples beside the repository")
def test_of_real_questions_most_that_name_something_are_located(tmp_path):
    """Counted by reading them: 40 of the 63 name a category of COCO's or an animal, 37 one that has a box."""
    from dataclasses import replace

    from uoisc.importers.photographs import Photographs
    from uoisc.importers.vqav2 import index

    report = index(replace(tiny.vqav2(tmp_path / "unused", parts=()), folder=str(SAMPLES)), tmp_path / "source")
    found = Photographs(tmp_path / "source", SAMPLES, 352).index
    named = Names({name: n for n, name in enumerate(found.categories) if name not in ("indoor", "outdoor")})
    entries = found.entries(np.arange(len(found.questions)))
    assert sum(bool(named(entry["text"])) for entry in entries) == 40
    assert sum(bool(entry["boxes"]) for entry in entries) == 38
    assert "boxes say of 38 questions where the answer lies" in report.notes
    covered = sorted(tokens_in([tuple(box) for box in entry["boxes"]], 22).sum() for entry in entries if entry["boxes"])
    assert 60 < np.median(covered) < 200, "of 484: a region that singles tokens out"
