"""Where the models of params.yaml lie, and `pins`: the revisions and digests that it leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uoisc.base.config import Params
from uoisc.base.errors import CheckpointError, ConfigError, first_line
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint, Pretrained
from uoisc.frozen.weights import (
    UNPINNED,
    cached_file,
    cached_folder,
    digest,
    fetch_command,
    hub_revision,
    weights_files,
)

MODELS = ("clip", "llava", "llava_independent")  # of Pretrained


@dataclass(frozen=True)
class Source:
    """Where a checkpoint's weights lie; `files` is None where the hub has to be asked first."""

    shown: str
    repo: str
    files: list[Path] | None
    command: str = ""
    commit: str = ""  # of the hub, where it lies in its cache


def located(checkpoint: ClipCheckpoint | LlavaCheckpoint) -> Source:
    """Finds a checkpoint without fetching anything.

    Raises CheckpointError where params.yaml names what cannot be, or where there is no home folder to look in.
    """
    try:
        return _located(checkpoint)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: Path.home() finds no home folder
        raise CheckpointError(first_line(error)) from error


def _located(checkpoint: ClipCheckpoint | LlavaCheckpoint) -> Source:
    folder = Path(checkpoint.name)
    if isinstance(checkpoint, LlavaCheckpoint):
        if folder.is_dir():
            return Source(shown(folder), "", weights_files(folder))
        if not checkpoint.revision:
            raise ValueError(f"{shown(folder)} is no folder, and a hub name wants a revision")
        at = hub_revision(checkpoint.revision)
        cached = cached_folder(checkpoint.name, checkpoint.revision)
        name = f"{checkpoint.name} at {(at or UNPINNED)[:12]}"
        files = weights_files(cached) if cached else None
        return Source(name, checkpoint.name, files, fetch_command(checkpoint.name, at), cached.name if cached else "")
    from uoisc.frozen.clip_files import hub_source, weights_in

    if folder.is_dir():
        return Source(shown(folder), "", [weights_in(folder)])
    if Path(checkpoint.weights).is_file():
        return Source(f"{checkpoint.name}, {shown(Path(checkpoint.weights))}", "", [Path(checkpoint.weights)])
    repo, file = hub_source(checkpoint.name, checkpoint.weights)
    cached = cached_file(repo, file)
    return Source(f"{file} of {repo}", repo, [cached] if cached else None, fetch_command(repo, file=file))


def digests_of(checkpoint: ClipCheckpoint | LlavaCheckpoint, files: list[Path]) -> dict[str, str]:
    """The sha256 that params.yaml gives for each weights file."""
    if isinstance(checkpoint, ClipCheckpoint):
        return {file.name: checkpoint.sha256 for file in files}
    return checkpoint.sha256


def shown(path: Path) -> str:
    """A path as it may be printed: an absolute one by its name alone, as output may land in a notebook."""
    return path.name if path.is_absolute() else str(path)


def pins(profile: str, params: Params) -> str:
    """The YAML lines that pin what params.yaml calls `unpinned` of a profile, from the files that are here, to paste.

    Raises CheckpointError where files are not here, ConfigError where others are named.
    """
    if not isinstance(params.foundation, Pretrained):
        return f"profile {profile} names no checkpoints of others: nothing to pin\n"
    lines = []
    for name in MODELS:
        found = _pins(name, getattr(params.foundation, name))
        lines += [f"      {name}:"] * bool(found)
        lines += [f'        {keys[0]}: "{value}"' for keys, value in found.items() if len(keys) == 1]
        files = [f'          {keys[1]}: "{value}"' for keys, value in found.items() if len(keys) == 2]
        lines += ["        sha256:", *files] if files else []
    if not lines:
        return f"profile {profile}: all is pinned\n"
    return "\n".join([f"  {profile}:  # under profiles in params.yaml", "    foundation:", *lines]) + "\n"


def _pins(name: str, checkpoint: ClipCheckpoint | LlavaCheckpoint) -> dict[tuple[str, ...], str]:
    """What is open in a checkpoint's settings, by its keys there, and what it should be."""
    if isinstance(checkpoint, ClipCheckpoint):
        wanted = {("sha256",): checkpoint.sha256}
    else:
        wanted = {("revision",): checkpoint.revision}
        wanted |= {("sha256", file): value for file, value in checkpoint.sha256.items()}
    wanted = [key for key, value in wanted.items() if value == UNPINNED]
    if not wanted:
        return {}
    try:
        source = located(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"foundation.{name}: {error}") from error
    if source.files is None:
        raise CheckpointError(f"foundation.{name}: {source.shown} is not here: run `{source.command}`, then pin")
    here, pins = {file.name: file for file in source.files}, {}
    for key in wanted:
        file = key[1] if len(key) == 2 else source.files[0].name
        if file not in here:
            raise ConfigError(f"foundation.{name}.sha256.{file}: its weights are {', '.join(here)}; name these")
        pins[key] = source.commit if key == ("revision",) else digest(here[file])
    return pins
