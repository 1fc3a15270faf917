"""What holds for every metric."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from valuecast.metrics.metric import FloatArray, Metric, Weighted, weighted_mean
from valuecast.metrics.registry import MEASURES, Measure

every_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


@dataclass
class Rows:
    truth: FloatArray
    prediction: FloatArray
    weight: FloatArray


@st.composite
def rows(draw: st.DrawFn, *, binary: bool) -> Rows:
    """Few distinct values, so that ties, empty rows and single classes are frequent."""
    truth = st.integers(0, 1) if binary else st.integers(0, 6).map(lambda cents: cents * 2.5)
    prediction = st.integers(0, 16).map(lambda sixteenth: sixteenth / 16)
    drawn = draw(st.lists(st.tuples(truth, prediction, st.integers(0, 3)), min_size=1, max_size=30))
    return Rows(*(np.array(column, dtype=float) for column in zip(*drawn, strict=True)))


def rows_for(measure: Measure) -> st.SearchStrategy[Rows]:
    return rows(binary="binary" in measure.kinds)


@every_measure
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_an_integer_weight_repeats_its_row(measure: Measure, data: st.DataObject) -> None:
    drawn = data.draw(rows_for(measure))
    times = drawn.weight.astype(int)
    assume(times.any())
    repeated = measure.metric(np.repeat(drawn.truth, times), np.repeat(drawn.prediction, times))
    assert measure.metric(drawn.truth, drawn.prediction, drawn.weight) == pytest.approx(repeated, nan_ok=True)


@every_measure
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_order_of_the_rows_does_not_matter(measure: Measure, data: st.DataObject) -> None:
    drawn = data.draw(rows_for(measure))
    order = np.array(data.draw(st.permutations(range(len(drawn.truth)))))
    shuffled = measure.metric(drawn.truth[order], drawn.prediction[order], drawn.weight[order])
    assert measure.metric(drawn.truth, drawn.prediction, drawn.weight) == pytest.approx(shuffled, nan_ok=True)


@every_measure
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_unit_of_the_weights_does_not_matter(measure: Measure, data: st.DataObject) -> None:
    drawn = data.draw(rows_for(measure))
    quartered = measure.metric(drawn.truth, drawn.prediction, drawn.weight / 4)
    assert measure.metric(drawn.truth, drawn.prediction, drawn.weight) == pytest.approx(quartered, nan_ok=True)


@every_measure
def test_one_preparation_serves_many_weights(measure: Measure) -> None:
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 2, 50).astype(float), generator.random(50)
    evaluate = measure.metric.prepare(truth, prediction)
    weights = generator.integers(0, 3, (4, 50)).astype(float)
    first = [evaluate(weight) for weight in weights]
    assert [evaluate(weight) for weight in weights] == first
    assert first == [measure.metric(truth, prediction, weight) for weight in weights]
    assert len(set(first)) == 4


@every_measure
def test_without_any_weight_a_metric_is_undefined(measure: Measure) -> None:
    assert math.isnan(measure.metric([0, 1], [0.2, 0.4], [0, 0]))
    assert math.isnan(measure.metric([], []))


@every_measure
@pytest.mark.parametrize(
    ("truth", "prediction", "weight", "message"),
    [
        ([0, 1], [0.5], None, "prediction has 1 rows, truth has 2"),
        ([0, 1], [[0.5], [0.5]], None, "prediction has 2 dimensions"),
        ([0, math.nan], [0.5, 0.5], None, "truth holds a value that is not a finite number"),
        ([0, 1], [0.5, math.inf], None, "prediction holds a value that is not a finite number"),
        ([0, 1], [0.5, 0.5], [1], "weight has 1 rows, truth has 2"),
        ([0, 1], [0.5, 0.5], [1, -1], "weight holds a negative value"),
        ([0, 1], [0.5, 0.5], [1, math.nan], "weight holds a value that is not a finite number"),
    ],
)
def test_faulty_arrays_are_refused(
    measure: Measure, truth: list[float], prediction: list[float], weight: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure.metric(truth, prediction, weight)


@pytest.mark.parametrize("measure", [m for m in MEASURES if "binary" in m.kinds], ids=lambda measure: measure.name)
def test_a_binary_metric_refuses_other_truths(measure: Measure) -> None:
    with pytest.raises(ValueError, match="truth must be 0 or 1; 1 of 2 rows are not"):
        measure.metric([0, 2], [0.5, 0.5])


def test_inputs_are_left_as_they_are() -> None:
    generator = np.random.default_rng(1)
    arrays = generator.integers(0, 2, 30).astype(float), generator.random(30), generator.random(30)
    before = [array.copy() for array in arrays]
    for measure in MEASURES:
        measure.metric(*arrays)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_booleans_and_whole_numbers_are_accepted() -> None:
    for measure in MEASURES:
        expected = measure.metric([0.0, 1.0, 1.0], [0.0, 1.0, 0.0])
        assert measure.metric(np.array([False, True, True]), np.array([0, 1, 0])) == expected


def test_a_metric_is_named_and_described_by_its_function() -> None:
    @Metric
    def mean_truth(truth: FloatArray, prediction: FloatArray) -> Weighted:
        """The mean."""
        return weighted_mean(truth)

    assert (mean_truth.name, mean_truth.__doc__, repr(mean_truth)) == ("mean_truth", "The mean.", "<metric mean_truth>")
    assert mean_truth([1, 5], [0, 0], [3, 1]) == 2
