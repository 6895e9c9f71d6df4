"""Codec checkpoints: a codec's own weights, labelled with the variant, the rate and the parameters that shape it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from uoisc.base.config import DIAL, Params
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.storage import read_tensors, save_tensors, short
from uoisc.codec import Codec


def fingerprint(params: Params, rate: str) -> str:
    """Eight hex digits of what shapes a codec of that rate: its own parameters and the image size."""
    shaping = asdict(params.codec)
    shaping.pop("rates" if rate == DIAL else "dial")
    text = json.dumps([shaping, params.data.image_size], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def save_codec(codec: Codec, path: Path, variant: str, rate: str, params: Params) -> None:
    """The codec's own weights; a frozen CLIP's are not repeated."""
    save_tensors(codec.own_state(), path, {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate)})


def load_codec(codec: Codec, path: Path, variant: str, rate: str, params: Params) -> Codec:
    """Fills `codec` from a checkpoint.

    Raises CheckpointError when the file is missing, truncated, damaged, or of another variant, rate or parameters.
    """
    if not path.is_file():
        raise CheckpointError(f"{short(path)}: not there; train it first (dvc repro, or notebooks 03 to 05)")
    state, label = read_tensors(path, "train it again")
    expected = {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate)}
    for key, value in expected.items():
        if label.get(key) != value:
            what = "parameters (params.yaml has changed since)" if key == "fingerprint" else f"{key} {label.get(key)!r}"
            raise CheckpointError(
                f"{short(path)}: a checkpoint of other {what}, wanted {variant} at {rate}; train it again"
            )
    try:
        codec.load_own_state(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{short(path)}: does not fit this codec ({first_line(error)}); train it again"
        ) from error
    return codec.eval()
