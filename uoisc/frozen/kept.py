"""What frozen models make of source images, worked out once: all codecs of a profile see the same images.

    kept.know(images, names)       this batch is the source from now on, under a name a record
    kept.of(images, "see", make)   what was kept of it; else what `make()` gives, which is kept
    shelf.get, shelf.put           where: a `Folder` that processes share, or a `Memory` of this one

A record that is missing, cut short or of other models is made anew, so the folder may be deleted at any time.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import disk_usage

import torch
from torch import Tensor

from uoisc.base.devices import autocast_type
from uoisc.base.errors import CheckpointError
from uoisc.base.storage import read_tensors, save_tensors

Record = tuple[Tensor, ...]
SPARE = 5e9  # ours: bytes of the disk that stay free


class Folder:
    """Records on disk; `label` says of what models and images they are, and others count as missing."""

    def __init__(self, path: Path, label: dict):
        self.path = path
        self.label = label

    def get(self, name: str) -> Record | None:
        """The record of that name, where there is a whole one of this label."""
        try:
            tensors, label = read_tensors(self._file(name), "")
        except CheckpointError:
            return None
        return tuple(tensors[key] for key in sorted(tensors)) if label == self.label else None

    def put(self, name: str, record: Record) -> None:
        """Keeps a record; where the disk is nearly full, or may not be written, nothing."""
        with suppress(CheckpointError, OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            if disk_usage(self.path).free > SPARE:
                save_tensors({str(i): part for i, part in enumerate(record)}, self._file(name), self.label)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"


class Memory:
    """Records in this process, the first ones of up to `room` bytes in all."""

    def __init__(self, room: int | float):
        self.room = room
        self.records = {}

    def get(self, name: str) -> Record | None:
        """The record of that name."""
        return self.records.get(name)

    def put(self, name: str, record: Record) -> None:
        """Keeps a record where there is room."""
        size = sum(part.nbytes for part in record)
        if size <= self.room:
            self.room -= size
            self.records[name] = record


class Kept:
    """A frozen model's memory of the source batch at hand and, on a shelf where it has one, of those before."""

    def __init__(self, shelf: Folder | Memory | None = None):
        self.shelf = shelf
        self.know(None, ())

    def know(self, images: Tensor | None, names: Sequence[str]) -> None:
        """From now on this tensor is the source, whose equal parts have these names; without names nothing is kept."""
        self.images = images
        self.names = tuple(names)
        self.now = {}

    def knows(self, images: Tensor) -> bool:
        """Whether that very tensor is the source."""
        return images is self.images and bool(self.names)

    def of(self, images: Tensor, what: str, make: Callable[[], Record], rows: Sequence[int] | None = None) -> Record:
        """What a model makes of `images`, which `make` works out: at each precision another. `rows`: how many along the
        first dimension of each tensor are of each name; None: equally many."""
        if not self.knows(images):
            return make()
        return self._recall(f"{what}-{_precision(images)}", self.names, make, images.device, rows)

    def of_texts(self, texts: list[str], device: torch.device, make: Callable[[], Tensor]) -> Tensor:
        """What a model makes of queries, wherever a source is at hand."""
        if not self.names:
            return make()
        name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]
        return self._recall(f"text-{_precision(torch.empty(0, device=device))}", (name,), lambda: (make(),), device)[0]

    def _recall(self, what: str, names: tuple[str, ...], make, device, rows=None) -> Record:
        if (what, names) not in self.now:
            found = [self.shelf and self.shelf.get(f"{what}/{name}") for name in names]
            if None in found:
                with torch.no_grad():
                    made = make()
                rows = rows or [len(made[0]) // len(names)] * len(names)
                parts = zip(*(part.split(list(rows)) for part in made), strict=True) if len(names) > 1 else [made]
                for i, (name, part) in enumerate(zip(names, parts, strict=True)):
                    if found[i] is None:
                        found[i] = part
                        if self.shelf:
                            self.shelf.put(f"{what}/{name}", part)
            here = [[part.to(device) for part in parts] for parts in zip(*found, strict=True)]
            self.now[what, names] = tuple(torch.cat(parts) if len(names) > 1 else parts[0] for parts in here)
        return self.now[what, names]


def _precision(images: Tensor) -> str:
    """Of a computation at this point: autocast's, or the tensors' own."""
    return str(autocast_type(images.device.type) or torch.float32).removeprefix("torch.")
