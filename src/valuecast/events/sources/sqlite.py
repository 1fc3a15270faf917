"""SQLite databases. Any cell can hold anything, so cells are read as text, and checked like those of a CSV file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote as encoded

import pyarrow as pa

from valuecast.errors import SourceError
from valuecast.events.cells import LARGEST_WHOLE_FLOAT
from valuecast.events.schema import quote
from valuecast.events.sources.shard import reason

MAGIC: Final = b"SQLite format 3\0"
_BATCH: Final = 20_000
_SHOWN: Final = 16  # bytes of a cell that is none


class SQLite:
    """An open SQLite database."""

    fault = "bytes that are no text"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tables(self) -> list[tuple[str, str, bool]]:
        """Return schema and name of every table and view; the name is enough."""
        query = "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'"
        return [("main", name, True) for (name,) in self._connection.execute(query)]

    def columns(self, relation: str) -> list[tuple[str, str]]:
        """Return the name of each column of a relation, and SQL of it; what is declared boolean holds 0 and 1."""
        self._connection.execute(f"create temp view source as select * from {relation}")
        found = self._connection.execute("select name, type from pragma_table_info('source')").fetchall()
        return [(name, _boolean(quote(name)) if "BOOL" in kind.upper() else quote(name)) for name, kind in found]

    def read(self, query: str) -> pa.RecordBatchReader:
        """Return the rows of a query with columns c0, c1, ... of text; e0, e1, ... hold what is none."""
        cursor = self._connection.execute(query)
        names = [name for name, *_ in cursor.description]
        schema = pa.schema([(kind + name[1:], pa.string()) for kind in "ce" for name in names])
        return pa.RecordBatchReader.from_batches(schema, _batches(cursor, schema))


@contextmanager
def connect(path: Path, *, where: str) -> Iterator[SQLite]:
    """Open a SQLite file.

    Raises:
        SourceError: it cannot be opened, or refuses what it is asked.
    """
    try:
        # the engine reads from threads of its own, one at a time
        opened = sqlite3.connect(f"file:{encoded(str(path))}?mode=ro", uri=True, check_same_thread=False)
        with closing(opened) as connection:
            connection.text_factory = _decoded
            yield SQLite(connection)
    except sqlite3.Error as error:
        raise SourceError(reason(error), where=where, remedy="Check the file, and the table or the query.") from None


def _boolean(column: str) -> str:
    return f"case {column} when 0 then 'false' when 1 then 'true' else {column} end"


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _batches(cursor: sqlite3.Cursor, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(_BATCH):
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True))
        texts = [[_text(value) for value in column] for column in columns]
        bad = [[_hex(value) if isinstance(value, bytes) else None for value in column] for column in columns]
        yield pa.record_batch([pa.array(each, pa.string()) for each in [*texts, *bad]], schema=schema)


def _text(value: float | str | bytes | None) -> str | None:
    """Return a value as a CSV file has it: a whole number without a point."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bytes):
        return None
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < LARGEST_WHOLE_FLOAT)
    return str(int(value)) if whole else repr(value)


def _hex(value: bytes) -> str:
    return f"x'{value[:_SHOWN].hex()}'" + "..." * (len(value) > _SHOWN)
