"""The level of scores: totals come out right at the cutoffs, and a season corrects the next of its kind."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from tests.logs import START
from valuecast.models.level import Level, factors, offset, offsets


def moments(*days: float) -> pl.Series:
    return pl.Series([START + timedelta(days=day) for day in days], dtype=pl.Datetime("us"))


@settings(deadline=None, max_examples=60)
@given(
    log_odds=st.lists(st.floats(-30, 30), min_size=1, max_size=20),
    truth=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_an_offset_makes_the_mean_probability_the_observed_rate(log_odds: list[float], truth: list[bool]) -> None:
    given_odds, happened = np.array(log_odds), np.array(truth[: len(log_odds)], dtype=float)
    move = offset(given_odds, happened)
    assert expit(given_odds + move).mean() == pytest.approx((happened.sum() + 0.5) / (len(happened) + 1), abs=1e-9)


def test_a_factor_makes_the_total_of_its_cutoff_true() -> None:
    raw, truth = np.array([1.0, 3.0, 10.0]), np.array([2.0, 6.0, 5.0])
    level = factors(raw, truth, moments(0, 0, 100))
    assert level.at(START) == 2.0
    assert level.at(START + timedelta(days=100)) == 0.5
    assert level.of(moments(0, 100, 100)).tolist() == [2.0, 0.5, 0.5]


def test_the_same_time_of_another_year_speaks_and_the_nearer_the_more() -> None:
    level = Level(START, (0.0, 20.0, 180.0), (2.0, 4.0, 100.0), (1.0, 1.0, 1.0))
    year = timedelta(days=365.25)
    assert level.at(START + year) == pytest.approx((2.0 + 4.0 * 25 / 45) / (1 + 25 / 45))
    assert level.at(START + year * 3 + timedelta(days=180)) == pytest.approx(100.0)


def test_where_no_cutoff_is_near_all_of_them_speak_by_weight() -> None:
    level = Level(START, (0.0, 20.0), (2.0, 4.0), (3.0, 1.0))
    assert level.at(START + timedelta(days=180)) == pytest.approx(2.5)


def test_totals_that_are_not_positive_are_left_alone() -> None:
    level = factors(np.array([1.0, -3.0]), np.array([5.0, 5.0]), moments(0, 0))
    assert level.at(START) == 1.0


def test_plain_data_reads_back() -> None:
    level = offsets(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]), moments(0, 0, 15))
    assert Level.from_dict(level.to_dict()) == level
