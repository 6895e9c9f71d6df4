"""Constellations with Gray labels, and how often a symbol is taken for another one.

bits --> label --points--> x --> z = conj(h) y, |h|^2 --decide--> label --> bits
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from uoisc.base.errors import UoiscError


class ChannelError(UoiscError):
    """A channel's parameter is impossible."""


def noise_variance(es_n0_db: float) -> float:
    """N0 = 10^(-EsN0/10) of a complex symbol of unit energy. Raises ChannelError where `es_n0_db` is not finite."""
    if not math.isfinite(es_n0_db):
        raise ChannelError(f"es_n0_db is {es_n0_db}; give a finite number of dB")
    return 10 ** (-es_n0_db / 10)


@dataclass(frozen=True, eq=False)
class Modulation:
    """A constellation of unit mean energy, Gray labels: neighbours differ in one bit.

    bits: m per symbol. points: of each label. decide: from z = conj(h) y and |h|^2 the label nearest to z / |h|^2.
    errors: symbol error probability at an Es/N0 in dB, by fading, where theory is at hand.
    """

    name: str
    bits: int
    points: Complex[Tensor, " P"]
    decide: Callable[[Complex[Tensor, "B S"], Float[Tensor, "B 1"]], Int[Tensor, "B S"]]
    errors: Mapping[str, Callable[[float], float]] = field(default_factory=dict)


def psk(bits: int) -> Modulation:
    """Phase-shift keying: the label p ^ (p >> 1) lies at angle p 2 pi / P of P = 2^bits. All points have one energy."""
    order = 1 << bits
    position = torch.arange(order)
    points = torch.empty(order, dtype=torch.complex64)
    points[_gray(position)] = torch.polar(torch.ones(order), position * (2 * math.pi / order))

    def decide(z: Complex[Tensor, "B S"], gain: Float[Tensor, "B 1"]) -> Int[Tensor, "B S"]:
        return _gray((torch.angle(z) * (order / (2 * math.pi))).round().long() % order)

    errors = {"awgn": partial(psk_error_awgn, order=order), "rayleigh": partial(psk_error_rayleigh, order=order)}
    return Modulation(f"{order}-PSK", bits, points, decide, errors)


def square_qam(bits: int) -> Modulation:
    """Quadrature amplitude modulation, an even number of bits: half of them, Gray, choose the level of each axis."""
    half = bits // 2
    levels = 1 << half
    spacing = math.sqrt(6 / (levels**2 - 1))
    label = torch.arange(1 << bits)
    place = torch.empty(levels, dtype=torch.long)
    place[_gray(torch.arange(levels))] = torch.arange(levels)
    axes = (torch.stack([place[label >> half], place[label % levels]], dim=1) - (levels - 1) / 2) * spacing
    points = torch.view_as_complex(axes.contiguous())

    def decide(z: Complex[Tensor, "B S"], gain: Float[Tensor, "B 1"]) -> Int[Tensor, "B S"]:
        position = torch.view_as_real(z / gain) / spacing + (levels - 1) / 2
        rows, columns = _gray(position.round().long().clamp(0, levels - 1)).unbind(-1)
        return rows << half | columns

    return Modulation("QPSK" if bits == 2 else f"{1 << bits}-QAM", bits, points, decide)


def _gray(position: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    return position ^ (position >> 1)


def psk_error_awgn(es_n0_db: float, order: int = 8) -> float:
    """Symbol error probability of M-PSK on AWGN, exact; M is `order`.

    P = 1/pi integral over theta from 0 to (M-1) pi/M of exp(-Es/N0 sin^2(pi/M) / sin^2 theta): Craig's form, Simon and
    Alouini, Digital Communication over Fading Channels (2000), chapter 8, coherent M-PSK.
    """
    from scipy.integrate import quad

    decay = math.sin(math.pi / order) ** 2 / noise_variance(es_n0_db)
    value, _ = quad(lambda theta: math.exp(-decay / math.sin(theta) ** 2), 0, (order - 1) * math.pi / order)
    return value / math.pi


def psk_error_rayleigh(es_n0_db: float, order: int = 8) -> float:
    """Mean symbol error probability of M-PSK on flat Rayleigh fading with a known channel, closed form.

    With c = mean Es/N0 sin^2(pi/M), a = sqrt(c / (1 + c)):
    P = (M-1)/M - a/pi (pi/2 + atan(a cot(pi/M))): the integral of `psk_error_awgn` with the exponential replaced by the
    moment generating function 1 / (1 + c / sin^2 theta); Simon and Alouini, as above, M-PSK on Rayleigh channels.
    """
    c = math.sin(math.pi / order) ** 2 / noise_variance(es_n0_db)
    a = math.sqrt(c / (1 + c))
    return (order - 1) / order - a / math.pi * (math.pi / 2 + math.atan(a / math.tan(math.pi / order)))
