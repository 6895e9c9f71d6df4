"""The one store of values, params.yaml, read strictly: a profile is `base` with what `profiles.NAME` changes."""

import copy
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from uoisc.base import settings
from uoisc.base.documents import edit_yaml, parse_yaml, read_text
from uoisc.base.errors import ConfigError, choices
from uoisc.base.folders import ROOT, check_writable
from uoisc.base.rules import broken
from uoisc.base.schema import Misfit, number, read, shown
from uoisc.base.settings import DIAL

PARAMS = ROOT / "params.yaml"
PROFILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # also a folder's name

OFFICIAL = re.compile(r"(v2_\w*mscoco_|instances_)\w+\.json")  # VQA v2's and COCO's own files


@dataclass(frozen=True)
class Params:
    """One profile of params.yaml."""

    seed: int = number(0, 2**31 - 1)
    workers: int = number(1, 1024, auto=True)  # AUTO: as cores and memory allow (devices.py)
    deterministic: bool  # on a GPU: the same bytes every time
    kept: str  # of `settings.KEPT`: what frozen models make of training images, worked out once for all codecs
    compiled: bool  # the training judge's blocks, by torch.compile
    data: settings.Drawings | settings.Vqav2 | settings.Manifest
    foundation: settings.StandIns | settings.Pretrained
    codec: settings.CodecSettings
    training: settings.Training
    variants: dict[str, tuple[str, ...]]
    evaluation: settings.Evaluation

    def __post_init__(self):
        for message in broken(self):
            raise ConfigError(message)

    def of(self, variant: str) -> "Params":
        """What that variant is trained with: `training.of` has its say."""
        return replace(self, training=replace(self.training.of.get(variant, self.training), of={}))


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

    def table(self, variant: str, rate: str) -> Path:
        """The probability tables of a trained codec."""
        return self.tables / variant / f"{rate}.safetensors"

    def unfinished(self, phase: int, variant: str, rate: str) -> Path:
        """What an interrupted run of training goes on from. Not under `codecs`: DVC empties that before a stage."""
        return self.unfinished_work / f"phase{phase}" / variant / f"{rate}.safetensors"

    def lock(self, variant: str, rate: str) -> Path:
        """Held by the process that trains this model."""
        return self.unfinished_work / "locks" / variant / f"{rate}.lock"

    @property
    def paper(self) -> Path:
        """The folder of figures, tables and paper.pdf."""
        return self.results.with_name("paper")

    @property
    def docs(self) -> Path:
        """The folder of the project page."""
        return self.results.with_name("docs")

    @property
    def published(self) -> Path:
        """The trained models as git keeps them, packed (`frozen/published.py`)."""
        return self.codecs.with_name("published")

    @property
    def source_work(self) -> Path:
        """What frozen models make of training images (`frozen/kept.py`); DVC does not know it."""
        return self.codecs.with_name("source_work")

    @property
    def unfinished_work(self) -> Path:
        """What interrupted runs go on from, and locks."""
        return self.codecs.with_name("unfinished")


def paths(profile: str) -> Paths:
    """The profile's files; only the published one has results/ and paper/, others build/. Raises ConfigError."""
    data = ROOT / "data" / _named(profile)
    top = ROOT if profile == document(PARAMS)["published"] else ROOT / "build" / profile
    return Paths(data / "source", data / "foundation", data / "codecs", data / "tables", top / "results")


def check_ready(profile: str) -> Params:
    """A profile's parameters, before any work: raises ConfigError for a wrong value, and where DVC would look for the
    results elsewhere, DataError where their folder takes no file."""
    params = load_params(profile)
    where = paths(profile)
    whole = document(PARAMS)
    for key, folder in (("results", where.results), ("paper", where.paper), ("docs", where.docs)):
        expected = folder.relative_to(ROOT).as_posix()
        if profile == whole["active"][0] and whole.get(key, expected) != expected:
            here = f"params.yaml: {key} = {shown(whole[key])}, but profile {profile} writes to {expected}"
            raise ConfigError(f"{here}: run `uoisc activate {profile}`")
        check_writable(next(place for place in (folder, *folder.parents) if place.exists()))  # and makes none
    return params


def activate(profile: str, publish: bool = False, seed: int | None = None, folder: Path = Path()) -> str:
    """Makes `dvc repro` run a profile and, if told so, publish it or give it another seed; says what it runs.

    Raises ConfigError, and changes nothing, outside the project's top folder, where the pipeline cannot run it, or for
    the seed of a profile that states none.
    """
    path = folder / "params.yaml"
    if not (path.is_file() and (folder / "dvc.yaml").is_file()):
        raise ConfigError("no params.yaml and dvc.yaml here: run this in the project's top folder")
    seeded = [] if seed is None else [f"seed={seed}"]
    params = load_params(profile, path, seeded)
    rates = params.variants
    whole = document(path)
    dials = [variant for variant in rates if DIAL in rates[variant]]
    if "uoisc" not in rates:
        raise ConfigError(f"profile {profile} lacks variants.uoisc, which all else is held against")
    ablations = [variant for variant in rates if variant not in ("uoisc", *dials)]
    for key in ("base.variants", "base.training.of"):
        if unwatched := [variant for variant in rates if _place(whole, f"{key}.{variant}") is None]:
            raise ConfigError(f"variants.{unwatched[0]}: name it in {key} as well, which the pipeline watches")
    published = profile if publish else whole["published"]
    top = "" if profile == published else f"build/{profile}/"
    changes = {"active": [profile], "ablations": ablations, "dials": "+".join(dials), "published": published}
    changes["dialled"] = [profile] if dials else []
    changes["asked"] = _asked(params.data, folder)
    if seeded and "seed" not in whole["profiles"][profile]:
        raise ConfigError(f"profile {profile} has the seed of `base`: state one at profiles.{profile}.seed first")
    changes |= {} if seed is None else {f"profiles.{profile}.seed": seed}
    edit_yaml(path, changes | {name: top + name for name in ("results", "paper", "docs")})
    return f"active: {profile}, with {len(ablations)} ablations and {len(dials)} dials, writes {top}results, {top}paper"


def _asked(data: settings.Drawings | settings.Photographed, folder: Path) -> dict[str, str]:
    """Name -> file: what a profile's questions come from, as far as it is there; never nothing, for DVC's sake."""
    found = {"objects": "data/objects.csv"}
    if isinstance(data, settings.Vqav2):
        places = [Path(data.folder), Path(data.folder) / "annotations"]
        names = [(place, name) for place in places for name in sorted(path.name for path in (folder / place).glob("*"))]
        return found | {name[:-5]: (place / name).as_posix() for place, name in names if OFFICIAL.fullmatch(name)}
    own = isinstance(data, settings.Manifest) and (folder / data.file).is_file()
    return found | ({"manifest": data.file} if own else {})


def active_profile() -> str:
    """The profile that commands take where none is named: the first active one. Raises ConfigError."""
    return document(PARAMS)["active"][0]


def profile_names() -> list[str]:
    """Every profile of params.yaml."""
    return list(document(PARAMS)["profiles"])


def load_params(profile: str, path: Path = PARAMS, changes: Sequence[str] = ()) -> Params:
    """Reads one profile, with `key=value` changes made to it (`training.batch_size=8`).

    Raises ConfigError, which says where in the file it stands, for a key that is unknown, missing or out of range.
    """
    whole = document(path)
    own = whole["profiles"].get(_named(profile))
    if own is None:
        raise ConfigError(f"no profile {profile!r} in {path.name}: {choices(profile, whole['profiles'])}")
    values = merged(whole["base"], own)
    keys = [change.partition("=")[0] for change in changes]
    if repeated := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"{repeated[0]} is changed {len(repeated)} times: give each key once")
    own_trainings = _spell_out(values)
    for change in changes:
        key, _, text = change.partition("=")
        if not text or not (places := [place for tree in (values, *own_trainings) if (place := _place(tree, key))]):
            form = "give a change as key=value, the key as in params.yaml, e.g. training.batch_size=8"
            raise ConfigError(f"{shown(change)}: {form}")
        for section, last in places:
            section[last] = parse_yaml(text, shown(change))
    try:
        return read(Params, values)
    except Misfit as error:
        if ".".join(error.keys).partition("[")[0] in keys:
            raise ConfigError(f"--set {error}") from None
        stated = _leads(own, error.keys) or (not _leads(values, error.keys) and _leads(own, error.keys[:-1] or ("",)))
        raise ConfigError(f"profiles.{profile}.{error}" if stated else f"base.{error}") from None


def _spell_out(values: dict) -> list[dict]:
    """Makes whole what `training.of` says of some variants, in place; returns each as the tree of a profile, so that a
    change of all training reaches it too."""
    training = values.get("training")
    if not isinstance(training, dict) or not isinstance(of := training.get("of"), dict):
        return []  # `read` says what is wrong
    general = training | {"of": {}}
    training["of"] = {name: merged(general, own) if isinstance(own, dict) else own for name, own in of.items()}
    return [{"training": own} for own in training["of"].values() if isinstance(own, dict)]


def _place(tree: dict, key: str) -> tuple[dict, str] | None:
    """The mapping that holds a key such as `training.batch_size`, and the key's last part; None where there is none."""
    *parents, last = key.split(".")
    for name in parents:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return (tree, last) if isinstance(tree, dict) and last in tree else None


def merged(base: dict, own: dict) -> dict:
    """A copy of `base` with what a profile changes, key by key; replaced as a whole are lists, `variants`, `of`, and a
    section of another `kind`, to which the other's keys would be unknown."""
    values = copy.deepcopy(base)
    for key, value in own.items():
        standing = values.get(key)
        mergeable = isinstance(standing, dict) and isinstance(value, dict) and key not in ("variants", "of")
        if mergeable and value.get("kind", standing.get("kind")) == standing.get("kind"):
            values[key] = merged(standing, value)
        else:
            values[key] = copy.deepcopy(value)
    return values


def _leads(tree: object, keys: Sequence[str]) -> bool:
    """Whether keys lead to something in a tree of mappings; `taps[0]` is of `taps`."""
    for key in keys:
        tree = tree.get(key.partition("[")[0]) if isinstance(tree, dict) else None
    return tree is not None


def _named(profile: object) -> str:
    if not isinstance(profile, str) or not PROFILE_NAME.fullmatch(profile):
        raise ConfigError(f"{shown(profile)} is no profile's name: those are text of letters, digits, _ and -")
    return profile


def document(path: Path) -> dict:
    """The document of params.yaml, its outline checked, not yet the values; read anew when the file changes.

    Raises ConfigError.
    """
    state = os.stat(path) if os.path.exists(path) else None  # `read_text` says why
    return _document(path, state and (state.st_mtime_ns, state.st_size, state.st_ino))


@lru_cache(maxsize=8)
def _document(path: Path, state: tuple | None) -> dict:
    whole = parse_yaml(read_text(path), path.name)
    outline = {"base": (dict, "a mapping"), "profiles": (dict, "a mapping")}
    outline |= {"active": (list, "a list"), "published": (str, "the name of a profile")}
    for key, (kind, what) in outline.items():
        if not isinstance(whole, dict) or not isinstance(whole.get(key), kind):
            raise ConfigError(f"{path.name}: `{key}` must be {what}; restore it with `git checkout -- {path.name}`")
    known, active = ([_named(profile) for profile in whole[key]] for key in ("profiles", "active"))
    for profile, own in whole["profiles"].items():
        if not isinstance(own, dict):
            raise ConfigError(f"{path.name}: profiles.{profile} must be a mapping, be it {{}}")
    _named(whole["published"])
    if not active or len({*active}) < len(active) or not {*active} <= {*known}:
        raise ConfigError(f"{path.name}: active = {shown(active)}: must be some of {', '.join(known)}, each once")
    return whole
