"""Calibration: from a raw score to log-odds, with a band for what is not known about them.

A shape is fitted on scores that a model gave to cutoffs (or users) it had not learned from, and chosen by leaving out
one of them at a time. It says how far apart two users are; how many buy in all depends on the season and is the
business of ``valuecast.models.level``. Ranking metrics use raw scores: isotonic regression makes ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from valuecast.models.level import offset
from valuecast.models.model import FloatArray, Scale

ISOTONIC_FROM = 1_000
"""Isotonic regression is considered from this many positives (and negatives) on: below, it overfits."""
REPLICATES = 100
LEVEL = 0.9
_EDGE = float(logit(1 - 1e-4))  # no calibrator claims certainty: odds beyond this would need far more data than it had


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
class Shape:
    """A non-decreasing map from raw scores to log-odds, given by points, and its 90% band.

    Attributes:
        kind: ``identity``, ``platt`` or ``isotonic``.
        raw: points on the raw scale, rising; the map is linear between them and constant outside.
        log_odds: at each point.
        low: how far below them the band starts, at each point; not positive.
        high: how far above them it ends.
    """

    kind: str
    raw: tuple[float, ...]
    log_odds: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __call__(self, raw: FloatArray) -> FloatArray:
        """Return the log-odds of raw scores."""
        return np.interp(raw, self.raw, self.log_odds)

    def probabilities(self, raw: FloatArray, offsets: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the probability, and the ends of its band, of raw scores at a level."""
        middle = self(raw) + offsets
        ends = (middle, middle + np.interp(raw, self.raw, self.low), middle + np.interp(raw, self.raw, self.high))
        score, low, high = (np.asarray(expit(_clipped(line)), dtype=np.float64) for line in ends)
        return score, low, high

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Shape:
        """Read back what ``to_dict`` wrote."""
        return cls(found["kind"], *(tuple(found[name]) for name in ("raw", "log_odds", "low", "high")))


Map = Callable[[FloatArray], FloatArray]
Maker = Callable[[Pairs], Map]


def fit(pairs: Pairs, *, scale: Scale, seed: int) -> Shape:
    """Choose a shape, fit it on all pairs, and find its band.

    Scores that are only an order are mapped by logistic (Platt) or isotonic regression; log-odds may also stay as they
    are. The choice is by log-loss on left-out groups, each at its own best level; isotonic regression competes from
    ``ISOTONIC_FROM`` positives and negatives on. The band is the 5% to 95% range of refits, level included, on
    resampled groups and users: what is not known about the probability, and how it moves from cutoff to cutoff.

    Sources: Platt (1999), Probabilistic outputs for support vector machines; Zadrozny and Elkan (2002),
    Transforming classifier scores into accurate multiclass probability estimates.
    """
    makers: dict[str, Maker] = {"platt": _platt}
    if scale == "log_odds":
        makers["identity"] = lambda _: lambda x: x
    if min(pairs.truth.sum(), (1 - pairs.truth).sum()) >= ISOTONIC_FROM:
        makers["isotonic"] = _isotonic
    kind = min(makers, key=lambda name: _left_out_loss(makers[name], pairs)) if len(makers) > 1 else "platt"
    points = np.unique(np.quantile(pairs.raw, np.linspace(0, 1, 101)))
    curve = _clipped(makers[kind](pairs)(points))
    refits = np.stack([_levelled(makers[kind](drawn), drawn)(points) for drawn in _resampled(pairs, seed)])
    low, high = np.quantile(refits - refits.mean(axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Shape(kind, *(tuple(map(float, line)) for line in (points, curve, np.minimum(low, 0), np.maximum(high, 0))))


def _clipped(log_odds: FloatArray) -> FloatArray:
    return np.clip(log_odds, -_EDGE, _EDGE)


def _platt(pairs: Pairs) -> Map:
    """A logistic regression in which every group has an intercept of its own; the slope is not negative."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

    middle, spread = float(pairs.raw.mean()), float(pairs.raw.std()) or 1.0
    if pairs.truth.min() == pairs.truth.max():
        return lambda x: np.zeros(len(x))
    members = pairs.group[:, None] == np.unique(pairs.group)
    inputs = np.column_stack([(pairs.raw - middle) / spread, members])
    found = LogisticRegression(C=1e4, fit_intercept=False).fit(inputs, pairs.truth).coef_[0]
    slope, level = max(float(found[0]) / spread, 0.0), float(np.mean(found[1:]))
    return lambda x: level + slope * (x - middle)


def _isotonic(pairs: Pairs) -> Map:
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - slow to import

    steps = IsotonicRegression(out_of_bounds="clip").fit_transform(pairs.raw, pairs.truth)
    value, block, count = np.unique(steps, return_inverse=True, return_counts=True)
    middle = np.bincount(block, pairs.raw) / count
    # Half a case on either side keeps a block without a single positive from claiming a probability of zero.
    smoothed = logit(np.maximum.accumulate((value * count + 0.5) / (count + 1)))
    return lambda x: np.interp(x, middle, smoothed)


def _levelled(shape: Map, pairs: Pairs) -> Map:
    move = offset(_clipped(shape(pairs.raw)), pairs.truth)
    return lambda x: _clipped(shape(x)) + move


def _left_out_loss(maker: Maker, pairs: Pairs) -> float:
    losses = []
    for others, own in pairs.left_out() if len(np.unique(pairs.group)) > 1 else [(pairs, pairs)]:
        probability = expit(_clipped(_levelled(maker(others), own)(own.raw)))
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
        drawn = np.repeat(rows, weight[pairs.user[rows]])
        if len(drawn):  # where users are few, none of those drawn may be in the groups drawn
            yield pairs.only(drawn)
