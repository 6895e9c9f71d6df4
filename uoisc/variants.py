"""What each variant is made of. To add one, write a function that puts its parts together and name it in `VARIANTS`.

| variant | alignment | quantiser | intent loss | stands for |
|---|---|---|---|---|
| uoisc | CLIP + FiLM | segment-wise | yes | the paper's method |
| no_alignment | none | segment-wise | yes | C2 |
| no_llava | CLIP + FiLM | segment-wise | no | ablation |
| no_alignment_no_llava | none | segment-wise | no | ablation |
| plain_vq | CLIP + FiLM | one codebook, equal bits | yes | ablation |
| query_aware | own encoders, from scratch | segment-wise | no | C1's rival |
| adaptive | CLIP relevance ranks the tokens | segment-wise | yes | selection (ours) |
| uniform | none | segment-wise | yes, and adaptive's pixel weights | control of adaptive |
| uoisc_cross_attention | CLIP + cross-attention | segment-wise | yes | FiLM's fair chance |
| uoisc_query_decoder | CLIP + FiLM, also at the receiver | segment-wise | yes | FiLM's fair chance |
| dial | CLIP relevance, refined by a head, ranks | nested segments | yes | adaptive, one model for any rate |
| dial_uniform | none: all tokens alike | nested segments | yes, and dial's pixel weights | control of dial |
| dial_scratch_text | as dial, queries read from scratch | nested segments | yes | dial without CLIP's text |
| dial_query_decoder | as dial, and FiLM at the receiver | nested segments | yes | the receiver knows the query |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from uoisc.alignment import CrossAttention, Film, Identity, ImageProjection
from uoisc.baselines import ScratchEncoders, ScratchQuery
from uoisc.clip import FrozenCLIP
from uoisc.codec import Codec
from uoisc.config import Params
from uoisc.decoder import Decoder
from uoisc.errors import ConfigError, choices
from uoisc.quantization import SegmentVQ
from uoisc.rate import FixedRate, Packing, RateDial, Shape
from uoisc.relevance import Cosine, RelevanceHead


@dataclass(frozen=True)
class Variant:
    """How a variant is built, and which losses train it."""

    build: Callable[[FrozenCLIP, Params, str], Codec]
    intent: bool = True
    weighted: bool = False  # pixels of the tokens that rank first weigh more
    ranked: bool = False  # a relevance head is trained, which ranks the tokens
    dial: bool = False  # one model for every budget of bits; its one rate is called `DIAL`


def _fixed(vision, params: Params, rate: str, alignment=Film, receiver=None, plain: bool = False) -> Codec:
    """A codec at a fixed rate; `plain` has one codebook of K^G codes in place of G of K: equal bits."""
    c, point = params.codec, params.codec.rates[rate]
    segments, codes = (1, point.codes**point.segments) if plain else (point.segments, point.codes)
    shape = Shape(len(c.taps), _tokens(params), segments, codes)
    return _assemble(vision, params, FixedRate(shape, point.ranked_tokens), Cosine(), alignment, receiver)


def _ranked(vision, params: Params, rate: str) -> Codec:
    """A codec that spends its bits on the tokens that CLIP finds relevant to the query."""
    c, point = params.codec, params.codec.rates[rate]
    shape = Shape(len(c.taps), _tokens(params), point.ranked_segments, point.ranked_codes)
    packing = Packing(shape, point.ranked_tokens, shape.units, point.ranked_background)
    return _assemble(vision, params, packing, Cosine(), Identity)


def _dial(vision, params: Params, rate: str, ranked: bool = True, receiver=None) -> Codec:
    """A codec for any budget, which it spends on the tokens that are relevant to the query (`ranked`) or evenly."""
    c, dial = params.codec, params.codec.dial
    shape = Shape(len(c.taps), _tokens(params), dial.segments, dial.codes)
    budgets = (min(dial.budgets), max(dial.budgets))
    packings = RateDial(shape, dial.tokens, dial.background, budgets, dial.queries, ranked)
    ranking = RelevanceHead(shape.tokens, vision.text_width) if ranked else Cosine()
    return _assemble(vision, params, packings, ranking, Identity, receiver)


def _query_aware(clip: FrozenCLIP, params: Params, rate: str) -> Codec:
    """The rival: FiLM between encoders that have seen nothing but the codec's own training scenes."""
    vision = ScratchEncoders(
        clip.tokenizer, clip.model.vocab_size, len(params.codec.taps), clip.width, clip.text_width,
        halvings=len(params.codec.decoder_channels),
    )  # fmt: skip
    return _fixed(vision, params, rate)


def _assemble(vision, params: Params, rate, ranking, alignment, receiver=None) -> Codec:
    c, taps = params.codec, len(params.codec.taps)
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
    "no_llava": Variant(_fixed, intent=False),
    "no_alignment_no_llava": Variant(lambda v, p, r: _fixed(v, p, r, alignment=Identity), intent=False),
    "plain_vq": Variant(lambda v, p, r: _fixed(v, p, r, plain=True)),
    "query_aware": Variant(_query_aware, intent=False),
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
