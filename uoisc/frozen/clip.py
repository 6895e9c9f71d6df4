"""The frozen CLIP (open_clip): tapped hidden states, token and text embeddings, query-token relevance.

The stand-in that `foundation.py` trains and real checkpoints (ViT-B/16, ...) run through the same class: a
stand-in is a folder in open_clip's own `local-dir:` format, a real one a name and a tag or a weights file.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from uoisc.base.compat import import_torchvision
from uoisc.base.devices import autocast_type
from uoisc.base.errors import CheckpointError
from uoisc.base.settings import RELEVANCE_ATTENTIONS
from uoisc.data.queries import PLAIN, Reader, check_fits, check_queries, hub_reader
from uoisc.frozen.kept import Kept

import_torchvision()
warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, in notebooks; it would print a path
import open_clip  # noqa: E402 - needs a torchvision that imports

UNPADDED = ("valid", (0, 0))
MEAN = open_clip.OPENAI_DATASET_MEAN
STD = open_clip.OPENAI_DATASET_STD


@dataclass(frozen=True)
class Seen:
    """What CLIP sees in a batch of images: M_S taps of N tokens of width d, token embeddings of width e, and what its
    first two blocks put out."""

    taps: Float[Tensor, "B M N d"]
    tokens: Float[Tensor, "B N e"]
    first: Float[Tensor, "B 2 N d"] | None = None

    @property
    def early(self) -> Float[Tensor, "B 2 N d"]:
        """The first two blocks' outputs, layer-normalised (the perceptual loss)."""
        return F.layer_norm(self.first, self.first.shape[-1:])


def cast(module: nn.Module, name: str) -> Tensor | None:
    """A module's frozen weights as autocast would cast them at every call: cast once, and anew where they change."""
    tensor = getattr(module, name)
    if tensor is None or tensor.requires_grad or (kind := autocast_type(tensor.device.type)) is None:
        return tensor
    state = (kind, tensor.device, tensor.data_ptr(), tensor._version)
    casts = module.__dict__.setdefault("casts", {})
    if name not in casts or casts[name][0] != state:
        casts[name] = state, tensor.to(kind)
    return casts[name][1]


class FrozenLinear(nn.Linear):
    """A linear map of frozen weights, cast once: same weights, same result."""

    @classmethod
    def like(cls, other: nn.Linear) -> "FrozenLinear":
        """With the other's parameters."""
        new = cls(other.in_features, other.out_features, other.bias is not None, device="meta")
        new.weight = other.weight
        new.bias = other.bias
        return new.train(other.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, cast(self, "weight"), cast(self, "bias"))


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, as one matrix product: same weights, same result.

    On a CPU its gradient to the image is several times faster than the convolution's.
    """

    @classmethod
    def like(cls, other: nn.Conv2d) -> "PatchConv":
        """With the other's parameters."""
        sizes = (other.in_channels, other.out_channels, other.kernel_size, other.stride)
        new = cls(*sizes, bias=other.bias is not None, device="meta")
        new.weight = other.weight
        new.bias = other.bias
        return new.train(other.training)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Patches (B, h w, C p p) times the kernel (C p p, D); what is left over at the edges is cut off."""
        p, q = self.kernel_size
        h = x.shape[-2] // p
        w = x.shape[-1] // q
        patches = rearrange(x[..., : h * p, : w * q], "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=q)
        out = F.linear(patches, cast(self, "weight").flatten(1), cast(self, "bias"))
        return rearrange(out, "b (h w) d -> b d h w", h=h)


class SelfAttention(nn.MultiheadAttention):
    """torch's self-attention, computed batch first: same weights, same result.

    torch turns the batch to the second place first; on a CPU its projections then copy their weights a token.
    """

    @classmethod
    def like(cls, other: nn.MultiheadAttention) -> "SelfAttention":
        """With the other's parameters."""
        options = {"bias": other.in_proj_bias is not None, "batch_first": True, "device": "meta"}
        new = cls(other.embed_dim, other.num_heads, **options)
        new.in_proj_weight = other.in_proj_weight
        new.in_proj_bias = other.in_proj_bias
        new.out_proj = other.out_proj
        return new.train(other.training)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attn_mask=None, **_):
        """(attended, None) for (B, L, d); `key` and `value` are `query`."""
        projected = F.linear(query, cast(self, "in_proj_weight"), cast(self, "in_proj_bias"))
        q, k, v = rearrange(projected, "b l (three h c) -> three b h l c", three=3, h=self.num_heads)
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(rearrange(out, "b h l c -> b l (h c)")), None


def speed_up(model: nn.Module, casts: bool = True) -> None:
    """Puts the faster equivalents above in the place of the modules that they equal; parameters and names stay.

    casts: whether autocast would cast its weights; where not, linear maps stay plain, which torch.compile can trace.
    """
    for name, module in model.named_children():
        if type(module) is nn.MultiheadAttention and module.batch_first and module.in_proj_weight is not None:
            setattr(model, name, SelfAttention.like(module))
        elif type(module) is nn.Conv2d and module.stride == module.kernel_size and module.padding in UNPADDED:
            setattr(model, name, PatchConv.like(module))
        elif casts and type(module) in (nn.Linear, NonDynamicallyQuantizableLinear):
            setattr(model, name, FrozenLinear.like(module))
        speed_up(getattr(model, name), casts)


class QueryKey:
    """Tokens as CLIP's last block puts them out: a token gathers from those whose keys its query asks for."""

    blocks = 1  # from the end, whose outputs are read

    def __call__(self, visual: nn.Module, states: list[Float[Tensor, "B L d"]]) -> Float[Tensor, "B L d"]:
        """Of the last blocks' outputs, the class token first."""
        return states[-1]


class ValueValue:
    """Tokens that gather from those whose values are like their own, in the last block alone; its MLP is left out.

        x + W_o softmax(V V^T / sqrt(c)) V,  V = W_v LN(x), head by head; x: what comes into the last block

    Source: CLIP Surgery (Li et al., 2023, arXiv 2304.05653), its new path, begun at the last block. There query and
    key gather from what is elsewhere in the image, so that a token's embedding says little of its own place.
    """

    blocks = 2

    def __call__(self, visual: nn.Module, states: list[Float[Tensor, "B L d"]]) -> Float[Tensor, "B L d"]:
        """Of the last blocks' outputs, the class token first."""
        block = visual.transformer.resblocks[-1]
        x = states[-2]
        attention = block.attn
        weight = attention.in_proj_weight.chunk(3)[2]
        bias = attention.in_proj_bias.chunk(3)[2]
        v = rearrange(F.linear(block.ln_1(x), weight, bias), "b l (h c) -> b h l c", h=attention.num_heads)
        out = rearrange(F.scaled_dot_product_attention(v, v, v), "b h l c -> b l (h c)")
        return x + block.ls_1(attention.out_proj(out))


ATTENTIONS = dict(zip(RELEVANCE_ATTENTIONS, (QueryKey, ValueValue), strict=True))


class FrozenCLIP(nn.Module):
    """A CLIP whose weights never change; gradients still flow through it into the image.

    Args:
        model: any `open_clip.CLIP` with a vision transformer.
        tokenizer: its tokenizer (texts -> (B, L) token ids).
        taps: M_S block numbers (0-based, ascending) whose outputs are tapped.
        mean, std: of the images that it was trained on, a channel each.
    """

    frozen = ("",)  # which of its weights no codec's checkpoint repeats: all

    def __init__(self, model: open_clip.CLIP, tokenizer, taps: tuple[int, ...], mean=MEAN, std=STD):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.kept = Kept()
        speed_up(model)
        self.tokenizer = tokenizer
        self.taps = tuple(taps)
        self.attention = QueryKey()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.width = model.visual.conv1.out_channels  # d, of the tapped hidden states
        self.text_width = model.visual.output_dim  # e, of the shared embedding space
        self.grid = model.visual.grid_size[0]  # tokens a side: N = grid^2
        depth = len(model.visual.transformer.resblocks)
        if max(taps) >= depth or min(taps) < 0:
            raise CheckpointError(f"codec.taps {list(taps)}: this CLIP has blocks 0 to {depth - 1}")

    def attending(self, attention: type[QueryKey | ValueValue]) -> "FrozenCLIP":
        """Itself, with another attention in the last block for token embeddings, and so for relevance; taps are the
        blocks' own outputs. Raises CheckpointError where it has too few blocks."""
        if attention.blocks > len(self.model.visual.transformer.resblocks):
            raise CheckpointError("foundation.clip.relevance_attention: a CLIP of one block has query_key alone")
        self.attention = attention()
        return self

    def train(self, mode: bool = True) -> "FrozenCLIP":
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def see(self, x: Float[Tensor, "B 3 H W"]) -> Seen:
        """What CLIP sees in images in [0, 1], on whatever device, in one pass through the transformer."""
        return Seen(*self.kept.of(x, "see", lambda: self._see(x.to(self.mean.device))))

    def _see(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        visual = self.model.visual
        depth = len(visual.transformer.resblocks)
        ends = range(depth - self.attention.blocks, depth)
        indices = sorted({0, min(1, depth - 1), *self.taps, *ends})
        found = self._blocks(x, indices, output_extra_tokens=True)
        hidden = dict(zip(indices, found["image_intermediates"], strict=True))  # one (B, N, d) an index
        prefix = dict(zip(indices, found["image_intermediates_prefix"], strict=True))  # the class token, (B, 1, d)
        taps = torch.stack([hidden[m] for m in self.taps], dim=1)  # (B, M, N, d)
        tokens = self.attention(visual, [torch.cat([prefix[i], hidden[i]], dim=1) for i in ends])[:, 1:]
        first = torch.stack([hidden[i] for i in indices[:2]], dim=1)
        return taps, visual.ln_post(tokens) @ visual.proj, first

    def _blocks(self, x: Float[Tensor, "B 3 H W"], indices: list[int], **how) -> dict:
        """What the blocks of these numbers put out."""
        options = {"output_fmt": "NLC", "intermediates_only": True, **how}
        return self.model.visual.forward_intermediates((x - self.mean) / self.std, indices=indices, **options)

    def early(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2 N d"]:
        """`Seen.early` of images in [0, 1]; no further block runs."""
        if self.kept.knows(x):
            return self.see(x).early
        hidden = self._blocks(x.to(self.mean.device), [0, 1], stop_early=True)["image_intermediates"]
        return F.layer_norm(torch.stack(hidden, dim=1), hidden[0].shape[-1:])

    def tokenize(self, queries: list[str] | Any) -> Int[Tensor, "B L"]:
        """Token ids of the queries. Raises QueryError for one that is no query, or would not be read whole as text."""
        queries = check_queries(queries)
        ids = self.tokenizer(queries)
        # The last id is padding (0) unless the query fills the context; then it may have been cut.
        doubtful = [q for q, last in zip(queries, ids[:, -1].tolist(), strict=True) if last or not PLAIN.fullmatch(q)]
        check_fits(doubtful, clip_reader(self.tokenizer))
        return ids

    def text(self, queries: list[str] | Any) -> Float[Tensor, "B e"]:
        """Unit-norm text embeddings of the queries."""
        queries = check_queries(queries)
        device = self.mean.device
        return self.kept.of_texts(
            queries, device, lambda: self.model.encode_text(self.tokenize(queries).to(device), normalize=True)
        )

    @staticmethod
    def relevance(tokens: Float[Tensor, "B N e"], text: Float[Tensor, "B e"]) -> Float[Tensor, "B N"]:
        """Query-token relevance in [-1, 1]: the cosine of each token's embedding and the query's."""
        with torch.autocast(tokens.device.type, enabled=False):  # in bfloat16 many tokens would tie
            return torch.einsum("bne,be->bn", F.normalize(tokens.float(), dim=-1), F.normalize(text.float(), dim=-1))


def clip_reader(tokenizer) -> Reader:
    """What open_clip's tokenizer makes of queries; two of its context's tokens begin and end each."""
    room = tokenizer.context_length - 2
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        return Reader("CLIP", room, lambda texts: [*map(tokenizer.encode, texts)], frozenset(tokenizer.all_special_ids))
    return hub_reader("CLIP", tokenizer.tokenizer, room)
