"""Reads a document's values strictly into frozen dataclasses: nothing unknown, missing or out of range passes."""

from __future__ import annotations

import types
import typing
from dataclasses import field, fields

from uoisc.base.errors import ConfigError


def number(low: int | float, high: int | float):
    """A field whose value, or each of whose values, lies in [low, high]."""
    return field(metadata={"range": (low, high)})


def read(kind, value, key: str, metadata=types.MappingProxyType({})):
    """`value` checked against the annotation `kind`; `key` names it in errors.

    Of a union of dataclasses, the value's own `kind` says which one it is (their `KIND`).
    Raises ConfigError, one line.
    """
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        kind, value = _chosen(typing.get_args(kind), value, key)
    if origin is dict:
        if not isinstance(value, dict) or not value:
            raise ConfigError(f"{key}: must be a mapping with at least one entry, not {value!r}")
        return {str(k): read(typing.get_args(kind)[1], v, f"{key}.{k}", metadata) for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list) or not value:
            raise ConfigError(f"{key}: must be a list with at least one entry, not {value!r}")
        return tuple(read(typing.get_args(kind)[0], v, f"{key}[{i}]", metadata) for i, v in enumerate(value))
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{key} = {value!r}: must be true or false")
        return value
    if kind in (int, float, str):
        return _read_scalar(kind, value, key, metadata)
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: must be a mapping, not {value!r}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name in value:
        if str(name) not in known:
            raise ConfigError(f"{key}.{name}: unknown key, choose of {', '.join(known)}")
    for name, entry in known.items():
        if name not in value:
            raise ConfigError(f"{key}.{name}: missing{_range(entry.metadata)}")
    return kind(**{n: read(hints[n], value[n], f"{key}.{n}", known[n].metadata) for n in known})


def _chosen(kinds: tuple, value, key: str) -> tuple[type, dict]:
    """The dataclass that `value` names by its `kind`, and what else it holds."""
    by_name = {kind.KIND: kind for kind in kinds}
    name = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in by_name:
        raise ConfigError(f"{key}.kind = {name!r}: choose of {', '.join(by_name)}")
    return by_name[name], {k: v for k, v in value.items() if k != "kind"}


def _read_scalar(kind, value, key: str, metadata):
    wrong_type = isinstance(value, bool) or not isinstance(
        value, (int, float) if kind is float else (str, int) if kind is str else int
    )
    if wrong_type:
        raise ConfigError(f"{key} = {value!r}: must be {kind.__name__}{_range(metadata)}")
    low, high = metadata.get("range", (None, None))
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{key} = {value!r}: out of range{_range(metadata)}")
    return kind(value)


def _range(metadata: types.MappingProxyType) -> str:
    return " (allowed: {} to {})".format(*metadata["range"]) if "range" in metadata else ""
