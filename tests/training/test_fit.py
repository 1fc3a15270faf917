"""Fitting: what is learned from what, and what is refused. The contract of predictors is in tests/models."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.logs import START, shop
from valuecast.errors import TaskError
from valuecast.events.log import EventLog
from valuecast.models.model import Examples
from valuecast.moments import moment
from valuecast.tasks import Task, churn, value
from valuecast.tasks.labels import labels
from valuecast.tasks.splits import TimeSplit
from valuecast.training.fit import fit
from valuecast.training.tables import Tables

RETURNERS = Task(
    "count(*) of purchase over next 30 days = 0", when="count(*) of return over last 60 days > 0", name="churn"
)


def with_returns_between(first: int, last: int) -> EventLog:
    log = shop(150)
    events = log.collect(log.events).drop("id", "bucket")
    inside = pl.col("time").is_between(START + timedelta(days=first), START + timedelta(days=last))
    return EventLog.from_frame(events.filter((pl.col("event") != "return") | inside), since=START, until=log.span.until)


def test_cutoffs_without_anyone_eligible_are_passed_over() -> None:
    found = fit("mean_rate", RETURNERS, with_returns_between(250, 400))
    assert found.facts["examples"] > 0


def test_nobody_to_judge_on_is_refused() -> None:
    with pytest.raises(TaskError, match="nobody is eligible both at the validation cutoffs"):
        fit("mean_rate", RETURNERS, with_returns_between(50, 120))


def test_what_was_done_is_in_the_facts() -> None:
    log = shop(150).before(START + timedelta(days=300))
    split = TimeSplit(every=20, validation=2, rounds=2)
    task = value(30, active=90)
    found = fit("mean_rate", task, log, split=split)
    how = found.facts["split"]
    assert len(how["chosen_on"]) == 2
    assert len(how["calibrated_on"]) == 4
    assert how["refitted_on"][-1] == "2020-09-27"
    assert found.facts["log"] == log.fingerprint
    backtest = found.heads["value_30d"].facts["backtest"]
    assert [row["at"] for row in backtest] == sorted(how["calibrated_on"])
    truth = (
        labels(task, log, [moment(row["at"]) for row in backtest]).group_by("at").agg(pl.len(), pl.mean("value_30d"))
    )
    assert [(row["users"], pytest.approx(row["observed"])) for row in backtest] == truth.sort("at").drop("at").rows()
    assert set(found.heads["value_30d"].facts["validation"]) == {"gini", "spearman", "mae", "rmse", "total_bias"}


def test_tables_are_made_once_and_shared() -> None:
    log = shop(150).before(START + timedelta(days=300))
    tables, split = Tables(), TimeSplit(every=30)
    first = tables.labelled(churn(30), log, split)
    assert tables.labelled(churn(30), log, split) is first
    assert tables.labelled(churn(15), log, split) is not first


def test_rows_of_inputs_and_labels_are_as_many() -> None:
    log = shop(150)
    with pytest.raises(ValueError, match="2 rows of inputs and 1 labels"):
        Examples(log, pl.DataFrame({"user": ["a", "b"]}), pl.Series([1.0]).to_numpy(), 30)
