"""The rival: query-aware semantic coding with encoders learned from scratch."""

import re
from functools import lru_cache
from hashlib import blake2b

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from uoisc.base.settings import ATTENTION_HEADS
from uoisc.data.queries import check_queries
from uoisc.decoder import Residual
from uoisc.frozen.clip import FrozenCLIP, Seen

WORD = re.compile(r"\w+|[^\w\s]")
HASHES = 2048  # ours: rows of the words' table
POSITIONS = 64  # ours: places in a query, the last one for all behind it


class ScratchText(nn.Module):
    """A text encoder learned with the codec alone: a small transformer over the query's words.

    A word is the sum of two rows of one table, each picked by a hash of its own (hash embeddings, Svenstrup et al.,
    2017): so no list of words has to be kept, thousands of words differ, and one that training never showed still has
    an embedding. CLIP's 49,408 pieces of words would be two thirds of the rival's weights, nearly all never trained.

    Args:
        width: e, of the embeddings.
    """

    def __init__(self, width: int):
        super().__init__()
        self.embedding = nn.Embedding(HASHES, width)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, width))
        self.language = nn.TransformerEncoderLayer(
            width, ATTENTION_HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )

    def forward(self, queries: list[str]) -> Float[Tensor, "B e"]:
        """Embeddings of the queries: the mean over their words after one block of attention.

        Raises QueryError for one that is no query.
        """
        device = self.positions.device
        words = [torch.tensor([*map(hashes, words_of(query))], device=device) for query in check_queries(queries)]
        padding = pad_sequence([torch.zeros(len(own), device=device) for own in words], True, 1.0).bool()  # (B, L)
        ids = pad_sequence(words, batch_first=True)  # (B, L, 2)
        place = torch.arange(ids.shape[1], device=device).clamp(max=POSITIONS - 1)
        h = self.embedding(ids).sum(2) + self.positions[place]
        h = self.language(h, src_key_padding_mask=padding)
        return (h * ~padding[..., None]).sum(1) / (~padding).sum(1, keepdim=True)


def words_of(query: str) -> list[str]:
    """A query's words in small letters; each other visible sign is one as well."""
    return WORD.findall(query.lower())


@lru_cache(maxsize=65_536)
def hashes(word: str) -> tuple[int, int]:
    """The two rows of the table of `HASHES` that a word's embedding is the sum of."""
    digest = blake2b(word.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little") % HASHES, int.from_bytes(digest[4:], "little") % HASHES


class ScratchQuery(nn.Module):
    """The frozen CLIP's eyes with a text encoder learned from scratch: selection without alignment by pre-training."""

    frozen = ("clip.",)

    def __init__(self, clip: FrozenCLIP):
        super().__init__()
        self.clip = clip
        self.width = clip.width
        self.text_width = clip.text_width
        self.text = ScratchText(clip.text_width)
        self.see = clip.see


class ScratchEncoders(nn.Module):
    """Image and text encoders learned with the codec alone: query-aware semantic coding without CLIP (paper: C1).

    A convolutional encoder (each stride halves the resolution, then one residual block a tap) and a small
    transformer over the query's words. Same taps, tokens and call as `FrozenCLIP`. Batch norm keeps tokens
    apart: without it all start alike, one code serves them all, and training never leaves that state; on every tap
    it also keeps the deeper ones centred, as a segment of two codes needs it. Source: ours; the rival's exact
    encoders are not known to us.

    Args:
        taps: M. width: d, a multiple of 32. text_width: e. halvings: log2 of a token's side in pixels.
    """

    frozen = ()

    def __init__(self, taps: int, width: int, text_width: int, halvings: int):
        super().__init__()
        self.width = width
        self.text_width = text_width
        widths = [3, *(min(width, width // 4 * 2**i) for i in range(halvings - 1)), width]
        strides = [
            nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.GELU())
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.stem = nn.Sequential(*strides, nn.BatchNorm2d(width))
        self.blocks = nn.ModuleList(nn.Sequential(Residual(width), nn.BatchNorm2d(width)) for _ in range(taps))
        self.to_text = nn.Linear(width, text_width)
        self.text = ScratchText(text_width)

    def see(self, x: Float[Tensor, "B 3 H W"]) -> Seen:
        """Taps and token embeddings of images in [0, 1], on whatever device."""
        h = self.stem(x.to(self.to_text.weight.device) * 2 - 1)
        taps = []
        for block in self.blocks:
            h = block(h)
            taps.append(rearrange(h, "b d h w -> b (h w) d"))
        return Seen(torch.stack(taps, dim=1), self.to_text(taps[-1]))
