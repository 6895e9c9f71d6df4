"""A manifest of one's own images, small, for the tests of what becomes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny
from PIL import Image

from uoisc.base import config
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint, Manifest, Pretrained

DATA = Manifest(image_size=48, file="", held_out="animal", validation="food", unusable=0.2, loaders=0)
N = 40


def two_each() -> list[dict]:
    """Two questions an image; one image in four shows an animal, one food."""
    shown = (["animal", "dog"], ["food"], [], ["car"])
    return [
        {
            "image": f"photos/{i}.png",
            "question": f"Question {q}?",
            "answer": ("yes", "3")[q],
            "categories": shown[i % 4],
        }
        for i in range(N)
        for q in range(2)
    ]


def written(folder: Path, lines: list[dict | str]) -> Manifest:
    """The manifest and its images, written into `folder`."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for i in range(N):
        Image.fromarray(np.full((20 + i, 30, 3), 6 * i, dtype=np.uint8)).save(folder / "photos" / f"{i}.png")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "questions.jsonl").write_text(text + "\n")
    return replace(DATA, file=str(folder / "questions.jsonl"))


def of_a_profile(data: Manifest) -> config.Params:
    judge = LlavaCheckpoint("", "", {}, "")
    pretrained = Pretrained(
        ClipCheckpoint("", "", "", patch_size=16, layers=3, relevance_attention="query_key"), judge, judge
    )
    return replace(
        tiny.PARAMS, data=replace(data, image_size=tiny.IMAGE), foundation=pretrained, variants={"uoisc": ("low",)}
    )
