"""Picture quality in closed form."""

import numpy as np
import pytest
import tiny
import torch
from scipy.ndimage import gaussian_filter

from uoisc.judge.metrics import clip_score, perceptual_distance, psnr, ssim


def test_psnr_in_closed_form():
    """A constant error of .1 is 20 dB, of .01 40 dB; equal images stop at 100 dB."""
    x = torch.rand(3, 3, 16, 16) * 0.5
    error = torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    # x + error - x keeps five digits of the error
    np.testing.assert_allclose(psnr(x, x + error), [20.0, 40.0, 100.0], atol=1e-3)


def test_ssim_of_the_same_image_is_one_and_falls_with_noise():
    x = tiny.images(2)
    noise = torch.randn_like(x)
    same, near, far = (ssim(x, (x + strength * noise).clamp(0, 1)) for strength in (0.0, 0.05, 0.3))
    np.testing.assert_allclose(same, 1.0, atol=1e-6)
    assert (same > near).all() and (near > far).all()


def test_ssim_of_two_constants_is_the_luminance_term():
    """(2 a b + c1) / (a^2 + b^2 + c1), c1 = .01^2 (Wang et al., 2004, equation 6)."""
    a, b, c1 = 0.3, 0.6, 0.01**2
    value = ssim(torch.full((1, 3, 16, 16), a), torch.full((1, 3, 16, 16), b))
    np.testing.assert_allclose(value, (2 * a * b + c1) / (a * a + b * b + c1), atol=1e-4)


def test_ssim_of_two_textures_is_the_formula_by_hand():
    """Wang et al. (2004), equation 13: a Gaussian window of 11 x 11 and sd 1.5; windows inside alone."""
    x = torch.rand(2, 3, 24, 20, dtype=torch.float64)
    y = (0.7 * x + 0.3 * torch.rand_like(x)).clamp(0, 1)

    def windowed(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]

    def by_hand(a: np.ndarray, b: np.ndarray) -> float:
        mean_a, mean_b = windowed(a), windowed(b)
        variance_a, variance_b = windowed(a * a) - mean_a**2, windowed(b * b) - mean_b**2
        covariance = windowed(a * b) - mean_a * mean_b
        light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        return float((light * (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)).mean())

    pairs = zip(x.numpy(), y.numpy(), strict=True)
    expected = [np.mean([by_hand(*channel) for channel in zip(*pair, strict=True)]) for pair in pairs]
    assert max(expected) < 0.95
    np.testing.assert_allclose(ssim(x, y), expected, rtol=1e-9)


def test_perceptual_distance_is_the_loss_of_each_image():
    from uoisc.losses import perceptual_loss

    x, x_hat = tiny.images(3), tiny.images(3, seed=1)
    early, early_hat = tiny.clip().early(x), tiny.clip().see(x_hat).early
    each = perceptual_distance(early, early_hat)
    alone = [perceptual_loss(tiny.clip(), x[[b]], x_hat[[b]]).item() for b in range(3)]
    np.testing.assert_allclose(each, alone, rtol=1e-5)
    assert (perceptual_distance(early, early) == 0).all()


def test_clip_score_is_the_best_tokens_cosine():
    x, queries = tiny.images(2), tiny.queries(2)
    tokens, text = tiny.clip().see(x).tokens, tiny.clip().text(queries)
    score = clip_score(tokens, text)
    for b in range(2):
        cosines = [torch.cosine_similarity(token, text[b], dim=0).item() for token in tokens[b]]
        assert score[b] == pytest.approx(max(cosines), abs=1e-6)
