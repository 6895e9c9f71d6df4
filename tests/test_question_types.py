"""One table of question types: what stands in it is asked, answered, read and learnt, with nothing to add elsewhere."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.errors import DataError
from uoisc.data.answers import DENIAL
from uoisc.data.question_types import TYPES, QuestionType, answer_texts, query_words
from uoisc.data.questions import Query
from uoisc.data.scenes import token_tiles
from uoisc.data.sights import PLACES, lacking
from uoisc.frozen.foundation import attribute_texts, region_texts
from uoisc.frozen.foundation_llava import UNKNOWN, Packer, build_processor
from uoisc.frozen.llava import FrozenLlava

TOY = QuestionType(
    "does the {name} touch the bottom",
    truth=lambda sight: "perhaps" if sight.place.startswith("lower") else "never",
    answers=lambda world: ("perhaps", "never"),
)
PAIR = QuestionType(  # two slots
    "might {a_name} stay at the {place}",
    truth=lambda sight: "yes" if sight.named() == sight.placed() else "no",
    answers=lambda world: ("yes", "no"),
    contrary=lacking,
)


@pytest.fixture
def toys(monkeypatch) -> None:
    monkeypatch.setitem(TYPES, "toy", TOY)
    monkeypatch.setitem(TYPES, "pair", PAIR)


def asked(n: int = 300) -> list[Query]:
    rng = np.random.default_rng(0)
    scenes = tiny.world().sample(rng, n, tiny.world().pool())
    return tiny.world().ask_each(rng, scenes, 1)


def test_a_new_type_is_asked_in_its_turn_and_its_texts_and_answers_are_known(toys):
    queries = asked()
    world, texts, answers = tiny.world(), set(tiny.query_texts(tiny.world())), set(answer_texts(tiny.world()))
    assert {query.type for query in queries} == set(TYPES)
    assert all(query.text in texts and query.truth in answers for query in queries)
    own = [query for query in queries if query.type == "toy"]
    assert {query.truth for query in own} == {"perhaps", "never"}
    for query in own:
        assert query.text == f"does the {query.object} touch the bottom"
        assert query.truth == ("perhaps" if query.tiles[0] >= 6 else "never")
    assert {TOY.template.format(name=name) for name in world.names} < texts
    assert sum(text.startswith("might") for text in texts) == len(world.names) * len(PLACES)


def test_the_words_are_those_of_all_queries(toys):
    words = {word for text in tiny.query_texts(tiny.world()) for word in text.split()}
    assert query_words(tiny.world()) == words and "might" in words


def test_half_of_the_questions_of_a_type_with_a_contrary_have_the_opposite_truth(toys):
    own = [query for query in asked(len(TYPES) * 400) if query.type == "pair"]
    no = sum(query.truth == "no" for query in own)
    assert abs(no - 200) < 5 * 10 and len(own) == 400  # binomial, standard deviation 10
    assert all((query.tiles == ()) == (query.truth == "no") for query in own)


def test_both_tokenizers_read_a_new_type(toys):
    """Every word of its queries is a word of the judges, each answer one token; CLIP's reads all and learns them."""
    world = tiny.world()
    tokenizer = build_processor(world, tiny.TOWER, tiny.IMAGE).tokenizer
    for text in tiny.query_texts(world):
        assert UNKNOWN not in tokenizer(text, add_special_tokens=False)["input_ids"], text
    for answer in answer_texts(world):
        denied = answer.startswith(DENIAL)
        assert len(tokenizer(answer, add_special_tokens=False)["input_ids"]) == (4 if denied else 1)
    assert tiny.clip().tokenize([PAIR.template.format(a_name="a lion", place=PLACES[0])]).any()
    rng = np.random.default_rng(0)
    scenes = world.sample(rng, 64, world.pool())
    learnt = [text for _ in range(5) for text in region_texts(world, scenes, rng, world)[2]]
    assert any(text.endswith("touch the bottom") for text in learnt) and any("might" in text for text in learnt)
    assert not [text for text in learnt if "{" in text]


def test_a_new_type_about_a_place_or_a_colour_is_learnt_by_clip(monkeypatch):
    places, colours = attribute_texts()
    monkeypatch.setitem(
        TYPES, "toy", QuestionType("who is {place}", lambda sight: sight.name, lambda world: world.names)
    )
    monkeypatch.setitem(TYPES, "hue", QuestionType("who is on {colour}", lambda sight: sight.name, lambda world: ()))
    more, hues = attribute_texts()
    assert more == places + [f"who is {place}" for place in PLACES]
    assert hues[: len(colours)] == colours and hues[len(colours)] == "who is on red" and len(hues) == len(colours) + 8


def test_an_unknown_word_raises_when_training_texts_are_made():
    pack = Packer(FrozenLlava(tiny.llava_model(), tiny.processor()))
    known = Query(0, "place", "where is the horse", "upper left", "horse")
    assert pack.ids(known)
    for text, truth in (("whither is the horse", "upper left"), ("where is the horse", "heaven")):
        with pytest.raises(DataError, match="question type 'place' holds a word that the judges do not know"):
            pack.ids(Query(0, "place", text, truth, "horse"))


@pytest.mark.parametrize("template", ["where is the {object}", "where is it"])
def test_a_template_without_a_known_slot_is_one_clear_line(template):
    with pytest.raises(DataError, match="between braces; known are name, a_name, a_other, place, side, colour"):
        QuestionType(template, lambda sight: sight.place, lambda world: PLACES)


@pytest.mark.parametrize("side", [3, 4, 6, 7, 14, 22])
def test_tokens_belong_to_the_tile_that_holds_their_centre(side):
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    expected = [int(3 * row) * 3 + int(3 * column) for row in centres for column in centres]
    assert token_tiles(side).tolist() == expected
    regions = tiny.world().regions([Query(0, "toy", "", "", "", (0, 8)), Query(1, "toy", "", "", "")], side)
    assert regions.shape == (2, side**2) and not regions[1].any()
    assert regions[0].nonzero().flatten().tolist() == [i for i, tile in enumerate(expected) if tile in (0, 8)]


def test_the_recipe_in_the_docs_is_a_type(monkeypatch):
    page = (Path(__file__).parent.parent / "docs/extending.md").read_text()
    (block,) = re.findall(r"(?s)```python\n(.*?)```", page)
    for name, kind in eval(f"{{{block}}}", {"QuestionType": QuestionType}).items():
        monkeypatch.setitem(TYPES, name, kind)
    own = [query for query in asked(len(TYPES) * 300) if query.type == "low"]
    no = sum(query.truth == "no" for query in own)
    assert len(own) == 300 and abs(no - 200) < 5 * 8.2  # binomial of 2/3, standard deviation 8.2
    assert all((query.truth == "yes") == (query.tiles[0] >= 6) for query in own)


@pytest.mark.parametrize("later", [0, 1])
def test_judges_are_asked_what_others_build_on_first_and_later_what_is_hard(later):
    kinds = [name for name, kind in TYPES.items() for _ in range(kind.turns[later])]
    scenes = tiny.world().sample(np.random.default_rng(0), 2 * len(kinds), tiny.world().pool())
    asked = Counter(query.type for query in tiny.world().ask_each(np.random.default_rng(0), scenes, 1, kinds=kinds))
    assert asked == {name: 2 * kind.turns[later] for name, kind in TYPES.items() if kind.turns[later]}
    assert max(asked, key=asked.get) in (("count", "relation") if later else ("place",))
    assert later == (set(asked) == set(TYPES)), "every type, once those that others build on are learnt"
