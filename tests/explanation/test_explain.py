"""An explanation of a user, and clear answers where there is none."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from tests.explanation.made import AT, log, predictor
from tests.models.contract import events_of, like
from valuecast.errors import LogError, ModelError, TaskError
from valuecast.explanation import facts
from valuecast.explanation.explain import explain
from valuecast.models.drivers import DRIVERS, SILENCE
from valuecast.report.html import to_fragment
from valuecast.report.terminal import to_text
from valuecast.tasks import churn
from valuecast.tasks.labels import eligible
from valuecast.tasks.splits import UserSplit
from valuecast.training.fit import fit


def test_three_sentences_carry_the_facts_in_both_languages() -> None:
    model = predictor("lightgbm")
    scores = model.predict(log(), at=AT).sort("score")
    found = explain(model, log(), user=scores["user"][-1], at=AT)
    level, moved, changed = found.sentences
    shown = f"{float(scores['score'][-1]):.1%}"
    assert shown in level.en
    assert shown in level.zh
    assert "points" in moved.en
    assert "百分点" in moved.zh
    assert found.drivers["en"][0] in moved.en
    assert found.drivers["zh"][0] in moved.zh
    assert changed.en
    assert changed.zh
    page = to_fragment(found.report(), language="zh")
    assert "<svg" in page
    assert DRIVERS[SILENCE].label.zh in page
    assert str(found) == to_text(found.report())


def test_a_user_that_does_not_exist() -> None:
    with pytest.raises(TaskError, match="no event of user 'nobody' before"):
        explain(predictor(), log(), user="nobody", at=AT)


def test_a_user_whom_the_task_does_not_ask_about() -> None:
    known = log()
    events = events_of(known).filter(pl.col("time") < AT - timedelta(days=120))
    quiet = events["user"][0]
    rest = events_of(known).filter(pl.col("user") != quiet)
    other = like(known, pl.concat([rest, events.filter(pl.col("user") == quiet)]))
    with pytest.raises(TaskError, match=r"does not ask about user .* the user's last event was on"):
        explain(predictor(), other, user=quiet, at=AT)


def test_a_user_with_one_event() -> None:
    known = log()
    one = events_of(known).filter(pl.col("event") == "purchase", pl.col("time") < AT).sort("time").tail(1)
    events = pl.concat([events_of(known), one.with_columns(pl.lit("only").alias("user"))])
    for name in ("bgnbd", "lightgbm", "recency"):
        found = explain(predictor(name), like(known, events), user="only", at=AT)
        assert [part.kind for part in found.timeline.stretches][:2] == ["before", "order"]
        assert found.base + found.drivers["effect"].sum() == pytest.approx(found.score["score"])
        for language in ("en", "zh"):
            assert "only" in to_text(found.report(), language=language)


def test_moments_and_targets_that_cannot_be() -> None:
    user = predictor().predict(log(), at=AT)["user"][0]
    with pytest.raises(ModelError, match="has seen the answer"):
        explain(predictor(), log(), user=user, at=AT - timedelta(days=1))
    with pytest.raises(LogError, match="known only until"):
        explain(predictor(), log(), user=user, at=log().span.until + timedelta(days=1))
    with pytest.raises(TaskError, match="no target 'churn_31d'"):
        explain(predictor(), log(), user=user, at=AT, target="churn_31d")


def test_a_target_of_several() -> None:
    model = predictor("lightgbm", "value")
    user = model.predict(log(), at=AT)["user"][0]
    assert explain(model, log(), user=user, at=AT).target == "value_30d"
    assert explain(model, log(), user=user, at=AT, target="value_15d").target == "value_15d"


@pytest.mark.parametrize(
    ("days", "en", "zh"),
    [
        (0, "0 days", "0天"),
        (1, "1 day", "1天"),
        (27, "27 days", "27天"),
        (84, "12 weeks", "12周"),
        (366, "12 months", "12个月"),
    ],
)
def test_spans_are_said_as_people_say_them(days: float, en: str, zh: str) -> None:
    assert (facts.span(days).en, facts.span(days).zh) == (en, zh)


def test_every_driver_can_be_told_of_a_user_of_whom_nothing_is_known() -> None:
    for code in DRIVERS:
        told = facts.told(code, {}, AT)
        assert told.en
        assert told.zh


def test_a_user_whose_answer_the_model_has_learned() -> None:
    split = UserSplit(at=AT)
    model = fit("mean_rate", churn(30, active=90), log(), split=split)
    asked = eligible(model.task, log().before(AT), [AT])["user"]
    learned = next(user for user in asked if not split.holds(user))
    with pytest.raises(TaskError, match=f"has learned what user '{learned}' did"):
        explain(model, log(), user=learned, at=AT)
    held = model.predict(log(), at=AT)["user"][0]
    assert explain(model, log(), user=held, at=AT).user == held
