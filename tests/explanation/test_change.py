"""What would change a score: allowed changes only, the smallest that crosses wherever it falls."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.explanation.made import AT, log, predictor
from tests.models.contract import events_of, like
from valuecast import tasks
from valuecast.errors import ConfigError
from valuecast.explanation.change import Change, Search, aim, better, counterfactual, drawn
from valuecast.explanation.page.sentences import changed
from valuecast.tasks import Task


def test_less_churn_and_more_of_everything_else_is_better() -> None:
    assert better(tasks.churn(30)) == "lower"
    assert better(tasks.purchase(30)) == "higher"
    assert better(tasks.value(30)) == "higher"
    assert better(Task("count(*) of purchase over next 30 days", name="often")) == "higher"


def test_the_aim_is_the_next_tier_or_the_threshold() -> None:
    model = predictor()
    low, high = model.heads["churn_30d"].tiers
    assert aim(model, "churn_30d", 1.0, None) == (high, "lower")
    assert aim(model, "churn_30d", (low + high) / 2, None) == (low, "lower")
    assert aim(model, "churn_30d", 0.0, None) is None
    assert aim(model, "churn_30d", 0.0, 0.5) == (0.5, "higher")
    assert aim(model, "churn_30d", 0.7, 0.5) == (0.5, "lower")
    value = predictor(task="value")
    low, high = value.heads["value_30d"].tiers
    assert aim(value, "value_30d", 0.0, None) == (low, "higher")
    assert aim(value, "value_30d", low, None) == (high, "higher")
    assert aim(value, "value_30d", high, None) is None


@pytest.mark.parametrize(
    ("name", "task", "target"), [("bgnbd", "churn", "churn_30d"), ("lightgbm", "value", "value_30d")]
)
def test_what_is_promised_holds(name: str, task: str, target: str) -> None:
    model, known = predictor(name, task), log().before(AT)
    scores = model.predict(known, at=AT).filter(pl.col("target") == target).sort("score")
    found = 0
    for row in scores.gather_every(len(scores) // 12).iter_rows(named=True):
        change = counterfactual(model, known, row["user"], AT, target=target, now=row["score"])
        if change is None or change.change is None:
            continue
        assert change.change.event == "purchase" or change.change.amount is None
        sign = 1.0 if change.direction == "higher" else -1.0
        assert sign * change.then >= sign * change.threshold
        found += 1
        search = Search.of(model, known, row["user"], AT, days=change.days, events=None)
        draw = np.random.default_rng(0)
        cases = [drawn(change.change, search.largest, draw) for _ in range(4)]
        kept = sign * search.scores(cases)[target] >= sign * change.threshold
        assert kept.mean() >= 0.75
    assert found


def test_only_what_users_do_and_only_later() -> None:
    model, known = predictor(), log().before(AT)
    user = model.predict(known, at=AT)["user"][0]
    search = Search.of(model, known, user, AT, days=14, events=None)
    assert {change.event for change in search.changes} <= {"view", "purchase"}
    assert "return" in known.collect(known.events.select("event").distinct())["event"].to_list()
    event = search._event(Change("purchase", 2, 30.0), 0.5)
    assert (event["time"] >= AT).all()
    assert event["time"].n_unique() == 2
    assert set(event["amount"]) == {30.0}
    amounts = [change.amount for change in search.changes if change.event == "purchase" and change.count == 1]
    assert amounts == sorted(amounts)


def test_nothing_is_proposed_that_leads_away() -> None:
    model, known = predictor("lightgbm", "value"), log().before(AT)
    scores = model.predict(known, at=AT).filter(pl.col("target") == "value_30d").sort("score")
    for row in scores.gather_every(len(scores) // 6).iter_rows(named=True):
        found = counterfactual(model, known, row["user"], AT, target="value_30d", now=row["score"], threshold=1e9)
        assert found is not None
        assert found.change is None
        assert found.nearest is None or found.then > found.idle


def test_nothing_happens_in_the_idle_case() -> None:
    model, known = predictor(), log()
    user = model.predict(known, at=AT)["user"][0]
    found = counterfactual(model, known.before(AT), user, AT, target="churn_30d", now=0.9, threshold=0.5, days=10)
    assert found is not None
    assert 0 < found.idle < 1
    assert len(found.trials) > 3


def test_a_threshold_that_no_probability_has_is_refused() -> None:
    for threshold in (0.0, 1.0, 71.0, float("nan")):
        with pytest.raises(ConfigError, match="is no probability"):
            aim(predictor(), "churn_30d", 0.9, threshold)


def test_a_log_of_nothing_that_users_do() -> None:
    known = log()
    returns = events_of(known).with_columns(pl.lit("return").alias("event"))
    other = like(known, returns).before(AT)
    user = predictor().predict(known, at=AT)["user"][0]
    found = counterfactual(predictor("recency"), other, user, AT, target="churn_30d", now=0.9, threshold=0.5)
    assert found is not None
    assert (found.change, found.nearest, found.trials) == (None, None, ())
    for language in ("en", "zh"):
        assert changed(found, predictor().task).to(language)


def test_an_event_that_the_log_has_not_is_refused() -> None:
    model, known = predictor(), log().before(AT)
    user = model.predict(known, at=AT)["user"][0]
    with pytest.raises(ConfigError, match="no event 'kiss'"):
        counterfactual(model, known, user, AT, target="churn_30d", now=0.9, events=["kiss"])
