"""Reconstruction and perceptual losses, pixel by pixel (intent: test_eq_intent.py, critic: test_eq_critic.py)."""

import numpy as np
import pytest
import tiny
import torch

from uoisc.losses import perceptual_loss, pixel_loss, pixel_weight, token_weight

# float32 means over some ten thousand values of the order of 1
TOLERANCE = 1e-5


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96)


def test_pixel_loss_is_the_mean_absolute_error(pair):
    x, x_hat = pair
    expected = np.abs(x.double().numpy() - x_hat.double().numpy()).mean()
    assert pixel_loss(x, x_hat).item() == pytest.approx(expected, rel=TOLERANCE)
    assert pixel_loss(x, x).item() == 0


def test_weighted_pixel_loss_multiplies_each_pixel(pair):
    x, x_hat = pair
    weight = torch.rand(2, 1, 96, 96) * 2
    errors = [abs(x[b, c] - x_hat[b, c]) * weight[b, 0] for b in range(2) for c in range(3)]
    expected = torch.stack(errors).double().mean().item()
    assert pixel_loss(x, x_hat, weight).item() == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("side", [6, 22])
def test_pixel_weight_has_mean_one_and_the_emphasis_between_tokens(side):
    ranked, pixels = torch.zeros(2, side**2), 16 * side
    ranked[0, [0, 7, 35]] = ranked[1, 3] = True
    weight = pixel_weight(ranked, 8.0, pixels)
    assert weight.shape == (2, 1, pixels, pixels)
    for b in range(2):
        raw = np.ones((pixels, pixels))
        for row in range(pixels):
            for column in range(pixels):
                if ranked[b, row // 16 * side + column // 16]:
                    raw[row, column] = 8.0
        np.testing.assert_allclose(weight[b, 0].numpy(), raw / raw.mean(), rtol=TOLERANCE)


@pytest.mark.parametrize("emphasis", [None, 1.0, 5.0])
def test_perceptual_loss_is_the_distance_of_normalised_early_features(pair, emphasis):
    """Token by token; with an emphasis, ranked ones count so many times the others'."""
    x, x_hat = pair
    ranked = torch.zeros(2, 36)
    ranked[0, [0, 7, 35]] = ranked[1, 3] = True
    weight = None if emphasis is None else token_weight(ranked, emphasis)
    caught = []
    blocks = tiny.clip().model.visual.transformer.resblocks[:2]
    handles = [block.register_forward_hook(lambda _, __, out: caught.append(out)) for block in blocks]
    for image in (x, x_hat):
        tiny.clip().see(image)
    for handle in handles:
        handle.remove()

    def normalised(h: torch.Tensor) -> np.ndarray:
        h = h[:, 1:].double().numpy()  # without the class token
        return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)

    distances = [np.abs(normalised(caught[i]) - normalised(caught[i + 2])).mean(-1) for i in range(2)]
    counts = np.where(ranked.numpy() > 0, emphasis or 1.0, 1.0)
    shares = counts / counts.sum(1, keepdims=True)  # of an image's tokens
    expected = np.mean([(shares * distance).sum(1) for distance in distances])
    assert perceptual_loss(tiny.clip(), x, x_hat, weight).item() == pytest.approx(expected, rel=1e-4)


def test_an_emphasis_of_one_changes_no_bit(pair):
    x, x_hat = (image.requires_grad_(True) for image in pair)
    losses = [perceptual_loss(tiny.clip(), x, x_hat, w) for w in (None, token_weight(torch.ones(2, 36), 1.0))]
    one, other = (torch.autograd.grad(loss, x_hat)[0] for loss in losses)
    assert losses[0].item() == losses[1].item() and torch.equal(one, other)


def test_perceptual_loss_moves_the_reconstruction_alone(pair):
    x, x_hat = (image.requires_grad_(True) for image in pair)
    loss = perceptual_loss(tiny.clip(), x, x_hat)
    loss.backward()
    assert x.grad is None
    step = x_hat - 0.1 * x_hat.grad / x_hat.grad.norm()
    assert perceptual_loss(tiny.clip(), x, step).item() < loss.item()
    assert perceptual_loss(tiny.clip(), x, x).item() == pytest.approx(0, abs=1e-6)
