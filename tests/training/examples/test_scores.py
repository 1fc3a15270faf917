"""Figures of answers, and the report of each class."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report, log_loss, roc_auc_score

from valuecast.training.examples.scores import MACRO, WEIGHTED, by_class, figures, measured, plain


def answers(rows: int, classes: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, classes, rows).astype(float)
    said = draw.dirichlet(np.ones(classes), rows)
    return truth, said


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_the_report_is_scikit_learns(seed: int, classes: int) -> None:
    truth, said = answers(40, classes, seed=seed)
    names = [f"c{number}" for number in range(classes)]
    usual = classification_report(
        truth, said.argmax(axis=1), labels=range(classes), target_names=names, output_dict=True, zero_division=0
    )
    found = by_class(truth, said, names)
    assert found["class"].to_list() == [*names, MACRO, WEIGHTED]
    assert found["support"].head(classes).sum() == found["called"].head(classes).sum() == 40
    for row in found.iter_rows(named=True):
        own = usual[row["class"]]
        assert row["f1"] == pytest.approx(own["f1-score"])
        assert row["support"] == own["support"]
        assert (row["precision"] or 0) == pytest.approx(own["precision"])
        assert (row["recall"] or 0) == pytest.approx(own["recall"])
        assert (row["precision"] is None) == (row["called"] == 0)


def test_figures_of_classes_are_scikit_learns() -> None:
    truth, said = answers(200, 3, seed=1)
    found = measured("classes", truth, said)
    assert found["log_loss"] == pytest.approx(log_loss(truth, said))
    assert found["auc"] == pytest.approx(roc_auc_score(truth, said, multi_class="ovr", average="macro"))
    assert found["accuracy"] == pytest.approx((truth == said.argmax(axis=1)).mean())
    assert list(found) == [each.name for each in figures("classes")]


def test_figures_of_yes_or_no_and_of_numbers() -> None:
    truth, said = answers(200, 2, seed=1)
    found = measured("binary", truth, said)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, said[:, 1]))
    assert list(found) == [each.name for each in figures("binary")]
    sure = np.stack([truth, 1 - truth], axis=1)  # sure, and wrong: that costs much, but not without limit
    assert math.isfinite(measured("binary", truth, sure)["log_loss"])
    numbers = measured("number", truth, truth + 1)
    assert numbers["mae"] == pytest.approx(1)
    assert list(numbers) == [each.name for each in figures("number")]


def test_one_class_alone_has_no_order() -> None:
    for kind, classes in (("binary", 2), ("classes", 3)):
        _, said = answers(20, classes, seed=0)
        found = measured(kind, np.zeros(20), said)  # type: ignore[arg-type]
        assert math.isnan(found["auc"])
        assert plain(found)["auc"] is None
