"""What each variant is made of. To add one, write a function that puts its parts together and name it in `VARIANTS`.

| variant | alignment | quantiser | intent loss, by LLaVA's | stands for |
|---|---|---|---|---|
| uoisc | CLIP + FiLM | segment-wise | states | the paper's method |
| no_alignment | none | segment-wise | states | C2 |
| no_llava | CLIP + FiLM | segment-wise | none | ablation |
| no_alignment_no_llava | none | segment-wise | none | ablation |
| plain_vq | CLIP + FiLM | one codebook, equal bits | states | ablation |
| query_aware | own encoders, from scratch | segment-wise | none | C1's rival |
| answer_loss | CLIP + FiLM | segment-wise | answers | ablation |
| query_aware_answer | own encoders, from scratch | segment-wise | answers | C1's rival with a view of the user |
| adaptive | CLIP relevance ranks the tokens | segment-wise | states | selection (ours) |
| uniform | none | segment-wise | states, and adaptive's pixel weights | control of adaptive |
| uoisc_cross_attention | CLIP + cross-attention | segment-wise | states | FiLM's fair chance |
| uoisc_query_decoder | CLIP + FiLM, also at the receiver | segment-wise | states | FiLM's fair chance |
| dial | CLIP relevance, refined by a head, ranks | nested segments | states | adaptive, one model for any rate |
| dial_uniform | none: all tokens alike | nested segments | states, and dial's pixel weights | control of dial |
| dial_scratch_text | as dial, queries read from scratch | nested segments | states | dial without CLIP's text |
| dial_query_decoder | as dial, and FiLM at the receiver | nested segments | states | the receiver knows the query |

LLaVA's view is a loss on its hidden states (`intent_loss`, the paper's) or on its answers about the source
(`source_answer_loss`, ours). `intent` of a variant is that loss itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from uoisc.alignment import CrossAttention, Film, Identity, ImageProjection
from uoisc.baselines import ScratchEncoders, ScratchQuery
from uoisc.clip import FrozenCLIP
from uoisc.codec import Codec
from uoisc.config import Params
from uoisc.decoder import Decoder
from uoisc.errors import ConfigError, choices
from uoisc.llava import FrozenLlava
from uoisc.losses import intent_loss, source_answer_loss
from uoisc.quantization import SegmentVQ
from uoisc.rate import FixedRate, Packing, RateDial, Shape
from uoisc.relevance import Cosine, RelevanceHead

IntentLoss = Callable[[FrozenLlava, Tensor, Tensor, list[str]], Tensor]


@dataclass(frozen=True)
class Variant:
    """How a variant is built, and which losses train it."""

    build: Callable[[FrozenCLIP, Params, str], Codec]
    intent: IntentLoss | None = intent_loss  # of LLaVA, x, x_hat and the queries; None: without LLaVA's view
    weighted: bool = False  # pixels of the tokens that rank first weigh more
    ranked: bool = False  # a relevance head is trained, which ranks the tokens
    dial: bool = False  # one model for every budget of bits; its one rate is called `DIAL`


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
    c = params.codec
    taps, halvings = len(c.taps), len(c.decoder_channels)
    vision = ScratchEncoders(clip.tokenizer, clip.model.vocab_size, taps, clip.width, clip.text_width, halvings)
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


VARIANTS: dict[str, Variant] = {
    "uoisc": Variant(_fixed),
    "no_alignment": Variant(lambda v, p, r: _fixed(v, p, r, alignment=Identity)),
    "no_llava": Variant(_fixed, intent=None),
    "no_alignment_no_llava": Variant(lambda v, p, r: _fixed(v, p, r, alignment=Identity), intent=None),
    "plain_vq": Variant(lambda v, p, r: _fixed(v, p, r, plain=True)),
    "query_aware": Variant(_query_aware, intent=None),
    "answer_loss": Variant(_fixed, intent=source_answer_loss),
    "query_aware_answer": Variant(_query_aware, intent=source_answer_loss),
    "adaptive": Variant(_ranked, weighted=True),
    "uniform": Variant(lambda v, p, r: _fixed(v, p, r, alignment=Identity), weighted=True),
    "uoisc_cross_attention": Variant(lambda v, p, r: _fixed(v, p, r, alignment=CrossAttention)),
    "uoisc_query_decoder": Variant(lambda v, p, r: _fixed(v, p, r, receiver=Film)),
    "dial": Variant(_dial, weighted=True, ranked=True, dial=True),
    "dial_uniform": Variant(lambda v, p, r: _dial(v, p, r, ranked=False), weighted=True, dial=True),
    "dial_scratch_text": Variant(lambda v, p, r: _dial(ScratchQuery(v), p, r), weighted=True, ranked=True, dial=True),
    "dial_query_decoder": Variant(lambda v, p, r: _dial(v, p, r, receiver=Film), weighted=True, ranked=True, dial=True),
}


def variant(name: str) -> Variant:
    """The variant of that name. Raises ConfigError for an unknown one."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown variant {name!r}: {choices(name, VARIANTS)}")
    return VARIANTS[name]
