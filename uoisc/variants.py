"""What each variant is made of. To add one, write a function that puts its parts together, a row of `VARIANTS` and one
of `SAYS`: its title and its line of explanation go to figures, tables and the glossary by themselves.

LLaVA's view is a loss on its hidden states (`intent_loss`, the paper's) or on its answers about the source
(`source_answer_loss`, ours). `intent` of a variant is that loss itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from uoisc.alignment import CrossAttention, Film, Identity, ImageProjection
from uoisc.base.config import Params
from uoisc.base.errors import ConfigError, choices
from uoisc.baselines import ScratchEncoders, ScratchQuery
from uoisc.codec import Codec
from uoisc.decoder import Decoder
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.llava import FrozenLlava
from uoisc.losses import intent_loss, source_answer_loss
from uoisc.message import Shape
from uoisc.quantization import SegmentVQ
from uoisc.rate import FixedRate, Packing, RateDial
from uoisc.relevance import Cosine, RelevanceHead

IntentLoss = Callable[[FrozenLlava, Tensor, Tensor, list[str]], Tensor]


@dataclass(frozen=True)
class Variant:
    """How a variant is built, which losses train it, and what it is called.

    title: in figures and tables.
    fair_chance: one of the other ways to let the query in that give FiLM its fair chance; a table of their own.
    """

    title: str
    build: Callable[[FrozenCLIP, Params, str], Codec]  # by the rate's name in params.yaml
    intent: IntentLoss | None = intent_loss  # of LLaVA, x, x_hat and the queries; None: without LLaVA's view
    weighted: bool = False  # the tokens that rank first weigh more in the pixel and perceptual terms
    ranked: bool = False  # a relevance head is trained, which ranks the tokens
    dial: bool = False  # one model for every budget of bits; its one rate is called `DIAL`
    fair_chance: bool = False


def _fixed(vision, params: Params, rate_name: str, alignment=Film, receiver=Identity, plain: bool = False) -> Codec:
    """A codec at a fixed rate; `plain` has one codebook of K^G codes in place of G of K: equal bits."""
    point = params.codec.rates[rate_name]
    segments, codes = (1, point.codes**point.segments) if plain else (point.segments, point.codes)
    fixed = FixedRate(_shape(params, segments, codes), point.ranked_tokens)
    return _assemble(vision, params, fixed, Cosine(), alignment, receiver)


def _ranked(vision, params: Params, rate_name: str) -> Codec:
    """A codec that spends its bits on the tokens that CLIP finds relevant to the query."""
    point = params.codec.rates[rate_name]
    shape = _shape(params, point.ranked_segments, point.ranked_codes)
    packing = Packing(shape, point.ranked_tokens, shape.units, point.ranked_background)
    return _assemble(vision, params, packing, Cosine())


def _dial(vision, params: Params, rate_name: str, ranked: bool = True, receiver=Identity) -> Codec:
    """A codec for any budget, which it spends on the tokens that are relevant to the query (`ranked`) or evenly."""
    dial = params.codec.dial
    shape = _shape(params, dial.segments, dial.codes)
    budgets = (min(dial.budgets), max(dial.budgets))
    packings = RateDial(shape, dial.tokens, dial.background, budgets, dial.queries, ranked)
    ranking = RelevanceHead(shape.tokens, vision.text_width) if ranked else Cosine()
    return _assemble(vision, params, packings, ranking, receiver=receiver)


def _query_aware(clip: FrozenCLIP, params: Params, rate_name: str) -> Codec:
    """The rival: FiLM between encoders that have seen nothing but the codec's own training scenes."""
    widths = (len(params.codec.taps), clip.width, clip.text_width)
    halvings = len(params.codec.decoder_channels)
    vision = ScratchEncoders(clip.tokenizer, clip.model.vocab_size, *widths, halvings=halvings)
    return _fixed(vision, params, rate_name)


def _shape(params: Params, segments: int, codes: int) -> Shape:
    return Shape(len(params.codec.taps), _grid(params) ** 2, segments, codes)


def _grid(params: Params) -> int:
    """Tokens a side."""
    return params.data.image_size // params.foundation.clip.patch_size


def _assemble(vision, params: Params, rate, ranking, alignment=Identity, receiver=Identity) -> Codec:
    c = params.codec
    taps = len(c.taps)
    quantizer = SegmentVQ(c.width, rate.shape.segments, rate.shape.codes)

    def reads(kind):
        return Identity() if kind is Identity else kind(taps, vision.text_width, c.text_width, c.width)

    return Codec(
        vision=vision,
        projection=ImageProjection(taps, vision.width, c.width),
        alignment=reads(alignment),
        quantizer=quantizer,
        ranking=ranking,
        rate=rate,
        receiver=reads(receiver),
        decoder=Decoder(taps, c.width, _grid(params), c.decoder_channels),
    )


BLIND = partial(_fixed, alignment=Identity)  # what is sent does not depend on the query
SELECTS = {"weighted": True, "ranked": True, "dial": True}
ANSWERS = {"intent": source_answer_loss}
VARIANTS: dict[str, Variant] = {  # in the order of the figures' rows; `SAYS` explains each
    "uoisc": Variant("UO-ISC (FiLM)", _fixed),
    "no_alignment": Variant("without alignment", BLIND),
    "no_llava": Variant("without LLaVA loss", _fixed, intent=None),
    "no_alignment_no_llava": Variant("without both", BLIND, intent=None),
    "plain_vq": Variant("plain VQ", partial(_fixed, plain=True)),
    "query_aware": Variant("query-aware", _query_aware, intent=None),
    "answer_loss": Variant("UO-ISC, answer loss", _fixed, **ANSWERS),
    "query_aware_answer": Variant("query-aware, answer loss", _query_aware, **ANSWERS),
    "adaptive": Variant("adaptive (selection)", _ranked, weighted=True),
    "uniform": Variant("uniform, adaptive's losses", BLIND, weighted=True),
    "dial": Variant("rate dial", _dial, **SELECTS),
    "dial_scratch_text": Variant("dial, text from scratch", lambda v, p, r: _dial(ScratchQuery(v), p, r), **SELECTS),
    "dial_uniform": Variant("dial, all tokens alike", partial(_dial, ranked=False), weighted=True, dial=True),
    "dial_query_decoder": Variant("dial, query at decoder", partial(_dial, receiver=Film), **SELECTS),
    "uoisc_cross_attention": Variant(
        "UO-ISC, cross-attention", partial(_fixed, alignment=CrossAttention), fair_chance=True
    ),
    "uoisc_query_decoder": Variant("UO-ISC, query at decoder", partial(_fixed, receiver=Film), fair_chance=True),
}
SAYS = {  # what each is, in one line of the glossary
    "uoisc": "the paper's method: FiLM by the query, segment-wise codes, LLaVA's loss",
    "no_alignment": "UO-ISC without FiLM: the transmitter does not read the query",
    "no_llava": "UO-ISC trained without the user-intent loss",
    "no_alignment_no_llava": "neither FiLM nor the user-intent loss",
    "plain_vq": "UO-ISC with one codebook for whole tokens, equal bits",
    "query_aware": "the rival: FiLM between encoders from scratch, no CLIP, no LLaVA loss",
    "answer_loss": "UO-ISC whose loss is LLaVA's answers about the source in the place of its hidden states",
    "query_aware_answer": "the rival trained with a view of the user: LLaVA's answers about the source",
    "adaptive": "ours: no FiLM; bits go to the tokens that CLIP finds relevant to the query",
    "uniform": "control of adaptive: its losses, no query, all tokens get the same bits",
    "dial": "ours: adaptive for any budget with one model; a head refines CLIP's ranking",
    "dial_scratch_text": "the dial with a text encoder from scratch in the place of CLIP's",
    "dial_uniform": "control of the dial: its losses, but the query ranks nothing",
    "dial_query_decoder": "the dial whose receiver reads the query as well (FiLM)",
    "uoisc_cross_attention": "UO-ISC with cross-attention to the query's words in FiLM's place",
    "uoisc_query_decoder": "UO-ISC whose receiver reads the query as well (FiLM)",
}


def variant(name: str) -> Variant:
    """The variant of that name. Raises ConfigError for an unknown one."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown variant {name!r}: {choices(name, VARIANTS)}")
    return VARIANTS[name]
