"""Queries that are asked again and again, of other rows each time: they are built and compiled once.

To build a query of many columns with Ibis, and to compile it, takes far longer than to run it on the events of one
user. Here it is compiled for tables of fixed names, which stand for what is asked about this time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

import ibis
import ibis.expr.types as ir
import polars as pl
import pyarrow as pa

from valuecast.events import engine
from valuecast.events.log import EventLog

Of = TypeVar("Of", bound=Hashable)
Told = TypeVar("Told")
Tables = Mapping[str, ir.Table]
Queries = Callable[[Of, Tables], tuple[Tables, Told]]
"""Builds queries, by name, of something and from tables; and tells something about them."""
_PREFIX: Final = "asked_"


def collect(
    log: EventLog, queries: Queries[Of, Told], of: Of, given: Mapping[str, ir.Table | pl.DataFrame]
) -> tuple[dict[str, pl.DataFrame], Told]:
    """Run queries on the log's engine; return the rows of each, by its name, and what is told about them.

    Args:
        log: whose engine it is.
        queries: builds them from ``of`` and from tables by their names. It is a function of a module, and what it
            builds depends on ``of`` and on the names and schemas of the tables alone: on DuckDB it is not called again.
        of: what the queries are of.
        given: the tables: queries on the log, or rows.
    """
    if log.engine == "spark":
        tables = {name: ibis.memtable(each) if isinstance(each, pl.DataFrame) else each for name, each in given.items()}
        made, told = queries(of, tables)
        return {name: log.collect(query) for name, query in made.items()}, told
    with engine.within_limits(), _named(log.events._find_backend(), given) as (connection, schemas):
        statements, told = _compiled(cast(Queries[Hashable, Told], queries), of, schemas)
        return {name: each.run(connection) for name, each in statements.items()}, told


@dataclass(frozen=True)
class _Statement:
    sql: str
    schema: pa.Schema

    def run(self, connection: Any) -> pl.DataFrame:
        return cast(pl.DataFrame, pl.from_arrow(connection.sql(self.sql).to_arrow_table().cast(self.schema)))


@lru_cache(maxsize=32)
def _compiled(
    queries: Queries[Hashable, Any], of: Hashable, schemas: tuple[tuple[str, ibis.Schema], ...]
) -> tuple[Mapping[str, _Statement], Any]:
    made, told = queries(of, {name: ibis.table(schema, name=_PREFIX + name) for name, schema in schemas})
    statements = {
        name: _Statement(str(ibis.to_sql(query, dialect="duckdb", pretty=False)), query.schema().to_pyarrow())
        for name, query in made.items()
    }
    return statements, told


@contextmanager
def _named(
    backend: Any, given: Mapping[str, ir.Table | pl.DataFrame]
) -> Iterator[tuple[Any, tuple[tuple[str, ibis.Schema], ...]]]:
    """Give tables their fixed names; yields the connection, and their schemas."""
    schemas, connection = [], backend.con
    rows = {name: each for name, each in given.items() if isinstance(each, pl.DataFrame)}
    try:
        for name, each in given.items():
            table = ibis.memtable(each) if isinstance(each, pl.DataFrame) else each
            schemas.append((name, table.schema()))
            if name in rows:
                connection.register(_PREFIX + name, rows[name].to_arrow())
            else:
                backend.create_view(_PREFIX + name, table, overwrite=True)
        yield connection, tuple(schemas)
    finally:
        for name in given:
            if name in rows:
                connection.unregister(_PREFIX + name)
            else:
                backend.drop_view(_PREFIX + name, force=True)
