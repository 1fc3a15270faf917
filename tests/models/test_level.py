"""The level of scores: totals come out right at the cutoffs, and a season corrects the next of its kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

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


YEAR = 365.25


def level_of(days: list[float], values: list[float], noise: float = 1e-4) -> Level:
    return Level(START, tuple(days), tuple(values), (noise,) * len(days))


def after(days: float) -> datetime:
    return START + timedelta(days=days)


def test_a_factor_makes_the_total_of_its_cutoff_true() -> None:
    raw, truth = np.array([1.0, 3.0, 10.0]), np.array([2.0, 6.0, 5.0])
    level = factors(raw, truth, moments(0, 0, 100))
    assert np.exp(level.values).tolist() == pytest.approx([2.0, 0.5])
    one = factors(np.ones(900), np.full(900, 3.0), moments(*[0.0] * 900))
    assert np.exp(one.at(START)) == pytest.approx(3.0, rel=0.01)


def test_the_same_season_of_a_year_before_says_more_than_the_cutoffs_just_before() -> None:
    days = list(np.arange(0.0, 2 * YEAR - 90, 15))
    level = level_of(days, [float(0.5 * np.cos(2 * np.pi * day / YEAR)) for day in days])
    assert level.at(after(2 * YEAR)) == pytest.approx(0.5, abs=0.1)
    assert level.at(after(2.5 * YEAR)) == pytest.approx(-0.5, abs=0.1)


def test_on_a_young_log_the_nearest_cutoffs_say_most() -> None:
    days = list(np.arange(0.0, 120, 15))
    rising = level_of(days, [0.05 * number for number in range(len(days))])
    assert rising.at(after(150)) > np.mean(rising.values) + 0.1


def test_a_level_that_never_moved_is_kept_and_trusted() -> None:
    steady = level_of(list(np.arange(0.0, 600, 15)), [0.3] * 40)
    assert steady.at(after(690)) == pytest.approx(0.3, abs=0.02)
    assert steady.spread(after(690)) < 0.1


@settings(deadline=None, max_examples=20)
@given(values=st.lists(st.floats(-2, 2), min_size=1, max_size=12), ahead=st.floats(0, 400))
def test_further_ahead_is_less_certain_and_noise_adds_to_it(values: list[float], ahead: float) -> None:
    days = [15.0 * number for number in range(len(values))]
    level, noisy = level_of(days, values), level_of(days[:1], values[:1], noise=1.0)
    assert level.spread(after(days[-1] + ahead)) >= 0
    assert level_of(days[:1], values[:1]).spread(after(ahead)) < noisy.spread(after(ahead))
    assert abs(noisy.at(START)) <= abs(values[0])


def test_doubt_widens_and_does_not_move() -> None:
    level = level_of([0.0, 15.0], [0.1, 0.2])
    doubted = replace(level, doubt=2.0)
    assert doubted.at(after(50)) == level.at(after(50))
    assert doubted.spread(after(50)) == pytest.approx(2 * level.spread(after(50)))
    middles, spreads = doubted.of(moments(50, 50, 80))
    assert middles[0] == middles[1] == level.at(after(50))
    assert spreads[2] == doubted.spread(after(80))


def test_totals_that_are_not_positive_are_left_alone() -> None:
    assert factors(np.array([1.0, -3.0]), np.array([5.0, 5.0]), moments(0, 0)).at(START) == 0.0
    assert factors(np.array([1.0, 3.0]), np.array([0.0, 0.0]), moments(0, 30)).at(START) == 0.0
    sold_once = factors(np.ones(2), np.array([0.0, 2.0]), moments(0, 30))
    assert list(sold_once.values) == pytest.approx([np.log(2)])


def test_plain_data_reads_back() -> None:
    level = offsets(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]), moments(0, 0, 15))
    assert Level.from_dict(level.to_dict()) == level
