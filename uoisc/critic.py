"""The critic of phase 2: a PatchGAN with spectral norm, trained as WGAN-GP (authors' code)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from uoisc.base.distributed import processes, share


class PatchCritic(nn.Module):
    """Images -> one realness score per patch; no sigmoid, as Wasserstein critics have none.

    Args:
        channels: of the first convolution; doubled at each of two further strided ones.
    """

    def __init__(self, channels: int):
        super().__init__()
        widths = (3, channels, channels * 2, channels * 4)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 h w"]:
        """Scores, unbounded; higher is more real."""
        return self.body(x * 2 - 1)


def gradient_penalty(
    critic: nn.Module, real: Float[Tensor, "B 3 H W"], fake: Float[Tensor, "B 3 H W"], generator: torch.Generator
) -> Float[Tensor, ""]:
    """E[(|grad critic(u)| - 1)^2], u between real and fake at random (Gulrajani et al., 2017)."""
    everyone = torch.rand(len(real) * processes(), 1, 1, 1, generator=generator)
    mix = everyone[share(len(everyone))].to(real)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    gradient = torch.autograd.grad(critic(between).mean(dim=(1, 2, 3)).sum(), between, create_graph=True)[0]
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
