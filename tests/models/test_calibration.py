"""Shapes of calibration: monotone, right for what generated the data, chosen on left-out groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from valuecast.models.calibration import ISOTONIC_FROM, Pairs, Shape, fit, shaped
from valuecast.models.model import FloatArray


def pairs_of(raw: FloatArray, probability: FloatArray, *, groups: int = 4, seed: int = 0) -> Pairs:
    draw = np.random.default_rng(seed)
    truth = (draw.uniform(size=len(raw)) < probability).astype(float)
    numbers = np.arange(len(raw), dtype=np.int64)
    return Pairs(raw, truth, numbers % groups, numbers // groups)


def normal(rows: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 1.5, rows)


def test_log_odds_that_are_right_are_kept_as_they_are() -> None:
    raw = normal(2_000)
    shape = fit(pairs_of(raw, expit(raw)), scale="log_odds", seed=0)
    score, low, high = shape.probabilities(raw, np.zeros(len(raw)))
    inside = np.abs(raw) < 2
    assert np.abs(score - expit(raw))[inside].max() < 0.05
    assert ((low <= score) & (score <= high)).all()


def test_overconfident_log_odds_are_drawn_together() -> None:
    raw = normal(4_000)
    shape = fit(pairs_of(3 * raw, expit(raw)), scale="log_odds", seed=0)
    ends = shape(np.array([-3.0, 3.0]))
    assert shape.kind != "identity"
    assert (ends[1] - ends[0]) / 6 == pytest.approx(1 / 3, abs=0.08)


def test_an_order_becomes_probabilities() -> None:
    raw = normal(4 * ISOTONIC_FROM)
    pairs = pairs_of(raw**3, expit(raw))
    shape = fit(pairs, scale="rank", seed=0)
    score, _, _ = shape.probabilities(pairs.raw, np.zeros(len(raw)))
    assert shape.kind == "isotonic"
    assert np.abs(score - expit(raw)).mean() < 0.04


def test_the_level_of_a_group_is_not_the_business_of_the_shape() -> None:
    raw = normal(4_000)
    moved = np.where(np.arange(4_000) % 4 < 2, 1.5, -1.5)
    shape = fit(pairs_of(raw, expit(raw + moved)), scale="log_odds", seed=0)
    assert (shape(np.array([1.0])) - shape(np.array([-1.0])))[0] / 2 == pytest.approx(1.0, abs=0.12)


def test_what_is_not_known_of_the_level_widens_the_band_and_leaves_the_score() -> None:
    raw = normal(2_000)
    shape = fit(pairs_of(raw, expit(raw)), scale="log_odds", seed=0)
    sure, doubtful = (shape.probabilities(raw, np.zeros(len(raw)), spread) for spread in (0.0, 0.3))
    assert (sure[0] == doubtful[0]).all()
    middle = shape.probabilities(np.zeros(1), np.zeros(1), 0.3)
    assert middle[0] - middle[1] > 0.1
    assert (doubtful[1] <= sure[1]).all()
    assert (sure[2] <= doubtful[2]).all()


@pytest.mark.parametrize("rows", [12, 60, 3_000])
def test_newton_finds_what_a_library_finds(rows: int) -> None:
    raw, draw = normal(rows), np.random.default_rng(3)
    pairs = pairs_of(raw, expit(raw + draw.normal(0, 0.3)), seed=rows)
    middle, spread = raw.mean(), raw.std()
    inputs = np.column_stack([(raw - middle) / spread, pairs.group[:, None] == np.unique(pairs.group)])
    usual = LogisticRegression(C=1e4, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    found = usual.fit(inputs, pairs.truth).coef_[0]
    ours = shaped(pairs, "platt")
    points = np.asarray(ours.raw)
    theirs = found[1:].mean() + max(found[0], 0) * (points - middle) / spread
    assert np.abs(np.asarray(ours.log_odds) - np.clip(theirs, *(logit([1e-4, 1 - 1e-4])))).max() < 1e-6


def test_outcomes_that_an_order_separates_give_a_finite_slope() -> None:
    raw = np.linspace(-1, 1, 40)
    shape = shaped(Pairs(raw, (raw > 0).astype(float), np.arange(40) % 2, np.arange(40)), "platt")
    assert np.isfinite(shape.log_odds).all()
    assert (np.diff(shape.log_odds) >= 0).all()


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(8, 60), seed=st.integers(0, 99), scale=st.sampled_from(["rank", "log_odds"]))
def test_any_shape_is_monotone_and_never_certain(rows: int, seed: int, scale: str) -> None:
    raw = normal(rows, seed)
    shape = fit(pairs_of(raw, expit(raw), seed=seed), scale=scale, seed=0)  # type: ignore[arg-type]
    points = np.linspace(-9, 9, 50)
    score, low, high = shape.probabilities(points, np.zeros(50))
    assert (np.diff(score) >= 0).all()
    assert 0 < low.min() <= high.max() < 1


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_labels_that_are_all_alike_give_no_error(answer: float) -> None:
    raw = normal(40)
    numbers = np.arange(40, dtype=np.int64)
    shape = fit(Pairs(raw, np.full(40, answer), numbers % 2, numbers // 2), scale="rank", seed=0)
    assert np.isfinite(shape(raw)).all()


def test_plain_data_reads_back() -> None:
    raw = normal(100)
    shape = fit(pairs_of(raw, expit(raw)), scale="rank", seed=0)
    assert Shape.from_dict(shape.to_dict()) == shape
