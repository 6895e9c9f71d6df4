"""Codec checkpoints: a codec's own weights, labelled with the variant, the rate and the parameters that shape it."""

from dataclasses import asdict
from pathlib import Path

from torch import nn

from uoisc.base.config import DIAL, Params
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.folders import readable, short
from uoisc.base.storage import check_made_from, digest_of, read_tensors, save_tensors

# Names of parameters that no weights follow from (but `accumulation`: batch norms, codes in use and the critic's steps
# go by parts of a batch, which machines may cut as they like), and of those that phase 1 does not read.
NEUTRAL = {"validation", "unusable", "loaders", "folder", "file", "accumulation", "log_every", "save_every"}
PHASE2 = {"phase2_steps", "phase2_learning_rate", "critic_learning_rate", "critic_channels"}
PHASE2 |= {"adversarial", "gradient_penalty"}  # weights of loss terms


def fingerprint(params: Params, rate: str) -> str:
    """Eight hex digits of what shapes a codec of that rate: its own parameters and the image size."""
    shaping = asdict(params.codec)
    shaping.pop("rates" if rate == DIAL else "dial")
    return digest_of([shaping, params.data.image_size])[:8]


def training_digests(params: Params, phase: int) -> dict[str, str]:
    """Digests of the parameters that a codec's weights after that phase follow from, beside those that shape it."""
    ignored = NEUTRAL | (PHASE2 if phase == 1 else set())
    training = asdict(params.training)
    training["weights"] = _without(ignored, training["weights"])
    data = _without(ignored, asdict(params.data))
    values = {"seed": params.seed, "data": data, "training": _without(ignored, training)}
    return {f"`{name}` in params.yaml": digest_of(value) for name, value in values.items()}


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
    """Fills `codec` from a checkpoint, which `command` trains.

    Raises CheckpointError when the file is missing, truncated, damaged, of another variant, rate or parameters, or made
    from other models than those whose digests `made_from` holds (`check_made_from`).
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


def _without(names: set[str], values: dict) -> dict:
    return {key: value for key, value in values.items() if key not in names}
