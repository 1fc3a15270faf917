"""The contract of every Predictor, run on every method and every kind of task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.commands import quick_trees
from tests.logs import START, shop
from tests.models import contract
from valuecast import tasks
from valuecast.errors import FitError, ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.predictor import Predictor
from valuecast.models.registry import BASELINES, baseline
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
CASES = [(name, task) for name in BASELINES for task in TASKS if BASELINES[name].objection(TASKS[task]) is None]


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop()


@pytest.fixture(scope="module", autouse=True)
def few_trials() -> Iterator[None]:
    with quick_trees():
        yield


@pytest.fixture(scope="module")
def fitted(log: EventLog) -> dict[tuple[str, str], Predictor]:
    known, tables = log.before(BEFORE), Tables()
    return {(name, task): fit(name, TASKS[task], known, split=SPLIT, tables=tables) for name, task in CASES}


def test_every_method_answers_something_and_refuses_with_a_reason() -> None:
    for name in BASELINES:
        assert any(case[0] == name for case in CASES)
        assert baseline(name).name == name
        for task in TASKS.values():
            objection = BASELINES[name].objection(task)
            assert objection is None or name in objection


@pytest.mark.parametrize(("name", "task"), CASES)
def test_scores_are_a_table_with_one_row_per_user_and_target(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    contract.check_table(fitted[name, task], log, at=BEFORE)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_saved_predictor_gives_the_same_scores(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str, tmp_path: Path
) -> None:
    contract.check_saved(fitted[name, task], log, at=BEFORE, folder=tmp_path / "model")


@pytest.mark.parametrize(("name", "task"), CASES)
def test_scores_do_not_see_the_future(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    contract.check_blind(fitted[name, task], log, at=BEFORE)


@pytest.mark.parametrize("name", BASELINES)
def test_training_does_not_see_what_is_at_or_after_before(log: EventLog, name: str) -> None:
    contract.check_training_blind(lambda known: fit(name, TASKS["churn"], known, split=SPLIT), log, before=BEFORE)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_it_cannot_answer_is_refused(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    contract.check_refusals(fitted[name, task], log, before=BEFORE)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_inputs_are_made_of_parts_that_belong_to_drivers(
    fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str
) -> None:
    contract.check_material(fitted[name, task], log, at=BEFORE)


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[1] in {"churn", "value"}])
def test_scores_are_explained(fitted: dict[tuple[str, str], Predictor], log: EventLog, name: str, task: str) -> None:
    contract.check_explained(fitted[name, task], log, at=BEFORE)


def test_scores_can_be_asked_of_some_users(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    contract.check_some(fitted["lightgbm", "value"], log, at=BEFORE)


def test_a_log_of_another_schema_is_refused(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    contract.check_schema(fitted["lightgbm", "churn"], log, at=BEFORE)


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
    events = contract.events_of(log)
    held = pl.Series([split.holds(user) for user in events["user"]])
    later = (pl.col("time") >= at) & held
    corrupted = events.with_columns(
        pl.when(later).then(pl.col("amount") * 100).otherwise(pl.col("amount")).alias("amount")
    )
    other = contract.like(log, corrupted)
    assert fit(name, task, other, split=split).predict(other, at=at).equals(scores)
    with pytest.raises(ModelError, match="has seen the answer"):
        predictor.predict(log, at=at + timedelta(days=1))


def test_a_task_that_nobody_is_eligible_for(fitted: dict[tuple[str, str], Predictor], log: EventLog) -> None:
    quiet = contract.like(log, contract.events_of(log).filter(pl.col("time") < START + timedelta(days=60)))
    with pytest.raises(TaskError, match="no user is eligible"):
        fitted["mean_rate", "churn"].predict(quiet, at=BEFORE)
