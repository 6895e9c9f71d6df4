"""The channel against theory, brute force and hand-made examples."""

import math

import numpy as np
import pytest
import torch
from outage import rayleigh_bler
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import binom

from uoisc.link import channel
from uoisc.link.block_errors import BlerTable, BlockCode
from uoisc.link.channel import (
    LINKS,
    UNCODED,
    CodedLink,
    UncodedLink,
    eb_n0_db,
    fading_coefficients,
    from_bits,
    keep_prefix,
    split_segments,
    to_bits,
    transmit_bits,
)
from uoisc.link.constellations import (
    ChannelError,
    noise_variance,
    psk,
    psk_error_awgn,
    psk_error_rayleigh,
    square_qam,
)
from uoisc.message import Message

CODE = BlockCode(144, 2, "1/2")
RATES = {"awgn": psk_error_awgn, "rayleigh": psk_error_rayleigh}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def message(codes: int, sent: torch.Tensor | None = None, shape=(3, 2, 5, 4)) -> Message:
    return Message(torch.randint(codes, shape), sent)


def within_binomial(errors: int, n: int, p: float, coverage: float = 0.999) -> bool:
    """Whether a count lies in the central interval of Binomial(n, p) that holds this share of all outcomes."""
    low, high = binom.interval(coverage, n, p)
    return low <= errors <= high


@pytest.fixture(scope="module")
def table() -> BlerTable:
    return BlerTable()


# conventions


def test_eb_n0_spreads_a_symbol_over_its_payload_bits():
    assert eb_n0_db(7.0, 2, "1/2") == pytest.approx(7.0)  # one payload bit a symbol
    assert eb_n0_db(7.0, 4, "1/2") == pytest.approx(7.0 - 3.0103, abs=1e-4)
    assert eb_n0_db(7.0, 3) == pytest.approx(7.0 - 4.7712, abs=1e-4)


def test_noise_variance_is_that_of_a_complex_symbol():
    assert noise_variance(0.0) == 1.0
    assert noise_variance(20.0) == pytest.approx(0.01)
    with pytest.raises(ChannelError, match="finite"):
        noise_variance(math.nan)


def test_fading_has_unit_mean_power():
    h = fading_coefficients("rayleigh", 50_000, seeded())
    assert h.abs().square().mean().item() == pytest.approx(1.0, abs=0.02)  # standard error 1 / sqrt(50,000) = .0045
    assert fading_coefficients("awgn", 4, seeded()).tolist() == [1, 1, 1, 1]
    with pytest.raises(ChannelError, match="awgn, rayleigh"):
        fading_coefficients("rice", 1, seeded())


# constellations


MODULATIONS = [psk(1), psk(3), square_qam(2), square_qam(4), square_qam(6)]


@pytest.mark.parametrize("modulation", MODULATIONS, ids=lambda modulation: modulation.name)
def test_a_constellation_has_unit_energy_distinct_points_and_neighbours_that_differ_in_a_bit(modulation):
    points = modulation.points
    assert len(points) == 2**modulation.bits
    assert points.abs().square().mean().item() == pytest.approx(1.0, abs=1e-6)
    distance = (points[:, None] - points).abs() + 9 * torch.eye(len(points))
    for a, b in (distance < distance.min() * 1.001).nonzero().tolist():
        assert (a ^ b).bit_count() == 1
    assert distance.min() > 0.1


@pytest.mark.parametrize("modulation", MODULATIONS, ids=lambda modulation: modulation.name)
def test_the_decision_is_the_nearest_point_by_brute_force(modulation):
    y = torch.randn(20, 200, dtype=torch.complex64, generator=seeded(1))
    h = torch.randn(20, 1, dtype=torch.complex64, generator=seeded(2))
    nearest = (y[..., None] - h[..., None] * modulation.points).abs().argmin(-1)
    assert modulation.decide(h.conj() * y, h.abs().square()).equal(nearest)


@pytest.mark.parametrize("modulation", MODULATIONS, ids=lambda modulation: modulation.name)
def test_every_modulation_brings_bits_of_any_length(modulation):
    for length in (1, 2, 3, 7):
        bits = torch.randint(2, (4, length), generator=seeded())
        assert transmit_bits(bits, 60.0, "rayleigh", seeded(), modulation).equal(bits)


def test_square_qams_symbol_errors_are_those_of_its_two_axes():
    """1 - (1 - 2 (1 - 1/4) Q(sqrt(Es/N0 / 5)))^2 for 16 points on AWGN; central 99.9 % of the binomial distribution."""
    snr, n = 12.0, 40_000
    sent = torch.randint(2, (n, 4), generator=seeded())
    received = transmit_bits(sent, snr, "awgn", seeded(1), square_qam(4))
    axis = 2 * (1 - 1 / 4) * ndtr(-math.sqrt(10 ** (snr / 10) / 5))
    assert within_binomial(int((received != sent).any(1).sum()), n, 1 - (1 - axis) ** 2)


def test_links_are_named_by_what_they_are_made_of():
    titles = {"uncoded": "uncoded 8-PSK", "coded": "LDPC 1/2, QPSK", "coded_16qam": "LDPC 1/2, 16-QAM"}
    assert {name: LINKS[name].title for name in titles} == titles
    assert UNCODED.scheme == (3, "1") and LINKS["coded"].scheme == (2, "1/2")
    assert all(set(link.es_n0_db) == {"awgn", "rayleigh"} for link in LINKS.values())


@pytest.mark.parametrize("snr", [-5.0, 3.0, 10.0, 16.0])
def test_awgn_theory_is_the_phase_density_outside_the_sector(snr):
    g = 10 ** (snr / 10)

    def density(phi: float) -> float:
        c = math.cos(phi)
        return math.exp(-g) / (2 * math.pi) + math.sqrt(g / math.pi) * c * math.exp(-g * math.sin(phi) ** 2) * ndtr(
            math.sqrt(2 * g) * c
        )

    assert psk_error_awgn(snr) == pytest.approx(1 - quad(density, -math.pi / 8, math.pi / 8)[0], abs=1e-7)


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
def test_rayleigh_theory_is_the_awgn_one_averaged_over_the_fading(snr):
    mean, _ = quad(lambda power: psk_error_awgn(snr + 10 * math.log10(power)) * math.exp(-power), 1e-12, 50, limit=200)
    assert psk_error_rayleigh(snr) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("fading", "snr"),
    [("awgn", 0.0), ("awgn", 6.0), ("awgn", 12.0), ("rayleigh", 0.0), ("rayleigh", 10.0), ("rayleigh", 20.0)],
)
def test_symbol_errors_are_those_of_theory(fading, snr):
    """One symbol an image, so that symbols fade independently; central 99.9 % of the binomial distribution."""
    sent = torch.randint(8, (40_000, 1, 1, 1))
    received = UncodedLink(8, snr, fading)(Message(sent, None), seeded(1)).indices
    assert within_binomial(int((received != sent).sum()), len(sent), RATES[fading](snr))


def test_symbols_of_an_image_fade_together():
    """Two symbols fail together as often as p^2 says on AWGN, and far more often under one coefficient an image."""
    sent, together = torch.randint(8, (20_000, 1, 1, 2)), {}
    for fading, snr in (("awgn", 9.0), ("rayleigh", 15.0)):
        wrong = UncodedLink(8, snr, fading)(Message(sent, None), seeded(2)).indices != sent
        together[fading] = wrong.all(-1).double().mean().item() / wrong.double().mean().item() ** 2
    assert 0.7 < together["awgn"] < 1.3
    assert together["rayleigh"] > 2


# the uncoded link


@pytest.mark.parametrize("fading", ["awgn", "rayleigh"])
@pytest.mark.parametrize("codes", [2, 5, 16, 64])
def test_a_clean_channel_is_transparent(codes, fading):
    clear = message(codes)
    received = UncodedLink(codes, 100.0, fading)(clear, seeded())
    assert received.indices.equal(clear.indices) and received.sent is None


def test_bits_are_big_endian():
    assert to_bits(torch.tensor([6, 1]), 4).tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]
    assert from_bits(torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1]])).tolist() == [6, 1]


def test_the_seed_decides_the_errors():
    link, clear = UncodedLink(64, 8.0), message(64)
    first, again, other = (link(clear, seeded(seed)).indices for seed in (3, 3, 4))
    assert first.equal(again) and not first.equal(other) and not first.equal(clear.indices)


def test_what_was_not_sent_stays_unsent_and_costs_no_symbol(monkeypatch):
    sent = torch.rand(3, 2, 5, 4) < 0.5
    clear, link = message(16, sent), UncodedLink(16, 0.0, "awgn")
    received = link(clear, seeded())
    assert received.sent.equal(sent)
    assert received.indices[~sent].equal(clear.indices[~sent])
    changed = Message(torch.where(sent, clear.indices, (clear.indices + 1) % 16), sent)
    assert link(changed, seeded()).indices[sent].equal(received.indices[sent])

    streams = []
    monkeypatch.setattr(channel, "transmit_bits", lambda bits, *_: streams.append(bits) or bits)
    assert link(clear, seeded()).indices.equal(clear.indices)
    for image, (stream, mask) in enumerate(zip(streams[0], sent, strict=True)):
        expected = "".join(f"{index:04b}" for index in clear.indices[image][mask].tolist())
        assert "".join(map(str, stream.tolist()))[: len(expected)] == expected
        assert not stream[len(expected) :].any()


def test_an_image_with_nothing_sent_passes():
    silent = message(4, torch.zeros(3, 2, 5, 4, dtype=torch.bool))
    assert UncodedLink(4, -10.0)(silent, seeded()).indices.equal(silent.indices)


@pytest.mark.parametrize("codes", [3, 5, 48])
def test_codes_that_are_no_power_of_two_stay_in_range(codes):
    received = UncodedLink(codes, -20.0)(message(codes, shape=(50, 2, 5, 4)), seeded()).indices
    assert received.min() == 0 and received.max() == codes - 1


def test_indices_beyond_the_codes_are_refused():
    with pytest.raises(ChannelError, match="number of codes"):
        UncodedLink(4, 10.0)(Message(torch.full((1, 1, 1, 1), 4), None), seeded())


# concealment by prefix


def test_segments_are_split_in_order():
    assert split_segments(4, 2).tolist() == [0, 0, 1, 1]
    assert split_segments(8, 3).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert split_segments(3, 3).tolist() == [0, 1, 2]
    with pytest.raises(ChannelError, match="1 to 2"):
        split_segments(2, 3)


def test_what_follows_the_first_failed_block_is_dropped():
    arrived = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]]).bool()
    clear = Message(torch.zeros(4, 1, 2, 3, dtype=torch.long), None)
    kept = keep_prefix(clear, split_segments(3, 3), arrived)
    assert kept.indices is clear.indices
    for image, segments in enumerate([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]):
        assert kept.sent[image].long().tolist() == [[segments, segments]]


def test_a_prefix_never_sends_what_was_left_out():
    sent = torch.tensor([[1, 0, 1, 0]]).bool()[:, None, None]
    groups = torch.tensor([0, 0, 1, 1])
    for arrived, expected in (([1, 1], [1, 0, 1, 0]), ([1, 0], [1, 0, 0, 0]), ([0, 1], [0, 0, 0, 0])):
        kept = keep_prefix(Message(torch.zeros(1, 1, 1, 4).long(), sent), groups, torch.tensor([arrived]).bool())
        assert kept.sent.flatten().long().tolist() == expected


def test_groups_may_differ_between_tokens_and_images():
    groups = torch.tensor([[[[0, 1]]], [[[1, 0]]]])
    kept = keep_prefix(Message(torch.zeros(2, 1, 1, 2).long(), None), groups, torch.tensor([[1, 0], [1, 0]]).bool())
    assert kept.sent.long().flatten(1).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ChannelError, match="blocks 0 to 1, but 1"):
        keep_prefix(Message(torch.zeros(2, 1, 1, 2).long(), None), groups, torch.ones(2, 1).bool())


# the coded link


def test_blocks_fail_as_often_as_the_table_says(table):
    for snr in (0.5, 1.5):
        arrived = CodedLink(table, 2, "1/2", snr, "awgn").arrived([144], 5_000, seeded())
        assert within_binomial(int((~arrived).sum()), 5_000, float(table.bler(CODE, snr)))
    arrived = CodedLink(table, 2, "1/2", 10.0, "rayleigh").arrived([144], 5_000, seeded())
    assert within_binomial(int((~arrived).sum()), 5_000, rayleigh_bler(table, CODE, 10.0))


def test_what_several_blocks_carry_arrives_where_all_of_them_do(table):
    """Segmented into three of the largest blocks, where one fails in about a fifth of cases."""
    largest, n = table.largest(2, "1/2"), 5_000
    snr, rate = table.curves[largest]
    middle = float(np.interp(-1 / 3, -rate, snr))
    one = float(table.bler(largest, middle))
    assert 0.1 < one < 0.4 and table.segmented(3 * largest.k, 2, "1/2") == (largest, 3)
    arrived = CodedLink(table, 2, "1/2", middle, "awgn").arrived([3 * largest.k, largest.k], n, seeded())
    for failed, expected in zip((~arrived).sum(0).tolist(), (1 - (1 - one) ** 3, one), strict=True):
        assert within_binomial(failed, n, expected)


def test_blocks_of_an_image_fade_together(table):
    arrived = CodedLink(table, 2, "1/2", 5.0, "rayleigh").arrived([144, 144], 4_000, seeded())
    share = (~arrived).double().mean().item()
    assert (~arrived).all(1).double().mean().item() > 2 * share**2


def test_a_coded_link_is_transparent_or_silent(table):
    clear, groups = message(16), split_segments(4, 2)
    for snr, kept in ((40.0, True), (-40.0, False)):
        received = CodedLink(table, 4, "1/2", snr, "awgn")(clear, groups, [80, 80], seeded())
        assert received.indices.equal(clear.indices) and (received.sent == kept).all()


def test_one_block_an_image_is_all_or_nothing(table):
    link, groups = CodedLink(table, 2, "1/2", 1.0, "awgn"), torch.zeros(1, dtype=torch.long)
    clear = message(16, shape=(200, 1, 9, 4))
    sent = link(clear, groups, [144], seeded(5)).sent.flatten(1)
    assert (sent.all(1) == sent.any(1)).all() and 0 < sent.all(1).sum() < 200
    assert link(clear, groups, [144], seeded(5)).sent.flatten(1).equal(sent)
    assert not link(clear, groups, [144], seeded(6)).sent.flatten(1).equal(sent)
