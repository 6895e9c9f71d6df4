"""Weights as others have published them: where they lie, how they get here, whether they are what params.yaml says.

A hub name is looked up in the local cache and fetched where it is not there and HF_HUB_OFFLINE allows it. Only
safetensors and text files are ever fetched.
"""

import hashlib
import math
import os
import shlex
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.folders import is_there, readable, unreadable

UNPINNED = "unpinned"  # in params.yaml: a revision or digest that nobody has verified; `uoisc doctor` tells it
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
FETCHED = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")  # no pickle, no code
REMEDY = "run the foundation stage (dvc repro), or name a checkpoint that is here"
SHOWN = 12  # digits of a digest in a message


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids a look at the hub."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def fetch_command(repo: str, revision: str | None = None, file: str | None = None) -> str:
    """The command that brings a hub repository, or one file of it, into the local cache."""
    words = ["hf", "download", repo, *([file] if file else [f"--include={pattern}" for pattern in FETCHED])]
    return "HF_HUB_OFFLINE=0 " + shlex.join([*words, *(["--revision", revision] if revision else [])])


def hub_revision(revision: str) -> str | None:
    """A revision as the hub takes it: None, its default branch, where it is not pinned."""
    return None if revision in ("", UNPINNED) else revision


def cached_folder(repo: str, revision: str) -> Path | None:
    """The folder of a repository in the local cache, complete; None where it, or a part of it, is missing."""
    from huggingface_hub import snapshot_download

    _check_cache(repo)
    try:
        folder = Path(snapshot_download(repo, revision=hub_revision(revision), local_files_only=True))
        return folder if all(file.is_file() for file in [folder / "config.json", *weights_files(folder)]) else None
    except (OSError, ValueError, RuntimeError, CheckpointError):  # RuntimeError: there is no home folder
        return None


def _check_cache(repo: str) -> None:
    """Raises CheckpointError where the repository may lie in the local cache, but this user may not look."""
    from huggingface_hub import constants

    is_there(Path(constants.HF_HUB_CACHE) / cache_name(repo) / "snapshots", CheckpointError)


def cache_name(repo: str) -> str:
    """The folder of a repository in the hub's cache."""
    return f"models--{repo.replace('/', '--')}"


def hub_folder(repo: str, revision: str) -> Path:
    """The folder of a repository at a revision, fetched where it may be; else CheckpointError with the command."""
    from huggingface_hub import snapshot_download

    at = hub_revision(revision)
    fetch = partial(snapshot_download, repo, revision=at, allow_patterns=list(FETCHED))
    return cached_folder(repo, revision) or _fetched(repo, fetch_command(repo, at), fetch)


def _fetched(what: str, command: str, fetch: Callable[[], str]) -> Path:
    if offline():
        raise CheckpointError(
            f"{what} is not in the local cache and HF_HUB_OFFLINE forbids to fetch it: run `{command}`"
        )
    try:
        return Path(fetch())
    except Exception as error:  # the hub's own, and any that a network has
        raise CheckpointError(f"{what} cannot be fetched ({first_line(error)}): try `{command}`") from error


def cached_file(repo: str, file: str) -> Path | None:
    """A file of a repository's default branch in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    _check_cache(repo)
    found = try_to_load_from_cache(repo, file)
    return Path(found) if isinstance(found, str) else None


def hub_file(repo: str, file: str) -> Path:
    """A file of a repository, fetched where it has to be and may be. Raises CheckpointError as `hub_folder` does."""
    from huggingface_hub import hf_hub_download

    fetch = partial(hf_hub_download, repo, file)
    return cached_file(repo, file) or _fetched(f"{file} of {repo}", fetch_command(repo, file=file), fetch)


def weights_files(folder: Path) -> list[Path]:
    """The safetensors that a folder in transformers' format should hold. Raises CheckpointError for a broken index."""
    index = folder / INDEX
    if not is_there(index, CheckpointError):
        return [folder / SINGLE]
    try:
        names = sorted(set(parse_json(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except OSError as error:
        raise CheckpointError(unreadable(index, error, "fetch the checkpoint again")) from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{INDEX} of {folder.name} is broken: fetch the checkpoint again") from error
    return [folder / name for name in names]


def verify(files: list[Path], expected: dict[str, str]) -> None:
    """Compares each file's sha256 with what params.yaml gives for its name; what is not pinned passes.

    Raises CheckpointError, one line, for another digest, a file that params.yaml does not name, and a missing one.
    """
    for file in files:
        if not is_there(file, CheckpointError):
            raise CheckpointError(f"{file.name} is missing in {file.parent.name}: fetch the checkpoint again")
        readable(file, "fetch the checkpoint again", CheckpointError)
        if file.name not in expected:
            raise CheckpointError(
                f"{file.name}: params.yaml gives no sha256 for it, only for {', '.join(expected)}; add it, or "
                f"`{file.name}: {UNPINNED}`"
            )
        wanted = expected[file.name].lower()
        if wanted == UNPINNED:
            continue
        found = digest(file)
        if found != wanted:
            raise CheckpointError(
                f"{file.name} has sha256 {found[:SHOWN]}..., params.yaml wants {wanted[:SHOWN]}...: the file is "
                "another one or damaged, fetch it again"
            )


def digest(file: Path) -> str:
    """A file's sha256, computed once as long as it does not change."""
    stat = os.stat(file)
    return _digest(str(file), stat.st_size, stat.st_mtime_ns)


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of a folder's files, as small as the stand-ins' are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = "".join(f"{file.relative_to(folder)} {digest(file)}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters(file: Path) -> int:
    """How many parameters a safetensors file holds, by its header. Raises CheckpointError where it is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            names = opened.keys()
            return sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file.name} is no safetensors file: fetch it again") from error
