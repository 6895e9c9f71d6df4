"""Text in a picture's place: what a transmitter that knows the query could send instead (ours).

    query ──────────► answer        its judge answers on the source; the words are sent
    image ─► CLIP ──► description   which object stands on which tile, and each tile's colour: answers follow by rule
                └───► sprites       the description, and which drawing each is: the receiver draws it, judges look

Bits are ideal: of an answer -log2 of how often training had it, of a description the logarithm of how many there are,
as equally likely. `perfect` is the description by a recogniser that never errs; `guess`, for 0 bits, the answer that
training had most often. `PICTURES` are sent once, for the first of eight questions about a scene. Of photographs there
are answers alone, to one question each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from math import comb, log2, prod
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uoisc.base.distributed import device
from uoisc.base.results import COLUMNS, SEEN
from uoisc.base.settings import GRID, JUDGES
from uoisc.data.answers import normalise
from uoisc.data.question_types import COLOURS, MAX_OBJECTS, PLACES, SLOTS, TYPES, answer_texts, slots_of
from uoisc.data.questions import Asked, Query
from uoisc.data.scenes import AskedScenes, Scenes, World
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.foundation import region_embeddings
from uoisc.judge.bootstrap import mean_rows
from uoisc.judge.evaluation import Answers, ask, batches, evaluation_questions, joined
from uoisc.study import Point, Study, open_study, points

TEXT_STREAM = 7  # scenes that nothing else draws; its further questions, counted answers and tiles from 1, 2, 3 on
SHARE = 0.25  # of a split's evaluation queries: eight questions about each scene are judged
COUNTED = 5  # training questions that answers are counted in, for every evaluation query
FITTED = 200  # training scenes that say from which cosine on a tile holds an object
ROUNDS = 8  # questions about one scene
KNOWN = (1, 2, 4, 8)  # so many of them are known when something is sent
PICTURES = ("uoisc", "dial")


@dataclass(frozen=True)
class Statistics:
    """Ideal lengths of words, type by type, by how often training had them.

        -log2 c / (n + d)                      of a word that came c times among a type's n, d of them different
        -log2 d / (n + d) + log2 |vocabulary|  of another one that both ends know; of any other its bytes and a last 0

    Source: the escape of PPM's method C (Moffat, 1990).
    """

    counts: dict[str, Counter]
    vocabulary: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[tuple[str, str]], vocabulary: Iterable[str] = ()) -> "Statistics":
        """Counted in pairs of type and word."""
        counts: dict[str, Counter] = {}
        for kind, word in words:
            counts.setdefault(kind, Counter())[word] += 1
        return cls(counts, frozenset(vocabulary))

    def bits(self, kind: str, word: str) -> float:
        """Of a word of a type."""
        own = self.counts.get(kind, Counter())
        total = own.total() + len(own)
        if word in own:
            return log2(total / own[word])
        spelled = log2(len(self.vocabulary)) if word in self.vocabulary else 8 * (len(word.encode()) + 1)
        return spelled + (log2(total / len(own)) if own else 0)

    def guess(self, kind: str) -> str:
        """The word that came most often, of equally frequent ones the first by the alphabet."""
        return min(self.counts.get(kind, {"": 1}).items(), key=lambda item: (-item[1], item[0]))[0]


class Recogniser:
    """The stand-in CLIP as a reader of scenes: each tile's nearest name and nearest colour by the cosine.

    A tile is empty where no name comes nearer than `least`, the cosine that errs least often on training scenes.
    """

    def __init__(self, clip: FrozenCLIP, world: World, training: Scenes):
        self.clip = clip
        self.names = list(world.names)
        cosines, order = self._scores(world.render(training))[0].amax(-1).flatten().sort()
        held = torch.from_numpy(training.objects.flatten() >= 0)[order]
        errors = held.cumsum(0) + (~held).sum() - (~held).cumsum(0)  # where those up to here are called empty
        self.least = cosines[errors.argmin()].item()

    def _scores(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B 9 O"], Float[Tensor, "B 9 C"]]:
        regions = region_embeddings(self.clip.see(x).tokens)
        colours = [f"the colour {colour}" for colour in COLOURS]
        return tuple((regions @ self.clip.text(words).float().T).cpu() for words in (self.names, colours))

    def read(self, x: Float[Tensor, "B 3 H W"], scenes: Scenes) -> Scenes:
        """The scenes as recognised: objects and colours are CLIP's, all else is as it was."""
        names, colours = self._scores(x)
        best, objects = names.max(-1)
        objects = torch.where(best > self.least, objects, -1)
        return replace(scenes, objects=objects.numpy(), colours=colours.argmax(-1).numpy())


def scene_bits(world: World, scenes: Scenes) -> Float[np.ndarray, " B"]:
    """Of each scene's description, where all scenes are numbered: how many objects, on which tiles, which; colours."""
    numbers = (scenes.objects >= 0).sum(1)
    spots = np.log2([MAX_OBJECTS * comb(GRID**2, int(number)) for number in numbers])
    return spots + numbers * log2(len(world.names)) + GRID**2 * log2(len(COLOURS))


def query_bits(world: World, query: Query) -> float:
    """Of a query where types, and the words of a type's template, are equally likely, as they are drawn."""
    slots = slots_of(TYPES[query.type].template)
    return log2(len(TYPES)) + log2(prod(len(SLOTS[slot].words(world)) for slot in slots))


def answer_by(query: Query, names: Sequence[str | None], kinds: Sequence[str | None], colours: Sequence[str]) -> str:
    """The answer to a scene's query that follows from other names, categories (None: nothing) and colours of its tiles;
    "" where these lack what is asked about."""
    asked = TYPES[query.type]
    sight = replace(query.sight, names=tuple(names), categories=tuple(kinds), colours=tuple(colours))
    given = {slot.removeprefix("a_") for slot in slots_of(asked.template)}
    tile = next(iter(asked.tiles(sight)), None)  # of what the query names, or at the place that it names
    found = {"name": names, "place": PLACES, "colour": colours}
    own = {word: "" if tile is None else of[tile] or "" for word, of in found.items() if word not in given}
    return asked.truth(replace(sight, **own))


def answers_by(world: World, scenes: Scenes, queries: list[Query]) -> list[str]:
    """`answer_by` of one query a scene."""
    names, kinds = (*world.names, None), (*(world.categories[kind] for kind in world.category_of), None)  # -1: nothing
    tiles = zip(scenes.objects, scenes.colours, strict=True)
    shown = [
        ([names[i] for i in own], [kinds[i] for i in own], [list(COLOURS)[i] for i in hues]) for own, hues in tiles
    ]
    return [answer_by(query, *own) for query, own in zip(queries, shown, strict=True)]


class Offer(NamedTuple):
    """What may be sent about n scenes: its bits where so many of their questions are known, and what each judge then
    answers, a round of questions each."""

    bits: Float[np.ndarray, "n rounds"]
    answers: list[Answers]


@dataclass(frozen=True)
class Session:
    """Rounds of questions about the scenes of `asked`: its own, then further ones of any type, none twice."""

    study: Study
    asked: Asked
    rounds: list[list[Query]]

    @classmethod
    def of(cls, study: Study, split: str) -> "Session":
        """About the first of a split's evaluation questions."""
        p = study.params
        asked = evaluation_questions(study, split, max(1, int(SHARE * p.evaluation.queries)))
        rounds = [asked.queries]
        if isinstance(asked, AskedScenes):
            world = asked.world
            rng = np.random.default_rng([p.seed, TEXT_STREAM, 1])
            allowed = world.pool(exclude=p.data.held_out if split.startswith(SEEN) else None)
            while len(rounds) < ROUNDS:
                drawn = []
                for row in range(len(asked)):
                    known = {queries[row].text for queries in rounds}
                    kinds = (str(rng.choice(list(TYPES))) for _ in count())
                    fresh = (world.ask(rng, asked.scenes, row, kind, allowed, allowed) for kind in kinds)
                    drawn.append(next(query for query in fresh if query.text not in known))
                rounds.append(drawn)
        return cls(study, asked, rounds)

    def hear(self, draw: Callable[[slice, list[str]], Tensor]) -> list[Answers]:
        """Each judge's answers on what `draw` shows of some rows, given a round's words about them."""
        words = [[query.text for query in queries] for queries in self.rounds]
        parts = batches(self.study, self.asked)
        return [joined([ask(self.study, draw(at, own[at]).to(device()), own[at]) for at in parts]) for own in words]

    def once(self, bits: Float[np.ndarray, " n"] | float, answers: list[Answers]) -> Offer:
        """What costs the same however many questions are known."""
        return Offer(np.broadcast_to(np.reshape(bits, (-1, 1)), (len(self.asked), len(self.rounds))), answers)

    def words(self, bits: Float[np.ndarray, " n"] | float, rounds: Iterable[list[str]]) -> Offer:
        """Words that cost the same, and that whoever receives them shows."""
        return self.once(bits, [dict.fromkeys(self.study.judges, own) for own in rounds])

    def answers(self, source: list[Answers]) -> dict[str, Offer]:
        """The sending judge's own answers, and what training would guess."""
        p = self.study.params
        asked = self.asked
        size = p.evaluation.batch_size
        vocabulary = answer_texts(asked.world) if isinstance(asked, AskedScenes) else ()
        trained = self.study.source.batches([p.seed, TEXT_STREAM, 2], size, p.data.held_out)
        drawn = (q for batch in islice(trained, -(-COUNTED * p.evaluation.queries // size)) for q in batch.queries)
        known = Statistics.of(((q.type, normalise(q.truth)) for q in drawn), map(normalise, vocabulary))
        said = [answers[JUDGES[0]] for answers in source]
        each = zip(self.rounds, said, strict=True)
        bits = [[known.bits(q.type, normalise(answer)) for q, answer in zip(*own, strict=True)] for own in each]
        guesses = ([known.guess(query.type) for query in queries] for queries in self.rounds)
        sent = self.words(0.0, said)._replace(bits=np.cumsum(bits, axis=0).T)
        return {"answer": sent, "guess": self.words(0.0, guesses)}

    def descriptions(self) -> tuple[dict[str, Offer], dict[str, np.ndarray]]:
        """The scenes in words, as CLIP reads them and as they are, and drawn anew; and how much CLIP reads right."""
        p = self.study.params
        world = self.asked.world
        scenes = self.asked.scenes[: len(self.asked)]
        rng = np.random.default_rng([p.seed, TEXT_STREAM, 3])
        allowed = world.pool(exclude=p.data.held_out)
        reader = Recogniser(self.study.clip, world, world.sample(rng, FITTED, allowed))
        read = reader.read(self.asked.all_images(), scenes)
        offers = {
            name: self.words(scene_bits(world, own), (answers_by(world, own, queries) for queries in self.rounds))
            for name, own in {"description": read, "perfect": scenes}.items()
        }
        which = (read.objects >= 0).sum(1) * log2(p.data.sprite_variants + p.data.test_variants)
        drawn = self.hear(lambda at, _: world.render(read[at]))
        offers["sprites"] = self.once(scene_bits(world, read) + which, drawn)
        right = {f"{part}_right": getattr(read, part) == getattr(scenes, part) for part in ("objects", "colours")}
        return offers, {name: tiles.mean(1) for name, tiles in right.items()}

    def picture(self, point: Point) -> Offer:
        """A codec's picture, sent for the first question; a receiver that reads the query draws it for each."""
        codec = self.study.codec(*point)
        first = self.asked.texts
        messages = {at.start: codec.encode(self.asked.images(at), first[at]) for at in batches(self.study, self.asked)}
        return self.once(codec.bits, self.hear(lambda at, texts: codec.decode(messages[at.start], texts)))

    def rows(self, source: list[Answers], offer: Offer, guess: Offer, keys: dict, types: Sequence[str]) -> list[dict]:
        """AMR where so many questions are known; of one also on the rest (answers: a guess's), and over these types."""
        table = []
        later = guess if keys["method"] == "answer" else offer
        counts = np.array([query.type in types for query in self.asked.queries])
        for judge in self.study.judges:
            match, beyond = (self._matches(source, sent, judge) for sent in (offer, later))
            for known in [known for known in KNOWN if known <= len(self.rounds)]:
                measures = {"amr": match[:, :known].mean(1)}
                if known == 1 < len(self.rounds):
                    measures["amr_unforeseen"] = beyond[:, 1:].mean(1)
                at = {"questions": known, "judge": judge, "bits": offer.bits[:, known - 1].mean()}
                table += mean_rows(measures, self.study.params, keys | at)
            if counts.any():
                at = {"questions": 1, "judge": judge, "bits": offer.bits[counts, 0].mean()}
                table += mean_rows({"amr_reliable": match[counts, 0]}, self.study.params, keys | at)
        return table

    def _matches(self, source: list[Answers], offer: Offer, judge: str) -> Bool[np.ndarray, "n rounds"]:
        rounds = zip(self.rounds, source, offer.answers, strict=True)
        each = (zip(queries, said[judge], heard[judge], strict=True) for queries, said, heard in rounds)
        return np.array([[query.match(a, b) for query, a, b in own] for own in each]).T

    def query(self) -> dict[str, np.ndarray]:
        """Bits of each query on the uplink: as text, and ideally, where both ends know the templates."""
        spelled = np.array([8.0 * len(text.encode()) for text in self.asked.texts])
        if not isinstance(self.asked, AskedScenes):
            return {"utf8_bits": spelled}
        ideal = [query_bits(self.asked.world, query) for query in self.asked.queries]
        return {"utf8_bits": spelled, "ideal_bits": np.array(ideal)}


@torch.no_grad()
def text_bounds(profile: str, split: str, types: Sequence[str]) -> pd.DataFrame:
    """Rows of text_bounds.csv about a split: texts, and pictures beside them. `types`: of questions that count."""
    study = open_study(profile)
    session = Session.of(study, split)
    source = session.hear(lambda at, _: session.asked.images(at))
    offers = session.answers(source)
    about = {"query": session.query()}
    if isinstance(session.asked, AskedScenes):
        described, about["description"] = session.descriptions()
        offers |= described
    offers |= {point: session.picture(point) for point in study.distinct(points(study.params, PICTURES))}
    keys = {"profile": profile, "seed": study.params.seed, "split": split}
    rows = []
    for method, measures in about.items():
        rows += mean_rows(measures, study.params, keys | {"method": method, "questions": 1, "judge": "none"})
    for sent, offer in offers.items():
        rows += session.rows(source, offer, offers["guess"], keys | {"method": getattr(sent, "variant", sent)}, types)
    return pd.DataFrame(rows)[COLUMNS["text_bounds.csv"]]
