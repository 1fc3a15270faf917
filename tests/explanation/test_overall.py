"""What matters overall: stable or marked as not, in which direction, and with whom as an example."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.explanation.made import AT, log, predictor
from valuecast.evaluation.slices import slice_of
from valuecast.explanation.overall import overall
from valuecast.explanation.page.model import overall_section
from valuecast.models.drivers import FREQUENCY, SILENCE
from valuecast.report.blocks import Report
from valuecast.report.terminal import to_text


def test_of_trees() -> None:
    model = predictor("lightgbm")
    ages = slice_of(log(), model.predict(log(), at=AT).select("user", "at"), "users.age")
    found = overall(model, log(), at=AT, users=80, seeds=3, segments={"users.age": ages})
    assert found.segments["users.age"]["users"].sum() == 80
    assert set(found.segments["users.age"]["group"]) <= {"20", "30", "40", "50", "60"}
    assert (found.target, found.users) == ("churn_30d", 80)
    assert found.importance["mean"].is_sorted(descending=True)
    assert (found.importance["low"] <= found.importance["mean"]).all()
    assert (found.importance["mean"] <= found.importance["high"]).all()
    assert {SILENCE, FREQUENCY} & set(found.importance["driver"].head(3))
    way = dict(found.importance.select("driver", "direction").iter_rows())
    assert way[SILENCE] is None or way[SILENCE] > 0
    for row in found.tiers.iter_rows(named=True):
        effects = sum(row[code] for code in found.importance["driver"])
        assert effects + found.base == pytest.approx(row["score"], abs=0.05)
    assert found.tiers["users"].sum() == 80
    assert set(found.typical["tier"]) <= {"low", "medium", "high"}
    for curve in found.curves:
        assert np.isfinite(curve.effects).all()
        assert len(curve.values) == len(curve.effects)
    users = found.typical["user"].to_list()
    report = Report(title=model.task.label(found.target), sections=(overall_section(found, model.task),))
    for language in ("en", "zh"):
        text = to_text(report, language=language)
        assert "users.age" in text
        assert all(user not in text for user in users if len(user) > 3)
    shown = Report(
        title=model.task.label(found.target), sections=(overall_section(found, model.task, show_users=True),)
    )
    assert all(user in to_text(shown) for user in users)


def test_of_a_model_without_features() -> None:
    found = overall(predictor(task="value"), log(), at=AT, users=60, seeds=2)
    assert found.curves == ()
    assert found.importance["feature"].null_count() == len(found.importance)
    assert isinstance(found.interactions, pl.DataFrame)
