"""What codecs and judges refuse to take: each in one line that says what was given and what is wanted."""

import pytest
import tiny
import torch

from uoisc.base.boundary import described
from uoisc.base.errors import InputError, QueryError
from uoisc.message import Message, check_message

QUERIES = ["where is the hammer", "how many animals are there"]


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    x = tiny.images(2)
    return (x - x.min()) / (x.max() - x.min())  # from 0 to 1


IMAGES = {
    "bytes": (lambda x: (255 * x).byte(), "given uint8 .2, 3, 96, 96.: bytes become floats by x / 255"),
    "up to 255": (lambda x: 255 * x, "given values from 0 to 255, divide by 255"),
    "around 0": (lambda x: x - 0.5, "given values from -0.5 to 0.5"),
    "a little too bright": (lambda x: x * 1.01, "given values from 0 to 1.01"),
    "nan": (lambda x: torch.where(x > 0.9, torch.nan, x), "given values from nan to nan"),
    "inf": (lambda x: torch.where(x > 0.9, torch.inf, x), "given values from 0 to inf"),
    "one channel": (lambda x: x[:, :1], "given float32 .2, 1, 96, 96.: grey has three equal channels"),
    "four channels": (lambda x: torch.cat([x, x[:, :1]], 1), "given float32 .2, 4, 96, 96."),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), r"given float32 .2, 96, 96, 3.: channels come second"),
    "no batch": (lambda x: x[0], r"given float32 .3, 96, 96.: a batch of one is x\[None\]"),
    "an empty batch": (lambda x: x[:0], "given float32 .0, 3, 96, 96."),
    "no pixels": (lambda x: x[..., :0], "given float32 .2, 3, 96, 0."),
    "integers": (lambda x: x.long(), "given int64 .2, 3, 96, 96."),
    "complex": (lambda x: x.to(torch.complex64), "given complex64 .2, 3, 96, 96."),
    "sparse": (lambda x: x.to_sparse(), "given sparse_coo float32 .2, 3, 96, 96."),
    "an array": (lambda x: x.numpy(), "given ndarray"),
    "nothing": (lambda x: None, "given NoneType"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_what_is_no_images(x, kind):
    change, says = IMAGES[kind]
    for ask, wants in ((tiny.codec("adaptive").encode, "96, 96"), (tiny.llava().answer, "H, W")):
        line = rf"images: wants a tensor of floats in \[0, 1\], \(B, 3, {wants}\) with B at least 1; {says}"
        with pytest.raises(InputError, match=line) as caught:
            ask(change(x), QUERIES)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(100, 100), (96, 48), (48, 96), (192, 192)])
def test_images_of_another_size_are_for_judges_alone(size):
    x = torch.rand(2, 3, *size)
    for name in ("uoisc", "query_aware", "dial"):
        with pytest.raises(InputError, match=rf"\(B, 3, 96, 96\) .*; given float32 \(2, 3, {size[0]}, {size[1]}\)"):
            tiny.codec(name).encode(x, QUERIES)
    assert len(tiny.llava().answer(x, QUERIES)) == 2


@pytest.mark.parametrize("change", [torch.Tensor.double, torch.Tensor.contiguous, lambda x: x.clone().requires_grad_()])
def test_images_that_mean_the_same_are_the_same(x, change):
    codec = tiny.codec("uoisc")
    assert torch.equal(codec.encode(change(x), tuple(QUERIES)).indices, codec.encode(x, QUERIES).indices)
    assert tiny.llava().answer(change(x), QUERIES) == tiny.llava().answer(x, QUERIES)


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        ("where is it", "queries: wants a list of texts, one for each image, not str"),
        (None, "queries: wants a list of texts, one for each image, not NoneType"),
        (QUERIES[:1], "1 queries for 2 images"),
        ([*QUERIES, "x"], "3 queries for 2 images"),
        ([], "0 queries for 2 images"),
        (["", "x"], "the query is empty"),
        ([None, "x"], r"a query is text \(str\), not NoneType"),
    ],
)
def test_queries_are_one_an_image_at_both_ends_and_for_judges(x, queries, said):
    codec = tiny.codec("adaptive")
    message = codec.encode(x, QUERIES)
    encode, decode = (lambda: codec.encode(x, queries)), (lambda: codec.decode(message, queries))
    for ask in (encode, decode, lambda: tiny.llava().answer(x, queries)):
        with pytest.raises(QueryError, match=f"^{said}"):
            ask()


def test_a_ranking_is_one_number_a_token(x):
    codec = tiny.codec("adaptive")
    assert codec.encode(x, QUERIES, torch.rand(2, 36)).sent is not None
    for ranking in (torch.rand(2, 35), torch.rand(36), torch.ones(2, 36).long(), [1.0], torch.full((2, 36), torch.nan)):
        with pytest.raises(InputError, match="relevance: wants floats"):
            codec.encode(x, QUERIES, ranking)


def altered(message: Message, **changes) -> Message:
    """What no `Message` of typed fields would take."""
    made = Message(message.indices, message.sent)
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


MESSAGES = {
    "below": (lambda m: altered(m, indices=m.indices - 100), "wants codes from 0 to 3; given -100 to -9"),
    "above": (lambda m: altered(m, indices=m.indices + 4), "wants codes from 0 to 3; given 4 to 7"),
    "floats": (lambda m: altered(m, indices=m.indices.float()), r"wants integers, \(B, 2, 36, 4\) .*; given float32"),
    "bools": (lambda m: altered(m, indices=m.indices > 0), "wants integers, .* given bool"),
    "large integers": (lambda m: altered(m, indices=m.indices.to(torch.uint16)), "wants integers, .* given uint16"),
    "an array": (lambda m: altered(m, indices=m.indices.numpy()), "wants integers, .* given ndarray"),
    "one tap": (lambda m: Message(m.indices[:, :1], m.sent[:, :1]), r"given int64 \(2, 1, 36, 4\)"),
    "no batch": (lambda m: altered(m, indices=m.indices[0], sent=m.sent[0]), r"given int64 \(2, 36, 4\)"),
    "an empty batch": (lambda m: Message(m.indices[:0], m.sent[:0]), r"given int64 \(0, 2, 36, 4\)"),
    "sent of one tap": (
        lambda m: altered(m, sent=m.sent[:, :1]),
        r"sent: wants bool \(2, 2, 36, 4\) or None; given bool",
    ),
    "sent as numbers": (lambda m: altered(m, sent=m.sent.int()), "sent: wants bool .* given int32"),
    "all sent": (lambda m: Message(m.indices, None), "no codec sends these segments that is set to"),
    "one more token": (lambda m: Message(m.indices, m.sent | (m.sent.cumsum(2) < 1)), "no codec sends these segments"),
    "its parts": (lambda m: (m.indices, m.sent), "wants what `encode` returns; given tuple"),
    "nothing": (lambda m: None, "wants what `encode` returns; given NoneType"),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_what_is_no_message_of_the_codec(x, kind):
    change, says = MESSAGES[kind]
    codec = tiny.codec("dial", bits=100)
    message = codec.encode(x, QUERIES)
    with pytest.raises(InputError, match=says) as caught:
        codec.decode(change(message), QUERIES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("sender", "receiver"), [(200, 60), (60, 200)])
def test_a_message_of_another_setting_of_the_dial(x, sender, receiver):
    sends, draws = tiny.codec("dial", bits=sender), tiny.codec("dial", bits=receiver)
    message = sends.encode(x, QUERIES)
    with pytest.raises(
        InputError, match=rf"sent at {sends.bits:g} bits \(.*; this codec is set to {draws.bits:g} bits"
    ):
        draws.decode(message.cpu(), QUERIES)
    # a file or a link does not say the setting: more than the receiver's sends is told all the same
    if sender > receiver:
        with pytest.raises(InputError, match="no codec sends these segments"):
            draws.decode(Message(message.indices, message.sent), QUERIES)
    whole = tiny.untrained("dial", "dial")  # set to no budget
    assert torch.equal(whole.decode(message, QUERIES), sends.decode(message, QUERIES))


@pytest.mark.parametrize("name", ["uoisc", "adaptive", "dial", "dial_uniform"])
def test_what_a_link_leaves_of_a_message_is_one(x, name):
    codec = tiny.codec(name)
    message = codec.encode(x, QUERIES)
    sent = torch.ones_like(message.indices, dtype=torch.bool) if message.sent is None else message.sent
    for kept in (sent, sent & (torch.rand(sent.shape) < 0.5), torch.zeros_like(sent)):
        drawn = [codec.decode(Message(indices, kept), QUERIES) for indices in (message.indices, message.indices.int())]
        assert drawn[0].shape == x.shape and torch.equal(*drawn)


def test_spread_tokens_are_the_ones_that_both_ends_know(x):
    codec = tiny.codec("dial_uniform", bits=100)
    message = codec.encode(x, QUERIES)
    with pytest.raises(InputError, match="no codec sends these segments that is set to .* spread tokens"):
        check_message(Message(message.indices, message.sent.roll(1, dims=2)), codec.rate)


def test_types_and_shapes_are_named():
    assert described(torch.zeros(1, 2).half()) == "float16 (1, 2)" and described("x") == "str"
