"""Cohorts: three users by hand, whole months only, and nothing that is not known yet."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from valuecast.evaluation.page.cohorts import cohorts, retention, whole_months
from valuecast.events.log import EventLog
from valuecast.report.blocks import Table

JANUARY = 2024 * 12
DAYS = {
    "a": ["2024-01-05", "2024-02-05", "2024-02-06", "2024-04-01"],
    "b": ["2024-01-31", "2024-03-31", "2024-05-02"],
    "c": ["2024-02-10", "2024-04-30"],
}


def log_of(days: dict[str, list[str]], *, since: str = "2024-01-01", until: str = "2024-05-03") -> EventLog:
    rows = [(user, datetime.fromisoformat(day)) for user, found in days.items() for day in found]
    return EventLog.from_frame(pl.DataFrame(rows, schema=["user", "time"], orient="row"), since=since, until=until)


def test_retention_of_three_users_by_hand() -> None:
    found = retention(log_of(DAYS)).rows()
    assert found == [
        (JANUARY, 2, 1, 0.5),  # a in February
        (JANUARY, 2, 2, 0.5),  # b in March
        (JANUARY, 2, 3, 0.5),  # a in April; May is not whole
        (JANUARY + 1, 1, 1, 0.0),
        (JANUARY + 1, 1, 2, 1.0),
    ]


def test_who_first_bought_in_a_month_known_in_part_is_in_no_cohort() -> None:
    log = log_of(DAYS | {"d": ["2023-12-20", "2024-02-01", "2024-03-01"]}, since="2023-12-15")
    assert retention(log).equals(retention(log_of(DAYS)))


def test_other_events_are_no_purchases() -> None:
    log = log_of(DAYS)
    events = log.collect(log.events).drop("id", "bucket")
    views = events.with_columns(pl.lit("view").alias("event"), pl.lit("z").alias("user"))
    assert retention(EventLog.from_frame(pl.concat([events, views]), since="2024-01-01", until="2024-05-03")).equals(
        retention(log)
    )


@pytest.mark.parametrize(
    ("since", "until", "months"),
    [
        ("2024-01-01", "2024-05-01", (0, 4)),
        ("2024-01-02", "2024-04-30", (1, 3)),
        ("2024-01-01T05:00", "2024-04-30T16:00", (0, 4)),  # midnights of other zones
    ],
)
def test_whole_months(since: str, until: str, months: tuple[int, int]) -> None:
    log = log_of({"a": ["2024-02-10"]}, since=since, until=until)
    assert whole_months(log) == (JANUARY + months[0], JANUARY + months[1])


def test_the_map_is_triangular_and_a_long_log_is_shown_by_quarters() -> None:
    section = cohorts(log_of(DAYS))
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert table.frame["cohort"].to_list() == ["2024-01", "2024-02"]
    assert table.frame["3"].to_list() == [0.5, None]
    assert [column.name for column in table.columns if column.shaded] == ["1", "2", "3"]
    section = cohorts(log_of(DAYS | {"e": ["2022-02-01", "2022-04-05"]}, since="2022-01-01"))
    assert section is not None
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert table.frame["cohort"].to_list() == ["2022 Q1"]  # the quarter after that of 2024 is not whole
    assert table.frame.select("1", "2", "8").row(0) == (1.0, 0.0, 0.0)


def test_a_log_without_two_whole_months_or_without_purchases_has_no_map() -> None:
    assert cohorts(log_of(DAYS, until="2024-02-20")) is None
    assert cohorts(log_of({"a": ["2024-05-02"]})) is None
