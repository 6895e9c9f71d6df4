"""Weights as others have published them: where they lie, how they get here, whether they are what params.yaml says.

A hub name is looked up in the local cache and fetched where it is not there and HF_HUB_OFFLINE allows it. Only
safetensors and text files are ever fetched.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from functools import lru_cache
from pathlib import Path

from uoisc.base.documents import parse_json
from uoisc.base.errors import CheckpointError, first_line
from uoisc.base.folders import is_there, readable, unreadable

UNPINNED = "unpinned"  # in params.yaml: a revision or digest that nobody has verified; `uoisc doctor --pin` fills it in
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
FETCHED = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")  # no pickle, no code
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

    is_there(Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "snapshots", CheckpointError)


def hub_folder(repo: str, revision: str) -> Path:
    """The folder of a repository at a revision, fetched where it has to be and may be.

    Raises CheckpointError with the command that fetches it.
    """
    from huggingface_hub import snapshot_download

    folder = cached_folder(repo, revision)
    if folder is not None:
        return folder
    command = fetch_command(repo, hub_revision(revision))
    if offline():
        raise CheckpointError(
            f"{repo} is not in the local cache and HF_HUB_OFFLINE forbids to fetch it: run `{command}`"
        )
    try:
        return Path(snapshot_download(repo, revision=hub_revision(revision), allow_patterns=list(FETCHED)))
    except Exception as error:  # the hub's own, and any that a network has
        raise CheckpointError(f"{repo} cannot be fetched ({first_line(error)}): try `{command}`") from error


def cached_file(repo: str, file: str) -> Path | None:
    """A file of a repository's default branch in the local cache; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    _check_cache(repo)
    found = try_to_load_from_cache(repo, file)
    return Path(found) if isinstance(found, str) else None


def hub_file(repo: str, file: str) -> Path:
    """A file of a repository, fetched where it has to be and may be. Raises CheckpointError as `hub_folder` does."""
    from huggingface_hub import hf_hub_download

    found = cached_file(repo, file)
    if found is not None:
        return found
    command = fetch_command(repo, file=file)
    if offline():
        raise CheckpointError(
            f"{file} of {repo} is not in the local cache and HF_HUB_OFFLINE forbids to fetch it: run `{command}`"
        )
    try:
        return Path(hf_hub_download(repo, file))
    except Exception as error:  # the hub's own, and any that a network has
        raise CheckpointError(f"{file} of {repo} cannot be fetched ({first_line(error)}): try `{command}`") from error


def weights_files(folder: Path) -> list[Path]:
    """The safetensors of a folder in transformers' format, whether they are there or not.

    Raises CheckpointError where its index is broken.
    """
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
    return hashlib.sha256(
        "".join(f"{file.relative_to(folder)} {digest(file)}\n" for file in files).encode()
    ).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parameters(file: Path) -> tuple[int, int]:
    """How many parameters a safetensors file holds, and in how many bytes, from its header alone.

    Raises CheckpointError where it is no safetensors file.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 0 < length <= file.stat().st_size:
                raise ValueError("header")
            header = parse_json(opened.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        counts = [_product(entry["shape"]) for entry in tensors]
        return sum(counts), sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file.name} is no safetensors file: fetch it again") from error


def _product(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
