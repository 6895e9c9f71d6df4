"""What figures and tables call the names in the results, in which order they stand, and the glossary of methods."""

from collections.abc import Iterable

from uoisc.base.settings import RATE_DIALS

FLOORS = {f"dial_floor{units}": units for units in range(65)}  # controls: more than a token of any profile's dial has
DIALS = {*RATE_DIALS, *FLOORS, "dial_clip", "dial_oracle", "dial_random", "dial_no_query"}
# the other ways to let the query in that give FiLM its fair chance; a table of their own
FAIR_CHANCE = {"uoisc_joint_attention", "uoisc_query_decoder"}
LABELS = {  # in the order of rows: variants and, behind each, its controls, which are its own model, sent otherwise
    "uoisc": "UO-ISC (FiLM)",
    "no_alignment": "without alignment",
    "no_llava": "without LLaVA loss",
    "no_alignment_no_llava": "without both",
    "plain_vq": "plain VQ",
    "query_aware": "query-aware",
    "query_aware_intent": "query-aware, intent loss",
    "uoisc_answer": "UO-ISC, answer loss",
    "adaptive": "adaptive (selection)",
    "adaptive_random": "adaptive, random tokens",
    "adaptive_oracle": "adaptive, oracle tokens",
    "uniform": "uniform, adaptive's losses",
    "dial": "rate dial",
    "dial_clip": "dial, CLIP's cosine alone",
    "dial_oracle": "dial, oracle tokens",
    "dial_random": "dial, random tokens",
    "dial_no_query": "dial, tokens without query",
    "dial_floor0": "dial, no unit for the rest",
    "dial_floor1": "dial, 1 unit for all",
    **{name: f"dial, {units} units for all" for name, units in FLOORS.items() if units > 1},
    "dial_scratch_text": "dial, text from scratch",
    "dial_uniform": "dial, all tokens alike",
    "dial_blind_decoder": "dial, decoder without query",
    "uoisc_joint_attention": "UO-ISC, joint attention",
    "uoisc_query_decoder": "UO-ISC, query at decoder",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_protected": "JPEG 2000, start protected",
    "webp": "WebP",
    "jpeg_xl": "JPEG XL",
    "avif": "AVIF",
    **{f"avif_down{factor}": f"AVIF at 1/{factor} size" for factor in (2, 3, 4)},
    "avif_crop": "AVIF, relevant crop",
    "answer": "answers as text",
    "description": "scene as text",
    "perfect": "scene as text, read without error",
    "sprites": "scene as text, drawn anew",
    "message": "one message",
    "file": "one file per image",
    "mosaic": "tiles of one mosaic",
    "source": "input image",
    "llava": "judge LLaVA",
    "llava_independent": "independent judge",
    "seen": "seen objects",
    "unseen": "unseen objects",
    "codecs": "codecs' style",
    "pretrained": "styles of pre-training",
    "novel": "style nobody saw",
    **{kind: kind for kind in ("existence", "place", "colour")},
    "what": "what is there",
    **{kind: kind for kind in ("count", "relation", "conjunction", "comparison", "reference")},
    "member": "any of a category",
    "premise": "false premise",
}
SAYS = {  # what each method is, in one line of the glossary
    "uoisc": "the paper's method: FiLM by the query, segment-wise codes, LLaVA's loss",
    "no_alignment": "UO-ISC without FiLM: the transmitter does not read the query",
    "no_llava": "UO-ISC trained without the user-intent loss",
    "no_alignment_no_llava": "neither FiLM nor the user-intent loss",
    "plain_vq": "UO-ISC with one codebook for whole tokens, equal bits",
    "query_aware": "the rival: FiLM between encoders from scratch; its loss is the answers about the source",
    "query_aware_intent": "the rival trained with UO-ISC's loss on LLaVA's hidden states",
    "uoisc_answer": "UO-ISC trained with the rival's loss: the answers about the source",
    "adaptive": "ours: no FiLM; bits go to the tokens that CLIP finds relevant to the query",
    "adaptive_random": "control, adaptive's model: which tokens come first is drawn at random",
    "adaptive_oracle": "control, adaptive's model: the answer's tokens come first, where their place is known",
    "uniform": "control of adaptive: its losses, no query, all tokens get the same bits",
    "dial": "ours: adaptive for any budget; a head refines CLIP's ranking; the receiver reads queries",
    "dial_clip": "control, dial's model: without the head that refines CLIP's cosine",
    "dial_oracle": "control, dial's model: the answer's tokens come first, where their place is known",
    "dial_random": "control, dial's model: which tokens come first is drawn at random",
    "dial_no_query": "control, dial's model: the image's odd tokens come first, whatever is asked",
    "dial_scratch_text": "the dial with a text encoder from scratch in the place of CLIP's",
    "dial_uniform": "control of the dial: its losses, but neither end reads the query",
    "dial_blind_decoder": "the dial whose receiver does not read the query",
    "uoisc_joint_attention": "UO-ISC with attention over tokens and the query's embedding in FiLM's place",
    "uoisc_query_decoder": "UO-ISC whose receiver reads the query as well (FiLM)",
    **{
        name: f"control, dial's model: units of each token that does not come first: {units}"
        for name, units in FLOORS.items()
    },
}
PLACES = {name: place for place, name in enumerate(LABELS)}  # the order of rows


def label(name: str) -> str:
    """The display name of a method, judge, split, form or question type; an unknown name is its own label."""
    return LABELS.get(name, name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of `LABELS`, unknown ones behind them by the alphabet."""
    return sorted(set(names), key=lambda name: (PLACES.get(name, len(PLACES)), name))
