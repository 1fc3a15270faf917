"""The level of scores by season: how many buy, and how much in all, at this time of the year.

Boosted trees that stop early learn a season only in part, and customer-base models know none. What the labelled
cutoffs of the same time of the year say about a model's total corrects it: for amounts a factor, for probabilities an
offset of the log-odds. Where no labelled cutoff lies near that time of the year, all of them count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit

from valuecast.models.model import FloatArray
from valuecast.moments import DAY

YEAR: Final = 365.25
REACH: Final = 45.0
"""Days of the year within which a cutoff speaks for a moment; the nearer, the more."""
_FURTHEST = 40.0  # log-odds beyond it are certainty


@dataclass(frozen=True)
class Level:
    """What the labelled cutoffs say, one after the other.

    Attributes:
        days: days from the first cutoff of all to each, negative never.
        first: that cutoff.
        values: the correction that makes the total right at each cutoff: a factor, or an offset of the log-odds.
        weights: how much each has to say: the predicted total, or the number of users.
    """

    first: datetime
    days: tuple[float, ...]
    values: tuple[float, ...]
    weights: tuple[float, ...]

    def at(self, moment: datetime) -> float:
        """Return the correction for a moment."""
        apart = np.abs((moment - self.first) / DAY - np.asarray(self.days)) % YEAR
        near = np.maximum(0.0, 1 - np.minimum(apart, YEAR - apart) / REACH)
        weight = np.asarray(self.weights) * (near if near.any() else 1.0)
        return float(np.average(self.values, weights=weight))

    def of(self, moments: pl.Series) -> FloatArray:
        """Return the correction for each of many moments, few of them different."""
        known = {moment: self.at(moment) for moment in moments.unique()}
        return np.array([known[moment] for moment in moments], dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self) | {"first": self.first.isoformat()}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Level:
        """Read back what ``to_dict`` wrote."""
        lines = {name: tuple(found[name]) for name in ("days", "values", "weights")}
        return cls(datetime.fromisoformat(found["first"]), **lines)


def factors(raw: FloatArray, truth: FloatArray, moments: pl.Series) -> Level:
    """Find, cutoff by cutoff, by what amounts are to be multiplied so that their total is true."""
    rows = _by_cutoff(moments)
    totals = [(float(raw[own].sum()), float(truth[own].sum())) for _, own in rows]
    if any(predicted <= 0 or true < 0 for predicted, true in totals):  # totals of net amounts can be anything
        return _level(rows, [1.0] * len(rows), [1.0] * len(rows))
    return _level(rows, [true / predicted for predicted, true in totals], [predicted for predicted, _ in totals])


def offsets(log_odds: FloatArray, truth: FloatArray, moments: pl.Series) -> Level:
    """Find, cutoff by cutoff, what is to be added to log-odds so that the mean probability is true."""
    rows = _by_cutoff(moments)
    values = [offset(log_odds[own], truth[own]) for _, own in rows]
    return _level(rows, values, [float(len(own)) for _, own in rows])


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


def _level(rows: Rows, values: list[float], weights: list[float]) -> Level:
    first = rows[0][0]
    return Level(first, tuple((at - first) / DAY for at, _ in rows), tuple(values), tuple(weights))
