"""The contract of every Predictor, run on every method and every kind of task."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.logs import START, shop
from valuecast import tasks
from valuecast.errors import FitError, LogError, ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.predictor import Predictor
from valuecast.models.registry import METHODS, method
from valuecast.tasks import Task
from valuecast.tasks.splits import TimeSplit, UserSplit
from valuecast.training.fit import fit
from valuecast.training.tables import Tables

BEFORE = START + timedelta(days=330)
SPLIT = TimeSplit(every=20, validation=2, rounds=2)
TASKS = {
    "churn": tasks.churn(30, active=90),
    "value": tasks.value([15, 30], active=90),
    "net": tasks.value(30, net=True, active=90),
    "count": Task("count(*) of return over next 30 days", when="count(*) over last 90 days > 0", name="returns"),
}
CASES = [(name, task) for name in METHODS for task in TASKS if METHODS[name].objection(TASKS[task]) is None]
COLUMNS = ["user", "at", "target", "score", "low", "high", "tier"]


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop()


@pytest.fixture(scope="module")
def fitted(log: EventLog) -> dict[tuple[str, str], Predictor]:
    known, tables = log.before(BEFORE), Tables()
    return {(name, task): fit(name, TASKS[task], known, split=SPLIT, tables=tables) for name, task in CASES}


def test_every_method_answers_something_and_refuses_with_a_reason() -> None:
    for name in METHODS:
        assert any(case[0] == name for case in CASES)
        assert method(name).name == name
        for task in TASKS.values():
            objection = METHODS[name].objection(task)
            assert objection is None or name in objection


@pytest.mark.parametrize(("name", "task"), CASES)
def test_scores_are_a_table_with_one_row_per_user_and_target(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    scores = fitted[name, task].predict(log, at=BEFORE)
    assert scores.columns == COLUMNS
    assert not scores.select("user", "at", "target").is_duplicated().any()
    assert set(scores["target"]) == set(TASKS[task].targets)
    assert scores["at"].unique().to_list() == [BEFORE]
    numbers = scores.select("score", "low", "high").to_numpy()
    assert np.isfinite(numbers).all()
    assert (scores["low"] <= scores["score"]).all()
    assert (scores["score"] <= scores["high"]).all()
    assert set(scores["tier"]) <= {"low", "medium", "high"}
    for (_,), part in scores.group_by("target"):
        bounds = part.group_by("tier").agg(pl.col("score").min().alias("least"), pl.col("score").max().alias("most"))
        by_tier = {row["tier"]: row for row in bounds.iter_rows(named=True)}
        present = [by_tier[tier] for tier in ("low", "medium", "high") if tier in by_tier]
        assert all(one["most"] <= other["least"] for one, other in pairwise(present))
    if TASKS[task].kind == "binary":
        assert numbers.min() >= 0
        assert numbers.max() <= 1


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_saved_predictor_gives_the_same_scores(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str, tmp_path: Path
) -> None:
    predictor = fitted[name, task]
    predictor.save(tmp_path / "model")
    read = Predictor.load(tmp_path / "model")
    assert read.predict(log, at=BEFORE).equals(predictor.predict(log, at=BEFORE))
    assert (read.task, read.before, read.split) == (predictor.task, predictor.before, predictor.split)
    assert not [path for path in (tmp_path / "model").rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_scores_do_not_see_the_future(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    events = log.collect(log.events).drop("id", "bucket")
    past, future = events.filter(pl.col("time") < BEFORE), events.filter(pl.col("time") >= BEFORE)
    corrupted = pl.concat(
        [past, future.with_columns(pl.col("amount") * -7, pl.lit("c1").alias("user"), pl.lit("return").alias("event"))]
    )
    assert log.users is not None
    users = log.collect(log.users.table)
    scores = fitted[name, task].predict(log, at=BEFORE)
    for frame in (past, corrupted):
        other = EventLog.from_frame(frame, since=START, until=log.span.until, users=users)
        assert fitted[name, task].predict(other, at=BEFORE).equals(scores)


@pytest.mark.parametrize("name", METHODS)
def test_training_does_not_see_what_is_at_or_after_before(log: EventLog, name: str) -> None:
    task = TASKS["churn"]
    events = log.collect(log.events).drop("id", "bucket").filter(pl.col("time") < BEFORE)
    assert log.users is not None
    truncated = EventLog.from_frame(events, since=START, until=BEFORE, users=log.collect(log.users.table))
    one = fit(name, task, log.before(BEFORE), split=SPLIT).predict(truncated, at=BEFORE)
    other = fit(name, task, truncated, split=SPLIT).predict(truncated, at=BEFORE)
    assert one.equals(other)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_it_cannot_answer_is_refused(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    predictor = fitted[name, task]
    with pytest.raises(ModelError, match="has seen the answer"):
        predictor.predict(log, at=BEFORE - timedelta(microseconds=1))
    with pytest.raises(LogError, match="known only until"):
        predictor.predict(log, at=log.span.until + timedelta(days=1))


def test_scores_can_be_asked_of_some_users(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    predictor = fitted["lightgbm", "value"]
    every = predictor.predict(log, at=BEFORE)
    some = every["user"].unique().sort()[:3].to_list()
    assert predictor.predict(log, at=BEFORE, users=some).equals(every.filter(pl.col("user").is_in(some)))


def test_a_log_of_another_schema_is_refused(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    events = log.collect(log.events).drop("id", "bucket", "channel")
    assert log.users is not None
    other = EventLog.from_frame(events, since=START, until=log.span.until, users=log.collect(log.users.table))
    with pytest.raises(ModelError, match="channel"):
        fitted["lightgbm", "churn"].predict(other, at=BEFORE)


def test_a_method_that_cannot_answer_says_so(log: EventLog) -> None:
    with pytest.raises(FitError, match="answers only whether customers buy"):
        fit("bgnbd", TASKS["count"], log)
    with pytest.raises(FitError, match="knows no amounts"):
        fit("recency", TASKS["value"], log)


@pytest.mark.parametrize("name", ["mean_rate", "bgnbd", "lightgbm"])
def test_a_split_by_users_learns_nothing_of_those_held_out(log: EventLog, name: str) -> None:
    at = START + timedelta(days=250)
    split = UserSplit(at=at, holdout=0.3, folds=3)
    task = TASKS["value"]
    predictor = fit(name, task, log, split=split)
    scores = predictor.predict(log, at=at)
    assert all(split.holds(user) for user in scores["user"])
    events = log.collect(log.events).drop("id", "bucket")
    held = pl.Series([split.holds(user) for user in events["user"]])
    later = (pl.col("time") >= at) & held
    corrupted = events.with_columns(
        pl.when(later).then(pl.col("amount") * 100).otherwise(pl.col("amount")).alias("amount")
    )
    assert log.users is not None
    other = EventLog.from_frame(corrupted, since=START, until=log.span.until, users=log.collect(log.users.table))
    assert fit(name, task, other, split=split).predict(other, at=at).equals(scores)
    with pytest.raises(ModelError, match="has seen the answer"):
        predictor.predict(log, at=at + timedelta(days=1))


def test_a_task_that_nobody_is_eligible_for(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    events = log.collect(log.events).drop("id", "bucket").filter(pl.col("time") < START + timedelta(days=60))
    assert log.users is not None
    quiet = EventLog.from_frame(events, since=START, until=log.span.until, users=log.collect(log.users.table))
    with pytest.raises(TaskError, match="no user is eligible"):
        fitted["mean_rate", "churn"].predict(quiet, at=BEFORE)
