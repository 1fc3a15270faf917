"""Splits never overlap: by time no horizon reaches what it is judged on, by users nobody is on both sides."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import START, log_of
from valuecast import tasks
from valuecast.errors import TaskError
from valuecast.events.log import EventLog
from valuecast.tasks.splits import TimeSplit, UserSplit


def quiet_log(days: int) -> EventLog:
    frame = pl.DataFrame({"user": ["a"], "time": [START]})
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=days))


@settings(deadline=None, max_examples=80)
@given(
    days=st.integers(1, 60),
    active=st.integers(1, 90),
    length=st.integers(10, 500),
    every=st.integers(1, 40),
    validation=st.integers(1, 3),
    rounds=st.integers(1, 4),
)
def test_time_splits_never_overlap(
    days: int, active: int, length: int, every: int, validation: int, rounds: int
) -> None:
    task, log = tasks.churn(days, active=active), quiet_log(length)
    split = TimeSplit(every=every, validation=validation, rounds=rounds)
    try:
        cutoffs = split.cutoffs(task, log)
    except TaskError as error:
        assert "too long for a log of" in str(error)
        return
    assert list(cutoffs) == sorted(set(cutoffs))
    assert cutoffs[-1] + task.horizon == log.span.until
    assert cutoffs[0] > log.span.start
    choices = split.choices(task, log)
    assert 1 <= len(choices) <= rounds
    assert choices[0].validation == cutoffs[-validation:]
    judged = [at for choice in choices for at in choice.validation]
    assert len(judged) == len(set(judged))
    for choice in choices:
        assert all(at + task.horizon <= choice.known for at in choice.train)
        assert all(at >= choice.known for at in choice.validation)
        assert set(choice.train) | set(choice.validation) <= set(cutoffs)


@settings(deadline=None, max_examples=20)
@given(holdout=st.floats(0.1, 0.9), folds=st.integers(2, 6))
def test_user_splits_never_overlap(holdout: float, folds: int) -> None:
    split = UserSplit(at=START + timedelta(days=20), holdout=holdout, folds=folds)
    users = [f"user {i}" for i in range(2_000)]
    held = [user for user in users if split.holds(user)]
    assert len(held) / len(users) == pytest.approx(holdout, abs=0.05)
    assert held == [user for user in users if UserSplit(at=START, holdout=holdout).holds(user)]
    assert {split.fold(user) for user in users} == set(range(folds))


def test_a_user_split_wants_its_horizon_inside_the_log() -> None:
    frame = pl.DataFrame({"user": ["a"], "time": [START]})
    with pytest.raises(TaskError, match="does not hold"):
        UserSplit(at=START + timedelta(days=35)).cutoffs(tasks.churn(7), log_of(frame))


def test_a_short_log_says_what_would_do() -> None:
    with pytest.raises(TaskError, match=r"too long for a log of 100 days.*wants about 285 days"):
        TimeSplit().cutoffs(tasks.churn(90, active=75), quiet_log(100))
