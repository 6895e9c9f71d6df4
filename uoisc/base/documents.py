"""Text that people write by hand, read as it stands or refused in one line: YAML 1.2, as DVC reads it, and JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from uoisc.base.errors import ConfigError, first_line

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_+-]*")  # text that YAML takes for text without quotes
WORDS = ("true", "false", "null")  # but for these
SHOWN = 120  # characters of a library's own message
LARGEST = 1_000_000  # characters of a document


def read_text(path: Path) -> str:
    """A file's text with its line ends. Raises ConfigError, one line, where it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: not found; restore it with `git checkout -- {path.name}`") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise ConfigError(f"{path.name}: cannot be read ({reason})") from None
    if len(text) > LARGEST:
        raise ConfigError(f"{path.name}: has {len(text):,} characters, at most {LARGEST:,} are read")
    return text


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML document holds; `name` stands for it in errors.

    Raises ConfigError, one line, for what is no YAML, a key that stands twice, and anchors, by which a few lines could
    unfold to gigabytes.
    """
    return _parsed(text, name, "load")


def _parsed(text: str, name: str, how: str) -> Any:
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
    return pairs(_parsed(text, name, "compose"))


def pairs(node: Any) -> dict[str, tuple[Any, Any]]:
    """As `nodes`, of a node; nothing where it is no mapping."""
    from ruamel.yaml.nodes import MappingNode

    return {key.value: (key, value) for key, value in node.value} if isinstance(node, MappingNode) else {}


def comment(text: str, key: Any, value: Any) -> str:
    """The comment at the end of the line on which a key, or its value beside it, ends."""
    last = value if value.end_mark.line == key.end_mark.line else key
    found = re.compile(r"[ \t]*:?[ \t]*#[ \t]*([^\r\n]*)").match(text, last.end_mark.index)
    return found[1].strip() if found else ""


def edit_yaml(path: Path, changes: dict[str, str | list[str]]) -> None:
    """Gives keys of a YAML file's mapping other values; everything else, comments and line ends too, stays as it is.

    Raises ConfigError, one line, and leaves the file alone, where a key is missing or the text does not read back.
    """
    text = read_text(path)
    standing = nodes(text, path.name)
    for key in changes:
        if key not in standing:
            raise ConfigError(f"{path.name}: has no `{key}`; restore it with `git checkout -- {path.name}`")
    edited = text
    for key in sorted(changes, key=lambda key: standing[key][1].start_mark.index, reverse=True):
        start, end, written = _replacement(text, *standing[key], changes[key])
        edited = edited[:start] + written + edited[end:]
    if parse_yaml(edited, path.name) != parse_yaml(text, path.name) | changes:
        raise ConfigError(f"{path.name}: {', '.join(changes)} cannot be changed in place; write plain values there")
    replace_text(path.resolve(), edited)


def _replacement(text: str, key: Any, value: Any, new: str | list[str]) -> tuple[int, int, str]:
    """Where a value stands, and what to write there: a list of rows stays one."""
    start, end = value.start_mark.index, value.end_mark.index
    rows = isinstance(value.value, list) and not value.flow_style
    if rows and value.value and isinstance(new, list):
        line_end = "\r\n" if "\r\n" in text else "\n"
        between = line_end + " " * value.start_mark.column
        return start, value.value[-1].end_mark.index, between.join(f"- {_scalar(item)}" for item in new)
    written = _scalar(new) if isinstance(new, str) else f"[{', '.join(map(_scalar, new))}]"
    if start == end:  # nothing stood there
        start = end = key.end_mark.index + 1
        written = f" {written}"
    if text[start:end].endswith("\n"):  # a block of text, with its last line's end
        end = start + len(text[start:end].rstrip())
    return start, end, written


def _scalar(text: str) -> str:
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text, ensure_ascii=False)


def replace_text(path: Path, text: str) -> None:
    """Writes a file at once: whoever reads it finds the old text or the new one. Raises ConfigError where it cannot."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(text.encode("utf-8"))
        if path.exists():
            shutil.copymode(path, aside)
        os.replace(aside, path)
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be written ({error.strerror})") from None
    finally:
        aside.unlink(missing_ok=True)


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`; what nests too deep for it is no JSON like all else that is none: a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("nested too deep", "", 0) from None
