"""The decoder: sizes, range, and the order in which taps enter."""

import pytest
import torch
from torch.nn import functional as F

from uoisc.decoder import Decoder

GRID, WIDTH, CHANNELS = 3, 5, (16, 8, 8)


def inputs_of(decoder: Decoder, codes: torch.Tensor) -> list[torch.Tensor]:
    """What each stage's first convolution is given."""
    caught = []
    handles = [conv.register_forward_pre_hook(lambda _, args: caught.append(args[0])) for conv in decoder.inputs]
    decoder(codes)
    for handle in handles:
        handle.remove()
    return caught


@pytest.mark.parametrize("taps", [1, 2, 3])
@pytest.mark.parametrize("channels", [(8, 8, 8), (16, 8, 8, 8)])
def test_size_and_range(taps, channels):
    side = GRID * 2 ** len(channels)
    image = Decoder(taps, WIDTH, GRID, channels)(torch.randn(2, taps, GRID**2, WIDTH) * 10)
    assert image.shape == (2, 3, side, side)
    assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1


def test_the_deepest_tap_enters_first_and_each_token_at_its_place():
    taps = 3
    decoder, codes = Decoder(taps, WIDTH, GRID, CHANNELS), torch.randn(2, taps, GRID**2, WIDTH)
    stages = inputs_of(decoder, codes)
    assert stages[0].shape[1] == WIDTH  # nothing but the tap
    for stage, entered in enumerate(stages):
        scale, tap = 2**stage, taps - 1 - stage
        joined = entered[:, -WIDTH:]  # behind what the stage before put out
        assert joined.shape[-1] == GRID * scale
        for row in range(GRID * scale):
            for column in range(GRID * scale):
                token = row // scale * GRID + column // scale
                assert torch.equal(joined[:, :, row, column], codes[:, tap, token])


def test_each_stage_doubles_what_came_before():
    decoder, codes = Decoder(1, WIDTH, GRID, CHANNELS), torch.randn(1, 1, GRID**2, WIDTH)
    first, second, _ = inputs_of(decoder, codes)
    out = F.gelu(decoder.mixers[0](decoder.inputs[0](first)))
    torch.testing.assert_close(second, F.interpolate(out, scale_factor=2.0, mode="nearest"))


def test_every_tap_and_token_reaches_the_image():
    codes = torch.randn(1, 3, GRID**2, WIDTH, requires_grad=True)
    Decoder(3, WIDTH, GRID, CHANNELS)(codes).square().sum().backward()
    assert (codes.grad.abs().sum(-1) > 0).all()


def test_the_same_image_under_autocast_up_to_bfloat16():
    decoder, codes = Decoder(2, WIDTH, GRID, CHANNELS), torch.randn(2, 2, GRID**2, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        cast = decoder(codes)
    assert cast.dtype == torch.float32
    # bfloat16 rounds to .4 %; some ten layers of it
    torch.testing.assert_close(cast, decoder(codes), rtol=0, atol=0.03)
