"""Recipes: a TOML file that says what is run. Every key is known, or it is an error that suggests one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from valuecast.errors import ConfigError, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """A title in both languages."""

    en: str
    zh: str


@dataclass(frozen=True)
class Data:
    """Where the log comes from: a named data set, a source mapping, or a log that is there already.

    ``path`` says where the files of a named data set are, if it is not an installable one.
    """

    dataset: str | None = None
    path: str | None = None
    sources: str | None = None
    log: str | None = None


@dataclass(frozen=True)
class SplitBy:
    """How models are chosen and tested: by time (``every``, ``validation``, ``rounds``) or by users (the others)."""

    by: Literal["time", "users"] = "time"
    every: int = 15
    validation: int = 2
    rounds: int = 3
    at: str | None = None
    holdout: float = 0.3
    folds: int = 4


@dataclass(frozen=True)
class Predict:
    """Whom to score when everything is done: at which moment, and with which rung (else the best on validation)."""

    at: str
    rung: str | None = None


@dataclass(frozen=True)
class Campaign:
    """What is assumed about contacting users who may stop buying; none of it is learned from the log.

    Attributes:
        contact_cost: of contacting one user, in the shop's currency.
        save_rate: share of those who would have stopped buying whom a contact keeps.
        margin: share of spend that is earned.

    Raises:
        ConfigError: a negative cost, or a rate that is not above 0 and at most 1.
    """

    contact_cost: float
    save_rate: float
    margin: float

    def __post_init__(self) -> None:
        if not self.contact_cost >= 0:
            raise ConfigError(f"{self.contact_cost}", where="campaign: contact_cost", remedy="Give 0 or more.")
        for name in ("save_rate", "margin"):
            if not 0 < getattr(self, name) <= 1:
                remedy = "Give a share above 0, and at most 1."
                raise ConfigError(f"{getattr(self, name)}", where=f"campaign: {name}", remedy=remedy)


@dataclass(frozen=True)
class Page:
    """What the page shows. Without ``show_users`` ids are masked."""

    show_users: bool = False


@dataclass(frozen=True)
class Recipe:
    """What ``valuecast run`` does.

    Attributes:
        title: of the page; in TOML one text, or a table of en and zh.
        data: where the log comes from.
        tasks: in text form.
        rungs: names of methods, the simplest first.
        origins: test cutoffs; every rung is fitted anew for each, to what was known then.
        split: how settings are chosen and the rest is tested.
        slices: fields by which results are broken down.
        predict: whom to score at the end.
        campaign: what is assumed about contacting users; chooses whom to contact.
        report: what the page shows.
        seed: of everything random.
    """

    title: Words
    data: Data
    tasks: tuple[str, ...]
    rungs: tuple[str, ...]
    origins: tuple[str, ...] = ()
    split: SplitBy = SplitBy()
    slices: tuple[str, ...] = ()
    predict: Predict | None = None
    campaign: Campaign | None = None
    report: Page = Page()
    seed: int = 0


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ConfigError: no such file, TOML that does not parse, an unknown key, or a value of another type.
    """
    found = read_toml(path)
    if isinstance(found.get("title"), str):  # a title in one language stands on both pages
        found["title"] = {"en": found["title"], "zh": found["title"]}
    return build(Recipe, found, where=str(path))


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


def build(kind: type[T], found: Mapping[str, Any], *, where: str) -> T:
    """Make a dataclass from plain data, strictly.

    Raises:
        ConfigError: a key is unknown or missing, or a value has another type than the field.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in found:
        if key not in known:
            raise ConfigError(f"unknown key '{key}'", where=where, remedy=suggest(key, known))
    for name, field in known.items():
        if name not in found and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"no '{name}'", where=where, remedy=f"Add {name} = ...")
    return kind(**{key: _value(hints[key], value, where=f"{where}: {key}") for key, value in found.items()})


def _value(hint: Any, value: Any, *, where: str) -> Any:
    options = get_args(hint)
    if isinstance(hint, UnionType):
        hint = next(option for option in options if option is not type(None))
        return _value(hint, value, where=where)
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{value!r} is not a table", where=where, remedy="Write it as a TOML table.")
        return build(hint, value, where=where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{value!r} is not a list", where=where, remedy="Write it in square brackets.")
        return tuple(_value(options[0], each, where=where) for each in value)
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
