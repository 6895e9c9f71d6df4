"""Files and folders: the project's own, why one cannot be read or written, and what is written whole or not at all."""

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
    path = Path(path)
    return "/".join((path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).parts[-4:]) or path.name


def unreadable(path: Path, error: OSError, remedy: str) -> str:
    """One line on why a file cannot be read: a lacking right is said as such, as no stage gives it."""
    if isinstance(error, PermissionError):
        return f"{short(path)}: cannot be read ({reason(error)}); ask its owner for it"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        what = "a link to what is not there" if os.path.islink(path) else "not there"
        return f"{short(path)}: {what}; {remedy}"
    return f"{short(path)}: cannot be read ({reason(error)}); {remedy}"


def readable(path: Path, remedy: str, kind: type[UoiscError] = DataError) -> Path:
    """`path`, where it is a file that this user can read. Raises `kind`, see `unreadable`, which ends with `remedy`."""
    try:
        with open(path, "rb"):
            return path
    except OSError as error:
        raise kind(unreadable(path, error, remedy)) from error


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


def is_there(path: Path, kind: type[UoiscError] = DataError) -> bool:
    """Whether there is anything of that name. Raises `kind` where a folder on the way to it may not be entered."""
    try:
        os.stat(path)
    except PermissionError as error:
        raise kind(unreadable(path, error, "")) from error
    except OSError:
        return False
    return True


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
def written_aside(path: Path, kind: type[UoiscError] = DataError) -> Iterator[Path]:
    """A path to write to, which takes `path`'s place when the block ends well. Raises `kind` where that cannot be."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        raise unwritable(path, error, kind) from error
    finally:
        _remove(aside)


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """A folder to fill beside `target`, which it replaces when all went well and leaves no trace of otherwise.

    Two renames, so that at no time a part of a folder stands there. Raises DataError where it cannot be written.
    """
    aside, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    try:
        _remove(aside)
        aside.mkdir(parents=True)
        yield aside
        if os.path.lexists(target):
            _remove(old)
            os.replace(target, old)
        os.replace(aside, target)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        if not os.path.lexists(target):
            with suppress(OSError):
                os.replace(old, target)
        _remove(aside)
        _remove(old)


def _remove(path: Path) -> None:
    """Takes away a folder, a file or a link; one that cannot go stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()
