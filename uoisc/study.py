"""Opens what the pipeline has made: a profile's parameters, questions, frozen models and trained codecs."""

import hashlib
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock

from uoisc.base.checkpoint import load_codec, training_digests
from uoisc.base.config import DIAL, Params, Paths, load_params, paths
from uoisc.base.devices import settle
from uoisc.base.distributed import device, synchronised
from uoisc.base.errors import CheckpointError, ConfigError, DataError, choices
from uoisc.base.folders import is_there, readable_folder, short
from uoisc.base.settings import JUDGES, KEPT, Drawings, Pretrained
from uoisc.base.storage import code_digest
from uoisc.base.terminal import say
from uoisc.codec import Codec
from uoisc.data.questions import Source
from uoisc.frozen import published
from uoisc.frozen.clip import FrozenCLIP
from uoisc.frozen.clip_files import load_clip
from uoisc.frozen.kept import Folder, Kept
from uoisc.frozen.llava import FrozenLlava
from uoisc.frozen.llava_files import load_llava
from uoisc.frozen.pretrained import identity, open_pretrained
from uoisc.frozen.weights import folder_digest
from uoisc.importers.sources import draw, open_source
from uoisc.variants import variant

SUFFIX = "foundation.llava.suffix"


class Point(NamedTuple):
    """One point of the rate axis: a variant's model, and for a rate dial the budget that it is set to."""

    variant: str
    rate: str
    bits: int | float | None


def points(params: Params, variants: Collection[str] | None = None) -> list[Point]:
    """Every rate point of every variant that the profile trains, or of these."""
    return [
        Point(name, rate, bits)
        for name, rates in params.variants.items()
        if variants is None or name in variants
        for rate in rates
        for bits in (params.codec.dial.budgets if rate == DIAL else [None])
    ]


def check_rate(params: Params, name: str, rate: str) -> None:
    """Raises ConfigError for an unknown variant, or a rate that it does not have."""
    known = [DIAL] if variant(name).dial else list(params.codec.rates)
    if rate not in known:
        raise ConfigError(f"{name} has no rate {rate!r}: {choices(rate, known)}")


@dataclass(frozen=True)
class Study:
    """A profile, opened: parameters, where its files lie, the source of questions (None where none is asked), the
    frozen CLIP and the judges by name."""

    profile: str
    params: Params
    home: Paths
    source: Source | None
    clip: FrozenCLIP
    judges: dict[str, FrozenLlava]

    @property
    def trained_here(self) -> bool:
        """Whether its models are those that this tree has trained, not the published ones."""
        return self.home == paths(self.profile)

    def build(self, name: str, rate: str) -> Codec:
        """An untrained codec of that variant. Raises ConfigError for an unknown variant or rate."""
        check_rate(self.params, name, rate)
        return synchronised(variant(name).build(self.clip, self.params, rate).to(device()))

    def codec(self, name: str, rate: str, bits: int | float | None = None, phase: int = 2) -> Codec:
        """A trained codec, its rate dial set to at most `bits` where it has one and they are given.

        Raises CheckpointError where there is none, ConfigError where the bits are too few.
        """
        path = self.home.codec(phase, name, rate)
        command = f"uoisc train {name} --profile {self.profile}"
        made_from = self.made_from(name, phase)
        if not self.trained_here:
            command = f"make repro PROFILE={self.profile}: the published models lack it, or build/published is broken"
        if phase == 2:
            made_from.pop(SUFFIX, None)  # who has a trained codec may ask otherwise than its loss did
        codec = load_codec(self.build(name, rate), path, name, rate, self.params, made_from, command)
        return codec if bits is None else codec.at(bits)

    def distinct(self, wanted: Sequence[Point]) -> list[Point]:
        """These rate points, but the first alone of a dial's budgets at which it sends alike. Raises as `codec`."""
        found = {(*point[:2], self.codec(*point).bits): point for point in reversed(wanted)}
        return list(reversed(found.values()))

    def made_from(self, name: str, phase: int) -> dict[str, str]:
        """Digests of what a variant's codec is made from after that phase: parameters, CLIP, and the judge that trains
        it where one does and is here."""
        kind = variant(name)
        used = {"clip": "CLIP"}
        if kind.intent or kind.ranked:
            used[JUDGES[0]] = "training judge"
        found = training_digests(self.params.of(name), phase)
        if isinstance(self.params.foundation, Pretrained):
            if kind.intent:
                found[SUFFIX] = self.params.foundation.llava.suffix
            return found | {what: identity(getattr(self.params.foundation, key)) for key, what in used.items()}
        folders = {what: self.home.foundation / key for key, what in used.items()}
        here = {what: folder for what, folder in folders.items() if is_there(folder, CheckpointError)}
        return found | {what: folder_digest(folder) for what, folder in here.items()}

    def keep_source_work(self) -> None:
        """What CLIP and the training judge make of training images is kept on disk, as far as `kept` says."""
        p = self.params
        here = self.home
        shaping = [asdict(p.foundation), p.codec.taps, folder_digest(here.source), code_digest(), torch.__version__]
        label = {key: value for key, value in self.made_from("uoisc", 1).items() if "training`" not in key}
        label["shaping"] = hashlib.sha256(json.dumps(shaping).encode()).hexdigest()
        label["device"] = str(device().type)
        models = {"clip": self.clip, JUDGES[0]: self.judges[JUDGES[0]]}
        for name in KEPT[p.kept]:
            models[name].kept = Kept(Folder(here.source_work / name, label))


def open_study(profile: str, judges: tuple[str, ...] = JUDGES, changes: tuple[str, ...] = ()) -> Study:
    """Everything that is frozen, with `changes` made to the profile (`load_params`).

    Raises ConfigError, DataError or CheckpointError with what to run.
    """
    return _opened(profile, judges, changes)


@lru_cache(maxsize=2)  # however a caller writes its arguments
def _opened(profile: str, judges: tuple[str, ...], changes: tuple[str, ...]) -> Study:
    return assemble(profile, load_params(profile, changes=changes), judges)


@lru_cache(maxsize=2)
def open_codecs(profile: str, judges: tuple[str, ...] = (), home: Paths | None = None) -> Study:
    """As `open_study`, without the source of questions: what sending and drawing a user's images takes; of the models
    in `home` where it is given."""
    return assemble(profile, load_params(profile), judges, asked=False, home=home)


def assemble(
    profile: str, params: Params, judges: tuple[str, ...], asked: bool = True, home: Paths | None = None
) -> Study:
    """The profile's frozen models and, where they are `asked`, its questions, under these parameters; those of `home`
    where one is given, else those that are trained here, or where none are the published ones."""
    home = home or nearest(profile)
    source = open_questions(profile, params, home) if asked else None
    settle(params.deterministic)
    clip, answering = open_foundation(profile, params, judges, home.foundation)
    answering = {name: judge.to(device()) for name, judge in answering.items()}
    return Study(profile, params, home, source, clip.to(device()), answering)


def open_questions(profile: str, params: Params, home: Paths) -> Source:
    """What a profile's questions are asked about; drawings that no stage has made here are made once beside `home`."""
    if not isinstance(params.data, Drawings):
        return open_source(profile, params)
    if home != paths(profile):
        with FileLock(home.source.with_suffix(".lock")):
            try:
                return open_source(profile, params, home.source)
            except DataError:  # not there yet, or of another catalogue or size
                say("drawing what scenes are made of: once, half a minute", sys.stderr)
                draw(params, home.source)
    return open_source(profile, params, home.source)


def homes(profile: str) -> list[Paths]:
    """Where a profile's models lie: those trained here before the published ones, as far as there are any."""
    found = [paths(profile)] if is_there(paths(profile).codecs, CheckpointError) else []
    return found + ([published.unpacked(profile)] if published.is_packed(profile) else [])


def nearest(profile: str) -> Paths:
    """Where a study's models lie: trained here, or where nothing is and there are any the published ones; says so."""
    own = paths(profile)
    if is_there(own.foundation, CheckpointError) or not published.is_packed(profile):
        return own
    say(f"nothing of {profile} is trained here: the published models serve (data/{profile}/published)", sys.stderr)
    return published.unpacked(profile)


def open_foundation(
    profile: str, params: Params, judges: tuple[str, ...], folder: Path
) -> tuple[FrozenCLIP, dict[str, FrozenLlava]]:
    """CLIP and the judges: the stand-ins in that folder, or others' checkpoints."""
    if isinstance(params.foundation, Pretrained):
        return open_pretrained(params.foundation, params.codec.taps, params.data.image_size, judges, str(device()))
    again = f"run the foundation stage again: uoisc run 02_foundation --profile {profile}"
    for name in ("clip", *judges):
        readable_folder(folder / name, again, CheckpointError)
    clip = load_clip(str(folder / "clip"), None, params.codec.taps)
    stated = params.foundation.clip
    if (clip.grid, clip.width) != (params.data.image_size // stated.patch_size, stated.width):
        raise CheckpointError(f"{short(folder)}: made from other `data` or `foundation` in params.yaml; {again}")
    return clip, {name: load_llava(str(folder / name)) for name in judges}
