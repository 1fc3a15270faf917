"""Pareto/NBD: customers buy at random and leave for good at a random time that nobody sees.

While alive a customer buys at a Poisson rate lambda ~ Gamma(r, alpha), for a lifetime that is exponential with rate
mu ~ Gamma(s, beta). Sources: Schmittlein, Morrison and Colombo, "Counting Your Customers: Who Are They and What
Will They Do Next?", Management Science 33 (1987) 1-24; Fader and Hardie, "A Note on Deriving the Pareto/NBD Model and
Related Expressions" (2005), brucehardie.com/notes/009. The unit of time is the caller's, the same in all calls:
``alpha`` and ``beta`` are times and scale with it.

Everything rests on one quantity, the likelihood of a history (x, t_x, T):

    L = Gamma(r+x)/Gamma(r) alpha^r beta^s
        { (alpha+T)^-(r+x) (beta+T)^-s  +  s integral from t_x to T of (alpha+y)^-(r+x) (beta+y)^-(s+1) dy }

whose two terms are "alive at T" and "left at some y before T". It is kept in logs throughout. The published form of
the integral is a difference of two hypergeometric functions, one pair for alpha > beta and one for alpha < beta, which
cancels and overflows for frequent buyers; here it is integrated numerically (see ``_gone``), which also gives its
gradient.

The family has an edge that data do reach: with s and beta towards infinity at a fixed s/beta, leaving rates cease to
differ, and all customers leave at the one rate mu = s/beta. The likelihood there is its limit,

    L = Gamma(r+x)/Gamma(r) alpha^r
        { (alpha+T)^-(r+x) exp(-mu T)  +  mu integral from t_x to T of (alpha+y)^-(r+x) exp(-mu y) dy }

a model of three parameters, ``OneRate``, for which every function here has the exact formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import ArrayLike

from valuecast.errors import FitError, ModelError
from valuecast.models.baselines.likelihood import (
    Array,
    Estimates,
    Rows,
    UndeterminedError,
    check_horizon,
    fit_histories,
    histories,
)

MODEL: Final = "Pareto/NBD"
_ADVICE: Final = (
    "With r and alpha at infinity customers do not differ in how often they buy; with s or s/beta at zero nobody "
    "leaves. Give a longer history or more customers, or use another model."
)
_AS_LIKELY: Final = 0.1
"""Difference in log-likelihood too small to tell a finite s from an infinite one."""
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(32)
_FALL: Final = 30.0
"""The integral stops where its integrand has fallen by exp(-30) or more."""
_HUGE: Final = 600.0
"""Largest exponent that is sure not to overflow."""


@dataclass(frozen=True)
class Parameters(Estimates):
    """Parameters of Pareto/NBD; ``alpha`` and ``beta`` are in the unit of time of the data."""

    r: float
    alpha: float
    s: float
    beta: float


@dataclass(frozen=True)
class OneRate(Estimates):
    """Parameters of Pareto/NBD where s and beta are infinite: all customers leave at one rate, ``leaving_rate``.

    It is 1/time and the limit of s/beta; ``alpha`` is a time.
    """

    r: float
    alpha: float
    leaving_rate: float

    def __str__(self) -> str:
        """Say what the parameters mean."""
        return (
            f"r = {self.r:.4g}, alpha = {self.alpha:.4g}, s and beta infinite: "
            f"all customers leave at one rate, s/beta = {self.leaving_rate:.4g}"
        )


Fitted = Parameters | OneRate


def from_dict(facts: Mapping[str, Any]) -> Fitted:
    """Read back what ``to_dict`` of either kind gave.

    Raises:
        ModelError: a parameter is missing, unknown or not a positive number.
    """
    return OneRate.from_dict(facts) if "leaving_rate" in facts else Parameters.from_dict(facts)


def fit(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, *, weight: ArrayLike | None = None, seed: int = 0
) -> Fitted:
    """Fit by maximum likelihood.

    Where no finite s and beta are determined, the maximum may lie where both are infinite. It is the answer if it is
    itself determined, and the log-likelihood there within 0.1 of anything met on the way, or above.

    Args:
        frequency: number of repeat purchases, those after the first; shape (customers).
        recency: time from the first purchase to the last, 0 without a repeat purchase.
        age: time from the first purchase to the end of the data, in the unit of ``recency``.
        weight: how many customers a row stands for; 1 by default.
        seed: of the starting points after the first.

    Returns:
        Parameters, or OneRate where all customers leave at one rate.

    Raises:
        FitError: a history is impossible, or the data do not determine the parameters.
    """
    data = histories(frequency, recency, age, weight=weight, error=FitError)
    try:
        return fit_histories(
            Parameters, _likelihood, data, times=frozenset({"alpha", "beta"}), model=MODEL, advice=_ADVICE, seed=seed
        )
    except UndeterminedError as inside:
        try:
            return fit_histories(
                OneRate,
                _likelihood_at_one_rate,
                data,
                times=frozenset({"alpha"}),
                rates=frozenset({"leaving_rate"}),
                model=MODEL,
                advice=_ADVICE,
                seed=seed,
                at_least=inside.reached - _AS_LIKELY,
            )
        except UndeterminedError:
            raise inside from None


def log_likelihood(parameters: Fitted, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Array:
    """Return the log-likelihood of each customer's history; shape (customers).

    Raises:
        ModelError: a history is impossible.
    """
    known = histories(frequency, recency, age, error=ModelError)
    common, alive, gone = _split(parameters, known)
    return (common + np.logaddexp(alive, gone))[known.origin]


def probability_alive(parameters: Fitted, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Array:
    """Return P(alive at T | x, t_x, T); shape (customers).

    Raises:
        ModelError: a history is impossible.
    """
    known = histories(frequency, recency, age, error=ModelError)
    return _alive(parameters, known)[known.origin]


def probability_no_purchase(
    parameters: Fitted, horizon: float, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> Array:
    """Return P(no purchase in (T, T+horizon] | x, t_x, T), the probability of churn; shape (customers).

    A customer with history (x, t_x, T) who buys nothing until T+t is exactly one with history (x, t_x, T+t), so the
    probability is the ratio of their likelihoods: L(x, t_x, T+t) / L(x, t_x, T). Unlike 1 - P(alive) it counts
    those who are alive and buy nothing.

    Raises:
        ModelError: a history is impossible, or the horizon negative.
    """
    later = np.asarray(age, dtype=float) + check_horizon(horizon)
    change = log_likelihood(parameters, frequency, recency, later) - log_likelihood(parameters, frequency, recency, age)
    return np.exp(np.minimum(change, 0))  # a rounding error above 0 is none


def expected_purchases(
    parameters: Fitted, horizon: float, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> Array:
    """Return E[number of purchases in (T, T+horizon] | x, t_x, T]; shape (customers).

    Raises:
        ModelError: a history is impossible, or the horizon negative.
    """
    horizon = check_horizon(horizon)
    known = histories(frequency, recency, age, error=ModelError)
    x, _, t = known.columns
    rate = (parameters.r + x) / (parameters.alpha + t)
    expected: Array = _alive(parameters, known) * rate * _time_alive(parameters, horizon, t)
    return expected[known.origin]


def _time_alive(parameters: Fitted, horizon: float, t: Array) -> Array:
    """Return the expected time alive in (T, T+horizon] of a customer who is alive at T."""
    if isinstance(parameters, OneRate):
        staying: Array = horizon * scipy.special.exprel(np.full_like(t, -parameters.leaving_rate * horizon))
        return staying
    # The published (beta+T)/(s-1) (1 - ((beta+T)/(beta+T+t))^(s-1)), without its 0/0 at s = 1.
    ahead = np.log1p(horizon / (parameters.beta + t))
    time_alive: Array = (parameters.beta + t) * ahead * scipy.special.exprel((1 - parameters.s) * ahead)
    return time_alive


def _alive(parameters: Fitted, known: Rows) -> Array:
    _, alive, gone = _split(parameters, known)
    result: Array = scipy.special.expit(alive - gone)
    return result


def _split(parameters: Fitted, known: Rows) -> tuple[Array, Array, Array]:
    """Return the logs of the common factor, of "alive at T" and of "left before T" in the likelihood of histories."""
    terms = _terms_at_one_rate if isinstance(parameters, OneRate) else _terms
    return terms(parameters.values, *known.columns)[:3]


def _terms(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array, Array, Array]:
    """Return what ``_split`` does, and the means of ``_gone``."""
    r, alpha, s, beta = parameters
    common = scipy.special.gammaln(r + x) - scipy.special.gammaln(r) + r * np.log(alpha) + s * np.log(beta)
    alive = -(r + x) * np.log(alpha + t) - s * np.log(beta + t)
    return common, alive, *_gone(parameters, x, t_x, t)


def _likelihood(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array]:
    """Return the log-likelihood of histories, shape (histories), and its gradient, shape (parameters, histories)."""
    r, alpha, s, beta = parameters
    common, alive, gone, means = _terms(parameters, x, t_x, t)
    stays = scipy.special.expit(alive - gone)
    leaves = 1 - stays
    at_end = np.stack([np.log(alpha + t), 1 / (alpha + t), np.log(beta + t), 1 / (beta + t)])
    log_a, over_a, log_b, over_b = stays * at_end + leaves * means
    gradient = np.stack(
        [
            scipy.special.digamma(r + x) - scipy.special.digamma(r) + np.log(alpha) - log_a,
            r / alpha - (r + x) * over_a,
            np.log(beta) - log_b + leaves / s,
            s / beta - s * over_b - leaves * means[3],
        ]
    )
    return common + np.logaddexp(alive, gone), gradient


def _gone(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array]:
    """Integrate s (alpha+y)^-(r+x) (beta+y)^-(s+1) over y from t_x to T.

    With w = log(min(alpha, beta) + y) the integrand has no singularity within pi of the real line, whatever the
    parameters, and for frequent buyers, where it is steep, the interval ends after a known fall: so few nodes suffice.

    Returns:
        log of the integral, shape (histories), -inf where t_x = T; and the means of log(alpha+y), 1/(alpha+y),
        log(beta+y) and 1/(beta+y) under the integrand, shape (4, histories), of which its gradient is made.
    """
    r, alpha, s, beta = parameters
    shape_a, shape_b = r + x, s + 1
    # how far from t_x each factor alone has fallen by exp(-_FALL)
    reach_a = (alpha + t_x) * np.expm1(np.minimum(_FALL / shape_a, _HUGE))
    reach_b = (beta + t_x) * np.expm1(min(_FALL / shape_b, _HUGE))
    near, gap = min(alpha, beta), abs(alpha - beta)
    start = near + t_x
    span = np.log1p(np.minimum(t - t_x, np.minimum(reach_a, reach_b)) / start)
    total, sums = np.zeros_like(t), np.zeros((4, t.size))
    for node, node_weight in zip((_NODES + 1) / 2, _NODE_WEIGHTS / 2, strict=True):
        log_near = span * node
        y_near = start * np.exp(log_near)
        y_far = y_near + gap
        log_far = np.log(y_far / (start + gap))
        in_order = (log_near, y_near, log_far, y_far) if alpha <= beta else (log_far, y_far, log_near, y_near)
        log_a, y_a, log_b, y_b = in_order  # log((alpha+y)/(alpha+t_x)), alpha+y, and the same for beta
        mass = node_weight * y_near * np.exp(-shape_a * log_a - shape_b * log_b)
        total += mass
        for position, value in enumerate((log_a, 1 / y_a, log_b, 1 / y_b)):
            sums[position] += mass * value
    log_alpha, log_beta = np.log(alpha + t_x), np.log(beta + t_x)
    with np.errstate(divide="ignore"):
        integral = np.log(s * total * span) - shape_a * log_alpha - shape_b * log_beta
    means = sums / total
    means[0] += log_alpha
    means[2] += log_beta
    return integral, means


def _terms_at_one_rate(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array, Array, Array]:
    """Return what ``_split`` does, and the means of ``_gone_at_one_rate``."""
    r, alpha, mu = parameters
    common = scipy.special.gammaln(r + x) - scipy.special.gammaln(r) + r * np.log(alpha)
    alive = -(r + x) * np.log(alpha + t) - mu * t
    return common, alive, *_gone_at_one_rate(parameters, x, t_x, t)


def _likelihood_at_one_rate(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array]:
    """Return what ``_likelihood`` does, for the parameters of ``OneRate``."""
    r, alpha, mu = parameters
    common, alive, gone, means = _terms_at_one_rate(parameters, x, t_x, t)
    stays = scipy.special.expit(alive - gone)
    leaves = 1 - stays
    log_a, over_a, until = stays * np.stack([np.log(alpha + t), 1 / (alpha + t), t]) + leaves * means
    gradient = np.stack(
        [
            scipy.special.digamma(r + x) - scipy.special.digamma(r) + np.log(alpha) - log_a,
            r / alpha - (r + x) * over_a,
            leaves / mu - until,
        ]
    )
    return common + np.logaddexp(alive, gone), gradient


def _gone_at_one_rate(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array]:
    """Integrate mu (alpha+y)^-(r+x) exp(-mu y) over y from t_x to T, in log(alpha+y) and as far as ``_gone`` does.

    Returns:
        log of the integral, shape (histories), -inf where t_x = T; and the means of log(alpha+y), 1/(alpha+y) and y
        under the integrand, shape (3, histories).
    """
    r, alpha, mu = parameters
    shape, start = r + x, alpha + t_x
    reach = np.minimum(start * np.expm1(np.minimum(_FALL / shape, _HUGE)), _FALL / mu)
    span = np.log1p(np.minimum(t - t_x, reach) / start)
    total, sums = np.zeros_like(t), np.zeros((3, t.size))
    for node, node_weight in zip((_NODES + 1) / 2, _NODE_WEIGHTS / 2, strict=True):
        log_a = span * node
        y_a = start * np.exp(log_a)
        since = start * np.expm1(log_a)  # y - t_x
        mass = node_weight * y_a * np.exp(-shape * log_a - mu * since)
        total += mass
        for position, value in enumerate((log_a, 1 / y_a, since)):
            sums[position] += mass * value
    with np.errstate(divide="ignore"):
        integral = np.log(mu * total * span) - shape * np.log(start) - mu * t_x
    means = sums / total
    means[0] += np.log(start)
    means[2] += t_x
    return integral, means
