"""BG/NBD: customers buy at random and may leave for good after any purchase.

While alive a customer buys at a Poisson rate lambda ~ Gamma(r, alpha), and leaves after each repeat purchase with
probability p ~ Beta(a, b). Source: Fader, Hardie and Lee, "'Counting Your Customers' the Easy Way: An Alternative to
the Pareto/NBD Model", Marketing Science 24 (2005) 275-284. The unit of time is the caller's, the same in all calls:
``alpha`` is a time and scales with it.

Everything rests on one quantity, the likelihood of a history (x, t_x, T):

    L = B(a, b+x)/B(a, b) Gamma(r+x)/Gamma(r) alpha^r
        { (alpha+T)^-(r+x)  +  [x>0] a/(b+x-1) (alpha+t_x)^-(r+x) }

whose two terms are "alive at T" and "left at t_x". It is kept in logs throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import ArrayLike

from valuecast.errors import FitError, ModelError
from valuecast.models.baselines.likelihood import Array, Estimates, Rows, check_horizon, fit_histories, histories

MODEL: Final = "BG/NBD"
_ADVICE: Final = (
    "Infinity means that customers do not differ (r, alpha: in how often they buy; a, b: in how readily they leave), "
    "and a = 0 that nobody leaves. Give a longer history or more customers, or use another model."
)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(128)
_TAIL: Final = 1e-10
"""What counts as near p = 0 or p = 1: there g of ``_while_alive`` is constant to within about this, relatively."""
_FALL: Final = 40.0
"""What counts as no density of p: exp(-40) of its peak."""


@dataclass(frozen=True)
class Parameters(Estimates):
    """Parameters of BG/NBD; ``alpha`` is in the unit of time of the data."""

    r: float
    alpha: float
    a: float
    b: float


def fit(
    frequency: ArrayLike, recency: ArrayLike, age: ArrayLike, *, weight: ArrayLike | None = None, seed: int = 0
) -> Parameters:
    """Fit by maximum likelihood.

    Args:
        frequency: number of repeat purchases, those after the first; shape (customers).
        recency: time from the first purchase to the last, 0 without a repeat purchase.
        age: time from the first purchase to the end of the data, in the unit of ``recency``.
        weight: how many customers a row stands for; 1 by default.
        seed: of the starting points after the first.

    Raises:
        FitError: a history is impossible, or the data do not determine the parameters.
    """
    data = histories(frequency, recency, age, weight=weight, error=FitError)
    return fit_histories(
        Parameters, _likelihood, data, times=frozenset({"alpha"}), model=MODEL, advice=_ADVICE, seed=seed
    )


def log_likelihood(parameters: Parameters, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Array:
    """Return the log-likelihood of each customer's history; shape (customers).

    Raises:
        ModelError: a history is impossible.
    """
    known = histories(frequency, recency, age, error=ModelError)
    common, alive, gone = _terms(parameters.values, *known.columns)
    return (common + np.logaddexp(alive, gone))[known.origin]


def probability_alive(parameters: Parameters, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike) -> Array:
    """Return P(alive at T | x, t_x, T); shape (customers).

    It is 1 for a customer without a repeat purchase: in this model one leaves only after such a purchase.

    Raises:
        ModelError: a history is impossible.
    """
    known = histories(frequency, recency, age, error=ModelError)
    return _alive(parameters, known)[known.origin]


def probability_no_purchase(
    parameters: Parameters, horizon: float, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
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
    parameters: Parameters, horizon: float, frequency: ArrayLike, recency: ArrayLike, age: ArrayLike
) -> Array:
    """Return E[number of purchases in (T, T+horizon] | x, t_x, T]; shape (customers).

    Raises:
        ModelError: a history is impossible, or the horizon negative.
    """
    horizon = check_horizon(horizon)
    known = histories(frequency, recency, age, error=ModelError)
    x, _, t = known.columns
    r, alpha, a, b = parameters.values
    return (_alive(parameters, known) * _while_alive(r + x, a, b + x, horizon / (alpha + t)))[known.origin]


def _while_alive(shape: Array, a: float, b: Array, ahead: Array) -> Array:
    """Return the expected purchases of a customer who is alive, with a time of ``ahead`` (alpha+T) to come.

    Given lambda and p it is (1 - exp(-lambda p t)) / p. Averaged over lambda ~ Gamma(shape, alpha+T) this is
    g(p) = (1 - (1 + p t/(alpha+T))^-shape) / p, and what remains is the mean of g over p ~ Beta(a, b). The published
    form is a hypergeometric function, which divides 0 by 0 at a = 1 and cancels near it, and whose
    argument nears 1 for long horizons. The mean itself is smooth: in z = log(p/(1-p)) the integrand has no
    singularity within pi of the real line, so Gauss-Legendre converges fast for any parameters. Beyond the interval
    either there is no mass, or g is constant and the mass is known.
    """
    low, high = _bulk(a, b)
    low = np.maximum(low, np.log(_TAIL / (1 + (shape + 1) * ahead)))
    high = np.minimum(high, -np.log(_TAIL))
    half, middle = (high - low) / 2, (high + low) / 2
    log_beta = scipy.special.betaln(a, b)
    inside = np.zeros_like(shape)
    for node, node_weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        z = middle + half * node
        log_p = scipy.special.log_expit(z)
        p = np.exp(log_p)
        density = np.exp(a * log_p + b * scipy.special.log_expit(-z) - log_beta)
        inside -= node_weight * density * np.expm1(-shape * np.log1p(p * ahead)) / p
    at_zero = scipy.special.betainc(a, b, scipy.special.expit(low)) * shape * ahead
    at_one = -scipy.special.betainc(b, a, scipy.special.expit(-high)) * np.expm1(-shape * np.log1p(ahead))
    expected: Array = at_zero + half * inside + at_one
    return expected


def _bulk(a: float, b: Array) -> tuple[Array, Array]:
    """Return an interval of z = log(p/(1-p)) outside which the density of p ~ Beta(a, b) is nothing.

    That is, below its peak by a factor of exp(-40). Two bounds, and the tighter one counts: p^a and (1-p)^b are
    each at most 1, which is tight where one of a and b is small; and the log-density in z, whose curvature at the
    peak is V = ab/(a+b) and fades no faster than exp(-d) at a distance of d from it, has fallen by
    V d^2/(2+d) or more, which is tight where both are large.
    """
    peak = a * np.log(a / (a + b)) + b * np.log(b / (a + b))
    log_p, log_rest = (peak - _FALL) / a, (peak - _FALL) / b
    steps = _FALL * (1 / a + 1 / b)
    reach = (steps + np.sqrt(steps**2 + 8 * steps)) / 2
    mode = np.log(a / b)
    low = np.maximum(mode - reach, log_p - np.log(-np.expm1(log_p)))
    high = np.minimum(mode + reach, np.log(-np.expm1(log_rest)) - log_rest)
    return low, high


def _alive(parameters: Parameters, known: Rows) -> Array:
    _, alive, gone = _terms(parameters.values, *known.columns)
    result: Array = scipy.special.expit(alive - gone)
    return result


def _terms(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array, Array]:
    """Return the logs of the common factor, of "alive at T" and of "left at t_x" in the likelihood of histories."""
    r, alpha, a, b = parameters
    log_gamma = scipy.special.gammaln
    buying = log_gamma(r + x) - log_gamma(r) + r * np.log(alpha)
    staying = scipy.special.betaln(a, b + x) - scipy.special.betaln(a, b)
    alive = -(r + x) * np.log(alpha + t)
    repeat = x > 0
    gone = np.where(repeat, np.log(a) - np.log(np.where(repeat, b + x - 1, 1)) - (r + x) * np.log(alpha + t_x), -np.inf)
    return buying + staying, alive, gone


def _likelihood(parameters: Array, x: Array, t_x: Array, t: Array) -> tuple[Array, Array]:
    """Return the log-likelihood of histories, shape (histories), and its gradient, shape (parameters, histories)."""
    r, alpha, a, b = parameters
    common, alive, gone = _terms(parameters, x, t_x, t)
    stays = scipy.special.expit(alive - gone)
    leaves = 1 - stays
    digamma = scipy.special.digamma
    drop = digamma(a + b) - digamma(a + b + x)
    gradient = np.stack(
        [
            digamma(r + x) - digamma(r) + np.log(alpha) - stays * np.log(alpha + t) - leaves * np.log(alpha + t_x),
            r / alpha - (r + x) * (stays / (alpha + t) + leaves / (alpha + t_x)),
            drop + leaves / a,
            drop + digamma(b + x) - digamma(b) - leaves / np.where(x > 0, b + x - 1, 1),
        ]
    )
    return common + np.logaddexp(alive, gone), gradient
