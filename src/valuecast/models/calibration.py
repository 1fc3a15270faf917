"""Calibration: from a raw score to log-odds, with a band for what is not known about them.

A shape is fitted on scores that a model gave to cutoffs (or users) it had not learned from, and chosen by leaving out
one of them at a time. It says how far apart two users are; how many buy in all depends on the season and is the
business of ``valuecast.models.level``. Ranking metrics use raw scores: isotonic regression makes ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtri

from valuecast.models.level import offset
from valuecast.models.model import FloatArray, Scale

ISOTONIC_FROM = 1_000
"""Isotonic regression is considered from this many positives (and negatives) on: below, it overfits."""
REPLICATES = 100
LEVEL = 0.9
_RIDGE = 1e-4  # keeps coefficients finite where an order separates the outcomes
_TOLERANCE = 1e-8
_SHORT = 0.5
_MOST_STEPS = 100
_NORMAL = float(ndtri((1 + LEVEL) / 2))
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
    """A non-decreasing map from raw scores to log-odds, given by points, and its 90% band, at a known level.

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

    def probabilities(
        self, raw: FloatArray, offsets: FloatArray, spreads: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the probability, and the ends of its 90% band, of raw scores at a level.

        Args:
            raw: scores.
            offsets: the level, added to their log-odds.
            spreads: standard deviation of the level; it has nothing to do with what is not known of the shape.
        """
        middle, wider = self(raw) + offsets, _NORMAL * np.asarray(spreads)
        low, high = (np.hypot(np.interp(raw, self.raw, line), wider) for line in (self.low, self.high))
        ends = (middle, middle - low, middle + high)
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
    ``ISOTONIC_FROM`` positives and negatives on. The band is the 5% to 95% range of refits on resampled groups and
    users, all brought to one level: what is not known about the level is added when a moment is asked about.

    Sources: Platt (1999), Probabilistic outputs for support vector machines; Zadrozny and Elkan (2002),
    Transforming classifier scores into accurate multiclass probability estimates.
    """
    makers = {name: maker for name, maker in _MAKERS.items() if name != "identity" or scale == "log_odds"}
    if min(pairs.truth.sum(), (1 - pairs.truth).sum()) < ISOTONIC_FROM:
        del makers["isotonic"]
    kind = min(makers, key=lambda name: _left_out_loss(makers[name], pairs)) if len(makers) > 1 else "platt"
    found = shaped(pairs, kind)
    points = np.asarray(found.raw)
    refits = np.stack([_levelled(makers[kind](drawn), pairs)(points) for drawn in _resampled(pairs, seed)])
    low, high = np.quantile(refits - refits.mean(axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = (tuple(map(float, line)) for line in (np.minimum(low, 0), np.maximum(high, 0)))
    return replace(found, low=low, high=high)


def shaped(pairs: Pairs, kind: str) -> Shape:
    """Fit a shape of one kind, without a band."""
    points = np.unique(np.quantile(pairs.raw, np.linspace(0, 1, 101)))
    flat = (0.0,) * len(points)
    return Shape(kind, tuple(map(float, points)), tuple(map(float, _clipped(_MAKERS[kind](pairs)(points)))), flat, flat)


def _clipped(log_odds: FloatArray) -> FloatArray:
    return np.clip(log_odds, -_EDGE, _EDGE)


def _platt(pairs: Pairs) -> Map:
    """A logistic regression in which every group has an intercept of its own; the slope is not negative.

    Newton's method; all rows of a group share their intercept, so its derivatives are sums over the group.
    """
    middle, spread = float(pairs.raw.mean()), float(pairs.raw.std()) or 1.0
    if pairs.truth.min() == pairs.truth.max():
        return lambda x: np.zeros(len(x))
    scaled = (pairs.raw - middle) / spread
    groups, code = np.unique(pairs.group, return_inverse=True)

    def loss(found: FloatArray) -> float:
        log_odds = found[0] * scaled + found[1:][code]
        return float((np.logaddexp(0, log_odds) - pairs.truth * log_odds).sum() + _RIDGE / 2 * (found**2).sum())

    found = np.zeros(1 + len(groups))

    def by_group(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(code, values), dtype=np.float64)

    for _ in range(_MOST_STEPS):
        probability = expit(found[0] * scaled + found[1:][code])
        excess, curve = probability - pairs.truth, probability * (1 - probability)
        # Sums, not dot products: a linear algebra library would wake its threads for each.
        gradient = np.append((excess * scaled).sum(), by_group(excess)) + _RIDGE * found
        hessian = np.diag(np.append((curve * scaled**2).sum(), by_group(curve)) + _RIDGE)
        hessian[0, 1:] = hessian[1:, 0] = by_group(curve * scaled)
        step = np.linalg.solve(hessian, gradient)
        while np.abs(step).max() > _SHORT and loss(found - step) > loss(found):  # too far; near the end it cannot be
            step = step / 2
        found = found - step
        if np.abs(step).max() <= _TOLERANCE:
            break
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


_MAKERS: dict[str, Maker] = {"platt": _platt, "identity": lambda _: lambda x: x, "isotonic": _isotonic}


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
