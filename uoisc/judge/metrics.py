"""Measures of pictures and messages, for every image of a batch; the answer match rate is `bootstrap.summarise`'s."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from uoisc.frozen.clip import FrozenCLIP
from uoisc.message import Message


def psnr(x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"]) -> Float[np.ndarray, " B"]:
    """Peak signal-to-noise ratio of images in [0, 1], dB each."""
    error = (x - x_hat).square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
    return (-10 * error.log10()).cpu().numpy()


def ssim(x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"]) -> Float[np.ndarray, " B"]:
    """Structural similarity (scikit-image, Gaussian windows as in Wang et al., 2004), each."""
    from skimage.metrics import structural_similarity

    pairs = zip(x.cpu().numpy(), x_hat.cpu().numpy(), strict=True)
    settings = dict(channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return np.array([structural_similarity(a, b, **settings) for a, b in pairs])


def perceptual_distance(
    early: Float[Tensor, "B 2 N d"], early_hat: Float[Tensor, "B 2 N d"]
) -> Float[np.ndarray, " B"]:
    """Mean absolute difference of CLIP's early, layer-normalised features; the perceptual loss, each."""
    return (early - early_hat).abs().mean(dim=(1, 2, 3)).cpu().numpy()


def clip_score(tokens_hat: Float[Tensor, "B N e"], text: Float[Tensor, "B e"]) -> Float[np.ndarray, " B"]:
    """Cosine of the query and the token that is most like it, each, in [-1, 1].

    Deviation: CLIP score takes the pooled image; the stand-in was trained on regions.
    """
    return FrozenCLIP.relevance(tokens_hat, text).amax(dim=1).cpu().numpy()


def query_changes(message: Message, other: Message) -> dict[str, Float[np.ndarray, " B"]]:
    """Of the same images sent for two queries: `flips`, which share of the indices that both send differs, and `moves`,
    which share of the tokens that send the most units for the one does not for the other."""
    both = message.mask & other.mask
    units = [sent.mask.sum((1, 3)) for sent in (message, other)]
    differ = ((message.indices != other.indices) & both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp(min=1)
    first, still = (own == own.amax(1, keepdim=True) for own in units)  # (B, N); at a fixed rate all
    return {"flips": differ.cpu().numpy(), "moves": ((first & ~still).sum(1) / first.sum(1)).cpu().numpy()}


@torch.no_grad()
def picture_quality(
    clip: FrozenCLIP, x: Float[Tensor, "B 3 H W"], x_hat: Float[Tensor, "B 3 H W"], texts: list[str]
) -> pd.DataFrame:
    """Every measure of picture quality, a column each, of images in [0, 1]: a row per image."""
    if not texts:
        return pd.DataFrame()
    seen = clip.see(x_hat)
    perceptual = perceptual_distance(clip.early(x), seen.early)
    score = clip_score(seen.tokens, clip.text(texts))
    return pd.DataFrame({"psnr": psnr(x, x_hat), "ssim": ssim(x, x_hat), "perceptual": perceptual, "clip_score": score})
