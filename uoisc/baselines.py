"""Rivals: query-aware semantic coding with encoders learned from scratch, and JPEG 2000 at equal bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from uoisc.clip import FrozenCLIP, Seen
from uoisc.config import ATTENTION_HEADS
from uoisc.decoder import Residual


class ScratchEncoders(nn.Module):
    """Image and text encoders learned with the codec alone: query-aware semantic coding without CLIP (paper: C1).

    A convolutional encoder (each stride halves the resolution, then one residual block a tap) and a small
    transformer over the query's tokens. Same taps, tokens and call as `FrozenCLIP`. Batch norm keeps tokens
    apart: without it all start alike, one code serves them all, and training never leaves that state. Source:
    ours; the rival's exact encoders are not known to us.

    Args:
        tokenizer: of the frozen CLIP, so that both read the same ids; its vocabulary size is `vocabulary`.
        taps: M. width: d, a multiple of 32. text_width: e. halvings: log2 of a token's side in pixels.
    """

    def __init__(self, tokenizer, vocabulary: int, taps: int, width: int, text_width: int, halvings: int):
        super().__init__()
        self.tokenizer, self.width, self.text_width = tokenizer, width, text_width
        widths = [3, *(min(width, width // 4 * 2**i) for i in range(halvings))]
        strides = [
            nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.BatchNorm2d(b), nn.GELU())
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        self.stem = nn.Sequential(*strides, nn.BatchNorm2d(width))
        self.blocks = nn.ModuleList(Residual(width) for _ in range(taps))
        self.to_text = nn.Linear(width, text_width)
        self.embedding = nn.Embedding(vocabulary, text_width)
        self.language = nn.TransformerEncoderLayer(
            text_width, ATTENTION_HEADS, 2 * text_width, 0.0, "gelu", batch_first=True, norm_first=True
        )

    tokenize = FrozenCLIP.tokenize
    relevance = staticmethod(FrozenCLIP.relevance)

    def see(self, x: Float[Tensor, "B 3 H W"]) -> Seen:
        """Taps and token embeddings of images in [0, 1]."""
        h = self.stem(x * 2 - 1)
        taps = []
        for block in self.blocks:
            h = block(h)
            taps.append(rearrange(h, "b d h w -> b (h w) d"))
        return Seen(torch.stack(taps, dim=1), self.to_text(taps[-1]))

    def text(self, queries: list[str]) -> Float[Tensor, "B e"]:
        """Embeddings of the queries: the mean over their tokens after one block of attention."""
        ids = self.tokenize(queries).to(self.embedding.weight.device)
        padding = ids == 0
        h = self.language(self.embedding(ids), src_key_padding_mask=padding)
        return (h * ~padding[..., None]).sum(1) / (~padding).sum(1, keepdim=True)


def jpeg2000(image: UInt8[np.ndarray, "H W 3"], max_bytes: int) -> tuple[UInt8[np.ndarray, "H W 3"], int]:
    """The image through the smallest JPEG 2000 codestream near `max_bytes`, and its real size in bytes.

    A codestream has about 100 bytes of headers, so at the rates of this study it cannot be met: then the
    smallest one that the encoder makes is returned, and its size tells.
    """
    from PIL import Image

    best = None
    for ratio in (raw := image.nbytes) / np.array([max_bytes, *np.geomspace(max_bytes, raw / 8, 12)]):
        buffer = io.BytesIO()
        Image.fromarray(image).save(
            buffer, "JPEG2000", quality_mode="rates", quality_layers=[float(ratio)], irreversible=True, no_jp2=True
        )
        if best is None or len(buffer.getvalue()) < len(best):
            best = buffer.getvalue()
    return np.array(Image.open(io.BytesIO(best)).convert("RGB")), len(best)
