"""The one store of values, params.yaml, read strictly into frozen dataclasses.

An unknown, missing or impossible value is one line that names the key and its range, before any work.
"""

from __future__ import annotations

import copy
import math
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from uoisc.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params.yaml"

GRID = 3  # a scene's tiles a side
HEAD_WIDTH = 32  # channels of one attention head of the stand-ins' transformers
ATTENTION_HEADS = 4  # of cross-attention and of the rival's text encoder
NORM_GROUPS = 8  # groups of the decoder's norms
MIXED_STAGES = 2  # the decoder's first stages mix over the whole scene; the others, at high resolution, only draw
MAX_CODES = 65_536  # a codebook
DIAL = "dial"  # the rate of every variant that has a rate dial


def number(low: int | float, high: int | float):
    """A field whose value, or each of whose values, lies in [low, high]."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Data:
    image_size: int = number(32, 4096)
    objects: int = number(30, 10_000)
    sprite_variants: int = number(1, 64)
    held_out: str = field()
    validation: str = field()  # held out in its place while settings are chosen


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
    codes: int = number(2, MAX_CODES)
    ranked_segments: int = number(1, 256)
    ranked_codes: int = number(2, MAX_CODES)
    ranked_tokens: int = number(1, 65_536)
    ranked_background: int = number(0, 256)  # segments of the deepest tap that the other tokens send


@dataclass(frozen=True)
class Dial:
    """What a rate dial is made of. A unit is one segment of one tap."""

    segments: int = number(1, 256)
    codes: int = number(2, MAX_CODES)
    tokens: tuple[int, ...] = number(1, 65_536)  # how many tokens may come first
    background: tuple[int, ...] = number(0, 4096)  # how many units the others may send
    budgets: tuple[int, ...] = number(1, 1_000_000)  # bits at which it is evaluated; trained from least to most
    queries: int = number(5, 1_000_000)  # training scenes that each packing is measured on
    steps: int = number(1, 10_000_000)  # of phase 1, in the place of training.phase1_steps
    relevance: float = number(0, 1000)  # weight of the loss of the head that ranks the tokens


@dataclass(frozen=True)
class Codec:
    taps: tuple[int, ...] = number(0, 128)
    width: int = number(8, 8192)
    text_width: int = number(8, 8192)
    decoder_channels: tuple[int, ...] = number(8, 4096)
    rates: dict[str, Rate] = field()
    dial: Dial = field()


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
    rounding_step: int = number(0, 10_000_000)  # of phase 1: from here on features are rounded to codes
    intent_step: int = number(0, 10_000_000)  # of phase 1: from here on the intent loss counts
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
        for holds, message in _rules(self):
            if not holds:
                raise ConfigError(message)


def _rules(p: Params) -> Iterator[tuple[bool, str]]:
    """What values must keep to together: whether each rule holds, and the line that says what to change."""
    size, codec, models = p.data.image_size, p.codec, p.foundation
    yield p.data.validation != p.data.held_out, f"data.validation = {p.data.validation!r}: must not be data.held_out"
    for key, model in (("clip", models.clip), ("tower", models.tower)):
        for width in ("width", "text_width"):
            yield (
                getattr(model, width) % HEAD_WIDTH == 0,
                f"foundation.{key}.{width} = {getattr(model, width)}: must be a multiple of {HEAD_WIDTH}, "
                "the width of an attention head",
            )
        yield (
            size % (GRID * model.patch_size) == 0,
            f"data.image_size = {size}: must be a multiple of {GRID} * foundation.{key}.patch_size = "
            f"{GRID * model.patch_size}, so that each of the scene's {GRID} x {GRID} tiles holds whole tokens",
        )
    yield (
        models.tower.patch_size * GRID == size,
        f"foundation.tower.patch_size = {models.tower.patch_size}: must be data.image_size / {GRID} = {size / GRID:g}, "
        "as a judge's word starts from the one token of a tile",
    )
    llava = models.llava
    yield (
        llava.width % (2 * llava.heads) == 0,
        f"foundation.llava.heads = {llava.heads}: heads of an even width must make up foundation.llava.width = "
        f"{llava.width}",
    )
    yield (
        llava.width > models.tower.embed_dim,
        f"foundation.llava.width = {llava.width}: must exceed foundation.tower.embed_dim = {models.tower.embed_dim}",
    )
    grid = size // models.clip.patch_size
    yield (
        codec.width % ATTENTION_HEADS == models.clip.embed_dim % ATTENTION_HEADS == 0,
        f"codec.width = {codec.width}, foundation.clip.embed_dim = {models.clip.embed_dim}: must be multiples of "
        f"{ATTENTION_HEADS}, the heads of cross-attention and of the rival's text encoder",
    )
    stages = len(codec.decoder_channels)
    yield (
        grid * 2**stages == size,
        f"codec.decoder_channels: {stages} stages turn {grid} tokens a side into {grid * 2**stages} pixels, "
        f"not data.image_size = {size}: give one entry a doubling",
    )
    yield (
        all(c % NORM_GROUPS == 0 for c in codec.decoder_channels[:MIXED_STAGES]),
        f"codec.decoder_channels = {list(codec.decoder_channels)}: the first {MIXED_STAGES} must be multiples of "
        f"{NORM_GROUPS}, the groups of their norms",
    )
    blocks = models.clip.layers
    yield (
        max(codec.taps) < blocks and sorted(set(codec.taps)) == list(codec.taps),
        f"codec.taps = {list(codec.taps)}: ascending block numbers from 0 to {blocks - 1}",
    )
    yield (
        len(codec.taps) <= stages,
        f"codec.taps = {list(codec.taps)}: at most {stages}, one a stage of codec.decoder_channels",
    )
    for name, rate in codec.rates.items():
        at = f"codec.rates.{name}"
        for key in ("segments", "ranked_segments"):
            value = getattr(rate, key)
            yield codec.width % value == 0, f"{at}.{key} = {value}: must divide codec.width = {codec.width}"
        yield (
            rate.ranked_tokens < grid**2,
            f"{at}.ranked_tokens = {rate.ranked_tokens}: must be 1 to {grid**2 - 1}",
        )
        yield (
            rate.ranked_background <= rate.ranked_segments,
            f"{at}.ranked_background = {rate.ranked_background}: must be 0 to ranked_segments = {rate.ranked_segments}",
        )
    yield from _dial_rules(codec, grid**2)
    for variant, rates in p.variants.items():
        for name in rates:
            yield (
                name in (*codec.rates, DIAL),
                f"variants.{variant}: no rate {name!r}, choose of {', '.join((*codec.rates, DIAL))}",
            )
    for name in p.variants.get("plain_vq", ()):
        codes = codec.rates[name].codes ** codec.rates[name].segments
        yield (
            codes <= MAX_CODES,
            f"variants.plain_vq: at rate {name!r} its one codebook would hold {codes} codes: at most {MAX_CODES}",
        )
    for key in ("rounding_step", "intent_step"):
        step, steps = getattr(p.training, key), p.training.phase1_steps
        yield step <= steps, f"training.{key} = {step}: must be 0 to training.phase1_steps = {steps}"
        steps = codec.dial.steps
        yield step <= steps, f"codec.dial.steps = {steps}: must be training.{key} = {step} or more"


def _dial_rules(codec: Codec, tokens: int) -> Iterator[tuple[bool, str]]:
    dial, units = codec.dial, len(codec.taps) * codec.dial.segments
    yield (
        codec.width % dial.segments == 0,
        f"codec.dial.segments = {dial.segments}: must divide codec.width = {codec.width}",
    )
    for key, values, most in (
        ("tokens", dial.tokens, tokens - 1),
        ("background", dial.background, units - 1),
    ):
        yield max(values) <= most, f"codec.dial.{key} = {max(values)}: must be at most {most}"
    for key in ("tokens", "background", "budgets"):
        values = list(getattr(dial, key))
        yield sorted(set(values)) == values, f"codec.dial.{key} = {values}: must ascend"
    # what the cheapest packing costs: one unit of each of the fewest first tokens, and which these are
    least = min(dial.tokens) * math.log2(dial.codes) + math.ceil(math.log2(math.comb(tokens, min(dial.tokens))))
    yield min(dial.budgets) >= least, f"codec.dial.budgets = {list(dial.budgets)}: must be {least:g} bits or more"


@dataclass(frozen=True)
class Paths:
    """Where a profile's files lie, from the repository's root."""

    objects: Path
    foundation: Path
    codecs: Path
    tables: Path
    results: Path

    def codec(self, phase: int, variant: str, rate: str) -> Path:
        """A trained codec's checkpoint; the dials, which one stage trains, lie in a folder of their own."""
        folder = self.codecs / "dials" if rate == DIAL else self.codecs
        return folder / f"phase{phase}" / variant / f"{rate}.safetensors"


def paths(profile: str) -> Paths:
    """The profile's files. The first active profile publishes to results/; others stay under build/."""
    data = ROOT / "data" / profile
    published = profile == (_document(PARAMS).get("active") or [None])[0]
    results = ROOT / "results" if published else ROOT / "build" / profile / "results"
    return Paths(data / "objects", data / "foundation", data / "codecs", data / "tables", results)


def load_params(profile: str, path: Path = PARAMS, changes: Sequence[str] = ()) -> Params:
    """Reads one profile, with `key=value` changes made to it (`training.emphasis=4`).

    Raises ConfigError, one line, where a key is unknown, missing or out of range.
    """
    profiles = _document(path).get("profiles", {})
    if profile not in profiles:
        raise ConfigError(f"no profile {profile!r} in {path.name}: choose of {', '.join(profiles)}")
    values = copy.deepcopy(profiles[profile])  # aliases of the YAML text part ways: a change is made once
    for change in changes:
        _change(values, change)
    return _read(Params, values, f"profiles.{profile}", {})


def _change(values: dict, change: str) -> None:
    import yaml

    key, _, text = change.partition("=")
    *parents, last = key.split(".")
    for name in parents:
        values = values.get(name) if isinstance(values, dict) else None
    if not text or not isinstance(values, dict) or last not in values:
        raise ConfigError(
            f"{change!r}: give a change as key=value, the key as in params.yaml, e.g. training.emphasis=4"
        )
    values[last] = yaml.safe_load(text)


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
