"""Where each value of params.yaml comes from: its line's comment (`# paper`, `# authors' code: ...`, `# ours: why`).

A value without a comment has that of the mapping around it, where both stand: in the profile, else in `base`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from uoisc.base.config import document, merged
from uoisc.base.documents import comment, nodes, pairs, read_text
from uoisc.base.errors import ConfigError

SOURCES = ("paper", "authors' code", "ours")
NOT_STATED = "not stated"

Keys = tuple[str, ...]


def settings(params: Path, profile: str) -> pd.DataFrame:
    """Every value of a profile with its source: columns `setting`, `value`, `source`, `note`.

    `source` is one of `SOURCES`, or `NOT_STATED`; `note` is what the comment says after it. A mapping that is written
    on one line, `{...}`, is one row. Raises ConfigError when the file cannot be read or lacks the profile.
    """
    whole, text = document(Path(params)), read_text(Path(params))
    if profile not in whole["profiles"]:
        raise ConfigError(f"{Path(params).name}: no profile {profile}")
    standing = nodes(text, Path(params).name)
    base: dict[Keys, str | None] = {}
    own: dict[Keys, str | None] = {}
    on_one_line = _comments(text, *standing["base"], (), base)
    on_one_line |= _comments(text, *pairs(standing["profiles"][1])[profile], (), own) - base.keys()
    rows = []
    for keys, value in _flat(merged(whole["base"], whole["profiles"][profile]), (), on_one_line):
        stated = own if keys in own else base
        found = next((stated[keys[:n]] for n in range(len(keys), -1, -1) if stated.get(keys[:n])), "")
        source = next((s for s in SOURCES if found.startswith(s)), NOT_STATED)
        note = found if source == NOT_STATED else found.removeprefix(source).lstrip(":; ")
        rows.append((".".join(keys), _shown(value), source, note))
    return pd.DataFrame(rows, columns=["setting", "value", "source", "note"])


def _comments(text: str, key, value, keys: Keys, found: dict[Keys, str]) -> set[Keys]:
    """Collects each key's comment under it; returns the mappings that stand on one line."""
    found[keys] = comment(text, key, value)
    inside = pairs(value)
    lines = {keys} if inside and value.start_mark.line == value.end_mark.line else set()
    return lines.union(*(_comments(text, *pair, (*keys, name), found) for name, pair in inside.items()))


def _flat(values: dict, keys: Keys, whole: set[Keys]) -> list[tuple[Keys, object]]:
    leaves = []
    for key, value in values.items():
        here = (*keys, key)
        nested = isinstance(value, dict) and here not in whole
        leaves += _flat(value, here, whole) if nested else [(here, value)]
    return leaves


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
