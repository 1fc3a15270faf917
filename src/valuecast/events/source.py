"""How a shop's files become a log: which file, which rows, and which column is what.

A mapping is data. It is written in TOML or made from flags, both through ``Mapping.parse``, so there
is one set of rules; nothing is read from the mapped files here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from valuecast import columns as c
from valuecast.config.toml import build, read_toml
from valuecast.errors import ConfigError, MissingExtraError, SourceError, suggest
from valuecast.events import snippets
from valuecast.events.intake.times import UNITS, check_zone
from valuecast.events.protection import privacy
from valuecast.events.protection.privacy import Privacy
from valuecast.events.schema import Kind, Span, literal, quote
from valuecast.events.sources import address
from valuecast.events.spec import DROP, REQUIRE, Column, Side, Source, check_file
from valuecast.language import Text
from valuecast.moments import moment

__all__ = ["Column", "Mapping", "Side", "Source"]

PACKAGE: Final = "package:"
FLAGS: Final = "command line"
MAX_REJECTED: Final = 0.05
_SINGLE: Final = (c.EVENT, c.USER, c.TIME, c.ITEM, c.AMOUNT, c.ORDER)


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """Everything that ``ingest`` needs to know.

    Attributes:
        span_from: since when the log is known.
        span_until: until when, exclusive; without it the log ends just after its last event.
        about: what the data set says of itself.
        max_rejected: the share of a file's rows above which ingest stops.
        privacy: what becomes of ids and other personal data before anything is written.
        where: the TOML file or the command line, for messages.
    """

    sources: tuple[Source, ...]
    items: Side | None = None
    users: Side | None = None
    span_from: datetime | None = None
    span_until: datetime | None = None
    about: Text | None = None
    max_rejected: float = MAX_REJECTED
    privacy: Privacy = field(default_factory=Privacy)
    where: str = "mapping"

    @classmethod
    def read(cls, path: Path) -> Mapping:
        """Read a mapping from TOML; its paths are relative to the file.

        Raises:
            ValuecastError: no such file, TOML that does not parse, or a mapping that is not understood.
        """
        return cls.parse(read_toml(path), base=path.parent, where=str(path))

    @classmethod
    def parse(cls, data: dict[str, Any], *, base: Path, where: str) -> Mapping:
        """Read a mapping from plain data.

        Args:
            data: as TOML gives it.
            base: the folder that relative paths start from.
            where: where the data are from, for messages.

        Raises:
            ValuecastError: a key is unknown or missing, or a value is not understood.
            MissingExtraError: a path is in a package that is not installed.
        """
        known = ("source", "items", "users", "span", "privacy", "about", "about_zh", "max_rejected", "install")
        _check_keys(data, known, where=where)
        for key in ("about", "about_zh", "install"):
            if not isinstance(data.get(key, ""), str):
                raise SourceError(f"{key} is not a text", where=where, remedy="Put it in quotes.")
        sources = data.get("source", [])
        if not isinstance(sources, list) or not sources:
            raise SourceError("no [[source]]", where=where, remedy="Add one, with path, user and time.")
        span = data.get("span", {})
        _check_keys(span, ("from", "until"), where=f"{where}: [span]")
        span_from = _moment(span.get("from"), where=f"{where}: [span] from")
        span_until = _moment(span.get("until"), where=f"{where}: [span] until")
        if span_from and span_until:
            Span(span_from, span_until)
        resolve = _Resolver(base, install=data.get("install"), where=where)
        about = data.get("about")
        parsed = tuple(
            _source(each, resolve, where=place(where, number)) for number, each in enumerate(sources, start=1)
        )
        _check_case([field.name for source in parsed for field in source.fields], where=where)
        return cls(
            sources=parsed,
            items=_side(data["items"], resolve, where=f"{where}: [items]") if "items" in data else None,
            users=_side(data["users"], resolve, where=f"{where}: [users]") if "users" in data else None,
            span_from=span_from,
            span_until=span_until,
            about=Text(about, data.get("about_zh", about)) if about else None,
            max_rejected=_share(data.get("max_rejected", MAX_REJECTED), where=f"{where}: max_rejected"),
            privacy=privacy.parse(data.get("privacy", {}), base=base, where=f"{where}: [privacy]"),
            where=where,
        )

    def pseudonymised(self, key: Path) -> Mapping:
        """Return the mapping with a key for pseudonyms: of the users, where its policy does not say of what.

        Raises:
            SourceError: the mapping names a key already.
        """
        return replace(self, privacy=self.privacy.keyed(key))

    @classmethod
    def from_flags(
        cls,
        file: str | Path,
        *,
        user: str,
        time: str,
        event: str | None = None,
        negative: str | None = None,
        item: str | None = None,
        amount: str | None = None,
        order: str | None = None,
        fields: Sequence[str] = (),
        where: str | None = None,
        users: str | None = None,
        zone: str | None = None,
        format: str | None = None,  # noqa: A002 - the name that the TOML key has
        unit: str | None = None,
        sheet: str | None = None,
        table: str | None = None,
        query: str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
        since: str | None = None,
        until: str | None = None,
        max_rejected: float = MAX_REJECTED,
    ) -> Mapping:
        """Make the mapping of one file, or one table or query of a database, from names of columns.

        ``event`` is what each row is, a purchase without it; ``negative`` is what a row with a negative amount is.

        Raises:
            ValuecastError: a value is not understood.
        """
        if negative is not None and amount is None:
            raise ConfigError("--negative without amounts", where=FLAGS, remedy="Add --amount COLUMN.")
        reading = {"column": time, "zone": zone, "format": format, "unit": unit}
        source = {
            "database" if table or query or address.is_database(str(file)) else "path": str(file),
            "sheet": sheet,
            "table": table,
            "query": query,
            "user": user,
            "time": _given(reading),
            "event": _signed(amount or "", negative, event or c.PURCHASE) if negative else event,
            "item": item,
            "amount": amount,
            "order": order,
            "fields": list(fields),
            "where": where,
            "users": users,
            "delimiter": delimiter,
            "encoding": encoding,
        }
        span = _given({"from": _moment(since, where="--since"), "until": _moment(until, where="--until")})
        data = {"source": [_given(source)], "span": span, "max_rejected": max_rejected}
        return cls.parse(data, base=Path.cwd(), where=FLAGS)


def _signed(amount: str, negative: str, other: str) -> dict[str, str]:
    return {"sql": f"case when {quote(amount)} < 0 then {literal(negative)} else {literal(other)} end"}


def place(where: str, number: int) -> str:
    """Say which source of a mapping a message is about; flags make only one."""
    return where if where == FLAGS else f"{where}: [[source]] {number}"


@dataclass(frozen=True)
class _Resolver:
    base: Path
    install: str | None
    where: str

    def __call__(self, path: str) -> str:
        if not path.startswith(PACKAGE):
            return str(self.base / path)
        package, _, inside = path.removeprefix(PACKAGE).partition("/")
        # found without importing: the package's own code and its dependencies stay out of it
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            purpose = f"{self.where}: '{path}'"
            raise MissingExtraError(package, install=self.install or f"pip install {package}", purpose=purpose)
        return str(Path(spec.submodule_search_locations[0]) / inside)


def _source(data: Any, resolve: _Resolver, *, where: str) -> Source:
    _check_keys(data, [field.name for field in fields(Source)], where=where)
    table = dict(data)
    for name in _SINGLE:
        if name in table:
            bare = "constant" if name == c.EVENT else "column"
            table[name] = _column(table[name], bare=bare, target=name, where=f"{where}: {name}")
    table["fields"] = _fields(table.get("fields", []), where=f"{where}: fields")
    source = build(Source, _resolved(table, resolve, where=where), where=where)
    if source.users not in (REQUIRE, DROP):
        remedy = f"Use '{REQUIRE}' (a row without a user is rejected) or '{DROP}' (it is counted and left out)."
        raise SourceError(f"users = '{source.users}' is not a policy", where=where, remedy=remedy)
    if source.where is not None:
        snippets.parse(source.where, where=f"{where}: where")
    check_file(source, where=where)
    return source


def _side(data: Any, resolve: _Resolver, *, where: str) -> Side:
    _check_keys(data, [field.name for field in fields(Side)], where=where)
    table = dict(data)
    for name in ("key", "valid_from"):
        if name in table:
            target = c.TIME if name == "valid_from" else name
            table[name] = _column(table[name], bare="column", target=target, where=f"{where}: {name}")
    for name in ("static", "dated"):
        table[name] = _fields(table.get(name, []), where=f"{where}: {name}")
    side = build(Side, _resolved(table, resolve, where=where), where=where)
    _check_case([field.name for field in side.attributes], where=where)
    if bool(side.dated) != bool(side.valid_from) or (side.static and side.dated):
        raise SourceError(
            "attributes are static, or dated with a valid_from, not both",
            where=where,
            remedy="Give static = [...], or dated = [...] and valid_from, the column that says since when a row holds.",
        )
    check_file(side, where=where)
    return side


def _column(value: Any, *, bare: str, target: str, where: str) -> dict[str, Any]:
    """Return a column in its long form: ``"x"`` is short for ``{column = "x"}``, or for a constant event."""
    if isinstance(value, str):
        return {bare: value}
    _check_keys(value, [field.name for field in fields(Column)], where=where)
    table = dict(value)
    origins = [key for key in ("column", "sql", "constant") if key in table]
    if len(origins) != 1:
        said = " and ".join(origins) or "none of column, sql and constant"
        raise SourceError(f"{said} given", where=where, remedy="Give exactly one of column, sql and constant.")
    allowed = {c.TIME: {"format", "zone", "unit"}, c.AMOUNT: set(), "field": {"type", "map"}}.get(target, {"map"})
    for key in table.keys() - {*origins, *allowed}:
        raise SourceError(f"'{key}' has no meaning here", where=where, remedy=f"Known: {', '.join(sorted(allowed))}.")
    if "sql" in table and isinstance(table["sql"], str):
        snippets.parse(table["sql"], where=f"{where}: sql")
    if "map" in table:
        table["map"] = _choices(table["map"], where=f"{where}: map")
    if "zone" in table:
        check_zone(table["zone"], where=f"{where}: zone")
    for key, known in (("unit", UNITS), ("type", {kind.value for kind in Kind})):
        if key in table and table[key] not in known:
            raise SourceError(f"no {key} '{table[key]}'", where=where, remedy=suggest(str(table[key]), known))
    if "map" in table and table.get("type", Kind.STRING) != Kind.STRING:
        raise SourceError("a map gives texts", where=where, remedy="Remove type, or map.")
    return table


def _choices(value: Any, *, where: str) -> list[dict[str, str]]:
    if not isinstance(value, dict) or not value:
        raise SourceError("no table", where=where, remedy='Write it like map = {0 = "view", 1 = "cart"}.')
    return [{"value": key, "becomes": becomes} for key, becomes in value.items()]


def _fields(value: Any, *, where: str) -> list[dict[str, Any]]:
    """Return fields in their long form: a list names columns, a table says where each field comes from."""
    if isinstance(value, list):
        value = {name: {"column": name} for name in value}
    if not isinstance(value, dict):
        remedy = 'Write it like ["country", "quantity"].'
        raise SourceError(f"{value!r} is no list or table", where=where, remedy=remedy)
    found = []
    for name, spec in value.items():
        place = f"{where}: {name}"
        if str(name).casefold() in c.RESERVED:
            remedy = 'Give it another name: fields = {shop_%s = {column = "%s"}}.' % (name, name)  # noqa: UP031
            raise SourceError(f"a field cannot be called '{name}'", where=where, remedy=remedy)
        if isinstance(spec, dict) and not spec.keys() & {"column", "sql", "constant"}:
            spec = {"column": name, **spec}  # noqa: PLW2901 - {type = "string"} is about the column of that name
        found.append({"name": name, "source": _column(spec, bare="column", target="field", where=place)})
    return found


def _check_case(names: Sequence[str], *, where: str) -> None:
    """Refuse names that differ in their capitals alone: to SQL they are one name."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SourceError(f"'{other}' and '{name}' are one name to SQL", where=where, remedy="Rename one of them.")


def _check_keys(table: Any, known: Sequence[str], *, where: str) -> None:
    if not isinstance(table, dict):
        raise SourceError(f"{table!r} is not a table", where=where, remedy=f"Its keys are: {', '.join(known)}.")
    for key in table:
        if key not in known:
            raise SourceError(f"unknown key '{key}'", where=where, remedy=suggest(key, known))


def _resolved(table: dict[str, Any], resolve: _Resolver, *, where: str) -> dict[str, Any]:
    path, database = table.get("path"), table.get("database")
    if isinstance(path, str):
        table = {**table, "path": resolve(path)}
    if isinstance(database, str):
        address.check(database, where=f"{where}: database")
        table = {**table, "database": database if address.is_url(database) else resolve(database)}
    return table


def _moment(value: Any, *, where: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str | date):
        raise SourceError(f"{value!r} is not a date", where=where, remedy="Write it like 2011-09-10.")
    return moment(value, where=where)


def _share(value: Any, *, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise SourceError(f"{value!r} is not a share", where=where, remedy="Give a number from 0 to 1.")
    return float(value)


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
