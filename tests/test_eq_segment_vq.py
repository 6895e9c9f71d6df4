"""Segment-wise vector quantisation, against loops over single vectors and gradients in closed form."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from uoisc.quantization import COMMITMENT, SegmentVQ, perplexity

N, WIDTH, SEGMENTS, CODES = 12, 8, 2, 4
S = WIDTH // SEGMENTS
# float32 carries 7 digits; sums here have at most a hundred terms of the order of 1
TOLERANCE = dict(rtol=1e-5, atol=1e-6)


def quantizer(segments: int = SEGMENTS, codes: int = CODES) -> SegmentVQ:
    return SegmentVQ(WIDTH, segments, codes).eval()


def by_hand(vq: SegmentVQ, features: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(unit segments, nearest codes, indices) of (N, D) features: every code tried for every segment."""
    books = vq.codebooks.detach().double().numpy()
    size = WIDTH // vq.segments
    units = np.zeros((len(features), vq.segments, size))
    codes, indices = np.zeros_like(units), np.zeros((len(features), vq.segments), dtype=int)
    for n, g in np.ndindex(indices.shape):
        f = features[n, g * size : (g + 1) * size].detach().double().numpy()
        units[n, g] = f / math.sqrt((f**2).sum())
        distances = [((units[n, g] - c / math.sqrt((c**2).sum())) ** 2).sum() for c in books[g]]
        indices[n, g] = int(np.argmin(distances))
        codes[n, g] = books[g, indices[n, g]]
    return units, codes, indices


def through_norm(gradient: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Gradient to f of a loss whose gradient to u = f / |f| is given: (I - u u') / |f|."""
    norm = math.sqrt((vector**2).sum())
    u = vector / norm
    return (gradient - u * (u @ gradient)) / norm


@pytest.mark.parametrize(("segments", "codes"), [(1, 16), (2, 4), (4, 3)])
def test_nearest_neighbour_and_loss(segments, codes):
    vq, features = quantizer(segments, codes), torch.randn(N, WIDTH)
    units, nearest, indices = by_hand(vq, features)
    out = vq(features)
    assert np.array_equal(out.indices.numpy(), indices)
    np.testing.assert_allclose(out.codes.detach().numpy(), nearest.reshape(N, WIDTH), **TOLERANCE)
    error = ((units - nearest) ** 2).sum(-1).mean()
    assert out.loss.item() == pytest.approx((1 + 0.25) * error, rel=1e-5)


@pytest.mark.parametrize("change", ["in place", "loaded", "SGD", "fused AdamW", "copied"])
def test_the_transmitter_follows_every_change_of_the_codes(change):
    vq, features = quantizer().eval(), torch.randn(N, WIDTH)
    before = vq.nearest(features)
    assert before.equal(vq.nearest(features)) and before.equal(vq(features).indices)
    if change == "in place":
        with torch.no_grad():
            vq.codebooks.neg_()
    elif change == "loaded":
        vq.load_state_dict({**vq.state_dict(), "codebooks": -vq.codebooks.detach().clone()})
    elif change == "copied":
        vq = copy.deepcopy(vq)
        vq.codebooks.data = -vq.codebooks.data
    else:  # a step of training, between steps too
        vq.train()
        stale = vq.nearest(features)
        make = {"SGD": torch.optim.SGD, "fused AdamW": partial(torch.optim.AdamW, fused=True)}[change]
        optimiser = make([vq.codebooks], lr=2.0)
        vq.codebooks.square().sum().mul(0.5).backward()  # its gradient is the codes themselves: they change sign
        optimiser.step()
        assert not stale.equal(vq.nearest(features))
        vq.eval()
    assert vq.nearest(features).equal(vq(features).indices) and not before.equal(vq.nearest(features))


def test_commitment_pulls_features_and_the_whole_error_pulls_codes():
    """d loss / d f = .25 * 2 (f - c) / V and d loss / d c = 2 (c - f) / V, each on the unit sphere."""
    vq, features = quantizer(), torch.randn(N, WIDTH, requires_grad=True)
    units, nearest, indices = by_hand(vq, features)
    vq(features).loss.backward()
    to_features = np.zeros((N, SEGMENTS, S))
    to_codes = np.zeros((SEGMENTS, CODES, S))
    vectors = features.detach().double().numpy().reshape(N, SEGMENTS, S)
    for n, g in np.ndindex(N, SEGMENTS):
        pull = 2 * (units[n, g] - nearest[n, g]) / (N * SEGMENTS)
        to_features[n, g] = through_norm(0.25 * pull, vectors[n, g])
        to_codes[g, indices[n, g]] += through_norm(-pull, nearest[n, g])
    np.testing.assert_allclose(features.grad.numpy(), to_features.reshape(N, WIDTH), **TOLERANCE)
    np.testing.assert_allclose(vq.codebooks.grad.numpy(), to_codes, **TOLERANCE)
    assert COMMITMENT == 0.25


def test_straight_through_gradient():
    """What follows pulls at the codes; its gradient reaches the features as if nothing had been rounded."""
    vq, features, pull = quantizer(), torch.randn(N, WIDTH, requires_grad=True), torch.randn(N, WIDTH)
    (vq(features).codes * pull).sum().backward()
    vectors = features.detach().double().numpy().reshape(N, SEGMENTS, S)
    pulls = pull.double().numpy().reshape(N, SEGMENTS, S)
    expected = [[through_norm(pulls[n, g], vectors[n, g]) for g in range(SEGMENTS)] for n in range(N)]
    np.testing.assert_allclose(features.grad.numpy(), np.reshape(expected, (N, WIDTH)), **TOLERANCE)


@pytest.mark.parametrize("masked", [False, True])
def test_lookup_gives_what_the_forward_pass_gave(masked):
    vq, features = quantizer(), torch.randn(2, 3, 5, WIDTH)
    sent = torch.rand(2, 3, 5, SEGMENTS) < 0.5 if masked else None
    out = vq(features, sent)
    # f + (c - f) rounds once more than c
    torch.testing.assert_close(vq.lookup(out.indices, sent), out.codes, rtol=0, atol=1e-6)


def test_before_rounding_starts_features_pass_and_codes_alone_learn():
    vq, features = quantizer(), torch.randn(N, WIDTH, requires_grad=True)
    units, nearest, _ = by_hand(vq, features)
    out = vq(features, rounded=False)
    np.testing.assert_allclose(out.codes.detach().numpy(), units.reshape(N, WIDTH), **TOLERANCE)
    assert torch.equal(out.indices, vq(features).indices)
    assert out.loss.item() == pytest.approx(((units - nearest) ** 2).sum(-1).mean(), rel=1e-5)
    out.loss.backward()
    assert features.grad is None and (vq.codebooks.grad != 0).any()


def test_unsent_segments_are_zero_and_carry_no_loss():
    vq, features = quantizer(), torch.randn(N, WIDTH, requires_grad=True)
    sent = torch.rand(N, SEGMENTS) < 0.5
    units, nearest, _ = by_hand(vq, features)
    out = vq(features, sent)
    codes = out.codes.reshape(N, SEGMENTS, S)
    assert (codes[~sent] == 0).all() and (codes[sent] != 0).all()
    assert out.loss.item() == pytest.approx(1.25 * ((units - nearest) ** 2).sum(-1)[sent.numpy()].mean(), rel=1e-5)
    (out.loss + out.codes.sum()).backward()
    gradient = features.grad.reshape(N, SEGMENTS, S)
    assert (gradient[~sent] == 0).all() and (gradient[sent] != 0).any(dim=-1).all()


def test_a_dead_code_moves_onto_a_current_input_of_its_segment_and_is_used_at_once():
    vq, features = quantizer().train(), torch.randn(N, WIDTH)
    vq.usage[1, 2] = 0.0
    with torch.no_grad():
        vq.codebooks[1, 2] = -vq.segment(features)[1].mean(0)  # far from all: nothing would choose it
    before = vq.codebooks.detach().clone()
    chosen = vq(features).indices[:, 1]
    hit = (vq.segment(features)[1] == vq.codebooks[1, 2]).all(dim=1)
    assert hit.any() and (chosen[hit] == 2).all() and vq.usage[1, 2] > 0.9
    before[1, 2] = vq.codebooks[1, 2]
    assert torch.equal(before, vq.codebooks)


def test_a_dead_code_comes_back_onto_sent_segments_alone_and_only_in_training():
    vq, features = quantizer(), torch.randn(N, WIDTH)
    vq.usage[0, 1] = 0.0
    before = vq.codebooks.detach().clone()
    vq(features)
    assert torch.equal(before, vq.codebooks)
    sent = torch.zeros(N, SEGMENTS, dtype=torch.bool)
    sent[4] = True
    vq.train()(features, sent)
    assert torch.equal(vq.codebooks[0, 1], vq.segment(features)[0, 4])


def test_gradients_of_a_step_in_which_a_code_comes_back():
    """They are those of the codebook as it stands after: a write into it must not spoil the backward pass."""
    vq, features = quantizer().train(), torch.randn(N, WIDTH)
    vq.usage[0, 1] = 0.0
    vq(features).loss.backward()
    after = copy.deepcopy(vq).eval()
    after.zero_grad()
    after(features).loss.backward()
    torch.testing.assert_close(vq.codebooks.grad, after.codebooks.grad)


def test_usage_is_one_where_every_code_has_its_fair_share():
    vq = SegmentVQ(2, 1, 2).train()
    with torch.no_grad():
        vq.codebooks[0] = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    vq(torch.tensor([[2.0, 0.1], [-3.0, 0.1]]))
    torch.testing.assert_close(vq.usage, torch.ones(1, 2))
    vq(torch.tensor([[2.0, 0.1], [3.0, 0.1]]))  # shares 2 and 0, averaged in by .02
    torch.testing.assert_close(vq.usage, torch.tensor([[1.02, 0.98]]))
    vq(torch.tensor([[2.0, 0.1], [3.0, 0.1]]), torch.zeros(2, 1, dtype=torch.bool))
    torch.testing.assert_close(vq.usage, torch.tensor([[1.02, 0.98]]), msg="a segment that was not sent says nothing")
    vq(torch.tensor([[2.0, 0.1], [-3.0, 0.1]]), torch.tensor([[True], [False]]))  # of two vectors the first alone
    torch.testing.assert_close(vq.usage, torch.tensor([[1.0396, 0.9604]]))


@pytest.mark.parametrize(
    ("chosen", "expected", "dead"),
    [([0, 1, 2, 3], 4.0, 0), ([3, 3, 3, 3], 1.0, 3), ([0, 0, 1, 1], 2.0, 2), ([0, 0, 0, 1], 4 / 27**0.25, 2)],
)
def test_perplexity_of_known_distributions(chosen, expected, dead):
    """exp(entropy): 4 for four equal shares; 4 / 27^(1/4) for shares 3/4 and 1/4."""
    found, unused = perplexity(torch.tensor(chosen), 4)
    assert found == pytest.approx(expected, rel=1e-6)
    assert unused == dead


def test_float32_under_autocast():
    vq, features = quantizer(1, 16), torch.randn(64, WIDTH)
    plain = vq(features)
    with torch.autocast("cpu", torch.bfloat16):
        cast = vq(features)
    assert cast.codes.dtype == torch.float32
    assert torch.equal(plain.indices, cast.indices) and torch.equal(plain.loss, cast.loss)


@pytest.mark.parametrize("heads", [1, 4])
def test_same_indices_as_vector_quantize_pytorch(heads):
    """The peer in cosine mode, one codebook a head, filled with our codes."""
    from vector_quantize_pytorch import VectorQuantize

    vq, features = quantizer(heads, 16), torch.randn(1, 200, WIDTH)
    peer = VectorQuantize(
        dim=WIDTH, codebook_size=16, codebook_dim=WIDTH // heads, heads=heads, separate_codebook_per_head=True,
        use_cosine_sim=True,
    ).eval()  # fmt: skip
    peer._codebook.embed.data.copy_(vq.codebooks.detach())
    codes, indices, _ = peer(features)
    out = vq(features)
    assert torch.equal(out.indices.reshape(200, heads), indices.reshape(200, heads))
    torch.testing.assert_close(out.codes, codes, rtol=0, atol=1e-6)
