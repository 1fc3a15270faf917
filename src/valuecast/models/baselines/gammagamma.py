"""Gamma-Gamma: what a customer spends per purchase, given the mean of the purchases seen so far.

A purchase of one customer is worth Gamma(p, nu), and nu ~ Gamma(q, gamma) varies between customers, independently of
how often they buy. Source: Fader and Hardie, "The Gamma-Gamma Model of Monetary Value" (2013),
brucehardie.com/notes/025, after Colombo and Jiang (1999). ``gamma`` is an amount and scales with the currency.

The frequency is the number of purchases that the mean is a mean of. The authors leave the first purchase out of both,
so that it goes with the frequency of BG/NBD and Pareto/NBD; with all purchases in the mean, count all purchases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy
from numpy.typing import ArrayLike

from valuecast.errors import FitError, ModelError
from valuecast.models.baselines.likelihood import Array, Estimates, as_columns, in_unit, maximise, refuse, weighted

MODEL: Final = "Gamma-Gamma"
_ADVICE: Final = (
    "Infinity means that customers do not differ (q, gamma) or that each spends the same every time (p). "
    "Give more customers, and more of them with several purchases; or use each customer's own mean."
)
_STARTS: Final = ((0.0, 0.7, 0.0), (2.0, 1.4, -1.0), (-1.0, 3.0, 2.0))
"""Of log(p), log(q) and log(gamma / typical value): customers who differ a little, who do not, and who differ a lot."""


@dataclass(frozen=True)
class Parameters(Estimates):
    """Parameters of Gamma-Gamma; ``gamma`` is in the currency of the data, and q > 1 so that there is a mean."""

    p: float
    q: float
    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.q <= 1:
            raise ModelError(f"q is {self.q:.3g}", where=MODEL, remedy="Up to 1 the mean over customers is infinite.")


def fit(frequency: ArrayLike, mean_value: ArrayLike, *, weight: ArrayLike | None = None) -> Parameters:
    """Fit by maximum likelihood.

    Args:
        frequency: number of purchases in ``mean_value``, at least 1: leave the customers without one out;
            shape (customers).
        mean_value: mean value of a customer's purchases, above 0.
        weight: how many customers a row stands for; 1 by default.

    Raises:
        FitError: a row is impossible, the data do not determine the parameters, or the mean value of the population
            they imply is infinite.
    """
    x, value = as_columns("frequency and mean_value", FitError, frequency, mean_value)
    refuse((x < 1) | (x != np.rint(x)), "frequency is not a count of at least 1", "Leave such customers out.", FitError)
    refuse(value <= 0, "mean_value is not above 0", "Leave out purchases that cost nothing, and returns.", FitError)
    if not (x > 1).any():
        raise FitError("nobody bought twice", where=MODEL, remedy="Give a longer history.")
    if np.ptp(value) == 0:
        raise FitError("all customers have the same mean value", where=MODEL, remedy="No model is needed: use it.")
    rows = weighted((x, value), weight, FitError)
    scale = float(np.exp(np.average(np.log(rows.columns[1]), weights=rows.weight)))  # enormous values leave it alone
    found = maximise(
        _likelihood,
        replace(rows, columns=(rows.columns[0], rows.columns[1] / scale)),
        _STARTS,
        names=Parameters.names(),
        model=MODEL,
        advice=_ADVICE,
    )
    q = found.parameters[1]
    if q <= 1:
        raise FitError(
            f"the mean value over all customers would be infinite (q = {q:.3g}, not above 1)",
            where=MODEL,
            remedy="A few customers spend enormously: check them, or cap their values, say at the 99.5th percentile.",
        )
    # The likelihood is a density of one amount for each customer: its unit is 1/amount.
    shift = -float(rows.weight.sum()) * np.log(scale)
    return in_unit(Parameters, found, np.array([1.0, 1.0, scale]), shift=shift)


def expected_value(parameters: Parameters, frequency: ArrayLike, mean_value: ArrayLike) -> Array:
    """Return the expected value of a customer's next purchase, given the mean of those seen; shape (customers).

    It lies between the customer's own mean and the population's, p gamma / (q-1), nearer to the former the more
    purchases it comes from; with frequency 0, where ``mean_value`` is 0 too, it is the population's.

    Raises:
        ModelError: a row is impossible.
    """
    x, value = as_columns("frequency and mean_value", ModelError, frequency, mean_value)
    refuse((x < 0) | (x != np.rint(x)), "frequency is not a count", "Give the number of purchases.", ModelError)
    refuse(value < 0, "mean_value is negative", "Leave returns out of it.", ModelError)
    p, q, gamma = parameters.values
    expected: Array = p * (gamma + x * value) / (p * x + q - 1)
    return expected


def _likelihood(parameters: Array, x: Array, value: Array) -> tuple[Array, Array]:
    """Return the log-likelihood of mean values, shape (customers), and its gradient, shape (parameters, customers)."""
    p, q, gamma = parameters
    log_gamma, digamma = scipy.special.gammaln, scipy.special.digamma
    shape = p * x
    spread = np.log(gamma + x * value)
    log_likelihood = (
        log_gamma(shape + q) - log_gamma(shape) - log_gamma(q)
        + q * np.log(gamma) + shape * np.log(x * value) - np.log(value) - (shape + q) * spread
    )  # fmt: skip
    gradient = np.stack(
        [
            x * (digamma(shape + q) - digamma(shape) + np.log(x * value) - spread),
            digamma(shape + q) - digamma(q) + np.log(gamma) - spread,
            q / gamma - (shape + q) / (gamma + x * value),
        ]
    )
    return log_likelihood, gradient
