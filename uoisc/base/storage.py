"""Tensors on disk: safetensors, no pickle, with a label of what they are and a digest of all of it.

write:  aside --> flushed to the disk --> renamed        what was there before stays until the new file is whole
read:   a truncated file, a flipped bit, a foreign file: CheckpointError

A label's `made_from` names the digests of what a file rests on: tables name their codec's, a codec its CLIP's and its
judge's. As a file's own digest covers its label, it stands for the whole chain.
"""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, reason
from uoisc.base.folders import readable, short, written_aside

PACKAGE = Path(__file__).parent.parent
CODE = ("*.py", "data/*.py", "frozen/*.py", "importers/*.py")  # with what trains codecs
CODE += ("base/devices.py", "base/distributed.py", "stages/train_models.py")


def save_tensors(tensors: dict[str, Tensor], path: Path, label: dict) -> None:
    """Writes tensors and a label (JSON values). Raises CheckpointError where the disk takes no more."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    # One entry: safetensors writes several in an order that changes from run to run, and so would the file's bytes.
    metadata = {"label": json.dumps(label | {"sha256": digest(tensors, label)})}
    data = save(tensors, metadata)  # `save_file` writes beside the file, and a killed process would leave that behind
    with written_aside(path, CheckpointError) as aside, aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict]:
    """The tensors and the label of a file that `save_tensors` wrote.

    Raises CheckpointError, which ends with `remedy`, where it is truncated, changed, or no such file.
    """
    label = read_label(path, remedy)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise _broken(path, error, remedy) from error
    if label.pop("sha256") != digest(tensors, label):
        raise CheckpointError(f"{short(path)}: damaged (its digest does not fit what it holds); {remedy}")
    return tensors, label


def read_label(path: Path, remedy: str) -> dict:
    """The label alone, its digest `sha256` included: no tensor is read. Raises CheckpointError as `read_tensors`."""
    readable(path, remedy, CheckpointError)
    try:
        with safe_open(path, framework="pt") as file:
            label = parse_json((file.metadata() or {}).get("label", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise _broken(path, error, remedy) from error
    if not isinstance(label, dict) or not isinstance(label.get("sha256"), str):
        raise CheckpointError(f"{short(path)}: not written by this program (it has no label); {remedy}")
    return label


def check_made_from(path: Path, label: dict, here: dict[str, str], remedy: str) -> None:
    """Holds what a file was made from against digests of what is `here`, by name ("CLIP"): no receiver has a judge.

    Raises CheckpointError, which names the first that is another and ends with `remedy`.
    """
    made_from = label.get("made_from", {})
    for name, expected in here.items():
        if not isinstance(made_from, dict) or made_from.get(name) != expected:
            raise CheckpointError(f"{short(path)}: made from another {name} than the one here; {remedy}")


def _broken(path: Path, error: Exception, remedy: str) -> CheckpointError:
    return CheckpointError(f"{short(path)}: truncated or no safetensors file ({reason(error)}); {remedy}")


def digest_of(value) -> str:
    """SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 over the modules that codecs are trained by, which `CODE` names."""
    files = (file for pattern in CODE for file in sorted(PACKAGE.glob(pattern)))
    return digest_of({str(file.relative_to(PACKAGE)): file.read_text(encoding="utf-8") for file in files})


def digest(tensors: dict[str, Tensor], label: dict) -> str:
    """SHA-256 over the label and every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(json.dumps(label, sort_keys=True).encode())
    for key in sorted(tensors):
        value = tensors[key]
        found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
