"""Reads a document's values strictly into frozen dataclasses: nothing unknown, missing or out of range passes."""

import types
import typing
from collections.abc import Mapping
from dataclasses import field, fields

from uoisc.base.errors import ConfigError

SHOWN = 80  # characters of a wrong value
AUTO = 0  # a number that is left to the machine, `auto` in the file


class Misfit(ConfigError):
    """A value that is not what its place wants: `keys` lead to it, `says` follows their names."""

    def __init__(self, keys: tuple[str, ...], says: str) -> None:
        super().__init__(".".join(keys) + says)
        self.keys = keys


def number(low: int | float, high: int | float, multiple: int = 1, ascending: bool = False, auto: bool = False):
    """A field whose value, or each value of whose list, lies in [low, high] and is a `multiple`; where it may be left
    to the machine, `auto` is read as AUTO."""
    return field(metadata={"range": (low, high), "multiple": multiple, "ascending": ascending, "auto": auto})


def read(kind, value, keys: tuple[str, ...] = (), wants: Mapping = types.MappingProxyType({})):
    """`value` checked against the annotation `kind` and what a field's metadata `wants`; `keys` lead to it.

    Of a union of dataclasses, the value's own `kind` says which one it is (their `KIND`). Raises Misfit, one line.
    """
    origin = typing.get_origin(kind)
    inner = typing.get_args(kind)
    if origin is types.UnionType:
        by_name = {kind.KIND: kind for kind in inner}
        name = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in by_name:
            raise Misfit((*keys, "kind"), f" = {shown(name)}: choose of {', '.join(by_name)}")
        return read(by_name[name], {key: part for key, part in value.items() if key != "kind"}, keys)
    if origin is tuple:
        return _read_list(inner[0], value, keys, wants)
    if kind in (bool, int, float, str):
        return _read_scalar(kind, value, keys, wants)
    if not isinstance(value, dict):
        raise Misfit(keys, f": must be a mapping, not {shown(value)}")
    for key in value:
        if not isinstance(key, str):
            raise Misfit(keys, f": its key {shown(key)} must be text; put it into quotes")
    if origin is dict:
        if not value and not wants.get("empty"):
            raise Misfit(keys, ": must be a mapping with at least one entry")
        return {key: read(inner[1], part, (*keys, key), wants) for key, part in value.items()}
    known = {f.name: f.metadata for f in fields(kind)}
    for name in [name for name in (*value, *known) if name not in known or name not in value]:
        says = f"missing{_range(known[name])}" if name in known else f"unknown key, choose of {', '.join(known)}"
        raise Misfit((*keys, name), f": {says}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: read(hints[name], value[name], (*keys, name), known[name]) for name in known})


def shown(value: object) -> str:
    """A wrong value as an error shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _read_list(kind, value, keys: tuple[str, ...], wants: Mapping) -> tuple:
    if not isinstance(value, list) or not value:
        raise Misfit(keys, f": must be a list with at least one entry, not {shown(value)}")
    found = [read(kind, part, (*keys[:-1], f"{keys[-1]}[{i}]"), wants) for i, part in enumerate(value)]
    if wants.get("ascending") and found != sorted(set(found)):
        raise Misfit(keys, f" = {shown(found)}: must ascend")
    return tuple(found)


def _read_scalar(kind, value, keys: tuple[str, ...], wants: Mapping):
    if wants.get("auto") and value == "auto":
        return AUTO
    if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool) != (kind is bool):
        name = {bool: "true or false", str: "str, in quotes"}.get(kind, kind.__name__)
        raise Misfit(keys, f" = {shown(value)}: must be {name}{_range(wants)}")
    low, high = wants.get("range", (value, value))
    if not low <= value <= high:
        raise Misfit(keys, f" = {shown(value)}: out of range{_range(wants)}")
    if wants.get("multiple", 1) > 1 and value % wants["multiple"]:
        raise Misfit(keys, f" = {value}: must be a multiple of {wants['multiple']}")
    return kind(value)


def _range(wants: Mapping) -> str:
    word = ", or auto" if wants.get("auto") else ""
    return " (allowed: {} to {}{})".format(*wants["range"], word) if "range" in wants else ""
