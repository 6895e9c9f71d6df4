"""A folder in the official format of VQA v2 on COCO 2014, generated: what photographs bring, in a second.

    folder/v2_OpenEnded_mscoco_PART2014_questions.json   three questions an image, of the three answer types in turn
           v2_mscoco_PART2014_annotations.json           ten answers each
           instances_PART2014.json                       boxes, outlines, and now and then a crowd
           PART2014/COCO_PART2014_*.jpg                  wide, tall, small, long and narrow; some grey

Image i shows what `IN_TURN` says: an animal in two of eight, a person in two, an indoor thing in two, an outdoor one in
two. Each thing is a patch of its category's colour, where its box says.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COCO = {1: "person", 15: "bench", 18: "dog", 63: "couch", 10: "traffic light", 84: "book"}  # as numbered by COCO
IN_TURN = ((18,), (63,), (10, 1), (84,), (1,), (63, 18), (10,), ())  # what an image shows
SIZES = ((64, 48), (48, 64), (120, 100), (351, 77), (33, 210), (50, 50))  # (width, height)
GREY, CROWD = 7, 5  # one image in so many has one channel; one thing in so many is a crowd, outlined by run lengths


def write_vqav2(folder: Path, images: int, parts: tuple[str, ...] = ("train", "val"), questions: int = 3) -> None:
    """Writes the folder, each part of so many images with so many questions each."""
    folder.mkdir(parents=True, exist_ok=True)
    for first, part in enumerate(parts):
        ids = [100_000 * (first + 1) + 7 * i for i in range(images)]
        entries, things = [], []
        for n, i in enumerate(ids):
            entry = {"license": 1, "file_name": f"COCO_{part}2014_{i:012d}.jpg", "id": i}
            entry |= dict(zip(("width", "height"), SIZES[n % len(SIZES)], strict=True))
            shown = [_thing(entry, c, place) for place, c in enumerate(IN_TURN[n % len(IN_TURN)])]
            things += [thing | {"id": len(things) + k} for k, thing in enumerate(shown)]
            entries.append(entry)
            _draw(folder / f"{part}2014", entry, shown, grey=n % GREY == GREY - 1)
        asked = [(i, 1000 * i + q, n + q) for n, i in enumerate(ids) for q in range(questions)]
        documents = {
            f"v2_OpenEnded_mscoco_{part}2014_questions.json": {
                "questions": [{"image_id": i, "question": _question(n), "question_id": q} for i, q, n in asked],
            },
            f"v2_mscoco_{part}2014_annotations.json": {"annotations": [_annotation(i, q, n) for i, q, n in asked]},
            f"instances_{part}2014.json": {
                "images": entries,
                "annotations": things,
                "categories": [{"supercategory": "", "id": i, "name": name} for i, name in COCO.items()],
            },
        }
        for name, document in documents.items():
            (folder / name).write_text(json.dumps({"info": {"description": "generated"}} | document))


def _thing(entry: dict, category: int, place: int) -> dict:
    """An instance in the image: the first of two on the left, the second beside it, lower."""
    width, height = entry["width"], entry["height"]
    x, y, w, h = (0.1 + 0.4 * place) * width, (0.2 + 0.2 * place) * height, 0.35 * width, 0.4 * height
    box = [round(float(value), 2) for value in (x, y, w, h)]
    outline: list | dict = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    crowd = int((entry["id"] + place) % CROWD == 0)
    if crowd:  # run lengths down the columns, of what is outside first
        mask = np.zeros((height, width), dtype=bool)
        mask[round(y) : round(y + h), round(x) : round(x + w)] = True
        ends = np.flatnonzero(np.diff(mask.flatten(order="F"), prepend=False, append=False)).tolist()
        counts = np.diff([0, *ends, mask.size]).tolist()
        outline = {"counts": counts, "size": [height, width]}
    shown = {"segmentation": outline, "area": w * h, "iscrowd": crowd, "bbox": box}
    return shown | {"image_id": entry["id"], "category_id": category}


def _draw(folder: Path, entry: dict, things: list[dict], grey: bool) -> None:
    """Writes the JPEG: smooth random colours, and a patch of its category's colour for each thing."""
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(entry["id"]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((entry["width"], entry["height"]), Image.Resampling.BICUBIC)
    for thing in things:
        x, y, w, h = thing["bbox"]
        colour = np.random.default_rng(thing["category_id"]).integers(0, 256, 3).tolist()
        image.paste(tuple(colour), (round(x), round(y), round(x + w), round(y + h)))
    (image.convert("L") if grey else image).save(folder / entry["file_name"])


def _question(n: int) -> str:
    return ("Is there a dog on the couch?", "How many people are there?", "What color is the wall?")[n % 3]


def _annotation(image_id: int, question_id: int, n: int) -> dict:
    kind, said, else_said = (("yes/no", "yes", "no"), ("number", "2", "3"), ("other", "red", "dark red"))[n % 3]
    said, else_said = (said, else_said) if n % 2 else (else_said, said)
    return annotation(image_id, question_id, kind, [said] * 7 + [else_said] * 3)


def annotation(image_id: int, question_id: int, kind: str, answers: list[str]) -> dict:
    """An entry of the annotations file; the first of the ten answers is the common one."""
    return {
        "question_type": "none of the above",
        "multiple_choice_answer": answers[0],
        "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i + 1} for i, a in enumerate(answers)],
        "image_id": image_id,
        "answer_type": kind,
        "question_id": question_id,
    }
