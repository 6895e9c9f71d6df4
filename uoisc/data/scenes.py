"""The embedded benchmark: scenes of real drawings, and questions with exact answers.

A scene is a 3 x 3 grid of coloured tiles, up to five of which carry an object (OpenMoji). Eleven types of
question are asked (question_types.py); each is balanced so that a constant answer scores at chance against the truth:

| type        | query                             | answer                        | chance     |
|-------------|-----------------------------------|-------------------------------|------------|
| existence   | is there a lion                   | yes, no                       | 1/2        |
| place       | where is the lion                 | upper left ...                | 1/9        |
| colour      | what colour is behind the lion    | one of 8 colours              | 1/8        |
| what        | what is at the upper left         | the object's name             | 1/objects  |
| count       | how many animals are there        | 1 2 3 4                       | 1/4        |
| relation    | what is left of the lion          | the object's name, nothing    | .27        |
| conjunction | is there a lion and a violin      | yes, no                       | .53        |
| comparison  | are there more animals than plants| yes, no                       | 1/2        |
| reference   | what is on the red tile           | the object's name, nothing    | .12 to .21 |
| member      | where is the animal               | any animal's place            | 2.5/9      |
| premise     | what colour is behind the lion    | a colour, there is no lion    | 1/16       |

Source: ours (the paper uses VQAv2 on COCO; this stands in for it where neither can be downloaded).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle, islice

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from uoisc.base.errors import DataError
from uoisc.base.results import DOMAINS, SEEN, parts_of, split_of
from uoisc.base.settings import GRID
from uoisc.data.objects import DRAWINGS, ObjectEntry
from uoisc.data.question_types import TYPES, Words, fill
from uoisc.data.questions import SPLITS, Asked, Batch, Query
from uoisc.data.sights import COLOURS, MAX_OBJECTS, PLACES, TILES, Absent, Scenes, Sight, one_of
from uoisc.data.styles import PLAIN, STYLES, Style, draw, mixture, of_domain

COLOUR_NAMES = np.array(list(COLOURS), dtype=object)
Objects = Bool[np.ndarray, " O"]  # some of a world's
AT_ONCE = 250  # scenes that are drawn, or looked at: what lies between takes several times an image's memory
CROWDED = 0.8  # share of tiles with an object where CLIP and the judges' towers learn
MAX_COUNT = 4  # members of the category that a counting question asks about


@dataclass(frozen=True)
class AskedScenes(Asked):
    """A split's questions about scenes, with the scenes and the world that they are of."""

    scenes: Scenes = field(kw_only=True)
    world: "World" = field(kw_only=True)

    def about_one_image(self) -> tuple[Float[Tensor, "1 3 H W"], list[str]]:
        """The first of the fullest scenes, and questions of three types about three of its objects."""
        fullest = int(np.argmax((self.scenes.objects >= 0).sum(1)))
        scene = self.scenes[[fullest]]
        tiles = np.flatnonzero(scene.objects[0] >= 0)[:3]
        sights = [self.world.sight(scene, 0, int(tile)) for tile in tiles]
        asked = zip(("place", "colour", "what"), sights, strict=True)
        return self.world.render(scene), [fill(TYPES[kind].template, sight) for kind, sight in asked]


class World:
    """The objects, their drawings and their categories: everything that scenes are made of. A `questions.Source`.

    Args:
        entries: the catalogue's objects.
        drawings: of each kind (`objects.DRAWINGS`) RGBA sprites (objects, variants, T, T, 4), T pixels per tile, and
            the pieces of photographs that grounds are made of, as `styles.drawings` makes them. Plain scenes alone need
            no more than "drawn".
        test_variants: so many of the variants, the last ones, are kept for evaluation: nothing trains on them.
    """

    splits = SPLITS
    beyond = tuple(split_of(objects, domain) for domain in DOMAINS[1:] for objects in SPLITS)

    def __init__(self, entries: tuple[ObjectEntry, ...], drawings: dict[str, np.ndarray], test_variants: int):
        self.names, self.categories = Words.of(entries)
        self.category_of = np.array([self.categories.index(e.category) for e in entries])
        self.words = np.array([*self.names, None], dtype=object)  # index -1 is the empty tile
        self.kinds = np.array([*(e.category for e in entries), None], dtype=object)
        drawn, blank = drawings["drawn"], [(0, 1), *[(0, 0)] * 4]
        self.sprites = {k: torch.from_numpy(np.pad(drawings[k], blank)) for k in DRAWINGS if k in drawings}
        self.pieces = {k: torch.from_numpy(v) for k, v in drawings.items() if k not in DRAWINGS}
        self.tile = drawn.shape[2]
        self.training_variants, self.test_variants = np.split(np.arange(drawn.shape[1]), [-test_variants])
        self.palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255
        first = self.sprites["drawn"][:, 0].flatten(1, 2).double()  # (O, T * T, 4), of which the mean where it shows
        self.tones = ((first * first[..., 3:]).sum(1) / (first[..., 3:].sum(1) * 255 + 1e-9))[:, :3].float()

    def pool(self, exclude: str | None = None, only: str | None = None) -> Objects:
        """Which objects may appear: all, all but a category, or one category alone. Raises DataError if unknown."""
        mask = np.ones(len(self.names), dtype=bool)
        for category, wanted in ((exclude, False), (only, True)):
            if category is None:
                continue
            if category not in self.categories:
                raise DataError(
                    f"category {category!r} is not among the objects' categories ({', '.join(self.categories)}): "
                    "choose one of these in params.yaml, or add objects of it to data/objects.csv"
                )
            mask &= (self.category_of == self.categories.index(category)) == wanted
        return mask

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        allowed: Objects,
        focus: str | None = None,
        variants: Int[np.ndarray, " v"] | None = None,
    ) -> Scenes:
        """n plain scenes of `allowed` objects, 1 to 4 of which belong to the focus category (drawn a scene if None), in
        some variants of the drawings (if None, those of training)."""
        own = np.bincount(self.category_of[allowed], minlength=len(self.categories))
        candidates = np.flatnonzero((own >= MAX_COUNT) & (own.sum() - own >= MAX_OBJECTS - 1)).tolist()
        candidates = [c for c in candidates if focus in (None, self.categories[c])]
        if not candidates:
            raise DataError(f"no category of {MAX_COUNT} objects and {MAX_OBJECTS - 1} others: raise data.objects")
        category = rng.choice(np.array(candidates), n)
        in_focus = self.category_of[None] == category[:, None]  # (B, O)
        keys = rng.random((n, len(self.names)))
        focused = np.argsort(np.where(in_focus & allowed, keys, 2), axis=1)[:, :MAX_COUNT]
        others = np.argsort(np.where(~in_focus & allowed, keys, 2), axis=1)[:, :MAX_OBJECTS]
        count = rng.integers(1, MAX_COUNT + 1, n)
        total = np.minimum(count + rng.integers(0, MAX_OBJECTS, n), MAX_OBJECTS)
        slot = np.arange(MAX_OBJECTS)
        pick = np.where(
            slot < count[:, None],
            np.pad(focused, ((0, 0), (0, 1))),
            np.take_along_axis(others, np.maximum(slot - count[:, None], 0), axis=1),
        )
        objects = np.full((n, TILES), -1)
        objects[:, :MAX_OBJECTS] = np.where(slot < total[:, None], pick, -1)
        objects = rng.permuted(objects, axis=1)
        variants = rng.choice(self.training_variants if variants is None else variants, (n, TILES))
        plain, seeds = np.zeros(n, dtype=int), rng.integers(2**31, size=n)
        return Scenes(objects, variants, rng.integers(0, len(COLOURS), (n, TILES)), category, plain, seeds)

    def sample_mixed(self, rng: np.random.Generator, n: int, allowed: Objects) -> Scenes:
        """n scenes as the stand-ins train on them: of all styles but the novel one."""
        return replace(self.sample(rng, n, allowed), styles=mixture(rng, n))

    def crowded(self, rng: np.random.Generator, n: int, allowed: Objects) -> Scenes:
        """n scenes as `sample_mixed` gives them, but with objects in most tiles: more to learn from an image."""
        scenes = self.sample_mixed(rng, n, allowed)
        objects = np.argsort(np.where(allowed, rng.random((n, len(self.names))), 2), axis=1)[:, :TILES]
        return replace(scenes, objects=np.where((rng.random((n, TILES)) < CROWDED) & allowed[objects], objects, -1))

    def sample_test(self, rng: np.random.Generator, n: int, allowed: Objects, focus: str | None, *names: str) -> Scenes:
        """n scenes in drawings that nothing trains on, in these styles: each in turn for one question of every type."""
        scenes = self.sample(rng, n, allowed, focus, self.test_variants)
        styles = np.array([[style.name for style in STYLES].index(name) for name in names])
        return replace(scenes, styles=styles[np.arange(n) // len(TYPES) % len(styles)])

    def batches(
        self, stream: list[int], size: int, held_out: str, start: int = 0, share: slice = slice(None)
    ) -> Iterator[Batch]:
        """Training batches of scenes without held-out objects, the types of question in turn (`Source.batches`)."""
        rng = np.random.default_rng(stream)
        allowed = self.pool(exclude=held_out)
        for step in count():
            scenes = self.sample(rng, size, allowed)
            queries = self.ask_each(rng, scenes, 1, allowed, allowed)
            if step >= start:
                own = () if share == slice(None) else (share.start, share.stop)
                name = "-".join(map(str, (*stream, size, *own, step)))
                yield Batch(self.render(scenes[share]), queries[share], (name,))

    def ask_split(self, split: str, held_out: str, n: int, stream: list[int]) -> AskedScenes:
        """n scenes and queries of a split, the types in turn (`Source.ask_split`), in drawings that nothing trains on.

        seen: no scene holds a held-out object. unseen: every scene holds one to four, and every query is about one.
        A domain's scenes have its styles in turn.
        """
        objects, domain = parts_of(split)
        styles = of_domain(domain)
        rng = np.random.default_rng([*stream, SPLITS.index(objects)])
        if objects == SEEN:
            allowed = subjects = self.pool(exclude=held_out)
            scenes = self.sample_test(rng, n, allowed, None, *styles)
        else:
            allowed = self.pool()
            subjects = self.pool(only=held_out)
            scenes = self.sample_test(rng, n, allowed, held_out, *styles)
        queries = self.ask_each(rng, scenes, 1, subjects, allowed)
        others = [self.another(rng, scenes, query, subjects, allowed) for query in queries]
        return AskedScenes(split, queries, others, lambda rows: self.render(scenes[rows]), scenes=scenes, world=self)

    def another(
        self, rng: np.random.Generator, scenes: Scenes, query: Query, subjects: Objects, others: Objects
    ) -> Query:
        """Another query of the same scene that, where the scene allows, looks at other tiles."""
        for attempt in count():
            other = self.ask(rng, scenes, query.image, one_of(rng, list(TYPES)), subjects, others)
            if other.text != query.text and (attempt >= 8 or not set(other.tiles) & set(query.tiles)):
                return other

    def render(self, scenes: Scenes) -> Float[Tensor, "B 3 H W"]:
        """Images in [0, 1], each in its scene's style."""
        if not scenes.styles.any() and len(scenes) <= AT_ONCE:
            return self._plain(scenes)
        images = torch.empty(len(scenes), 3, GRID * self.tile, GRID * self.tile)
        for style in np.unique(scenes.styles).tolist():
            rows = np.flatnonzero(scenes.styles == style)
            for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
                images[torch.from_numpy(some)] = self._styled(scenes[some], STYLES[style])
        return images

    def _styled(self, scenes: Scenes, style: Style) -> Float[Tensor, "B 3 H W"]:
        """Scenes of one style (`styles.draw`)."""
        if style.name == PLAIN:
            return self._plain(scenes)
        objects = torch.from_numpy(scenes.objects)
        variants = torch.from_numpy(scenes.variants)
        sprites, colours = (
            self.sprites[style.drawings][objects, variants],
            self.palette[torch.from_numpy(scenes.colours)],
        )
        return draw(style, sprites.float() / 255, self.tones[objects], colours, scenes.seeds, self.pieces)

    def _plain(self, scenes: Scenes) -> Float[Tensor, "B 3 H W"]:
        """Every tile is its colour with the drawing blended over it."""
        drawing = self.sprites["drawn"][torch.from_numpy(scenes.objects), torch.from_numpy(scenes.variants)]
        drawing = drawing.float() / 255  # (B, 9, T, T, 4)
        alpha = drawing[..., 3:]
        ground = self.palette[torch.from_numpy(scenes.colours)][:, :, None, None]  # (B, 9, 1, 1, 3)
        tiles = ground + alpha * (drawing[..., :3] - ground)
        return rearrange(tiles, "b (r c) h w k -> b k (r h) (c w)", r=GRID).contiguous()

    def ask(
        self,
        rng: np.random.Generator,
        scenes: Scenes,
        row: int,
        kind: str,
        subjects: Objects | None = None,
        others: Objects | None = None,
    ) -> Query:
        """A question of type `kind` about scene `row`, whose object is one of `subjects`; `others` may be named beside
        it (all if None)."""
        everything = np.ones(len(self.names), dtype=bool)
        subjects, others = (everything if some is None else some for some in (subjects, others))
        there = scenes.objects[row]
        asked = TYPES[kind]
        for tile in rng.permutation(np.flatnonzero((there >= 0) & subjects[there])):
            sight = self.sight(scenes, row, int(tile))
            if options := asked.options(sight):
                break
        sight = one_of(rng, options or [sight])
        if asked.contrary is not None and (not options or rng.random() < asked.share):
            lacked = subjects.copy()
            lacked[there[there >= 0]] = False
            categories = [self.categories[i] for i in np.unique(self.category_of[others])]
            absent = Absent(
                self.words[:-1][lacked].tolist(), [kind for kind in categories if kind not in sight.categories]
            )
            sight = asked.contrary(rng, sight, absent)
        found = {"tiles": asked.tiles(sight), "accepted": asked.accepted(sight), "sight": sight}
        return Query(row, kind, fill(asked.template, sight), asked.truth(sight), asked.about(sight), **found)

    def sight(self, scenes: Scenes, row: int, tile: int) -> Sight:
        """Scene `row` in words, as a question about an occupied tile sees it."""
        there = scenes.objects[row]
        names = self.words[there]
        kinds = self.kinds[there]
        colours = COLOUR_NAMES[scenes.colours[row]]
        focus = self.categories[scenes.focus[row]]
        return Sight(*map(tuple, (names, kinds, colours)), names[tile], PLACES[tile], colours[tile], focus)

    def ask_each(
        self,
        rng: np.random.Generator,
        scenes: Scenes,
        per_scene: int = 1,
        subjects: Objects | None = None,
        others: Objects | None = None,
        kinds: Sequence[str] = (),
    ) -> list[Query]:
        """`per_scene` questions per scene, of `kinds` in turn, or of all types, so that each is asked equally often."""
        rows = np.repeat(np.arange(len(scenes)), per_scene).tolist()
        kinds = kinds or list(TYPES)
        turns = islice(cycle(kinds), int(rng.integers(len(kinds))), None)
        return [self.ask(rng, scenes, row, kind, subjects, others) for row, kind in zip(rows, turns, strict=False)]

    def regions(self, queries: list[Query], side: int) -> Bool[Tensor, "B N"]:
        """Which of side x side tokens lie in the tiles that show each query's answer; none for an absent object."""
        tiles = torch.zeros(len(queries), TILES, dtype=torch.bool)
        for row, query in enumerate(queries):
            tiles[row, list(query.tiles)] = True
        return tiles[:, token_tiles(side)]


def token_tiles(side: int) -> Int[Tensor, " N"]:
    """The tile, 0 to 8, in which the centre of each of side x side tokens lies."""
    lines = (2 * torch.arange(side) + 1) * GRID // (2 * side)  # of tiles, by the centre of a line of tokens
    return (lines[:, None] * GRID + lines).flatten()
