"""PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from valuecast.errors import MissingExtraError, SourceError
from valuecast.events.schema import quote
from valuecast.events.sources.shard import reason

_TABLES: Final = """
    select nspname, relname, pg_table_is_visible(c.oid) from pg_class c join pg_namespace n on n.oid = relnamespace
    where relkind in ('r', 'p', 'v', 'm', 'f') and nspname !~ '^(pg_|information_schema$)' order by nspname, relname
"""
_AS_THEY_ARE: Final = re.compile("int[248]|float[48]|numeric|bool|uuid|date|time|timestamp(tz)?|text|varchar|bytea|_.*")
"""Types that arrive as what they are; the text of any other is what counts. Numerics arrive as their digits."""
_ROUTE: Final = re.compile(r"^\w+: (\[libpq\] )?")


class Postgres:
    """An open PostgreSQL database."""

    fault = ""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursors: list[Any] = []

    def tables(self) -> list[tuple[str, str, bool]]:
        """Return schema and name of every table and view, and whether the name is enough."""
        return [(schema, name, visible) for schema, name, visible in self._run(_TABLES).fetchall()]

    def columns(self, relation: str) -> list[tuple[str, str]]:
        """Return the name of each column of a relation, and SQL of it that Arrow can hold."""
        schema = self._run(f"select * from {relation} limit 0").fetch_record_batch().schema
        kinds = [(each.name, each.metadata[b"POSTGRESQL:type"].decode()) for each in schema]
        return [(name, quote(name) + "::text" * (not _AS_THEY_ARE.fullmatch(kind))) for name, kind in kinds]

    def read(self, query: str) -> pa.RecordBatchReader:
        """Return the rows of a query, which stream."""
        return self._run(query).fetch_record_batch()

    def _run(self, query: str) -> Any:
        cursor = self._connection.cursor()
        self._cursors.append(cursor)  # its rows end with it
        cursor.execute(query)
        return cursor


@contextmanager
def connect(url: str, *, where: str, secrets: Sequence[str]) -> Iterator[Postgres]:
    """Connect to a database.

    Args:
        url: with everything that a connection needs.
        where: the URL as the user wrote it, for messages.
        secrets: what no message may show.

    Raises:
        SourceError: there is no connection, or the database refuses what it is asked.
        MissingExtraError: the package that connects is not installed.
    """
    try:
        from adbc_driver_postgresql import dbapi  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
    except ImportError:
        install = 'pip install "valuecast[postgres]"'
        raise MissingExtraError("adbc-driver-postgresql", install=install, purpose=where) from None
    try:
        connection = dbapi.connect(url, autocommit=True)
    except dbapi.Error as error:
        remedy = "Check that the server runs, the URL, and the password (PGPASSWORD, ~/.pgpass, or ${NAME} in the URL)."
        raise SourceError(f"cannot connect: {_said(error, secrets)}", where=where, remedy=remedy) from None
    with connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute("set default_transaction_read_only = on")
            yield Postgres(connection)
        except dbapi.Error as error:
            raise SourceError(_said(error, secrets), where=where, remedy="Check the table or the query.") from None


def _said(error: Exception, secrets: Sequence[str]) -> str:
    said = _ROUTE.sub("", reason(error))
    for secret in sorted(secrets, key=len, reverse=True):
        said = said.replace(secret, "***")
    return said
