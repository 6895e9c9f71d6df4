"""The critic: Lipschitz bound, gradient penalty in closed form, signs of both players' losses."""

import pytest
import torch
from torch import nn

from uoisc.critic import PatchCritic, gradient_penalty
from uoisc.losses import adversarial_loss, critic_loss


class LinearCritic(nn.Module):
    """critic(u) = <a, u> in each of `patches` scores: its gradient is a everywhere."""

    def __init__(self, a: torch.Tensor, patches: int):
        super().__init__()
        self.a, self.patches = nn.Parameter(a), patches

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * self.a).sum(dim=(1, 2, 3))
        return score[:, None, None, None].expand(-1, 1, self.patches, self.patches)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_scores_are_one_a_patch_and_no_layer_stretches():
    critic = PatchCritic(8)
    x = torch.rand(2, 3, 96, 96)
    for _ in range(30):  # one power iteration a pass
        scores = critic(x)
    assert scores.shape == (2, 1, 12, 12)
    for layer in critic.body:
        if isinstance(layer, nn.Conv2d):
            # power iteration comes from below: 1 % over 1 is what thirty of them may leave
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.01)


def test_scores_are_unbounded_on_both_sides():
    """A sigmoid or a one-sided activation at the end would make the Wasserstein distance meaningless."""
    critic = PatchCritic(8)
    last = critic.body[-1]
    assert isinstance(last, nn.Conv2d)
    with torch.no_grad():
        last.bias.fill_(50)
        high = critic(torch.rand(1, 3, 32, 32))
        last.bias.fill_(-50)
        low = critic(torch.rand(1, 3, 32, 32))
    assert high.min() > 10 and low.max() < -10


@pytest.mark.parametrize("patches", [1, 3])
@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(norm, patches):
    """(|a| - 1)^2 whatever the images, and its gradient 2 (|a| - 1) a / |a|."""
    a = torch.randn(3, 8, 8)
    a = a / a.norm() * norm
    critic = LinearCritic(a, patches)
    penalty = gradient_penalty(critic, torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8), generator())
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)
    penalty.backward()
    torch.testing.assert_close(critic.a.grad, 2 * (norm - 1) * a / norm, rtol=1e-4, atol=1e-5)


def test_gradient_penalty_looks_between_real_and_fake():
    """critic(u) = |u|^2 / 2 has gradient u: each image's penalty is (|u| - 1)^2 at its own mixture u."""
    real, fake = torch.rand(64, 3, 2, 2), torch.rand(64, 3, 2, 2)
    mix = torch.rand(64, 1, 1, 1, generator=generator())
    between = mix * real + (1 - mix) * fake

    def square(u: torch.Tensor) -> torch.Tensor:
        return (u.square().sum(dim=(1, 2, 3)) / 2)[:, None, None, None]

    class Square(nn.Module):
        forward = staticmethod(square)

    expected = (between.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(Square(), real, fake, generator()), expected)


def test_the_critic_raises_real_and_lowers_fake():
    real, fake = torch.zeros(2, 1, 3, 3, requires_grad=True), torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = critic_loss(real + 5, fake + 2)
    assert loss.item() == -3
    loss.backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()  # a step against them: real up, fake down


def test_the_codec_raises_its_own_scores():
    fake = torch.full((2, 1, 3, 3), 2.0, requires_grad=True)
    loss = adversarial_loss(fake)
    assert loss.item() == -2
    loss.backward()
    assert (fake.grad < 0).all()
