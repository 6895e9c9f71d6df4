"""VQA v2 on COCO 2014, from the official files as downloaded.

questions.json ──┐                             ┌─► question_index
annotations.json ┼─► entries that fit together ┤
instances.json ──┤                             └─► report.csv: what does not
images ──────────┘
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from uoisc.base.config import ROOT
from uoisc.base.errors import DataError
from uoisc.base.folders import is_there
from uoisc.base.settings import Vqav2
from uoisc.data.queries import Reader
from uoisc.importers.image_check import check_images
from uoisc.importers.question_index import PARTS, Problems, Report, check_spellings, write_index
from uoisc.importers.regions import Names
from uoisc.importers.vqav2_files import (
    GROUPS,
    INSTANCES_FILE,
    OPPOSITES,
    QUESTIONS_FILE,
    Photos,
    Questions,
    image_file,
    read_photos,
    read_questions,
)


def index(config: Vqav2, folder: Path, readers: Sequence[Reader] = ()) -> Report:
    """Indexes the official files into `folder`.

    With the training and the validation part there, the second is the test part; one alone is split by
    `photographs.Photographs`. What does not fit together, questions that are none or too long for one of `readers`, and
    images that are missing, cut short, of other size or cannot be read, are left out and reported.

    Raises DataError where a file is missing or cut short, where the instances of a part show nothing to hold out, or
    where more than `config.unusable` is broken.
    """
    root = ROOT / config.folder
    problems = Problems()
    parts = _parts(root, problems)
    numbers = {name: i for i, name in enumerate(GROUPS)}
    photos = {part: read_photos(root, part, numbers, problems) for part in parts}
    _check_held_out(config, photos, numbers, problems)
    images = []
    questions = []
    entries = 0
    first = 0
    for part in parts:
        role = PARTS.index("" if len(parts) == 1 else {"train": "train", "val": "test"}[part])
        asked = read_questions(root, part, readers, problems)
        entries += asked.read
        used = _usable(root, part, photos[part], asked, problems)
        kept = asked.annotated & used[asked.photo] & (asked.photo >= 0)
        images.append(photos[part].batch(used, role, part))
        names = Names({name: number for name, number in numbers.items() if name not in OPPOSITES})
        questions.append(asked.batch(kept, first + np.cumsum(used) - 1, photos[part], names))
        first += int(used.sum())
    return write_index(folder, root, images, questions, list(numbers), OPPOSITES, config, problems, entries)


def _parts(root: Path, problems: Problems) -> list[str]:
    """Which parts are there, by their questions. Raises DataError for none, and for other files of a part without."""
    parts = [part for part in ("train", "val") if is_there(root / QUESTIONS_FILE.format(part))]
    for part in {"train", "val"}.difference(parts):
        beside = {INSTANCES_FILE.format(part)}  # one archive holds those of both parts
        others = sorted(entry.name for entry in root.glob(f"*{part}2014*") if entry.name not in beside)
        if others:
            raise DataError(
                f"{root / QUESTIONS_FILE.format(part)}: not there, though {others[0]} is; give the file that name, or "
                f"take the {part} part away"
            )
    if not parts:
        raise DataError(
            f"{root / QUESTIONS_FILE.format('train')}: not there; download VQA v2 (visualqa.org), unpack it and name "
            "its folder in data.folder"
        )
    alone = f"the {parts[0]} part alone: one in five of its images without the held-out category is a test image"
    problems.note(alone if len(parts) == 1 else "the train part is trained on, the val part is the test part")
    return parts


def _check_held_out(config: Vqav2, photos: dict[str, Photos], numbers: dict[str, int], problems: Problems) -> None:
    """Raises DataError where there is no such category, or a part shows none of it: it would be trained on."""
    check_spellings(dict.fromkeys(numbers, "the instances"), config.held_out, config.validation)
    for key in ("held_out", "validation"):
        name = getattr(config, key)
        if name not in numbers:
            raise DataError(f"data.{key} = {name!r}: choose of {', '.join(numbers)}")
        members = GROUPS.get(name, (name,))
        for part, found in photos.items():
            if numbers[name] in found.shown[:, 1]:
                continue
            if key == "held_out":
                raise DataError(
                    f"{INSTANCES_FILE.format(part)}: no instance of {name!r} ({', '.join(members)}), its images would "
                    "be trained on; unpack the official file again, or hold something else out"
                )
            problems.note(f"the {part} part shows no {name!r} (data.validation)")
    lacking = [name for name in GROUPS.get(config.held_out, ()) if name not in numbers]
    if lacking:
        problems.note(f"the instances have no category {', '.join(lacking)}: images that show it are not held out")


def _usable(root: Path, part: str, photos: Photos, asked: Questions, problems: Problems) -> Bool[np.ndarray, " images"]:
    """Which images are asked about and whole; fills `asked.photo`."""
    known = np.isin(asked.image_ids, photos.ids)
    asked.photo = np.where(known, np.searchsorted(photos.ids, asked.image_ids), -1)
    for identity, image_id in zip(asked.ids[~known].tolist(), asked.image_ids[~known].tolist(), strict=True):
        problems.add("question about no image of the instances", identity, str(image_id))
    used = np.zeros(photos.ids.size, dtype=bool)
    used[asked.photo[known & asked.annotated]] = True
    rows = np.flatnonzero(used)
    files = [root / image_file(part, i) for i in photos.ids[rows].tolist()]
    found = check_images(files, [tuple(size) for size in photos.sizes[rows].tolist()], by_header=True)
    used[rows] = [problems.image(checked, int(photos.ids[row])) for row, checked in zip(rows, found, strict=True)]
    return used
