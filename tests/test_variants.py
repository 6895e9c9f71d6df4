"""What each variant is made of: an ablated one lacks the part, so that it cannot run it."""

from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

from uoisc.alignment import Film, Identity, JointAttention
from uoisc.base.errors import ConfigError
from uoisc.baselines import ScratchEncoders, ScratchQuery
from uoisc.frozen.clip import FrozenCLIP
from uoisc.losses import intent_loss, source_answer_loss
from uoisc.rate import FixedRate, Packing
from uoisc.variants import VARIANTS, variant

# vision, alignment, receiver, segments, rate, intent loss, weighted pixels: the table of variants once more, by hand
STATES, ANSWERS = intent_loss, source_answer_loss
PARTS = {
    "uoisc": (FrozenCLIP, Film, Identity, 2, FixedRate, STATES, False),
    "no_alignment": (FrozenCLIP, Identity, Identity, 2, FixedRate, STATES, False),
    "no_llava": (FrozenCLIP, Film, Identity, 2, FixedRate, None, False),
    "no_alignment_no_llava": (FrozenCLIP, Identity, Identity, 2, FixedRate, None, False),
    "plain_vq": (FrozenCLIP, Film, Identity, 1, FixedRate, STATES, False),
    "uoisc_answer": (FrozenCLIP, Film, Identity, 2, FixedRate, ANSWERS, False),
    "query_aware": (ScratchEncoders, Film, Identity, 2, FixedRate, ANSWERS, False),
    "query_aware_intent": (ScratchEncoders, Film, Identity, 2, FixedRate, STATES, False),
    "adaptive": (FrozenCLIP, Identity, Identity, 2, Packing, STATES, True),
    "uniform": (FrozenCLIP, Identity, Identity, 2, FixedRate, STATES, True),
    "dial": (FrozenCLIP, Identity, Film, 4, Packing, STATES, True),
    "dial_uniform": (FrozenCLIP, Identity, Identity, 4, Packing, STATES, True),
    "dial_scratch_text": (ScratchQuery, Identity, Film, 4, Packing, STATES, True),
    "dial_blind_decoder": (FrozenCLIP, Identity, Identity, 4, Packing, STATES, True),
    "uoisc_joint_attention": (FrozenCLIP, JointAttention, Identity, 2, FixedRate, STATES, False),
    "uoisc_query_decoder": (FrozenCLIP, Film, Film, 2, FixedRate, STATES, False),
}


@pytest.mark.parametrize("name", [*PARTS, *(VARIANTS.keys() - PARTS.keys())])
def test_parts_and_losses(name):
    assert name in PARTS, f"a new variant: add to PARTS what {name} must be made of"
    codec, kind = tiny.codec(name), variant(name)
    parts = tuple(type(part) for part in (codec.vision, codec.alignment, codec.receiver))
    assert (*parts, codec.quantizer.segments, type(codec.rate), kind.intent, kind.weighted) == PARTS[name]


@pytest.mark.parametrize("rate", tiny.PARAMS.codec.rates)
def test_uniform_weighs_tokens_as_the_selection_that_it_controls(rate):
    relevance = torch.rand(3, tiny.codec("uniform", rate).rate.shape.tokens)
    uniform, selection = (tiny.codec(name, rate).rate.allocate(relevance) for name in ("uniform", "adaptive"))
    torch.testing.assert_close(uniform.emphasis, selection.emphasis)
    assert uniform.sent is None and len(selection.emphasis.unique()) == 2


def trained(codec: nn.Module) -> set[str]:
    return {name.split(".")[0] for name, parameter in codec.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", ["no_alignment", "no_alignment_no_llava", "adaptive", "uniform", "dial_uniform"])
def test_a_variant_without_alignment_has_no_weights_for_it(name):
    codec = tiny.codec(name)
    assert trained(codec) == {"projection", "quantizer", "decoder"}
    assert not [key for key in codec.own_state() if "alignment" in key or "text" in key]


def test_selection_trains_a_head_that_ranks_tokens():
    assert trained(tiny.codec("dial")) == {"projection", "quantizer", "ranking", "receiver", "decoder"}
    ranked = [name for name in VARIANTS if "ranking" in trained(tiny.codec(name))]
    assert ranked == [name for name in VARIANTS if variant(name).ranked] and "adaptive" not in ranked


def test_only_rivals_train_encoders():
    own = {name: codec.own_state() for name in VARIANTS if "vision" in trained(codec := tiny.codec(name))}
    assert list(own) == ["query_aware", "query_aware_intent", "dial_scratch_text"]
    assert {key.split(".")[1] for key in own["dial_scratch_text"] if key.startswith("vision.")} == {"text"}
    shared = {id(p) for p in tiny.clip().parameters()} & {id(p) for p in tiny.codec("query_aware").parameters()}
    assert not shared  # nothing of what CLIP has learnt


@pytest.mark.parametrize("rate", tiny.PARAMS.codec.rates)
def test_equal_bits(rate):
    bits = {name: tiny.codec(name, rate).bits for name in VARIANTS if not variant(name).dial}
    ranked = bits.pop("adaptive")
    assert len(set(bits.values())) == 1
    point = tiny.PARAMS.codec.rates[rate]
    assert tiny.codec("plain_vq", rate).quantizer.codes == point.codes**point.segments
    assert ranked == tiny.codec("adaptive", rate).rate.bits


def test_one_codebook_is_bounded_where_no_profile_trains_it_too():
    rates = {"low": replace(tiny.PARAMS.codec.rates["low"], segments=4, codes=64)}
    params = replace(tiny.PARAMS, codec=replace(tiny.PARAMS.codec, rates=rates))
    with pytest.raises(ConfigError, match="rate 'low': one codebook would hold 16777216 codes, at most 65536"):
        variant("plain_vq").build(tiny.clip(), params, "low")


def test_unknown_variant():
    with pytest.raises(ConfigError, match="unknown variant 'uoics': choose of uoisc, no_alignment"):
        variant("uoics")
