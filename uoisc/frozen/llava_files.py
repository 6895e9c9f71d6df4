"""LLaVAs on disk, in transformers' own format: the stand-in's folder, and checkpoints that others have published."""

import re
from pathlib import Path

import torch

from uoisc.base.devices import native_bfloat16
from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.folders import ROOT, is_there, readable_folder, share
from uoisc.frozen.llava import FrozenLlava
from uoisc.frozen.weights import REMEDY, hub_folder, verify, weights_files

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load_llava(
    name: str, revision: str = "", sha256: dict[str, str] | None = None, device: str = "cpu", suffix: str = ""
) -> FrozenLlava:
    """A frozen LLaVA from a local folder or a hub name; no remote code, safetensors alone.

    Args:
        name: a folder in transformers' own format, or a hub name.
        revision: of the hub name; "" for a folder.
        sha256: of each weights file; None checks none (what the pipeline itself has made).
        device: which one; bfloat16 on a GPU that has it, else float32.
        suffix: what follows every question.

    Raises CheckpointError when it is not there, is no LLaVA, lacks weights, or is another one than `sha256` says.
    """
    from transformers import AutoProcessor, LlavaForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for every small file drowns the training's own
    folder = llava_folder(name, revision)
    kind = torch.device(device).type
    if sha256 is not None:
        verify(weights_files(folder), sha256)
    try:
        _check_config(folder)
        model, loaded = LlavaForConditionalGeneration.from_pretrained(
            folder,
            use_safetensors=True,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.bfloat16 if kind != "cpu" and native_bfloat16(kind) else torch.float32,
            device_map=None if kind == "cpu" else device,  # not by way of the CPU's memory
        )
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a damaged folder transformers and its parsers raise whatever they meet
        raise CheckpointError(f"LLaVA {name!r} cannot be loaded ({first_line(error)}): {REMEDY}") from error
    _check_weights(loaded["missing_keys"], name)
    llava = FrozenLlava(model.to(device), processor, suffix).to(device)
    _check_prompt(llava, name)
    return llava


def _check_weights(missing: set[str], name: str) -> None:
    """Raises CheckpointError where a model's files lack weights: transformers makes them up and only warns."""
    # hidden states before the tower's last norm are taken: nothing reads what it lacks there
    missing = sorted(key for key in missing if ".post_layernorm." not in key)
    if missing:
        raise CheckpointError(f"LLaVA {name!r} lacks weights ({', '.join(missing[:3])}, ...): fetch it again")


def _check_prompt(llava: FrozenLlava, name: str) -> None:
    """Raises CheckpointError where its chat template or tokenizer writes no prompt with an image."""
    try:
        ids, _ = llava.tokenize(["what is it"])
    except Exception as error:  # of a damaged chat template or tokenizer
        raise CheckpointError(
            f"LLaVA {name!r} cannot write a prompt ({first_line(error)}): its chat template or tokenizer is "
            "incomplete, fetch it again"
        ) from error
    if (ids == llava.model.config.image_token_id).sum() != llava.image_tokens:
        raise CheckpointError(f"LLaVA {name!r}: its chat template leaves the image out, fetch it again")


def _check_config(folder: Path) -> None:
    """Raises ValueError where config.json is not a LLaVA's own: transformers would make up one of 7 billion weights."""
    config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    parts = [config.get(key) for key in ("vision_config", "text_config")] if isinstance(config, dict) else []
    if not parts or not all(isinstance(part, dict) and part for part in parts) or config.get("model_type") != "llava":
        raise ValueError("its config.json is not that of a LLaVA")
    layers = parts[0].get("num_hidden_layers")
    tapped = config.get("vision_feature_layer", -2)
    several = tapped if isinstance(tapped, list) else [tapped]
    if layers and not all(-layers - 1 <= layer <= layers for layer in several):
        raise ValueError(f"its config.json takes layer {tapped} of a vision tower of {layers}")


def llava_folder(name: str, revision: str = "") -> Path:
    """A local folder, from the project's top, or the hub's cache. Raises CheckpointError as `hub_folder` does."""
    if is_there(folder := ROOT / name, CheckpointError) and folder.is_dir():
        return readable_folder(folder, REMEDY, CheckpointError)
    if not HUB_NAME.fullmatch(name) or not revision:
        raise CheckpointError(
            f"LLaVA {name!r} cannot be loaded (no such folder, and a hub name is owner/name at a revision): {REMEDY}"
        )
    return hub_folder(name, revision)


def save_llava(model, processor, folder: Path) -> None:
    """Writes the model and its processor in transformers' own format."""
    folder.mkdir(parents=True, exist_ok=True)
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bar is drawn off a terminal as well
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    share(*folder.glob("*.safetensors"))
