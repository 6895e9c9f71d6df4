"""Anyone's images and questions, from a JSONL file: one question a line.

{"image": "photos/1.jpg", "question": "Is there a dog?", "answer": "yes", "categories": ["animal"]}

| field      |                                                                                             |
|------------|---------------------------------------------------------------------------------------------|
| image      | file, below the manifest's folder                                                           |
| question   |                                                                                             |
| answer     | the truth                                                                                   |
| type       | of question; without it yes/no, number or other, by the answer (as VQA v2 names its types)  |
| categories | what the image shows; those of all its lines count                                          |
| split      | train, seen or unseen; without it the image's categories decide, and a hash of its name     |
| answers    | what several people answered                                                                |
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from uoisc.config import ROOT
from uoisc.errors import DataError
from uoisc.image_check import check_images
from uoisc.question_index import IMAGES, PARTS, QUESTIONS, Problems, Report, draws, write_index
from uoisc.settings import Manifest

SPLITS = ("train", "seen", "unseen")


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    image: str
    question: str
    answer: str
    type: str | None = None
    categories: list[str] = []
    split: str | None = None
    answers: list[str] = []


def index(config: Manifest, folder: Path) -> Report:
    """Indexes a manifest into `folder`.

    Lines that cannot be read, that contradict an earlier one, or whose image is missing or broken are left out and
    reported by their number.

    Raises DataError where the manifest is missing, where more than `config.unusable` of its lines is broken, and where
    its lines name categories, but not the one to hold out.
    """
    file, problems = ROOT / config.file, Problems()
    numbers = {config.held_out: 0, config.validation: 1}  # named even where no image shows them
    lines, entries = _lines(file, problems)
    rows = {name: row for row, name in enumerate(dict.fromkeys(line.image for line in lines))}
    parts, shown = _images(lines, rows, numbers)
    told = sorted({name for line in lines for name in line.categories})
    if told and config.held_out not in told and PARTS.index("unseen") not in parts:
        raise DataError(
            f"data.held_out = {config.held_out!r}: no line has that category; choose of {', '.join(told)}, or give "
            "lines the split unseen"
        )
    found = check_images([file.parent / name for name in rows])
    for name, problem in zip(rows, found, strict=True):
        if problem is not None:
            problems.add(problem[0], name, problem[1])
    whole = np.array([problem is None for problem in found], dtype=bool)
    place = np.cumsum(whole) - 1
    kept = [line for line in lines if whole[rows[line.image]]]
    files = [name for name, row in rows.items() if whole[row]]
    categories = [sorted(shown[rows[name]]) for name in files]
    images = [pa.array(files, pa.string()), pa.array([parts[rows[name]] for name in files], pa.int8())]
    images += [draws(files), pa.array(categories, pa.list_(pa.int32()))]
    questions = [
        pa.array([place[rows[line.image]] for line in kept], pa.int32()),
        *(pa.array(values, pa.string()) for values in ([_type(x) for x in kept], [x.question for x in kept])),
        pa.array([line.answer for line in kept], pa.string()),
        pa.array([line.answers for line in kept], pa.list_(pa.string())),
    ]
    return write_index(
        folder,
        [pa.record_batch(images, schema=IMAGES)],
        [pa.record_batch(questions, schema=QUESTIONS)],
        list(numbers),
        {},
        (config.held_out, config.validation),
        problems,
        entries,
        config.unusable,
    )


def _lines(file: Path, problems: Problems) -> tuple[list[_Line], int]:
    """The lines that can be used as far as the text says, and how many there are."""
    decode = msgspec.json.Decoder(_Line).decode
    lines, entries, seen, said = [], 0, {}, {}
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); name the manifest in data.file") from None
    with stream:
        for number, text in enumerate(stream, 1):
            text = text.removeprefix(BOM_UTF8)
            if not text.strip():
                continue
            entries, where = entries + 1, f"line {number}"
            try:
                line = decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                problems.add("line unreadable", where, str(error))
                continue
            if wrong := _wrong(line):
                problems.add("line unreadable", where, wrong)
                continue
            line.image = os.path.normpath(line.image)  # or one image under two names may be trained on and tested
            if (line.image, line.question) in seen:
                problems.add("question twice", where, f"first in line {seen[line.image, line.question]}")
            elif line.split and line.split != said.setdefault(line.image, (line.split, number))[0]:
                problems.add("split contradicts", where, "{} in line {}".format(*said[line.image]))
            else:
                seen[line.image, line.question] = number
                lines.append(line)
    return lines, entries


def _wrong(line: _Line) -> str:
    """What keeps a line from being used; "" where nothing does."""
    for name in ("image", "question", "answer"):
        if not getattr(line, name).strip():
            return f"`{name}` is empty"
    return "" if line.split in (None, *SPLITS) else f"split {line.split!r}: choose of {', '.join(SPLITS)}"


def _images(lines: list[_Line], rows: dict[str, int], numbers: dict[str, int]) -> tuple[list[int], list[set[int]]]:
    """Part and categories of each image; `numbers` gets those categories that it lacks."""
    parts, shown = [PARTS.index("")] * len(rows), [set() for _ in rows]
    for line in lines:
        row = rows[line.image]
        shown[row].update(numbers.setdefault(name, len(numbers)) for name in line.categories)
        if line.split:
            parts[row] = PARTS.index(line.split)
    return parts, shown


def _type(line: _Line) -> str:
    answer = line.answer.strip().lower()
    return line.type or ("yes/no" if answer in ("yes", "no") else "number" if answer.isdecimal() else "other")
