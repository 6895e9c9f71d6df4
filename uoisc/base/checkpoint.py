"""Codec checkpoints: a codec's own weights, labelled with the variant, the rate and the parameters that shape it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from torch import nn

from uoisc.base.config import DIAL, Params
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.folders import readable, short
from uoisc.base.storage import check_made_from, read_tensors, save_tensors

NEUTRAL = {
    "validation",
    "unusable",
    "loaders",
    "folder",
    "file",
    "accumulation",
    "log_every",
    "save_every",
}  # of weights
PHASE2 = {"phase2_steps", "phase2_learning_rate", "critic_learning_rate", "critic_channels", "adversarial",
          "gradient_penalty"}  # fmt: skip


def fingerprint(params: Params, rate: str) -> str:
    """Eight hex digits of what shapes a codec of that rate: its own parameters and the image size."""
    shaping = asdict(params.codec)
    shaping.pop("rates" if rate == DIAL else "dial")
    return _digest([shaping, params.data.image_size])[:8]


def training_digests(params: Params, phase: int) -> dict[str, str]:
    """Digests of the parameters that a codec's weights after that phase follow from, beside those that shape it."""
    data, training = asdict(params.data), asdict(params.training)
    data = {key: value for key, value in data.items() if key not in NEUTRAL}
    training = {key: value for key, value in training.items() if key not in NEUTRAL}
    if phase == 1:
        training["weights"] = {key: value for key, value in training["weights"].items() if key not in PHASE2}
        training = {key: value for key, value in training.items() if key not in PHASE2}
    values = {"seed": params.seed, "data": data, "training": training}
    return {f"`{name}` in params.yaml": _digest(value) for name, value in values.items()}


def save_codec(
    codec: nn.Module, path: Path, variant: str, rate: str, params: Params, made_from: dict[str, str] | None = None
) -> None:
    """The codec's own weights; a frozen CLIP's are not repeated, but named by its digest in `made_from`."""
    label = {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate), "made_from": made_from or {}}
    save_tensors(codec.own_state(), path, label)


def load_codec(
    codec: nn.Module,
    path: Path,
    variant: str,
    rate: str,
    params: Params,
    made_from: dict[str, str] | None = None,
    command: str = "dvc repro, or notebooks 03 to 05",
) -> nn.Module:
    """Fills `codec` from a checkpoint.

    Args:
        made_from: digests of what it must rest on (`check_made_from`).
        command: what trains it.

    Raises CheckpointError when the file is missing, truncated, damaged, of another variant, rate or parameters, or made
    from other models than `made_from` says.
    """
    remedy = f"train it again ({command})"
    readable(path, f"train it first ({command})", CheckpointError)
    state, label = read_tensors(path, remedy)
    expected = {"variant": variant, "rate": rate, "fingerprint": fingerprint(params, rate)}
    for key, value in expected.items():
        if label.get(key) != value:
            what = "parameters (params.yaml has changed since)" if key == "fingerprint" else f"{key} {label.get(key)!r}"
            raise CheckpointError(f"{short(path)}: a checkpoint of other {what}, wanted {variant} at {rate}; {remedy}")
    check_made_from(path, label, made_from or {}, remedy)
    try:
        codec.load_own_state(state)
    except RuntimeError as error:
        raise CheckpointError(f"{short(path)}: does not fit this codec ({first_line(error)}); {remedy}") from error
    return codec.eval()


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
