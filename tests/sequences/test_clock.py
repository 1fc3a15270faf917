"""What time says of events and moments."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from tests.sequences.test_encoding import ENCODING
from valuecast.sequences.clock import Past, calendar, calendar_width, clock, width
from valuecast.sequences.reading import DAY


def _us(*moments: datetime) -> np.ndarray:
    return np.array(moments, "datetime64[us]").astype(np.int64)


@pytest.mark.parametrize("seasons", [False, True])
def test_a_moment_is_silence_tenure_and_count(*, seasons: bool) -> None:
    encoding = replace(ENCODING, seasons=seasons)
    at = _us(datetime(2011, 1, 31), datetime(2011, 7, 1))
    kinds = len(encoding.kinds)
    ages, counts = np.arange(1, kinds + 1), np.arange(kinds)
    past = Past(
        first=at - 9 * DAY,
        last=at - DAY // 2,
        count=np.array([4, 1]),
        last_of=at[:, None] - ages * DAY,
        count_of=np.stack([counts, counts]),
    )
    found = clock(encoding, at, past)
    assert found.dtype == np.float32
    assert found.shape == (2, width(encoding))
    expected = [[0.5, 9, 4, *ages, *counts], [0.5, 9, 1, *ages, *counts]]
    np.testing.assert_allclose(found[:, : 3 + 2 * kinds], np.log1p(expected), rtol=1e-6)


def test_the_season_comes_back_every_year() -> None:
    encoding = replace(ENCODING, seasons=True, clock=False)
    same = calendar(encoding, _us(*(datetime(year, 5, 17) for year in (1970, 2011, 2024))))[:, 2:]
    assert np.ptp(same, axis=0).max() < 0.03
    opposite = calendar(encoding, _us(datetime(2011, 2, 1), datetime(2011, 8, 2)))[:, 2:]
    np.testing.assert_allclose(opposite[0], -opposite[1], atol=0.03)


def test_weekdays_and_hours_are_turns() -> None:
    encoding = replace(ENCODING, seasons=False, clock=True)
    monday = calendar(encoding, _us(datetime(2024, 1, 1, 6), datetime(1969, 12, 29, 6)))
    assert monday.shape == (2, calendar_width(encoding))
    np.testing.assert_allclose(monday, [[1, 0, 0, 1]] * 2, atol=1e-6)
    assert calendar_width(replace(encoding, clock=False)) == 2
    assert calendar(replace(encoding, clock=False), _us(datetime(2024, 1, 1))).shape == (1, 2)
