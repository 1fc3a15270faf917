"""The level of scores by season: how many buy, and how much in all, at this time of the year.

Boosted trees that stop early learn a season only in part, and customer-base models know none. What labelled cutoffs
say about a model's total corrects it: for amounts a factor, for probabilities an offset of the log-odds. Whether such
a correction comes from the season, from a trend or from the youth of a log is not known, so it is a Gaussian process
over time with a part for each: one that returns every year, and one by which near cutoffs resemble each other. How
large the parts are is averaged over, by how well they explain the cutoffs. On a log of less than a year near cutoffs
count most; with a year in the log, the same season does; and it is told how uncertain the level is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.special import expit

from valuecast.models.model import FloatArray
from valuecast.moments import DAY

YEAR: Final = 365.25
REACH: Final = 45.0
"""Days of the year within which a cutoff knows the season of a moment."""
_FURTHEST = 40.0  # log-odds beyond it are certainty

# Sizes of the two parts that are averaged over, and what a level may be before any cutoff is seen. All are standard
# deviations of the logarithm of a factor or of log-odds: .1 is about a tenth.
_SEASONS: Final = (0.0, 0.1, 0.2, 0.4, 0.8)
_TRENDS: Final = (0.03, 0.1, 0.2, 0.4)
_ANYTHING: Final = 2.0
_OWN: Final = 0.05  # what a cutoff has to itself, beside chance
_SMOOTHNESS: Final = 1.5  # of the season: about one wave a year
_MEMORY: Final = 240.0  # days over which a trend is remembered


@dataclass(frozen=True)
class Level:
    """What the labelled cutoffs say, one after the other.

    Attributes:
        days: days from the first cutoff of all to each, negative never.
        first: that cutoff.
        values: the correction that makes the total right at each cutoff: the logarithm of a factor, or an offset of
            the log-odds.
        noise: variance of each by chance: which users happened to buy.
        doubt: by how much more earlier forecasts of the level were off than their spread said; 1 or more.
    """

    first: datetime
    days: tuple[float, ...]
    values: tuple[float, ...]
    noise: tuple[float, ...]
    doubt: float = 1.0

    def at(self, moment: datetime) -> float:
        """Return the correction for a moment."""
        return _forecast(self, moment)[0]

    def spread(self, moment: datetime) -> float:
        """Return the standard deviation of the correction for a moment."""
        return _forecast(self, moment)[1] * self.doubt

    def of(self, moments: pl.Series) -> tuple[FloatArray, FloatArray]:
        """Return the correction and its spread for each of many moments, few of them different."""
        known = {moment: (self.at(moment), self.spread(moment)) for moment in moments.unique()}
        both = np.array([known[moment] for moment in moments], dtype=np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self) | {"first": self.first.isoformat()}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Level:
        """Read back what ``to_dict`` wrote."""
        lines = {name: tuple(found[name]) for name in ("days", "values", "noise")}
        return cls(datetime.fromisoformat(found["first"]), **lines, doubt=found["doubt"])


@lru_cache(maxsize=256)
def _forecast(level: Level, moment: datetime) -> tuple[float, float]:
    """Mean and standard deviation of a Gaussian process, averaged over the sizes of its parts by their likelihood.

    Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithm 2.1 and section 5.4.
    """
    days, values = np.asarray(level.days), np.asarray(level.values)
    chance = np.diag(np.asarray(level.noise) + _OWN**2)
    among, towards = np.abs(days[:, None] - days), np.abs((moment - level.first) / DAY - days)
    means, variances, likelihoods = [], [], []
    for season, trend in product(_SEASONS, _TRENDS):
        factor = cho_factor(_alike(among, season, trend) + chance, lower=True)
        known, explained = _alike(towards, season, trend), cho_solve(factor, values)
        means.append((known * explained).sum())
        least = _ANYTHING**2 + season**2 + trend**2 - (known * cho_solve(factor, known)).sum()
        variances.append(max(least, 0.0))
        likelihoods.append(-(values * explained).sum() / 2 - np.log(np.diag(factor[0])).sum())
    share = np.exp(np.array(likelihoods) - max(likelihoods))
    mean = float(np.average(means, weights=share))
    return mean, float(np.sqrt(np.average(np.array(variances) + (np.array(means) - mean) ** 2, weights=share)))


def _alike(apart: FloatArray, season: float, trend: float) -> FloatArray:
    """Covariance of levels so many days apart: anything, plus a season, plus a trend (Matern, 3/2)."""
    year = np.exp(-2 * np.sin(np.pi * apart / YEAR) ** 2 / _SMOOTHNESS**2)
    far = np.sqrt(3) * apart / _MEMORY
    return np.asarray(_ANYTHING**2 + season**2 * year + trend**2 * (1 + far) * np.exp(-far))


def factors(raw: FloatArray, truth: FloatArray, moments: pl.Series) -> Level:
    """Find, cutoff by cutoff, by what amounts are to be multiplied so that their total is true; its logarithm."""
    rows = _by_cutoff(moments)
    totals = [(float(raw[own].sum()), float(truth[own].sum())) for _, own in rows]
    # Totals of net amounts can be anything, and a cutoff at which nothing was bought has no finite logarithm.
    bought = [number for number, (_, true) in enumerate(totals) if true > 0]
    if not bought or any(predicted <= 0 or true < 0 for predicted, true in totals):
        return _level(rows[:1], [0.0], [0.0])
    values, noise = [], []
    for number in bought:
        (predicted, true), own = totals[number], rows[number][1]
        values.append(float(np.log(true / predicted)))
        noise.append(float(((truth[own] - raw[own] * true / predicted) ** 2).sum() / true**2))
    return _level([rows[number] for number in bought], values, noise)


def offsets(log_odds: FloatArray, truth: FloatArray, moments: pl.Series) -> Level:
    """Find, cutoff by cutoff, what is to be added to log-odds so that the mean probability is true."""
    rows = _by_cutoff(moments)
    values = [offset(log_odds[own], truth[own]) for _, own in rows]
    rates = [(float(truth[own].sum()) + 0.5) / (len(own) + 1) for _, own in rows]
    return _level(rows, values, [1 / (len(own) * p * (1 - p)) for p, (_, own) in zip(rates, rows, strict=True)])


def offset(log_odds: FloatArray, truth: FloatArray) -> float:
    """Return the offset at which the mean probability is the observed rate, half a case added on either side."""
    rate = (truth.sum() + 0.5) / (len(truth) + 1)
    least, most = -float(log_odds.max()) - _FURTHEST, -float(log_odds.min()) + _FURTHEST
    return float(brentq(lambda move: expit(log_odds + move).mean() - rate, least, most))


Rows = Sequence[tuple[datetime, np.ndarray[Any, np.dtype[np.int64]]]]


def _by_cutoff(moments: pl.Series) -> Rows:
    numbered = pl.DataFrame({"at": moments}).with_row_index("row")
    grouped = numbered.group_by("at", maintain_order=True).agg("row").sort("at")
    return [(at, np.asarray(own, dtype=np.int64)) for at, own in grouped.iter_rows()]


def _level(rows: Rows, values: list[float], noise: list[float]) -> Level:
    first = rows[0][0]
    return Level(first, tuple((at - first) / DAY for at, _ in rows), tuple(values), tuple(noise))
