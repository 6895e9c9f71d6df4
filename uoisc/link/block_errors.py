"""Block error rates of 5G LDPC codes, read from the measured table data/bler.csv (its generator: benchmarks/bler.py).

data/bler.csv --> BlerTable.bler(code, Es/N0 of the image) --> does the block arrive?   `channel.CodedLink`
"""

import csv
import math
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uoisc.base.errors import UoiscError
from uoisc.base.folders import ROOT, readable

BLER_TABLE = ROOT / "data" / "bler.csv"
COLUMNS = ("k", "bits_per_symbol", "code_rate", "fading", "es_n0_db", "blocks", "errors", "bler")


class BlerError(UoiscError):
    """The table of block error rates cannot be read, or lacks what was asked."""


class BlockCode(NamedTuple):
    """A 5G LDPC block of k payload bits on QAM with `bits_per_symbol`; the code rate is a fraction such as "1/2"."""

    k: int
    bits_per_symbol: int
    code_rate: str

    @property
    def symbols(self) -> int:
        """Channel symbols of a block, ceil(k / (m R)), whatever part of its k bits is filler."""
        return math.ceil(self.k / Fraction(self.code_rate) / self.bits_per_symbol)


class BlerTable:
    """Measured block error rates of 5G LDPC codes on AWGN (ours; generator and conditions: benchmarks/bler.py).

    Between two measured points log BLER is linear in dB; plain BLER where the upper point saw no error. Every curve
    starts where nearly all blocks fail and ends at a point without an error: below it the rate is 1, above it 0.

    Args:
        path: a CSV with the columns `COLUMNS`; its Rayleigh rows validate the AWGN ones (tests).

    Raises BlerError where the file or a column is missing, or a number cannot be read.
    """

    def __init__(self, path: Path = BLER_TABLE):
        restore = "restore it with `git checkout -- data/bler.csv`"
        readable(path, restore, BlerError)
        curves = defaultdict(list)
        with path.open(newline="", encoding="utf-8") as file:
            try:
                for row in csv.DictReader(file):
                    code = BlockCode(int(row["k"]), int(row["bits_per_symbol"]), row["code_rate"])
                    if row["fading"] == "awgn":
                        curves[code].append((float(row["es_n0_db"]), int(row["errors"]) / int(row["blocks"])))
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise BlerError(f"{path}: unreadable ({error!r}); {restore}") from None
        self.curves = {code: np.array(sorted(points)).T for code, points in sorted(curves.items())}  # (2, points)
        for code, (_, rate) in self.curves.items():
            if rate[0] < 0.98 or rate[-1] > 0:
                raise BlerError(f"{path}: the curve of {tuple(code)} lacks its start or its end; {restore}")

    def code(self, bits: int, bits_per_symbol: int, code_rate: str) -> BlockCode:
        """The smallest measured block that holds a payload of `bits`; the rest of it is filler, and is sent.

        Raises BlerError where no block is that large, or nothing was measured for this modulation and rate.
        """
        codes = [code for code in self._codes(bits_per_symbol, code_rate) if code.k >= bits > 0]
        if not codes:
            raise self._unmeasured(f"a payload of {bits} bits", bits_per_symbol, code_rate)
        return min(codes)

    def segmented(self, bits: int, bits_per_symbol: int, code_rate: str) -> tuple[BlockCode, int]:
        """The code of a payload's blocks, and how many: one where a block holds it, else as few equal ones as can, as
        5G segments what is too long for its largest block (TS 38.212, 5.2.2).

        Raises BlerError as `code`.
        """
        blocks = max(1, -(-bits // self.largest(bits_per_symbol, code_rate).k))
        return self.code(-(-bits // blocks), bits_per_symbol, code_rate), blocks

    def largest(self, bits_per_symbol: int, code_rate: str) -> BlockCode:
        """The largest measured block. Raises BlerError where nothing was measured for this modulation and rate."""
        codes = self._codes(bits_per_symbol, code_rate)
        if not codes:
            raise self._unmeasured("any k", bits_per_symbol, code_rate)
        return max(codes)

    def bler(self, code: BlockCode, es_n0_db: float | np.ndarray) -> np.ndarray:
        """Block error rate in [0, 1] on AWGN at each Es/N0 in dB. Raises BlerError where `code` was not measured."""
        if code not in self.curves:
            raise self._unmeasured(f"k = {code.k}", code.bits_per_symbol, code.code_rate)
        snr, rate = self.curves[code]
        plain = np.interp(es_n0_db, snr, rate, left=1.0, right=0.0)
        logarithmic = np.exp(np.interp(es_n0_db, snr, np.log(rate.clip(min=1e-12)), left=0.0))
        return np.where(np.asarray(es_n0_db) <= snr[rate > 0].max(), logarithmic, plain)

    def _codes(self, *scheme: int | str) -> list[BlockCode]:
        return [code for code in self.curves if code[1:] == scheme]

    def _unmeasured(self, what: str, bits_per_symbol: int, code_rate: str) -> BlerError:
        schemes = defaultdict(list)
        for k, m, rate in self.curves:
            schemes[f"{m} bits, rate {rate}"].append(str(k))
        measured = "; ".join(f"k = {', '.join(ks)} at {scheme}" for scheme, ks in schemes.items())
        return BlerError(
            f"no block error rate for {what} at {bits_per_symbol} bits per symbol, rate {code_rate}; measured: "
            f"{measured}; choose one, split the payload, or measure more: "
            "`python -m benchmarks.bler K BITS_PER_SYMBOL CODE_RATE`"
        )
