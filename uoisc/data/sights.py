"""Scenes as indices; and a scene as a question sees it, in words: what it may be asked about, and what makes of it one
with another truth.

    Sight --options--> the sights that a type asks about (each other object, each occupied side, ...)
          --contrary-> one whose truth is another ("no", "nothing")

Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from uoisc.base.settings import GRID

TILES = GRID * GRID
MAX_OBJECTS = 5  # in a scene
# No place's name holds another's: the answer rules accept a part of a name for "where".
PLACES = tuple(f"{row} {column}" for row in ("upper", "middle", "lower") for column in ("left", "centre", "right"))
COLOURS = {
    "red": (214, 69, 65),
    "orange": (240, 150, 60),
    "yellow": (245, 220, 90),
    "green": (90, 170, 90),
    "blue": (80, 130, 220),
    "purple": (150, 95, 190),
    "pink": (245, 165, 200),
    "grey": (165, 165, 165),
}
SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}  # rows and columns further
NOTHING = "nothing"


@dataclass(frozen=True)
class Scenes:
    """Scenes as indices; `World.render` turns them into images.

    objects:  (B, 9) index into the objects, -1 where a tile is empty.
    variants: (B, 9) which rasterised variant of the drawing.
    colours:  (B, 9) index into `COLOURS`.
    focus:    (B,)   index of the category that counting questions ask about.
    styles:   (B,)   index into `STYLES`.
    seeds:    (B,)   of what is random in a scene's style.
    """

    objects: Int[np.ndarray, "B 9"]
    variants: Int[np.ndarray, "B 9"]
    colours: Int[np.ndarray, "B 9"]
    focus: Int[np.ndarray, " B"]
    styles: Int[np.ndarray, " B"]
    seeds: Int[np.ndarray, " B"]

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, rows) -> "Scenes":
        return Scenes(*(part[rows] for part in vars(self).values()))


@dataclass(frozen=True)
class Sight:
    """A scene in words, and the words that a question about it is filled with.

    names, categories: what stands in each of the nine tiles, None where it is empty. colours: of the nine tiles.
    name, place, colour, category: what is asked about. Those of one occupied tile, the category apart, which is the one
    that the scene was made for; a type's `contrary` may have changed some.
    other, side, more, fewer: what some types ask about besides, which their `options` choose: a second object, a key of
    `SIDES`, two categories.
    """

    names: tuple[str | None, ...]
    categories: tuple[str | None, ...]
    colours: tuple[str, ...]
    name: str
    place: str
    colour: str
    category: str
    other: str = ""
    side: str = ""
    more: str = ""
    fewer: str = ""

    def named(self) -> tuple[int, ...]:
        """The tile of the named object; none where the scene lacks it."""
        return tuple(tile for tile, name in enumerate(self.names) if name == self.name)

    def both(self) -> tuple[int, ...]:
        """The tiles of the two named objects, as far as the scene has them."""
        return tuple(tile for tile, name in enumerate(self.names) if name in (self.name, self.other))

    def placed(self) -> tuple[int, ...]:
        """The tile at the place."""
        return (PLACES.index(self.place),)

    def coloured(self) -> tuple[int, ...]:
        """The occupied tiles of the colour."""
        return tuple(tile for tile, name in enumerate(self.names) if name and self.colours[tile] == self.colour)

    def beside(self, side: str = "") -> tuple[int, ...]:
        """The tile on that side of the place, or the sight's own side; none at the scene's edge, or of no place."""
        if not self.place:
            return ()
        tile = PLACES.index(self.place)
        down, right = SIDES[side or self.side]
        row = tile // GRID + down
        column = tile % GRID + right
        return (row * GRID + column,) if 0 <= row < GRID and 0 <= column < GRID else ()

    def members(self, category: str | None = None) -> tuple[int, ...]:
        """The tiles of all objects of a category, the sight's own if None."""
        return tuple(tile for tile, kind in enumerate(self.categories) if kind == (category or self.category))

    def at(self, tiles: tuple[int, ...]) -> str:
        """What stands on the one tile of these, or nothing."""
        return next((self.names[tile] for tile in tiles if self.names[tile]), NOTHING)


class Absent(NamedTuple):
    """What a question may name and its scene lacks."""

    names: Sequence[str]
    categories: Sequence[str]


def one_of(rng: np.random.Generator, words: Sequence) -> Any:
    """One of them, each equally likely."""
    return words[int(rng.integers(len(words)))]


def lacking(rng: np.random.Generator, sight: Sight, absent: Absent) -> Sight:
    """The same scene, asked about an object that it lacks."""
    return replace(sight, name=one_of(rng, absent.names))


def one_lacking(rng: np.random.Generator, sight: Sight, absent: Absent) -> Sight:
    """Of two objects the scene lacks one, the first or the second."""
    if sight.other and rng.random() < 0.5:
        return lacking(rng, sight, absent)
    return replace(sight, other=one_of(rng, absent.names))


def pairs(sight: Sight) -> list[Sight]:
    """The object and each other one of the scene."""
    return [replace(sight, other=name) for name in sight.names if name not in (None, sight.name)]


def neighbours(sight: Sight, occupied: bool = True) -> list[Sight]:
    """Each side on which the object has a tile that is occupied, or empty."""
    sides = {side: sight.beside(side) for side in SIDES}
    return [replace(sight, side=s) for s, tile in sides.items() if tile and (sight.at(tile) != NOTHING) == occupied]


def empty_neighbour(rng: np.random.Generator, sight: Sight, absent: Absent) -> Sight:
    """The same object, asked about an empty tile beside it if it has any."""
    return one_of(rng, neighbours(sight, occupied=False) or [sight])


def no_such_tile(rng: np.random.Generator, sight: Sight, absent: Absent) -> Sight:
    """The same scene, asked about a colour of empty tiles, or of none, on which nothing stands."""
    taken = {colour for colour, name in zip(sight.colours, sight.names, strict=True) if name}
    bare = [colour for colour in COLOURS if colour not in taken]
    return replace(sight, colour=one_of(rng, [colour for colour in bare if colour in sight.colours] or bare))


def unequal(sight: Sight) -> list[Sight]:
    """The category beside each other one of the scene that has more or fewer members, in both orders."""
    own = len(sight.members())
    others = sorted({kind for kind in sight.categories if kind and len(sight.members(kind)) != own})
    return [one for kind in others for one in in_both_orders(sight, kind)]


def in_both_orders(sight: Sight, category: str) -> list[Sight]:
    """Whether it has more members than the sight's own category, or fewer."""
    pair = (sight.category, category)
    return [replace(sight, more=more, fewer=fewer) for more, fewer in (pair, pair[::-1])]


def beside_none(rng: np.random.Generator, sight: Sight, absent: Absent) -> Sight:
    """The category beside one that the scene lacks, in either order; where it lacks none, beside its equal."""
    equal = [kind for kind in sight.categories if kind not in (None, sight.category)]
    return one_of(rng, in_both_orders(sight, one_of(rng, absent.categories or equal or [sight.category])))
