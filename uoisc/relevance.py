"""How relevant each token is to the query, and which tokens come first: by relevance, or evenly spread.

    token embeddings (B, N, e), query (B, e) --cosine--> (B, N) --head--> (B, N)

CLIP's cosine alone knows what a query names. The head, trained on seen objects, adds what the cosine cannot know:
that an object covers neighbouring tokens, and what words such as "upper left" say of places. It sees no object's
name but through the cosine and the words of the query, and no grid of tiles. Source: ours.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from uoisc.base.distributed import mean_over
from uoisc.frozen.clip import FrozenCLIP

HIDDEN = 16  # channels of the head's convolutions
# of the order of spread tokens, in 2^16ths of a side
START = 36_864
STEPS = (49_471, 37_345)  # rows, columns


class Cosine(nn.Module):
    """The cosine of each token's embedding and the query's, in [-1, 1]."""

    def forward(self, tokens: Float[Tensor, "B N e"], text: Float[Tensor, "B e"]) -> Float[Tensor, "B N"]:
        """Relevance of each token."""
        return FrozenCLIP.relevance(tokens, text)


class RelevanceHead(nn.Module):
    """The cosine, refined: logits of where the answer lies.

    r = a z + conv(z) + W t: z the cosine, standardised an image; conv two 3 x 3 convolutions; W t a linear map of the
    query's embedding, one logit per token. At the start of training r = a z, which ranks as the cosine does.

    Args:
        tokens: N, a square. text_width: e.
    """

    def __init__(self, tokens: int, text_width: int):
        super().__init__()
        self.side = int(tokens**0.5)
        self.scale = nn.Parameter(torch.ones(()))
        self.neighbours = nn.Sequential(
            nn.Conv2d(1, HIDDEN, 3, padding=1), nn.GELU(), nn.Conv2d(HIDDEN, 1, 3, padding=1)
        )
        self.places = nn.Linear(text_width, tokens, bias=False)
        for weight in (self.neighbours[-1].weight, self.neighbours[-1].bias, self.places.weight):
            nn.init.zeros_(weight)

    def forward(self, tokens: Float[Tensor, "B N e"], text: Float[Tensor, "B e"]) -> Float[Tensor, "B N"]:
        """Relevance of each token, in float32: in bfloat16 many tokens would tie."""
        with torch.autocast(tokens.device.type, enabled=False):
            z = F.layer_norm(FrozenCLIP.relevance(tokens, text), tokens.shape[1:2])
            around = self.neighbours(z.unflatten(1, (1, self.side, self.side))).flatten(1)
            return self.scale * z + around + self.places(text.float())


def relevance_loss(relevance: Float[Tensor, "B N"], region: Bool[Tensor, "B N"]) -> Float[Tensor, ""]:
    """Cross-entropy, in nats, of softmax(relevance) against the tokens where the answer lies.

    The mean over the images that have such tokens; 0 where none has.
    """
    share = region.to(relevance.device).float()
    held = share.sum(1)
    nats = -(F.log_softmax(relevance.float(), dim=1) * share).sum(1) / held.clamp(min=1)
    return mean_over(nats.sum(), (held > 0).sum())


def ranked_tokens(relevance: Float[Tensor, "B N"], top: int) -> Bool[Tensor, "B N"]:
    """Which tokens are the `top` most relevant ones."""
    best = relevance.topk(top, dim=1).indices
    return torch.zeros_like(relevance, dtype=torch.bool).scatter(1, best, True)


@cache
def spread_order(side: int) -> Int[Tensor, " N"]:
    """All tokens of a square, in an order of which every beginning is spread over both axes.

    Point i of a Kronecker lattice is (START + i STEPS) mod 2^16, in 2^16ths of a side; a token's place is that of the
    first point that falls on it. The steps are the two powers of the plastic number's inverse (Roberts' R2 sequence).
    """
    points = (START + torch.arange(1 << 16)[:, None] * torch.tensor(STEPS)) % (1 << 16)
    rows, columns = (points * side >> 16).unbind(1)
    return torch.tensor(list(dict.fromkeys([*(rows * side + columns).tolist(), *range(side * side)])))


def spread_tokens(tokens: int, top: int) -> Bool[Tensor, " N"]:
    """Which tokens are `top` evenly spread ones: a fixed choice, that both ends know and no bit describes."""
    chosen = torch.zeros(tokens, dtype=torch.bool)
    chosen[spread_order(math.isqrt(tokens))[:top]] = True
    return chosen
