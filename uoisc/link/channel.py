"""The air between transmitter and receiver: the authors' uncoded 8-PSK link, and 5G LDPC blocks that fail whole.

    indices --> bits --> 8-PSK --> h x + n --> y / h --> nearest point --> bits --> indices     UncodedLink
                (B, L)   (B, S)    one h per image       hard decisions    (B, L)

    bits of block 1 ... P --> LDPC + QAM, measured in data/bler.csv --> arrived --> prefix kept  CodedLink
    (first segments first)    failures drawn at the image's own SNR     (B, P)      (B, M, N, G)

Noise convention, per complex symbol: symbols have unit mean energy, noise is circular complex Gaussian of variance
N0 = 10^(-EsN0/10), N0/2 per real dimension. Rayleigh fading is block fading: one h ~ CN(0, 1) per image, which the
receiver knows; Es/N0 is then the mean over h. Eb is the energy of a payload bit: Eb/N0 = Es/N0 / (m R) for m bits per
symbol at code rate R.

`LINKS` is the one list of links: the channel stage, the generator of block error rates, figures and tables follow it.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Bool, Complex, Int
from torch import Tensor

from uoisc.link.block_errors import BlerTable
from uoisc.link.constellations import ChannelError, Modulation, noise_variance, psk, square_qam
from uoisc.message import Message

FADINGS = ("awgn", "rayleigh")


def eb_n0_db(es_n0_db: float, bits_per_symbol: int, code_rate: str = "1") -> float:
    """Eb/N0 in dB of a payload bit from Es/N0 in dB; the code rate is a fraction such as "1/2", "1" if uncoded."""
    return es_n0_db - 10 * math.log10(bits_per_symbol * Fraction(code_rate))


def seeded(name: str) -> torch.Generator:
    """Draws that a name alone decides: the same fading for all that crosses under it, and the same noise if as long."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def fading_coefficients(fading: str, images: int, generator: torch.Generator) -> Complex[Tensor, " B"]:
    """One coefficient h per image: 1 for "awgn", CN(0, 1) for "rayleigh". Raises ChannelError for another name."""
    if fading not in FADINGS:
        raise ChannelError(f"fading is '{fading}'; choose one of {', '.join(FADINGS)}")
    if fading == "awgn":
        return torch.ones(images, dtype=torch.complex64, device=generator.device)
    return torch.randn(images, dtype=torch.complex64, generator=generator, device=generator.device)


def to_bits(values: Int[Tensor, "*n"], width: int) -> Int[Tensor, "*n width"]:
    """Big-endian bits (0 or 1) of integers in [0, 2^width)."""
    return (values[..., None] >> torch.arange(width - 1, -1, -1, device=values.device)) & 1


def from_bits(bits: Int[Tensor, "*n width"]) -> Int[Tensor, "*n"]:
    """Integers from big-endian bits: the inverse of `to_bits`."""
    width = bits.shape[-1]
    return (bits << torch.arange(width - 1, -1, -1, device=bits.device)).sum(-1)


@dataclass(frozen=True)
class Link:
    """A way through the air: a modulation, and the 5G LDPC code that protects it.

    code_rate: a fraction such as "1/2", of which data/bler.csv holds measurements; None: uncoded.
    es_n0_db: the Es/N0 in dB at which the channel stage measures, by fading: around each cliff.
    """

    modulation: Modulation
    code_rate: str | None
    es_n0_db: dict[str, tuple[int | float, ...]]

    @property
    def title(self) -> str:
        """Its name in figures and tables."""
        return f"LDPC {self.code_rate}, {self.modulation.name}" if self.code_rate else f"uncoded {self.modulation.name}"

    @property
    def scheme(self) -> tuple[int, str]:
        """Bits per symbol and code rate, as `BlerTable` and `eb_n0_db` take them."""
        return self.modulation.bits, self.code_rate or "1"


PSK8 = psk(3)  # authors' code
FADED_DB = (0, 5, 10, 15, 20, 25, 30)
UNCODED = Link(PSK8, None, {"awgn": (0, 5, 8, 10, 12, 15, 17, 20), "rayleigh": FADED_DB})
QPSK = Link(square_qam(2), "1/2", {"awgn": (0, 0.5, 1, 1.5, 2, 3, 5, 10, 15, 20), "rayleigh": FADED_DB})
QAM16 = Link(square_qam(4), "1/2", {"awgn": (5, 5.5, 6, 6.5, 7, 7.5, 8, 10, 15, 20), "rayleigh": FADED_DB})
LINKS = {"uncoded": UNCODED, "coded": QPSK, "coded_16qam": QAM16}  # by the name in channel.csv; the coded ones are ours


def transmit_bits(
    bits: Int[Tensor, "B L"], es_n0_db: float, fading: str, generator: torch.Generator, modulation: Modulation = PSK8
) -> Int[Tensor, "B L"]:
    """Hard-decided bits after an uncoded link (authors' code: 8-PSK, one antenna, known channel).

    y = h x + n, one h per row; the receiver takes the symbol nearest to y / h. The last symbol is padded with zeros.

    Args:
        bits: 0 or 1, one row per image. es_n0_db: mean Es/N0 in dB. fading: "awgn" or "rayleigh".
        generator: draws h and n, on its own device, so that a seed gives the same errors wherever `bits` lie.

    Raises ChannelError where the fading is unknown or `es_n0_db` not finite.
    """
    images, length = bits.shape
    width = modulation.bits
    padded = torch.nn.functional.pad(bits, (0, -length % width)).unflatten(1, (-1, width))  # (B, S, m)
    x = modulation.points.to(bits.device)[from_bits(padded)]  # (B, S)
    h = fading_coefficients(fading, images, generator)[:, None].to(bits.device)  # (B, 1)
    noise = torch.randn(x.shape, dtype=x.dtype, generator=generator, device=generator.device).to(bits.device)
    y = h * x + math.sqrt(noise_variance(es_n0_db)) * noise  # (B, S)
    label = modulation.decide(h.conj() * y, h.abs().square())
    return to_bits(label, width).flatten(1)[:, :length].to(bits.dtype)


@dataclass(frozen=True)
class UncodedLink:
    """The authors' link: ceil(log2 K) bits per index, uncoded, errors reach the decoder as wrong indices.

    At K = 64 an index is two symbols of 8-PSK. The bits of an image's sent segments form one stream in the order tap,
    token, segment; what was not sent costs no symbol. Side information (which segments were sent) is taken to arrive.
    A pattern beyond K - 1, possible where K is no power of two, is read as K - 1 (ours).

    Args:
        codes: K, at least 2. es_n0_db: mean Es/N0 in dB. fading: "awgn" or "rayleigh".
    """

    codes: int
    es_n0_db: float
    fading: str = "rayleigh"
    modulation: Modulation = PSK8

    def __call__(self, message: Message, generator: torch.Generator) -> Message:
        """The received message: indices in [0, K), `sent` as it was; indices that were not sent are unchanged.

        Raises ChannelError where an index lies outside [0, K), the fading is unknown or the SNR not finite.
        """
        indices = message.indices
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.codes:
            raise ChannelError(f"an index lies outside [0, {self.codes}); give the channel the codec's number of codes")
        stream = indices.flatten(1)  # (B, M N G)
        sent = message.mask.flatten(1)
        order = (~sent).to(torch.uint8).argsort(dim=1, stable=True)  # sent segments first
        bits = to_bits((stream * sent).gather(1, order), math.ceil(math.log2(self.codes)))  # (B, M N G, width)
        received = transmit_bits(bits.flatten(1), self.es_n0_db, self.fading, generator, self.modulation)
        values = from_bits(received.view_as(bits)).clamp(max=self.codes - 1)
        arrived = torch.empty_like(stream).scatter_(1, order, values)
        return Message(torch.where(sent, arrived, stream).view_as(indices), message.sent)


def split_segments(segments: int, blocks: int) -> Int[Tensor, " G"]:
    """The block 0..P-1 of each segment: P runs of segments, first first, whose lengths differ by one at most.

    Raises ChannelError where there are fewer segments than blocks, or no block.
    """
    if not 1 <= blocks <= segments:
        raise ChannelError(f"{segments} segments cannot fill {blocks} blocks; ask for 1 to {segments} blocks")
    return torch.arange(segments) * blocks // segments


def keep_prefix(message: Message, groups: Int[Tensor, "..."], arrived: Bool[Tensor, "B P"]) -> Message:
    """The message up to an image's first failed block: later segments count as not sent, so the decoder sees zeros.

    Args:
        groups: block 0..P-1 that carries each segment, of a shape that broadcasts to (B, M, N, G).
        arrived: whether each block was decoded.

    Raises ChannelError where a segment's block is not among the P.
    """
    first, last = torch.stack(groups.aminmax()).tolist()
    if not 0 <= first <= last < arrived.shape[1]:
        raise ChannelError(f"segments lie in blocks {first} to {last}, but {arrived.shape[1]} were sent")
    prefix = arrived.long().cumprod(1).bool().to(message.indices.device)  # (B, P)
    groups = groups.to(prefix.device).expand_as(message.indices)
    kept = prefix.gather(1, groups.flatten(1)).view_as(groups)  # (B, M, N, G)
    return Message(message.indices, message.mask & kept)


@dataclass(frozen=True)
class CodedLink:
    """5G LDPC + QAM: an image's blocks arrive whole or not at all (ours), each with all that it was segmented into.

    Every failure is taken to be detected and no bit is counted for it: the parity checks of the LDPC code flag a
    decoder that did not converge, and a CRC of 16 bits (3GPP TS 38.212 for payloads this short) would add 11 % at
    k = 144 and 2 % at k = 864. All blocks of an image see its one fading coefficient; given that, failures are
    independent, with the rate that was measured on AWGN at |h|^2 Es/N0.

    Args:
        table: measured block error rates. bits_per_symbol: 2 is QPSK, 4 is 16-QAM. code_rate: such as "1/2".
        es_n0_db: mean Es/N0 in dB. fading: "awgn" or "rayleigh".
    """

    table: BlerTable
    bits_per_symbol: int
    code_rate: str
    es_n0_db: float
    fading: str = "rayleigh"

    def arrived(self, block_bits: Sequence[int], images: int, generator: torch.Generator) -> Bool[Tensor, "B P"]:
        """Which of an image's P blocks arrive, for a payload of `block_bits[p]` bits in block p.

        Raises ChannelError where the fading is unknown or the SNR not finite, BlerError for a payload without bits.
        """
        gain = fading_coefficients(self.fading, images, generator).abs().square().double().cpu().numpy()
        snr = 10 * np.log10(gain.clip(min=1e-30) / noise_variance(self.es_n0_db))  # (B,)
        codes = [self.table.segmented(bits, self.bits_per_symbol, self.code_rate) for bits in block_bits]
        failed = [self.table.bler(code, snr) for code, _ in codes]
        whole = [p if n == 1 else 1 - (1 - p) ** n for p, (_, n) in zip(failed, codes, strict=True)]
        rates = torch.from_numpy(np.stack(whole, axis=1))  # (B, P)
        draws = torch.rand(rates.shape, generator=generator, dtype=rates.dtype, device=generator.device)
        return draws.cpu() >= rates

    def __call__(
        self, message: Message, groups: Int[Tensor, "..."], block_bits: Sequence[int], generator: torch.Generator
    ) -> Message:
        """The message as far as it arrived: `groups` and errors as in `keep_prefix`, `block_bits` as in `arrived`.

        One block per image is `groups = torch.zeros(1, dtype=torch.long)` with one entry in `block_bits`.
        """
        return keep_prefix(message, groups, self.arrived(block_bits, len(message.indices), generator))
