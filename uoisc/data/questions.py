"""What a codec is trained and tested on, wherever it comes from: images with questions about them.

source.batches(...)  -->  Batch, Batch, ...    training: images without the held-out category
source.ask_split(...)  -->  Asked                evaluation: seen, unseen
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from uoisc.data.answers import answers_match, normalise

SPLITS = ("seen", "unseen")  # images without, and with, the held-out category
POOLED_TYPES = ("existence", "place", "colour")  # of the one accuracy that sums a judge up: without naming and counting


@dataclass(frozen=True)
class Query:
    """One question about one image, and what its source needs to say where the answer lies (`Source.regions`).

    tiles: of a scene, those that the answer needs (`QuestionType.tiles`); none for an absent object.
    accepted: every right answer, where there are several (`truth` is one of them); else none.
    boxes: of a photograph, (left, top, right, bottom) in shares of its width and height.
    located: whether the source knows where the answer lies, be it nowhere.
    sight: the scene as the question sees it (`Sight`), from which another scene's answer follows; None of a photograph.
    """

    image: int
    type: str
    text: str
    truth: str
    object: str
    tiles: tuple[int, ...] = ()
    answers: tuple[str, ...] = ()  # of several people, where they were asked
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    located: bool = True
    accepted: tuple[str, ...] = ()
    sight: Any = field(default=None, compare=False, repr=False)

    @property
    def ambiguous(self) -> bool:
        """Whether several answers are right."""
        return len(self.accepted) > 1

    def match(self, answer: str, other: str) -> bool:
        """Whether two answers to it agree (`answers_match`)."""
        return answers_match(self.text, answer, other, self.accepted)

    def right(self, answer: str) -> bool:
        """Whether an answer is a right one, after `normalise`."""
        return normalise(answer) in map(normalise, self.accepted or [self.truth])


@dataclass(frozen=True)
class Batch:
    """A step's images in [0, 1], one query each; `names`: what its equal parts are called wherever they come again."""

    images: Float[Tensor, "B 3 H W"]
    queries: list[Query]
    names: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The queries' words."""
        return [query.text for query in self.queries]

    def to(self, device: torch.device) -> "Batch":
        """The same with the images on a device."""
        return replace(self, images=self.images.to(device, non_blocking=True))

    def parts(self, n: int) -> "list[Batch]":
        """n equal parts, in order."""
        if n == 1:
            return [self]
        size = len(self.queries) // n
        names = self.names
        if len(names) == 1:
            names = tuple(f"{names[0]}-{i + 1}of{n}" for i in range(n))
        each = len(names) // n
        return [
            Batch(self.images[i * size :][:size], self.queries[i * size :][:size], names[i * each :][:each])
            for i in range(n)
        ]


@dataclass(frozen=True)
class Asked:
    """A split's questions, and another question about the same image each (the wrong-query control)."""

    split: str
    queries: list[Query]
    others: list[Query]
    images: Callable[[slice], Float[Tensor, "B 3 H W"]]  # the images of these queries, in [0, 1]
    _: KW_ONLY
    name: str = ""  # what tells its images from all others; "": nothing
    originals: Callable[[slice], Iterable[UInt8[np.ndarray, "h w 3"]]] | None = None  # as in their files, unsquashed

    def __len__(self) -> int:
        return len(self.queries)

    def first(self, n: int | None) -> "Asked":
        """The first n of them, all where n is None."""
        return replace(self, queries=self.queries[:n], others=self.others[:n])

    def only(self, row: int) -> "Asked":
        """One of them."""
        rows = slice(row, row + 1)
        own = {"queries": self.queries[rows], "others": self.others[rows], "images": lambda _: self.images(rows)}
        return replace(self, **own, name="", originals=None)

    def about_one_image(self) -> tuple[Float[Tensor, "1 3 H W"], list[str]]:
        """An image, and the words of different questions about it: the first question and its other one."""
        return self.images(slice(0, 1)), [self.queries[0].text, self.others[0].text]

    def all_images(self) -> Float[Tensor, "B 3 H W"]:
        """Every image at once."""
        return self.images(slice(0, len(self)))

    @property
    def texts(self) -> list[str]:
        """The queries' words."""
        return [query.text for query in self.queries]


@runtime_checkable
class Source(Protocol):
    """Where images and questions come from: drawings (`World`) or photographs (`Photographs`)."""

    splits: tuple[str, ...]  # those of `SPLITS` that it has, in the style that codecs are trained on
    beyond: tuple[str, ...]  # and in other styles; none where there is one style

    def batches(
        self, stream: list[int], size: int, held_out: str, start: int = 0, share: slice = slice(None)
    ) -> Iterator[Batch]:
        """Training batches without end: the same `stream` gives the same ones.

        Args:
            stream: seeds the order. size: images per step. start: the step to begin at.
            share: which rows of every batch this process needs; the others are not loaded.
        """

    def ask_split(self, split: str, held_out: str, n: int, stream: list[int]) -> Asked:
        """At most n questions of a split, one per image. The same `stream` gives the same ones."""

    def regions(self, queries: list[Query], side: int) -> Bool[Tensor, "B N"]:
        """Which of an image's side x side tokens show each query's answer; none where it is not located.

        It is what the head of a rate dial learns (`relevance_loss`), and what the oracle sends first.
        """
