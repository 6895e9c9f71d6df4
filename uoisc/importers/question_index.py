"""What an importer leaves and `photographs.Photographs` reads: a folder of Arrow tables, mapped into memory.

images.arrow     file (below the images' root), part, draw (uniform, of its name), categories (numbers of names)
questions.arrow  image (row of images.arrow), type, text, truth, answers, boxes (regions.py: where its answer lies)
index.json       the categories' names, their opposites, the category held out, what was left out
report.csv       what was left out, and what is worth knowing, line by line

Both importers read questions by `check_questions` and names of categories by `check_spellings`.
"""

import csv
import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from uoisc.base.documents import parse_json
from uoisc.base.errors import DataError, QueryError
from uoisc.base.folders import readable, short, written_folder
from uoisc.base.settings import Photographed
from uoisc.data.queries import Reader, check_query, misfits
from uoisc.importers.image_check import Checked

PARTS = ("train", "test", "seen", "unseen", "")  # "": nobody has said, the image's draw decides
LINES = 1000  # of one kind in a report
NOTED = "image read with a note"

TEXT = pa.string()
IMAGES = pa.schema({"file": TEXT, "part": pa.int8(), "draw": pa.int32(), "categories": pa.list_(pa.int32())})
BOXES = pa.list_(pa.list_(pa.float32(), 4))
SAID = {"type": TEXT, "text": TEXT, "truth": TEXT, "answers": pa.list_(TEXT)}
QUESTIONS = pa.schema({"image": pa.int32(), **SAID, "boxes": BOXES})


class Problems:
    """What is broken, and what is worth knowing of the rest, each counted by kind."""

    def __init__(self):
        self.counts = Counter()
        self.notes = Counter()
        self.lines = defaultdict(list)

    def add(self, kind: str, identity: int | str, detail: str = "") -> None:
        """One more of a kind; its first `LINES` are kept for the report."""
        self.counts[kind] += 1
        self._list(kind, identity, detail)

    def note(self, kind: str) -> None:
        """Something worth knowing of all that was read."""
        self.notes[kind] += 1

    def boxed(self, questions: list[pa.RecordBatch]) -> None:
        """Notes of how many questions boxes say where the answer lies."""
        if n := sum(bool(boxes) for batch in questions for boxes in batch["boxes"].to_pylist()):
            self.note(f"boxes say of {n:,} questions where the answer lies")

    def image(self, checked: Checked, identity: int | str, where: str = "") -> bool:
        """Takes down what there is to say of an image file, found at `where`; returns whether it can be used."""
        for detail in checked.notes:
            self.note(NOTED)
            self._list(NOTED, identity, where + detail)
        if checked.problem is not None:
            self.add(checked.problem[0], identity, where + checked.problem[1])
        return checked.problem is None

    def _list(self, kind: str, identity: int | str, detail: str) -> None:
        if len(self.lines[kind]) < LINES:
            self.lines[kind].append((kind, identity, detail))

    def write(self, path: Path) -> None:
        """The report: a line each, by kind."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("kind", "id", "detail"))
            for kind in sorted(self.lines):
                writer.writerows(self.lines[kind])


@dataclass(frozen=True)
class Report:
    """What importing came to: entries read, those that can be used, images; how often each problem and note came up."""

    entries: int
    usable: int
    images: int
    problems: dict[str, int]
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def broken(self) -> str:
        """The problems in words."""
        return ", ".join(f"{kind}: {n:,}" for kind, n in self.problems.items()) or "nothing broken"

    def __str__(self) -> str:
        said = f"{self.usable:,} of {self.entries:,} questions about {self.images:,} images can be used ({self.broken})"
        return "\n".join([said, *(f"note: {kind}" + (f": {n:,}" if n > 1 else "") for kind, n in self.notes.items())])


def draw_of(file: str) -> int:
    """A number in [0, 65536) for an image, of its name alone (SHA-256): what others there are changes nothing."""
    return int.from_bytes(hashlib.sha256(file.encode()).digest()[:2], "big")


def check_questions(texts: Sequence[str], readers: Sequence[Reader]) -> tuple[list[str], dict[int, str]]:
    """Questions as they are read, and why some of them (place -> why) cannot be: for no query, or not whole by all.

    Args:
        readers: the tokenizers of the models that will read them.
    """
    read = list(texts)
    why = {}
    for i, text in enumerate(texts):
        try:
            read[i] = check_query(text)
        except QueryError as error:
            why[i] = str(error)
    for reader in readers:
        places = [i for i in range(len(read)) if i not in why]
        why |= {places[i]: reason for i, reason in misfits([read[i] for i in places], reader).items()}
    return read, why


def spelling(category: str) -> str:
    """What is left of a name without case, width, white space, hyphens and whatever else tells spellings apart."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", category).casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "ZPC")


def check_spellings(named: dict[str, str], held_out: str, validation: str) -> None:
    """Raises DataError where two names are one in two spellings: images under the other would be trained on.

    A plural is refused beside the held-out name alone: glasses are not always more than one glass.

    Args:
        named: category -> where it stands first.
    """
    told = {validation: "data.validation", held_out: "data.held_out"}
    named = named | {name: where for name, where in told.items() if name not in named}
    keys = {name: spelling(name) for name in named}
    first = {}
    alike = [(first.setdefault(key, name), name) for name, key in keys.items()]
    for name, key in keys.items():
        alike += [(t, name) for t in told if key in _plurals(keys[t]) or keys[t] in _plurals(key)]
    for one, other in alike:
        if one != other:
            raise DataError(
                f"the categories {one!r} ({named[one]}) and {other!r} ({named[other]}) differ in spelling alone, and "
                "images of one would be trained on while the other is held out: write them alike"
            )


def _plurals(key: str) -> tuple[str, ...]:
    return f"{key}s", f"{key}es", f"{key.removesuffix('y')}ies"


def write_index(
    folder: Path,
    root: Path,
    images: list[pa.RecordBatch],
    questions: list[pa.RecordBatch],
    categories: list[str],
    opposites: dict[str, str],
    config: Photographed,
    problems: Problems,
    entries: int,
) -> Report:
    """Writes the index into `folder`, whole or not at all.

    Args:
        root: of images. images, questions: rows of `IMAGES` and `QUESTIONS`, those that can be used.
        categories: of the numbers. opposites: a category -> what images must have instead where it is held out.
        entries: questions read; `config.unusable` is the largest share of them that may be broken.

    Raises DataError, with the counts, where more is broken; the report then lies beside `folder`.
    """
    if not entries:
        raise DataError("no question stands in the files that `data` names: name others in params.yaml")
    problems.boxed(questions)
    counted = [dict(sorted(counter.items())) for counter in (problems.counts, problems.notes)]
    report = Report(entries, sum(map(len, questions)), sum(map(len, images)), *counted)
    beside = folder.with_name(f"{folder.name}_report.csv")
    if not report.usable or (entries - report.usable) / entries > config.unusable:
        problems.write(beside)
        too_many = f"{entries - report.usable:,} of {entries:,} questions cannot be used, more than data.unusable = "
        remedy = f"mend what {beside} lists, or raise data.unusable"
        raise DataError(f"{too_many}{config.unusable:g} allows ({report.broken}): {remedy}")
    about = {"categories": categories, "opposites": opposites, "held_out": config.held_out, "report": asdict(report)}
    about |= {"files": _sizes(root, images)}
    with written_folder(folder) as aside:
        _write_table(aside / "images.arrow", images)
        _write_table(aside / "questions.arrow", questions)
        problems.write(aside / "report.csv")
        (aside / "index.json").write_text(json.dumps(about, indent=1))
    beside.unlink(missing_ok=True)
    return report


def _sizes(root: Path, images: list[pa.RecordBatch]) -> str:
    """A digest of the files' sizes: other pictures under the same names make another index."""
    files = (file for batch in images for file in batch["file"].to_pylist())
    return hashlib.sha256(b"".join(b"%d " % (root / file).stat().st_size for file in files)).hexdigest()


def _write_table(path: Path, batches: list[pa.RecordBatch]) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


class Index:
    """An index as written by `write_index`. Opening maps it; only the pages that are asked for are read."""

    def __init__(self, folder: Path):
        remedy = "run the data stage (dvc repro), or notebook 01_data"
        for name in ("index.json", "images.arrow", "questions.arrow"):
            readable(folder / name, f"no index of photographs, {remedy}")
        try:
            about = parse_json((folder / "index.json").read_text())
            mapped = (pa.memory_map(str(folder / f"{name}.arrow")) for name in ("images", "questions"))
            self.images, self.questions = (pa.ipc.open_file(file).read_all() for file in mapped)
        except (pa.ArrowInvalid, ValueError):
            raise DataError(f"{short(folder)}: no index of photographs; {remedy}") from None
        self.folder = folder
        self.categories = about["categories"]
        self.opposites = about["opposites"]
        self.held_out = about["held_out"]
        self.report = Report(**about["report"])

    def __reduce__(self):
        return Index, (self.folder,)  # another process maps the same files

    def has(self, category: str) -> Bool[np.ndarray, " images"]:
        """Which images show a category. Raises DataError where there is no such category."""
        import pyarrow.compute as pc

        if category not in self.categories:
            raise DataError(f"category {category!r} is not in the data: choose of {', '.join(self.categories)}")
        column = self.images["categories"]
        shown = np.zeros(len(self.images), dtype=bool)
        its = pc.equal(pc.list_flatten(column), self.categories.index(category))
        shown[pc.list_parent_indices(column).filter(its).to_numpy()] = True
        return shown

    def is_of(self, part: str) -> Bool[np.ndarray, " images"]:
        """Which images are of one of `PARTS`."""
        return self.images["part"].to_numpy() == PARTS.index(part)

    @property
    def draw(self) -> Int[np.ndarray, " images"]:
        """`draw_of` the images."""
        return self.images["draw"].to_numpy()

    @property
    def image_of(self) -> Int[np.ndarray, " questions"]:
        """The image that each question is about."""
        return self.questions["image"].to_numpy()

    def entries(self, rows: Int[np.ndarray, " n"]) -> list[dict]:
        """Questions, each with the file of its image."""
        columns = dict(zip(QUESTIONS.names, self.questions.columns, strict=True))
        files = self.images["file"]  # `take` would copy whole columns of several chunks
        found = [{name: column[row].as_py() for name, column in columns.items()} for row in rows.tolist()]
        return [entry | {"file": files[entry["image"]].as_py()} for entry in found]
