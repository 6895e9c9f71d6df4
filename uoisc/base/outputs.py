"""Where commands read and write: no output destroys an input, and what is no plain file is written to, not replaced.

| a name | as an output |
|---|---|
| -, /dev/stdout, /dev/stderr, /dev/fd/N, /proc/self/fd/N | is written to, as the shell has opened it (`>>` appends) |
| a named pipe, /dev/null, another device, another process's stream | is opened and written to |
| a link | what it leads to is the output; the link stays |
| a file, or nothing yet | is written aside and renamed: there whole or not at all; an existing one only with --force |
"""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from uoisc.base.errors import DataError, UoiscError
from uoisc.base.terminal import printable

STREAM = "-"  # standard input or output
INPUT, OUTPUT = 0, 1  # their descriptors
STREAMS = re.compile(r"/dev/fd|/proc/(\d+)(/task/\d+)?/fd")  # folders of open streams
LINKS = 40  # as many as Linux follows


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Within the block errors name the file as the user typed it."""
    try:
        yield
    except UoiscError as error:
        text = str(error)
        for said in (f"{Path(name)}: ", f"{name}: ", f"{shown(name)}: ", "standard input: "):
            text = text.removeprefix(said)
        raise type(error)(f"{shown(name)}: {text}") from None


def shown(name: str) -> str:
    """An input's name as it may be printed."""
    return "standard input" if name == STREAM else printable(name)


def check_outputs(outputs: Sequence[str], inputs: Sequence[str], force: bool = False) -> None:
    """Before any work: raises DataError where an output is nothing, in no folder, a folder, an input, that of two, or
    exists and no `force` is given."""
    sources = {key: name for name in inputs if (key := _plain(name, INPUT))}
    taken = set()
    for name in outputs:
        if not name:
            raise DataError(f"-o: empty; give a file, or {STREAM} for standard output")
        key = _plain(name, OUTPUT)
        if key in sources:
            raise DataError(f"{shown(sources[key])}: its own output would take its place; give another one by -o")
        place = _place(name, OUTPUT)
        if isinstance(place, str) and os.path.isdir(place):
            raise _folder(name)
        if _replaced(place) and not os.path.isdir(os.path.dirname(place)):
            raise DataError(f"{shown(os.path.dirname(name) or name)}: no such folder, make it first")
        if place in taken:
            raise DataError(f"{shown(name)}: two of the inputs would be written to this file")
        taken |= {place} if _replaced(place) else set()
    if not force:
        for name in existing(outputs):
            raise _exists(name)


def existing(outputs: Sequence[str]) -> list[str]:
    """Those of the outputs that are plain files already."""
    return [name for name in outputs if _replaced(_place(name, OUTPUT)) and _plain(name, OUTPUT)]


def is_plain(name: str) -> bool:
    """Whether an output is a file that is replaced, and not written to."""
    return _replaced(_place(name, OUTPUT))


def write(data: bytes, name: str, force: bool = False) -> None:
    """Writes an output, see above. Raises DataError where it cannot be written; no half of a file is left behind."""
    place = _place(name, OUTPUT)
    if isinstance(place, int):
        stream = _stream(place, OUTPUT)
        stream.write(data)
        stream.flush()
        return
    aside = Path(os.path.dirname(place), f".{os.getpid()}.partial")  # short: a name may be as long as a folder takes
    try:
        if os.path.isdir(place) or Path(place).is_block_device():
            raise _folder(name)
        if not _replaced(place):
            with open(place, "ab") as file:
                file.write(data)
        elif not force and os.path.exists(place):
            raise _exists(name)
        else:
            aside.write_bytes(data)
            os.replace(aside, place)
    except BrokenPipeError:
        raise
    except OSError as error:
        remedy = "name a file in a folder that is there and takes it"
        raise DataError(f"{shown(name)}: cannot be written ({error.strerror}); {remedy}") from None
    finally:
        with suppress(OSError):
            aside.unlink()


def opened(name: str):
    """An input of bytes, open. Raises DataError where it cannot be read."""
    place = _place(name, INPUT)
    if isinstance(place, int):
        return _stream(place, INPUT)
    try:
        return open(place, "rb")
    except OSError as error:
        known = {errno.ENOENT: "no such file", errno.EISDIR: "a folder; name the files in it"}
        raise DataError(f"{shown(name)}: {known.get(error.errno, f'cannot be read ({error.strerror})')}") from None


def _folder(name: str) -> DataError:
    return DataError(f"{shown(name)}: a folder or a disk; name a file in it")


def _exists(name: str) -> DataError:
    return DataError(f"{shown(name)}: exists; --force replaces it")


def _place(name: str, standard: int) -> int | str:
    """The descriptor of the open stream that a name stands for, or the path that its links lead to."""
    if name == STREAM:
        return standard
    for _ in range(LINKS):
        folder, last = os.path.split(name)
        folder = os.path.realpath(folder)
        name = os.path.join(folder, last)
        if last.isdigit() and (found := STREAMS.fullmatch(folder)):
            return int(last) if found[1] in (None, str(os.getpid())) else name
        if not os.path.islink(name):
            break
        name = os.path.join(folder, os.readlink(name))
    return name


def _replaced(place: int | str) -> bool:
    """Whether what is written there takes the place of what was: of a plain file, or of nothing."""
    if isinstance(place, int) or STREAMS.fullmatch(os.path.dirname(place)):
        return False
    return not os.path.lexists(place) or os.path.isfile(place)


def _plain(name: str, standard: int) -> tuple[int, int] | None:
    """What tells a plain file from all others, whatever its names; None where it is none, or not there."""
    place = _place(name, standard)
    try:
        found = os.stat((sys.stdin, sys.stdout)[standard].fileno() if place == standard else place)
    except (OSError, ValueError, AttributeError):  # ValueError, AttributeError: a stream in memory has no descriptor
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _stream(place: int, standard: int):
    """An open stream of bytes: standard input or output as Python holds it, or another descriptor."""
    if place == standard:
        stream, way = ((sys.stdin, "input"), (sys.stdout, "output"))[standard]
        if stream is None:
            raise DataError(f"standard {way} is closed: name a file in the place of {STREAM}")
        return stream.buffer
    try:
        return os.fdopen(os.dup(place), ("rb", "wb")[standard])
    except OSError as error:
        raise DataError(f"/dev/fd/{place}: cannot be used ({error.strerror}): the shell has not opened it") from None
