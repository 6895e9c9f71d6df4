"""What each variant is made of. To add one, write a function that puts its parts together and a row of `VARIANTS`.

Its title and its line of explanation go to figures, tables and the glossary by themselves.

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
from uoisc.quantization import SegmentVQ
from uoisc.rate import FixedRate, Packing, RateDial, Shape
from uoisc.relevance import Cosine, RelevanceHead

IntentLoss = Callable[[FrozenLlava, Tensor, Tensor, list[str]], Tensor]


@dataclass(frozen=True)
class Variant:
    """How a variant is built, which losses train it, and what it is called.

    title: in figures and tables. says: what it is, in one line of the glossary.
    fair_chance: one of the other ways to let the query in that give FiLM its fair chance; a table of their own.
    """

    title: str
    says: str
    build: Callable[[FrozenCLIP, Params, str], Codec]
    intent: IntentLoss | None = intent_loss  # of LLaVA, x, x_hat and the queries; None: without LLaVA's view
    weighted: bool = False  # pixels of the tokens that rank first weigh more
    ranked: bool = False  # a relevance head is trained, which ranks the tokens
    dial: bool = False  # one model for every budget of bits; its one rate is called `DIAL`
    fair_chance: bool = False


def _fixed(vision, params: Params, rate: str, alignment=Film, receiver=None, plain: bool = False) -> Codec:
    """A codec at a fixed rate; `plain` has one codebook of K^G codes in place of G of K: equal bits."""
    c = params.codec
    point = c.rates[rate]
    segments, codes = (1, point.codes**point.segments) if plain else (point.segments, point.codes)
    shape = Shape(len(c.taps), _tokens(params), segments, codes)
    return _assemble(vision, params, FixedRate(shape, point.ranked_tokens), Cosine(), alignment, receiver)


def _ranked(vision, params: Params, rate: str) -> Codec:
    """A codec that spends its bits on the tokens that CLIP finds relevant to the query."""
    c = params.codec
    point = c.rates[rate]
    shape = Shape(len(c.taps), _tokens(params), point.ranked_segments, point.ranked_codes)
    packing = Packing(shape, point.ranked_tokens, shape.units, point.ranked_background)
    return _assemble(vision, params, packing, Cosine(), Identity)


def _dial(vision, params: Params, rate: str, ranked: bool = True, receiver=None) -> Codec:
    """A codec for any budget, which it spends on the tokens that are relevant to the query (`ranked`) or evenly."""
    c = params.codec
    dial = c.dial
    shape = Shape(len(c.taps), _tokens(params), dial.segments, dial.codes)
    budgets = (min(dial.budgets), max(dial.budgets))
    packings = RateDial(shape, dial.tokens, dial.background, budgets, dial.queries, ranked)
    ranking = RelevanceHead(shape.tokens, vision.text_width) if ranked else Cosine()
    return _assemble(vision, params, packings, ranking, Identity, receiver)


def _query_aware(clip: FrozenCLIP, params: Params, rate: str) -> Codec:
    """The rival: FiLM between encoders that have seen nothing but the codec's own training scenes."""
    widths = (len(params.codec.taps), clip.width, clip.text_width)
    halvings = len(params.codec.decoder_channels)
    vision = ScratchEncoders(clip.tokenizer, clip.model.vocab_size, *widths, halvings=halvings)
    return _fixed(vision, params, rate)


def _assemble(vision, params: Params, rate, ranking, alignment, receiver=None) -> Codec:
    c = params.codec
    taps = len(c.taps)
    quantizer = SegmentVQ(c.width, rate.shape.segments, rate.shape.codes)
    grid = params.data.image_size // params.foundation.clip.patch_size

    def modulation(kind):
        return Identity() if kind is Identity else kind(taps, vision.text_width, c.text_width, c.width)

    return Codec(
        vision=vision,
        projection=ImageProjection(taps, vision.width, c.width),
        alignment=modulation(alignment),
        quantizer=quantizer,
        ranking=ranking,
        rate=rate,
        receiver=modulation(receiver or Identity),
        decoder=Decoder(taps, c.width, grid, c.decoder_channels),
    )


def _tokens(params: Params) -> int:
    return (params.data.image_size // params.foundation.clip.patch_size) ** 2


BLIND = partial(_fixed, alignment=Identity)  # what is sent does not depend on the query
SELECTS = {"weighted": True, "ranked": True, "dial": True}
VARIANTS: dict[str, Variant] = {  # in the order of the figures' rows
    "uoisc": Variant(
        "UO-ISC (FiLM)", "the paper's method: FiLM by the query, segment-wise codes, LLaVA's loss", _fixed
    ),
    "no_alignment": Variant("without alignment", "UO-ISC without FiLM: the transmitter does not read the query", BLIND),
    "no_llava": Variant("without LLaVA loss", "UO-ISC trained without the user-intent loss", _fixed, intent=None),
    "no_alignment_no_llava": Variant("without both", "neither FiLM nor the user-intent loss", BLIND, intent=None),
    "plain_vq": Variant(
        "plain VQ", "UO-ISC with one codebook for whole tokens, equal bits", partial(_fixed, plain=True)
    ),
    "query_aware": Variant(
        "query-aware",
        "the rival: FiLM between encoders from scratch, no CLIP, no LLaVA loss",
        _query_aware,
        intent=None,
    ),
    "answer_loss": Variant(
        "UO-ISC, answer loss",
        "UO-ISC whose loss is LLaVA's answers about the source in the place of its hidden states",
        _fixed,
        intent=source_answer_loss,
    ),
    "query_aware_answer": Variant(
        "query-aware, answer loss",
        "the rival trained with a view of the user: LLaVA's answers about the source",
        _query_aware,
        intent=source_answer_loss,
    ),
    "adaptive": Variant(
        "adaptive (selection)",
        "ours: no FiLM; bits go to the tokens that CLIP finds relevant to the query",
        _ranked,
        weighted=True,
    ),
    "uniform": Variant(
        "uniform, adaptive's losses",
        "control of adaptive: its losses, no query, all tokens get the same bits",
        BLIND,
        weighted=True,
    ),
    "dial": Variant(
        "rate dial", "ours: adaptive for any budget with one model; a head refines CLIP's ranking", _dial, **SELECTS
    ),
    "dial_scratch_text": Variant(
        "dial, text from scratch",
        "the dial with a text encoder from scratch in the place of CLIP's",
        lambda v, p, r: _dial(ScratchQuery(v), p, r),
        **SELECTS,
    ),
    "dial_uniform": Variant(
        "dial, all tokens alike",
        "control of the dial: its losses, but the query ranks nothing",
        partial(_dial, ranked=False),
        weighted=True,
        dial=True,
    ),
    "dial_query_decoder": Variant(
        "dial, query at decoder",
        "the dial whose receiver reads the query as well (FiLM)",
        partial(_dial, receiver=Film),
        **SELECTS,
    ),
    "uoisc_cross_attention": Variant(
        "UO-ISC, cross-attention",
        "UO-ISC with cross-attention to the query's words in FiLM's place",
        partial(_fixed, alignment=CrossAttention),
        fair_chance=True,
    ),
    "uoisc_query_decoder": Variant(
        "UO-ISC, query at decoder",
        "UO-ISC whose receiver reads the query as well (FiLM)",
        partial(_fixed, receiver=Film),
        fair_chance=True,
    ),
}


def variant(name: str) -> Variant:
    """The variant of that name. Raises ConfigError for an unknown one."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown variant {name!r}: {choices(name, VARIANTS)}")
    return VARIANTS[name]
