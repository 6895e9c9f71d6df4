"""Errors that a user can act on: each carries one line that says what is wrong and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UoiscError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""


class ConfigError(UoiscError):
    """A parameter is unknown, missing or impossible."""


class DataError(UoiscError):
    """An input file or image is missing or not what it should be."""


class QueryError(UoiscError):
    """A query is empty, too long, no plain text or about something that the objects lack."""


class InputError(UoiscError):
    """Images or a message are not what a codec or a judge takes."""


class CheckpointError(UoiscError):
    """A checkpoint is truncated or belongs to another variant."""


class ResultsError(UoiscError):
    """A results file has missing rows or columns."""


class ProcessError(UoiscError):
    """A process that worked beside this one is gone."""


def reason(error: BaseException) -> str:
    """Why something failed, in the system's own words where it has any ("Permission denied"), without a path."""
    return error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def choices(name: str, known: Iterable[str]) -> str:
    """The end of a line about a name that is unknown: all that are known, and the nearest of these."""
    near = get_close_matches(name, known := list(known), 1)
    return f"choose of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")
