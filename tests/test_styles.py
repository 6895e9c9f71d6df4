"""Styles of scenes: each the same from its seed, tiles keep their colours, and nobody sees the novel one."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from uoisc.base.results import CODECS, DOMAINS, NOVEL, PRETRAINED, parts_of, split_of
from uoisc.data import scenes as scenes_module
from uoisc.data import styles
from uoisc.data.question_types import TYPES
from uoisc.data.sights import COLOURS
from uoisc.data.styles import PLAIN, STYLES, Draws, Style, draw, grounds, mixture, of_domain, recolouring, warped, worn

N = 60
WORLD = tiny.world()
EVERY = [style.name for style in STYLES]


def scenes(*names: str, n: int = 12, seed: int = 0):
    return WORLD.sample_test(np.random.default_rng(seed), n, WORLD.pool(), None, *names)


def by_name(name: str) -> Style:
    return STYLES[EVERY.index(name)]


@pytest.mark.parametrize("name", EVERY)
def test_a_scene_looks_the_same_whichever_others_are_drawn_beside_it(name):
    some = scenes(name)
    images = WORLD.render(some)
    assert images.shape == (12, 3, tiny.IMAGE, tiny.IMAGE) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, WORLD.render(some))
    torch.testing.assert_close(images[[4]], WORLD.render(some[[4]]), atol=1e-5, rtol=0)
    mixed = scenes(*EVERY, n=len(EVERY) * len(TYPES))
    own = mixed.styles == EVERY.index(name)
    assert own.sum() == len(TYPES)
    torch.testing.assert_close(WORLD.render(mixed)[torch.from_numpy(own)], WORLD.render(mixed[own]), atol=1e-5, rtol=0)


def test_many_scenes_are_drawn_in_pieces(monkeypatch):
    """Each where it belongs, plain ones and mixed ones; a whole check of a stand-in at once would take gigabytes."""
    drawn, plain = [], scenes(PLAIN)
    own = WORLD._styled
    monkeypatch.setattr(WORLD, "_styled", lambda some, style: drawn.append(len(some)) or own(some, style))
    mixed = scenes(*EVERY, n=len(EVERY) * len(TYPES))
    whole = WORLD.render(plain), WORLD.render(mixed)
    assert drawn == [len(TYPES)] * len(EVERY)
    monkeypatch.setattr(scenes_module, "AT_ONCE", 5)
    for images, some in zip(whole, (plain, mixed), strict=True):
        drawn.clear()
        torch.testing.assert_close(WORLD.render(some), images, atol=1e-5, rtol=0)
        assert max(drawn) == 5 and sum(drawn) == len(some)


@pytest.mark.parametrize("name", [name for name in EVERY if name != PLAIN])
def test_a_style_s_random_parts_follow_its_scene_s_seed(name):
    some = scenes(name)
    other = WORLD.render(replace(some, seeds=some.seeds + 1))
    plain = WORLD.render(replace(some, styles=np.zeros_like(some.styles)))
    assert all((a != b).any() and (a != c).any() for a, b, c in zip(WORLD.render(some), other, plain, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_a_tile_keeps_its_colour_on_every_ground(name):
    """The mean over an empty tile is nearest to its own of the eight colours; a tinted one is near two now and then."""
    some, palette = scenes(name, n=N), torch.tensor(list(COLOURS.values())) / 255
    tiles = WORLD.render(some).unfold(2, WORLD.tile, WORLD.tile).unfold(3, WORLD.tile, WORLD.tile)
    means = tiles.mean((-1, -2)).flatten(2).transpose(1, 2)  # (B, 9, 3)
    empty = torch.from_numpy(some.objects < 0)
    nearest = torch.cdist(means[empty], palette).argmin(1)
    assert (nearest == torch.from_numpy(some.colours)[empty]).float().mean() >= (1 if name == PLAIN else 0.9)


def test_where_nothing_is_changed_a_style_is_the_plain_one():
    some = scenes(PLAIN)
    own, colours = torch.from_numpy(some.objects), WORLD.palette[torch.from_numpy(some.colours)]
    sprites = WORLD.sprites["drawn"][own, torch.from_numpy(some.variants)].float() / 255
    drawn = draw(by_name(PLAIN), sprites, WORLD.tones[own], colours, some.seeds, WORLD.pieces)
    torch.testing.assert_close(drawn, WORLD.render(some), atol=1e-5, rtol=0)


def test_turning_hues_keeps_greys_and_brightness():
    style = Style("", CODECS, "drawn", "", 0.0, hue=180.0)
    matrix, black = recolouring(torch.zeros(4, 9, 3), style, Draws(np.arange(4)))
    assert not black.any()
    torch.testing.assert_close(matrix.sum(-1), torch.ones(4, 9, 3))  # white stays white
    torch.testing.assert_close(matrix.sum(-2), torch.ones(4, 9, 3))  # r + g + b stays
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(4, 9))  # a turn
    assert (matrix - torch.eye(3)).abs().amax((-1, -2)).min() > 0


def test_a_glyph_has_one_colour_for_ink_and_one_for_each_part():
    matrix, base = recolouring(torch.rand(5, 9, 3), by_name("glyphs"), Draws(np.arange(5)))
    ink, second, third = (matrix[..., k] + base for k in range(3))
    for colour in (ink, second, third, base):
        assert colour.min() >= 0 and colour.max() <= 1
    assert all((second - other).abs().amax(-1).min() > 0 for other in (third, base, ink))


def test_warps_and_wear_leave_alone_what_they_are_not_asked_for():
    tiles = torch.rand(3, 9, 4, 32, 32)
    torch.testing.assert_close(warped(tiles, Draws(np.arange(3)), 0.0), tiles, atol=1e-5, rtol=0)
    assert (warped(tiles, Draws(np.arange(3)), 1.0) - tiles).abs().max() > 0.1
    images = torch.rand(12, 3, 96, 96)
    assert torch.equal(worn(images.clone(), Draws(np.arange(12)), 0.0), images)
    changed = (worn(images.clone(), Draws(np.arange(12)), 1.0) != images).flatten(1).any(1)
    assert 0 < changed.sum() < 12, "some scenes stay clean"


class Given(Draws):
    """Draws of which those of one shape are given, one tensor a scene, and all others are `rest`."""

    def __init__(self, values: torch.Tensor, rest: float):
        self.values, self.rest = values.float(), rest

    def of(self, rows: torch.Tensor) -> Draws:
        return Given(self.values[rows], self.rest)

    def __call__(self, *shape: int) -> torch.Tensor:
        own = shape == self.values.shape[1:]
        return self.values if own else torch.full((len(self.values), *shape), self.rest)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["blur", "noise", "JPEG"])
def test_each_kind_of_wear_alone_changes_a_picture(part):
    given = torch.full((2, 3, 1, 1, 1), -1.0)
    images = torch.rand(2, 3, 96, 96).mul(0.5).add(0.25)
    assert torch.equal(worn(images.clone(), Given(given, 0.5), 1.0), images)
    given[0, part] = 1.0
    found = worn(images.clone(), Given(given, 0.5), 1.0)
    assert torch.equal(found[1], images[1]) and (found[0] - images[0]).abs().mean() > 0.02


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([[0.0, 1.0], [-1.0, 0.0]]),
        torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        torch.ones(2, 1),
        torch.linspace(-1, 1, 32).reshape(2, 4, 4),
    ],
    ids=["turned", "sheared", "stretched", "moved", "bent"],
)
def test_each_part_of_a_warp_alone_moves_a_drawing(given):
    tiles = torch.rand(1, 9, 4, 32, 32)
    draws = given.expand(1, 9, *given.shape)
    torch.testing.assert_close(warped(tiles, Given(0 * draws, 0.0), 1.0), tiles, atol=1e-5, rtol=0)
    assert (warped(tiles, Given(draws, 0.0), 1.0) - tiles).abs().mean() > 0.05


@pytest.mark.parametrize("kind", sorted(WORLD.pieces))
def test_which_piece_of_a_photograph_lies_behind_is_drawn(kind):
    ends = Given(torch.tensor([[-1.0, -1.0], [-1.0, 0.999]]), 0.0)
    found = grounds(torch.full((2, 9, 3), 0.5), Style("", NOVEL, "drawn", "", 0.0, (kind,)), ends, WORLD.pieces)
    assert len(WORLD.pieces[kind]) > 1 and (found[0] - found[1]).abs().mean() > 0.01


def test_grounds_are_those_of_the_style():
    colours = torch.full((N, 9, 3), 0.5)
    for kind in (*styles.GROUNDS, "surfaces"):
        found = grounds(colours, Style("", NOVEL, "drawn", "", 0.0, (kind,)), Draws(np.arange(N)), WORLD.pieces)
        spread = found.unfold(2, 32, 32).unfold(3, 32, 32).std((-1, -2)).flatten(1).amax(1)  # within tiles
        assert (spread == 0).all() if kind in ("flat", "tinted") else (spread > 0.005).all(), kind


def test_the_stand_ins_see_every_style_but_the_novel_one():
    drawn = Counter(mixture(np.random.default_rng(0), 3000).tolist())
    assert {STYLES[index].domain for index in drawn} == {CODECS, PRETRAINED}
    assert set(drawn) == {i for i, style in enumerate(STYLES) if style.domain != NOVEL}
    assert all(abs(drawn[i] / 3000 - style.share) < 5 * np.sqrt(0.25 / 3000) for i, style in enumerate(STYLES))
    trained = [style for style in STYLES if style.domain != NOVEL]
    assert not any(style.drawings == "lines" or "surfaces" in style.grounds for style in trained)
    assert not WORLD.sample(np.random.default_rng(0), 50, WORLD.pool()).styles.any(), "codecs see the plain one alone"


def test_every_style_says_whose_drawings_and_grounds_it_shows():
    for style in STYLES:
        assert ("OpenMoji" in style.licence) == (style.drawings != "glyphs")
        assert ("Noto Emoji" in style.licence) == (style.drawings == "glyphs")
        assert ("scikit-image" in style.licence) == (style.grounds != ("flat",))
        assert style.domain in DOMAINS


def test_a_split_s_domain_stands_behind_its_at():
    every = [*WORLD.splits, *WORLD.beyond]
    assert [parts_of(split) for split in every] == [(kind, name) for name in DOMAINS for kind in ("seen", "unseen")]
    assert [split_of(*parts_of(split)) for split in every] == every and every[:2] == ["seen", "unseen"]


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_as_many_questions_of_any_domain_are_the_same_about_the_same_scenes(kind):
    """The study asks fewer of those beyond the codecs' own, which are so the same as each other."""
    n = 4 * len(TYPES)
    own, *others = (
        WORLD.ask_split(split, "animal", n, [0, 1])
        for split in (*WORLD.splits, *WORLD.beyond)
        if parts_of(split)[0] == kind
    )
    assert not own.scenes.styles.any()
    for asked in others:
        assert asked.queries == own.queries and asked.others == own.others
        assert (asked.scenes.objects == own.scenes.objects).all() and (asked.scenes.seeds == own.scenes.seeds).all()
        found = Counter((STYLES[asked.scenes.styles[query.image]].name, query.type) for query in asked.queries)
        named = of_domain(parts_of(asked.split)[1])
        assert {style for style, _ in found} == set(named)
        assert len(found) == len(named) * len(TYPES), "each style is asked about in each type"
        assert not torch.equal(asked.images(slice(0, 4)), own.images(slice(0, 4)))


def test_nothing_trains_on_the_drawings_that_are_tested():
    kept = set(WORLD.test_variants.tolist())
    rng = np.random.default_rng(0)
    trained = np.concatenate([WORLD.sample_mixed(rng, 200, WORLD.pool()).variants.ravel()])
    assert set(trained.tolist()) == set(WORLD.training_variants.tolist()) and not kept & set(trained.tolist())
    for split in (*WORLD.splits, *WORLD.beyond):
        assert set(WORLD.ask_split(split, "animal", 40, [0, 1]).scenes.variants.ravel().tolist()) == kept
