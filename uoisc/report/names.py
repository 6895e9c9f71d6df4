"""What figures and tables call the names in the results, and the glossary of methods.

Variants and their controls bring their titles along (`variants.VARIANTS`, `evaluation.CONTROLS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def _methods() -> Iterator[tuple[str, Method]]:
    for name, variant in VARIANTS.items():
        yield name, Method(variant.title, SAYS[name], variant)
        for control in (*CONTROLS.get(name, ()), *(map(floor, FLOORS.values()) if name == "dial" else ())):
            says = f"control, {name}'s model: {control.says}"
            yield f"{name}_{control.name}", Method(f"{name}, {control.title}", says, variant)


METHODS = dict(_methods())
LABELS = {name: method.title for name, method in METHODS.items()} | {
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_protected": "JPEG 2000, start protected",
    "webp": "WebP",
    "jpeg_xl": "JPEG XL",
    "avif": "AVIF",
    **{f"avif_down{factor}": f"AVIF at 1/{factor} size" for factor in (2, 3, 4)},
    "avif_crop": "AVIF, relevant crop",
    "message": "one message",
    "file": "one file per image",
    "mosaic": "tiles of one mosaic",
    "source": "input image",
    "llava": "judge LLaVA",
    "llava_independent": "independent judge",
    "seen": "seen objects",
    "unseen": "unseen objects",
    **{kind: kind for kind in ("existence", "place", "colour")},
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
