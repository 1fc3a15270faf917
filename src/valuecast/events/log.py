"""The event log: what happened, to whom, when, and the span for which that is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ibis
import ibis.expr.types as ir
import polars as pl

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import LogError, SourceError, check_share
from valuecast.events import engine
from valuecast.events.schema import BUCKETS, CANONICAL_TYPES, Kind, Span, identified, quote, rows_digest
from valuecast.language import Text
from valuecast.moments import Moment, moment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


Engine = Literal["duckdb", "spark"]
"""Where the queries on a log run."""


@dataclass(frozen=True)
class SideTable:
    """Attributes of items or of users.

    A row holds from ``valid_from`` on; where the table has no such column every attribute is static:
    somebody declared that it does not know the future.
    """

    table: ir.Table
    key: str
    attributes: Mapping[str, Kind]

    @property
    def dated(self) -> bool:
        """Whether attributes change with time."""
        return c.VALID_FROM in self.table.columns

    def before(self, at: Moment) -> SideTable:
        """Return what was known before ``at``."""
        if not self.dated:
            return self
        return replace(self, table=self.table.filter(self.table[c.VALID_FROM] < ibis.literal(moment(at))))


@dataclass(frozen=True)
class EventLog:
    """Events, items and users of one shop, and the span they are known for.

    ``before`` and ``between`` are the only ways to cut a log in time; ``sample`` takes some of its users. Nothing is
    mutated.

    Attributes:
        events: the canonical event table (see ``valuecast.columns``) with the shop's ``fields``.
        fields: the shop's own columns of the event table and their types.
        digest: which rows the uncut log holds, whatever their order (see ``content_digest``).
        about: what the data set says of itself, for every page that shows a result on it.
        origin: where the log was read from, for messages.
        treatments: the ids, fields and attributes that were replaced at ingest: by a ``pseudonym``, or by a mask.
    """

    events: ir.Table
    span: Span
    fields: Mapping[str, Kind]
    items: SideTable | None = None
    users: SideTable | None = None
    digest: str = ""
    about: Text | None = None
    origin: str = "a log in memory"
    treatments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path, *, engine: Engine = "duckdb") -> EventLog:
        """Open a log that ``valuecast ingest`` wrote.

        Args:
            folder: of the log.
            engine: ``duckdb``, in this process; or ``spark``: the active session, or one that is started as Spark is
                configured. All of its executors must see the folder.

        Raises:
            LogError: the folder is not a log, or it is damaged.
            MissingExtraError: PySpark is not installed.
            ConfigError: there is no such engine, Spark does not start, or its clock is not UTC.
        """
        from valuecast.events.store import open_log  # noqa: PLC0415 - the store builds on this file

        return open_log(Path(folder), engine=engine)

    @classmethod
    def on_spark(
        cls,
        events: str | DataFrame,
        *,
        until: Moment | None = None,
        since: Moment | None = None,
        items: str | DataFrame | None = None,
        users: str | DataFrame | None = None,
        about: Text | None = None,
    ) -> EventLog:
        """Make a log of tables that Spark knows, in canonical columns; they stay where they are.

        A table is a name in the active session, of any catalog and format that it can read, such as Parquet, Delta and
        Iceberg; or a DataFrame. As for ``from_frame``: ``user`` and ``time`` must be there, without ``event`` every row
        is a purchase, further columns become fields, ``items`` is keyed by ``item`` and ``users`` by ``user``, and
        their attributes are static unless there is ``valid_from``. Where the events have no ``id``, each query makes
        it of the row's content and sorts by it: a table with an ``id``, different for each row, is faster. Times with
        a zone are read in UTC, which must be the session's.

        The tables are read once here, to check them and to tell this log from others. Without ``until`` the log is
        known until just after its last event.

        Raises:
            SourceError: a table or a column is missing, or a row has no user, no time or no event.
            MissingExtraError: PySpark is not installed.
            ConfigError: Spark does not start, or its clock is not UTC.
        """
        from valuecast.events import spark  # noqa: PLC0415 - it builds on this file

        return spark.on_spark(events, until=until, since=since, items=items, users=users, about=about)

    @classmethod
    def from_frame(
        cls,
        events: Any,
        *,
        until: Moment | None = None,
        since: Moment | None = None,
        items: Any = None,
        users: Any = None,
        about: Text | None = None,
    ) -> EventLog:
        """Make a log from tables in memory: anything that speaks Arrow, already in canonical columns.

        ``user`` and ``time`` must be there; without ``event`` every row is a purchase; further columns become
        fields. ``items`` is keyed by ``item`` and ``users`` by ``user``; their attributes are static unless the
        table has ``valid_from``. Without ``until`` the log is known until just after its last event.

        Raises:
            SourceError: a column is missing, or a row has no user, no time or no event.
        """
        frame = _canonical(pl.DataFrame(events))
        fields = {name: _kind(frame, name) for name in frame.columns if name not in CANONICAL_TYPES}
        connection = connect()
        connection.con.register("given", frame.to_arrow())
        connection.raw_sql(f"create table events as {identified('select * from given', fields)}")
        connection.con.unregister("given")
        first, last = frame.select(first=pl.col(c.TIME).min(), last=pl.col(c.TIME).max()).row(0)
        span = Span(
            moment(since) if since is not None else first,
            moment(until) if until is not None else last + timedelta(microseconds=1),
            stated=until is not None,
        )
        sides = {"items": _side(connection, items, c.ITEM), "users": _side(connection, users, c.USER)}
        return cls(
            events=connection.table("events"),
            span=span,
            fields=fields,
            items=sides["items"],
            users=sides["users"],
            digest=content_digest(connection, ["events", *(name for name, side in sides.items() if side)]),
            about=about,
        ).between(span.start, span.until)

    def before(self, at: Moment) -> EventLog:
        """Return the log as it was known at ``at``: events earlier than it, and a span that ends there."""
        return self.between(self.span.start, at)

    def asked(self, at: Moment) -> datetime:
        """Return a moment that one may ask about: the log is known until it.

        Raises:
            LogError: it is not.
        """
        when = moment(at)
        if when > self.span.until:
            raise LogError(
                f"asked about {moments.text(when)}, but the log is known only until {moments.text(self.span.until)}",
                where=self.origin,
                remedy="Ingest newer events, or ask about an earlier moment: unknown days would look like silence.",
            )
        return when

    def between(self, start: Moment, until: Moment) -> EventLog:
        """Return the events in ``[start, until)``; the span shrinks to the part that is known.

        Raises:
            LogError: no part of it is known.
        """
        start, until = moment(start), moment(until)
        if until <= self.span.start or start >= self.span.until:
            lies = f"before {moments.text(until)}" if until <= self.span.start else f"from {moments.text(start)} on"
            remedy = f"The log covers {self.span}: take a moment inside."
            raise LogError(f"nothing is known {lies}", where=self.origin, remedy=remedy)
        span = Span(
            max(start, self.span.start), min(until, self.span.until), self.span.stated or until < self.span.until
        )
        time = self.events[c.TIME]
        return replace(
            self,
            events=self.events.filter(time >= ibis.literal(span.start), time < ibis.literal(span.until)),
            span=span,
            items=self.items and self.items.before(until),
            users=self.users and self.users.before(until),
        )

    def sample(self, share: float) -> EventLog:
        """Return the log of a share of the users, all of what each did: where fewer are enough to learn from.

        Users are drawn by a digest of their name: the same ones at any moment and on any engine, and a larger share
        holds those of a smaller one. They lie together on disk, so the others are not read.

        Args:
            share: of the users, such as 0.1; of a sample too, it is a share of all.

        Raises:
            ConfigError: it is not above 0 and at most 1.
        """
        check_share(share, where="sample")
        if share == 1:
            return self
        return replace(self, events=drawn(self.events, 0, share), digest=f"{self.digest} x {share!r}")

    @property
    def engine(self) -> Engine:
        """Where its queries run."""
        return "spark" if self.events._find_backend().name == "pyspark" else "duckdb"

    @property
    def schema(self) -> dict[str, str]:
        """Every column a task or a model may name, with its type; attributes are ``items.x`` and ``users.x``."""
        sides = {"items": self.items, "users": self.users}
        return {name: kind.value for name, kind in self.fields.items()} | {
            f"{side}.{name}": kind.value
            for side, table in sides.items()
            if table is not None
            for name, kind in table.attributes.items()
        }

    @property
    def fingerprint(self) -> str:
        """Which events are in this log, whatever their order on disk: the digest of the uncut log, and the span."""
        return f"{self.digest}@{moments.text(self.span.start)}/{moments.text(self.span.until)}"

    def count_users(self) -> int:
        """Return how many users have an event in the log."""
        return int(self.collect(self.events.aggregate(n=self.events[c.USER].nunique()))["n"][0])

    def collect(self, expression: ir.Table) -> pl.DataFrame:
        """Run a query on the log's engine and return its rows."""
        backend = self.events._find_backend()
        if self.engine == "spark":
            from valuecast.events import spark  # noqa: PLC0415 - an extra, and slow to import

            return spark.collect(spark.frame(expression, backend=backend))
        with engine.within_limits():
            found: pl.DataFrame = backend.to_polars(expression)
        return found


def drawn(events: ir.Table, low: float, high: float) -> ir.Table:
    """Return the events of the users whose digest lies in ``[low, high)``, as a share of all that there are.

    They lie together on disk: the first four digits of the digest give the bucket; those that follow, the place in it.
    """
    bucket, digits = events[c.BUCKET], events[c.USER].hexdigest("md5").substr(4, 4)

    def below(share: float) -> ir.BooleanValue:
        whole, part = divmod(share * BUCKETS, 1)
        inside = digits < f"{int(part * 16**4):04x}"
        return (bucket < int(whole)) | ((bucket == int(whole)) & inside) if part else bucket < int(whole)

    # said of buckets alone too, which the engine can look up
    near = bucket.between(int(low * BUCKETS), int(high * BUCKETS))
    return events.filter(near, *([~below(low)] if low else []), *([below(high)] if high < 1 else []))


def connect() -> Any:
    """Return a connection to an engine in this process; its clock is UTC."""
    connection = ibis.duckdb.connect()
    engine.prepare(connection.con)
    return connection


def content_digest(connection: Any, tables: Sequence[str]) -> str:
    """Return a digest of the rows of ``tables`` and of their columns, the same for any order of either."""
    found = []
    for name in tables:
        columns = sorted(connection.con.table(name).columns)
        rows = f"(select {', '.join(map(quote, columns))} from {quote(name)}) t"
        found.append((name, columns, connection.con.sql(f"select {rows_digest(name, 't')} from {rows}").fetchone()))
    return hashlib.md5(repr(found).encode(), usedforsecurity=False).hexdigest()


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    for name in (c.USER, c.TIME):
        if name not in frame.columns:
            raise SourceError(f"no column '{name}'", where="events", remedy=f"Columns are: {', '.join(frame.columns)}.")
    if frame.is_empty():
        raise SourceError("no events", where="events", remedy="Give at least one row.")
    if c.EVENT not in frame.columns:
        frame = frame.with_columns(pl.lit("purchase").alias(c.EVENT))
    time = frame.schema[c.TIME]
    if not (isinstance(time, pl.Datetime) or time == pl.Date):
        raise SourceError(f"'time' holds {time}", where="events", remedy="Give datetimes or dates.")
    if isinstance(time, pl.Datetime) and time.time_zone is not None:
        frame = frame.with_columns(pl.col(c.TIME).dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    absent = [name for name in (c.ITEM, c.AMOUNT, c.ORDER) if name not in frame.columns]
    frame = frame.with_columns(
        *(pl.lit(None).alias(name) for name in absent),
        pl.col(c.TIME).cast(pl.Datetime("us")),
    ).with_columns(
        *(pl.col(name).cast(pl.String) for name in (c.USER, c.EVENT, c.ITEM, c.ORDER)),
        pl.col(c.AMOUNT).cast(pl.Float64),
    )
    for name in (c.USER, c.TIME, c.EVENT):
        if frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            raise SourceError(
                f"row {row + 1} has no {name}", where="events", remedy="Drop such rows first, or mend them."
            )
    return frame.drop(c.ID, c.BUCKET, strict=False)


def _kind(frame: pl.DataFrame, name: str) -> Kind:
    dtype = frame.schema[name]
    if dtype == pl.Boolean:
        return Kind.BOOLEAN
    if dtype.is_numeric():
        return Kind.NUMBER
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return Kind.STRING
    raise SourceError(f"field '{name}' holds {dtype}", where="events", remedy="Fields are text, numbers or booleans.")


def _side(connection: Any, table: Any, key: str) -> SideTable | None:
    if table is None:
        return None
    frame = pl.DataFrame(table)
    where = f"{key}s"
    if key not in frame.columns:
        raise SourceError(f"no column '{key}'", where=where, remedy=f"Columns are: {', '.join(frame.columns)}.")
    unique = [key, c.VALID_FROM] if c.VALID_FROM in frame.columns else [key]
    if frame.select(unique).is_duplicated().any():
        raise SourceError(f"two rows for one {' and '.join(unique)}", where=where, remedy="Keep one row for each.")
    attributes = {name: _kind(frame, name) for name in frame.columns if name not in unique}
    typed = ", ".join(f"{quote(name)}::{kind.sql} as {quote(name)}" for name, kind in attributes.items())
    dated = f", {c.VALID_FROM}::TIMESTAMP as {c.VALID_FROM}" if len(unique) > 1 else ""
    connection.con.register("given", frame.to_arrow())
    connection.raw_sql(
        f'create table {where} as select "{key}"::VARCHAR as "{key}"{dated}{typed and ", " + typed} from given'
    )
    connection.con.unregister("given")
    return SideTable(connection.table(where), key, attributes)
