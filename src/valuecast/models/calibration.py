"""Calibration: from a raw score to a probability, with an interval for it.

A calibrator is fitted on scores that a model gave to cutoffs (or users) it had not learned from, and chosen by
leaving out one of them at a time. Ranking metrics use raw scores: isotonic regression makes ties.

**Level and season.** Held-out cutoffs lie close together, shortly before the moment of prediction, but their horizons end
before it: the share of users who buy then differs from theirs by season. Where they span less than a year they
cannot tell a model's error of level from the season's, so a model with a level of its own (log-odds, amounts) keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from valuecast.models.model import FloatArray, Scale

ISOTONIC_FROM = 1_000
"""Isotonic regression is considered from this many positives (and negatives) on: below, it overfits."""
REPLICATES = 100
LEVEL = 0.9
_EDGE = 1e-4  # no calibrator claims certainty: a probability beyond this would need far more data than it had


@dataclass(frozen=True)
class Pairs:
    """Held-out raw scores and truths; ``group`` is the cutoff (or fold) and ``user`` the cluster of each row."""

    raw: FloatArray
    truth: FloatArray
    group: np.ndarray[Any, np.dtype[np.int64]]
    user: np.ndarray[Any, np.dtype[np.int64]]

    def only(self, rows: Any) -> Pairs:
        """Return some of the rows."""
        return Pairs(self.raw[rows], self.truth[rows], self.group[rows], self.user[rows])

    def left_out(self) -> Iterator[tuple[Pairs, Pairs]]:
        """For each group: all rows but its own, and its own."""
        for group in np.unique(self.group):
            own = self.group == group
            yield self.only(~own), self.only(own)


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing map from raw scores to probabilities, given by points, and its 90% band.

    Attributes:
        kind: ``identity``, ``slope``, ``platt`` or ``isotonic``.
        raw: points on the raw scale, rising; the map is linear between them and constant outside.
        score: probability at each point.
        low: lower end of the band at each point.
        high: upper end.
    """

    kind: str
    raw: tuple[float, ...]
    score: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(self, raw: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return score, low and high for each raw score."""
        score, low, high = (np.interp(raw, self.raw, points) for points in (self.score, self.low, self.high))
        return score, low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Calibrator:
        """Read back what ``to_dict`` wrote."""
        return cls(found["kind"], *(tuple(found[name]) for name in ("raw", "score", "low", "high")))


Map = Callable[[FloatArray], FloatArray]


def fit(pairs: Pairs, *, scale: Scale, levelled: bool, seed: int) -> Calibrator:
    """Choose a calibrator, fit it on all pairs, and find its band.

    Scores that are only an order are mapped by logistic (Platt) or isotonic regression. Log-odds may also stay as they
    are (``identity``), and where the pairs do not cover the seasons (``levelled`` is false) their level is not touched:
    then only the spread of the log-odds around their mean is corrected (``slope``), by a logistic regression in
    which every cutoff has an intercept of its own. The choice is by log-loss on left-out groups; isotonic
    regression competes from ``ISOTONIC_FROM`` positives and negatives on. The band is the 5% to 95% range of refits
    on resampled groups and users: what is not known about the probability.

    Args:
        pairs: held-out scores.
        scale: of the raw scores.
        levelled: whether the groups say what the level of the probability is at the moment of prediction.
        seed: of the resamples.

    Sources: Platt (1999), Probabilistic outputs for support vector machines; Zadrozny and Elkan (2002),
    Transforming classifier scores into accurate multiclass probability estimates.
    """
    if scale == "log_odds" and not levelled:
        makers: dict[str, Maker] = {"slope": _slope, "identity": _identity}
    else:
        makers = {"platt": _platt}
        if scale == "log_odds":
            makers["identity"] = _identity
        if min(pairs.truth.sum(), (1 - pairs.truth).sum()) >= ISOTONIC_FROM:
            makers["isotonic"] = _isotonic
    kind = min(makers, key=lambda name: _left_out_loss(makers[name], pairs)) if len(makers) > 1 else "platt"
    points = np.unique(np.quantile(pairs.raw, np.linspace(0, 1, 101)))
    curve = makers[kind](pairs)(points)
    # The identity is not fitted; what is uncertain about it is whether the level and the spread are right.
    moving = _platt if kind in ("identity", "slope") else makers[kind]
    refits = np.stack([moving(drawn)(points) for drawn in _resampled(pairs, seed)])
    low, high = np.quantile(refits, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    band = np.minimum(low, curve), np.maximum(high, curve)
    return Calibrator(kind, *(tuple(map(float, line)) for line in (points, curve, *band)))


Maker = Callable[[Pairs], Map]


def _clipped(probability: FloatArray) -> FloatArray:
    return np.clip(probability, _EDGE, 1 - _EDGE)


def _identity(pairs: Pairs) -> Map:
    return lambda x: _clipped(expit(x))


def _platt(pairs: Pairs) -> Map:
    if pairs.truth.min() == pairs.truth.max():
        rate = (pairs.truth.sum() + 0.5) / (len(pairs.truth) + 1)
        return lambda x: np.full(len(x), rate)
    slope, offsets = _logistic(pairs, np.zeros_like(pairs.group))
    return lambda x: _clipped(expit(offsets[0] + slope * x))


def _slope(pairs: Pairs) -> Map:
    slope, _ = _logistic(pairs, pairs.group)
    middle = float(pairs.raw.mean())
    return lambda x: _clipped(expit(middle + slope * (x - middle)))


def _logistic(pairs: Pairs, group: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, FloatArray]:
    """Regress truth on raw scores with an intercept for each group; the slope is not negative."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    members = group[:, None] == np.unique(group)
    spread = float(pairs.raw.std()) or 1.0
    fitted = LogisticRegression(C=1e4, fit_intercept=False).fit(
        np.column_stack([pairs.raw / spread, members]), pairs.truth
    )
    return max(float(fitted.coef_[0, 0]) / spread, 0.0), fitted.coef_[0, 1:].astype(np.float64)


def _isotonic(pairs: Pairs) -> Map:
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow to import

    steps = IsotonicRegression(out_of_bounds="clip").fit_transform(pairs.raw, pairs.truth)
    value, block, count = np.unique(steps, return_inverse=True, return_counts=True)
    middle = np.bincount(block, pairs.raw) / count
    # Half a case on either side keeps a block without a single positive from claiming a probability of zero.
    smoothed = np.maximum.accumulate((value * count + 0.5) / (count + 1))
    return lambda x: _clipped(np.interp(x, middle, smoothed))


def _left_out_loss(maker: Maker, pairs: Pairs) -> float:
    losses = []
    for others, own in pairs.left_out() if len(np.unique(pairs.group)) > 1 else [(pairs, pairs)]:
        probability = maker(others)(own.raw)
        losses.append(-np.mean(np.log(np.where(own.truth > 0, probability, 1 - probability))))
    return float(np.mean(losses))


def _resampled(pairs: Pairs, seed: int) -> Iterator[Pairs]:
    """Draw groups, then users, with replacement; a user's rows stay together."""
    draw = np.random.default_rng(seed)
    groups = np.unique(pairs.group)
    rows_of = {group: np.flatnonzero(pairs.group == group) for group in groups}
    users = int(pairs.user.max()) + 1
    for _ in range(REPLICATES):
        weight = np.bincount(draw.integers(users, size=users), minlength=users)
        rows = np.concatenate([rows_of[group] for group in draw.choice(groups, len(groups))])
        yield pairs.only(np.repeat(rows, weight[pairs.user[rows]]))
