import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve as sklearn_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from valuecast.metrics.metric import FloatArray, Metric
from valuecast.metrics.probability import brier, calibration_curve, calibration_error, log_loss


@st.composite
def columns(draw: st.DrawFn) -> list[FloatArray]:
    row = st.tuples(st.integers(0, 1), st.integers(0, 10).map(lambda tenth: tenth / 10), st.integers(0, 3))
    drawn = draw(st.lists(row, min_size=1, max_size=40))
    assume(any(weight for *_, weight in drawn))
    return [np.array(column, dtype=float) for column in zip(*drawn, strict=True)]


@settings(deadline=None, max_examples=60)
@given(drawn=columns())
def test_losses_agree_with_scikit_learn(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    assert brier(truth, prediction, weight) == pytest.approx(brier_score_loss(truth, prediction, sample_weight=weight))
    clipped = np.clip(prediction, 1e-6, 1 - 1e-6)
    expected = sklearn_log_loss(truth, clipped, sample_weight=weight, labels=[0, 1])
    assert log_loss(truth, prediction, weight) == pytest.approx(expected)


def test_a_sure_miss_costs_a_bounded_log_loss() -> None:
    assert log_loss([1], [0]) == pytest.approx(-math.log(1e-6))
    assert log_loss([0], [1]) == pytest.approx(-math.log(1e-6))
    assert log_loss([0], [0]) == pytest.approx(1e-6)
    assert log_loss([1, 1], [0.5, 0.25]) == pytest.approx(1.5 * math.log(2))


@pytest.mark.parametrize("metric", [log_loss, brier, calibration_error], ids=lambda metric: metric.name)
def test_predictions_must_be_probabilities(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"prediction must be in \[0, 1\]; 1 of 2 rows are not"):
        metric([0, 1], [0.5, 1.1])


def test_calibration_error_is_zero_where_each_bin_is_right() -> None:
    prediction = np.repeat(np.arange(0.05, 1, 0.1), 20)
    truth = np.concatenate([np.arange(20) < round(20 * rate) for rate in np.arange(0.05, 1, 0.1)])
    assert calibration_error(truth, prediction) == pytest.approx(0, abs=1e-12)
    assert calibration_error(truth, prediction / 2) == pytest.approx(0.25)


def test_calibration_error_of_a_constant_is_its_distance_from_the_rate() -> None:
    assert calibration_error([1, 0, 0, 0], [0.4] * 4) == pytest.approx(0.15)


@settings(deadline=None, max_examples=60)
@given(drawn=columns())
def test_calibration_error_is_the_mean_gap_of_the_curve(drawn: list[FloatArray]) -> None:
    curve = calibration_curve(*drawn)
    gap = np.average(np.abs(curve.predicted - curve.observed), weights=curve.weight)
    assert calibration_error(*drawn) == pytest.approx(gap, abs=1e-12)


def test_the_curve_agrees_with_scikit_learn_where_nothing_is_tied() -> None:
    generator = np.random.default_rng(3)
    prediction = generator.random(200)
    truth = (generator.random(200) < prediction).astype(float)
    observed, predicted = sklearn_curve(truth, prediction, n_bins=10, strategy="quantile")
    curve = calibration_curve(truth, prediction)
    np.testing.assert_allclose(curve.predicted, predicted)
    np.testing.assert_allclose(curve.observed, observed)
    assert curve.weight.tolist() == [20] * 10


@settings(deadline=None, max_examples=40)
@given(drawn=columns())
def test_the_curve_rises_in_prediction_and_repeats_rows_by_weight(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    curve = calibration_curve(truth, prediction, weight)
    assert (np.diff(curve.predicted) > 0).all()
    assert curve.weight.sum() == weight.sum()
    assert ((curve.low <= curve.observed) & (curve.observed <= curve.high)).all()
    times = weight.astype(int)
    repeated = calibration_curve(np.repeat(truth, times), np.repeat(prediction, times))
    for name in ("predicted", "observed", "weight", "low", "high"):
        np.testing.assert_allclose(getattr(curve, name), getattr(repeated, name), err_msg=name)


@pytest.mark.parametrize(("positives", "rows"), [(0, 5), (1, 1), (3, 20), (60, 60)])
def test_the_interval_is_wilsons(positives: int, rows: int) -> None:
    curve = calibration_curve(np.arange(rows) < positives, np.full(rows, 0.3))
    expected = binomtest(positives, rows).proportion_ci(0.9, method="wilson")
    assert (curve.low[0], curve.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_curve_of_nothing_is_empty() -> None:
    assert calibration_curve([0, 1], [0.1, 0.2], [0, 0]).weight.size == 0
    assert calibration_curve([], []).observed.size == 0
