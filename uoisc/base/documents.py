"""Text that people write by hand, read as it stands or refused in one line: YAML 1.2, as DVC reads it, and JSON."""

import json
import re
import shutil
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from uoisc.base.errors import ConfigError, first_line
from uoisc.base.folders import unreadable, written_aside

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_+-]*")  # text that YAML takes for text without quotes
WORDS = ("true", "false", "null")  # but for these
SHOWN = 120  # characters of a library's own message
LARGEST = 1_000_000  # characters of a document
Value = int | str | list[str] | dict[str, str]  # what `edit_yaml` writes


def read_text(path: Path) -> str:
    """A file's text with its line ends. Raises ConfigError, one line, where it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(unreadable(path, error, f"restore it with `git checkout -- {path.name}`")) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name}: cannot be read (it is no UTF-8)") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path.name}: has {len(text):,} characters, at most {LARGEST:,} are read")
    return text


def parse_yaml(text: str, name: str, how: str = "load") -> Any:
    """What a YAML document holds, or its nodes (`compose`). Raises ConfigError, which names it `name`, for what is no
    YAML, a repeated key, and anchors, by which a few lines could unfold to gigabytes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.tokens import AliasToken, AnchorToken

    try:
        marks = re.search("[&*]", text) and YAML(typ="safe").scan(text)
        anchored = next((token for token in marks or () if isinstance(token, (AliasToken, AnchorToken))), None)
        if not anchored:
            return getattr(YAML(typ="safe"), how)(text)
    except Exception as error:  # ruamel's own, and what int(), date() or the stack raise while it builds values
        where = getattr(error, "problem_mark", None)
        reason = str(getattr(error, "problem", None) or first_line(error))[:SHOWN]
        raise ConfigError(f"{name}: not YAML ({reason}{f', line {where.line + 1}' if where else ''})") from None
    line = anchored.start_mark.line + 1
    raise ConfigError(f"{name}, line {line}: no anchors and aliases here (&{anchored.value}): write the value out")


def nodes(text: str, name: str) -> dict[str, tuple[Any, Any]]:
    """The nodes of a YAML mapping's keys and values, which know where in the text they stand, by the keys' text."""
    return pairs(parse_yaml(text, name, "compose"))


def pairs(node: Any) -> dict[str, tuple[Any, Any]]:
    """As `nodes`, of a node; nothing where it is no mapping."""
    from ruamel.yaml.nodes import MappingNode

    return {key.value: (key, value) for key, value in node.value} if isinstance(node, MappingNode) else {}


def comment(text: str, key: Any, value: Any) -> str:
    """The comment at the end of the line on which a key, or its value beside it, ends."""
    last = value if value.end_mark.line == key.end_mark.line else key
    found = re.compile(r"[ \t]*:?[ \t]*#[ \t]*([^\r\n]*)").match(text, last.end_mark.index)
    return found[1].strip() if found else ""


def edit_yaml(path: Path, changes: dict[str, Value]) -> None:
    """Gives keys of a YAML file's mapping, `inner.ones` too, other values; all else, comments and line ends too, stays.

    Raises ConfigError, and leaves the file alone, where a key is missing or the text does not read back.
    """
    text = edited = read_text(path)
    standing = {}
    whole = nodes(text, path.name)
    for key in changes:
        *parents, last = key.split(".")
        inside = reduce(lambda known, name: pairs(known[name][1]) if name in known else {}, parents, whole)
        if last not in inside:
            raise ConfigError(f"{path.name}: has no `{key}`; restore it with `git checkout -- {path.name}`")
        standing[key] = inside[last]
    for key in sorted(changes, key=lambda key: standing[key][1].start_mark.index, reverse=True):
        start, end, written = _replacement(text, *standing[key], changes[key])
        edited = edited[:start] + written + edited[end:]
    expected = parse_yaml(text, path.name)
    for key, value in changes.items():
        *parents, last = key.split(".")
        reduce(getitem, parents, expected)[last] = value
    if parse_yaml(edited, path.name) != expected:
        raise ConfigError(f"{path.name}: {', '.join(changes)} cannot be changed in place; write plain values there")
    with written_aside(path.resolve(), ConfigError) as aside:
        aside.write_bytes(edited.encode("utf-8"))
        shutil.copymode(path, aside)


def _replacement(text: str, key: Any, value: Any, new: Value) -> tuple[int, int, str]:
    """Where a value stands, and what to write there."""
    start = value.start_mark.index
    end = value.end_mark.index
    if isinstance(value.value, list) and value.value and not value.flow_style:  # rows, not what follows the last one
        last = value.value[-1]
        end = (last[1] if isinstance(last, tuple) else last).end_mark.index
    if isinstance(new, dict):
        written = f"{{{', '.join(f'{_scalar(name)}: {_scalar(of)}' for name, of in new.items())}}}"
    else:
        written = f"[{', '.join(map(_scalar, new))}]" if isinstance(new, list) else _scalar(new)
    if start == end:  # nothing stood there
        start = end = key.end_mark.index + 1
    elif text[start:end].endswith("\n"):  # a block of text, with its last line's end
        end = start + len(text[start:end].rstrip())
    return start, end, written if text[start - 1] == " " else f" {written}"


def _scalar(text: int | str) -> str:
    if isinstance(text, int):
        return str(text)
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`; what nests too deep for it is no JSON like all else that is none: a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("nested too deep", "", 0) from None
