"""Text in a picture's place: what words cost, what follows from them, what CLIP reads, and the rows of a split."""

from collections import Counter
from dataclasses import replace
from math import log2

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.results import COLUMNS
from uoisc.base.settings import JUDGES
from uoisc.data.question_types import COLOURS, TYPES
from uoisc.judge.evaluation import evaluation_questions
from uoisc.rivals import text
from uoisc.rivals.text import Recogniser, Session, Statistics, answers_by, query_bits, scene_bits

ROUNDS = 3  # fewer than eight, as every one takes two judges' time


@pytest.fixture
def session(monkeypatch) -> Session:
    monkeypatch.setattr(text, "open_study", lambda profile: tiny.study())
    monkeypatch.setattr(text, "FITTED", 10)
    monkeypatch.setattr(text, "ROUNDS", ROUNDS)
    monkeypatch.setattr(text, "KNOWN", (1, 2, 3))
    return Session.of(tiny.study(), "unseen")


def test_words_cost_the_logarithm_of_their_share_and_all_of_them_fill_no_more_than_one():
    known = Statistics.of([("kind", word) for word in "aaab"], "abcdefgh")
    assert known.counts == {"kind": Counter(a=3, b=1)} and known.guess("kind") == "a" and known.guess("other") == ""
    assert known.bits("kind", "a") == pytest.approx(log2(6 / 3)) and known.bits("kind", "b") == pytest.approx(log2(6))
    assert known.bits("kind", "c") == pytest.approx(log2(6 / 2) + log2(8)), "escape, then one of eight"
    assert known.bits("kind", "no") == pytest.approx(log2(6 / 2) + 8 * 3), "escape, then two bytes and the end"
    assert known.bits("other", "c") == pytest.approx(log2(8)), "nothing was counted: no escape"
    assert sum(2 ** -known.bits("kind", word) for word in "abcdefgh") <= 1


def test_of_equally_frequent_words_the_first_is_guessed():
    assert Statistics.of([("kind", word) for word in "cabb" + "c"]).guess("kind") == "b"


def test_a_description_costs_at_most_76_bits_and_its_drawings_13_more():
    """All 258 objects: log2 5 + log2 126 + 5 log2 258 + 9 log2 8."""
    world = tiny.all_names()
    scenes = tiny.world().sample(np.random.default_rng(0), 200, tiny.world().pool())
    bits, numbers = scene_bits(world, scenes), (scenes.objects >= 0).sum(1)
    assert bits[numbers == 5] == pytest.approx(76.36, abs=0.01) and bits.max() == bits[numbers == 5][0]
    assert bits[numbers == 1] == pytest.approx(log2(5 * 9 * 258) + 27)
    assert 76.36 + 5 * log2(6) == pytest.approx(89.28, abs=0.01)


def test_a_query_costs_which_of_all_it_is():
    world = tiny.world()
    for query in evaluation_questions(tiny.study(), "seen").queries:
        assert query_bits(world, query) == pytest.approx(log2(len(TYPES)) + log2(len(tiny.texts_of(query.type, world))))


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_every_answer_follows_from_what_is_there(split):
    asked = evaluation_questions(tiny.study(), split)
    assert answers_by(asked.world, asked.scenes, asked.queries) == [query.truth for query in asked.queries]


def test_answers_follow_from_another_description_too():
    """Turned by half, a scene's objects lie at the mirrored places; without any, nothing can be said of them."""
    asked, world = evaluation_questions(tiny.study(), "unseen"), tiny.world()
    turned = replace(asked.scenes, objects=asked.scenes.objects[:, ::-1], colours=asked.scenes.colours[:, ::-1])
    empty = replace(asked.scenes, objects=np.full_like(asked.scenes.objects, -1))
    found = [answers_by(world, scenes, asked.queries) for scenes in (turned, empty)]
    opposite = {"upper": "lower", "lower": "upper", "left": "right", "right": "left"}
    for query, mirrored, none in zip(asked.queries, *found, strict=True):
        if query.type == "place":
            assert mirrored == " ".join(opposite.get(word, word) for word in query.truth.split()) and none == ""
        if query.type in ("existence", "colour", "count"):
            assert mirrored == query.truth, "neither moves with the tiles"
        if query.type in ("existence", "count", "what"):
            assert none == {"existence": "no", "count": "0", "what": ""}[query.type]
        if query.type in ("relation", "reference"):
            assert none == "nothing"


class Clear(Recogniser):
    """Reads scenes that it is given in the place of images, through a little noise."""

    def _scores(self, x):
        rng, (names, colours) = np.random.default_rng(0), (len(tiny.world().names), len(COLOURS))
        objects = np.eye(names + 1)[self.scenes.objects, :names] + rng.uniform(0, 0.4, (len(self.scenes), 9, names))
        return torch.from_numpy(objects), torch.from_numpy(np.eye(colours)[self.scenes.colours])


def test_tiles_are_empty_below_the_cosine_that_errs_least(monkeypatch):
    world = tiny.world()
    scenes = world.sample(np.random.default_rng(1), 30, world.pool())
    monkeypatch.setattr(Clear, "scenes", scenes, raising=False)
    reader = Clear(tiny.clip(), world, scenes)
    assert reader.least == pytest.approx(0.4, abs=0.02), "the greatest of an empty tile"
    read = reader.read(world.render(scenes), scenes)
    np.testing.assert_array_equal(read.objects, scenes.objects)
    np.testing.assert_array_equal(read.colours, scenes.colours)


def test_a_real_clip_reads_every_tile_as_something(session):
    scenes = session.asked.scenes[: len(session.asked)]
    read = Recogniser(tiny.clip(), tiny.world(), scenes).read(session.asked.all_images(), scenes)
    assert read.objects.shape == scenes.objects.shape and read.objects.min() >= -1
    assert read.colours.min() >= 0 and read.colours.max() < len(COLOURS)


def test_what_reads_the_scenes_was_fitted_without_a_held_out_object(session, monkeypatch):
    fitted, world = [], tiny.world()

    class Watched(Recogniser):
        def __init__(self, clip, world, training):
            fitted.append(training)
            super().__init__(clip, world, training)

    monkeypatch.setattr(text, "Recogniser", Watched)
    monkeypatch.setattr(Session, "hear", lambda *_: [])
    session.descriptions()
    held_out = np.flatnonzero(world.pool(only=tiny.PARAMS.data.held_out))
    met = np.unique(fitted[0].objects)
    assert len(fitted) == 1 and len(met) > 10 and not np.isin(met, held_out).any()


def test_no_question_is_asked_of_a_scene_twice(session):
    assert session.rounds[0] == session.asked.queries == evaluation_questions(tiny.study(), "unseen", 5).queries
    assert [len(queries) for queries in session.rounds] == [5] * ROUNDS
    for row in range(5):
        own = [queries[row] for queries in session.rounds]
        assert {query.image for query in own} == {row} and len({query.text for query in own}) == ROUNDS
    assert answers_by(tiny.world(), session.asked.scenes[:5], session.rounds[-1]) == [
        q.truth for q in session.rounds[-1]
    ]


def test_rows_of_a_split(session):
    kind = session.asked.queries[0].type
    table = text.text_bounds("tiny", "unseen", [kind])
    assert list(table.columns) == COLUMNS["text_bounds.csv"]
    amr = table[table["metric"] == "amr"].set_index(["method", "judge", "questions", "bits"])["value"]
    own = amr.xs("answer").xs(JUDGES[0])
    assert list(own.index.get_level_values("questions")) == [1, 2, 3] and (own == 1).all(), "its own answers"
    assert own.index.get_level_values("bits").is_monotonic_increasing
    costs = {
        method: amr.xs(method).reset_index()["bits"] for method in ("description", "perfect", "uoisc", "dial", "guess")
    }
    assert costs["perfect"].iloc[0] == pytest.approx(scene_bits(tiny.world(), session.asked.scenes[:5]).mean())
    assert costs["uoisc"].nunique() == 1 and costs["dial"].nunique() == 2 and (costs["guess"] == 0).all()
    counts = [query.type == kind for query in session.asked.queries]
    reliable = table[table["metric"] == "amr_reliable"].set_index(["method", "judge", "questions"])
    assert (reliable["n"] == sum(counts)).all() and set(reliable.index.get_level_values("questions")) == {1}
    first = text.text_bounds("tiny", "unseen", ()).set_index(["metric", "method", "judge", "questions"])
    assert "amr_reliable" not in first.index.get_level_values("metric")
    beyond = table[table["metric"] == "amr_unforeseen"].set_index(["method", "judge"])["value"]
    assert beyond["answer", JUDGES[1]] == beyond["guess", JUDGES[1]], "answers to other questions tell nothing"
    about = table[table["judge"] == "none"].set_index(["method", "metric"])["value"]
    assert about["query", "utf8_bits"] == np.mean([8 * len(query.text) for query in session.asked.queries])
    assert about["query", "ideal_bits"] < about["query", "utf8_bits"]


def test_pictures_are_sent_once_for_the_first_question(session):
    point = next(point for point in text.points(tiny.PARAMS) if point.variant == "adaptive")
    codec, offer = tiny.study().codec(*point), session.picture(point)
    x = session.asked.all_images()
    drawn = codec.decode(codec.encode(x, session.asked.texts), session.asked.texts)
    for queries, heard in zip(session.rounds, offer.answers, strict=True):
        for name, judge in tiny.study().judges.items():
            assert heard[name] == judge.answer(drawn, [query.text for query in queries])
    assert (offer.bits == codec.bits).all() and offer.bits.shape == (5, ROUNDS)


def test_of_other_sources_there_are_answers_alone(monkeypatch):
    study = tiny.study()
    asked = evaluation_questions(study, "seen", 5)
    bare = text.Asked(asked.split, asked.queries, asked.others, asked.images)
    monkeypatch.setattr(text, "open_study", lambda profile: study)
    monkeypatch.setattr(text, "evaluation_questions", lambda *_: bare)
    monkeypatch.setattr(text, "PICTURES", ())
    found = text.text_bounds("tiny", "seen", ())
    assert set(found["method"]) == {"query", "answer", "guess"} and set(found["questions"]) == {1}
    assert set(found["metric"]) == {"utf8_bits", "amr"}
