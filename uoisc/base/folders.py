"""Files and folders: the project's own, why one cannot be read or written, and folders that are written whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uoisc.base.errors import DataError, UoiscError, reason

ROOT = Path(__file__).resolve().parents[2]  # the project's top folder


def short(path: Path) -> str:
    """The end of a path: enough to find the file, nothing of the machine."""
    return "/".join(Path(path).parts[-4:])


def unreadable(path: Path, error: OSError, remedy: str) -> str:
    """One line on why a file cannot be read: a lacking right is said as such, as no stage gives it."""
    if isinstance(error, PermissionError):
        return f"{short(path)}: cannot be read ({reason(error)}); ask its owner for it"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        what = "a link to what is not there" if os.path.islink(path) else "not there"
        return f"{short(path)}: {what}; {remedy}"
    return f"{short(path)}: cannot be read ({reason(error)}); {remedy}"


def readable(path: Path, remedy: str, kind: type[UoiscError] = DataError) -> Path:
    """`path`, where it is a file that this user can read.

    Args:
        remedy: what to do about one that is not there or no file: the end of the error's line.

    Raises `kind`, one line that says which it is: see `unreadable`.
    """
    try:
        if not os.path.isdir(path):
            with open(path, "rb"):
                return path
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise kind(unreadable(path, error, remedy)) from error


def is_there(path: Path, kind: type[UoiscError] = DataError) -> bool:
    """Whether there is anything of that name. Raises `kind` where a folder on the way to it may not be entered."""
    try:
        os.stat(path)
    except PermissionError as error:
        raise kind(unreadable(path, error, "")) from error
    except OSError:
        return False
    return True


def readable_folder(folder: Path, remedy: str, kind: type[UoiscError] = DataError) -> Path:
    """`folder`, where every file in it can be read. Raises `kind` as `readable` does."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise kind(unreadable(folder, error, remedy)) from error
    for name in names:
        if not os.path.isdir(folder / name):
            readable(folder / name, remedy, kind)
    return folder


def unwritable(path: Path, error: Exception, kind: type[UoiscError] = DataError) -> UoiscError:
    """What to say where a file or folder cannot be written."""
    return kind(
        f"{short(path)}: cannot be written ({reason(error)}); make room or give the right to write, and run the "
        "same command again: what was saved before is kept"
    )


def check_writable(*folders: Path) -> None:
    """Makes these folders where they are not there. Raises DataError, before any work, for one that takes no file."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise unwritable(folder, error) from error


def share(*files: Path) -> None:
    """Gives files the rights of any new one, 0666 less the umask: safetensors makes its own for their owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    for file in files:
        os.chmod(file, 0o666 & ~mask)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place when the block ends well, else it goes.

    Raises DataError where it cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # a folder that takes no file gives none away either
            aside.unlink()


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """A folder to fill beside `target`, which it replaces when all went well and leaves no trace of otherwise.

    Raises DataError where `target` cannot be written.
    """
    aside, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise unwritable(target, error) from error
    try:
        yield aside
        _take_place(aside, target, old)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _take_place(aside: Path, target: Path, old: Path) -> None:
    """Two renames, so that at no time a part of a folder stands at `target`."""
    shutil.rmtree(old, ignore_errors=True)
    try:
        if os.path.lexists(target):
            os.replace(target, old)
        os.replace(aside, target)
    except OSError as error:
        if os.path.lexists(old) and not os.path.lexists(target):
            os.replace(old, target)
        raise unwritable(target, error) from error
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    else:  # a file or a link was in the folder's place
        old.unlink(missing_ok=True)
