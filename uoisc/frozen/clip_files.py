"""CLIPs on disk: the stand-in's folder, and checkpoints that others have published, by open_clip's names."""

import json
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, reason
from uoisc.base.folders import ROOT, is_there, readable_folder, share
from uoisc.frozen.clip import MEAN, STD, FrozenCLIP, open_clip
from uoisc.frozen.weights import REMEDY, UNPINNED, cache_name, hub_file, verify

from open_clip.model import resize_pos_embed  # isort: skip - needs a torchvision that imports, which clip.py sees to
from open_clip.transformer import VisionTransformer  # isort: skip

QUICK = "-quickgelu"  # open_clip's models with OpenAI's activation, x sigmoid(1.702 x)
HUB_FILE = "open_clip_model.safetensors"  # what open_clip's tags stand for on the hub
FOLDER_FILES = (HUB_FILE, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.bin")
OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")  # beside the weights in OpenAI's own files


def build_clip(vision: dict, text: dict, embed_dim: int) -> open_clip.CLIP:
    """A randomly initialised open_clip model from its own configuration fields."""
    return open_clip.CLIP(embed_dim, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text))


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
        name: `ViT-B-16-quickgelu`, or a folder in open_clip's format, from the project's top.
        pretrained: open_clip's tag or a weights file; None or "" for a folder, which holds its own weights.
        taps: block numbers to tap.
        image_size: pixels a side; other than the checkpoint's own, positions are interpolated (bicubic, open_clip's).
        sha256: of the weights file.

    Raises CheckpointError when there is no such folder, name or weights, when they were trained with another
    activation than the named model has (open_clip only warns), or are another file than `sha256` says.
    """
    source = name
    if is_there(folder := ROOT / name, CheckpointError) and folder.is_dir():
        source = f"local-dir:{readable_folder(folder, REMEDY, CheckpointError)}"
    try:
        config, normalisation, file = published_clip(name, pretrained)
        verify([file], {file.name: sha256})
        state = _read_state(file)
        if [state.pop(key) for key in OPENAI_KEYS if key in state]:
            _check_activation(name, config, True)
        if image_size is not None:
            config["vision_cfg"]["image_size"] = image_size
        model = open_clip.CLIP(**config)
        if not isinstance(model.visual, VisionTransformer):
            raise ValueError("its image encoder is no vision transformer")
        resize_pos_embed(state, model)
        model.load_state_dict(state)
        tokenizer = open_clip.get_tokenizer(source)
    except CheckpointError:
        raise
    except Exception as error:  # of a damaged folder open_clip, torch and their parsers raise whatever they meet
        remedy = "ask its owner for it" if isinstance(error, PermissionError) else REMEDY
        raise CheckpointError(f"CLIP {name!r} cannot be loaded ({reason(error)}): {remedy}") from error
    return FrozenCLIP(model, tokenizer, taps, *normalisation)


def published_clip(name: str, pretrained: str | None) -> tuple[dict, list[tuple[float, ...]], Path]:
    """A CLIP that others have trained: open_clip's configuration, mean and deviation of its images, the weights file.

    The file is fetched where it has to be and may be. Raises CheckpointError for another activation or a missing file,
    ValueError or OSError for anything else.
    """
    folder = ROOT / name
    if folder.is_dir():
        document = parse_json((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        return document["model_cfg"], _normalisation(document.get("preprocess_cfg", {})), weights_in(folder)
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no model {name!r} and there is no such folder")
    if not pretrained:
        raise ValueError("it has no weights: give open_clip's tag or a file")
    tags = _tags(name)
    tag = tags.get(_cleaned(pretrained))
    if tag is None and not (ROOT / pretrained).is_file():
        raise ValueError(f"{pretrained!r} is neither a file nor one of its tags {', '.join(tags)}")
    file = ROOT / pretrained if tag is None else None
    if tag is None:  # the hub's cache tells a file's origin by its path
        tag = next((t for t in tags.values() if cache_name(t.get("hf_hub", "").rstrip("/")) in file.parts), {})
    _check_activation(name, config, tag.get("quick_gelu", False) if tag else None)  # before anything is fetched
    return config, _normalisation(tag), file or hub_file(*tag_source(tag))


def _normalisation(shown: dict) -> list[tuple[float, ...]]:
    found = [tuple(shown.get(key) or usual) for key, usual in (("mean", MEAN), ("std", STD))]
    if [len(values) for values in found] != [3, 3]:
        raise ValueError("its preprocess_cfg does not give a mean and a deviation for each of three channels")
    return found


def _check_activation(name: str, config: dict, quick: bool | None) -> None:
    has = config.get("quick_gelu", False)
    if quick is not None and quick != has:
        trained, right = ("with", name + QUICK) if quick else ("without", name.removesuffix(QUICK))
        raise CheckpointError(
            f"foundation.clip.name = {name}: its weights were trained {trained} OpenAI's quick GELU, which this model "
            f"{'has' if has else 'lacks'}; use {right}"
        )


def tag_source(tag: dict) -> tuple[str, str]:
    """The hub repository and file of one of open_clip's tags, its safetensors. Raises ValueError where it has none."""
    repo, file = tag.get("hf_hub", "").rsplit("/", 1) if tag.get("hf_hub") else ("", "")
    if not repo:
        raise ValueError("open_clip knows no safetensors of this tag: give a weights file")
    return repo, file or HUB_FILE


def hub_source(name: str, pretrained: str) -> tuple[str, str]:
    """Those of a model's tag. Raises ValueError for an unknown one, CheckpointError for the wrong activation."""
    config = open_clip.get_model_config(name)
    tag = _tags(name).get(_cleaned(pretrained))
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
    """The weights file of a folder: of open_clip's own name, else safetensors before others; OSError where none is."""
    files = [file for end in (".safetensors", ".bin", ".pt", ".pth") for file in sorted(folder.glob(f"*{end}"))]
    if not files:
        raise FileNotFoundError("the folder has no weights, .safetensors or .bin")
    return next((file for file in files if file.name in FOLDER_FILES), files[0])


def _read_state(file: Path) -> dict[str, Tensor]:
    """The state dict of a weights file; no code in it ever runs. Raises CheckpointError for a TorchScript archive."""
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
    return {key.removeprefix("module."): value for key, value in state.items()}
