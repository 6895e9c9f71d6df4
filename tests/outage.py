"""The mean block error rate of a fading link, by integration: what drawn and simulated ones are held against."""

import numpy as np

from uoisc.link.block_errors import BlerTable, BlockCode


def rayleigh_bler(table: BlerTable, code: BlockCode, es_n0_db: float) -> float:
    """The AWGN rate averaged over the exponential distribution of |h|^2, at the mean Es/N0 in dB."""
    snr, _ = table.curves[code]
    edges = np.linspace(snr[0], snr[-1], 2001)
    below = 1 - np.exp(-(10 ** ((edges - es_n0_db) / 10)))  # P(the image's own SNR < edge)
    middle = table.bler(code, (edges[1:] + edges[:-1]) / 2)
    return float(below[0] + (middle * np.diff(below)).sum())
