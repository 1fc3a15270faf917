"""Slices by field know only what was known before the moment."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.logs import START
from valuecast.errors import LogError
from valuecast.evaluation.slices import slice_of
from valuecast.events.log import EventLog

AT = START + timedelta(days=10)
KEYS = pl.DataFrame({"user": ["a", "b", "c"], "at": [AT] * 3})


@pytest.fixture(scope="module")
def log() -> EventLog:
    events = pl.DataFrame(
        {
            "user": ["a", "a", "a", "b", "c"],
            "time": [START, START + timedelta(days=5), AT, START, START],
            "channel": ["web", "app", "post", None, "web"],
            "basket": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    users = pl.DataFrame(
        {
            "user": ["a", "a", "b"],
            "valid_from": [START, AT, START],
            "tier": ["silver", "gold", "bronze"],
        }
    )
    return EventLog.from_frame(events, until=START + timedelta(days=30), users=users)


def test_an_event_field_is_its_last_value_before_the_moment(log: EventLog) -> None:
    assert slice_of(log, KEYS, "channel")["value"].to_list() == ["app", "(none)", "web"]


def test_a_dated_attribute_is_what_was_known_before_the_moment(log: EventLog) -> None:
    assert slice_of(log, KEYS, "users.tier")["value"].to_list() == ["silver", "bronze", "(none)"]


def test_rare_values_are_gathered() -> None:
    users = [f"u{i:02}" for i in range(40)]
    channel = [f"c{min(i, 11)}" for i in range(40)]
    log = EventLog.from_frame(pl.DataFrame({"user": users, "time": [START] * 40, "channel": channel}), until=AT)
    found = slice_of(log, pl.DataFrame({"user": users, "at": [AT] * 40}), "channel")["value"]
    assert found.n_unique() == 9
    assert "(other)" in found.to_list()


def test_numbers_are_cut_at_quartiles() -> None:
    users = [f"u{i:02}" for i in range(40)]
    frame = pl.DataFrame({"user": users, "time": [START] * 40, "basket": [float(i) for i in range(40)]})
    log = EventLog.from_frame(frame, until=AT)
    found = slice_of(log, pl.DataFrame({"user": users, "at": [AT] * 40}), "basket")["value"]
    assert found.n_unique() == 4


def test_an_unknown_field_is_named(log: EventLog) -> None:
    with pytest.raises(LogError, match="Did you mean 'channel'"):
        slice_of(log, KEYS, "chanel")
