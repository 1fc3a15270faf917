"""A log on Spark: tables that stay where they are, asked by a session of the user's.

Which cluster it is, and what it may use, is said in Spark's own way (``spark-submit``, ``spark-defaults.conf``,
``SPARK_REMOTE``, or a session that is active already). Labels, features and sequences are the same queries as on
DuckDB; what leaves the cluster is tables keyed by ``(user, at)``, and the events of sequences.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import ibis
import ibis.expr.types as ir
import polars as pl
from polars import selectors

from valuecast import columns as c
from valuecast.errors import ConfigError, LogError, MissingExtraError, SourceError
from valuecast.events.log import EventLog, SideTable
from valuecast.events.schema import BUCKETS, CANONICAL_TYPES, Kind, Span
from valuecast.language import Text
from valuecast.moments import Moment, moment

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

INSTALL: Final = 'pip install "valuecast[spark]"'
JAVA: Final = "Install Java 17, such as with: apt-get install openjdk-17-jre-headless. If it is there, set JAVA_HOME."
_LOST: Final = ("stopped SparkContext", "SparkContext was shut down", "SparkContext has been shut", "NO_ACTIVE_SESSION")
_ZONE: Final = "spark.sql.session.timeZone"
_TYPES: Final = {"VARCHAR": "string", "TIMESTAMP": "timestamp_ntz", "DOUBLE": "double", "BOOLEAN": "boolean"}
"""What Spark calls the types of ``events.schema``; without a zone, as times are UTC."""


def session() -> SparkSession:
    """Return the active session, or start one as Spark is configured; its clock is UTC.

    Raises:
        MissingExtraError: PySpark is not installed.
        ConfigError: there is no Java to start it with, or the active session's clock is not UTC.
    """
    if find_spec("pyspark") is None:
        raise MissingExtraError("pyspark", install=INSTALL, purpose="a log on Spark")
    from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 - an extra, and slow to import
    from pyspark.sql import SparkSession  # noqa: PLC0415

    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    try:
        return SparkSession.builder.appName("valuecast").config(_ZONE, "UTC").getOrCreate()
    except PySparkRuntimeError as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        found = shutil.which("java")
        what = f"Java does not start ({found})" if found else "there is no Java"
        raise ConfigError(what, where="Spark", remedy=JAVA) from None


def tables(folder: Path, files: Mapping[str, tuple[str, ...]]) -> dict[str, ir.Table]:
    """Return the tables of a log on disk, by name, in the active session; every executor must see the folder.

    Args:
        folder: of the log.
        files: of each table, in the folder.
    """
    own = session()
    paths = {name: [(folder / file).resolve().as_uri() for file in some] for name, some in files.items()}
    return {name: _table(own.read.parquet(*some), name) for name, some in paths.items()}


def on_spark(
    events: str | DataFrame,
    *,
    until: Moment | None = None,
    since: Moment | None = None,
    items: str | DataFrame | None = None,
    users: str | DataFrame | None = None,
    about: Text | None = None,
) -> EventLog:
    """Make a log of tables that Spark knows; see ``EventLog.on_spark``."""
    frame, fields = _canonical(_frame(events))
    found = _found(frame)
    first, last = found["first"], found["last"]
    span = Span(
        moment(since) if since is not None else first,
        moment(until) if until is not None else last + timedelta(microseconds=1),
        stated=until is not None,
    )
    table = _table(frame, "events")
    item_side, of_items = _side(items, c.ITEM) if items is not None else (None, "")
    user_side, of_users = _side(users, c.USER) if users is not None else (None, "")
    return EventLog(
        events=table,
        span=span,
        fields=fields,
        items=item_side,
        users=user_side,
        digest="/".join([found["digest"], of_items, of_users]),
        about=about,
        origin=events if isinstance(events, str) else "a table on Spark",
    ).between(span.start, span.until)


def frame(query: ir.Table, *, backend: Any = None) -> DataFrame:
    """Return a query on a log on Spark as Spark's own; ``backend`` is Ibis's, where the query has none by itself."""
    backend = backend or query._find_backend()
    with _watched(backend._session):
        backend._run_pre_execute_hooks(query)  # small tables that go there
        found: DataFrame = backend._session.sql(backend.compile(query))
    return found


def collect(table: DataFrame) -> pl.DataFrame:
    """Return the rows of a table; times are naive, as the session's clock is UTC.

    Raises:
        LogError: the session is lost.
    """
    with _watched(table.sparkSession):
        found = cast(pl.DataFrame, pl.from_arrow(table.toArrow()))
    return found.with_columns(selectors.datetime(time_zone="*").dt.replace_time_zone(None))


@contextmanager
def _watched(own: SparkSession) -> Iterator[None]:
    """Say what to do where a session is lost."""
    from py4j.protocol import Py4JError, Py4JNetworkError  # noqa: PLC0415 - with the extra
    from pyspark.errors import PySparkException  # noqa: PLC0415 - an extra, and slow to import

    context = getattr(own, "_sc", None)  # over Spark Connect there is none
    if context is not None and context._jsc is None:
        raise _lost("it was stopped")
    try:
        yield
    except (ConnectionError, Py4JNetworkError) as error:
        raise _lost(str(error) or type(error).__name__) from None
    except (Py4JError, PySparkException) as error:
        if not any(sign in str(error) for sign in _LOST):
            raise
        raise _lost(str(error) or type(error).__name__) from None


def _lost(why: str) -> LogError:
    remedy = "Start a session and open the log again: what was saved before is whole, and a run goes on from there."
    return LogError(f"the Spark session is gone: {why.strip().splitlines()[0]}", where="Spark", remedy=remedy)


def _frame(given: str | DataFrame) -> DataFrame:
    """Return a table by its name, in the active session, or as it is given."""
    if not isinstance(given, str):
        return given
    from pyspark.errors import AnalysisException  # noqa: PLC0415 - an extra, and slow to import

    try:
        return session().table(given)
    except AnalysisException as error:
        remedy = "Give the name of a table or a view of the active session, or a DataFrame."
        raise SourceError(f"Spark finds no table '{given}'", where=error.getCondition() or "", remedy=remedy) from None


def _table(frame: DataFrame, name: str) -> ir.Table:
    """Make a view of a frame, under a name of its own, that Ibis can ask."""
    own = frame.sparkSession
    zone = own.conf.get(_ZONE)
    if zone not in ("UTC", "Etc/UTC", "GMT", "+00:00"):  # Ibis would set it, and change what the user's queries mean
        remedy = f'Before, say spark.conf.set("{_ZONE}", "UTC").'
        raise ConfigError(f"the session's time zone is {zone}; a log is in UTC", where="Spark", remedy=remedy)
    view = f"valuecast_{name}_{uuid.uuid4().hex}"
    frame.createTempView(view)
    return ibis.pyspark.from_connection(own).table(view)


def _canonical(given: DataFrame) -> tuple[DataFrame, dict[str, Kind]]:
    """Return the canonical columns, with those made that are missing, then the fields; and the kinds of the fields.

    ``id`` and ``bucket`` are made as ``schema.identified`` says, but numbers are told in Spark's way, so that an id is
    not the one that another engine would make.
    """
    from pyspark.sql import Window  # noqa: PLC0415 - an extra, and slow to import
    from pyspark.sql import functions as f  # noqa: PLC0415

    for name in (c.USER, c.TIME):
        if name not in given.columns:
            remedy = f"Columns are: {', '.join(given.columns)}. Select it under this name."
            raise SourceError(f"no column '{name}'", where="events", remedy=remedy)
    kinds = {name: _kind(given, name) for name in given.columns if name not in CANONICAL_TYPES}
    own = {name: kind for name, kind in CANONICAL_TYPES.items() if name not in (c.ID, c.BUCKET)}
    sql = own | {name: kind.sql for name, kind in kinds.items()}
    absent = {c.EVENT: f.lit(c.PURCHASE)}
    columns = {name: column(name) if name in given.columns else absent.get(name, f.lit(None)) for name in sql}
    frame = given.select(
        *(column.cast(_TYPES[sql[name]]).alias(name) for name, column in columns.items()),
        *(column(name) for name in (c.ID, c.BUCKET) if name in given.columns),
    )
    if c.BUCKET not in given.columns:
        number = f.conv(f.substring(f.md5(column(c.USER)), 1, 4), 16, 10).cast("int") % BUCKETS
        frame = frame.withColumn(c.BUCKET, number.cast("smallint"))
    if c.ID not in given.columns:
        content = f.md5(f.to_json(f.struct(*map(column, sql)), {"ignoreNullFields": "false"}))
        ordinal = f.row_number().over(Window.partitionBy(content).orderBy(f.lit(1)))
        frame = frame.withColumn(c.ID, f.md5(f.concat_ws("#", content, ordinal)))
    return frame.select(*map(column, (*CANONICAL_TYPES, *kinds))), kinds


def column(name: str) -> Column:
    """Return a column by its name, whatever signs are in it."""
    from pyspark.sql import functions as f  # noqa: PLC0415 - an extra, and slow to import

    return f.col("`" + name.replace("`", "``") + "`")


def _kind(given: DataFrame, name: str) -> Kind:
    from pyspark.sql import types as t  # noqa: PLC0415 - an extra, and slow to import

    found = given.schema[name].dataType
    for of, kind in ((t.BooleanType, Kind.BOOLEAN), (t.NumericType, Kind.NUMBER), (t.StringType, Kind.STRING)):
        if isinstance(found, of):
            return kind
    what = f"field '{name}' holds {found.simpleString()}"
    raise SourceError(what, where="events", remedy="Fields are text, numbers or booleans: cast it, or leave it out.")


def _found(frame: DataFrame) -> dict[str, Any]:
    """Return the first and the last time, and a digest of the rows; one pass.

    Raises:
        SourceError: there are no events, or some have no user, no time or no type.
    """
    from pyspark.sql import functions as f  # noqa: PLC0415 - an extra, and slow to import

    needed = (c.ID, c.USER, c.TIME, c.EVENT, c.BUCKET)
    absent = [f.count_if(column(name).isNull()).alias(f"no {name}") for name in needed]
    time = column(c.TIME)
    row = frame.agg(f.min(time).alias("first"), f.max(time).alias("last"), _digest(frame), *absent).collect()[0]
    found: dict[str, Any] = row.asDict()
    if found["first"] is None:
        raise SourceError("no events", where="events", remedy="Give at least one row.")
    for name in needed:
        if count := found[f"no {name}"]:
            what = f"{count:,} rows have no {name}"
            raise SourceError(what, where="events", remedy="Filter such rows out first, or mend them.")
    return found


def _digest(frame: DataFrame) -> Column:
    """Of the rows, whatever their order, under the name ``digest``; those of events are told by their ids."""
    from pyspark.sql import functions as f  # noqa: PLC0415 - an extra, and slow to import

    told = [column(c.ID)] if c.ID in frame.columns else [f.to_json(f.struct("*"), {"ignoreNullFields": "false"})]
    return f.concat_ws("/", f.count("*"), f.hex(f.bit_xor(f.xxhash64(*told)))).alias("digest")


def _side(given: str | DataFrame, key: str) -> tuple[SideTable, str]:
    """Return a table of items or users, and its digest.

    Raises:
        SourceError: its key is missing, or an attribute is neither text, number nor boolean.
    """
    frame, where = _frame(given), f"{key}s"
    if key not in frame.columns:
        remedy = f"Columns are: {', '.join(frame.columns)}. Select it under this name."
        raise SourceError(f"no column '{key}'", where=where, remedy=remedy)
    dated = c.VALID_FROM in frame.columns
    kinds = {name: _kind(frame, name) for name in frame.columns if name not in (key, c.VALID_FROM)}
    frame = frame.select(
        column(key).cast("string").alias(key),
        *([column(c.VALID_FROM).cast("timestamp_ntz").alias(c.VALID_FROM)] if dated else []),
        *(column(name).cast(_TYPES[kind.sql]).alias(name) for name, kind in kinds.items()),
    )
    unique = [key, c.VALID_FROM] if dated else [key]
    if frame.groupBy(*map(column, unique)).count().where("count > 1").limit(1).count():
        raise SourceError(f"two rows for one {' and '.join(unique)}", where=where, remedy="Keep one row for each.")
    return SideTable(_table(frame, where), key, kinds), frame.agg(_digest(frame)).collect()[0]["digest"]
