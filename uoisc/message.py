"""What crosses the channel: indices, which of them are sent, and what either must be like."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uoisc.base.boundary import described
from uoisc.base.errors import InputError


@dataclass(frozen=True)
class Shape:
    """What a codec's messages look like: M taps, N tokens, G segments, K codes."""

    taps: int
    tokens: int
    segments: int
    codes: int

    @property
    def side(self) -> int:
        """Tokens a side."""
        return int(self.tokens**0.5)

    @property
    def units(self) -> int:
        """Segments of a token at all taps."""
        return self.taps * self.segments

    @cached_property
    def order(self) -> Int[Tensor, "M G"]:
        """The place of each tap's segments among a token's units."""
        return torch.arange(self.segments) * self.taps + torch.arange(self.taps).flip(0)[:, None]


@dataclass(frozen=True)
class Message:
    """Indices, which of them were sent (None: all), and, where it is known, the setting of the codec that sent them,
    which both ends share."""

    indices: Int[Tensor, "B M N G"]
    sent: Bool[Tensor, "B M N G"] | None
    setting: str | None = None

    @property
    def mask(self) -> Bool[Tensor, "B M N G"]:
        """Which indices were sent, where `sent` may be None."""
        return torch.ones_like(self.indices, dtype=torch.bool) if self.sent is None else self.sent

    def to(self, device: torch.device | str) -> "Message":
        """The same in a device's memory."""
        sent = None if self.sent is None else self.sent.to(device)
        return Message(self.indices.to(device), sent, self.setting)

    def cpu(self) -> "Message":
        """The same in the CPU's memory."""
        return self.to("cpu")


def check_message(message: Message | Any, rate) -> None:
    """Raises InputError for anything but one or more images' messages that a codec of this rate (rate.py) sends, or
    what a link has left of them. A rate dial that is set to no budget sends by any of its packings."""
    if not isinstance(message, Message):
        raise InputError(f"message: wants what `encode` returns; given {described(message)}")
    shape, indices, sent = rate.shape, message.indices, message.sent
    each = (shape.taps, shape.tokens, shape.segments)
    if not _holds_integers(indices) or indices.shape[1:] != each or not len(indices):
        wanted = f"(B, {', '.join(map(str, each))}) with B at least 1"
        raise InputError(f"message.indices: wants integers, {wanted}; given {described(indices)}")
    low, high = torch.stack(indices.aminmax()).tolist()
    if low < 0 or high >= shape.codes:
        raise InputError(f"message.indices: wants codes from 0 to {shape.codes - 1}; given {low} to {high}")
    if sent is not None and not (isinstance(sent, Tensor) and sent.dtype is torch.bool and sent.shape == indices.shape):
        raise InputError(f"message.sent: wants bool {tuple(indices.shape)} or None; given {described(sent)}")
    if None not in (message.setting, rate.setting) and message.setting != rate.setting:
        raise InputError(f"message: sent at {message.setting}; this codec is set to {rate.setting}: decode as encoded")
    if not rate.can_send(message.mask):
        unsent = f"no codec sends these segments that is set to {rate.setting}"
        raise InputError(f"message.sent: {unsent}: decode as encoded")


def _holds_integers(x: Tensor | Any) -> bool:
    numbers = isinstance(x, Tensor) and x.layout is torch.strided and x.dtype is not torch.bool
    return numbers and not x.is_floating_point() and not x.is_complex()
