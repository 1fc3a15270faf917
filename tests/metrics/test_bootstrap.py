import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.metrics.amount import mae, rmse, total_bias
from valuecast.metrics.bootstrap import Estimate, bootstrap, interval, paired_difference, resample
from valuecast.metrics.metric import FloatArray
from valuecast.metrics.probability import brier, log_loss
from valuecast.metrics.ranking import auc, gini, spearman


def sample(rows: int, *, seed: int) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(seed)
    prediction = generator.random(rows)
    return (generator.random(rows) < prediction).astype(float), prediction


@settings(deadline=None, max_examples=40)
@given(users=st.lists(st.integers(-3, 50), min_size=1, max_size=40), seed=st.integers(0, 5))
def test_rows_of_a_user_move_together_and_as_many_users_are_drawn_as_there_are(users: list[int], seed: int) -> None:
    codes = np.array(users)
    for weight in resample(codes, replicates=3, seed=seed):
        by_user = {user: set(weight[codes == user]) for user in users}
        assert all(len(weights) == 1 for weights in by_user.values())
        assert sum(weights.pop() for weights in by_user.values()) == len(by_user)


def test_weights_are_multinomial_counts() -> None:
    weights = np.array(list(resample(np.arange(50), replicates=2000, seed=1)))
    assert weights.shape == (2000, 50)
    # each count is Binomial(50, 1/50): mean 1, variance .98, correlation -1/49
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    assert weights.var() == pytest.approx(0.98, abs=0.02)
    assert np.corrcoef(weights.T)[np.triu_indices(50, 1)].mean() == pytest.approx(-1 / 49, abs=0.002)


def test_a_user_has_the_same_weights_whatever_the_order_of_the_rows() -> None:
    users = np.array([7, 3, 3, 9, 7])
    for weight, reversed_weight in zip(resample(users, replicates=5), resample(users[::-1], replicates=5), strict=True):
        np.testing.assert_array_equal(weight, reversed_weight[::-1])


def test_replicates_are_the_metrics_of_the_resampled_rows() -> None:
    truth, prediction = sample(60, seed=2)
    users = np.arange(60) // 3
    metrics = {"auc": auc, "mae": mae, "rmse": rmse, "spearman": spearman}
    drawn = bootstrap(metrics, truth, {"model": prediction}, users, replicates=8, seed=5)
    for name, metric in metrics.items():
        expected = [
            metric(np.repeat(truth, weight.astype(int)), np.repeat(prediction, weight.astype(int)))
            for weight in resample(users, replicates=8, seed=5)
        ]
        np.testing.assert_allclose(drawn.draws[name, "model"], expected)
        assert drawn.values[name, "model"] == metric(truth, prediction)


def test_a_seed_decides_the_interval() -> None:
    truth, prediction = sample(80, seed=3)
    users = np.arange(80)
    first = interval(auc, truth, prediction, users, replicates=50, seed=1)
    assert interval(auc, truth, prediction, users, replicates=50, seed=1) == first
    assert interval(auc, truth, prediction, users, replicates=50, seed=2) != first
    assert first.low < first.value < first.high


def test_one_bootstrap_holds_the_intervals_and_paired_differences() -> None:
    truth, prediction = sample(80, seed=4)
    noisy = np.clip(prediction + np.random.default_rng(0).normal(0, 0.2, 80), 0, 1)
    users = np.arange(80)
    drawn = bootstrap({"auc": auc, "brier": brier}, truth, {"a": prediction, "b": noisy}, users, replicates=60, seed=7)
    for name, metric in {"auc": auc, "brier": brier}.items():
        assert drawn.interval(name, "b") == interval(metric, truth, noisy, users, replicates=60, seed=7)
        paired = paired_difference(metric, truth, prediction, noisy, users, replicates=60, seed=7)
        assert drawn.difference(name, "a", "b") == paired
        assert paired.value == metric(truth, prediction) - metric(truth, noisy)
    assert drawn.difference("auc", "a", "a") == Estimate(0, 0, 0)


def test_pairing_removes_what_both_predictions_share() -> None:
    truth, prediction = sample(300, seed=5)
    shifted = 0.95 * prediction + 0.02
    paired = paired_difference(brier, truth, prediction, shifted, np.arange(300), replicates=200)
    alone = interval(brier, truth, prediction, np.arange(300), replicates=200)
    assert paired.high - paired.low < (alone.high - alone.low) / 4


def test_repeating_the_rows_of_each_user_adds_no_certainty() -> None:
    truth, prediction = sample(100, seed=6)
    users = np.arange(100)
    once = interval(log_loss, truth, prediction, users, replicates=200)
    fourfold = interval(log_loss, np.tile(truth, 4), np.tile(prediction, 4), np.tile(users, 4), replicates=200)
    as_rows = interval(log_loss, np.tile(truth, 4), np.tile(prediction, 4), np.arange(400), replicates=200)
    assert (fourfold.low, fourfold.high) == pytest.approx((once.low, once.high))
    assert as_rows.high - as_rows.low < 0.65 * (once.high - once.low)


def test_the_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    error = np.random.default_rng(8).normal(size=2000)
    found = interval(mae, np.zeros(2000), error, np.arange(2000), replicates=800)
    standard_error = np.abs(error).std() / math.sqrt(2000)
    assert found.high - found.low == pytest.approx(2 * 1.645 * standard_error, rel=0.08)
    narrow = interval(mae, np.zeros(2000), error, np.arange(2000), replicates=800, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * standard_error, rel=0.12)


def test_the_interval_covers_as_often_as_it_says() -> None:
    # prediction uniform, truth Bernoulli(prediction): the expected Brier score is 1/6, the AUC 5/6
    covered = {"brier": 0, "auc": 0}
    for seed in range(150):
        truth, prediction = sample(120, seed=seed)
        metrics = {"brier": brier, "auc": auc}
        drawn = bootstrap(metrics, truth, {"model": prediction}, np.arange(120), replicates=150, seed=seed)
        for name, expected in {"brier": 1 / 6, "auc": 5 / 6}.items():
            found = drawn.interval(name, "model")
            covered[name] += found.low <= expected <= found.high
    for name, times in covered.items():
        assert 0.83 <= times / 150 <= 0.96, name


def test_undefined_replicates_are_dropped_and_counted() -> None:
    truth, prediction = np.array([1.0, 0, 0, 0]), np.array([0.9, 0.2, 0.3, 0.95])
    found = interval(auc, truth, prediction, np.arange(4), replicates=400)
    without_positive = sum(weight[0] == 0 or weight[0] == 4 for weight in resample(np.arange(4), replicates=400))
    assert found.dropped == without_positive > 0
    assert 0 <= found.low <= found.value <= found.high <= 1
    paired = paired_difference(auc, truth, prediction, -prediction, np.arange(4), replicates=400)
    assert paired.dropped == found.dropped


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 0, 0]])
def test_an_undefined_metric_has_no_interval(truth: list[int]) -> None:
    found = interval(auc, truth, [0.1, 0.2, 0.3], np.arange(3), replicates=20)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.dropped == 20


def test_a_value_that_is_undefined_has_no_interval_even_where_resamples_have_one() -> None:
    found = interval(gini, [5, 3, -1], [3, 2, 1], np.arange(3), replicates=50)
    assert found.dropped < 50
    assert math.isnan(found.low)


def test_nobody_has_no_interval() -> None:
    found = interval(total_bias, [], [], np.array([], dtype=int), replicates=5)
    assert math.isnan(found.value)
    assert found.dropped == 5


def test_a_user_per_row_is_required() -> None:
    with pytest.raises(ValueError, match=r"users have the shape \(2,\), truth has \(3,\)"):
        interval(mae, [1, 2, 3], [1, 2, 3], np.arange(2))
