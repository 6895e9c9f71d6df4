"""The stand-ins' training: what an independent judge's tower learns, and which scenes they meet."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from uoisc.base.devices import precision
from uoisc.data.question_types import TYPES, Words
from uoisc.data.scenes import World
from uoisc.data.sights import COLOURS, TILES
from uoisc.data.styles import STYLES
from uoisc.frozen import foundation, foundation_llava
from uoisc.frozen.clip import open_clip
from uoisc.frozen.foundation import (
    ATTRIBUTE_SCALE,
    OBJECT_SCALE,
    attribute_texts,
    clip_loss,
    descend,
    kinds_of,
    labels_of,
    localisation,
    region_embeddings,
    region_texts,
    tile_loss,
    train_clip,
    train_tower,
    unified_loss,
)
from uoisc.frozen.foundation_llava import judge_accuracy, train_llava

TOWER = replace(tiny.TOWER, steps=2, batch_size=4)


def test_a_tower_learns_the_labels_of_tiles():
    world = tiny.world()
    scenes = world.crowded(np.random.default_rng(0), 5, world.pool())
    frozen = train_tower(TOWER, world, tiny.IMAGE, 0, lambda steps, _: steps)
    torch.manual_seed(1)
    heads = nn.Linear(TOWER.embed_dim, sum(labels_of(world)), bias=False)
    tokens = frozen.see(world.render(scenes)).tokens.double().numpy()
    weights = heads.weight.detach().double().numpy()
    unit, rows = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (tokens, weights))
    cosines = unit @ rows.T
    names, places, colours, kinds = np.split(cosines, np.cumsum(labels_of(world))[:-1], axis=-1)
    losses = {"name": [], "place": [], "colour": [], "kind": []}
    for row in range(5):
        for tile in range(TILES):
            if scenes.objects[row, tile] >= 0:
                losses["name"].append(-log_softmax(OBJECT_SCALE * names[row, tile])[scenes.objects[row, tile]])
                kind = world.category_of[scenes.objects[row, tile]]
                losses["kind"].append(-log_softmax(ATTRIBUTE_SCALE * kinds[row, tile])[kind])
            losses["place"].append(-log_softmax(ATTRIBUTE_SCALE * places[row, tile])[tile])
            losses["colour"].append(-log_softmax(ATTRIBUTE_SCALE * colours[row, tile])[scenes.colours[row, tile]])
    name, place, colour, kind = map(np.mean, losses.values())
    expected = name + place + 0.5 * (colour + kind)
    found = tile_loss(heads, region_embeddings(torch.from_numpy(tokens)).float(), scenes, world)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-4)  # float32


def test_a_tower_meets_no_text_and_follows_its_seed():
    def trained(steps: int, seed: int = 0):
        tower = train_tower(replace(TOWER, steps=steps), tiny.world(), tiny.IMAGE, seed, lambda steps, _: steps)
        return tower.model.state_dict()

    once, again, further, other = trained(1), trained(1), trained(2), trained(1, seed=1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["visual.proj"], other["visual.proj"])
    changed = {name.split(".")[0] for name in once if not torch.equal(once[name], further[name])}
    assert changed == {"visual"}


def test_what_a_clip_is_not_to_know_it_neither_sees_nor_reads_of():
    """Not as the other object of a question either."""
    world, seen, read = tiny.world(), set(), []

    def texts_of(world, scenes, rng, known):
        about = region_texts(world, scenes, rng, known)
        seen.update(world.kinds[about[0]])
        read.extend(about[2])
        return about

    cfg = replace(tiny.PARAMS.foundation.clip, exclude="animal", steps=8)
    train_clip(cfg, world, tiny.IMAGE, 0, lambda steps, _: steps, texts_of)
    hidden = {"animal", "animals", *np.array(world.names)[world.pool(only="animal")]}
    words = re.compile(rf"\b({'|'.join(hidden)})\b")
    assert seen == set(world.categories) - {"animal"} and len(read) > 100
    assert any("more" in text for text in read) and not [text for text in read if words.search(text)]
    cfg = replace(cfg, exclude="")
    train_clip(cfg, world, tiny.IMAGE, 0, lambda steps, _: steps, texts_of)
    assert "animal" in seen and any(map(words.search, read))


def test_a_judge_is_asked_what_others_build_on_in_its_first_steps(monkeypatch):
    asked, own = [], World.ask_each
    monkeypatch.setattr(foundation_llava, "PROTOTYPE_SCENES", 60)

    def spied(*args, **more):
        asked.append(Counter(more["kinds"]))
        return own(*args, **more)

    monkeypatch.setattr(World, "ask_each", spied)
    tower = train_tower(TOWER, tiny.world(), tiny.IMAGE, 0, lambda steps, _: steps)
    cfg = replace(tiny.LLAVA, steps=20)
    train_llava(cfg, TOWER, tower, tiny.world(), tiny.IMAGE, 0, lambda steps, _: steps)
    rounds = [{name: kind.turns[later] for name, kind in TYPES.items() if kind.turns[later]} for later in (0, 1)]
    assert asked[: cfg.steps] == [Counter(rounds[0])] * 3 + [Counter(rounds[1])] * 17


def test_scenes_for_towers_are_crowded_and_hold_each_object_once():
    scenes = tiny.world().crowded(np.random.default_rng(0), 200, tiny.world().pool())
    for row in scenes.objects:
        assert len(set(row[row >= 0])) == (row >= 0).sum()
    assert abs((scenes.objects >= 0).mean() - 0.8) < 5 * np.sqrt(0.16 / scenes.objects.size)
    assert len(set(scenes.styles)) == len(STYLES) - 1


def test_the_stand_ins_are_checked_in_a_style_on_drawings_that_nothing_trains_on(monkeypatch):
    world, drawn = tiny.world(), []
    monkeypatch.setattr(world, "render", lambda scenes: drawn.append(scenes) or type(world).render(world, scenes))
    hits = localisation(tiny.clip(), world, 0, 10, None, "glyphs")
    right = judge_accuracy(tiny.llava(), world, 0, 10, "animal", "lines")
    assert len(hits) == 10 and sum(map(len, right.values())) == 10
    assert [{STYLES[index].name for index in scenes.styles} for scenes in drawn] == [{"glyphs"}, {"lines"}]
    assert all(set(scenes.variants.ravel()) == set(world.test_variants) for scenes in drawn)


def test_the_unified_loss_is_clip_s_where_texts_and_tiles_are_pairs():
    """One image, nine tiles of one token, nine texts: its columns and rows are those of open_clip's loss."""
    torch.manual_seed(0)
    texts, tiles = (torch.nn.functional.normalize(torch.randn(9, 16), dim=1) for _ in range(2))
    theirs = open_clip.ClipLoss()(tiles, texts, torch.tensor(20.0))
    ours = unified_loss(20.0 * texts, 3.0 * tiles[None], tiles[None], torch.eye(9, dtype=torch.bool)[:, None])
    torch.testing.assert_close(ours, theirs)


def test_the_unified_loss_wants_the_first_token_of_all_images_in_a_text_s_tiles():
    """Two images of 6 x 6 tokens; a text that two tiles show, one that one shows; the others show nothing."""
    rng = np.random.default_rng(0)
    texts, tokens, regions = (rng.normal(size=shape) for shape in ((2, 8), (2, 36, 8), (2, 9, 8)))
    about = np.zeros((2, 2, 9), dtype=bool)
    about[0, 0, 4] = about[0, 1, 0] = about[1, 1, 8] = True
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    chance = softmax(np.einsum("te,bne->tbn", texts, unit).reshape(2, -1), axis=1).reshape(2, 2, 6, 6)
    inside = [chance[0, 0, 2:4, 2:4].sum() + chance[0, 1, :2, :2].sum(), chance[1, 1, 4:, 4:].sum()]
    shown = [(0, 4, 0), (1, 0, 0), (1, 8, 1)]  # image, tile, its text
    named = [-log_softmax(texts @ regions[image, tile])[text] for image, tile, text in shown]
    ours = unified_loss(*(torch.from_numpy(part).float() for part in (texts, tokens, regions)), torch.from_numpy(about))
    np.testing.assert_allclose(ours.item(), (np.mean(named) - np.mean(np.log(inside))) / 2, rtol=1e-5)  # float32


def test_a_clip_learns_names_categories_places_and_colours():
    """Places and colours by hand, as means over their wordings."""
    world, model, frozen = tiny.world(), tiny.clip_model(), tiny.clip()
    scenes = world.crowded(np.random.default_rng(0), 3, world.pool())
    rng, tokens = np.random.default_rng(1), torch.randn(3, 36, tiny.CLIP.embed_dim)
    objects, kinds, texts = region_texts(world, scenes, rng, Words(world.names, world.categories))
    every = [texts, *attribute_texts()]
    with torch.no_grad():
        loss = clip_loss(model, lambda text: frozen.tokenize([text])[0], tokens, world, scenes, (objects, kinds, texts))
        with precision(tokens.device):
            encoded = model.encode_text(frozen.tokenize(sum(every, [])), normalize=True).float()
    names, *wordings = encoded.split([*map(len, every)])
    regions, expected = region_embeddings(tokens), 0.0
    seen = ((1, objects, scenes.objects), (0.5, kinds, kinds_of(scenes, world)))
    for (share, which, there), text in zip(seen, names.split([len(objects), len(kinds)]), strict=True):
        about = torch.from_numpy(which[:, None, None] == there)
        expected += share * unified_loss(model.logit_scale.exp() * text, tokens, regions, about).item()
    places, colours = (
        [ATTRIBUTE_SCALE * (regions @ wording.T).numpy() for wording in texts.split(n)]
        for texts, n in zip(wordings, (TILES, len(COLOURS)), strict=True)
    )
    diagonal = [np.diagonal(log_softmax(some, axis), axis1=1, axis2=2).mean() for some in places for axis in (1, 2)]
    told = [np.take_along_axis(log_softmax(some, 2), scenes.colours[..., None], 2).mean() for some in colours]
    np.testing.assert_allclose(loss.item(), expected - np.mean(diagonal) - 0.5 * np.mean(told), rtol=1e-5)  # float32


def test_the_rate_warms_up_and_falls_and_vectors_do_not_decay():
    """Where the loss is flat each step shrinks what decays by rate times decay."""
    layer = nn.Linear(2, 2).double()
    before = [p.detach().clone() for p in layer.parameters()]
    seen = [before[0]]
    descend(
        layer,
        replace(tiny.LLAVA, steps=20, learning_rate=0.1),
        range(20),
        batch=tuple,
        loss_of=lambda: 0.0 * sum(p.sum() for p in layer.parameters()),
        after=lambda: seen.append(layer.weight.detach().clone()),
    )
    rates = [(1 - (b / a)).mean().item() / 0.05 for a, b in zip(seen, seen[1:], strict=False)]
    shares = [1 / 2, *[1] * 14, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates == pytest.approx([0.1 * share for share in shares])
    assert torch.equal(layer.bias, before[1]) and not layer.weight.requires_grad


def test_a_clip_s_logit_scale_stays_below_a_hundred(monkeypatch):
    model = tiny.clip_model()
    model.logit_scale.data.fill_(5.0)
    monkeypatch.setattr(foundation, "build_clip", lambda **_: model)
    train_clip(replace(tiny.PARAMS.foundation.clip, steps=1), tiny.world(), tiny.IMAGE, 0, lambda steps, _: steps)
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-3)


def test_a_judge_s_tower_keeps_what_it_started_from(monkeypatch):
    started, own = {}, foundation_llava.start_from_tower
    monkeypatch.setattr(foundation_llava, "PROTOTYPE_SCENES", 60)

    def noted(model, *rest):
        own(model, *rest)
        started.update({name: part.clone() for name, part in model.state_dict().items()})

    monkeypatch.setattr(foundation_llava, "start_from_tower", noted)
    tower = train_tower(TOWER, tiny.world(), tiny.IMAGE, 0, lambda steps, _: steps)
    llava = train_llava(tiny.LLAVA, TOWER, tower, tiny.world(), tiny.IMAGE, 0, lambda steps, _: steps)
    changed = {name for name, part in llava.model.state_dict().items() if not torch.equal(part, started[name])}
    assert {"vision_tower", "language_model", "multi_modal_projector"} & {name.split(".")[1] for name in changed} == {
        "language_model",
        "multi_modal_projector",
    }
