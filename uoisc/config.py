"""The one store of values, params.yaml, read strictly into frozen dataclasses.

An unknown, missing or impossible value is one line that names the key and its range, before any work.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uoisc.errors import ConfigError, choices
from uoisc.schema import number, read
from uoisc.settings import (
    MAX_CODES,
    Codec,
    Drawings,
    Evaluation,
    Manifest,
    Pretrained,
    StandIns,
    Training,
    Vqav2,
)

ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params.yaml"

GRID = 3  # a scene's tiles a side
HEAD_WIDTH = 32  # channels of one attention head of the stand-ins' transformers
ATTENTION_HEADS = 4  # of cross-attention and of the rival's text encoder
NORM_GROUPS = 8  # groups of the decoder's norms
MIXED_STAGES = 2  # the decoder's first stages mix over the whole scene; the others, at high resolution, only draw
DIAL = "dial"  # the rate of every variant that has a rate dial


@dataclass(frozen=True)
class Params:
    """One profile of params.yaml."""

    seed: int = number(0, 2**31 - 1)
    workers: int = number(1, 1024)
    deterministic: bool = field()  # on a GPU: the same bytes every time
    data: Drawings | Vqav2 | Manifest = field()
    foundation: StandIns | Pretrained = field()
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
    yield (
        isinstance(models, StandIns) == isinstance(p.data, Drawings),
        f"data.kind = {p.data.KIND}, foundation.kind = {models.KIND}: stand_ins are trained on drawings and know "
        "nothing else, so drawings go with stand_ins, anything else with pretrained",
    )
    if isinstance(models, StandIns):
        yield from _stand_in_rules(models, size)
    yield (
        size % models.clip.patch_size == 0,
        f"data.image_size = {size}: must be a multiple of foundation.clip.patch_size = {models.clip.patch_size}",
    )
    grid = size // models.clip.patch_size
    yield (
        codec.width % ATTENTION_HEADS == 0,
        f"codec.width = {codec.width}: must be a multiple of {ATTENTION_HEADS}, the heads of cross-attention",
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
    dials = [name for name, rates in p.variants.items() if DIAL in rates]
    yield (
        not dials or isinstance(p.data, Drawings),
        f"variants.{', '.join(dials)}: a rate dial learns where answers lie, which data.kind = "
        f"{p.data.KIND} does not say",
    )
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
    batch, parts = p.training.batch_size, p.training.accumulation
    yield batch % parts == 0, f"training.accumulation = {parts}: must divide training.batch_size = {batch}"
    for key in ("rounding_step", "intent_step"):
        step, steps = getattr(p.training, key), p.training.phase1_steps
        yield step <= steps, f"training.{key} = {step}: must be 0 to training.phase1_steps = {steps}"
        steps = codec.dial.steps
        yield step <= steps, f"codec.dial.steps = {steps}: must be training.{key} = {step} or more"


def _stand_in_rules(models: StandIns, size: int) -> Iterator[tuple[bool, str]]:
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
    yield (
        models.clip.embed_dim % ATTENTION_HEADS == 0,
        f"foundation.clip.embed_dim = {models.clip.embed_dim}: must be a multiple of {ATTENTION_HEADS}, the heads of "
        "the rival's text encoder",
    )


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

    source: Path
    foundation: Path
    codecs: Path
    tables: Path
    results: Path

    def codec(self, phase: int, variant: str, rate: str) -> Path:
        """A trained codec's checkpoint; the dials, which one stage trains, lie in a folder of their own."""
        folder = self.codecs / "dials" if rate == DIAL else self.codecs
        return folder / f"phase{phase}" / variant / f"{rate}.safetensors"

    def unfinished(self, phase: int, variant: str, rate: str) -> Path:
        """What an interrupted run of training goes on from. Not under `codecs`: DVC empties that before a stage."""
        return self._kept / f"phase{phase}" / variant / f"{rate}.safetensors"

    def lock(self, variant: str, rate: str) -> Path:
        """Held by the process that trains this model."""
        return self._kept / "locks" / variant / f"{rate}.lock"

    @property
    def _kept(self) -> Path:
        return self.codecs.with_name("unfinished")


def paths(profile: str) -> Paths:
    """The profile's files. The first active profile publishes to results/; others stay under build/."""
    data = ROOT / "data" / profile
    published = profile == (_document(PARAMS).get("active") or [None])[0]
    results = ROOT / "results" if published else ROOT / "build" / profile / "results"
    return Paths(data / "source", data / "foundation", data / "codecs", data / "tables", results)


def active_profile() -> str:
    """The profile that a plain `dvc repro` runs and publishes. Raises ConfigError where none is active."""
    active = _document(PARAMS).get("active")
    if not active:
        raise ConfigError(f"{PARAMS.name}: `active` names no profile, give one by --profile")
    return active[0]


def profile_names() -> list[str]:
    """Every profile of params.yaml."""
    return list(_document(PARAMS).get("profiles", {}))


def load_params(profile: str, path: Path = PARAMS, changes: Sequence[str] = ()) -> Params:
    """Reads one profile, with `key=value` changes made to it (`training.emphasis=4`).

    Raises ConfigError, one line, where a key is unknown, missing or out of range.
    """
    profiles = _document(path).get("profiles", {})
    if profile not in profiles:
        raise ConfigError(f"no profile {profile!r} in {path.name}: {choices(profile, profiles)}")
    values = copy.deepcopy(profiles[profile])  # aliases of the YAML text part ways: a change is made once
    for change in changes:
        _change(values, change)
    return read(Params, values, f"profiles.{profile}")


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
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: not found; restore it with `git checkout -- params.yaml`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not YAML ({' '.join(str(error).split())})") from None
    for key, kind, what in (("profiles", dict, "a mapping"), ("active", list, "a list")):
        if not isinstance(document, dict) or not isinstance(document.get(key, kind()), kind):
            raise ConfigError(f"{path.name}: `{key}` must be {what}; restore it with `git checkout -- params.yaml`")
    return document
