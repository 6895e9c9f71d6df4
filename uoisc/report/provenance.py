"""Where each value of params.yaml comes from: its line's comment (`# paper`, `# authors' code: ...`, `# ours: why`).

A value without a comment has that of the mapping around it, where both stand: in the profile, else in `base`.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from uoisc.base.config import document, merged
from uoisc.base.documents import comment, nodes, pairs, read_text
from uoisc.base.errors import ConfigError

SOURCES = ("paper", "authors' code", "ours")
NOT_STATED = "not stated"


def settings(params: Path, profile: str) -> pd.DataFrame:
    """Every value of a profile: columns `setting`, `value`, `source` (of `SOURCES`, or `NOT_STATED`) and `note`, what
    the comment says after it. A mapping that is written on one line, `{...}`, is one row. Raises ConfigError when the
    file cannot be read or lacks the profile."""
    whole = document(Path(params))
    text = read_text(Path(params))
    if profile not in whole["profiles"]:
        raise ConfigError(f"{Path(params).name}: no profile {profile}")
    standing = nodes(text, Path(params).name)
    places = [pairs(standing["profiles"][1])[profile], standing["base"]]
    told = [(place, comment(text, *place)) for place in places]
    rows = []
    for keys, value, said in _leaves(text, merged(whole["base"], whole["profiles"][profile]), "", told):
        source = next((s for s in SOURCES if said.startswith(s)), NOT_STATED)
        note = said if source == NOT_STATED else said.removeprefix(source).lstrip(":; ")
        rows.append((keys, _shown(value), source, note))
    return pd.DataFrame(rows, columns=["setting", "value", "source", "note"])


def _leaves(text: str, values: dict, above: str, told: list) -> Iterator[tuple[str, object, str]]:
    """(keys, value, comment) of each value; `told`: the nodes around it and their comment, in profile and `base`."""
    for key, value in values.items():
        inside = [(pairs(node).get(key), said) for (_, node), said in told]
        here = [(pair, comment(text, *pair) or said) for pair, said in inside if pair]
        kinds = {pairs(node)["kind"][1].value for (_, node), _ in here if "kind" in pairs(node)}
        here = here[:1] if len(kinds) > 1 else here  # a section of another kind is replaced as a whole
        node = here[-1][0][1]
        if isinstance(value, dict) and not (pairs(node) and node.start_mark.line == node.end_mark.line):
            yield from _leaves(text, value, f"{above}{key}.", here)
        else:
            yield f"{above}{key}", value, here[0][1]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
