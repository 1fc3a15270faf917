"""Tracking: cutoffs in order, validation before the test, and the days within a horizon by hand."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.evaluation.page.made import answer, outcomes
from tests.logs import START
from valuecast.evaluation.page.tracking import over_cutoffs, tracking, within_horizon
from valuecast.events.log import EventLog
from valuecast.report.blocks import LineFigure, Paragraph, Table
from valuecast.tasks import churn, value
from valuecast.tasks.splits import UserSplit

AT = START + timedelta(days=10)
EARLIER = {"at": "2020-01-05", "users": 4, "observed": 0.25, "predicted": 0.5}


@pytest.fixture(scope="module")
def log() -> EventLog:
    rows = [("u0", 0, 5.0), ("u0", 11, 3.0), ("u0", 14, 4.0), ("u1", 1, 5.0), ("u1", 14.5, 8.0), ("u2", 2, 1.0)]
    frame = pl.DataFrame([(user, START + timedelta(days=day), paid) for user, day, paid in rows], orient="row")
    frame.columns = ["user", "time", "amount"]
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=20))


def test_validation_cutoffs_come_before_the_test() -> None:
    frame = outcomes("churn_5d", [1, 0], [0.6, 0.2], at=AT)
    found = over_cutoffs(answer(churn(5), frame, backtest=[EARLIER]))
    assert found.select("users", "predicted", "observed", "tested").rows() == [
        (4, 0.5, 0.25, False),
        (2, pytest.approx(0.4), 0.5, True),
    ]
    assert len(over_cutoffs(answer(churn(5), frame, backtest=[EARLIER], split=UserSplit(AT)))) == 1


def test_the_days_of_a_horizon_by_hand(log: EventLog) -> None:
    spent = answer(value(5), outcomes("value_5d", [7, 8, 0], [6, 6, 3], at=AT))
    found = within_horizon(spent, log)
    # day 1 is [10, 11): the purchase of day 11 is in the second, those of 14 and 14.5 in the fifth
    assert found["day"].to_list() == [1, 2, 3, 4, 5]
    assert found["observed"].to_list() == pytest.approx([0, 1, 1, 1, 5])
    stopped = answer(churn(5), outcomes("churn_5d", [0, 0, 1], [0.5, 0.5, 0.5], at=AT))
    assert within_horizon(stopped, log)["observed"].to_list() == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 1 / 3])


def test_only_tested_users_are_followed(log: EventLog) -> None:
    spent = answer(value(5), outcomes("value_5d", [7], [6], at=AT))
    assert within_horizon(spent, log)["observed"].to_list()[-1] == pytest.approx(7)


def test_a_long_horizon_has_few_points_and_ends_at_the_targets(log: EventLog) -> None:
    early = START + timedelta(hours=60)
    frame = outcomes("value_7d", [0, 0, 0], [1, 1, 1], at=early)
    found = within_horizon(answer(value([7, 16]), frame), log)
    assert found["day"].to_list()[-1] == 16
    assert 7 in found["day"].to_list()


def test_one_moment_has_no_course_but_its_horizon(log: EventLog) -> None:
    frame = outcomes("churn_5d", [0, 0, 1], [0.5, 0.5, 0.5], at=AT)
    alone = tracking((answer(churn(5), frame, backtest=[]),), log)
    assert [type(block) for block in alone.blocks] == [Paragraph, LineFigure]
    both = tracking((answer(churn(5), frame, backtest=[EARLIER]),), log)
    assert [type(block) for block in both.blocks] == [Paragraph, LineFigure, LineFigure, Table]
    course = both.blocks[1]
    assert isinstance(course, LineFigure)
    assert course.x.format == "date"
    assert course.mark is not None
    assert course.mark.value == course.series[0].x[-1]
