"""What each variant is made of. To add one, write a function that puts its parts together, and a row of
`VARIANTS`. Its title and its line of explanation stand in `claims/names.py`.

LLaVA's view is a loss on its hidden states (`intent_loss`, the paper's) or on its answers about the source
(`source_answer_loss`, ours). `intent` of a variant is that loss itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from uoisc.alignment import Film, Identity, ImageProjection, JointAttention
from uoisc.base.config import Params
from uoisc.base.errors import ConfigError, choices
from uoisc.base.settings import MAX_CODES
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
    """How a variant is built, and which losses train it."""

    build: Callable[[FrozenCLIP, Params, str], Codec]  # by the rate's name in params.yaml
    intent: IntentLoss | None = intent_loss  # of LLaVA, x, x_hat and the queries; None: without LLaVA's view
    weighted: bool = False  # the tokens that rank first weigh more in the pixel and perceptual terms
    ranked: bool = False  # a relevance head is trained, which ranks the tokens
    dial: bool = False  # one model for every budget of bits; its one rate is called `DIAL`


def _fixed(vision, params: Params, rate_name: str, alignment=Film, receiver=Identity, plain: bool = False) -> Codec:
    """A codec at a fixed rate; `plain` has one codebook of K^G codes in place of G of K: equal bits."""
    point = params.codec.rates[rate_name]
    segments, codes = (1, point.codes**point.segments) if plain else (point.segments, point.codes)
    if codes > MAX_CODES:
        raise ConfigError(f"rate {rate_name!r}: one codebook would hold {codes} codes, at most {MAX_CODES}")
    units = len(params.codec.taps) * point.ranked_segments  # of a token of `_ranked`, as which tokens weigh
    fixed = FixedRate(_shape(params, segments, codes), point.ranked_tokens, point.ranked_background / units)
    return _assemble(vision, params, fixed, Cosine(), alignment, receiver)


def _ranked(vision, params: Params, rate_name: str) -> Codec:
    """A codec that spends its bits on the tokens that CLIP finds relevant to the query."""
    point = params.codec.rates[rate_name]
    shape = _shape(params, point.ranked_segments, point.ranked_codes)
    packing = Packing(shape, point.ranked_tokens, shape.units, point.ranked_background)
    return _assemble(vision, params, packing, Cosine())


def _dial(vision, params: Params, rate_name: str, ranked: bool = True, receiver=Film) -> Codec:
    """A codec for any budget, which it spends on the tokens that are relevant to the query (`ranked`) or evenly; its
    receiver reads the query as well."""
    dial = params.codec.dial
    shape = _shape(params, dial.segments, dial.codes)
    budgets = (min(dial.budgets), max(dial.budgets))
    packings = RateDial(shape, dial.tokens, dial.background, budgets, ranked)
    ranking = RelevanceHead(shape.tokens, vision.text_width) if ranked else Cosine()
    return _assemble(vision, params, packings, ranking, receiver=receiver)


def _query_aware(clip: FrozenCLIP, params: Params, rate_name: str) -> Codec:
    """The rival: FiLM between encoders that have seen nothing but the codec's own training scenes."""
    halvings = len(params.codec.decoder_channels)
    vision = ScratchEncoders(len(params.codec.taps), clip.width, clip.text_width, halvings)
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
VARIANTS: dict[str, Variant] = {
    "uoisc": Variant(_fixed),
    "no_alignment": Variant(BLIND),
    "no_llava": Variant(_fixed, intent=None),
    "no_alignment_no_llava": Variant(BLIND, intent=None),
    "plain_vq": Variant(partial(_fixed, plain=True)),
    "uoisc_answer": Variant(_fixed, **ANSWERS),
    "query_aware": Variant(_query_aware, **ANSWERS),
    "query_aware_intent": Variant(_query_aware),
    "adaptive": Variant(_ranked, weighted=True),
    "uniform": Variant(BLIND, weighted=True),
    "dial": Variant(_dial, **SELECTS),
    "dial_scratch_text": Variant(lambda v, p, r: _dial(ScratchQuery(v), p, r), **SELECTS),
    "dial_uniform": Variant(partial(_dial, ranked=False, receiver=Identity), weighted=True, dial=True),
    "dial_blind_decoder": Variant(partial(_dial, receiver=Identity), **SELECTS),
    "uoisc_joint_attention": Variant(partial(_fixed, alignment=JointAttention)),
    "uoisc_query_decoder": Variant(partial(_fixed, receiver=Film)),
}


def variant(name: str) -> Variant:
    """The variant of that name. Raises ConfigError for an unknown one."""
    if name not in VARIANTS:
        raise ConfigError(f"unknown variant {name!r}: {choices(name, VARIANTS)}")
    return VARIANTS[name]
