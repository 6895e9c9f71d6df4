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
    which both ends share: one of all images, or one per image (`RateDial.adding`)."""

    indices: Int[Tensor, "B M N G"]
    sent: Bool[Tensor, "B M N G"] | None
    setting: str | tuple[str, ...] | None = None

    @property
    def mask(self) -> Bool[Tensor, "B M N G"]:
        """Which indices were sent, where `sent` may be None."""
        return torch.ones_like(self.indices, dtype=torch.bool) if self.sent is None else self.sent

    def after(self, known: "Message") -> "Message":
        """All that a receiver has who had `known` of the same images, of which this is the continuation."""
        known = known.to(self.indices.device)
        return Message(torch.where(self.mask, self.indices, known.indices), self.mask | known.mask)

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
    _check_form(message, "message", rate.shape)
    if None not in (message.setting, rate.setting) and message.setting != rate.setting:
        raise InputError(f"message: sent at {message.setting}; this codec is set to {rate.setting}: decode as encoded")
    if not rate.can_send(message.mask):
        unsent = f"no codec sends these segments that is set to {rate.setting}"
        raise InputError(f"message.sent: {unsent}: decode as encoded")


def check_known(known: Message | Any, shape: Shape, images: int) -> None:
    """Raises InputError for anything but what a receiver may have of so many images, sent in whatever settings."""
    _check_form(known, "known", shape)
    if len(known.indices) != images:
        raise InputError(f"known: of {len(known.indices)} images; given {images} to go on with")


def _check_form(message: Message | Any, name: str, shape: Shape) -> None:
    if not isinstance(message, Message):
        raise InputError(f"{name}: wants what `encode` returns; given {described(message)}")
    indices = message.indices
    sent = message.sent
    each = (shape.taps, shape.tokens, shape.segments)
    if not _holds_integers(indices) or indices.shape[1:] != each or not len(indices):
        wanted = f"(B, {', '.join(map(str, each))}) with B at least 1"
        raise InputError(f"{name}.indices: wants integers, {wanted}; given {described(indices)}")
    low, high = torch.stack(indices.aminmax()).tolist()
    if low < 0 or high >= shape.codes:
        raise InputError(f"{name}.indices: wants codes from 0 to {shape.codes - 1}; given {low} to {high}")
    if sent is not None and not (isinstance(sent, Tensor) and sent.dtype is torch.bool and sent.shape == indices.shape):
        raise InputError(f"{name}.sent: wants bool {tuple(indices.shape)} or None; given {described(sent)}")


def _holds_integers(x: Tensor | Any) -> bool:
    integers = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    return isinstance(x, Tensor) and x.layout is torch.strided and x.dtype in integers
