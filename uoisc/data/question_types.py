"""Which questions are asked about scenes: the one table from which texts, queries, answers and tokenizers derive.

    QuestionType.template --filled with a Sight's words--> the query      "where is the {name}" --> "where is the lion"
                          --split into words, with theirs-> `query_words`: what the stand-ins learn to read
    QuestionType.truth, answers, tiles ------------------> the query's answer, `answer_texts`, where it can be seen

To add a type, write a `QuestionType` into `TYPES`. Source: ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from uoisc.base.errors import DataError
from uoisc.data.answers import DENIAL
from uoisc.data.objects import ObjectEntry, plural
from uoisc.data.sights import (
    COLOURS,
    MAX_OBJECTS,
    NOTHING,
    PLACES,
    SIDES,
    Absent,
    Sight,
    beside_none,
    empty_neighbour,
    lacking,
    neighbours,
    no_such_tile,
    one_lacking,
    one_of,
    pairs,
    unequal,
)


@runtime_checkable
class Vocabulary(Protocol):
    """What the words of questions come from; `scenes.World` is one."""

    names: tuple[str, ...]  # of all objects
    categories: tuple[str, ...]


class Words(NamedTuple):
    """The vocabulary of a catalogue's objects."""

    names: tuple[str, ...]
    categories: tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[ObjectEntry]) -> "Words":
        """Names in the objects' order, categories by the alphabet."""
        return cls(tuple(e.name for e in entries), tuple(sorted({e.category for e in entries})))


@dataclass(frozen=True)
class Slot:
    """What may stand between braces in a template: its word of a sight, and all words that it can take."""

    of: Callable[[Sight], str]
    words: Callable[[Vocabulary], Sequence[str]]


def _articled(world: Vocabulary) -> list[str]:
    return [with_article(name) for name in world.names]


def _plurals(world: Vocabulary) -> list[str]:
    return [plural(category) for category in world.categories]


SLOTS = {
    "name": Slot(lambda sight: sight.name, lambda world: world.names),
    "a_name": Slot(lambda sight: with_article(sight.name), _articled),
    "a_other": Slot(lambda sight: with_article(sight.other), _articled),
    "place": Slot(lambda sight: sight.place, lambda world: PLACES),
    "side": Slot(lambda sight: sight.side, lambda world: tuple(SIDES)),
    "colour": Slot(lambda sight: sight.colour, lambda world: tuple(COLOURS)),
    "category": Slot(lambda sight: sight.category, lambda world: world.categories),
    "plural": Slot(lambda sight: plural(sight.category), _plurals),
    "more": Slot(lambda sight: plural(sight.more), _plurals),
    "fewer": Slot(lambda sight: plural(sight.fewer), _plurals),
}
OBJECT_SLOTS = ("name", "a_name", "a_other")  # whose words stand in the order of a vocabulary's objects
CATEGORY_SLOTS = ("category", "plural", "more", "fewer")  # and of its categories


@cache
def slots_of(template: str) -> frozenset[str]:
    """The names between a template's braces."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def fill(template: str, sight: Sight) -> str:
    """The template with the words of a sight."""
    return template.format(**{name: SLOTS[name].of(sight) for name in slots_of(template)})


def fill_about(
    rng: np.random.Generator, template: str, slots: Sequence[str], index: int, world: Vocabulary, known: Vocabulary
) -> str:
    """The template with the index-th word of `world` in one of `slots`, and `known` words at random wherever else it
    has a slot."""
    names = sorted(slots_of(template))
    own = one_of(rng, [name for name in names if name in slots])
    words = {name: SLOTS[name].words(world if name == own else known) for name in names}
    return template.format(**{name: words[name][index] if name == own else one_of(rng, words[name]) for name in names})


@dataclass(frozen=True)
class QuestionType:
    """One kind of question, from its words to its answer.

    template: the query, with `SLOTS` between braces. No question mark, small letters.
    truth: the right answer about a sight; one of `answers`, all of which become words of the judges.
    tiles: the tiles, 0 to 8 row by row, that the answer needs: what an oracle looks at, where the head of a rate dial
        learns to look, and what tells a wrong query from another one about the same spot. None if nothing shows it.
    about: what the tables call the question's object; only for questions about a category is it not the name.
    options: of an occupied tile's sight, those to ask about: itself unless the type needs more than a tile has.
    contrary: balance. A sight is one drawn from the options of all tiles, so that places, colours and names
        are equally likely as they stand, and `World.sample` draws 1 to 4 members of the category equally often. Where
        the truth would still be always the same ("yes": the object that is asked about is there), `contrary` makes of
        a sight one with the opposite truth, and a `share` of the questions is asked about that; all are where a scene
        has no option. Its arguments: the random generator, the sight, and what may be named and the scene lacks.
    accepted: every right answer, where there are several: the truth is one of them.
    turns: how often it is asked in a round of all types where judges learn, at first and later: first, often, what
        others build on, later, more than once, what is hard to learn.
    """

    template: str
    truth: Callable[[Sight], str]
    answers: Callable[[Vocabulary], Sequence[str]]
    tiles: Callable[[Sight], tuple[int, ...]] = Sight.named
    about: Callable[[Sight], str] = lambda sight: sight.name
    options: Callable[[Sight], Sequence[Sight]] = lambda sight: [sight]
    contrary: Callable[[np.random.Generator, Sight, "Absent"], Sight] | None = None
    share: float = 0.5
    accepted: Callable[[Sight], tuple[str, ...]] = lambda sight: ()
    turns: tuple[int, int] = (1, 1)

    def __post_init__(self):
        slots = slots_of(self.template)
        if not slots or slots - SLOTS.keys():
            found = ", ".join(sorted(slots - SLOTS.keys())) or "nothing"
            known = ", ".join(SLOTS)
            raise DataError(f"question type {self.template!r}: {found} between braces; known are {known}")


TYPES = {
    "existence": QuestionType(
        "is there {a_name}",
        truth=lambda sight: "yes" if sight.name in sight.names else "no",
        answers=lambda world: ("yes", "no"),
        contrary=lacking,
    ),
    "place": QuestionType(
        "where is the {name}", truth=lambda sight: sight.place, answers=lambda world: PLACES, turns=(3, 1)
    ),
    "colour": QuestionType(
        "what colour is behind the {name}",
        truth=lambda sight: sight.colour,
        answers=lambda world: tuple(COLOURS),
        turns=(2, 1),
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
        turns=(0, 3),
    ),
    "relation": QuestionType(
        "what is {side} the {name}",
        truth=lambda sight: sight.at(sight.beside()),
        answers=lambda world: (*world.names, NOTHING),
        tiles=lambda sight: sight.named() + sight.beside() if sight.named() else (),
        options=neighbours,
        contrary=empty_neighbour,
        share=0.1,
        turns=(0, 3),
    ),
    "conjunction": QuestionType(
        "is there {a_name} and {a_other}",
        truth=lambda sight: "yes" if {sight.name, sight.other} <= {*sight.names} else "no",
        answers=lambda world: ("yes", "no"),
        tiles=Sight.both,
        options=pairs,
        contrary=one_lacking,
    ),
    "comparison": QuestionType(
        "are there more {more} than {fewer}",
        truth=lambda sight: "yes" if len(sight.members(sight.more)) > len(sight.members(sight.fewer)) else "no",
        answers=lambda world: ("yes", "no"),
        tiles=lambda sight: sight.members(sight.more) + sight.members(sight.fewer),
        about=lambda sight: sight.category,
        options=unequal,
        contrary=beside_none,
        share=0.0,
        turns=(0, 1),
    ),
    "reference": QuestionType(
        "what is on the {colour} tile",
        truth=lambda sight: sight.at(sight.coloured()),
        answers=lambda world: (*world.names, NOTHING),
        tiles=Sight.coloured,
        options=lambda sight: [sight] if len(sight.coloured()) == 1 else [],
        contrary=no_such_tile,
        share=0.1,
    ),
    "member": QuestionType(
        "where is the {category}",
        truth=lambda sight: sight.place,
        answers=lambda world: PLACES,
        tiles=Sight.members,
        about=lambda sight: sight.category,
        options=lambda sight: [sight] if PLACES.index(sight.place) in sight.members() else [],
        accepted=lambda sight: tuple(PLACES[tile] for tile in sight.members()) if sight.members()[1:] else (),
    ),
    "premise": QuestionType(
        "what colour is behind the {name}",
        truth=lambda sight: sight.colour if sight.named() else f"{DENIAL} {sight.name}",
        answers=lambda world: (*COLOURS, *(f"{DENIAL} {name}" for name in world.names)),
        contrary=lacking,
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


def query_words(world: Vocabulary) -> set[str]:
    """Every word of the queries that can be asked: what the stand-ins' tokenizers know."""
    texts = [word for kind in TYPES.values() for slot in slots_of(kind.template) for word in SLOTS[slot].words(world)]
    texts += [text for kind in TYPES.values() for text, *_ in Formatter().parse(kind.template)]
    return {word for text in texts for word in text.split()}


def answer_texts(world: Vocabulary) -> list[str]:
    """Every answer that can be expected, sorted."""
    return sorted({answer for kind in TYPES.values() for answer in kind.answers(world)})
