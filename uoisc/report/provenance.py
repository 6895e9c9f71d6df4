"""Where each value of params.yaml comes from: its comment, read line by line.

A value's source is the comment on its own line (`# paper`, `# authors' code: ...`, `# ours: why`). A value
that comes through a YAML alias or merge has the source of the line it was copied from; one without a
comment has that of the mapping around it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import yaml

from uoisc.base.errors import ConfigError

LINE = re.compile(r"^(?P<indent> *)(?P<key>[^\s#:][^#:]*|<<):(?:\s+(?P<rest>.*))?$")
SOURCES = ("paper", "authors' code", "ours")
NOT_STATED = "not stated"

Path_ = tuple[str, ...]


class _Comments:
    """The comment of each key's path, and the path that each aliased or merged mapping was copied from."""

    def __init__(self, text: str) -> None:
        self.comments: dict[Path_, str] = {}
        self.copies: dict[Path_, list[Path_]] = {}
        self.inline: set[Path_] = set()  # mappings written as `{...}` on one line: one row of the table each
        anchors: dict[str, Path_] = {}
        stack: list[tuple[int, str]] = []
        for line in text.splitlines():
            found = LINE.match(line)
            if not found:
                continue
            indent = len(found["indent"])
            stack = [level for level in stack if level[0] < indent]
            parent = tuple(key for _, key in stack)
            content, _, comment = (found["rest"] or "").partition("#")
            copied = [anchors[name] for name in re.findall(r"\*(\w+)", content) if name in anchors]
            if found["key"] == "<<":
                self.copies.setdefault(parent, []).extend(copied)
                continue
            stack.append((indent, found["key"].strip()))
            path = (*parent, found["key"].strip())
            self.copies.setdefault(path, []).extend(copied)
            if re.match(r"(&\w+ +)?\{", content.strip()) and "<<" not in content:
                self.inline.add(path)
            if comment.strip():
                self.comments[path] = comment.strip()
            anchors |= {name: path for name in re.findall(r"&(\w+)", content)}

    def of(self, path: Path_) -> str:
        """The comment that speaks for a value, empty when none does."""
        if path in self.comments:
            return self.comments[path]
        for depth in range(len(path) - 1, 0, -1):  # nearest copied mapping first
            for origin in self.copies.get(path[:depth], []):
                comment = self.of((*origin, *path[depth:]))
                if comment:
                    return comment
            if path[:depth] in self.comments:
                return self.comments[path[:depth]]
        return ""


def _flat(values: dict, path: Path_, whole: set[Path_]) -> list[tuple[Path_, object]]:
    leaves = []
    for key, value in values.items():
        here = (*path, str(key))
        nested = isinstance(value, dict) and here not in whole
        leaves += _flat(value, here, whole) if nested else [(here, value)]
    return leaves


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def settings(params: Path, profile: str) -> pd.DataFrame:
    """Every value of a profile with its source: columns `setting`, `value`, `source`, `note`.

    `source` is one of `SOURCES`, or `NOT_STATED`; `note` is what the comment says after it.
    Raises: ConfigError when the file cannot be read or lacks the profile.
    """
    try:
        text = Path(params).read_text(encoding="utf-8")
        values = yaml.safe_load(text)["profiles"][profile]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{params}: no profile {profile} can be read ({type(error).__name__})") from error
    comments, rows = _Comments(text), []
    for path, value in _flat(values, ("profiles", profile), comments.inline):
        comment = comments.of(path)
        source = next((s for s in SOURCES if comment.startswith(s)), NOT_STATED)
        note = comment if source == NOT_STATED else comment.removeprefix(source).lstrip(":; ")
        rows.append((".".join(path[2:]), _shown(value), source, note))
    return pd.DataFrame(rows, columns=["setting", "value", "source", "note"])
