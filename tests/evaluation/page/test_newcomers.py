"""Cold start: groups by what was known before the moment, and everybody who is not scored is counted."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.evaluation.page.made import answer, outcomes
from tests.logs import START
from valuecast.evaluation.page.newcomers import groups, newcomers, unscored
from valuecast.events.log import EventLog
from valuecast.report.blocks import Table
from valuecast.tasks import Task, churn
from valuecast.tasks.splits import UserSplit

AT = START + timedelta(days=30)
TASK = churn(7, active=20)


@pytest.fixture(scope="module")
def log() -> EventLog:
    days = {
        "u0": [(0, "purchase"), (15, "purchase")],  # known
        "u1": [(29, "view"), (31, "purchase")],  # no purchase yet
        "u2": [(0, "view"), (20, "purchase"), (20.5, "purchase"), (33, "purchase")],  # on one day
        "u3": [(26, "purchase"), (28, "purchase")],  # recent
        "x0": [(1, "purchase")],  # not active
        "x1": [(32, "purchase")],  # comes later
        "x2": [(38, "purchase")],  # after the horizon
    }
    rows = [(user, START + timedelta(days=day), event) for user, found in days.items() for day, event in found]
    frame = pl.DataFrame(rows, schema=["user", "time", "event"], orient="row")
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=40))


FRAME = outcomes("churn_7d", [1, 0, 0, 1], [0.5, 0.4, 0.3, 0.2], at=AT)


def test_groups_know_only_what_was_before(log: EventLog) -> None:
    assert groups(log, FRAME, days=7)["group"].to_list() == ["known", "none", "once", "recent"]
    assert groups(log.before(AT), FRAME, days=7).equals(groups(log, FRAME, days=7))


def test_everybody_who_is_not_scored_is_counted_with_the_reason(log: EventLog) -> None:
    found = unscored(answer(TASK, FRAME), log)
    assert found.rows() == [("count(*) over last 20 days > 0", 1), ("later", 1)]
    strict = Task(TASK.text, when=f"{TASK.when} and count(*) of purchase over last 10 days > 0", name="churn")
    few = answer(strict, FRAME.filter(pl.col("user").is_in(["u2", "u3"])))
    assert dict(unscored(few, log).rows()) == {
        "count(*) over last 20 days > 0": 1,
        "count(*) of purchase over last 10 days > 0": 2,
        "later": 1,
    }
    held = answer(TASK, FRAME.head(1), split=UserSplit(AT))
    assert dict(unscored(held, log).rows())["training"] == 3


def test_the_section_names_every_group_in_both_languages(log: EventLog) -> None:
    _, group, why = newcomers([answer(TASK, FRAME)], log).blocks
    assert isinstance(group, Table)
    assert isinstance(why, Table)
    assert group.frame["value"].to_list() == ["none", "once", "recent", "known"]
    assert group.frame["predicted"].to_list() == pytest.approx([0.4, 0.3, 0.2, 0.5])
    assert why.columns[0].words["count(*) over last 20 days > 0"].en == "no event in the 20 days before"
    assert "没有事件" in why.columns[0].words["count(*) over last 20 days > 0"].zh
