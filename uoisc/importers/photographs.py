"""Photographs with questions, whoever asked them, as a `questions.Source`.

vqav2.py, manifest.py ──► question_index ──► Photographs ──► batches, ask_split

| split    | images                                                                           |
|----------|----------------------------------------------------------------------------------|
| training | of the training part, without the held-out category (and with its opposite)      |
| seen     | of the test part, without the held-out category (and with its opposite)          |
| unseen   | of the test part, with it                                                        |

Source: authors' code (train where the category is not, test where it is). Where data come in one part, one image in
five of those without the category is a test image, by a hash of its name, and all those with it are (ours).

While settings are chosen another category is held out than the one that the data stage was told of. Then all comes
from images that training would have used: one in five of them is a test image, none shows the category that the
test split holds out (ours).
"""

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uoisc.base.errors import DataError
from uoisc.data.images import from_bytes, read_pixels
from uoisc.data.questions import SPLITS, Asked, Batch, Query
from uoisc.importers.question_index import Index
from uoisc.importers.regions import tokens_in

ONE_IN = 5  # ours: images that are held back for tests, where the data do not say which
CHOICE = 20_000  # ours: seeds which questions are trained on where there are more; every codec trains on the same


class Photographs:
    """The questions of an index; images are read when they are needed.

    Images are RGB, resized to a square without cropping (authors' code: so does their CLIPSeg processor), bicubic
    with antialiasing (Pillow).

    Args:
        folder: of the index. root: of the images.
        image_size: pixels a side. questions: at most so many in training, None for all.
        loaders: processes that read images ahead of training; 0 reads them in this one.
    """

    beyond = ()  # photographs come in one style

    def __init__(self, folder: Path, root: Path, image_size: int, questions: int | None = None, loaders: int = 0):
        self.index = Index(folder)
        self.root = root
        self.image_size = image_size
        self.questions = questions
        self.loaders = loaders

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Those of `SPLITS` that have images, where the test category is held out."""
        return tuple(split for split in SPLITS if self.rows(split, self.index.held_out).size)

    def rows(self, split: str, held_out: str) -> Int[np.ndarray, " rows"]:
        """The questions of `training` or a split, as rows of the index."""
        return np.flatnonzero(self._images(held_out)[split][self.index.image_of])

    def _images(self, held_out: str) -> dict[str, Bool[np.ndarray, " images"]]:
        index = self.index
        shown = self.index.has(held_out)
        drawn = index.draw % ONE_IN == 0
        drawn_again = index.draw // ONE_IN % ONE_IN == 0
        opposite = index.opposites.get(held_out)
        others = ~shown & index.has(opposite) if opposite else ~shown
        undecided = index.is_of("")
        tested = index.has(index.held_out)
        if held_out == index.held_out:
            test = index.is_of("test")
            return {
                "training": others & (index.is_of("train") | undecided & ~drawn),
                "seen": others & (test | undecided & drawn) | ~shown & index.is_of("seen"),
                "unseen": shown & (test | undecided) | index.is_of("unseen"),
            }
        ours = (index.is_of("train") | undecided & ~drawn) & ~tested
        return {"training": ours & others & ~drawn_again, "seen": ours & others & drawn_again, "unseen": ours & shown}

    def batches(
        self, stream: list[int], size: int, held_out: str, start: int = 0, share: slice = slice(None)
    ) -> Iterator[Batch]:
        """Training batches without end. Every step draws its questions anew, without regard to those before.

        Deviation (authors' code): they go through all questions once an epoch. So any step can be the first.

        Raises DataError where no image is left to train on, or one cannot be read.
        """
        rows = self.rows("training", held_out)
        if not rows.size:
            raise DataError(f"no question is left for training where {held_out!r} is held out: add images without it")
        if self.questions is not None and rows.size > self.questions:
            rows = np.sort(np.random.default_rng(CHOICE).permutation(rows)[: self.questions])
        loader = DataLoader(
            _Steps(self, rows, tuple(stream), size, share),
            batch_size=None,
            sampler=itertools.count(start),
            num_workers=self.loaders,
            worker_init_fn=_leave_interrupts,
            generator=torch.Generator(),  # the caller's random numbers stay as they are
        )
        for loaded in loader:
            if isinstance(loaded, DataError):
                raise loaded
            pixels, queries, names = loaded
            yield Batch(from_bytes(pixels.numpy()), queries, tuple(names))  # loaders make a list of it

    def ask_split(self, split: str, held_out: str, n: int, stream: list[int]) -> Asked:
        """At most n questions of a split: one per image, a second one of an image once all images have one.

        `others` are about the same image in other words; where an image has but one question, about another image
        of the split. Raises DataError where the split has fewer than two questions.
        """
        import pandas as pd

        rows = self.rows(split, held_out)
        if not rows.size:
            raise DataError(f"no question is in split {split!r} where {held_out!r} is held out: ask another split")
        rows = np.random.default_rng([*stream, SPLITS.index(split)]).permutation(rows)
        images = self.index.image_of[rows]
        before = pd.Series(images).groupby(images).cumcount().to_numpy()  # questions of its image that come before each
        chosen = rows[np.argsort(before, kind="stable")[:n]]
        entries = self.index.entries(chosen)
        others = self._others(chosen, entries, rows)
        files = [entry["file"] for entry in entries]
        queries = ([query(i, entry) for i, entry in enumerate(asked)] for asked in (entries, others))
        return Asked(
            split, *queries, lambda rows: self.load(files[rows]), originals=lambda rows: self.originals(files[rows])
        )

    def _others(self, chosen: Int[np.ndarray, " n"], entries: list[dict], rows: Int[np.ndarray, " rows"]) -> list[dict]:
        """For each question one of other words: the next about its image, else the next of these, else of the split."""
        image_of = self.index.image_of
        order = np.argsort(image_of, kind="stable")
        first = np.searchsorted(image_of[order], image_of[chosen], "left")
        last = np.searchsorted(image_of[order], image_of[chosen], "right")
        found = []
        further = {}
        for i, (row, entry) in enumerate(zip(chosen, entries, strict=True)):
            about = order[first[i] : last[i]]
            after = np.roll(about, -1 - int(np.flatnonzero(about == row)[0]))[:-1]
            words = entry["text"].lower()
            candidates = itertools.chain(self.index.entries(after), entries[i + 1 :], entries[:i])
            other = next((c for c in candidates if c["text"].lower() != words), None) or further.get(words)
            if other is None:
                split = (self.index.entries(np.array([r]))[0] for r in rows)
                other = further[words] = next((c for c in split if c["text"].lower() != words), None)
            if other is None:
                raise DataError(f"{entry['file']}: no other question in its split, which the wrong-query control needs")
            found.append(other)
        return found

    def regions(self, queries: list[Query], side: int) -> Bool[Tensor, "B N"]:
        """Which of side x side tokens lie in the boxes of each query; none where nobody knows (`Query.located`)."""
        return torch.from_numpy(np.stack([tokens_in(query.boxes, side).ravel() for query in queries]))

    def load(self, files: list[str]) -> Float[Tensor, "B 3 H W"]:
        """Images in [0, 1]. Raises DataError where one has been lost or broken since it was indexed."""
        return from_bytes(self.pixels(files).numpy())

    def pixels(self, files: list[str]) -> Tensor:
        """Images in 8 bits per channel, (B, H, W, 3): a quarter of what floats take on their way between processes."""
        read = np.empty((len(files), self.image_size, self.image_size, 3), dtype=np.uint8)
        for place, file in zip(read, files, strict=True):
            place[:] = self._read(file, self.image_size)
        return torch.from_numpy(read)

    def originals(self, files: list[str]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Images as large as they are, in 8 bits per channel, one at a time."""
        return (self._read(file, None) for file in files)

    def _read(self, file: str, size: int | None) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return read_pixels(self.root / file, size)[0]
        except DataError as error:
            remedy = "restore it, or run the data stage again, which leaves it out once it is taken away"
            raise DataError(f"{error}: {remedy}") from None


def query(image: int, entry: dict) -> Query:
    """A question about the image at that row of what it comes with."""
    words = (entry["type"], entry["text"], entry["truth"], "")
    boxes = tuple(map(tuple, entry["boxes"]))
    return Query(image, *words, answers=tuple(entry["answers"]), boxes=boxes, located=bool(boxes))


@dataclass
class _Steps(Dataset):
    """Training step -> images in 8 bits, queries and their names, of the same rows whichever process loads them."""

    source: Photographs
    rows: np.ndarray
    stream: tuple[int, ...]
    size: int
    share: slice

    def __getitem__(self, step: int) -> tuple[Tensor, list[Query], tuple[str, ...]] | DataError:
        rng = np.random.default_rng([*self.stream, step])
        rows = rng.choice(self.rows, self.size, replace=self.rows.size < self.size)
        entries = self.source.index.entries(rows[self.share])
        try:
            pixels = self.source.pixels([entry["file"] for entry in entries])
        except DataError as error:
            return error  # raised by the process that trains, as one line
        places = range(self.size)[self.share]
        names = tuple(f"{row // 1000}/{row}" for row in rows[self.share].tolist())  # 1,000 files a folder
        return pixels, [query(i, entry) for i, entry in zip(places, entries, strict=True)], names


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C is for the process that trains, which then ends its loaders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
