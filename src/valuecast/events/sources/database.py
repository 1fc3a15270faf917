"""Tables and queries of databases.

A database is opened for reading alone, twice: for the columns, and when the rows stream as Arrow into the engine. What
it knows to be a number, a time or a boolean stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa

from valuecast.errors import SourceError, suggest
from valuecast.events.schema import quote
from valuecast.events.sources import address, duck, postgres, sqlite
from valuecast.events.sources.shard import Format, Shard, check_names
from valuecast.events.spec import File

_BEGIN: Final = 16  # bytes of a file that say what it is
_KNOWN: Final = "a DuckDB or SQLite file, a folder of files that a query reads, or postgresql://user@host:port/database"


class Database(Protocol):
    """An open database."""

    fault: str
    """What cells hold that are no values; empty where the database has no such cells."""

    def tables(self) -> list[tuple[str, str, bool]]:
        """Return schema and name of every table and view, and whether the name is enough."""

    def columns(self, relation: str) -> list[tuple[str, str]]:
        """Return the name of each column of a relation, and SQL of it that Arrow can hold."""

    def read(self, query: str) -> pa.RecordBatchReader:
        """Return the rows of a query with columns c0, c1, ...; with a ``fault``, those of e0, e1, ... beside them."""


def open_database(connection: Any, file: File, *, number: int) -> Shard:
    """Open a table or a query.

    Args:
        connection: the engine.
        file: which database, and which table or query of it.
        number: tells shards apart.

    Raises:
        SourceError: the database cannot be opened, has no such table, or refuses the query.
        MissingExtraError: the package that connects to it is not installed.
    """
    place = f"{file.database}: {file.table or 'query'}"
    with _opened(file) as database:
        relation = _relation(database, file)
        found = database.columns(relation)
        check_names([name for name, _ in found], place=place, remedy="Give a query that names each column once.")
        selected = {name: f"{sql} as c{at}" for at, (name, sql) in enumerate(found)}
        schema = database.read(f"{_select(selected, list(selected), relation)} limit 0").schema
        fault = database.fault
    kinds = _kinds(connection, schema)

    @contextmanager
    def stream(wanted: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        with _opened(file) as database:
            yield database.read(_select(selected, wanted, relation))

    return Shard(
        place,
        Format.DATABASE,
        f"rows_{number}",
        {name: (f"c{at}", kinds[f"c{at}"]) for at, name in enumerate(selected)},
        errors={name: f"e{at}" for at, name in enumerate(selected)} if fault else {},
        fault=fault,
        stream=stream,
    )


def _opened(file: File) -> AbstractContextManager[Database]:
    assert file.database is not None
    found, secrets = address.expanded(file.database)
    if found.startswith(address.POSTGRES):
        return postgres.connect(found, where=file.database, secrets=secrets)
    path = Path(found)
    begin = b""
    if not address.is_url(found) and path.is_file():
        with path.open("rb") as stream:
            begin = stream.read(_BEGIN)
    if begin.startswith(sqlite.MAGIC):
        return sqlite.connect(path, where=file.database)
    if path.is_dir() or duck.MAGIC in begin:
        return duck.connect(path, where=file.database)
    raise SourceError("this is no database that can be read", where=file.database, remedy=f"Known: {_KNOWN}.")


def _relation(database: Database, file: File) -> str:
    if file.query is not None:
        query = file.query.strip().rstrip(";")
        return f"(\n{query}\n) as source"
    found = database.tables()
    known = [name if enough else f"{schema}.{name}" for schema, name, enough in found]
    if file.table is None:
        remedy = f"Add table (--table) or query (--query). Tables: {', '.join(sorted(known)) or 'none'}."
        raise SourceError("no table and no query", where=file.database, remedy=remedy)
    for schema, name, enough in found:
        if file.table == f"{schema}.{name}" or (enough and file.table == name):
            return f"{quote(schema)}.{quote(name)}"
    raise SourceError(f"no table '{file.table}'", where=file.database, remedy=suggest(file.table, known))


def _select(selected: Mapping[str, str], wanted: Sequence[str], relation: str) -> str:
    return f"select {', '.join(selected[name] for name in wanted) or '1 as c0'} from {relation}"


def _kinds(connection: Any, schema: pa.Schema) -> dict[str, str]:
    """Return the engine types of Arrow columns."""
    connection.register("shape", schema.empty_table())
    found = {name: kind for name, kind, *_ in connection.sql("describe shape").fetchall()}
    connection.unregister("shape")
    return found
