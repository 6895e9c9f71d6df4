"""Anyone's images and questions, from a JSONL file: one question a line.

{"image": "photos/1.jpg", "question": "Is there a dog?", "answer": "yes", "categories": ["animal"]}

| field      |                                                                                             |
|------------|---------------------------------------------------------------------------------------------|
| image      | file, below the manifest's folder                                                           |
| question   |                                                                                             |
| answer     | the truth                                                                                   |
| type       | of question; without it yes/no, number or other, by the answer (as VQA v2 names its types)  |
| categories | what the image shows; those of all its lines count, also of JSON that cannot be used        |
| split      | train, seen or unseen; without it the image's categories decide, and a hash of its name     |
| answers    | what several people answered                                                                |
| boxes      | where it shows what is asked about: [left, top, right, bottom] each, in shares of its sides |

A file under several names (./1.jpg, a link, another case where the disk does not mind) is one image, under the first of
them. Links may lead out of the folder: so images can lie on a disk of their own.
"""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from uoisc.base.config import ROOT
from uoisc.base.errors import DataError
from uoisc.base.folders import unreadable
from uoisc.base.settings import Manifest
from uoisc.data.queries import Reader
from uoisc.importers.image_check import check_images
from uoisc.importers.question_index import (
    IMAGES,
    PARTS,
    QUESTIONS,
    Problems,
    Report,
    check_questions,
    check_spellings,
    draw_of,
    spelling,
    write_index,
)
from uoisc.importers.regions import Box, box_of

SPLITS = ("train", "seen", "unseen")  # which of `PARTS` a line may say


class _Shown(msgspec.Struct):
    """What counts of a line that cannot be used, whatever is wrong with the rest of it."""

    image: str
    categories: Any = None
    split: Any = None

    def __post_init__(self):
        self.categories = list(_words(self.categories))


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    image: str
    question: str
    answer: str
    type: str | None = None
    categories: list[str] = []
    split: str | None = None
    answers: list[str] = []
    boxes: list[Box] = []


def index(config: Manifest, folder: Path, readers: Sequence[Reader] = ()) -> Report:
    """Indexes a manifest into `folder`.

    Lines that cannot be read, that contradict an earlier one, whose question is none or too long for one of `readers`,
    or whose image is missing or cannot be read are left out and reported by their number.

    Raises DataError where the manifest is missing, where more than `config.unusable` of its lines is broken, where its
    lines name categories, but not the one to hold out, and where they spell a category in two ways.
    """
    file = ROOT / config.file
    problems = Problems()
    numbers = {config.held_out: 0, config.validation: 1}  # named even where no image shows them
    lines, broken, entries = _lines(file, problems)
    named = [config.held_out, config.validation, *(name for line in lines.values() for name in line.categories)]
    known = {spelling(name): name for name in reversed(named)}
    for line in broken.values():  # of whatever stands there what is a category elsewhere
        line.categories = sorted({known[spelling(word)] for word in line.categories if spelling(word) in known})
    _check_categories(lines | broken, config, problems)
    asked = _asked(lines, readers, problems)
    first = {line.image: number for number, line in reversed(asked.items())}
    names = sorted(first, key=first.get)
    parts, shown = _images(lines | broken, asked, names, numbers)
    found = zip(names, check_images([file.parent / name for name in names]), strict=True)
    whole = [name for name, checked in found if problems.image(checked, name, f"line {first[name]}: ")]
    rows = {name: row for row, name in enumerate(whole)}
    images = [
        {"file": name, "part": parts[name], "draw": draw_of(name), "categories": sorted(shown[name])} for name in whole
    ]
    questions = [
        {"image": rows[x.image], "type": _type(x), "text": x.question, "truth": x.answer}
        | {"answers": x.answers, "boxes": x.boxes}
        for x in asked.values()
        if x.image in rows
    ]
    batches = [[pa.RecordBatch.from_pylist(*table)] for table in ((images, IMAGES), (questions, QUESTIONS))]
    return write_index(folder, file.parent, *batches, list(numbers), {}, config, problems, entries)


def _lines(file: Path, problems: Problems) -> tuple[dict[int, _Line], dict[int, _Shown], int]:
    """The lines that name an image below the manifest's folder, by number; what can be read of the others, and how many
    there are in all."""
    decode, decode_shown = (msgspec.json.Decoder(kind).decode for kind in (_Line, _Shown))
    name_of = _namer(file.parent)
    lines = {}
    broken = {}
    entries = 0
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DataError(unreadable(file, error, "name the manifest in data.file")) from None
    with stream:
        for number, text in enumerate(stream, 1):
            text = text.removeprefix(BOM_UTF8)
            if not text.strip():
                continue
            entries += 1
            try:
                line = decode(text)
                line.image = name_of(line.image)
                lines[number] = line
            except (ValueError, RecursionError) as error:  # of msgspec, of foreign bytes, of `_namer`
                problems.add("line unreadable", f"line {number}", str(error))
                with suppress(ValueError, RecursionError):
                    shown = decode_shown(text)
                    shown.image = name_of(shown.image)
                    broken[number] = shown
    return lines, broken, entries


def _words(value: Any) -> Iterator[str]:
    """All words of a JSON value: an image is held out by whatever might be meant for its categories."""
    if isinstance(value, str):
        yield from (value, *re.split(r"[\s,;|/]+", value))
    elif isinstance(value, list | dict):
        for part in value if isinstance(value, list) else chain.from_iterable(value.items()):
            yield from _words(part)


def _namer(root: Path) -> Callable[[str], str]:
    """The one name of each image: the first that the manifest gives its file."""
    first = {}

    @cache
    def name_of(name: str) -> str:
        """Raises ValueError for a name that leads out of the folder."""
        plain = os.path.normpath(name)
        if not name.strip():
            raise ValueError("`image` is empty")
        if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
            raise ValueError(f"image {name!r}: not below the manifest's folder; move it there, or link to it")
        try:
            status = os.stat(root / plain)
            return first.setdefault((status.st_dev, status.st_ino), plain)
        except (OSError, ValueError):  # reported when images are checked
            return plain

    return name_of


def _check_categories(lines: dict[int, _Line | _Shown], config: Manifest, problems: Problems) -> None:
    """Raises DataError where no line has the held-out category, or one has it in another spelling."""
    named: dict[str, str] = {}
    for number, line in lines.items():
        for name in filter(spelling, line.categories):  # without one: `_wrong`
            named.setdefault(name, f"line {number}")
    check_spellings(named, config.held_out, config.validation)
    if named and config.held_out not in named and not any(line.split == "unseen" for line in lines.values()):
        raise DataError(
            f"data.held_out = {config.held_out!r}: no line has that category; choose of {', '.join(sorted(named))}, or "
            "give lines the split unseen"
        )
    if config.validation not in named:
        problems.note(f"no line has the category {config.validation!r} (data.validation): nothing can be validated")


def _asked(lines: dict[int, _Line], readers: Sequence[Reader], problems: Problems) -> dict[int, _Line]:
    """The lines that can be used as far as the text says, their questions as they are read."""
    read, why = check_questions([line.question for line in lines.values()], readers)
    asked = {}
    seen = {}
    said = {}
    for place, (number, line) in enumerate(lines.items()):
        line.question = read[place]
        where = f"line {number}"
        if wrong := _wrong(line):
            problems.add("line unreadable", where, wrong)
        elif place in why:
            problems.add("question unreadable", where, why[place])
        elif (line.image, line.question) in seen:
            problems.add("question twice", where, f"first in line {seen[line.image, line.question]}")
        elif line.split and line.split != said.setdefault(line.image, (line.split, number))[0]:
            problems.add("split contradicts", where, "{} in line {}".format(*said[line.image]))
        else:
            seen[line.image, line.question] = number
            asked[number] = line
    return asked


def _wrong(line: _Line) -> str:
    """What keeps a line from being used; "" where nothing does."""
    for name in ("question", "answer"):
        if not getattr(line, name).strip():
            return f"`{name}` is empty"
    if not all(map(spelling, line.categories)):
        return "a category is empty"
    if wrong := [list(box) for box in line.boxes if box_of(*box) is None]:
        return f"no box of an image: {wrong[0]}; give [left, top, right, bottom] in shares of its sides, 0 to 1"
    return "" if line.split in (None, *SPLITS) else f"split {line.split!r}: choose of {', '.join(SPLITS)}"


def _images(
    lines: dict[int, _Line | _Shown], asked: dict[int, _Line], names: list[str], numbers: dict[str, int]
) -> tuple[dict[str, int], dict[str, set[int]]]:
    """Part and categories of each image; `numbers` gets those categories that it lacks."""
    parts = dict.fromkeys(names, PARTS.index(""))
    shown = {name: set() for name in names}
    for number, line in lines.items():
        if line.image in shown:
            shown[line.image].update(numbers.setdefault(name, len(numbers)) for name in line.categories)
        if number in asked and line.split:
            parts[line.image] = PARTS.index(line.split)
    return parts, shown


def _type(line: _Line) -> str:
    answer = line.answer.strip().lower()
    return line.type or ("yes/no" if answer in ("yes", "no") else "number" if answer.isdecimal() else "other")
