"""The codec as a whole: what crosses the channel is all that the receiver needs, and costs what it says."""

import contextlib
import copy
import math

import pytest
import tiny
import torch

from uoisc.base.config import DIAL
from uoisc.base.errors import ConfigError, InputError
from uoisc.codec import Codec
from uoisc.message import Message
from uoisc.variants import VARIANTS

QUERIES = ["where is the hammer", "how many animals are there", "what is at the upper left"]
OTHERS = ["what is at the lower right", "where is the hammer", "how many tools are there"]
ASKS = ("uoisc", "no_llava", "plain_vq", "query_aware", "uoisc_joint_attention")  # the query changes the indices
DEAF = ("no_alignment", "no_alignment_no_llava", "uniform", "dial_uniform")  # no query changes anything


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return tiny.images(3)


@pytest.fixture(params=VARIANTS)
def codec(request) -> Codec:
    return tiny.codec(request.param)


def test_receiver_draws_from_the_message_what_training_saw(codec, x):
    with torch.no_grad():  # with gradients, torch takes other kernels, which round otherwise
        out = codec(x, QUERIES)
    message = codec.encode(x, QUERIES)
    assert torch.equal(message.indices, out.message.indices)
    # straight-through f + (c - f) rounds once more than c; the decoder's layers carry that on
    torch.testing.assert_close(codec.decode(message, QUERIES), out.x_hat, rtol=0, atol=1e-4)


def test_bits_are_those_of_the_indices_that_are_sent(codec, x):
    message = codec.encode(x, QUERIES)
    book = codec.quantizer.codes
    assert message.indices.min() >= 0 and message.indices.max() < book
    sent = torch.ones_like(message.indices, dtype=torch.bool) if message.sent is None else message.sent
    rate, tokens = codec.rate, sent.shape[2]
    map_bits = math.ceil(math.log2(math.comb(tokens, rate.top))) if getattr(rate, "ranked", False) else 0
    for image in sent:
        assert int(image.sum()) * math.log2(book) + map_bits == pytest.approx(codec.bits)


def test_what_is_not_sent_changes_nothing(x):
    codec = tiny.codec("adaptive")
    message = codec.encode(x, QUERIES)
    scrambled = torch.where(message.sent, message.indices, torch.randint_like(message.indices, codec.quantizer.codes))
    assert not torch.equal(scrambled, message.indices)
    assert torch.equal(codec.decode(Message(scrambled, message.sent), QUERIES), codec.decode(message, QUERIES))


def test_what_is_sent_changes_the_image(codec, x):
    message = codec.encode(x, QUERIES)
    other = (message.indices + 1) % codec.quantizer.codes
    assert not torch.allclose(codec.decode(Message(other, message.sent), QUERIES), codec.decode(message, QUERIES))


@pytest.mark.parametrize("name", ASKS)
def test_another_query_changes_the_indices_of_an_aligned_codec(name, x):
    codec = tiny.codec(name)
    assert not torch.equal(codec.encode(x, QUERIES).indices, codec.encode(x, OTHERS).indices)


@pytest.mark.parametrize("name", DEAF)
def test_without_alignment_another_query_changes_nothing(name, x):
    codec = tiny.codec(name)
    first, second = codec.encode(x, QUERIES), codec.encode(x, OTHERS)
    assert torch.equal(first.indices, second.indices)
    assert torch.equal(codec.decode(first, QUERIES), codec.decode(second, OTHERS))


@pytest.mark.parametrize("name", ["adaptive", "dial"])
def test_selection_sends_other_tokens_for_another_query(x, name):
    codec = tiny.codec(name)
    first, second = codec.encode(x, QUERIES), codec.encode(x, OTHERS)
    assert torch.equal(first.indices, second.indices) and not torch.equal(first.sent, second.sent)


def test_a_given_ranking_overrides_clip(x):
    codec = tiny.codec("adaptive")
    ranking = -codec(x, QUERIES).relevance
    sent = codec.encode(x, QUERIES, ranking).sent
    assert torch.equal(sent, codec.rate.allocate(ranking).sent) and not torch.equal(sent, codec.encode(x, QUERIES).sent)


TALKS = ("adaptive", "dial", "dial_uniform", "dial_blind_decoder")


@pytest.mark.parametrize("name", TALKS)
def test_a_second_message_holds_what_the_first_ones_receiver_lacks(name, x):
    codec = tiny.codec(name)
    first, fresh = codec.encode(x, QUERIES), codec.encode(x, OTHERS)
    second = codec.encode(x, OTHERS, known=first)
    assert torch.equal(second.sent, fresh.sent & ~first.sent)
    both = second.after(first)
    assert torch.equal(both.sent, first.sent | fresh.sent) and torch.equal(both.indices, fresh.indices)
    scrambled = Message(torch.where(second.sent, second.indices, 0), second.sent, second.setting)
    whole = Message(fresh.indices, both.sent)
    parts = codec.packed(tiny.untrained(name, DIAL).rate) if VARIANTS[name].dial else None
    drawn = codec.decode(scrambled, OTHERS, known=first)
    if parts is not None:  # a dial without a budget draws what two queries chose
        assert torch.equal(drawn, parts.decode(whole, OTHERS))
    assert not codec.encode(x, OTHERS, known=both).sent.any()


def test_a_third_query_goes_on_from_both(x):
    codec = tiny.codec("dial")
    first = codec.encode(x, QUERIES)
    second = codec.encode(x, OTHERS, known=first)
    third = codec.encode(x, QUERIES[::-1], known=second.after(first))
    assert not (third.sent & (first.sent | second.sent)).any()
    assert torch.equal(
        third.after(second.after(first)).sent.sum(), first.sent.sum() + second.sent.sum() + third.sent.sum()
    )


def test_a_dial_that_adds_spends_its_bits_on_what_is_new(x):
    codec = tiny.untrained("dial", DIAL)
    first, bits = codec.at(100).encode(x, QUERIES), 100
    second = codec.adding(bits).encode(x, OTHERS, known=first)
    same = codec.at(bits).encode(x, OTHERS, known=first)
    packings = {packing.setting: packing for packing in codec.rate.packings}
    with torch.no_grad():
        ranks = codec.at(bits)(x, OTHERS).relevance
    for row, setting in enumerate(second.setting):
        known = first.sent[row : row + 1]
        (cost,) = packings[setting].added_bits(ranks[row : row + 1], known)
        assert int(second.sent[row].sum()) * 2 <= cost <= bits
    assert second.sent.sum() > same.sent.sum(), "what is saved is spent on more units"
    assert codec.decode(second, OTHERS, known=first).shape == x.shape
    with pytest.raises(ConfigError, match="bits are too few: the cheapest packing adds"):
        codec.adding(1).encode(x, OTHERS, known=Message(first.indices, torch.zeros_like(first.sent)))
    with pytest.raises(ConfigError, match="set one with codec.at"):
        codec.encode(x, OTHERS, known=first)
    with pytest.raises(ConfigError, match="no rate dial"):
        tiny.codec("adaptive").adding(100)


@pytest.mark.parametrize(("name", "says"), [("uoisc", "indices depend on the query"), ("no_alignment", "fixed rate")])
def test_where_nothing_can_be_saved_that_is_said(name, says, x):
    codec = tiny.codec(name)
    first = codec.encode(x, QUERIES)
    for act in (lambda: codec.encode(x, OTHERS, known=first), lambda: codec.decode(first, OTHERS, known=first)):
        with pytest.raises(ConfigError, match=says):
            act()


def test_what_is_no_message_of_these_images_is_not_known(x):
    codec = tiny.codec("dial")
    first = codec.encode(x, QUERIES)
    with pytest.raises(InputError, match="known: of 3 images; given 2 to go on with"):
        codec.encode(x[:2], OTHERS[:2], known=first)
    with pytest.raises(InputError, match="known: wants what `encode` returns"):
        codec.encode(x, OTHERS, known=first.indices)
    with pytest.raises(InputError, match="known.indices: wants codes"):
        codec.decode(first, OTHERS, known=Message(first.indices + 100, first.sent))


def test_receiver_with_the_query_draws_another_image_for_another_query(x):
    codec = tiny.codec("uoisc_query_decoder")
    message = codec.encode(x, QUERIES)
    assert not torch.allclose(codec.decode(message, QUERIES), codec.decode(message, OTHERS))


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()  # with gradients torch computes a convolution in another way, and bfloat16 rounds it otherwise
def test_the_transmitter_sends_what_a_whole_pass_would(name, x):
    codec = tiny.codec(name)
    message, whole = codec.encode(x, QUERIES), codec(x, QUERIES).message
    assert torch.equal(message.indices, whole.indices)
    assert (message.sent is None) == (whole.sent is None)
    assert message.sent is None or torch.equal(message.sent, whole.sent)


@pytest.mark.parametrize(("name", "readings"), [("uoisc", 0), ("adaptive", 1), ("dial", 1)])
def test_a_fixed_rate_ranks_nothing_to_send(name, readings, x, monkeypatch):
    made, calls = tiny.codec(name), []
    ranking = made.ranking.forward
    monkeypatch.setattr(made.ranking, "forward", lambda *both: calls.append(both) or ranking(*both))
    made.encode(x, QUERIES)
    assert len(calls) == readings


@pytest.mark.parametrize(("name", "readings"), [("uoisc", 0), ("adaptive", 0), ("uoisc_query_decoder", 1)])
def test_the_query_is_embedded_only_for_a_receiver_that_reads_it(name, readings, x, monkeypatch):
    codec, read = tiny.codec(name), []
    message, text = codec.encode(x, QUERIES), codec.vision.text
    monkeypatch.setattr(codec.vision, "text", lambda queries: (read.append(queries), text(queries))[1])
    codec.decode(message, QUERIES)
    assert codec.receiver_reads == bool(readings) and len(read) == readings


def test_gradients_reach_every_part_that_is_trained_and_no_other(x):
    for name in ("uoisc", "query_aware", "uoisc_query_decoder"):
        codec = tiny.codec(name).train()
        codec.zero_grad()
        out = codec(x, QUERIES)
        (out.x_hat.square().sum() + out.vq_loss).backward()
        for key, parameter in codec.named_parameters():
            # the head that ranks tokens has no say at a fixed rate
            trained = parameter.requires_grad and not key.startswith("vision.to_text")
            assert (parameter.grad is not None) == trained, key


def test_a_frozen_clip_is_not_part_of_the_codecs_own_state():
    state = tiny.codec("uoisc").own_state()
    assert state and not any(key.startswith("vision.") for key in state)
    assert {key.split(".")[0] for key in state} == {"projection", "alignment", "quantizer", "decoder"}
    assert any(key.startswith("vision.stem") for key in tiny.codec("query_aware").own_state())


@pytest.mark.parametrize("name", VARIANTS)
def test_own_state_goes_round(name, x):
    codec = tiny.codec(name)
    fresh = tiny.study().build(name, DIAL if VARIANTS[name].dial else "low").eval()
    fresh = fresh.at(200) if VARIANTS[name].dial else fresh
    assert not torch.equal(fresh(x, QUERIES).x_hat, codec(x, QUERIES).x_hat)
    fresh.load_own_state(codec.own_state())
    assert torch.equal(fresh(x, QUERIES).x_hat, codec(x, QUERIES).x_hat)


def test_a_codec_at_a_budget_shares_its_weights_and_its_mode():
    codec = tiny.untrained("dial", DIAL)
    for mode in (True, False):
        other = codec.train(mode).at(100)
        assert type(other) is Codec and other.training == mode == codec.training and other.bits <= 100 < codec.bits
        shared = dict(other.named_parameters())
        assert all(parameter is shared[name] for name, parameter in codec.named_parameters())
        assert codec.rate is not other.rate and not isinstance(codec.rate, type(other.rate))


def test_both_ends_work_where_the_weights_are(x, monkeypatch):
    """Weights that hold no numbers stand for those of a GPU: an operation on both would raise."""
    monkeypatch.setattr("uoisc.codec.precision", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    codec = copy.deepcopy(tiny.codec("uoisc_query_decoder"))
    message = codec.encode(x, QUERIES)
    assert codec.to("meta").device.type == "meta" and x.device.type == "cpu"
    assert codec.encode(x, QUERIES).indices.is_meta
    assert codec.decode(message, QUERIES).is_meta
