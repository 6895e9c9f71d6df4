"""Text alignment: image projections, text projection, and FiLM (paper, figure 1).

    taps (B, M, N, d) --IP_m--> (B, M, N, D) --LayerNorm--> * gamma_m(t) + beta_m(t) --> features (B, M, N, D)
    query ------------CLIP text (B, e)----TP----> t (B, T) ------^

Every class here has the same call, so an ablation puts another one in: `Identity` has no text path to run.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uoisc.base.settings import ATTENTION_HEADS


class ImageProjection(nn.Module):
    """One trainable projection per tap, from CLIP's width d to the codec's width D (paper: IP).

    A LayerNorm follows each (ours: without it the commitment loss grows without bound).
    """

    def __init__(self, taps: int, clip_width: int, width: int):
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(clip_width), nn.Linear(clip_width, width), nn.LayerNorm(width))
            for _ in range(taps)
        )

    def forward(self, taps: Float[Tensor, "B M N d"]) -> Float[Tensor, "B M N D"]:
        """Projected taps, each channel vector with mean 0 and variance 1 at the start of training."""
        return torch.stack([ip(taps[:, m]) for m, ip in enumerate(self.projections)], dim=1)


class Film(nn.Module):
    """FiLM for one set of M features: f_m = gamma_m(t) * g_m + beta_m(t) (paper; Perez et al., 2018).

    gamma and beta are linear in the projected text embedding t and start at 1 and near 0 (ours).
    """

    def __init__(self, taps: int, text_width: int, projected_width: int, width: int):
        super().__init__()
        self.text_projection = nn.Sequential(nn.Linear(text_width, projected_width), nn.GELU())
        self.scale_shift = nn.Linear(projected_width, taps * 2 * width)
        self.taps = taps
        nn.init.normal_(self.scale_shift.weight, std=0.02)
        nn.init.zeros_(self.scale_shift.bias)

    def forward(self, features: Float[Tensor, "B M N D"], text: Float[Tensor, "B e"]) -> Float[Tensor, "B M N D"]:
        """The features, scaled and shifted per channel by the query."""
        t = self.scale_shift(self.text_projection(text)).unflatten(1, (self.taps, 1, -1))  # (B, M, 1, 2 D)
        gamma, beta = t.chunk(2, dim=-1)
        return (1 + gamma) * features + beta


class JointAttention(nn.Module):
    """A wider reading of alignment (ours): at every tap one self-attention block over the image's tokens and one more,
    the query's embedding.

    FiLM scales every token alike; here what a token sends may depend on the query and on other tokens.
    """

    def __init__(self, taps: int, text_width: int, projected_width: int, width: int):
        super().__init__()
        self.text_projection = nn.Linear(text_width, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, ATTENTION_HEADS, projected_width * 2, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(taps)
        )

    def forward(self, features: Float[Tensor, "B M N D"], text: Float[Tensor, "B e"]) -> Float[Tensor, "B M N D"]:
        """The features after one block of attention over the tap's tokens and the query."""
        query = self.text_projection(text)[:, None]  # (B, 1, D)
        out = [block(torch.cat([query, features[:, m]], dim=1))[:, 1:] for m, block in enumerate(self.blocks)]
        return torch.stack(out, dim=1)


class Identity(nn.Module):
    """No text alignment (the paper's ablation): there is no text path, so none can run by mistake."""

    def forward(
        self, features: Float[Tensor, "B M N D"], text: Float[Tensor, "B e"] | None
    ) -> Float[Tensor, "B M N D"]:
        """The features as they are."""
        return features
