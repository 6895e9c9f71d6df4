"""What figures and tables call the names in the results, and the glossary of methods.

Variants and their controls bring their titles along (`variants.VARIANTS`, `evaluation.CONTROLS`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from uoisc.judge.evaluation import CONTROLS, floor
from uoisc.variants import SAYS, VARIANTS, Variant

MOST_FLOOR = 64  # units: above what a token of any profile's dial has
FLOORS = {f"dial_{floor(units).name}": units for units in range(MOST_FLOOR + 1)}  # a control's name -> its units


class Method(NamedTuple):
    """A variant, or a control of one: its title, a line on what it is, and the variant whose model it is."""

    title: str
    says: str
    variant: Variant


def _methods() -> dict[str, Method]:
    floors = {"dial": tuple(floor(units) for units in range(MOST_FLOOR + 1))}
    found = {}
    for name, variant in VARIANTS.items():
        found[name] = Method(variant.title, SAYS[name], variant)
        for control in CONTROLS.get(name, ()) + floors.get(name, ()):
            found[f"{name}_{control.name}"] = Method(
                f"{name}, {control.title}", f"control, {name}'s model: {control.says}", variant
            )
    return found


METHODS = _methods()
LABELS = {name: method.title for name, method in METHODS.items()} | {
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_protected": "JPEG 2000, start protected",
    "webp": "WebP",
    "jpeg_xl": "JPEG XL",
    "avif": "AVIF",
    "avif_down2": "AVIF at 1/2 size",
    "avif_down3": "AVIF at 1/3 size",
    "avif_down4": "AVIF at 1/4 size",
    "avif_crop": "AVIF, relevant crop",
    "message": "one message",
    "file": "one file per image",
    "mosaic": "tiles of one mosaic",
    "source": "input image",
    "llava": "judge LLaVA",
    "llava_independent": "independent judge",
    "seen": "seen objects",
    "unseen": "unseen objects",
    "existence": "existence",
    "place": "place",
    "colour": "colour",
    "what": "what is there",
    "count": "count",
}
PLACES = {name: place for place, name in enumerate(LABELS)}  # the order of rows


def label(name: str) -> str:
    """The display name of a method, judge, split, form or question type; an unknown name is its own label."""
    return LABELS.get(name, name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of `LABELS`, unknown ones behind them by the alphabet."""
    return sorted(set(names), key=lambda name: (PLACES.get(name, len(PLACES)), name))


def glossary(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """(name in the results, title, what it is) of each of these methods."""
    return [(name, METHODS[name].title, METHODS[name].says) for name in in_order(names) if name in METHODS]
