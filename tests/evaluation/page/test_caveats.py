"""Limits: each is told where it applies, and only there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from tests.evaluation.page.made import answer, outcomes
from tests.logs import START
from valuecast.evaluation.ladder import Result
from valuecast.evaluation.page.answers import Answer
from valuecast.evaluation.page.caveats import caveats
from valuecast.events.log import EventLog
from valuecast.report.blocks import Notice
from valuecast.tasks import churn, value
from valuecast.tasks.splits import UserSplit

AT = START + timedelta(days=500)
MANY = 400
NEAR = {"split": {"refitted_on": ["2021-05-01"]}}


def log_of(*, days: int = 600, until: bool = True) -> EventLog:
    end = START + timedelta(days=days)
    return EventLog.from_frame(
        pl.DataFrame({"user": ["u0", "u0"], "time": [START, end - timedelta(days=1)]}), until=end if until else None
    )


def half(*, positives: int = 200, **more: Any) -> Answer:
    """Two test cutoffs of a churn task."""
    truth = [1] * positives + [0] * (MANY - positives)
    frames = [outcomes("churn_30d", truth, [0.5] * MANY, at=AT + timedelta(days=30 * n)) for n in (0, 1)]
    return answer(churn(30), pl.concat(frames), **({"facts": NEAR, "backtest": []} | more))


def spend(*, covered: float = 0.9, **more: Any) -> Answer:
    truth = [100.0 if n < covered * MANY else 1e6 for n in range(MANY)]
    frames = [outcomes("value_30d", truth, [100.0] * MANY, at=AT + timedelta(days=30 * n)) for n in (0, 1)]
    return answer(value(30), pl.concat(frames), **({"facts": NEAR, "backtest": []} | more))


def told(*answers: Answer, log: EventLog | None = None) -> str:
    return "\n".join(str(block.text) for block in caveats(answers, log or log_of()).blocks)  # type: ignore[union-attr]


def test_nothing_is_told_where_nothing_applies() -> None:
    assert told(half(), spend()) == "Nothing that this page checks for was found."


@pytest.mark.parametrize(
    ("answers", "log", "said"),
    [
        ([half()], log_of(until=False), "Nobody stated until when the log is known"),
        ([half(positives=20)], log_of(), "only 40 of 800 tested have the rarer outcome"),
        ([spend(covered=0.8)], log_of(), "held the truth of 80.0% of users: they are too narrow"),
        ([spend(covered=1.0)], log_of(), "too wide"),
        ([half(facts={"split": {"refitted_on": ["2020-12-01"]}})], log_of(), "the nearest is"),
        (
            [half(backtest=[{"at": "2021-04-01", "users": 500, "observed": 0.3, "predicted": 0.3}])],
            log_of(),
            "was 30.0% at",
        ),
        ([half(), answer(value(60), spend().outcomes, facts=NEAR, backtest=[])], log_of(), "over other days"),
    ],
)
def test_what_applies_is_told(answers: list[Answer], log: EventLog, said: str) -> None:
    assert said in told(*answers, log=log)


def test_one_cutoff_no_year_and_a_rung_that_failed() -> None:
    early = outcomes("value_30d", [1.0] * MANY, [1.0] * MANY, at=START + timedelta(days=200))
    found = answer(value(30), early, facts={"split": {"refitted_on": ["2020-06-01"]}}, backtest=[])
    failed = Result("recency", START + timedelta(days=200), None, reason="it knows no amounts")
    ladder = replace(found.ladder, results=(*found.ladder.results, failed))
    text = told(replace(found, ladder=ladder))
    for said in ("no full earlier year", "One test cutoff", "Days since the last purchase did not answer 'value'"):
        assert said in text


def test_a_split_by_users_has_one_cutoff_and_needs_no_more() -> None:
    frame = outcomes("churn_30d", [1, 0] * 200, [0.5] * 400, at=AT)
    assert "One test cutoff" not in told(answer(churn(30), frame, split=UserSplit(AT), facts=NEAR, backtest=[]))


def test_a_drift_within_chance_is_not_told_and_warnings_come_first() -> None:
    few = outcomes("churn_30d", [1, 0, 0, 0] * 10, [0.5] * 40, at=AT)
    small = answer(churn(30), few, facts=NEAR, backtest=[{"at": "x", "users": 500, "observed": 0.3, "predicted": 0.3}])
    assert "validation cutoffs" not in told(small)
    levels = [block.level for block in caveats([small], log_of()).blocks if isinstance(block, Notice)]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"info", "warning"}
