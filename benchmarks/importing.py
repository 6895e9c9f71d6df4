"""Time and memory that importing VQA v2 takes at full size: `python -m benchmarks.importing`.

Files of the official layout and numbers are generated in a temporary folder (2.5 GB free are needed): 658,111 questions
with ten answers each, 896,782 instances with outlines, 123,287 images. The images are links to eight files of a
typical size, so that what is timed is the check itself and not a disk.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import typer

from benchmarks.tiny_vqav2 import annotation
from uoisc.base.settings import Vqav2
from uoisc.importers.vqav2 import index
from uoisc.importers.vqav2_files import ANNOTATIONS_FILE, INSTANCES_FILE, QUESTIONS_FILE, image_file

SIZES = {"train": (82_783, 443_757, 604_907), "val": (40_504, 214_354, 291_875)}  # images, questions, instances
SHAPES = ((640, 480), (480, 640), (640, 427), (500, 375), (612, 612), (640, 640), (427, 640), (640, 360))
CATEGORIES = {1: "person", 3: "car", 18: "dog", 62: "chair", 63: "couch", 84: "book"}


def main(scale: float = 1.0) -> None:
    """Generates, imports in a process of its own, and prints what that took.

    Args:
        scale: share of the official numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        began = time.perf_counter()
        for part, counts in SIZES.items():
            generate(root / "vqav2", part, *(max(8, int(scale * n)) for n in counts))
        size = sum(file.stat().st_size for file in (root / "vqav2").glob("*.json"))
        print(f"generated {size / 1e6:,.0f} MB of JSON in {time.perf_counter() - began:.0f} s", flush=True)
        config = Vqav2(
            image_size=352, folder=str(root / "vqav2"), held_out="animal", validation="human", questions=20_000,
            unusable=0.01, loaders=0,
        )  # fmt: skip
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            report, before, seconds, peak = pool.submit(measure, config, root / "index").result()
        written = sum(file.stat().st_size for file in (root / "index").iterdir())
        print(report)
        print(f"{seconds:.1f} s, peak memory {peak:,.0f} MB ({before:,.0f} MB before), index {written / 1e6:,.0f} MB")


def measure(config: Vqav2, folder: Path) -> tuple[str, float, float, float]:
    """Imports; returns the report, the memory before (MB), the seconds, the peak memory (MB, with mapped files)."""
    before, began = _peak(), time.perf_counter()
    report = index(config, folder)
    return str(report), before, time.perf_counter() - began, _peak()


def generate(root: Path, part: str, images: int, questions: int, instances: int) -> None:
    """Writes the three files and the images of a part, each entry with the fields of the official ones."""
    rng = np.random.default_rng(len(part))
    (root / f"{part}2014").mkdir(parents=True)
    ids = np.sort(rng.choice(581_929, images, replace=False)).tolist()
    for n, image_id in enumerate(ids):
        os.link(_model(root, part, n % len(SHAPES)), root / image_file(part, image_id))
    asked = [(ids[n % images], ids[n % images] * 1000 + n // images) for n in range(questions)]
    words = [f"word{i}" for i in range(3000)]
    said = rng.zipf(1.5, (questions, 2)).clip(max=len(words)) - 1
    _write(
        root / QUESTIONS_FILE.format(part), "questions",
        ({"image_id": i, "question": f"What is the {words[q % 3000]} doing next to the {words[q % 2999]}?",
          "question_id": q} for i, q in asked),
    )  # fmt: skip
    _write(
        root / ANNOTATIONS_FILE.format(part), "annotations",
        (annotation(i, q, "other", [words[a]] * 6 + [words[b]] * 4)
         for (i, q), (a, b) in zip(asked, said.tolist(), strict=True)),
    )  # fmt: skip
    outline = rng.uniform(0, 480, 2 * 30).round(2).tolist()
    kinds, shown = list(CATEGORIES), [((n % images + n // images % 2) % len(CATEGORIES)) for n in range(instances)]
    entries = [
        {"license": 5, "file_name": Path(image_file(part, i)).name, "coco_url": f"{part}2014/{i}.jpg",
         "height": SHAPES[n % len(SHAPES)][1], "width": SHAPES[n % len(SHAPES)][0],
         "date_captured": "2013-11-14 16:28:13", "flickr_url": f"{i}_z.jpg", "id": i}
        for n, i in enumerate(ids)
    ]  # fmt: skip
    _write(
        root / INSTANCES_FILE.format(part), "annotations",
        ({"segmentation": [outline], "area": 2765.1486, "iscrowd": 0, "image_id": ids[n % images],
          "bbox": outline[:4], "category_id": kinds[kind], "id": n} for n, kind in enumerate(shown)),
        images=entries, categories=[{"supercategory": "", "id": i, "name": name} for i, name in CATEGORIES.items()],
    )  # fmt: skip


def _model(root: Path, part: str, n: int) -> Path:
    """One of the files that a part's images are links to: smooth noise, which is of a photograph's size as a JPEG."""
    from PIL import Image

    file = root / f"{part}{n}.jpg"
    if not file.is_file():
        width, height = SHAPES[n]
        pixels = np.random.default_rng(n).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(file, quality=90)
    return file


def _write(file: Path, key: str, entries, **others: list) -> None:
    """A document whose list `key` is too long to be built in memory."""
    with file.open("w") as stream:
        stream.write('{"info": {"version": "2.0"}, ')
        stream.writelines(f'"{name}": {json.dumps(value)}, ' for name, value in others.items())
        stream.write(f'"{key}": [')
        for n, entry in enumerate(entries):
            stream.write((", " if n else "") + json.dumps(entry))
        stream.write("]}")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    typer.run(main)
