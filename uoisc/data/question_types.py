"""Which questions are asked about scenes: the one table from which texts, queries, answers and tokenizers derive.

    QuestionType.template --filled with a Sight's words--> the query      "where is the {name}" --> "where is the lion"
                          --filled with every word-------> `query_texts`: what the stand-ins learn to read
    QuestionType.truth, answers, tiles ------------------> the query's answer, `answer_texts`, where it can be seen

To add a type, write a `QuestionType` into `TYPES`. Source: ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from string import Formatter
from typing import Protocol, runtime_checkable

import numpy as np

from uoisc.base.errors import DataError
from uoisc.base.settings import GRID
from uoisc.data.objects import plural

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


@runtime_checkable
class Vocabulary(Protocol):
    """What the words of questions come from; `scenes.World` is one."""

    names: tuple[str, ...]  # of all objects
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Sight:
    """A scene in words, and the words that a question about it is filled with.

    names, categories: what stands in each of the nine tiles, None where it is empty. colours: of the nine tiles.
    name, place, colour, category: what is asked about. Those of one occupied tile, the category apart, which is the one
    that the scene was made for; a type's `contrary` may have changed some.
    """

    names: tuple[str | None, ...]
    categories: tuple[str | None, ...]
    colours: tuple[str, ...]
    name: str
    place: str
    colour: str
    category: str

    def named(self) -> tuple[int, ...]:
        """The tile of the named object; none where the scene lacks it."""
        return tuple(tile for tile, name in enumerate(self.names) if name == self.name)

    def placed(self) -> tuple[int, ...]:
        """The tile at the place."""
        return (PLACES.index(self.place),)

    def members(self) -> tuple[int, ...]:
        """The tiles of all objects of the category."""
        return tuple(tile for tile, category in enumerate(self.categories) if category == self.category)


@dataclass(frozen=True)
class Slot:
    """What may stand between braces in a template: its word of a sight, and all words that it can take."""

    of: Callable[[Sight], str]
    words: Callable[[Vocabulary], Sequence[str]]


SLOTS = {
    "name": Slot(lambda sight: sight.name, lambda world: world.names),
    "a_name": Slot(lambda sight: with_article(sight.name), lambda world: [with_article(name) for name in world.names]),
    "place": Slot(lambda sight: sight.place, lambda world: PLACES),
    "colour": Slot(lambda sight: sight.colour, lambda world: tuple(COLOURS)),
    "plural": Slot(lambda sight: plural(sight.category), lambda world: [plural(kind) for kind in world.categories]),
}


@cache
def slots_of(template: str) -> frozenset[str]:
    """The names between a template's braces."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def fill(template: str, sight: Sight) -> str:
    """The template with the words of a sight."""
    return template.format(**{name: SLOTS[name].of(sight) for name in slots_of(template)})


@dataclass(frozen=True)
class QuestionType:
    """One kind of question, from its words to its answer.

    template: the query, with `SLOTS` between braces. No question mark, small letters.
    truth: the right answer about a sight; one of `answers`, all of which become words of the judges.
    tiles: the tiles, 0 to 8 row by row, that show the answer: what an oracle looks at, where the head of a rate dial
        learns to look, and what tells a wrong query from another one about the same spot. None if nothing shows it.
    about: what the tables call the question's object; only for questions about a category is it not the name.
    contrary: balance. A sight is that of a tile drawn from the occupied ones, so that places, colours and names
        are equally likely as they stand, and `World.sample` draws 1 to 4 members of the category equally often. Where
        the truth would still be always the same ("yes": the object that is asked about is there), `contrary` makes of
        a sight one with the opposite truth, and half of the questions are asked about that. Its arguments: the random
        generator, the sight, and the objects that may be asked about and that the scene lacks.
    """

    template: str
    truth: Callable[[Sight], str]
    answers: Callable[[Vocabulary], Sequence[str]]
    tiles: Callable[[Sight], tuple[int, ...]] = Sight.named
    about: Callable[[Sight], str] = lambda sight: sight.name
    contrary: Callable[[np.random.Generator, Sight, Sequence[str]], Sight] | None = None

    def __post_init__(self):
        slots = slots_of(self.template)
        if not slots or slots - SLOTS.keys():
            found = ", ".join(sorted(slots - SLOTS.keys())) or "nothing"
            known = ", ".join(SLOTS)
            raise DataError(f"question type {self.template!r}: {found} between braces; known are {known}")

    def texts(self, world: Vocabulary) -> list[str]:
        """Every query that the template can make."""
        names = sorted(slots_of(self.template))
        filled = product(*(SLOTS[name].words(world) for name in names))
        return [self.template.format(**dict(zip(names, words, strict=True))) for words in filled]


def lacking(rng: np.random.Generator, sight: Sight, absent: Sequence[str]) -> Sight:
    """The same scene, asked about an object that it lacks."""
    return replace(sight, name=absent[int(rng.integers(len(absent)))])


TYPES = {
    "existence": QuestionType(
        "is there {a_name}",
        truth=lambda sight: "yes" if sight.name in sight.names else "no",
        answers=lambda world: ("yes", "no"),
        contrary=lacking,
    ),
    "place": QuestionType("where is the {name}", truth=lambda sight: sight.place, answers=lambda world: PLACES),
    "colour": QuestionType(
        "what colour is behind the {name}", truth=lambda sight: sight.colour, answers=lambda world: tuple(COLOURS)
    ),
    "what": QuestionType(
        "what is at the {place}", lambda sight: sight.name, lambda world: world.names, tiles=Sight.placed
    ),
    "count": QuestionType(
        "how many {plural} are there",
        truth=lambda sight: str(len(sight.members())),
        answers=lambda world: [str(number) for number in range(MAX_OBJECTS + 1)],
        tiles=Sight.members,
        about=lambda sight: sight.category,
    ),
}  # by the name in the tables


def with_article(name: str) -> str:
    """The name behind its indefinite article: "an" before a vowel."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def templates_with(*slots: str) -> list[str]:
    """The templates that have one of these slots or more."""
    return [kind.template for kind in TYPES.values() if slots_of(kind.template) & set(slots)]


def templates_of(slot: str) -> list[str]:
    """The templates that have this slot alone."""
    return [kind.template for kind in TYPES.values() if slots_of(kind.template) == {slot}]


def query_texts(world: Vocabulary) -> list[str]:
    """Every query that can be asked, sorted: the corpus of the stand-ins' tokenizers."""
    return sorted({text for kind in TYPES.values() for text in kind.texts(world)})


def answer_texts(world: Vocabulary) -> list[str]:
    """Every answer that can be expected, sorted."""
    return sorted({answer for kind in TYPES.values() for answer in kind.answers(world)})
