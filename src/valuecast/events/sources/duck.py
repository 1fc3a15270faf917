"""DuckDB databases, and folders of files that a query reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from valuecast.errors import SourceError
from valuecast.events.schema import literal, quote
from valuecast.events.sources.shard import reason

MAGIC: Final = b"DUCK"
_BATCH: Final = 20_000
_AS_TEXT: Final = frozenset({"JSON", "BIT", "BIGNUM", "TIME WITH TIME ZONE"})
"""Types that Arrow has not, or under another name."""


class Duck:
    """An open DuckDB database."""

    fault = ""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def tables(self) -> list[tuple[str, str, bool]]:
        """Return schema and name of every table and view, and whether the name is enough."""
        query = "select table_schema, table_name from information_schema.tables where table_catalog = current_catalog()"
        return [(schema, name, schema == "main") for schema, name in self._connection.execute(query).fetchall()]

    def columns(self, relation: str) -> list[tuple[str, str]]:
        """Return the name of each column of a relation, and SQL of it that Arrow can hold."""
        found = self._connection.execute(f"describe select * from {relation}").fetchall()
        return [(name, quote(name) + "::VARCHAR" * (kind in _AS_TEXT)) for name, kind, *_ in found]

    def read(self, query: str) -> pa.RecordBatchReader:
        """Return the rows of a query, which stream."""
        return self._connection.execute(query).to_arrow_reader(_BATCH)


@contextmanager
def connect(path: Path, *, where: str) -> Iterator[Duck]:
    """Open a DuckDB file, or a folder: a query can name the folder's files.

    Raises:
        SourceError: it cannot be opened, or refuses what it is asked.
    """
    try:
        opened = duckdb.connect() if path.is_dir() else duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        remedy = "Close the program that writes to it, or copy the file."
        raise SourceError(f"cannot be opened: {reason(error)}", where=where, remedy=remedy) from None
    with opened as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")  # a table is never a variable of this program
        if path.is_dir():
            connection.execute(f"SET file_search_path = {literal(str(path))}")
        try:
            yield Duck(connection)
        except duckdb.Error as error:
            raise SourceError(reason(error), where=where, remedy="Check the table or the query.") from None
