"""What reaches a terminal: text without control characters, and progress bars on a terminal alone."""

import os
import sys
import warnings
from collections.abc import Iterable

QUIET = "UOISC_QUIET"  # set by --quiet; in the environment, so that kernels and worker processes keep quiet too
BARS = "UOISC_BARS"  # draws bars off a terminal as well: a kernel's arrive on one through `uoisc run`


def printable(text: object) -> str:
    """The text in one line without control, direction or invisible characters: a file's name may hold any."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def show(text: object, stream=None) -> None:
    """Prints a result, or what went wrong: on standard output unless another stream is given."""
    from tqdm import tqdm

    stream = sys.stdout if stream is None else stream
    if stream is not None:  # a closed one
        tqdm.write("\n".join(map(printable, str(text).split("\n"))), file=stream)


def say(text: object, stream=None) -> None:
    """Prints what is only good to know: nothing under --quiet."""
    if not is_quiet():
        show(text, stream)


def is_quiet() -> bool:
    """Whether --quiet was given to this command, or to the one that started this process."""
    return os.environ.get(QUIET) == "1"


def on_terminal() -> bool:
    """Whether standard error is one."""
    return sys.stderr is not None and sys.stderr.isatty()


def bar(items: Iterable | None = None, disable: bool = False, **options):
    """tqdm's progress bar, hidden off a terminal, under --quiet and where the environment's TQDM_DISABLE says so."""
    from tqdm import tqdm

    hidden = is_quiet() or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    wanted = on_terminal() or os.environ.get(BARS) == "1"
    return tqdm(items, disable=disable or hidden or not wanted, **options)


def warn_in_a_line() -> None:
    """From here on Python's warnings are one line each, without the file and the code that they come from."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(' '.join(str(message).split()))}\n"
