"""Errors that a user can act on: each carries one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UoiscError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""


class ConfigError(UoiscError):
    """A parameter is unknown, missing or impossible."""


class DataError(UoiscError):
    """An input file or image is missing or not what it should be."""


class QueryError(UoiscError):
    """A query is empty, too long or about something that the objects lack."""


class CheckpointError(UoiscError):
    """A checkpoint is truncated or belongs to another variant."""


class ResultsError(UoiscError):
    """A results file has missing rows or columns."""


class ProcessError(UoiscError):
    """A process that worked beside this one is gone."""


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def choices(name: str, known: Iterable[str]) -> str:
    """The end of a line about a name that is unknown: all that are known, and the nearest of these."""
    known = list(known)
    near = get_close_matches(name, known, 1)
    return f"choose of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")
