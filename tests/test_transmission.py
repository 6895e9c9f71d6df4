"""What arrives of messages and files: block by block, byte by byte, and what the receiver then draws."""

import math

import numpy as np
import pytest
import tiny
import torch
from away import away

from uoisc.data.images import BLANK_GREY, from_bytes, to_bytes
from uoisc.link.block_errors import BlerTable
from uoisc.link.channel import QAM16, QPSK
from uoisc.message import Message
from uoisc.rate import Packing
from uoisc.rivals.standard_codecs import JPEG2000, WEBP
from uoisc.rivals.transmission import LOST, FileSender, MessageSender

N = 6
CLEAN, HOPELESS = 60.0, -40.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def table() -> BlerTable:
    return BlerTable()


def messages(name: str, table: BlerTable) -> tuple[MessageSender, Message]:
    codec, texts = tiny.codec(name), tiny.queries(N)
    message = codec.encode(tiny.images(N), texts)
    return MessageSender(codec, message, texts, table), message


def files(table: BlerTable, codec=JPEG2000, quality: int = 190, protected: int = 0) -> FileSender:
    images = to_bytes(tiny.images(N))
    return FileSender(codec, [codec.encode(image, quality) for image in images], images.shape[1:3], table, protected)


# messages


@pytest.mark.parametrize("name", ["uoisc", "adaptive", "dial"])
def test_without_errors_the_receiver_draws_what_the_codec_draws(table, name):
    sender, message = messages(name, table)
    expected = sender.codec.decode(message, sender.queries)
    for arrival in (
        sender.prefix(None),
        sender.uncoded(CLEAN, "awgn", seeded()),
        sender.coded(CLEAN, "awgn", seeded()),
    ):
        torch.testing.assert_close(sender.draw(range(N), arrival.contents), expected, rtol=0, atol=0)
        assert all(values.min() == values.max() in (0, 1) for k, values in arrival.measures.items() if k != "symbols")


@pytest.mark.parametrize("name", ["uoisc", "adaptive"])
def test_a_gpus_messages_cross_the_link_alike(table, name):
    sender, message = messages(name, table)
    there = Message(away(message.indices), None if message.sent is None else away(message.sent))
    other = MessageSender(sender.codec, there, sender.queries, table)
    assert other.block_bits == sender.block_bits
    assert other.uncoded(5.0, "rayleigh", seeded()).contents == sender.uncoded(5.0, "rayleigh", seeded()).contents
    assert other.coded(1.0, "awgn", seeded()).contents == sender.coded(1.0, "awgn", seeded()).contents


def test_a_block_holds_half_of_the_segments_and_block_0_the_map(table):
    sender, message = messages("adaptive", table)
    rate, width = sender.codec.rate, math.log2(sender.codec.quantizer.codes)
    assert sender.block_bits[0] == message.sent[0, ..., 0].sum() * width + rate.side_bits
    assert sender.block_bits[1] == message.sent[0, ..., 1].sum() * width
    assert sum(sender.block_bits) == sender.bits == rate.bits
    assert sum(messages("uoisc", table)[0].block_bits) == tiny.codec("uoisc").bits


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("level", range(2, 9))
def test_a_dial_without_its_second_block_shows_a_prefix_of_each_tokens_units(table, level, background):
    dial = tiny.untrained("dial", "dial")
    texts, packing = tiny.queries(N), Packing(dial.rate.shape, 4, level, background)
    codec = dial.packed(packing)
    sender = MessageSender(codec, codec.encode(tiny.images(N), texts), texts, table)
    assert len(sender.block_bits) == min(2, -(-level // dial.rate.shape.taps)), "a single segment is a single block"
    assert all(bits > 0 for bits in sender.block_bits) and sum(sender.block_bits) == sender.bits == packing.bits
    some = sender.coded(CLEAN, "awgn", seeded()), sender.coded(CLEAN, "awgn", seeded(), link=QAM16)
    assert all(arrival.contents == sender.prefix(None).contents for arrival in some)
    order = dial.rate.shape.order[:, None, :].numpy()
    for content in sender.prefix(1).contents:
        kept = np.frombuffer(content, np.int32).reshape(sender.message.indices.shape[1:]) >= 0
        units = kept.sum((0, 2))[None, :, None]  # of each token
        assert (kept == (order < units)).all() and 0 < kept.sum() <= sender.message.sent[0].sum()


def test_16_qam_sends_half_the_symbols_and_needs_a_better_link(table):
    sender, _ = messages("uoisc", table)
    twice, once = (sender.coded(5.0, "awgn", seeded(), link) for link in (QPSK, QAM16))
    assert (twice.measures["symbols"] == 2 * once.measures["symbols"]).all()
    assert twice.measures["arrived"].mean() == 1 > once.measures["arrived"].mean()


def test_a_lost_second_block_leaves_the_first_segments_and_zeros(table):
    sender, message = messages("uoisc", table)
    first = message.indices.clone()
    sent = torch.zeros_like(first, dtype=torch.bool)
    sent[..., 0] = True  # the tiny codec has two segments
    expected = sender.codec.decode(Message(first, sent), sender.queries)
    torch.testing.assert_close(sender.draw(range(N), sender.prefix(1).contents), expected, rtol=0, atol=0)
    silent = sender.prefix(0)
    assert silent.contents == sender.coded(HOPELESS, "awgn", seeded()).contents and len(set(silent.contents)) == 1
    assert len({*sender.prefix(None).contents, *sender.prefix(1).contents, *silent.contents}) == 2 * N + 1


def test_wrong_indices_are_counted_among_those_that_were_sent(table):
    sender, message = messages("adaptive", table)
    arrival = sender.uncoded(0.0, "awgn", seeded(3))
    shape = message.indices.shape[1:]
    received = np.stack([np.frombuffer(content, np.int32).reshape(shape) for content in arrival.contents])
    sent = message.sent.numpy()
    assert (received[~sent] == -1).all()
    wrong = [(received[i] != message.indices[i].numpy())[sent[i]].mean() for i in range(N)]
    assert arrival.measures["index_errors"] == pytest.approx(wrong) and 0.1 < np.mean(wrong) < 0.95
    assert arrival.measures["symbols"].tolist() == [math.ceil(sender.bits / 3)] * N


def test_what_arrives_is_the_share_of_the_indices_that_the_decoder_has(table):
    sender, message = messages("uoisc", table)
    arrival = sender.coded(1.0, "awgn", seeded(1))
    kept = [(np.frombuffer(content, np.int32) >= 0).mean() for content in arrival.contents]
    assert arrival.measures["arrived"] == pytest.approx(kept) and 0 < np.mean(kept) < 1
    assert {0.0, 0.5, 1.0} >= set(kept)
    blocks = [table.code(bits, 2, "1/2").k for bits in sender.block_bits]
    assert arrival.measures["symbols"].tolist() == [sum(blocks)] * N  # QPSK at rate 1/2: a symbol a bit


# files


def test_a_clean_link_gives_the_file_and_its_picture(table):
    sender = files(table)
    expected = torch.cat([from_bytes(JPEG2000.decode(file)[None]) for file in sender.files])
    arrivals = [sender.prefix(None), *(over(CLEAN, "rayleigh", seeded()) for over in (sender.uncoded, sender.coded))]
    for arrival in arrivals:
        assert arrival.contents == sender.files
        assert sender.draw(range(N), arrival.contents).equal(expected)
    assert sender.bits == np.mean([8 * len(file) for file in sender.files])


def test_a_file_that_is_no_picture_any_more_is_grey_and_counted(table):
    sender = files(table)
    arrival = sender.uncoded(0.0, "awgn", seeded())
    assert arrival.contents == [LOST] * N and (arrival.measures["undecodable"] == 1).all()
    assert (sender.draw(range(N), arrival.contents) == BLANK_GREY).all()
    assert sender.prefix(0).contents == arrival.contents == sender.coded(HOPELESS, "awgn", seeded()).contents


def test_a_picture_of_another_size_is_lost(table):
    sender, other = files(table, WEBP, 20), WEBP.encode(np.zeros((48, 96, 3), dtype=np.uint8), 20)
    assert sender._picture(sender.files[0]) is not None and sender._picture(other) is None


def test_protected_bytes_and_the_end_marker_arrive(table):
    """Every other byte is wrong as often as eight bits at the bit error rate of a hopeless link: nearly always."""
    sender = files(table, protected=50)
    sender._picture = lambda file: True  # every file counts as a picture: its bytes are looked at
    arrival = sender.uncoded(-30.0, "awgn", seeded())
    shares = []
    for received, file in zip(arrival.contents, sender.files, strict=True):
        assert len(received) == len(file) and received[:50] == file[:50] and received[-2:] == JPEG2000.end
        wrong = np.frombuffer(received, np.uint8) != np.frombuffer(file, np.uint8)
        assert wrong[50:-2].mean() > 0.95
        shares.append(wrong.mean())
    assert arrival.measures["byte_errors"] == pytest.approx(shares)


def test_a_file_needs_all_of_its_own_blocks_and_no_more(table, monkeypatch):
    sender = files(table, quality=220)
    sender.lengths = np.array([100, 108, 109, 216, 217, 324])  # of blocks of 864 bits: 1, 1, 2, 2, 3, 3
    arrived = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]]).bool()
    monkeypatch.setattr("uoisc.rivals.transmission.CodedLink.arrived", lambda *_: arrived)
    arrival = sender.coded(5.0, "awgn", seeded())
    assert arrival.measures["arrived"].tolist() == [1, 0, 1, 0, 1, 0]
    assert [content != LOST for content in arrival.contents] == [True, False, True, False, True, False]
    assert arrival.measures["symbols"].tolist() == [864 * blocks for blocks in (1, 1, 2, 2, 3, 3)]


# both


def test_fading_is_the_same_for_every_sender(table):
    """Without noise to speak of two senders' payloads die where their common fading coefficient is small."""
    senders = [messages("uoisc", table)[0], messages("adaptive", table)[0], files(table)]
    arrived = [sender.coded(4.0, "rayleigh", seeded(5)).measures["arrived"] for sender in senders]
    gain = torch.randn(N, dtype=torch.complex64, generator=seeded(5)).abs().square()
    deep = (10 * gain.log10() + 4.0 < -1).numpy()
    high = (10 * gain.log10() + 4.0 > 4).numpy()
    assert deep.any() and high.any()
    for shares in arrived:
        assert (shares[deep] == 0).all() and (shares[high] == 1).all()
