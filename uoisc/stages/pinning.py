"""Where the models of params.yaml lie, and the revisions and digests that it leaves open."""

import json
from dataclasses import dataclass
from pathlib import Path

from uoisc.base.config import ROOT
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.settings import ClipCheckpoint, LlavaCheckpoint
from uoisc.frozen import weights
from uoisc.frozen.weights import UNPINNED

MODELS = ("clip", "llava", "llava_independent")  # of Pretrained


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint's weights lie; `files` is None where the hub has to be asked first."""

    shown: str
    files: list[Path] | None
    repo: str = ""
    command: str = ""
    commit: str = ""  # of the hub, where it lies in its cache


def located(checkpoint: ClipCheckpoint | LlavaCheckpoint) -> Origin:
    """Finds a checkpoint without fetching anything.

    Raises CheckpointError where params.yaml names what cannot be, or where there is no home folder to look in.
    """
    try:
        return _clip(checkpoint) if isinstance(checkpoint, ClipCheckpoint) else _llava(checkpoint)
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: Path.home() finds no home folder
        raise CheckpointError(first_line(error)) from error


def _llava(checkpoint: LlavaCheckpoint) -> Origin:
    name = checkpoint.name
    folder = Path(checkpoint.name)
    if (ROOT / folder).is_dir():
        return Origin(shown(folder), weights.weights_files(ROOT / folder))
    if not checkpoint.revision:
        raise ValueError(f"{shown(folder)} is no folder, and a hub name wants a revision")
    at = weights.hub_revision(checkpoint.revision)
    cached = weights.cached_folder(name, checkpoint.revision)
    files, commit = (weights.weights_files(cached), cached.name) if cached else (None, "")
    return Origin(f"{name} at {(at or UNPINNED)[:12]}", files, name, weights.fetch_command(name, at), commit)


def _clip(checkpoint: ClipCheckpoint) -> Origin:
    from uoisc.frozen.clip_files import hub_source, weights_in

    folder = Path(checkpoint.name)
    own = Path(checkpoint.weights)
    if (ROOT / folder).is_dir():
        return Origin(shown(folder), [weights_in(ROOT / folder)])
    if (ROOT / own).is_file():
        return Origin(f"{checkpoint.name}, {shown(own)}", [ROOT / own])
    repo, file = hub_source(checkpoint.name, checkpoint.weights)
    cached = weights.cached_file(repo, file)
    return Origin(f"{file} of {repo}", [cached] if cached else None, repo, weights.fetch_command(repo, file=file))


def digests_of(checkpoint: ClipCheckpoint | LlavaCheckpoint, files: list[Path]) -> dict[str, str]:
    """The sha256 that params.yaml gives for each weights file."""
    own = checkpoint.sha256
    return own if isinstance(own, dict) else {file.name: own for file in files}


def shown(path: Path) -> str:
    """A path as it may be printed: an absolute one by its name alone, as output may land in a notebook."""
    return path.name if path.is_absolute() else str(path)


def pins(checkpoint: ClipCheckpoint | LlavaCheckpoint, source: Origin) -> str:
    """What pins a checkpoint's files that are here, as params.yaml has it; empty where all is pinned."""
    revision = getattr(checkpoint, "revision", "")
    open_digests = digests_of(checkpoint, source.files).values()
    if UNPINNED not in (revision, *open_digests):
        return ""
    here = {file.name: weights.digest(file) for file in source.files}
    sha256 = json.dumps(here if isinstance(checkpoint, LlavaCheckpoint) else here[source.files[0].name])
    return f'revision: "{source.commit}", ' * (revision == UNPINNED) + f"sha256: {sha256}"
