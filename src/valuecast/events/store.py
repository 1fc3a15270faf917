"""A log on disk: Parquet parts and one manifest that lists them.

A part is written under a name of its own and the manifest is replaced last, so an ingest that is
killed leaves the log as it was; what it leaves behind is removed when the next one starts. The rejected
rows are no part of the log: they are those of the last ingest that checked all its rows, whether it was
then completed, refused or killed.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import ibis.expr.types as ir

from valuecast import artifact, moments
from valuecast import columns as c
from valuecast.errors import ConfigError, LogError, SourceError, suggest
from valuecast.events.log import Engine, EventLog, SideTable, connect, content_digest
from valuecast.events.protection.privacy import Protection
from valuecast.events.schema import CANONICAL_TYPES, Kind, Span, literal, quote, rows_digest, sorted_for_disk
from valuecast.language import Text
from valuecast.moments import moment

KIND: Final = "event log"
REJECTED: Final = "rejected.parquet"
KEYS: Final = {"items": c.ITEM, "users": c.USER}
_WORK: Final = ".ingest-"
_PART: Final = re.compile(r"(events|items|users)-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class SideFile:
    """The table of items or users of a log on disk."""

    file: str
    dated: bool
    attributes: Mapping[str, Kind]


@dataclass(frozen=True)
class Contents:
    """What the manifest of a log says."""

    span: Span
    fields: Mapping[str, Kind]
    parts: tuple[str, ...]
    sides: Mapping[str, SideFile]
    about: Text | None
    events: int
    users: int
    accounts: tuple[dict[str, Any], ...]
    protection: Protection = field(default_factory=Protection)
    digest: str = ""

    @property
    def names(self) -> set[str]:
        """The ids, fields and attributes of the log."""
        sides = (f"{name}.{attribute}" for name, side in self.sides.items() for attribute in side.attributes)
        return {c.USER, c.ITEM, c.ORDER, *self.fields, *sides}

    @property
    def files(self) -> list[str]:
        """Every data file of the log."""
        return [*self.parts, *(side.file for side in self.sides.values())]


def open_log(folder: Path, *, engine: Engine = "duckdb") -> EventLog:
    """Open a log on an engine.

    Raises:
        LogError: the folder is not a log, or it is damaged.
        MissingExtraError: the engine is not installed.
        ConfigError: there is no such engine, or it does not start.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"no engine '{engine}'", remedy=suggest(engine, get_args(Engine)))
    found = _contents(artifact.load(folder, kind=KIND, error=LogError))
    tables = _on_spark(folder, found) if engine == "spark" else _on_duckdb(folder, found)
    sides = {name: SideTable(tables[name], KEYS[name], side.attributes) for name, side in found.sides.items()}
    return EventLog(
        events=tables["events"],
        span=found.span,
        fields=found.fields,
        items=sides.get("items"),
        users=sides.get("users"),
        digest=found.digest,
        about=found.about,
        origin=str(folder),
        treatments=found.protection.treatments,
    )


def _on_duckdb(folder: Path, found: Contents) -> dict[str, ir.Table]:
    connection = connect()
    view(connection.con, folder, found)
    return {name: connection.table(name) for name in ("events", *found.sides)}


def _on_spark(folder: Path, found: Contents) -> dict[str, ir.Table]:
    from valuecast.events import spark  # noqa: PLC0415 - an extra, and slow to import

    return spark.tables(folder, {"events": found.parts, **{name: (side.file,) for name, side in found.sides.items()}})


def current(folder: Path) -> Contents | None:
    """Return what the log in ``folder`` holds, or None where there is none yet.

    Raises:
        LogError: there is something that is not a log, or a damaged one.
        SourceError: the folder is in use for something else.
    """
    if set("*?") & set(str(folder)):
        raise SourceError("* and ? make a pattern of a path", where=str(folder), remedy="Name the folder without them.")
    if folder.is_file():
        raise SourceError("this is a file", where=str(folder), remedy="Give a folder for the log.")
    if (folder / artifact.MANIFEST).exists():
        return _contents(artifact.load(folder, kind=KIND, error=LogError))
    foreign = [path.name for path in folder.iterdir() if not _ours(path.name)] if folder.is_dir() else []
    if foreign:
        remedy = "Give a new or an empty folder for the log."
        raise SourceError(f"the folder holds other files, such as {foreign[0]}", where=str(folder), remedy=remedy)
    return None


@dataclass(frozen=True)
class Claim:
    """The right to write to a log: what it holds (``old``), and a folder for what is written on the way (``work``)."""

    old: Contents | None
    work: Path


@contextmanager
def claim(folder: Path) -> Iterator[Claim]:
    """Claim the folder of a log for one ingest, and clear it of what a killed one left.

    Nobody but the owner of this process can enter ``work``, since it can hold raw rows; it is removed in the end.

    Raises:
        LogError: the folder holds something that is not a log, or a damaged one.
        SourceError: the folder is in use for something else, or by another ingest.
    """
    current(folder)
    remedy = "Wait until it is done, then ingest again."
    used = SourceError("another ingest is writing this log", where=str(folder), remedy=remedy)
    with artifact.locked(folder, used=used):
        old = current(folder)
        _sweep(folder, old)
        work = folder / f"{_WORK}{uuid.uuid4().hex[:8]}"
        work.mkdir(mode=0o700)
        try:
            yield Claim(old, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _sweep(folder: Path, contents: Contents | None) -> None:
    """Remove what is no part of the log: unfinished files, and parts that the manifest does not list."""
    listed = contents.files if contents else ()
    for path in folder.iterdir():
        if path.name in (*listed, REJECTED) or not _ours(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def view(connection: Any, folder: Path, contents: Contents) -> None:
    """Make the views ``events``, ``items`` and ``users`` of a log on disk."""
    if contents.parts:
        names = ", ".join(quote(name) for name in [*CANONICAL_TYPES, *contents.fields])
        parts = ", ".join(literal(str(folder / name)) for name in contents.parts)
        connection.execute(f"create or replace view events as select {names} from read_parquet([{parts}])")
    for name, side in contents.sides.items():
        path = literal(str(folder / side.file))
        connection.execute(f"create or replace view {name} as select * from read_parquet({path})")


def draft(connection: Any, query: str, *, table: str, work: Path) -> tuple[Path, int]:
    """Write the rows of a query, of events, items or users, to a file in ``work``; return it and their number."""
    path = work / f"{table}-{uuid.uuid4().hex}.parquet"
    ordered = sorted_for_disk(query) if table == "events" else f"{query} order by all"
    (rows,) = connection.execute(_copy(ordered, path)).fetchone()
    return path, rows


def keep(connection: Any, path: Path, *, table: str, folder: Path, listed: Contents | None) -> str:
    """Move a draft into the log, under a name made of its content, and return that name."""
    found = f"select left(md5({rows_digest(table, 't')}), 16) from read_parquet({literal(str(path))}) t"
    name = f"{table}-{connection.execute(found).fetchone()[0]}.parquet"
    if listed is None or name not in listed.files:  # else the same rows are there, and must not be touched
        path.replace(folder / name)
    return name


def copy_to(connection: Any, query: str, path: Path, *, work: Path) -> None:
    """Write the rows of a query as Parquet, and move the file to ``path`` when it is whole."""
    unfinished = work / path.name
    connection.execute(_copy(query, unfinished))
    unfinished.replace(path)


def _copy(query: str, path: Path) -> str:
    return f"copy ({query}) to {literal(str(path))} (format parquet, compression zstd)"


def commit(folder: Path, contents: Contents) -> None:
    """Write the manifest, which makes the files the log, and remove those that it replaces."""
    connection = connect()
    view(connection.con, folder, contents)
    digest = content_digest(connection, ["events", *contents.sides])
    connection.disconnect()
    artifact.commit(folder, kind=KIND, facts=_facts(contents, digest), files=contents.files)
    for name in {path.name for path in folder.iterdir() if _PART.fullmatch(path.name)} - set(contents.files):
        (folder / name).unlink()


def _ours(name: str) -> bool:
    draft = name.startswith((_WORK, f".{artifact.MANIFEST}."))
    return draft or name == REJECTED or _PART.fullmatch(name) is not None


def _facts(contents: Contents, digest: str) -> artifact.Facts:
    span, about = contents.span, contents.about
    return {
        "span": {"from": moments.text(span.start), "until": moments.text(span.until), "stated": span.stated},
        "events": contents.events,
        "users": contents.users,
        "fields": _values(contents.fields),
        "parts": list(contents.parts),
        "sides": {
            name: {"file": side.file, "dated": side.dated, "attributes": _values(side.attributes)}
            for name, side in contents.sides.items()
        },
        "about": {"en": about.en, "zh": about.zh} if about else None,
        "digest": digest,
        "accounts": list(contents.accounts),
        "privacy": {"treatments": dict(contents.protection.treatments), "key": contents.protection.key},
    }


def _values(kinds: Mapping[str, Kind]) -> dict[str, str]:
    return {name: kind.value for name, kind in kinds.items()}


def _contents(facts: artifact.Facts) -> Contents:
    span, about = facts["span"], facts["about"]
    return Contents(
        span=Span(moment(span["from"]), moment(span["until"]), span["stated"]),
        fields={name: Kind(kind) for name, kind in facts["fields"].items()},
        parts=tuple(facts["parts"]),
        sides={
            name: SideFile(side["file"], side["dated"], {key: Kind(kind) for key, kind in side["attributes"].items()})
            for name, side in facts["sides"].items()
        },
        about=Text(about["en"], about["zh"]) if about else None,
        events=facts["events"],
        users=facts["users"],
        accounts=tuple(facts["accounts"]),
        protection=Protection(**facts.get("privacy", {})),
        digest=facts["digest"],
    )
