"""The one store of values, params.yaml, read strictly into frozen dataclasses.

An unknown, missing or impossible value is one line that names the key and its range, before any work.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path

from uoisc.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params.yaml"


def number(low: int | float, high: int | float):
    """A field whose value, or each of whose values, lies in [low, high]."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Data:
    image_size: int = number(32, 4096)
    objects: int = number(30, 10_000)
    sprite_variants: int = number(1, 64)
    held_out: str = field()


@dataclass(frozen=True)
class Clip:
    patch_size: int = number(4, 64)
    width: int = number(32, 4096)
    layers: int = number(1, 64)
    embed_dim: int = number(16, 4096)
    text_width: int = number(32, 4096)
    text_layers: int = number(1, 64)
    context_length: int = number(12, 77)
    steps: int = number(1, 1_000_000)
    batch_size: int = number(2, 65_536)
    learning_rate: float = number(1e-7, 1.0)


@dataclass(frozen=True)
class Llava:
    width: int = number(32, 8192)
    layers: int = number(1, 128)
    heads: int = number(1, 128)
    mlp_width: int = number(32, 32_768)
    steps: int = number(1, 1_000_000)
    batch_size: int = number(1, 65_536)
    questions: int = number(1, 64)
    learning_rate: float = number(1e-7, 1.0)


@dataclass(frozen=True)
class Foundation:
    clip: Clip
    tower: Clip
    llava: Llava


@dataclass(frozen=True)
class Rate:
    """One point of the rate axis: what a fixed-rate and a ranked codec spend there."""

    segments: int = number(1, 256)
    codes: int = number(2, 65_536)
    ranked_segments: int = number(1, 256)
    ranked_codes: int = number(2, 65_536)
    ranked_tokens: int = number(1, 65_536)
    ranked_background: int = number(0, 256)  # segments of the deepest tap that the other tokens send


@dataclass(frozen=True)
class Codec:
    taps: tuple[int, ...] = number(0, 128)
    width: int = number(8, 8192)
    text_width: int = number(8, 8192)
    decoder_channels: tuple[int, ...] = number(8, 4096)
    rates: dict[str, Rate] = field()


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms."""

    pixel: float = number(0, 1000)
    perceptual: float = number(0, 1000)
    vq: float = number(0, 1000)
    intent: float = number(0, 1000)
    adversarial: float = number(0, 1000)
    gradient_penalty: float = number(0, 1000)


@dataclass(frozen=True)
class Training:
    batch_size: int = number(1, 65_536)
    phase1_steps: int = number(1, 10_000_000)
    warmup_steps: int = number(0, 10_000_000)
    phase2_steps: int = number(1, 10_000_000)
    learning_rate: float = number(1e-8, 1.0)
    phase2_learning_rate: float = number(1e-8, 1.0)
    critic_learning_rate: float = number(1e-8, 1.0)
    critic_channels: int = number(4, 1024)
    emphasis: float = number(1, 1000)
    log_every: int = number(1, 100_000)
    weights: Weights = field()


@dataclass(frozen=True)
class Evaluation:
    queries: int = number(5, 10_000_000)
    batch_size: int = number(1, 65_536)
    resamples: int = number(100, 1_000_000)


@dataclass(frozen=True)
class Params:
    """One profile of params.yaml."""

    seed: int = number(0, 2**31 - 1)
    workers: int = number(1, 1024)
    data: Data = field()
    foundation: Foundation = field()
    codec: Codec = field()
    training: Training = field()
    variants: dict[str, tuple[str, ...]] = field()
    evaluation: Evaluation = field()

    def __post_init__(self):
        codec = self.codec
        grid = self.data.image_size // self.foundation.clip.patch_size
        decoded = grid * 2 ** len(codec.decoder_channels)
        if decoded != self.data.image_size:
            raise ConfigError(
                f"codec.decoder_channels: {len(codec.decoder_channels)} stages turn {grid} tokens a side into "
                f"{decoded} pixels, not data.image_size = {self.data.image_size}: give one entry a doubling"
            )
        for name, rate in codec.rates.items():
            for key in ("segments", "ranked_segments"):
                if codec.width % getattr(rate, key):
                    raise ConfigError(
                        f"codec.rates.{name}.{key} = {getattr(rate, key)}: must divide codec.width = {codec.width}"
                    )
            if rate.ranked_tokens >= grid**2:
                raise ConfigError(
                    f"codec.rates.{name}.ranked_tokens = {rate.ranked_tokens}: must be 1 to {grid**2 - 1}"
                )
        if max(codec.taps) >= self.foundation.clip.layers or sorted(set(codec.taps)) != list(codec.taps):
            raise ConfigError(
                f"codec.taps = {list(codec.taps)}: ascending block numbers from 0 to {self.foundation.clip.layers - 1}"
            )
        for variant, rates in self.variants.items():
            for rate in rates:
                if rate not in codec.rates:
                    raise ConfigError(f"variants.{variant}: no rate {rate!r}, choose of {', '.join(codec.rates)}")
        if self.training.warmup_steps > self.training.phase1_steps:
            raise ConfigError("training.warmup_steps: 0 to training.phase1_steps")


@dataclass(frozen=True)
class Paths:
    """Where a profile's files lie, from the repository's root."""

    objects: Path
    foundation: Path
    codecs: Path
    results: Path

    def codec(self, phase: int, variant: str, rate: str) -> Path:
        """A trained codec's checkpoint."""
        return self.codecs / f"phase{phase}" / variant / f"{rate}.safetensors"


def paths(profile: str) -> Paths:
    """The profile's files. The first active profile publishes to results/; others stay under build/."""
    data = ROOT / "data" / profile
    published = profile == (_document(PARAMS).get("active") or [None])[0]
    results = ROOT / "results" if published else ROOT / "build" / profile / "results"
    return Paths(data / "objects", data / "foundation", data / "codecs", results)


def load_params(profile: str, path: Path = PARAMS) -> Params:
    """Reads one profile. Raises ConfigError, one line, where a key is unknown, missing or out of range."""
    profiles = _document(path).get("profiles", {})
    if profile not in profiles:
        raise ConfigError(f"no profile {profile!r} in {path.name}: choose of {', '.join(profiles)}")
    return _read(Params, profiles[profile], f"profiles.{profile}", {})


def _document(path: Path) -> dict:
    import yaml

    try:
        return yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: not found; restore it with `git checkout -- params.yaml`") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not YAML ({' '.join(str(error).split())})") from None


def _read(kind, value, key: str, metadata):
    """`value` checked against the annotation `kind`; `key` names it in errors."""
    origin = typing.get_origin(kind)
    if origin is dict:
        if not isinstance(value, dict) or not value:
            raise ConfigError(f"{key}: must be a mapping with at least one entry, not {value!r}")
        return {str(k): _read(typing.get_args(kind)[1], v, f"{key}.{k}", metadata) for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list) or not value:
            raise ConfigError(f"{key}: must be a list with at least one entry, not {value!r}")
        return tuple(_read(typing.get_args(kind)[0], v, f"{key}[{i}]", metadata) for i, v in enumerate(value))
    if kind in (int, float, str):
        return _read_scalar(kind, value, key, metadata)
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: must be a mapping, not {value!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name in value:
        if str(name) not in known:
            raise ConfigError(f"{key}.{name}: unknown key, choose of {', '.join(known)}")
    for name, entry in known.items():
        if name not in value:
            raise ConfigError(f"{key}.{name}: missing{_range(entry.metadata)}")
    return kind(**{n: _read(hints[n], value[n], f"{key}.{n}", known[n].metadata) for n in known})


def _read_scalar(kind, value, key: str, metadata):
    wrong_type = isinstance(value, bool) or not isinstance(
        value, (int, float) if kind is float else (str, int) if kind is str else int
    )
    if wrong_type:
        raise ConfigError(f"{key} = {value!r}: must be {kind.__name__}{_range(metadata)}")
    low, high = metadata.get("range", (None, None))
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{key} = {value!r}: out of range{_range(metadata)}")
    return kind(value)


def _range(metadata: types.MappingProxyType) -> str:
    return " (allowed: {} to {})".format(*metadata["range"]) if "range" in metadata else ""
