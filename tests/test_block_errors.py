"""The block error table: complete, read right, against direct simulation on fading and a live run of its generator."""

import csv
import math

import numpy as np
import pytest
import torch
from outage import rayleigh_bler
from scipy.stats import binom, fisher_exact

from benchmarks.bler import BATCH, BLOCKS, CODES, HOPELESS, SEED, BlockSimulator
from uoisc.link.block_errors import BLER_TABLE, COLUMNS, BlerError, BlerTable, BlockCode
from uoisc.link.channel import fading_coefficients

CODE = BlockCode(144, 2, "1/2")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def table() -> BlerTable:
    return BlerTable()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with BLER_TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_its_generator_names(table, rows):
    assert set(table.curves) == set(CODES)
    assert tuple(rows[0]) == COLUMNS
    for row in rows:
        blocks, errors = int(row["blocks"]), int(row["errors"])
        assert float(row["bler"]) == pytest.approx(errors / blocks, abs=1e-6)
        assert blocks >= BLOCKS or errors >= HOPELESS * blocks


def test_curves_fall_from_failing_to_clean(table):
    for code, (snr, rate) in table.curves.items():
        assert rate[0] >= HOPELESS and rate[-1] == 0 and (np.diff(rate) <= 0).all(), code
        fine = table.bler(code, np.linspace(snr[0] - 3, snr[-1] + 3, 500))
        assert (np.diff(fine) <= 0).all() and fine[0] == 1 and fine[-1] == 0


def test_lookup_is_exact_at_measured_points_and_log_linear_between(table):
    for code, (snr, rate) in table.curves.items():
        np.testing.assert_allclose(table.bler(code, snr), rate, atol=1e-12)
        middle = table.bler(code, (snr[1:] + snr[:-1]) / 2)
        np.testing.assert_allclose(middle[:-1], np.sqrt(rate[1:-1] * rate[:-2]))
        assert middle[-1] == pytest.approx(rate[-2] / 2)


def test_longer_or_denser_or_faster_codes_order_as_they_must(table):
    """At the middle of the QPSK curve 16-QAM fails more; past its waterfall a longer block fails less."""
    assert table.bler(CODE, 1.0) < table.bler(BlockCode(144, 4, "1/2"), 1.0)
    assert table.bler(BlockCode(864, 2, "1/2"), 2.0) < table.bler(CODE, 2.0)


def replayed_power(code: BlockCode) -> np.ndarray:
    """|h|^2 of every block of a directly simulated Rayleigh point: the draws of `BlockSimulator.errors`, in order."""
    generator, power = seeded(SEED), []
    for _ in range(BLOCKS // BATCH):
        torch.randint(2, (BATCH, code.k), generator=generator)
        power.append(fading_coefficients("rayleigh", BATCH, generator).abs().square())
        torch.randn(BATCH, 2 * code.k // code.bits_per_symbol, dtype=torch.complex64, generator=generator)
    return torch.cat(power).double().numpy()


def test_rayleigh_blocks_fail_as_on_awgn_at_their_own_snr(table, rows):
    """Direct simulation against the AWGN table, given the very coefficients that were drawn: 4 standard deviations.

    Against `rayleigh_bler`, which does not know them, the central 99.9 % of the binomial distribution.
    """
    direct = [row for row in rows if row["fading"] == "rayleigh"]
    assert direct
    for row in direct:
        code = BlockCode(int(row["k"]), int(row["bits_per_symbol"]), row["code_rate"])
        snr, errors = float(row["es_n0_db"]), int(row["errors"])
        rates = table.bler(code, snr + 10 * np.log10(replayed_power(code)))
        assert abs(errors - rates.sum()) <= 4 * math.sqrt((rates * (1 - rates)).sum()), row
        low, high = binom.interval(0.999, int(row["blocks"]), rayleigh_bler(table, code, snr))
        assert low <= errors <= high, row


def test_rayleigh_average_is_the_mean_over_drawn_coefficients(table):
    """Monte Carlo over 500,000 coefficients, 4 standard errors."""
    power = fading_coefficients("rayleigh", 500_000, seeded(8)).abs().square().double().numpy()
    for code in table.curves:
        rates = table.bler(code, 12.0 + 10 * np.log10(power))
        assert abs(rates.mean() - rayleigh_bler(table, code, 12.0)) <= 4 * rates.std() / math.sqrt(len(rates)), code


def test_rayleigh_average_of_a_step_is_an_outage(tmp_path):
    path = tmp_path / "bler.csv"
    path.write_text(",".join(COLUMNS) + "\n144,2,1/2,awgn,3.0,500,500,1\n144,2,1/2,awgn,3.001,500,0,0\n")
    outage = 1 - math.exp(-(10 ** ((3 - 12) / 10)))
    assert rayleigh_bler(BlerTable(path), CODE, 12.0) == pytest.approx(outage, rel=1e-3)


def test_a_block_costs_its_coded_bits_in_whole_symbols():
    assert [BlockCode(k, m, rate).symbols for k, m, rate in ((144, 2, "1/2"), (80, 4, "1/2"), (10, 4, "1/3"))] == [
        144, 40, 8]  # fmt: skip


def test_payloads_take_the_next_block(table):
    assert [table.code(bits, 2, "1/2").k for bits in (1, 144, 145, 423, 864)] == [80, 144, 288, 432, 864]
    assert table.largest(2, "1/2") == BlockCode(864, 2, "1/2")


def test_a_payload_above_the_largest_block_is_segmented_into_equal_ones(table):
    """11,616 bits are half of a tight message of 22 x 22 tokens: fourteen blocks of 830 bits and their filler."""
    expected = {80: (80, 1), 145: (288, 1), 864: (864, 1), 865: (864, 2), 864 * 3 + 1: (864, 4), 11_616: (864, 14)}
    for bits, (k, blocks) in expected.items():
        assert table.segmented(bits, 2, "1/2") == (BlockCode(k, 2, "1/2"), blocks)
    with pytest.raises(BlerError):
        table.segmented(0, 2, "1/2")


@pytest.mark.parametrize(
    "ask",
    [
        lambda table: table.bler(BlockCode(145, 2, "1/2"), 1.0),
        lambda table: table.bler(BlockCode(144, 6, "1/2"), 1.0),
        lambda table: table.bler(BlockCode(144, 2, "5/6"), 1.0),
        lambda table: table.code(865, 2, "1/2"),
        lambda table: table.code(0, 2, "1/2"),
        lambda table: table.largest(2, "5/6"),
    ],
)
def test_what_was_not_measured_is_one_clear_line(table, ask):
    with pytest.raises(BlerError) as error:
        ask(table)
    line = str(error.value)
    assert "\n" not in line
    assert "measured: k = 80, 144, 288, 432, 864 at 2 bits, rate 1/" in line and "python -m benchmarks.bler" in line


def test_a_broken_table_is_one_clear_line(tmp_path):
    path = tmp_path / "bler.csv"
    with pytest.raises(BlerError, match="not there"):
        BlerTable(path)
    header = ",".join(COLUMNS)
    for text in (
        "k,bler\n144,0.5\n",
        f"{header}\n144,2,1/2,awgn,x,500,500,1\n",
        f"{header}\n144,2,1/2,awgn,1.0,0,0,1\n",
        f"{header}\n144,2,1/2,awgn,1.0,500,500,1\n",
    ):
        path.write_text(text)
        with pytest.raises(BlerError, match="git checkout"):
            BlerTable(path)


def test_the_table_agrees_with_a_live_simulation(rows):
    """One point, 300 blocks of another seed: Fisher's exact test of equal rates at 0.1 %."""
    pytest.importorskip("sionna")
    row = next(r for r in rows if tuple(r.values())[:5] == ("144", "2", "1/2", "awgn", "1.0"))
    errors = BlockSimulator(CODE).errors(300, 1.0, "awgn", seeded(7))
    measured = int(row["errors"]), int(row["blocks"]) - int(row["errors"])
    assert fisher_exact([[errors, 300 - errors], measured]).pvalue > 1e-3
