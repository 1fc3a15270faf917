"""Queries that are compiled once: they give what the engine gives without that, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ibis.expr.types as ir
import polars as pl
import pytest

from tests.logs import shop
from valuecast import columns as c
from valuecast.events import prepared
from valuecast.events.log import EventLog

Built = tuple[dict[str, ir.Table], str]
built: list[float] = []


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(30, 100)


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    built.clear()
    prepared._compiled.cache_clear()
    yield
    prepared._compiled.cache_clear()


def totals(least: float, given: Mapping[str, ir.Table]) -> Built:
    """What some users spent, and how often, each time at least so much."""
    built.append(least)
    events = given["events"].semi_join(given["users"], c.USER).filter(lambda each: each[c.AMOUNT] >= least)
    return {"spent": events.group_by(c.USER).aggregate(lines=events.count(), last=events[c.TIME].max())}, f"{least}"


def asked(log: EventLog, users: pl.DataFrame, least: float = 0.0) -> pl.DataFrame:
    found, told = prepared.collect(log, totals, least, {"events": log.events, "users": users})
    assert told == f"{least}"
    return found["spent"].sort(c.USER)


def expected(log: EventLog, users: pl.DataFrame, least: float = 0.0) -> pl.DataFrame:
    events = log.collect(log.events).filter(pl.col(c.AMOUNT) >= least).join(users, on=c.USER, how="semi")
    return events.group_by(c.USER).agg(lines=pl.len().cast(pl.Int64), last=pl.col(c.TIME).max()).sort(c.USER)


def test_other_rows_another_log_and_another_question(log: EventLog) -> None:
    users = log.collect(log.events).select(c.USER).unique().sort(c.USER)
    earlier = log.before(log.span.start + (log.span.until - log.span.start) / 2)
    for each, some in ((log, users), (log, users.head(2)), (earlier, users), (shop(10, 50), users.head(5))):
        assert asked(each, some).equals(expected(each, some))
    assert len(built) == 1
    assert asked(log, users, 20.0).equals(expected(log, users, 20.0))
    assert len(built) == 2
    wider = users.with_columns(number=pl.int_range(pl.len()))  # another schema
    assert asked(log, wider).equals(expected(log, users))
    assert len(built) == 3


def test_nothing_is_left_behind(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = log.events._find_backend()
    before = set(connection.list_tables())
    users = log.collect(log.events).select(c.USER).unique()
    asked(log, users)
    assert set(connection.list_tables()) == before
    monkeypatch.setattr(prepared._Statement, "run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        asked(log, users)
    assert set(connection.list_tables()) == before
