"""Measures data/bler.csv: block error rates of 5G LDPC codes on Gray QAM, by simulation with Sionna.

    payload --> LDPC5GEncoder --> QAM --> h x + n --> y / h --> LLRs --> LDPC5GDecoder --> payload, or a block error
    (b, k)      (b, n)            (b, n/m)                      (b, n)   20 iterations

`python -m benchmarks.bler [K BITS_PER_SYMBOL CODE_RATE]` measures what `CODES` names and the table lacks, or that
one code; to measure anew, delete its rows. Conditions (ours): n = k / rate with the interleaver of 3GPP TS 38.212,
exact LLRs, Sionna's belief propagation in single precision; noise as `channel.py` states it. A curve climbs in steps
of 0.5 dB from 1.5 dB below capacity to the first point without an error, over 2,000 blocks per point (500 where all
but 1 % fail). Each point starts from the same seed: neighbours share payload and noise, so that a curve is smooth.

The few Rayleigh points are a direct simulation, one coefficient per block, which validates reading AWGN rates at a
block's own SNR: given the |h|^2 drawn, errors are those of the AWGN table (tests). This seed's |h|^2 fade less than
they should on average, so that these rows lie up to 2.7 standard deviations below the mean over |h|^2 (tests).
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from time import process_time

import torch

from uoisc.link.block_errors import BLER_TABLE, COLUMNS, BlockCode
from uoisc.link.channel import LINKS, fading_coefficients, noise_variance

# Payloads of the study: half and whole messages at its rates, and large blocks that carry files.
SIZES = (80, 144, 288, 432, 864)  # k
CODES = tuple(BlockCode(k, *link.scheme) for link in LINKS.values() if link.code_rate for k in SIZES)
RAYLEIGH = {
    BlockCode(144, 2, "1/2"): (5.0, 10.0, 15.0),
    BlockCode(432, 2, "1/2"): (10.0,),
    BlockCode(144, 4, "1/2"): (10.0, 15.0, 20.0),
    BlockCode(432, 4, "1/2"): (15.0,),
}
SEED = 2026
BATCH = 250
BLOCKS = 2000
STEP_DB = 0.5
ITERATIONS = 20
HOPELESS = 0.99
CHUNK = 25  # blocks decoded at a time: their messages fit a core's cache, 1.7 times faster than 200


class BlockSimulator:
    """Sends random payloads through encoder, QAM, channel and decoder. Sionna is imported here: it takes seconds."""

    def __init__(self, code: BlockCode):
        from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
        from sionna.phy.mapping import Demapper, Mapper

        self.k = code.k
        m = code.bits_per_symbol
        self.encoder = LDPC5GEncoder(code.k, m * code.symbols, num_bits_per_symbol=m, device="cpu")
        self.decoder = LDPC5GDecoder(self.encoder, num_iter=ITERATIONS, device="cpu")
        self.mapper = Mapper("qam", m, device="cpu")
        self.demapper = Demapper("app", "qam", m, device="cpu")

    @torch.no_grad()
    def errors(self, blocks: int, es_n0_db: float, fading: str, generator: torch.Generator) -> int:
        """How many of `blocks` differ from their payload after decoding; Es/N0 in dB, the mean over the fading."""
        payload = torch.randint(2, (blocks, self.k), generator=generator).float()
        x = self.mapper(self.encoder(payload))  # (b, S)
        h = fading_coefficients(fading, blocks, generator)[:, None]
        noise = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        y = x + math.sqrt(noise_variance(es_n0_db)) * noise / h
        variance = (noise_variance(es_n0_db) / h.abs().square()).expand(x.shape)
        chunks = self.demapper(y, variance).split(CHUNK)
        decoded = torch.cat([self.decoder(llr) for llr in chunks])
        return int((decoded != payload).any(1).sum())

    def measure(self, es_n0_db: float, fading: str) -> tuple[int, int]:
        """Blocks and block errors at one point; hopeless points stop early."""
        generator = torch.Generator().manual_seed(SEED)
        blocks = errors = 0
        while blocks < BLOCKS and not (blocks >= 2 * BATCH and errors >= HOPELESS * blocks):
            errors += self.errors(BATCH, es_n0_db, fading, generator)
            blocks += BATCH
        return blocks, errors


def measure_code(code: BlockCode) -> Iterator[dict[str, object]]:
    """The table's rows for a code: AWGN from all but 1 % failing to no error, then its Rayleigh points."""
    simulator = BlockSimulator(code)

    def row(es_n0_db: float, fading: str, blocks: int, errors: int) -> dict[str, object]:
        values = (*code, fading, es_n0_db, blocks, errors, round(errors / blocks, 6))
        return dict(zip(COLUMNS, values, strict=True))

    capacity_db = 10 * math.log10(2 ** (code.bits_per_symbol * Fraction(code.code_rate)) - 1)
    es_n0_db = math.floor((capacity_db - 1.5) / STEP_DB) * STEP_DB
    hopeless = None
    errors = 1
    while errors:
        blocks, errors = simulator.measure(es_n0_db, "awgn")
        point = row(es_n0_db, "awgn", blocks, errors)
        if errors >= HOPELESS * blocks:
            hopeless = point
        else:
            if hopeless:
                yield hopeless
                hopeless = None
            yield point
        es_n0_db += STEP_DB
    for mean_db in RAYLEIGH.get(code, ()):
        yield row(mean_db, "rayleigh", *simulator.measure(mean_db, "rayleigh"))


def main(path: Path = BLER_TABLE) -> None:
    """Adds what is missing to the table at `path`, code by code, and prints each code's CPU seconds."""
    rows = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    known = {BlockCode(int(row["k"]), int(row["bits_per_symbol"]), row["code_rate"]) for row in rows}
    wanted = (BlockCode(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]),) if sys.argv[1:] else CODES
    for code in [code for code in wanted if code not in known]:
        start = process_time()
        rows += measure_code(code)
        rows.sort(key=lambda row: (row["code_rate"], *(float(row[c]) for c in COLUMNS[:2]), row["fading"]))
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{code}: {process_time() - start:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
