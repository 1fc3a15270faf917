from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from valuecast.metrics.loss import loss_of

seeds = st.integers(0, 1_000)


def amounts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.gamma(1.0, 20.0, 50) * (draw.random(50) < 0.6), draw.gamma(1.0, 20.0, 50)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_losses_are_those_of_scikit_learn(seed: int) -> None:
    truth, raw = amounts(seed)
    assert loss_of("amount")(truth, raw) == pytest.approx(metrics.mean_tweedie_deviance(truth, raw, power=1.5))
    assert loss_of("amount", falls=True)(-truth, raw) == pytest.approx(metrics.mean_squared_error(-truth, raw))
    happened, odds = (truth > 0).astype(float), np.log(raw)
    expected = metrics.log_loss(happened, 1 / (1 + np.exp(-odds)), labels=[0, 1])
    assert loss_of("binary")(happened, odds) == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(seeds, st.floats(-0.5, 0.5).filter(lambda part: abs(part) > 0.01))
def test_the_mean_of_the_labels_has_the_lowest_loss(seed: int, away: float) -> None:
    truth, _ = amounts(seed)
    mean = np.full(50, truth.mean())
    for loss in (loss_of("amount"), loss_of("amount", falls=True)):
        assert loss(truth, mean) < loss(truth, mean * (1 + away))
    odds = np.full(50, np.log(np.mean(truth > 0) / np.mean(truth == 0)))
    binary = loss_of("binary")
    assert binary((truth > 0).astype(float), odds) < binary((truth > 0).astype(float), odds + away)


def test_nothing_foreseen_is_a_high_loss_not_an_infinite_one() -> None:
    assert np.isfinite(loss_of("amount")(np.array([5.0, 0.0]), np.array([0.0, -3.0])))
    assert np.isfinite(loss_of("binary")(np.array([1.0, 0.0]), np.array([-1e9, 1e9])))
