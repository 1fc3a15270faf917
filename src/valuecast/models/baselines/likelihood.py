"""What the customer-base models share: purchase histories, the search for a maximum, and when not to believe it.

The search runs over the logarithms of the parameters, with times and amounts scaled to be around 1: there every
parameter is free, one unit means the same for each, and the answer does not depend on the unit of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, Final, Self, TypeVar

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from valuecast.errors import FitError, ModelError, ValuecastError

Array = NDArray[np.float64]
Likelihood = Callable[..., tuple[Array, Array]]
"""``(parameters, *columns)`` -> log-likelihood, shape (rows), and its gradient, shape (parameters, rows)."""
_E = TypeVar("_E", bound="Estimates")

_BOUND: Final = 10.0
"""|log(parameter)| at which the search gives up, with times and amounts scaled to be around 1."""
_WORST_CONDITION: Final = 1e6
"""Largest ratio between the curvatures of the log-likelihood at its maximum, in different directions."""
_WIDEST: Final = 3.0
"""Largest standard error of log(parameter): beyond it the parameter is not known within a factor of 400 either way."""
_SHORT_OF_MAXIMUM: Final = 1e-3
"""How far below its maximum the log-likelihood may end, by a quadratic extrapolation."""
_STARTS: Final = 3


class UndeterminedError(FitError):
    """The search found no maximum that the data determine.

    Attributes:
        reached: the largest log-likelihood met, with times and amounts scaled as for the search.
    """

    def __init__(self, what: str, *, where: str, remedy: str, reached: float) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reached = reached


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Parameters of a customer-base model, all positive; a subclass names them.

    Attributes:
        log_likelihood: at the maximum, summed over customers; None where the parameters were not fitted here.
        standard_errors: by parameter, from the curvature at the maximum; empty where not fitted here.
    """

    log_likelihood: float | None = None
    standard_errors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in zip(self.names(), self.values, strict=True):
            if not (np.isfinite(value) and value > 0):
                raise ModelError(f"the parameter {name} is {value}", remedy="Parameters are positive numbers.")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the parameters, in order."""
        return tuple(field.name for field in fields(cls) if not field.kw_only)

    @property
    def values(self) -> Array:
        """The parameters, in the order of ``names``."""
        return np.array([getattr(self, name) for name in self.names()], dtype=float)

    def to_dict(self) -> dict[str, Any]:
        """Return plain facts, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Read back what ``to_dict`` gave.

        Raises:
            ModelError: a parameter is missing, unknown or not a positive number.
        """
        known = {field.name for field in fields(cls)}
        if not set(cls.names()) <= set(facts) <= known:
            raise ModelError(
                f"these are not the parameters {', '.join(cls.names())}: {', '.join(facts) or 'none'}",
                remedy="Fit the model again.",
            )
        return cls(**facts)


@dataclass(frozen=True)
class Rows:
    """Distinct rows of some columns.

    Attributes:
        columns: the columns of the distinct rows, shape (distinct rows) each.
        weight: the weight of each distinct row, shape (distinct rows).
        origin: for each row given, the distinct row that equals it, shape (rows given).
    """

    columns: tuple[Array, ...]
    weight: Array
    origin: NDArray[np.intp]


def aggregate(columns: Sequence[Array], weight: Array) -> Rows:
    """Merge equal rows, adding up their weights."""
    order = np.lexsort(columns)
    in_order = np.stack(columns)[:, order]
    new = np.ones(order.size, dtype=bool)
    new[1:] = (in_order[:, 1:] != in_order[:, :-1]).any(axis=0)
    origin = np.empty(order.size, dtype=np.intp)
    origin[order] = np.cumsum(new) - 1
    totals = np.bincount(origin, weights=weight).astype(np.float64)
    return Rows(tuple(in_order[:, new]), totals, origin)


def histories(
    frequency: ArrayLike,
    recency: ArrayLike,
    age: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    error: type[ValuecastError],
) -> Rows:
    """Check and aggregate purchase histories (x, t_x, T), all in one unit of time.

    Args:
        frequency: x, the number of repeat purchases: those after the first; shape (customers).
        recency: t_x, the time from the first purchase to the last, 0 where there is no repeat purchase.
        age: T, the time from the first purchase to the moment of asking.
        weight: how many customers a row stands for; rows of weight 0 are left out.
        error: what to raise.

    Raises:
        ValuecastError: of the type ``error``; a history is not possible.
    """
    x, t_x, t = as_columns("frequency, recency and age", error, frequency, recency, age)
    refuse((x < 0) | (x != np.rint(x)), "frequency is not a count", "Give the number of repeat purchases.", error)
    refuse((t_x < 0) | (t_x > t), "recency is not between 0 and age", "Count both from the first purchase.", error)
    refuse((x == 0) & (t_x > 0), "recency is above 0 without a repeat purchase", "Give a recency of 0.", error)
    return weighted((x, t_x, t), weight, error)


def as_columns(what: str, error: type[ValuecastError], *given: ArrayLike) -> tuple[Array, ...]:
    """Return columns of finite numbers of one length; scalars are repeated.

    Raises:
        ValuecastError: of the type ``error``; ``what`` names the columns.
    """
    arrays = [np.atleast_1d(np.asarray(column, dtype=float)) for column in given]
    lengths = {array.size for array in arrays} - {1}
    if len(lengths) > 1 or any(array.ndim > 1 for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise error(f"{what} have the shapes {shapes}", remedy="Give columns of one length.")
    together = np.stack(np.broadcast_arrays(*arrays))
    refuse(~np.isfinite(together).all(axis=0), f"{what} are not all finite numbers", "Leave such rows out.", error)
    return tuple(together)


def weighted(given: tuple[Array, ...], weight: ArrayLike | None, error: type[ValuecastError]) -> Rows:
    """Aggregate rows of which each stands for ``weight`` customers, or for one.

    Raises:
        ValuecastError: of the type ``error``; the weights are negative, all zero, or of another length.
    """
    if weight is None:
        return aggregate(given, np.ones(given[0].size))
    *given_again, weights = as_columns("the data and weight", error, *given, weight)
    refuse(weights < 0, "weight is negative", "Weights count customers.", error)
    kept = weights > 0
    if not kept.any():
        raise error("nobody has a weight above 0", remedy="Give at least one customer a weight.")
    return aggregate([column[kept] for column in given_again], weights[kept])


def refuse(wrong: NDArray[np.bool_], what: str, remedy: str, error: type[ValuecastError]) -> None:
    """Raise ``error`` that names the first row which is ``wrong``, if any is."""
    if wrong.any():
        raise error(what, where=f"row {int(np.argmax(wrong)) + 1}", remedy=remedy)


def check_horizon(horizon: float) -> float:
    """Return the length of time to look ahead.

    Raises:
        ModelError: it is negative or not finite.
    """
    if not (np.isfinite(horizon) and horizon >= 0):
        raise ModelError(f"the horizon is {horizon}", remedy="Give a time of 0 or more, in the unit of age.")
    return float(horizon)


@dataclass(frozen=True)
class Maximum:
    """Where a log-likelihood is largest: its value there, the parameters, and the standard errors of their logs."""

    log_likelihood: float
    parameters: Array
    log_errors: Array


def maximise(
    likelihood: Likelihood,
    rows: Rows,
    starts: Sequence[ArrayLike],
    *,
    names: Sequence[str],
    model: str,
    advice: str,
    at_least: float = -np.inf,
) -> Maximum:
    """Find the maximum of a likelihood from several starts, and refuse one that the data do not determine.

    Args:
        likelihood: of rows, given the parameters.
        rows: the data.
        starts: log(parameters) to start from.
        names: the parameters, for messages.
        model: the name of the model, for messages.
        advice: remedy for a likelihood without a clear maximum.
        at_least: what the log-likelihood is known to reach elsewhere: a maximum below it is none.

    Raises:
        UndeterminedError: the search does not converge, a parameter tends to zero or infinity, or the maximum is so
            flat in some direction that its place says nothing, or too low.
    """
    customers = float(rows.weight.sum())

    def loss(point: Array) -> tuple[float, Array]:
        parameters = np.exp(point)
        value, gradient = likelihood(parameters, *rows.columns)
        return -float(value @ rows.weight) / customers, -(gradient @ rows.weight) * parameters / customers

    box = [(-_BOUND, _BOUND)] * len(names)
    options = {"ftol": 1e-13, "gtol": 1e-8, "maxiter": 500}
    best = min(
        (
            scipy.optimize.minimize(loss, np.asarray(start), jac=True, method="L-BFGS-B", bounds=box, options=options)
            for start in starts
        ),
        key=lambda search: float(search.fun),
    )
    point: Array = best.x
    reached = -float(best.fun) * customers
    refused = partial(UndeterminedError, where=model, remedy=advice, reached=reached)
    astray = [
        f"{name} to {'infinity' if value > 0 else 'zero'}"
        for name, value in zip(names, point, strict=True)
        if abs(value) > _BOUND - 0.5
    ]
    if astray:
        raise refused(f"the likelihood has no maximum: it grows with {' and '.join(astray)}")
    information = customers * _curvature(lambda at: loss(at)[1], point)
    curvatures = np.linalg.eigvalsh(information)
    if not curvatures[-1] < _WORST_CONDITION * curvatures[0]:
        raise refused("the likelihood is flat: many parameters fit equally well")
    covariance = np.linalg.inv(information)
    slope = customers * loss(point)[1]
    if not slope @ covariance @ slope / 2 < _SHORT_OF_MAXIMUM:
        raise refused(f"the search for the maximum did not converge ({best.message})")
    errors = np.sqrt(np.diag(covariance))
    unknown = [name for name, error in zip(names, errors, strict=True) if error > _WIDEST]
    if unknown:
        raise refused(f"the data do not determine {', '.join(unknown)}")
    if reached < at_least:
        raise refused(f"the likelihood has a higher value elsewhere, by a factor of exp({at_least - reached:.3g})")
    return Maximum(reached, np.exp(point), errors)


def _curvature(slope: Callable[[Array], Array], point: Array, step: float = 1e-4) -> Array:
    """Return the Hessian at ``point``, by central differences of the gradient."""
    hessian = np.stack([(slope(point + move) - slope(point - move)) / (2 * step) for move in step * np.eye(point.size)])
    return (hessian + hessian.T) / 2


def fit_histories(
    kind: type[_E],
    likelihood: Likelihood,
    data: Rows,
    *,
    times: frozenset[str],
    rates: frozenset[str] = frozenset(),
    model: str,
    advice: str,
    seed: int,
    at_least: float = -np.inf,
) -> _E:
    """Fit a model of purchase histories (x, t_x, T).

    Args:
        kind: the class of the parameters.
        likelihood: of histories, given the parameters.
        data: what ``histories`` returned.
        times: the parameters that are times.
        rates: the parameters that are 1/time.
        model: the name of the model, for messages.
        advice: remedy for a likelihood without a clear maximum.
        seed: of the starting points after the first.
        at_least: see ``maximise``; ``UndeterminedError.reached`` of another fit to the same data is in the same unit.

    Raises:
        FitError: nobody bought again, or the histories are too few or too alike.
        UndeterminedError: see ``maximise``.
    """
    x, t_x, age = data.columns
    if not x.any():
        raise FitError("no repeat purchases", where=model, remedy="Give a longer history, or use another model.")
    names = kind.names()
    if x.size <= len(names):
        alike = "all customers have the same history" if x.size == 1 else f"only {x.size} different histories"
        raise FitError(alike, where=model, remedy="Give more customers, followed for longer.")
    scale = float(np.average(age, weights=data.weight))
    scaled = replace(data, columns=(x, t_x / scale, age / scale))
    scatter = np.random.default_rng(seed).normal(size=(_STARTS, len(names)))
    scatter[0] = 0
    found = maximise(likelihood, scaled, list(scatter), names=names, model=model, advice=advice, at_least=at_least)
    unit = np.array([scale if name in times else 1 / scale if name in rates else 1.0 for name in names])
    # The likelihood is a density of x purchase times: its unit is 1/time^x.
    return in_unit(kind, found, unit, shift=-float(data.weight @ x) * np.log(scale))


def in_unit(kind: type[_E], found: Maximum, unit: Array, *, shift: float) -> _E:
    """Return parameters in the unit of the data; standard errors by the delta method.

    Args:
        kind: the class of the parameters.
        found: the maximum, with scaled data.
        unit: what 1 is for each parameter, in the unit of the data.
        shift: what the change of unit adds to the log-likelihood.
    """
    values = found.parameters * unit
    errors = dict(zip(kind.names(), (values * found.log_errors).tolist(), strict=True))
    return kind(*values.tolist(), log_likelihood=float(found.log_likelihood + shift), standard_errors=errors)
