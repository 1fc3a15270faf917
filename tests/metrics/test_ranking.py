import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from valuecast.metrics.metric import FloatArray, Metric
from valuecast.metrics.ranking import auc, gini, pr_auc, spearman

RANKING = pytest.mark.parametrize("metric", [auc, pr_auc, gini, spearman], ids=lambda metric: metric.name)


@st.composite
def columns(
    draw: st.DrawFn, *, largest_truth: int, weights: st.SearchStrategy[float], rows: int = 30
) -> list[FloatArray]:
    row = st.tuples(st.integers(0, largest_truth), st.integers(-6, 6), weights)
    return [np.array(c, dtype=float) for c in zip(*draw(st.lists(row, min_size=2, max_size=rows)), strict=True)]


binary = columns(largest_truth=1, weights=st.integers(0, 3) | st.floats(0.125, 8))
amounts = columns(largest_truth=9, weights=st.integers(0, 3) | st.floats(0.125, 8))


@settings(deadline=None, max_examples=100)
@given(drawn=binary)
def test_auc_is_the_share_of_pairs_in_the_right_order(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    above = np.sign(prediction[:, None] - prediction[None, :]) / 2 + 0.5
    pairs = (weight * truth)[:, None] * (weight * (1 - truth))[None, :]
    assume(pairs.sum() > 0)
    assert auc(truth, prediction, weight) == pytest.approx((pairs * above).sum() / pairs.sum())


@settings(deadline=None, max_examples=60)
@given(drawn=binary)
def test_auc_and_pr_auc_agree_with_scikit_learn(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    assume(len(set(truth[weight > 0])) == 2)
    assert auc(truth, prediction, weight) == pytest.approx(roc_auc_score(truth, prediction, sample_weight=weight))
    expected = average_precision_score(truth, prediction, sample_weight=weight)
    assert pr_auc(truth, prediction, weight) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(drawn=columns(largest_truth=9, weights=st.integers(0, 3)))
def test_spearman_agrees_with_scipy_on_repeated_rows(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    times = weight.astype(int)
    truths, predictions = np.repeat(truth, times), np.repeat(prediction, times)
    assume(len(set(truths)) > 1 and len(set(predictions)) > 1)
    assert spearman(truth, prediction, weight) == pytest.approx(spearmanr(truths, predictions).statistic)


@RANKING
@pytest.mark.parametrize("change", [np.exp, np.arctan, lambda x: x**3, lambda x: 5 * x - 2])
@settings(deadline=None, max_examples=20)
@given(drawn=binary)
def test_only_the_order_of_predictions_matters(
    metric: Metric, change: Callable[[FloatArray], FloatArray], drawn: list[FloatArray]
) -> None:
    truth, prediction, weight = drawn
    assert metric(truth, change(prediction), weight) == pytest.approx(metric(truth, prediction, weight), nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(drawn=binary)
def test_gini_of_a_binary_truth_is_twice_auc_minus_one(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    expected = 2 * auc(truth, prediction, weight) - 1
    assert gini(truth, prediction, weight) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(drawn=amounts)
def test_gini_lies_between_the_reversed_and_the_perfect_order(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    assume(len(set(truth[weight > 0])) > 1)
    assert gini(truth, truth, weight) == pytest.approx(1)
    assert gini(truth, -truth, weight) == pytest.approx(-1)
    assert gini(truth, np.full(len(truth), 0.1), weight) == 0
    assert -1 - 1e-9 <= gini(truth, prediction, weight) <= 1 + 1e-9
    assert gini(truth, -prediction, weight) == pytest.approx(-gini(truth, prediction, weight), abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(drawn=columns(largest_truth=9, weights=st.just(1), rows=6))
def test_gini_averages_over_the_orders_of_equal_predictions(drawn: list[FloatArray]) -> None:
    truth, prediction, _ = drawn
    assume(len(set(truth)) > 1)

    def area(order: tuple[int, ...]) -> float:
        captured = np.cumsum(np.append(0, truth[list(order)])) / truth.sum()
        return float(np.trapezoid(captured, np.linspace(0, 1, len(captured)))) - 0.5

    rows = range(len(truth))
    possible = [area(o) for o in itertools.permutations(rows) if (np.diff(prediction[list(o)]) <= 0).all()]
    perfect = area(tuple(np.argsort(-truth)))
    assert gini(truth, prediction) == pytest.approx(np.mean(possible) / perfect, abs=1e-9)


def test_known_values() -> None:
    truth, score = [1, 0, 1, 0], [4, 3, 2, 1]
    assert auc(truth, score) == 0.75
    assert pr_auc(truth, score) == pytest.approx((1 + 2 / 3) / 2)
    assert pr_auc(truth, [0, 0, 0, 0]) == 0.5
    # cumulative shares 0, .3, 1, 1 against the perfect 0, .7, 1, 1, each step a third wide
    assert gini([3, 7, 0], [3, 2, 1]) == pytest.approx(
        ((0.3 / 2 + 1.3 / 2 + 1) / 3 - 0.5) / ((0.7 / 2 + 1.7 / 2 + 1) / 3 - 0.5)
    )
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


@pytest.mark.parametrize("metric", [auc, pr_auc], ids=lambda metric: metric.name)
@pytest.mark.parametrize("only", [0, 1])
def test_one_class_is_undefined(metric: Metric, only: int) -> None:
    assert math.isnan(metric([only, only], [0.1, 0.2]))
    assert math.isnan(metric([only, only, 1 - only], [0.1, 0.2, 0.3], [1, 2, 0]))


def test_gini_is_undefined_without_differences_or_with_negative_truths() -> None:
    assert math.isnan(gini([0, 0], [1, 2]))
    assert math.isnan(gini([3, 3], [1, 2]))
    assert math.isnan(gini([3, 5, -1], [1, 2, 3]))
    assert gini([3, 5, -1], [1, 2, 3], [1, 1, 0]) == 1


def test_spearman_is_undefined_where_a_side_is_constant() -> None:
    assert math.isnan(spearman([1, 2, 3], [0.1, 0.1, 0.1]))
    assert math.isnan(spearman([2, 2, 3], [1, 2, 3], [0.3, 0.7, 0]))
