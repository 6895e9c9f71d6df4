"""What a caller gives a codec or a judge, checked once where it comes in: one clear line, and no silence.

Training passes by: these checks read values, for which a GPU has to be waited for.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.errors import InputError
from uoisc.rate import FixedRate, Packing, RateDial


def check_images(x: Float[Tensor, "B 3 H W"] | Any, side: int | None = None) -> None:
    """Raises InputError for anything but one or more images in [0, 1], of `side` pixels a side where that is given."""
    wanted = (
        f"images: wants floats in [0, 1] of shape (B, 3, {side or 'H'}, {side or 'W'}), one batch of tensors; given "
    )
    if not isinstance(x, Tensor):
        raise InputError(f"{wanted}a {type(x).__name__}")
    sized = (
        x.ndim == 4 and x.shape[1] == 3 and x.numel() > 0 and side in (None, x.shape[2]) and side in (None, x.shape[3])
    )
    if not (sized and x.is_floating_point() and x.layout is torch.strided):
        raise InputError(f"{wanted}{described(x)}{_advice(x)}")
    low, high = torch.stack(x.detach().aminmax()).tolist()  # nan where any is
    if not (low >= 0 and high <= 1):
        raise InputError(f"{wanted}values from {low:g} to {high:g}{', divide by 255' if 1 < high <= 255 else ''}")


def check_relevance(relevance: Float[Tensor, "B N"] | Any, shape: tuple[int, int]) -> None:
    """Raises InputError for anything but one number a token, which NaN is not."""
    if not isinstance(relevance, Tensor) or not relevance.is_floating_point() or relevance.shape != shape:
        raise InputError(f"relevance: wants floats of shape {shape}, one a token; given {described(relevance)}")
    if relevance.isnan().any():
        raise InputError("relevance: wants floats; given nan among them")


def check_message(message, rate: FixedRate | Packing | RateDial) -> None:
    """Raises InputError for anything but one or more images' messages that a codec of this rate sends, or what a link
    has left of them."""
    if not hasattr(message, "indices") or not hasattr(message, "sent"):
        raise InputError(f"message: wants what `encode` returns; given a {type(message).__name__}")
    shape, (indices, sent) = rate.shape, (message.indices, message.sent)
    wanted = f"(B, {shape.taps}, {shape.tokens}, {shape.segments}), B at least 1"
    if not _integers(indices) or indices.shape[1:] != (shape.taps, shape.tokens, shape.segments) or not len(indices):
        raise InputError(f"message.indices: wants integers of shape {wanted}; given {described(indices)}")
    low, high = torch.stack(indices.aminmax()).tolist()
    if low < 0 or high >= shape.codes:
        raise InputError(
            f"message.indices: wants 0 to {shape.codes - 1}, the codes of this codec; given {low} to {high}"
        )
    if sent is not None and not (isinstance(sent, Tensor) and sent.dtype is torch.bool and sent.shape == indices.shape):
        raise InputError(
            f"message.sent: wants bool {tuple(indices.shape)}, as the indices, or None; given {described(sent)}"
        )
    if isinstance(rate, RateDial):
        return
    if message.setting not in (None, rate.setting):
        raise InputError(
            f"message: sent at {message.setting}, but this codec is set to {rate.setting}: decode as encoded"
        )
    if isinstance(rate, Packing) and not rate.can_send(torch.ones_like(indices).bool() if sent is None else sent):
        raise InputError(f"message.sent: not what a codec sends that is set to {rate.setting}: decode as encoded")


def _integers(x: Tensor | Any) -> bool:
    return (
        isinstance(x, Tensor)
        and x.ndim == 4
        and x.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
    )


def described(x: Tensor | Any) -> str:
    """Type and shape, as `uint8 (1, 96, 96, 3)`."""
    if not isinstance(x, Tensor):
        return f"a {type(x).__name__}"
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def _advice(x: Tensor) -> str:
    """What makes images of a tensor, where that is clear."""
    if x.ndim == 3:
        return ": a batch of one is x[None]"
    if x.ndim == 4 and x.shape[1] != 3 and x.shape[3] == 3:
        return ": channels come second, x.permute(0, 3, 1, 2)"
    if x.ndim == 4 and x.shape[1] == 1:
        return ": grey has three equal channels, x.expand(-1, 3, -1, -1)"
    return ": bytes become floats by x / 255" if x.dtype == torch.uint8 else ""
