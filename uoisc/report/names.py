"""What figures and tables call the names in the results, in which order they stand, and the glossary of methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from uoisc.base.settings import RATE_DIALS


class Method(NamedTuple):
    """A variant, or a control: its title, and its line of the glossary.

    fair_chance: one of the other ways to let the query in that give FiLM its fair chance; a table of their own.
    """

    title: str
    says: str
    fair_chance: bool = False


VARIANTS = {  # in the order of rows
    "uoisc": Method("UO-ISC (FiLM)", "the paper's method: FiLM by the query, segment-wise codes, LLaVA's loss"),
    "no_alignment": Method("without alignment", "UO-ISC without FiLM: the transmitter does not read the query"),
    "no_llava": Method("without LLaVA loss", "UO-ISC trained without the user-intent loss"),
    "no_alignment_no_llava": Method("without both", "neither FiLM nor the user-intent loss"),
    "plain_vq": Method("plain VQ", "UO-ISC with one codebook for whole tokens, equal bits"),
    "query_aware": Method("query-aware", "the rival: FiLM between encoders from scratch, no CLIP, no LLaVA loss"),
    "answer_loss": Method(
        "UO-ISC, answer loss",
        "UO-ISC whose loss is LLaVA's answers about the source in the place of its hidden states",
    ),
    "query_aware_answer": Method(
        "query-aware, answer loss", "the rival trained with a view of the user: LLaVA's answers about the source"
    ),
    "adaptive": Method(
        "adaptive (selection)", "ours: no FiLM; bits go to the tokens that CLIP finds relevant to the query"
    ),
    "uniform": Method(
        "uniform, adaptive's losses", "control of adaptive: its losses, no query, all tokens get the same bits"
    ),
    "dial": Method("rate dial", "ours: adaptive for any budget with one model; a head refines CLIP's ranking"),
    "dial_scratch_text": Method(
        "dial, text from scratch", "the dial with a text encoder from scratch in the place of CLIP's"
    ),
    "dial_uniform": Method("dial, all tokens alike", "control of the dial: its losses, but the query ranks nothing"),
    "dial_query_decoder": Method("dial, query at decoder", "the dial whose receiver reads the query as well (FiLM)"),
    "uoisc_cross_attention": Method(
        "UO-ISC, cross-attention", "UO-ISC with cross-attention to the query's words in FiLM's place", fair_chance=True
    ),
    "uoisc_query_decoder": Method(
        "UO-ISC, query at decoder", "UO-ISC whose receiver reads the query as well (FiLM)", fair_chance=True
    ),
}
RANDOM = ("random tokens", "which tokens come first is drawn at random")
ORACLE = ("oracle tokens", "the tokens that hold the answer come first; counts questions whose answer's place is known")
UNITS = "units of each token that does not come first: "
CONTROLS = {  # a variant's own model, sent otherwise: what follows on its name, what on its title, its line
    "adaptive": {"random": RANDOM, "oracle": ORACLE},
    "dial": {
        "clip": ("CLIP's cosine alone", "without the head that refines CLIP's cosine"),
        "oracle": ORACLE,
        "random": RANDOM,
        "no_query": ("tokens without query", "the image's odd tokens come first, whatever is asked"),
        "floor0": ("no unit for the rest", f"{UNITS}0"),
        "floor1": ("1 unit for all", f"{UNITS}1"),
        **{f"floor{units}": (f"{units} units for all", f"{UNITS}{units}") for units in range(2, 65)},
    },
}
METHODS: dict[str, Method] = {}
for _name, _method in VARIANTS.items():
    METHODS[_name] = _method
    for _control, (_title, _says) in CONTROLS.get(_name, {}).items():
        METHODS[f"{_name}_{_control}"] = Method(f"{_name}, {_title}", f"control, {_name}'s model: {_says}")
DIALS = {*RATE_DIALS, *(f"dial_{control}" for control in CONTROLS["dial"])}
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
