"""Where the models of params.yaml lie, and `pins`: the revisions and digests that it leaves open."""

from dataclasses import dataclass
from pathlib import Path

from uoisc.base.config import ROOT, Params
from uoisc.base.errors import CheckpointError, ConfigError, first_line
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint, Pretrained
from uoisc.frozen import weights
from uoisc.frozen.weights import UNPINNED

MODELS = ("clip", "llava", "llava_independent")  # of Pretrained


@dataclass(frozen=True)
class Source:
    """Where a checkpoint's weights lie; `files` is None where the hub has to be asked first."""

    shown: str
    files: list[Path] | None
    repo: str = ""
    command: str = ""
    commit: str = ""  # of the hub, where it lies in its cache


def located(checkpoint: ClipCheckpoint | LlavaCheckpoint) -> Source:
    """Finds a checkpoint without fetching anything.

    Raises CheckpointError where params.yaml names what cannot be, or where there is no home folder to look in.
    """
    try:
        return _clip(checkpoint) if isinstance(checkpoint, ClipCheckpoint) else _llava(checkpoint)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: Path.home() finds no home folder
        raise CheckpointError(first_line(error)) from error


def _llava(checkpoint: LlavaCheckpoint) -> Source:
    name, folder = checkpoint.name, Path(checkpoint.name)
    if (ROOT / folder).is_dir():
        return Source(shown(folder), weights.weights_files(ROOT / folder))
    if not checkpoint.revision:
        raise ValueError(f"{shown(folder)} is no folder, and a hub name wants a revision")
    at, cached = weights.hub_revision(checkpoint.revision), weights.cached_folder(name, checkpoint.revision)
    files, commit = (weights.weights_files(cached), cached.name) if cached else (None, "")
    return Source(f"{name} at {(at or UNPINNED)[:12]}", files, name, weights.fetch_command(name, at), commit)


def _clip(checkpoint: ClipCheckpoint) -> Source:
    from uoisc.frozen.clip_files import hub_source, weights_in

    folder, own = Path(checkpoint.name), Path(checkpoint.weights)
    if (ROOT / folder).is_dir():
        return Source(shown(folder), [weights_in(ROOT / folder)])
    if (ROOT / own).is_file():
        return Source(f"{checkpoint.name}, {shown(own)}", [ROOT / own])
    repo, file = hub_source(checkpoint.name, checkpoint.weights)
    cached = weights.cached_file(repo, file)
    return Source(f"{file} of {repo}", [cached] if cached else None, repo, weights.fetch_command(repo, file=file))


def digests_of(checkpoint: ClipCheckpoint | LlavaCheckpoint, files: list[Path]) -> dict[str, str]:
    """The sha256 that params.yaml gives for each weights file."""
    own = checkpoint.sha256
    return own if isinstance(own, dict) else {file.name: own for file in files}


def shown(path: Path) -> str:
    """A path as it may be printed: an absolute one by its name alone, as output may land in a notebook."""
    return path.name if path.is_absolute() else str(path)


def pins(profile: str, params: Params) -> str:
    """The YAML lines that pin what params.yaml calls `unpinned` of a profile, from the files that are here, to paste.

    Raises CheckpointError where files are not here, ConfigError where others are named.
    """
    if not isinstance(params.foundation, Pretrained):
        return f"profile {profile} names no checkpoints of others: nothing to pin\n"
    lines = [line for name in MODELS for line in _pins(name, getattr(params.foundation, name))]
    if not lines:
        return f"profile {profile}: all is pinned\n"
    return "\n".join([f"  {profile}:  # under profiles in params.yaml", "    foundation:", *lines]) + "\n"


def _pins(name: str, checkpoint: ClipCheckpoint | LlavaCheckpoint) -> list[str]:
    """The lines of what is open in a checkpoint's settings."""
    revision, digests = getattr(checkpoint, "revision", ""), digests_of(checkpoint, [Path()])
    wanted = [file for file, value in digests.items() if value == UNPINNED]
    if revision != UNPINNED and not wanted:
        return []
    try:
        source = located(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"foundation.{name}: {error}") from error
    if source.files is None:
        raise CheckpointError(f"foundation.{name}: {source.shown} is not here: run `{source.command}`, then pin")
    lines = [f"      {name}:"] + [f'        revision: "{source.commit}"'] * (revision == UNPINNED)
    if isinstance(checkpoint, ClipCheckpoint):
        return [*lines, f'        sha256: "{weights.digest(source.files[0])}"']
    here = {file.name: file for file in source.files}
    if unknown := [file for file in wanted if file not in here]:
        raise ConfigError(f"foundation.{name}.sha256.{unknown[0]}: its weights are {', '.join(here)}; name these")
    pinned = [f'          {file}: "{weights.digest(here[file])}"' for file in wanted]
    return [*lines, *["        sha256:"] * bool(pinned), *pinned]
