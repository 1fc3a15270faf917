import math

import pytest

from valuecast.errors import ConfigError
from valuecast.metrics.registry import COVERAGE, INTERVAL_WIDTH, MEASURES, measure, measures


def test_each_measure_is_found_by_the_name_of_its_function() -> None:
    for each in MEASURES:
        assert each.name == each.metric.name
        assert measure(each.name) is each


def test_names_and_labels_are_distinct() -> None:
    figures = (*MEASURES, COVERAGE, INTERVAL_WIDTH)
    for labels in ([f.name for f in figures], [f.label.en for f in figures], [f.label.zh for f in figures]):
        assert len(set(labels)) == len(figures)
        assert all(labels)


def test_the_metrics_of_each_kind() -> None:
    assert [each.name for each in measures("binary")] == ["auc", "pr_auc", "log_loss", "brier", "calibration_error"]
    assert [each.name for each in measures("amount")] == ["gini", "spearman", "mae", "rmse", "total_bias"]


@pytest.mark.parametrize(
    ("name", "worse", "better"),
    [("auc", 0.6, 0.7), ("mae", 20, 10), ("total_bias", -0.4, 0.2), ("total_bias", 0.4, -0.2), ("gini", math.nan, -1)],
)
def test_merit_is_higher_for_the_better(name: str, worse: float, better: float) -> None:
    assert measure(name).merit(better) > measure(name).merit(worse)


@pytest.mark.parametrize("each", MEASURES, ids=lambda each: each.name)
def test_a_perfect_prediction_has_more_merit_than_a_poor_one(each) -> None:
    truth, poor = [0, 1, 1, 0], [0.9, 0.4, 0.1, 0.8]
    assert each.merit(each.metric(truth, truth)) > each.merit(each.metric(truth, poor))


def test_the_label_of_coverage_states_the_level() -> None:
    assert COVERAGE.label.en == "Coverage of the 90% interval"
    assert COVERAGE.label.zh == "90% 区间覆盖率"


def test_an_unknown_name_is_the_users_to_mend() -> None:
    with pytest.raises(ConfigError, match="no metric 'roc'") as caught:
        measure("roc")
    assert "Known: auc, brier" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        measure("pr-auc")
    assert "Did you mean 'pr_auc'?" in str(caught.value)
