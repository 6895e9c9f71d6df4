"""What a caller gives a codec or a judge, checked once where it comes in; training passes by, as a GPU would wait."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.base.errors import InputError


def check_images(x: Float[Tensor, "B 3 H W"] | Any, side: int | None = None) -> None:
    """Raises InputError for anything but one or more images in [0, 1], of `side` pixels a side where that is given."""
    shape = f"(B, 3, {side or 'H'}, {side or 'W'})"
    wanted = f"images: wants a tensor of floats in [0, 1], {shape} with B at least 1; given "
    if not isinstance(x, Tensor):
        raise InputError(wanted + described(x))
    sized = x.ndim == 4 and x.shape[1] == 3 and {*x.shape[2:]} <= {side or x.shape[2], side or x.shape[3]}
    if not (sized and x.numel() and x.is_floating_point() and x.layout is torch.strided):
        raise InputError(f"{wanted}{described(x)}{_advice(x)}")
    low, high = torch.stack(x.detach().aminmax()).tolist()  # nan where any is
    if not (low >= 0 and high <= 1):
        raise InputError(f"{wanted}values from {low:g} to {high:g}{', divide by 255' if 1 < high <= 255 else ''}")


def check_relevance(relevance: Float[Tensor, "B N"] | Any, shape: tuple[int, int]) -> None:
    """Raises InputError for anything but one number per token, which NaN is not, or None."""
    if relevance is None:
        return
    if not isinstance(relevance, Tensor) or not relevance.is_floating_point() or relevance.shape != shape:
        raise InputError(f"relevance: wants floats {shape}, one per token; given {described(relevance)}")
    if relevance.isnan().any():
        raise InputError("relevance: wants floats; given nan among them")


def described(x: Tensor | Any) -> str:
    """Type and shape, as `uint8 (1, 96, 96, 3)`."""
    if not isinstance(x, Tensor):
        return type(x).__name__
    kind = "" if x.layout is torch.strided else f"{x.layout} "
    return f"{kind}{x.dtype} {tuple(x.shape)}".replace("torch.", "")


def _advice(x: Tensor) -> str:
    """What makes images of a tensor, where that is clear."""
    if x.ndim == 3:
        return ": a batch of one is x[None]"
    if x.ndim == 4 and x.shape[1] != 3 and x.shape[3] == 3:
        return ": channels come second, x.permute(0, 3, 1, 2)"
    if x.ndim == 4 and x.shape[1] == 1:
        return ": grey has three equal channels, x.expand(-1, 3, -1, -1)"
    return ": bytes become floats by x / 255" if x.dtype == torch.uint8 else ""
