"""FiLM and the projections, against the formulas written out channel by channel."""

import math

import numpy as np
import torch

from uoisc.alignment import Film, Identity, ImageProjection, JointAttention

B, M, N, D, E, T = 2, 3, 4, 5, 6, 7
# float32 carries 7 digits; the longest sum here has ten terms of the order of 1
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def film_by_hand(film: Film, features: np.ndarray, text: np.ndarray) -> np.ndarray:
    """f_m = gamma_m(t) g_m + beta_m(t), gamma = 1 + W t, in Python's own double precision."""
    first, second = film.text_projection[0], film.scale_shift
    out = np.empty_like(features)
    for b, m, n, d in np.ndindex(features.shape):
        pre = first.weight.detach().double().numpy() @ text[b] + first.bias.detach().double().numpy()
        t = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in pre])  # GELU
        weight, bias = second.weight.detach().double().numpy(), second.bias.detach().double().numpy()
        gamma = 1 + weight[m * 2 * D + d] @ t + bias[m * 2 * D + d]
        beta = weight[m * 2 * D + D + d] @ t + bias[m * 2 * D + D + d]
        out[b, m, n, d] = gamma * features[b, m, n, d] + beta
    return out


def test_film_is_a_scale_and_a_shift_a_channel():
    film = Film(M, E, T, D)
    torch.nn.init.normal_(film.scale_shift.weight)
    torch.nn.init.normal_(film.scale_shift.bias)
    features, text = torch.randn(B, M, N, D), torch.randn(B, E)
    expected = film_by_hand(film, features.double().numpy(), text.double().numpy())
    np.testing.assert_allclose(film(features, text).detach().numpy(), expected, **TOLERANCE)


def test_film_treats_every_token_alike_and_every_tap_by_itself():
    film = Film(M, E, T, D)
    torch.nn.init.normal_(film.scale_shift.weight)
    features = torch.randn(B, M, 1, D).expand(B, M, N, D)
    out = film(features, torch.randn(B, E))
    assert torch.equal(out, out[:, :, :1].expand_as(out))
    assert not torch.allclose(out[:, 0] - features[:, 0], out[:, 1] - features[:, 1])


def test_film_starts_near_the_identity():
    features = torch.randn(B, M, N, D)
    out = Film(M, E, T, D)(features, torch.nn.functional.normalize(torch.randn(B, E), dim=-1))
    # weights of .02 times at most T projected values below .3: gamma and beta stay within .05 of 1 and 0
    assert (out - features).abs().max() < 0.05 * (1 + features.abs().max())


def test_projection_is_norm_linear_norm():
    projection = ImageProjection(M, E, D)
    taps = torch.randn(B, M, N, E) * 3 + 1
    out = projection(taps).detach().numpy()
    for b, m, n in np.ndindex(B, M, N):
        h = taps[b, m, n].double().numpy()
        linear = projection.projections[m][1]
        weight, bias = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
        # LayerNorm's epsilon of 1e-5 under the root shows in the fifth digit
        g = weight @ ((h - h.mean()) / math.sqrt(h.var() + 1e-5)) + bias
        np.testing.assert_allclose(out[b, m, n], (g - g.mean()) / math.sqrt(g.var() + 1e-5), **TOLERANCE)


def test_identity_has_no_text_path():
    features = torch.randn(B, M, N, D)
    assert Identity()(features, torch.randn(B, E)) is features
    assert not list(Identity().parameters())


def test_joint_attention_lets_tokens_and_query_meet():
    attention = JointAttention(M, E, T, 8).eval()
    features, text = torch.randn(B, M, N, 8), torch.randn(B, E)
    out = attention(features, text)
    other = features.clone()
    other[:, :, 0] = torch.randn(8)  # not a shift, which a LayerNorm would undo
    assert out.shape == features.shape
    assert not torch.allclose(out, attention(features, torch.randn(B, E)))
    assert not torch.allclose(out[:, :, 1], attention(other, text)[:, :, 1])  # what FiLM cannot do
