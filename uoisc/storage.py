"""Tensors on disk: safetensors, no pickle, with a label of what they are and a digest of all of it.

write:  aside --> flushed to the disk --> renamed        what was there before stays until the new file is whole
read:   a truncated file, a flipped bit, a foreign file: CheckpointError
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uoisc.documents import parse_json
from uoisc.errors import CheckpointError, first_line


def save_tensors(tensors: dict[str, Tensor], path: Path, label: dict) -> None:
    """Writes tensors and a label (JSON values). Raises CheckpointError where the disk takes no more."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    # One entry: safetensors writes several in an order that changes from run to run, and so would the file's bytes.
    metadata = {"label": json.dumps(label | {"sha256": digest(tensors, label)})}
    aside = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, aside, metadata)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error
    finally:
        _remove(aside)


def unwritable(path: Path, error: Exception) -> CheckpointError:
    """What to say where the disk takes no more."""
    return CheckpointError(
        f"{short(path)}: cannot be written ({_reason(error)}); make room or give the right to write, and run the "
        "same command again: what was saved before is kept"
    )


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the label of a file that `save_tensors` wrote.

    Args:
        remedy: what to do about a file that cannot be used: the end of the error's line.

    Raises CheckpointError where it is truncated, changed, or no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
        label = parse_json(metadata.get("label", "{}"))
    except PermissionError as error:
        raise CheckpointError(f"{short(path)}: cannot be read ({_reason(error)}); ask its owner for it") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{short(path)}: truncated or no safetensors file ({_reason(error)}); {remedy}"
        ) from error
    if not isinstance(label, dict) or "sha256" not in label:
        raise CheckpointError(f"{short(path)}: not written by this program (it has no label); {remedy}")
    if label.pop("sha256") != digest(tensors, label):
        raise CheckpointError(f"{short(path)}: damaged (its digest does not fit what it holds); {remedy}")
    return tensors, label


def digest(tensors: dict[str, Tensor], label: dict) -> str:
    """SHA-256 over the label and every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(json.dumps(label, sort_keys=True).encode())
    for key in sorted(tensors):
        value = tensors[key]
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def short(path: Path) -> str:
    """The end of a path: enough to find the file, nothing of the machine."""
    return "/".join(path.parts[-4:])


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder that takes no file gives none away either
        return
