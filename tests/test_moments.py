"""Moments are naive UTC, however they are written."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuecast import moments
from valuecast.errors import ConfigError

times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(times)
def test_what_is_written_is_read_back(time: datetime) -> None:
    assert moments.moment(moments.text(time)) == time


@given(times, offsets)
def test_an_offset_is_taken_off(time: datetime, zone: timezone) -> None:
    elsewhere = time.replace(tzinfo=UTC).astimezone(zone)
    assert moments.moment(elsewhere) == time
    assert moments.moment(elsewhere.isoformat()) == time
    assert moments.moment(elsewhere).tzinfo is None


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_a_bare_date_is_its_midnight(day: date) -> None:
    midnight = datetime(day.year, day.month, day.day)
    assert moments.moment(day) == moments.moment(day.isoformat()) == midnight
    assert moments.text(midnight) == day.isoformat()


def test_texts_with_blanks_and_zones() -> None:
    assert moments.moment(" 2011-09-10 ") == datetime(2011, 9, 10)
    assert moments.moment("2011-09-10T18:30Z") == datetime(2011, 9, 10, 18, 30)
    assert moments.moment("2011-09-10 00:30+08:00") == datetime(2011, 9, 9, 16, 30)
    assert moments.text(datetime(2011, 9, 10, 18, 30)) == "2011-09-10T18:30:00"


@pytest.mark.parametrize("text", ["", "yesterday", "10/09/2011", "2011-13-01", "2011-02-30"])
def test_what_is_no_moment_says_where_it_stands_and_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        moments.moment(text, where="--at")
    assert str(caught.value) == f"--at: '{text}' is not a date or time. Write it like 2011-09-10 or 2011-09-10T18:30."
