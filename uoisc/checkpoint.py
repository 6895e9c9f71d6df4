"""Codec checkpoints: safetensors with what they are of in the header, written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uoisc.codec import Codec
from uoisc.config import DIAL, Params
from uoisc.errors import CheckpointError


def fingerprint(params: Params, rate: str) -> str:
    """Eight hex digits of what shapes a codec of that rate: its own parameters and the image size."""
    shaping = asdict(params.codec)
    shaping.pop("rates" if rate == DIAL else "dial")
    text = json.dumps([shaping, params.data.image_size], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes aside, then renames: a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, aside, metadata)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def save_codec(codec: Codec, path: Path, variant: str, rate: str, params: Params) -> None:
    """The codec's own weights; a frozen CLIP's are not repeated."""
    label = {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate)}
    # One entry: safetensors writes several in an order that changes from run to run, and so would the file's bytes.
    save_tensors(codec.own_state(), path, {"codec": json.dumps(label, sort_keys=True)})


def load_codec(codec: Codec, path: Path, variant: str, rate: str, params: Params) -> Codec:
    """Fills `codec` from a checkpoint.

    Raises CheckpointError when the file is missing, truncated, or of another variant, rate or parameters.
    """
    if not path.is_file():
        raise CheckpointError(f"{_short(path)}: not there; train it first (dvc repro, or notebooks 03 to 05)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("codec", "{}"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{_short(path)}: truncated or no safetensors file ({error}); train it again") from error
    expected = {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate)}
    for key, value in expected.items():
        if metadata.get(key) != value:
            what = (
                "parameters (params.yaml has changed since)" if key == "fingerprint" else f"{key} {metadata.get(key)!r}"
            )
            raise CheckpointError(
                f"{_short(path)}: a checkpoint of other {what}, wanted {variant} at {rate}; train it again"
            )
    try:
        codec.load_own_state(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{_short(path)}: does not fit this codec ({str(error).splitlines()[0]}); train it again"
        ) from error
    return codec.eval()


def _short(path: Path) -> str:
    return "/".join(path.parts[-4:])
