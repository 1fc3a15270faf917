"""Data sets with a name: each is a source mapping that comes with the package, one TOML file each."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from valuecast.errors import SourceError, suggest
from valuecast.events.source import PACKAGE, Mapping


def names() -> list[str]:
    """Return the names of all data sets."""
    return sorted(_recipes())


def mapping(name: str, *, path: Path | None = None) -> Mapping:
    """Return the source mapping of a data set.

    Args:
        name: one of ``names()``.
        path: the folder of its files, for a data set that no package holds.

    Raises:
        SourceError: there is no such data set, or its path is missing or has no meaning.
        MissingExtraError: the package that holds its files is not installed.
    """
    recipes = _recipes()
    if name not in recipes:
        raise SourceError(f"no data set '{name}'", where="data set", remedy=suggest(name, recipes))
    data = tomllib.loads(recipes[name].read_text(encoding="utf-8"))
    obtain = data.pop("obtain", None)
    packaged = all((source.get("path") or source["database"]).startswith(PACKAGE) for source in data["source"])
    if packaged and path is not None:
        raise SourceError("its files come with a package", where=f"data set {name}", remedy="Give no path.")
    if not packaged and path is None:
        remedy = f"Give their folder as path. {obtain}"
        raise SourceError("where are its files?", where=f"data set {name}", remedy=remedy)
    return Mapping.parse(data, base=path or Path(), where=f"data set {name}")


def _recipes() -> dict[str, Traversable]:
    folder = files("valuecast.events") / "recipes"
    return {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
