"""Keys in passes: every key once, with all events of its user, however many passes there are."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from tests.logs import shop
from valuecast.events.keys import asked, passes, portions
from valuecast.events.log import EventLog


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(150, 200)


def keys_of(log: EventLog, moments: int = 2) -> pl.DataFrame:
    users = log.collect(log.events.select("user").distinct().order_by("user"))
    times = pl.DataFrame({"at": [log.span.until] * moments}, schema={"at": pl.Datetime("us")})
    return pl.concat([users, pl.DataFrame({"user": ["nobody"]})]).join(times, how="cross")


@pytest.mark.parametrize("at_once", [1, 10, 77, 1_000])
def test_every_key_is_in_one_pass_with_the_events_of_its_user(log: EventLog, at_once: int) -> None:
    keys = keys_of(log)
    found = list(passes(log, keys, at_once=at_once))
    assert pl.concat([part for _, part in found]).sort("user").equals(keys.sort("user"))
    assert len(found) == 1 if at_once >= len(keys) else len(found) > 1
    assert at_once > 1 or all(part["user"].n_unique() == 1 for _, part in found)  # buckets are no bound
    for known, part in found:
        one, other = (asked(each, part) for each in (known, log))
        assert one.collect(one.events).sort("id").equals(other.collect(other.events).sort("id"))
        assert known.count_users() < log.count_users() or len(found) == 1


def test_a_log_of_some_users_holds_theirs_alone(log: EventLog) -> None:
    users = keys_of(log)["user"].unique().sort().to_list()[:3]
    known = asked(log, pl.DataFrame({"user": users}))
    events = log.collect(log.events)
    assert known.collect(known.events).sort("id").equals(events.filter(pl.col("user").is_in(users)).sort("id"))
    assert (known.span, known.schema) == (log.span, log.schema)


@pytest.mark.parametrize("users", [1, 40, 1_000])
def test_every_event_is_in_one_portion_with_all_of_its_user(log: EventLog, users: int) -> None:
    found = [part.collect(part.events) for part in portions(log, users=users)]
    assert len(found) == max(1, -(-log.count_users() // users))
    assert pl.concat(found).sort("id").equals(log.collect(log.events).sort("id"))
    assert sum(part["user"].n_unique() for part in found) == log.count_users()


def test_a_sample_is_split_as_evenly_as_a_log() -> None:
    events = {"user": [f"u{number}" for number in range(4_000)], "time": [datetime(2024, 1, 1)] * 4_000}
    some = EventLog.from_frame(events, until="2024-02-01").sample(0.3)
    users = some.collect(some.events.select("user"))
    sizes = [part.count_users() for part in portions(some, users=100)]
    assert sum(sizes) == len(users)
    assert max(sizes) <= 200
    keys = users.with_columns(at=pl.lit(some.span.until, dtype=pl.Datetime("us")))
    parts = [part for _, part in passes(some, keys, at_once=100)]
    assert pl.concat(parts).sort("user").equals(keys.sort("user"))
    assert max(map(len, parts)) <= 200
