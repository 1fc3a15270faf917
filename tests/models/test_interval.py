"""Intervals of amounts hold the truth as often as they say, for small scores and for large ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.models.calibration import Pairs
from valuecast.models.interval import Interval, fit
from valuecast.models.model import FloatArray


def shop(rows: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Scores, and amounts that are zero for some and spread by size for the others."""
    draw = np.random.default_rng(seed)
    score = draw.lognormal(3, 1, rows)
    return score, np.where(draw.uniform(size=rows) < 0.3, 0.0, score / 0.7 * draw.gamma(2, 0.5, rows))


def pairs_of(score: FloatArray, truth: FloatArray, groups: int = 3) -> Pairs:
    numbers = np.arange(len(score), dtype=np.int64)
    return Pairs(score, truth, numbers % groups, numbers)


def test_nine_of_ten_are_inside_whatever_the_size() -> None:
    known, happened = shop(6_000, 0)
    interval = fit(known, pairs_of(known, happened))
    score, truth = shop(6_000, 1)
    low, high = interval(score, np.zeros(len(score)))
    inside = (low <= truth) & (truth <= high)
    for part in np.array_split(np.argsort(score), 5):
        assert 0.86 < inside[part].mean() < 0.94
    assert (low >= 0).all()


def test_an_uncertain_level_is_allowed_for() -> None:
    known, happened = shop(6_000, 0)
    interval, spread = fit(known, pairs_of(known, happened)), 0.3
    inside: list[float] = []
    certain: list[float] = []
    for seed, move in enumerate(np.random.default_rng(1).normal(0, spread, 30)):
        score, truth = shop(1_000, seed + 2)
        score = score * np.exp(move)
        for found, allowed in ((inside, spread), (certain, 0.0)):
            low, high = interval(score, np.full(len(score), allowed))
            found.append(((low <= truth) & (truth <= high)).mean())
    assert 0.88 < np.mean(inside) < 0.93
    assert np.mean(certain) < np.mean(inside) - 0.01


def test_a_cutoff_with_many_users_does_not_outvote_the_others() -> None:
    score = np.full(1_100, 10.0)
    truth = np.concatenate([np.full(1_000, 10.0), np.full(100, 50.0)])
    group = np.concatenate([np.zeros(1_000), np.ones(100)]).astype(np.int64)
    interval = fit(score, Pairs(score, truth, group, np.arange(1_100)))
    assert interval(np.array([10.0]), np.zeros(1))[1][0] == 50.0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-100, 1e4), st.floats(-100, 1e4)), min_size=1, max_size=120))
def test_the_score_is_always_inside(rows: list[tuple[float, float]]) -> None:
    score, truth = (np.array(column) for column in zip(*rows, strict=True))
    interval = fit(score, pairs_of(score, truth))
    low, high = interval(score, np.linspace(0, 1.5, len(score)))
    assert (low <= np.maximum(score, 0 if interval.nonnegative else score)).all()
    assert (score <= high).all()
    assert Interval.from_dict(interval.to_dict()) == interval
