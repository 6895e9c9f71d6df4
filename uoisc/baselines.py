"""The rival: query-aware semantic coding with encoders learned from scratch."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from uoisc.base.settings import ATTENTION_HEADS
from uoisc.decoder import Residual
from uoisc.frozen.clip import FrozenCLIP, Seen


class ScratchText(nn.Module):
    """A text encoder learned with the codec alone: a small transformer over the query's tokens.

    Args:
        tokenizer: of the frozen CLIP, so that both read the same ids; its vocabulary size is `vocabulary`.
        width: e, of the embeddings.
    """

    def __init__(self, tokenizer, vocabulary: int, width: int):
        super().__init__()
        self.tokenizer = tokenizer
        self.embedding = nn.Embedding(vocabulary, width)
        self.language = nn.TransformerEncoderLayer(
            width, ATTENTION_HEADS, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )

    tokenize = FrozenCLIP.tokenize

    def forward(self, queries: list[str]) -> Float[Tensor, "B e"]:
        """Embeddings of the queries: the mean over their tokens after one block of attention."""
        ids = self.tokenize(queries).to(self.embedding.weight.device)
        padding = ids == 0
        h = self.language(self.embedding(ids), src_key_padding_mask=padding)
        return (h * ~padding[..., None]).sum(1) / (~padding).sum(1, keepdim=True)


class ScratchQuery(nn.Module):
    """The frozen CLIP's eyes with a text encoder learned from scratch: selection without alignment by pre-training."""

    frozen = ("clip.",)

    def __init__(self, clip: FrozenCLIP):
        super().__init__()
        self.clip = clip
        self.width = clip.width
        self.text_width = clip.text_width
        self.text = ScratchText(clip.tokenizer, clip.model.vocab_size, clip.text_width)
        self.see = clip.see


class ScratchEncoders(nn.Module):
    """Image and text encoders learned with the codec alone: query-aware semantic coding without CLIP (paper: C1).

    A convolutional encoder (each stride halves the resolution, then one residual block a tap) and a small
    transformer over the query's tokens. Same taps, tokens and call as `FrozenCLIP`. Batch norm keeps tokens
    apart: without it all start alike, one code serves them all, and training never leaves that state. Source:
    ours; the rival's exact encoders are not known to us.

    Args:
        tokenizer, vocabulary: as in `ScratchText`.
        taps: M. width: d, a multiple of 32. text_width: e. halvings: log2 of a token's side in pixels.
    """

    frozen = ()

    def __init__(self, tokenizer, vocabulary: int, taps: int, width: int, text_width: int, halvings: int):
        super().__init__()
        self.width = width
        self.text_width = text_width
        widths = [3, *(min(width, width // 4 * 2**i) for i in range(halvings))]
        strides = [
            nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.GELU())
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.stem = nn.Sequential(*strides, nn.BatchNorm2d(width))
        self.blocks = nn.ModuleList(Residual(width) for _ in range(taps))
        self.to_text = nn.Linear(width, text_width)
        self.text = ScratchText(tokenizer, vocabulary, text_width)

    def see(self, x: Float[Tensor, "B 3 H W"]) -> Seen:
        """Taps and token embeddings of images in [0, 1], on whatever device."""
        h = self.stem(x.to(self.to_text.weight.device) * 2 - 1)
        taps = []
        for block in self.blocks:
            h = block(h)
            taps.append(rearrange(h, "b d h w -> b (h w) d"))
        return Seen(torch.stack(taps, dim=1), self.to_text(taps[-1]))
