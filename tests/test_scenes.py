"""The embedded benchmark: the same seed gives the same scenes, answers are true, constant answers score at chance."""

from collections import Counter

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.errors import DataError
from uoisc.data.objects import plural
from uoisc.data.question_types import (
    COLOURS,
    MAX_OBJECTS,
    PLACES,
    TILES,
    TYPES,
    answer_texts,
    query_texts,
    with_article,
)
from uoisc.data.scenes import MAX_COUNT, Scenes
from uoisc.judge.evaluation import EVALUATION_STREAM

HELD_OUT = "animal"
N = 2000


def sampled(n: int = N, seed: int = 0, **options) -> Scenes:
    world = tiny.world()
    return world.sample(np.random.default_rng(seed), n, options.pop("allowed", world.pool()), **options)


def within_chance(hits: int, n: int, p: float) -> bool:
    """Within five standard deviations of a binomial: a true p fails once in two million draws."""
    return abs(hits - n * p) <= 5 * np.sqrt(n * p * (1 - p))


def truth_from_arrays(scenes: Scenes, query) -> str:
    """The answer, read off the scene's arrays from the query's words alone."""
    world, row = tiny.world(), query.image
    there = {world.names[o]: t for t, o in enumerate(scenes.objects[row]) if o >= 0}
    words = query.text.split()
    if query.text.startswith("how many"):
        (category,) = [c for c in world.categories if query.text == f"how many {plural(c)} are there"]
        entries = {entry.name: entry.category for entry in tiny.entries()}
        return str(sum(entries[name] == category for name in there))
    if query.text.startswith("is there"):
        return "yes" if " ".join(words[3:]) in there else "no"
    if query.text.startswith("where is the"):
        return PLACES[there[" ".join(words[3:])]]
    if query.text.startswith("what colour is behind the"):
        return list(COLOURS)[scenes.colours[row][there[" ".join(words[5:])]]]
    assert query.text.startswith("what is at the")
    (tile,) = [t for t, place in enumerate(PLACES) if query.text.endswith(f"the {place}")]
    return world.names[scenes.objects[row][tile]]


def test_the_same_seed_gives_the_same_scenes_queries_and_images():
    def everything(seed: int):
        rng = np.random.default_rng(seed)
        scenes = tiny.world().sample(rng, 20, tiny.world().pool())
        return scenes, tiny.world().ask_each(rng, scenes, 3), tiny.world().render(scenes)

    (scenes, queries, images), (again, asked, drawn) = everything(5), everything(5)
    assert all(np.array_equal(getattr(scenes, k), getattr(again, k)) for k in vars(scenes))
    assert queries == asked and torch.equal(images, drawn)
    assert not np.array_equal(scenes.objects, everything(6)[0].objects)


def test_a_scene_holds_up_to_five_objects_each_at_most_once():
    scenes = sampled()
    world = tiny.world()
    for row in range(len(scenes)):
        objects = scenes.objects[row][scenes.objects[row] >= 0]
        assert 1 <= len(objects) <= MAX_OBJECTS and len(set(objects)) == len(objects)
        assert 1 <= (world.category_of[objects] == scenes.focus[row]).sum() <= MAX_COUNT
    occupied = (scenes.objects >= 0).sum(0)
    assert all(within_chance(hits, occupied.sum(), 1 / TILES) for hits in occupied)


def test_no_held_out_object_where_none_may_be():
    world = tiny.world()
    held_out = {e.name for e in tiny.entries() if e.category == HELD_OUT}
    scenes = sampled(allowed=world.pool(exclude=HELD_OUT))
    assert not {world.names[o] for o in scenes.objects[scenes.objects >= 0]} & held_out
    seen = world.ask_split("seen", HELD_OUT, 300, [0, EVALUATION_STREAM])
    assert not {world.names[o] for o in seen.scenes.objects[seen.scenes.objects >= 0]} & held_out
    assert not {q.object for q in seen.queries + seen.others} & {*held_out, HELD_OUT}


def test_every_unseen_query_is_about_a_held_out_object():
    world = tiny.world()
    held_out = {e.name for e in tiny.entries() if e.category == HELD_OUT}
    unseen = world.ask_split("unseen", HELD_OUT, 300, [0, EVALUATION_STREAM])
    for query in unseen.queries + unseen.others:
        assert query.object in held_out or (query.type == "count" and query.object == HELD_OUT)
        assert query.truth == truth_from_arrays(unseen.scenes, query)


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_the_other_query_of_a_scene_is_another_query(split):
    asked = tiny.world().ask_split(split, HELD_OUT, N, [0, EVALUATION_STREAM])
    pairs = list(zip(asked.queries, asked.others, strict=True))
    assert all(query.image == other.image for query, other in pairs)
    assert not [query.text for query, other in pairs if query.text == other.text]


def test_answers_are_true():
    scenes = sampled()
    queries = tiny.world().ask_each(np.random.default_rng(1), scenes, 2)
    assert {query.type for query in queries} == set(TYPES)
    for query in queries:
        assert query.truth == truth_from_arrays(scenes, query)
        assert query.text in query_texts(tiny.world()) and query.truth in answer_texts(tiny.world())


def test_an_oracle_is_told_the_tiles_that_hold_the_answer():
    scenes, world = sampled(500), tiny.world()
    for query in world.ask_each(np.random.default_rng(1), scenes, 2):
        names = [world.names[scenes.objects[query.image][t]] for t in query.tiles]
        if query.type == "count":
            assert len(names) == int(query.truth) and all(
                world.categories[world.category_of[world.names.index(name)]] == query.object for name in names
            )
        else:
            there = {world.names[o] for o in scenes.objects[query.image] if o >= 0}
            assert names == [query.object] * (query.object in there)


def test_types_in_turn():
    scenes = sampled(20 * len(TYPES))
    kinds = Counter(query.type for query in tiny.world().ask_each(np.random.default_rng(0), scenes, 2))
    assert set(kinds.values()) == {40}


@pytest.mark.parametrize("split", ["seen", "unseen"])
def test_a_constant_answer_scores_at_chance(split):
    queries = tiny.world().ask_split(split, HELD_OUT, len(TYPES) * N, [0, EVALUATION_STREAM]).queries
    chance = {"existence": 2, "place": TILES, "colour": len(COLOURS), "count": MAX_COUNT}
    for kind, choices in chance.items():
        answers = Counter(query.truth for query in queries if query.type == kind)
        assert len(answers) == choices
        assert all(within_chance(hits, N, 1 / choices) for hits in answers.values()), (kind, answers)


def test_a_scene_is_its_tiles_with_the_drawings_over_them():
    world, scenes = tiny.world(), sampled(3)
    images = world.render(scenes)
    assert images.shape == (3, 3, tiny.IMAGE, tiny.IMAGE) and images.min() >= 0 and images.max() <= 1
    for row in range(3):
        for tile in range(TILES):
            r, c = divmod(tile, 3)
            shown = images[row, :, r * 32 : r * 32 + 32, c * 32 : c * 32 + 32].permute(1, 2, 0).double().numpy()
            colour = np.array(list(COLOURS.values())[scenes.colours[row, tile]]) / 255
            expected = np.broadcast_to(colour, shown.shape)
            if scenes.objects[row, tile] >= 0:
                own = scenes.objects[row, tile], scenes.variants[row, tile]
                sprite = world.sprites["drawn"][own].double().numpy() / 255
                expected = sprite[..., 3:] * sprite[..., :3] + (1 - sprite[..., 3:]) * colour
            np.testing.assert_allclose(shown, expected, atol=1e-6)  # float32 in [0, 1]


def test_bad_categories_are_named():
    world = tiny.world()
    with pytest.raises(DataError, match="category 'dragon' is not among the objects' categories .animal, food"):
        world.pool(exclude="dragon")
    with pytest.raises(DataError, match="category 'dragon'"):
        world.pool(only="dragon")
    with pytest.raises(DataError, match="no category with at least 4 allowed objects"):
        sampled(1, allowed=world.pool(exclude=HELD_OUT), focus=HELD_OUT)


def test_articles():
    assert [with_article(name) for name in ("ant", "lion", "owl")] == ["an ant", "a lion", "an owl"]
