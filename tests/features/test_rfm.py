"""Frequency, recency, age and value of purchase days equal a plain loop, and see nothing at or after ``at``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.errors import LogError
from valuecast.events.log import EventLog
from valuecast.features import rfm
from valuecast.moments import moment

START = moment("2020-01-01")
DAYS = 20
SCHEMA = {"user": pl.String, "time": pl.Datetime("us"), "event": pl.String, "amount": pl.Float64}

times = st.integers(0, 4 * DAYS - 1).map(lambda quarter: START + timedelta(hours=6 * quarter))
rows = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["a", "b"]),
        "time": times,
        "event": st.sampled_from(["purchase", "purchase", "return", "view"]),
        "amount": st.sampled_from([0.0, 1.1, 2.5, 10.25, -3.3, None]),
    }
)
frames = st.lists(rows, min_size=1, max_size=25).map(lambda found: pl.DataFrame(found, schema=SCHEMA))


def log_of(frame: pl.DataFrame) -> EventLog:
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS))


def keys_of(*at: datetime) -> pl.DataFrame:
    return pl.DataFrame([{"user": user, "at": when} for when in at for user in ("a", "b", "ghost")]).with_columns(
        pl.col("at").cast(pl.Datetime("us"))
    )


def naive(past: Sequence[dict[str, Any]], at: datetime) -> tuple[float | None, ...]:
    bought = [row for row in past if row["event"] == "purchase"]
    days = sorted({row["time"].date() for row in bought})
    if not days:
        return None, None, None, None
    repeated = [row for row in bought if row["time"].date() > days[0]]
    known = [max(row["amount"], 0.0) for row in repeated if row["amount"] is not None]
    monetary = sum(known) / (len(days) - 1) if known else None
    return len(days) - 1, (days[-1] - days[0]).days, (at.date() - days[0]).days, monetary


@settings(deadline=None, max_examples=25)
@given(frame=frames, at=st.lists(times, min_size=1, max_size=2, unique=True))
def test_summary_equals_a_plain_loop(frame: pl.DataFrame, at: list[datetime]) -> None:
    found = rfm.summary(log_of(frame), keys_of(*at))
    assert found.select("user", "at").equals(keys_of(*at).sort("at", "user"))
    for user, when, *measured in found.rows():
        past = [row for row in frame.rows(named=True) if row["user"] == user and row["time"] < when]
        assert tuple(measured) == pytest.approx(naive(past, when), abs=1e-9)


@settings(deadline=None, max_examples=10)
@given(frame=frames, future=frames, at=times)
def test_nothing_at_or_after_a_moment_changes_its_summary(
    frame: pl.DataFrame, future: pl.DataFrame, at: datetime
) -> None:
    keys = keys_of(at)
    another = pl.concat([frame.filter(pl.col("time") < at), future.filter(pl.col("time") >= at)])
    if not another.is_empty():
        one, other = log_of(frame), log_of(another)
        assert rfm.summary(one, keys).equals(rfm.summary(other, keys))
        assert rfm.first_seen(one, keys).equals(rfm.first_seen(other, keys))
        assert rfm.customers(one, at).equals(rfm.customers(other, at))


def test_a_purchase_day_is_one_purchase_worth_all_its_positive_amounts() -> None:
    def day(number: int, hour: int) -> datetime:
        return START + timedelta(days=number, hours=hour)

    purchases = [
        (day(0, 9), 100.0),
        (day(0, 10), 1.0),
        (day(4, 9), 5.0),
        (day(4, 20), 7.0),
        (day(4, 20), -2.0),
        (day(9, 8), 6.0),
    ]
    frame = pl.DataFrame(
        [{"user": "a", "time": time, "event": "purchase", "amount": amount} for time, amount in purchases]
    )
    found = rfm.summary(log_of(frame), pl.DataFrame({"user": ["a"] * 3, "at": [day(4, 10), day(9, 0), day(15, 0)]}))
    assert found["frequency"].to_list() == [1.0, 1.0, 2.0]
    assert found["recency"].to_list() == [4.0, 4.0, 9.0]
    assert found["age"].to_list() == [4.0, 9.0, 15.0]
    assert found["monetary"].to_list() == [5.0, 12.0, 9.0]


def test_customers_are_those_with_a_purchase_before_the_moment() -> None:
    second = START + timedelta(days=1)
    frame = pl.DataFrame(
        {
            "user": ["b", "a", "b", "c", "d"],
            "time": [START, START, START, second, START],
            "event": ["purchase", "purchase", "purchase", "purchase", "view"],
        }
    )
    found = rfm.customers(log_of(frame), second)
    assert found.rows() == [("a", second), ("b", second)]
    assert rfm.customers(log_of(frame), START).is_empty()


def test_first_seen_counts_days_since_the_first_event_of_any_type() -> None:
    frame = pl.DataFrame(
        {
            "user": ["a", "b"],
            "time": [START + timedelta(hours=20), START + timedelta(days=5)],
            "event": ["view", "purchase"],
        }
    )
    found = rfm.first_seen(log_of(frame), keys_of(START + timedelta(days=3)))
    assert found["since_first"].to_list() == [3.0, None, None]


def test_a_moment_after_the_log_is_refused() -> None:
    frame = pl.DataFrame({"user": ["a"], "time": [START]})
    with pytest.raises(LogError, match="the log is known until 2020-01-21, not until 2020-03-01"):
        rfm.summary(log_of(frame), pl.DataFrame({"user": ["a"], "at": [moment("2020-03-01")]}))
