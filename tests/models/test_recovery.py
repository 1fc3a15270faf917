"""Models meet a shop whose truth is known: parameters come back, and so do probabilities and totals."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from valuecast.evaluation.outcomes import outcomes
from valuecast.events.simulate.chunks import chunks
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import Shop, simulate
from valuecast.metrics.probability import calibration_error
from valuecast.models.baselines import bgnbd, gammagamma
from valuecast.models.baselines.likelihood import Estimates
from valuecast.moments import DAY
from valuecast.tasks import Task, churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.fit import fit

QUIET = {"browsing": 0.0, "views": 0.0, "searches": 0.0, "returns": 0.0, "reviews": 0.0}
PURE = Settings(users=4_096, days=540, seasonality=0.0, campaigns=0, **QUIET)
"""BG/NBD times Gamma-Gamma and nothing else."""
SEEDS = 8


def customers(given: Settings) -> pl.DataFrame:
    """Repeat purchases ``x``, recency and age in days, and mean order value, from the log alone."""
    lines = pl.concat(chunk.events for chunk in chunks(given)).filter(pl.col("event") == "purchase")
    orders = lines.group_by("user", "order").agg(pl.col("time").first(), pl.col("amount").sum())
    time = pl.col("time")
    return orders.group_by("user").agg(
        x=pl.len() - 1,
        recency=(time.max() - time.min()) / DAY,
        age=(pl.lit(given.until) - time.min()) / DAY,
        mean=pl.col("amount").mean(),
    )


def off(found: Estimates, true: Settings) -> list[float]:
    """How many standard errors the logarithm of each parameter is off; that of a logarithm is relative."""
    return [
        float(np.log(getattr(found, name) / getattr(true, name)) * getattr(found, name) / found.standard_errors[name])
        for name in found.names()
    ]


def test_parameters_are_recovered_within_their_standard_errors() -> None:
    purchases, values = [], []
    for seed in range(SEEDS):
        given = Settings(**PURE.to_dict() | {"seed": seed})
        known = customers(given)
        purchases.append(off(bgnbd.fit(known["x"], known["recency"], known["age"]), given))
        values.append(off(gammagamma.fit(known["x"] + 1, known["mean"]), given))
    for errors in (np.array(purchases), np.array(values)):
        assert np.abs(errors).max() <= 3
        # standard normal: the mean of n squares has a standard deviation of sqrt(2/n), and for parameters that are
        # estimated together, with correlated errors, up to sqrt(2/SEEDS)
        assert np.mean(errors**2) == pytest.approx(1, abs=2 * np.sqrt(2 / SEEDS))
        assert np.abs(errors.mean(axis=0)).max() <= 3 / np.sqrt(SEEDS)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return simulate(Settings(**PURE.to_dict() | {"users": 20_000, "days": 730}))


def judged(task: Task, shop: Shop, *, days: int) -> pl.DataFrame:
    """Scores for the last ``days``, what happened, and what was to be expected."""
    at = shop.log.span.until - timedelta(days=days)
    model = fit("bgnbd", task, shop.log.before(at), split=TimeSplit(every=90, rounds=2))
    return outcomes(model, shop.log, at).join(shop.truth.expected(at, days), on=["user", "at"], validate="1:1")


@pytest.mark.slow
def test_predicted_churn_is_calibrated_and_its_total_true(shop: Shop) -> None:
    found = judged(churn(90), shop, days=90)
    assert len(found) == shop.truth.settings.users
    truth, score = (found[name].cast(pl.Float64).to_numpy() for name in ("truth", "score"))
    assert calibration_error(truth, score) <= 0.02
    assert score.sum() == pytest.approx(found["no_purchase"].sum(), rel=0.02)
    # nobody can do better than who knows the state of every customer; the model must come near
    assert calibration_error(truth, found["no_purchase"].to_numpy()) <= 0.01


@pytest.mark.slow
def test_predicted_spend_has_the_total_that_was_to_be_expected(shop: Shop) -> None:
    found = judged(value(90), shop, days=90)
    assert found["score"].sum() == pytest.approx(found["spend"].sum(), rel=0.1)
    by_score = pl.col("score").rank("ordinal") * 10 // (pl.len() + 1)
    top = found.filter(by_score == 9)
    assert top["score"].sum() == pytest.approx(top["spend"].sum(), rel=0.1)
