"""The official files of VQA v2 on COCO 2014: how they are named, and what of them is read.

Files are mapped and cut into entries, which are then read one by one (msgspec skips what is not asked for, such as the
outlines of instances): what stays in memory is the questions' texts, and numbers.
"""

import mmap
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from uoisc.base.errors import DataError
from uoisc.base.folders import is_there, short, unreadable
from uoisc.base.terminal import bar
from uoisc.data.queries import Reader
from uoisc.importers.question_index import BOXES, IMAGES, QUESTIONS, Problems, check_questions, draw_of
from uoisc.importers.regions import Box, Names, box_of

QUESTIONS_FILE = "v2_OpenEnded_mscoco_{}2014_questions.json"
ANNOTATIONS_FILE = "v2_mscoco_{}2014_annotations.json"
INSTANCES_FILE = "instances_{}2014.json"
ANSWERS = 10  # people who answered each question

# What may be held out beside any single category of COCO: images that show one of these (authors' code; its "table" is
# COCO's dining table, its sofa COCO's couch; desk, computer and shower are no categories of COCO).
GROUPS = {
    "animal": ("dog", "cat", "bird", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "human": ("person",),
    "indoor": (
        *("couch", "bed", "toilet", "tv", "mouse", "keyboard", "remote", "cell phone", "microwave", "oven"),
        *("refrigerator", "sink", "toaster", "laptop", "chair", "dining table"),
    ),
    "outdoor": (
        *("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
        *("fire hydrant", "stop sign", "parking meter"),
    ),
}
OPPOSITES = {"indoor": "outdoor", "outdoor": "indoor"}  # held out the one, the other is trained on

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
FIELDS = {  # what is read of each kind of entry
    "question": [("question_id", Id), ("image_id", Id), ("question", str)],
    "annotation": [
        *(("question_id", Id), ("image_id", Id), ("answer_type", str), ("multiple_choice_answer", str)),
        ("answers", list[msgspec.defstruct("Answer", [("answer", str)], gc=False)]),
    ],
    "image": [("id", Id), ("file_name", str), ("width", int), ("height", int)],
    "instance": [("image_id", Id), ("category_id", int), ("bbox", Any, None)],  # without it the image still shows it
    "category": [("id", int), ("name", str)],
}


@dataclass
class Photos:
    """The images of a part, by ascending id, and what they show."""

    ids: Int[np.ndarray, " images"]
    sizes: Int[np.ndarray, "images 2"]  # width, height in pixels
    shown: Int[np.ndarray, "shown 2"]  # (image's row, category's number), sorted, each once
    boxes: Float[np.ndarray, "boxes 6"]  # (image's row, category's number, box of `regions.py`), rows ascending

    def batch(self, used: Bool[np.ndarray, " images"], role: int, part: str) -> pa.RecordBatch:
        """Those that are used, as rows of the index."""
        files = [image_file(part, i) for i in self.ids[used].tolist()]
        shown = self.shown[used[self.shown[:, 0]]]
        ends = np.cumsum(np.bincount(shown[:, 0], minlength=self.ids.size)[used])
        columns = {
            "file": files,
            "part": np.full(len(files), role),
            "draw": [draw_of(file) for file in files],
            "categories": pa.ListArray.from_arrays(np.r_[0, ends].astype(np.int32), shown[:, 1].astype(np.int32)),
        }
        return pa.record_batch(columns, schema=IMAGES)

    def regions(self, texts: list[str], rows: Int[np.ndarray, " n"], names: Names) -> pa.Array:
        """The boxes of what each question names in its image, as a column of the index."""
        ends = np.searchsorted(self.boxes[:, 0], np.arange(self.ids.size + 1))
        found = []
        for text, row in zip(texts, rows.tolist(), strict=True):
            own = self.boxes[ends[row] : ends[row + 1]] if (named := names(text)) else self.boxes[:0]
            found.append(np.unique(own[np.isin(own[:, 1], [*named]), 2:], axis=0).tolist())
        return pa.array(found, BOXES)


@dataclass
class Questions:
    """The questions of a part, in the file's order, with what people answered. Words are numbers in `words`."""

    read: int  # entries, broken ones included
    ids: Int[np.ndarray, " questions"]
    image_ids: Int[np.ndarray, " questions"]
    texts: list[str]
    words: list[str]
    said: Int[np.ndarray, "questions k"]  # type, truth, ten answers; -1 where there is no annotation
    photo: Int[np.ndarray, " questions"] | None = None  # row of the part's images, -1 where there is none

    @property
    def annotated(self) -> Bool[np.ndarray, " questions"]:
        return self.said[:, 0] >= 0

    def batch(
        self, kept: Bool[np.ndarray, " questions"], image_rows: Int[np.ndarray, " images"], photos: Photos, names: Names
    ) -> pa.RecordBatch:
        """Those that are kept, as rows of the index; `image_rows` are their images' rows there."""
        texts = list(compress(self.texts, kept))
        photo = self.photo[kept]
        words = pa.array(self.words, pa.string())
        said = self.said[kept]
        offsets = np.arange(0, ANSWERS * len(said) + 1, ANSWERS, dtype=np.int32)
        columns = {
            "image": image_rows[photo],
            "type": words.take(pa.array(said[:, 0])),
            "text": texts,
            "truth": words.take(pa.array(said[:, 1])),
            "answers": pa.ListArray.from_arrays(offsets, words.take(pa.array(said[:, 2:].ravel()))),
            "boxes": photos.regions(texts, photo, names),
        }
        return pa.record_batch(columns, schema=QUESTIONS)


def image_file(part: str, image_id: int) -> str:
    """An image's file below the folder of the official files."""
    return f"{part}2014/COCO_{part}2014_{image_id:012d}.jpg"


def instances_file(root: Path, part: str) -> Path:
    """The instances of a part: in the folder that COCO's archive unpacks to, or beside the questions."""
    beside = root / INSTANCES_FILE.format(part)
    unpacked = root / "annotations" / INSTANCES_FILE.format(part)
    return beside if is_there(beside) else unpacked


def read_photos(root: Path, part: str, numbers: dict[str, int], problems: Problems) -> Photos:
    """Reads the instances; categories that `numbers` lacks are added to it."""
    document = _document(instances_file(root, part), "images", "annotations", "categories")
    sizes: dict[int, tuple[int, int]] = {}
    for image in _decoded(document.images, "image", problems):
        if image.file_name != Path(image_file(part, image.id)).name:
            problems.add("image of other name", image.id, f"{image.file_name} in {INSTANCES_FILE.format(part)}")
        elif image.id in sizes:
            problems.add("image twice", image.id)
        else:
            sizes[image.id] = (image.width, image.height)
    ids = np.array(sorted(sizes), dtype=np.int64)
    named = {category.id: category.name for category in _decoded(document.categories, "category", problems)}
    meant = {
        i: [numbers.setdefault(name, len(numbers)), *(numbers[g] for g, members in GROUPS.items() if name in members)]
        for i, name in named.items()
    }
    row_of = {i: row for row, i in enumerate(ids.tolist())}
    shown = set()
    boxes = array("d")
    for instance in _decoded(document.annotations, "instance", problems):
        row = row_of.get(instance.image_id)
        categories = meant.get(instance.category_id)
        if row is None or categories is None:
            problems.add("instance of no image or category", instance.image_id, f"category {instance.category_id}")
            continue
        shown.update((row, number) for number in categories)
        if (box := _box(instance.bbox, *sizes[instance.image_id])) is None:
            problems.add("instance without box", instance.image_id, f"bbox {instance.bbox}")
            continue
        for number in categories:
            boxes.extend((row, number, *box))
    rows = (np.array(pairs, dtype=np.int64).reshape(-1, 2) for pairs in ([sizes[i] for i in row_of], sorted(shown)))
    boxes = np.array(boxes).reshape(-1, 6)
    return Photos(ids, *rows, boxes[np.argsort(boxes[:, 0], kind="stable")])


def _box(bbox: Any, width: int, height: int) -> Box | None:
    """COCO's box, left, top, width and height in pixels, in shares of the image; None for anything else."""
    try:
        left, top, wide, high = map(float, bbox)
        return box_of(left / width, top / height, (left + wide) / width, (top + high) / height)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def read_questions(root: Path, part: str, readers: Sequence[Reader], problems: Problems) -> Questions:
    """Reads the questions, and to each its annotation. Those that cannot be asked have none."""
    row_of = {}
    image_ids = []
    texts = []
    entries = _document(root / QUESTIONS_FILE.format(part), "questions").questions
    for question in _decoded(entries, "question", problems):
        if question.question_id in row_of:
            problems.add("question twice", question.question_id, question.question)
        elif not question.question.strip():
            problems.add("question incomplete", question.question_id, "no text")
        else:
            row_of[question.question_id] = len(texts)
            image_ids.append(question.image_id)
            texts.append(question.question)
    ids = np.fromiter(row_of, dtype=np.int64, count=len(row_of))
    image_ids = np.array(image_ids, dtype=np.int64)
    said, words = _answers(root, part, row_of, image_ids, problems)
    for identity in ids[said[:, 0] < 0].tolist():
        problems.add("question without annotation", identity)
    texts, why = check_questions(texts, readers)
    for row, reason in why.items():
        problems.add("question unreadable", int(ids[row]), reason)
        said[row] = -1
    return Questions(len(entries), ids, image_ids, texts, words, said)


def _answers(
    root: Path, part: str, row_of: dict[int, int], image_ids: Int[np.ndarray, " questions"], problems: Problems
) -> tuple[Int[np.ndarray, "questions k"], list[str]]:
    """Reads the annotations: what `Questions` calls `said` and `words`."""
    said = np.full((len(row_of), 2 + ANSWERS), -1, dtype=np.int32)
    words = {}
    entries = _document(root / ANNOTATIONS_FILE.format(part), "annotations").annotations
    for annotation in _decoded(entries, "annotation", problems):
        identity = annotation.question_id
        row = row_of.get(annotation.question_id)
        if row is None:
            problems.add("annotation without question", identity)
        elif said[row, 0] >= 0:
            problems.add("annotation twice", identity)
        elif annotation.image_id != image_ids[row]:
            problems.add("annotation of other image", identity, f"{annotation.image_id}, not {image_ids[row]}")
        elif len(annotation.answers) != ANSWERS or not annotation.multiple_choice_answer.strip():
            problems.add("annotation incomplete", identity, f"{len(annotation.answers)} answers, or no majority's")
        else:
            heard = (annotation.answer_type, annotation.multiple_choice_answer, *(a.answer for a in annotation.answers))
            said[row] = [words.setdefault(word, len(words)) for word in heard]
    return said, list(words)


def _document(file: Path, *keys: str):
    """A JSON document's lists under `keys`, cut into entries that are not yet read; they keep the file mapped."""
    kind = msgspec.defstruct("Document", [(key, list[msgspec.Raw]) for key in keys])
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), type=kind)
    except OSError as error:
        raise DataError(unreadable(file, error, f"unpack the official download into {short(file.parent)}")) from None
    except (ValueError, RecursionError) as error:  # of msgspec; an empty file cannot be mapped
        raise DataError(f"{file}: cut short or not the official file ({error}); download it again") from None


def _decoded(entries: list[msgspec.Raw], kind: str, problems: Problems) -> Iterator:
    """Entries of one of `FIELDS`; those that lack a field or hold another type are reported."""
    decode = msgspec.json.Decoder(msgspec.defstruct(kind, FIELDS[kind], gc=False)).decode
    for i, entry in enumerate(bar(entries, desc=f"{kind}s", unit_scale=True, mininterval=1)):
        try:
            yield decode(entry)
        except (ValueError, RecursionError) as error:  # of msgspec, of foreign bytes
            problems.add(f"{kind} incomplete", _identity(entry, i), str(error))


def _identity(entry: msgspec.Raw, position: int) -> str:
    """The id of an entry that lacks something else, or where it stands."""
    with suppress(ValueError, RecursionError):
        fields = msgspec.json.decode(entry)
        for key in ("question_id", "image_id", "id"):
            if isinstance(fields, dict) and key in fields:
                return str(fields[key])
    return f"entry {position + 1}"
