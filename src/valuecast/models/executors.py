"""Scores on the executors of a Spark cluster: each is given the whole model, and all events of some users at a time.

What a predictor says of a user rests on the user's own events and on what was learned at fitting. So the executors ask
it exactly what this process would, each on a small log of its own; only scores leave them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow as pa

from valuecast import columns as c
from valuecast.events import spark
from valuecast.events.carried import Carried
from valuecast.events.log import EventLog
from valuecast.models.predictor import RAW, Predictor
from valuecast.tasks.labels import asked_about

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EVENTS_AT_ONCE: Final = 1_000_000
"""Users are grouped so that an executor has about this many events at once."""
_GROUP: Final = "_group"
_SCORES: Final = {
    c.USER: "string",
    c.AT: "timestamp_ntz",
    c.TARGET: "string",
    RAW: "double",
    c.SCORE: "double",
    c.LOW: "double",
    c.HIGH: "double",
    c.TIER: "string",
}

_ARROW: Final = pa.schema(
    {
        name: pa.timestamp("us") if kind == "timestamp_ntz" else pa.float64() if kind == "double" else pa.string()
        for name, kind in _SCORES.items()
    }
)


def raw(predictor: Predictor, log: EventLog, at: datetime, *, users: Sequence[str] | None = None) -> DataFrame:
    """Return what ``Predictor.raw`` does, in no order, as a table on Spark that is computed when it is asked for.

    Args:
        predictor: is asked.
        log: on Spark, known until ``at``.
        at: the moment.
        users: score only these.

    Raises:
        ModelError: ``at`` is earlier than ``before``, or the log lacks a column that was there at fitting.
    """
    known = log.before(at)
    carried = Carried.of(known)
    tables = {"events": known.events} | {
        name: side.table for name, side in (("items", known.items), ("users", known.users)) if side is not None
    }
    if users is not None:
        tables["events"] = tables["events"].filter(tables["events"][c.USER].isin(list(users)))
    groups = max(1, -(-log.collect(tables["events"].count().as_table()).item() // EVENTS_AT_ONCE))
    frames = {name: spark.frame(table) for name, table in tables.items()}
    # what cannot be answered is refused here, in words: on an executor it would be a failed stage
    few = {name: frame.limit(1 if name == "events" else 0).toArrow() for name, frame in frames.items()}
    moment = pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT)
    keys = pl.DataFrame(few["events"]).select(c.USER, moment)
    predictor.allowed(keys, at)
    if len(keys):
        predictor.inputs.table(carried.log(few), keys)
    items = frames["items"].toArrow() if "items" in frames else None
    work = _Work(_Packed.of(predictor), items, carried, at)
    events = _grouped(frames["events"], c.USER, groups)
    schema = ", ".join(f"`{name}` {kind}" for name, kind in _SCORES.items())
    if known.users is None:
        return events.groupBy(_GROUP).applyInArrow(lambda own: work.scores(events=own), schema)
    beside = _grouped(frames["users"], known.users.key, groups)
    together = events.groupBy(_GROUP).cogroup(beside.groupBy(_GROUP))
    return together.applyInArrow(lambda own, sides: work.scores(events=own, users=sides), schema)


def _grouped(frame: DataFrame, key: str, groups: int) -> DataFrame:
    from pyspark.sql import functions as f  # noqa: PLC0415 - an extra, and slow to import

    return frame.withColumn(_GROUP, f.pmod(f.xxhash64(spark.column(key)), f.lit(groups)))


@dataclass(frozen=True)
class _Packed:
    """The files of a saved predictor."""

    digest: str
    files: Mapping[str, bytes] = field(repr=False, compare=False)

    @classmethod
    def of(cls, predictor: Predictor) -> _Packed:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            predictor.save(folder)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
        return cls(hashlib.sha256(repr(files).encode()).hexdigest(), files)


@lru_cache(maxsize=1)
def _unpacked(model: _Packed) -> Predictor:
    """Read a predictor; an executor keeps the last one that it read."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in model.files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return Predictor.load(place)


@dataclass(frozen=True)
class _Work:
    """What each executor does, and what it takes for that.

    Attributes:
        model: the predictor.
        items: of the log, where there are any.
        carried: the rest of the log, but for events and users.
        at: the moment.
    """

    model: _Packed
    items: pa.Table | None
    carried: Carried
    at: datetime

    def scores(self, **tables: pa.Table) -> pa.Table:
        """Score the users of some events; ``users`` are their attributes, where the log has any."""
        own = {name: table.drop_columns(_GROUP) for name, table in tables.items()}
        if self.items is not None:
            own["items"] = self.items
        log, predictor = self.carried.log(own), _unpacked(self.model)
        keys = predictor.allowed(asked_about(predictor.task, log, [self.at]), self.at)
        if keys.is_empty():
            return _ARROW.empty_table()
        return predictor.answered(predictor.inputs.table(log, keys)).select(*_SCORES).to_arrow().cast(_ARROW)
