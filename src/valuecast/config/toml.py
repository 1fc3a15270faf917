"""Strict TOML: every key is known, or it is an error that suggests one; every value has its field's type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from valuecast.errors import ConfigError, suggest

T = TypeVar("T")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: no such file, or TOML that does not parse; the message names the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), remedy="Check the path.") from None
    except IsADirectoryError:
        raise ConfigError("this is a folder", where=str(path), remedy="Give the path of a TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path), remedy="Mend that line.") from None


def build(kind: type[T], found: Mapping[str, Any], *, where: str, usual: T | None = None) -> T:
    """Make a dataclass from plain data, strictly.

    Args:
        kind: the dataclass.
        found: its fields by name; a field that is a dataclass itself is a table.
        where: what it is read from, for messages.
        usual: the values of what ``found`` leaves out, instead of the defaults of ``kind``. A table for a field whose
            dataclass is ``PARTIAL`` changes what it names of the field's default; any other table replaces it. The
            defaults of a mapping's tables depend on their names where the field's metadata has a function ``usual``.

    Raises:
        ConfigError: a key is unknown or missing, or a value has another type than the field.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in found:
        if key not in known:
            raise ConfigError(f"unknown key '{key}'", where=where, remedy=suggest(key, known))
    values = {} if usual is None else {name: getattr(usual, name) for name in known}
    for name, field in known.items():
        if name not in found and name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"no '{name}'", where=where, remedy=f"Add {name} = ...")
    for key, value in found.items():
        default = known[key].metadata.get("usual", values.get(key, known[key].default))
        values[key] = _value(hints[key], value, where=f"{where}: {key}", usual=default)
    try:
        return kind(**values)
    except ConfigError as error:  # from the dataclass's own check, which knows a field but not where it was read
        if error.where not in known:
            raise
        raise ConfigError(error.what, where=f"{where}: {error.where}", remedy=error.remedy) from None


def _value(hint: Any, value: Any, *, where: str, usual: Any = None) -> Any:
    options = get_args(hint)
    if isinstance(hint, UnionType):
        hint = next(option for option in options if option is not type(None))
        return None if value is None else _value(hint, value, where=where)  # TOML has no None, but a manifest has
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{value!r} is not a table", where=where, remedy="Write it as a TOML table.")
        merged = isinstance(usual, hint) and getattr(hint, "PARTIAL", False)
        return build(hint, value, where=where, usual=usual if merged else None)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{value!r} is not a list", where=where, remedy="Write it in square brackets.")
        return tuple(_value(options[0], each, where=where) for each in value)
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{value!r} is not a table", where=where, remedy="Write it as a TOML table.")
        return {
            name: _value(options[1], each, where=f"{where}: {name}", usual=usual(name) if callable(usual) else None)
            for name, each in value.items()
        }
    if get_origin(hint) is Literal:
        if value not in options:
            raise ConfigError(f"{value!r}", where=where, remedy=f"Use one of: {', '.join(map(str, options))}.")
        return value
    return _scalar(hint, value, where=where)


def _scalar(hint: type, value: Any, *, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is str and hasattr(value, "isoformat"):  # TOML has dates of its own
        value = value.isoformat()
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        spoken = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{value!r} is not {spoken[hint]}", where=where, remedy=f"Write {spoken[hint]}.")
    return value
