"""Where the models of params.yaml lie, and `pin`: fills in the revisions and digests that params.yaml leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uoisc.base.config import PARAMS, Params
from uoisc.base.errors import CheckpointError, ConfigError
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

    Raises CheckpointError, ValueError or OSError where params.yaml names what cannot be.
    """
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
    from uoisc.frozen.clip import hub_source, weights_in

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


def pin(profile: str, params: Params, path: Path = PARAMS) -> list[str]:
    """Writes the revisions and digests that params.yaml calls `unpinned` into it, from the files that are here.

    Everything else in the file, comments included, stays as it is; what is pinned already is never changed. Returns
    what was pinned, a line each. Raises CheckpointError where files are not here, ConfigError where others are named.
    """
    if not isinstance(params.foundation, Pretrained):
        return []
    edits = {}
    for name in MODELS:
        found = _pins(name, getattr(params.foundation, name))
        edits |= {("profiles", profile, "foundation", name, *key): value for key, value in found.items()}
    path.write_text(_replaced(path.read_text(encoding="utf-8"), edits), encoding="utf-8")
    return [f"{'.'.join(keys[2:])}: {value}" for keys, value in edits.items()]


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
    except (ValueError, OSError) as error:
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


def _replaced(text: str, edits: dict[tuple[str, ...], str]) -> str:
    """The YAML text with the scalars at these keys replaced where they stand."""
    import yaml

    document, spans = yaml.compose(text), []
    for keys, value in edits.items():
        node = document
        for key in keys:
            pairs = {k.value: v for k, v in node.value} if isinstance(node, yaml.MappingNode) else {}
            if key not in pairs:
                raise ConfigError(f"{'.'.join(keys)}: params.yaml takes it from elsewhere, write it out there first")
            node = pairs[key]
        # digits alone would be read as a number
        spans.append((node.start_mark.index, node.end_mark.index, f'"{value}"' if value.isdigit() else value))
    for start, end, value in sorted(spans, reverse=True):
        text = text[:start] + value + text[end:]
    return text
