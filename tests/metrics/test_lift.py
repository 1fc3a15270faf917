import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from valuecast.metrics.lift import lift_curve
from valuecast.metrics.metric import FloatArray

FIELDS = ("share", "gain", "lift", "cumulative_share", "cumulative_gain", "cumulative_lift")


@st.composite
def columns(draw: st.DrawFn) -> list[FloatArray]:
    row = st.tuples(st.integers(0, draw(st.sampled_from([1, 50]))), st.integers(-5, 20), st.integers(0, 3))
    drawn = draw(st.lists(row, min_size=1, max_size=40))
    assume(any(truth * weight for truth, _, weight in drawn))
    return [np.array(column, dtype=float) for column in zip(*drawn, strict=True)]


@settings(deadline=None, max_examples=60)
@given(drawn=columns())
def test_gains_rise_to_everything(drawn: list[FloatArray]) -> None:
    curve = lift_curve(*drawn)
    assert (np.diff(curve.cumulative_gain) >= 0).all()
    assert (np.diff(curve.cumulative_share) > 0).all()
    assert curve.cumulative_gain[-1] == pytest.approx(1)
    assert curve.cumulative_share[-1] == pytest.approx(1)
    assert curve.cumulative_lift[-1] == pytest.approx(1)
    assert curve.share @ curve.lift == pytest.approx(1)


@settings(deadline=None, max_examples=40)
@given(drawn=columns())
def test_integer_weights_repeat_rows(drawn: list[FloatArray]) -> None:
    truth, prediction, weight = drawn
    times = weight.astype(int)
    curve, repeated = lift_curve(*drawn), lift_curve(np.repeat(truth, times), np.repeat(prediction, times))
    for name in FIELDS:
        np.testing.assert_allclose(getattr(curve, name), getattr(repeated, name), err_msg=name)


@settings(deadline=None, max_examples=40)
@given(drawn=columns())
def test_no_order_has_more_in_the_first_bins_than_the_perfect_one(drawn: list[FloatArray]) -> None:
    truth, _, _ = drawn
    distinct = truth + np.linspace(0, 0.5, len(truth))
    assume(truth.sum() > 0)
    perfect, reverse = lift_curve(truth, distinct).cumulative_gain, lift_curve(truth, -distinct).cumulative_gain
    assert (perfect >= reverse - 1e-12).all()


def test_binary_and_amounts() -> None:
    curve = lift_curve([1, 1, 0, 1, 0, 0], [6, 5, 4, 3, 2, 1], bins=3)
    np.testing.assert_allclose(curve.share, [1 / 3] * 3)
    np.testing.assert_allclose(curve.gain, [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(curve.lift, [2, 1, 0])
    np.testing.assert_allclose(curve.cumulative_lift, [2, 1.5, 1])
    np.testing.assert_allclose(lift_curve([70, 20, 10], [3, 2, 1], bins=3).cumulative_gain, [0.7, 0.9, 1])


def test_a_constant_prediction_is_one_bin_without_lift() -> None:
    curve = lift_curve([0, 1, 0], [0.5, 0.5, 0.5])
    assert (curve.share.tolist(), curve.gain.tolist(), curve.lift.tolist()) == ([1], [1], [1])


def test_nothing_to_gain_is_undefined() -> None:
    curve = lift_curve([0, 0], [1, 2])
    assert curve.share.tolist() == [0.5, 0.5]
    assert np.isnan(curve.lift).all()
