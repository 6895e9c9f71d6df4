"""The embedded benchmark: scenes of real drawings, and questions with exact answers.

A scene is a 3 x 3 grid of coloured tiles, up to five of which carry an object (OpenMoji). Eleven types of
question are asked (question_types.py); each is balanced so that a constant answer scores at chance:

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
| reference   | what is on the red tile           | the object's name, nothing    | .21        |
| member      | where is the animal               | any animal's place            | 2.5/9      |
| premise     | what colour is behind the lion    | a colour, there is no lion    | 1/16       |

Source: ours (the paper uses VQAv2 on COCO; this stands in for it where neither can be downloaded).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, islice

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from uoisc.base.errors import DataError
from uoisc.base.settings import GRID
from uoisc.data.objects import ObjectEntry
from uoisc.data.question_types import TYPES, Words, fill
from uoisc.data.questions import SPLITS, Asked, Batch, Query
from uoisc.data.sights import COLOURS, MAX_OBJECTS, PLACES, TILES, Absent, Sight, one_of

COLOUR_NAMES = np.array(list(COLOURS), dtype=object)
Objects = Bool[np.ndarray, " O"]  # some of a world's
MAX_COUNT = 4  # members of the category that a counting question asks about


@dataclass(frozen=True)
class Scenes:
    """Scenes as indices; `render` turns them into images.

    objects:  (B, 9) index into the objects, -1 where a tile is empty.
    variants: (B, 9) which rasterised variant of the drawing.
    colours:  (B, 9) index into `COLOURS`.
    focus:    (B,)   index of the category that counting questions ask about.
    """

    objects: Int[np.ndarray, "B 9"]
    variants: Int[np.ndarray, "B 9"]
    colours: Int[np.ndarray, "B 9"]
    focus: Int[np.ndarray, " B"]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows) -> "Scenes":
        return Scenes(self.objects[rows], self.variants[rows], self.colours[rows], self.focus[rows])


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
        sprites: (objects, variants, T, T, 4) RGBA drawings, T pixels per tile.
    """

    splits = SPLITS
    beyond = ()

    def __init__(self, entries: tuple[ObjectEntry, ...], sprites: UInt8[np.ndarray, "O V T T 4"]):
        self.names, self.categories = Words.of(entries)
        self.category_of = np.array([self.categories.index(e.category) for e in entries])
        self.words = np.array([*self.names, None], dtype=object)  # index -1 is the empty tile
        self.kinds = np.array([*(e.category for e in entries), None], dtype=object)
        blank = np.zeros_like(sprites[:1])
        self.sprites = torch.from_numpy(np.concatenate([sprites, blank]))  # index -1 is the empty tile
        self.tile = sprites.shape[2]
        self.palette = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255

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

    def sample(self, rng: np.random.Generator, n: int, allowed: Objects, focus: str | None = None) -> Scenes:
        """n scenes of `allowed` objects, 1 to 4 of which belong to the focus category (drawn a scene if None)."""
        candidates = [c for c in range(len(self.categories)) if (allowed & (self.category_of == c)).sum() >= MAX_COUNT]
        if focus is not None:
            candidates = [c for c in candidates if self.categories[c] == focus]
        if not candidates:
            raise DataError(f"no category with at least {MAX_COUNT} allowed objects: raise data.objects in params.yaml")
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
        variants = rng.integers(0, self.sprites.shape[1], (n, TILES))
        return Scenes(objects, variants, rng.integers(0, len(COLOURS), (n, TILES)), category)

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
        """n scenes and queries of a split, the types in turn (`Source.ask_split`).

        seen: no scene holds a held-out object. unseen: every scene holds one to four, and every query is about one.
        """
        rng = np.random.default_rng([*stream, SPLITS.index(split)])
        if split == "seen":
            allowed = subjects = self.pool(exclude=held_out)
            scenes = self.sample(rng, n, allowed)
        else:
            allowed = self.pool()
            subjects = self.pool(only=held_out)
            scenes = self.sample(rng, n, allowed, focus=held_out)
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
        """Images in [0, 1]: every tile is its colour with the drawing blended over it."""
        drawing = self.sprites[torch.from_numpy(scenes.objects), torch.from_numpy(scenes.variants)]
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
        there, asked = scenes.objects[row], TYPES[kind]
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
        names, kinds, colours = self.words[there], self.kinds[there], COLOUR_NAMES[scenes.colours[row]]
        focus = self.categories[scenes.focus[row]]
        return Sight(*map(tuple, (names, kinds, colours)), names[tile], PLACES[tile], colours[tile], focus)

    def ask_each(
        self,
        rng: np.random.Generator,
        scenes: Scenes,
        per_scene: int = 1,
        subjects: Objects | None = None,
        others: Objects | None = None,
    ) -> list[Query]:
        """`per_scene` questions per scene, the types in turn, so that every type is asked equally often."""
        start = int(rng.integers(len(TYPES)))
        rows = np.repeat(np.arange(len(scenes)), per_scene).tolist()
        kinds = islice(cycle(TYPES), start, None)
        return [self.ask(rng, scenes, row, kind, subjects, others) for row, kind in zip(rows, kinds, strict=False)]

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
