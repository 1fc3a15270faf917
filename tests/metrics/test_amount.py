import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from valuecast.metrics.amount import coverage, deciles, interval_width, mae, rmse, total_bias
from valuecast.metrics.metric import FloatArray


@st.composite
def columns(draw: st.DrawFn) -> list[FloatArray]:
    row = st.tuples(st.integers(0, 50), st.integers(-5, 20), st.integers(0, 3))
    drawn = draw(st.lists(row, min_size=1, max_size=40))
    assume(any(weight for *_, weight in drawn))
    return [np.array(column, dtype=float) for column in zip(*drawn, strict=True)]


@settings(deadline=None, max_examples=60)
@given(drawn=columns())
def test_errors_agree_with_scikit_learn(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    assert mae(truth, prediction, weight) == pytest.approx(mean_absolute_error(truth, prediction, sample_weight=weight))
    assert rmse(truth, prediction, weight) == pytest.approx(
        root_mean_squared_error(truth, prediction, sample_weight=weight)
    )


def test_total_bias_compares_totals() -> None:
    assert total_bias([10, 30], [20, 24]) == pytest.approx(0.1)
    assert total_bias([10, 30], [20, 24], [3, 1]) == pytest.approx(84 / 60 - 1)
    assert math.isnan(total_bias([0, 0], [1, 2]))
    assert math.isnan(total_bias([3, -4], [1, 2]))


@settings(deadline=None, max_examples=50)
@given(drawn=columns())
def test_deciles_account_for_every_user_and_amount(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    table = deciles(truth, prediction, weight)
    assert len(table.users) <= 10
    assert (np.diff(table.predicted) < 0).all()
    assert table.users.sum() == weight.sum()
    assert table.users @ table.predicted == pytest.approx(weight @ prediction, abs=1e-9)
    assert table.users @ table.observed == pytest.approx(weight @ truth)
    if weight @ truth > 0:
        assert table.share.sum() == pytest.approx(1)
    else:
        assert np.isnan(table.share).all()


@settings(deadline=None, max_examples=40)
@given(drawn=columns())
def test_deciles_repeat_rows_by_weight(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    times = weight.astype(int)
    table, repeated = deciles(truth, prediction, weight), deciles(np.repeat(truth, times), np.repeat(prediction, times))
    for name in ("predicted", "observed", "share", "users"):
        np.testing.assert_allclose(getattr(table, name), getattr(repeated, name), err_msg=name)


def test_the_top_decile_comes_first() -> None:
    table = deciles(np.arange(20) * 10, np.arange(20), bins=5)
    assert table.predicted.tolist() == [17.5, 13.5, 9.5, 5.5, 1.5]
    assert table.observed.tolist() == [175, 135, 95, 55, 15]
    assert table.users.tolist() == [4] * 5
    assert table.share[0] == pytest.approx(175 * 4 / 1900)


def test_coverage_counts_both_ends() -> None:
    assert coverage([1, 2, 3, 4], [1, 0, 4, 0], [5, 2, 5, 3]) == 0.5
    assert coverage([1, 2, 3, 4], [1, 0, 4, 0], [5, 2, 5, 3], [3, 0, 1, 0]) == 0.75
    assert math.isnan(coverage([1], [0], [2], [0]))


def test_width_is_the_weighted_mean() -> None:
    assert interval_width([0, 1], [4, 1]) == 2
    assert interval_width([0, 1], [4, 1], [3, 1]) == 3
    assert math.isnan(interval_width([], []))


def test_intervals_upside_down_are_refused() -> None:
    with pytest.raises(ValueError, match="low must not exceed high; 1 of 2 rows are not"):
        coverage([1, 2], [0, 3], [1, 2])
    with pytest.raises(ValueError, match="low must not exceed high"):
        interval_width([3], [2])
    with pytest.raises(ValueError, match="high has 2 rows, low has 1"):
        interval_width([3], [4, 5])
