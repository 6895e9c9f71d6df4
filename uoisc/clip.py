"""The frozen CLIP (open_clip): tapped hidden states, token and text embeddings, query-token relevance.

The stand-in that `foundation.py` trains and real checkpoints (ViT-B/16, ...) run through the same class: a
stand-in is a folder in open_clip's own `local-dir:` format, a real one a name and a tag or a weights file.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uoisc.compat import import_torchvision
from uoisc.documents import parse_json
from uoisc.errors import CheckpointError, reason
from uoisc.folders import is_there, readable_folder, share
from uoisc.queries import PLAIN, Reader, check_fits, check_queries, hub_reader
from uoisc.weights import UNPINNED, hub_file, verify

import_torchvision()
warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, in notebooks; it would print a path
import open_clip  # noqa: E402 - needs a torchvision that imports
from open_clip.model import resize_pos_embed  # noqa: E402
from open_clip.transformer import VisionTransformer  # noqa: E402

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
QUICK = "-quickgelu"  # open_clip's models with OpenAI's activation, x sigmoid(1.702 x)
HUB_FILE = "open_clip_model.safetensors"  # what open_clip's tags stand for on the hub
FOLDER_FILES = (HUB_FILE, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.bin")
OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")  # beside the weights in OpenAI's own files


@dataclass(frozen=True)
class Seen:
    """What CLIP sees in a batch of images: M_S taps of N tokens of width d, and token embeddings of width e."""

    taps: Float[Tensor, "B M N d"]
    tokens: Float[Tensor, "B N e"]


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, as one matrix product: same weights, same result.

    On a CPU its gradient to the image is several times faster than the convolution's.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Patches (B, h w, C p p) times the kernel (C p p, D); what is left over at the edges is cut off."""
        p, q = self.kernel_size
        h, w = x.shape[-2] // p, x.shape[-1] // q
        patches = rearrange(x[..., : h * p, : w * q], "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=q)
        out = F.linear(patches, self.weight.flatten(1), self.bias)
        return rearrange(out, "b (h w) d -> b d h w", h=h)


class SelfAttention(nn.MultiheadAttention):
    """torch's self-attention, computed batch first: same weights, same result.

    torch turns the batch to the second place first; on a CPU its projections then copy their weights a token.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask=None, **_):
        """(attended, None) for (B, L, d); `key` and `value` are `query`."""
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(projected, "b l (three h c) -> three b h l c", three=3, h=self.num_heads)
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(rearrange(out, "b h l c -> b l (h c)")), None


def speed_up(model: nn.Module) -> None:
    """Swaps in the faster equivalents above for the modules that they equal; parameters and names stay."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and module.batch_first and module.in_proj_weight is not None:
            module.__class__ = SelfAttention
        elif type(module) is nn.Conv2d and module.stride == module.kernel_size and module.padding in ("valid", (0, 0)):
            module.__class__ = PatchConv


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
        speed_up(model)
        self.tokenizer = tokenizer
        self.taps = tuple(taps)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        depth = len(model.visual.transformer.resblocks)
        if max(taps) >= depth or min(taps) < 0:
            raise CheckpointError(f"codec.taps {list(taps)}: this CLIP has blocks 0 to {depth - 1}")

    @property
    def width(self) -> int:
        """d, the width of the tapped hidden states."""
        return self.model.visual.conv1.out_channels

    @property
    def text_width(self) -> int:
        """e, the width of the shared embedding space."""
        return self.model.visual.output_dim

    @property
    def grid(self) -> int:
        """Tokens a side: N = grid^2."""
        return self.model.visual.grid_size[0]

    def train(self, mode: bool = True) -> FrozenCLIP:
        """Stays in evaluation mode: it is frozen."""
        return super().train(False)

    def see(self, x: Float[Tensor, "B 3 H W"]) -> Seen:
        """Taps and token embeddings of images in [0, 1], on whatever device, in one pass through the transformer."""
        x = x.to(self.mean.device)
        visual = self.model.visual
        last = len(visual.transformer.resblocks) - 1
        indices = sorted({*self.taps, last})
        hidden = visual.forward_intermediates(
            (x - self.mean) / self.std, indices=indices, output_fmt="NLC", intermediates_only=True
        )["image_intermediates"]  # one (B, N, d) an index
        taps = torch.stack([hidden[indices.index(m)] for m in self.taps], dim=1)  # (B, M, N, d)
        return Seen(taps, visual.ln_post(hidden[-1]) @ visual.proj)

    def early(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2 N d"]:
        """Layer-normalised outputs of the first two blocks for images in [0, 1] (the perceptual loss)."""
        hidden = self.model.visual.forward_intermediates(
            (x - self.mean) / self.std, indices=[0, 1], stop_early=True, output_fmt="NLC", intermediates_only=True
        )["image_intermediates"]
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
        return self.model.encode_text(self.tokenize(queries).to(self.mean.device), normalize=True)

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


def build_clip(vision: dict, text: dict, embed_dim: int) -> open_clip.CLIP:
    """A randomly initialised open_clip model from its own configuration fields."""
    return open_clip.CLIP(
        embed_dim=embed_dim,
        vision_cfg=open_clip.CLIPVisionCfg(**vision),
        text_cfg=open_clip.CLIPTextCfg(**text),
    )


def save_clip(model: open_clip.CLIP, folder: Path, vision: dict, text: dict, embed_dim: int) -> None:
    """Writes a folder that open_clip itself opens by `local-dir:`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_cfg": {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / HUB_FILE)
    share(folder / HUB_FILE)


def load_clip(
    name: str, pretrained: str | None, taps: tuple[int, ...], image_size: int | None = None, sha256: str = UNPINNED
) -> FrozenCLIP:
    """A frozen CLIP by name: a local folder, or an open_clip model name with a tag or weights file.

    Args:
        name: `ViT-B-16-quickgelu`, or the path of a folder in open_clip's format (as `save_clip` writes it).
        pretrained: open_clip's tag or a weights file; None or "" for a folder, which holds its own weights.
        taps: block numbers to tap.
        image_size: pixels a side; other than the checkpoint's own, positions are interpolated (bicubic, open_clip's).
        sha256: of the weights file.

    Raises CheckpointError when there is no such folder, name or weights, when they were trained with another
    activation than the named model has (open_clip only warns), or are another file than `sha256` says.
    """
    source, remedy = name, "run the foundation stage (dvc repro), or name a checkpoint that is here"
    if is_there(Path(name), CheckpointError) and Path(name).is_dir():
        source = f"local-dir:{readable_folder(Path(name), remedy, CheckpointError)}"
    try:
        found = published_clip(name, pretrained)
        verify([found.file], {found.file.name: sha256})
        state = _read_state(found)
        if image_size is not None:
            found.config["vision_cfg"]["image_size"] = image_size
        model = open_clip.CLIP(**found.config)
        if not isinstance(model.visual, VisionTransformer):
            raise ValueError("its image encoder is no vision transformer")
        resize_pos_embed(state, model)
        model.load_state_dict(state)
        tokenizer = open_clip.get_tokenizer(source)
    except CheckpointError:
        raise
    except Exception as error:  # of a damaged folder open_clip, torch and their parsers raise whatever they meet
        remedy = "ask its owner for it" if isinstance(error, PermissionError) else remedy
        raise CheckpointError(f"CLIP {name!r} cannot be loaded ({reason(error)}): {remedy}") from error
    return FrozenCLIP(model, tokenizer, taps, found.mean, found.std)


@dataclass(frozen=True)
class PublishedClip:
    """A CLIP that others have trained: open_clip's configuration, how images are normalised, the weights file."""

    config: dict
    mean: tuple[float, ...]
    std: tuple[float, ...]
    file: Path
    quick_gelu: bool | None  # whether its weights were trained with it, where that is known
    name: str


def published_clip(name: str, pretrained: str | None) -> PublishedClip:
    """Finds a CLIP and its weights file, which is fetched where it has to be and may be.

    Raises CheckpointError for another activation or a missing file, ValueError or OSError for anything else.
    """
    folder = Path(name)
    if folder.is_dir():
        document = parse_json((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        shown = document.get("preprocess_cfg", {})
        return _published(name, document["model_cfg"], shown, weights_in(folder), None)
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no model {name!r} and there is no such folder")
    if not pretrained:
        raise ValueError("it has no weights: give open_clip's tag or a file")
    tags = _tags(name)
    tag = tags.get(_cleaned(pretrained))
    if tag is None and not Path(pretrained).is_file():
        raise ValueError(f"{pretrained!r} is neither a file nor one of its tags {', '.join(tags)}")
    file = Path(pretrained) if tag is None else None
    if tag is None:  # the hub's cache tells a file's origin by its path
        tag = next((t for t in tags.values() if _cache_name(t) and _cache_name(t) in file.parts), None)
    quick = None if tag is None else tag.get("quick_gelu", False)
    _check_activation(name, config, quick)  # before anything is fetched
    return _published(name, config, tag or {}, file or hub_file(*tag_source(tag)), quick)


def _published(name: str, config: dict, shown: dict, file: Path, quick: bool | None) -> PublishedClip:
    mean, std = shown.get("mean") or MEAN, shown.get("std") or STD
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("its preprocess_cfg does not give a mean and a deviation for each of three channels")
    return PublishedClip(config, tuple(mean), tuple(std), file, quick, name)


def _check_activation(name: str, config: dict, quick: bool | None) -> None:
    has = config.get("quick_gelu", False)
    if quick is not None and quick != has:
        trained, right = ("with", name + QUICK) if quick else ("without", name.removesuffix(QUICK))
        raise CheckpointError(
            f"foundation.clip.name = {name}: its weights were trained {trained} OpenAI's quick GELU, which this model "
            f"{'has' if has else 'lacks'}; use {right}"
        )


def _cache_name(tag: dict) -> str:
    """The folder of a tag's repository in the hub's cache; "" where it has none."""
    repo = tag.get("hf_hub", "").rstrip("/")
    return f"models--{repo.replace('/', '--')}" if repo.count("/") == 1 else ""


def tag_source(tag: dict) -> tuple[str, str]:
    """The hub repository and file of one of open_clip's tags, its safetensors. Raises ValueError where it has none."""
    repo, file = tag.get("hf_hub", "").rsplit("/", 1) if tag.get("hf_hub") else ("", "")
    if not repo:
        raise ValueError("open_clip knows no safetensors of this tag: give a weights file")
    return repo, file or HUB_FILE


def hub_source(name: str, pretrained: str) -> tuple[str, str]:
    """The hub repository and file of a model's tag.

    Raises ValueError for an unknown one, CheckpointError for the wrong activation.
    """
    config, tag = open_clip.get_model_config(name), _tags(name).get(_cleaned(pretrained))
    if config is None or tag is None:
        raise ValueError(f"open_clip has no model {name!r} with weights {pretrained!r}")
    _check_activation(name, config, tag.get("quick_gelu", False))
    return tag_source(tag)


def _tags(name: str) -> dict[str, dict]:
    """What open_clip knows of the published weights of a model and of its twin with the other activation."""
    base = name.removesuffix(QUICK)
    return {tag: open_clip.get_pretrained_cfg(base, tag) for tag in open_clip.list_pretrained_tags_by_model(base)}


def _cleaned(tag: str) -> str:
    return tag.lower().replace("-", "_")  # as open_clip writes them


def weights_in(folder: Path) -> Path:
    """The weights file of a folder in open_clip's format, safetensors before state dicts; OSError where it has none."""
    files = [file for end in (".safetensors", ".bin", ".pt", ".pth") for file in sorted(folder.glob(f"*{end}"))]
    if not files:
        raise FileNotFoundError("the folder has no weights, .safetensors or .bin")
    return next((file for file in files if file.name in FOLDER_FILES), files[0])


def _read_state(found: PublishedClip) -> dict[str, Tensor]:
    """The state dict of a weights file; no code in it ever runs. Raises CheckpointError for a TorchScript archive."""
    file = found.file
    if file.suffix == ".safetensors":
        state = load_file(file)
    else:
        if is_zipfile(file) and any(entry.endswith("/constants.pkl") for entry in ZipFile(file).namelist()):
            raise CheckpointError(
                f"{file.name} is a TorchScript archive, which holds code: take the safetensors of the same weights, "
                "for OpenAI's with foundation.clip.weights: openai"
            )
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        state = loaded.get("state_dict", loaded)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if [state.pop(key) for key in OPENAI_KEYS if key in state]:
        _check_activation(found.name, found.config, True)
    return state
