"""Heads of a network: each owns a distribution of the label, its loss, and what a score is made of.

A head reads one vector for each ``(user, at)`` and returns the parameters of the distribution of that row's label.
Everything is reckoned in float32 and in logarithms where a number may be tiny or huge, so that losses and gradients
stay finite for parameters that a network can produce.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from valuecast.errors import ModelError
from valuecast.models.head_spec import (
    NARROWEST,
    Doubles,
    Family,
    HeadSpec,
    classes_of,
    labels_of,
    needs_waits,
    parts_before,
    spec_of,
)

__all__ = [
    "Bernoulli",
    "Categorical",
    "Hazard",
    "Head",
    "HeadSpec",
    "Normal",
    "Spend",
    "build",
    "classes_of",
    "labels_of",
    "needs_waits",
    "spec_of",
]

HIDDEN: Final = 256
"""Width of a head's tower."""
_SMALL = 1e-3  # below it a series of two terms is exact in float32
_FAR_BELOW = -15.0  # below it log(softplus(x)) is x in float32


def build(spec: HeadSpec, width: int, *, dropout: float = 0.1, hidden: int = HIDDEN, members: int = 1) -> Head:
    """Make the head; its weights are drawn by torch's own generator.

    Args:
        spec: what ``spec_of`` found.
        width: of the vectors that it reads.
        dropout: share of the tower's activations that are dropped in training.
        hidden: width of the tower, unless its input is narrower.
        members: how many there are, whose answers are averaged.
    """
    kinds: dict[Family, type[Head]] = {
        "bernoulli": Bernoulli,
        "hazard": Hazard,
        "spend": Spend,
        "normal": Normal,
        "categorical": Categorical,
    }
    drawn = [kinds[spec.kind](spec, width, dropout=dropout, hidden=hidden) for _ in range(members)]
    return drawn[0] if members == 1 else Ensemble(spec, drawn)


class Head(nn.Module, ABC):
    """A small tower that ends in the parameters of a distribution."""

    def __init__(self, spec: HeadSpec, width: int, *, dropout: float, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.spec = spec
        hidden = min(width, hidden)
        last = nn.Linear(hidden, len(spec.start))
        self.tower = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), last)
        nn.init.normal_(last.weight, std=0.02)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(spec.start))

    def forward(self, x: Tensor) -> Tensor:
        """Return the parameters of each row: float32, shape (R, P), from vectors of shape (R, width)."""
        return cast(Tensor, self.tower(x)).float()

    @abstractmethod
    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """Return the mean negative log-likelihood of what ``labels_of`` made: a scalar."""

    @abstractmethod
    def raw(self, params: Tensor) -> Tensor:
        """Return one raw score for each target, shape (R, targets): log-odds, or an expected amount."""

    def constant(self, name: str, values: Any) -> None:
        """Keep an array that moves between devices with the head; it is made from the spec and not saved."""
        self.register_buffer(name, torch.as_tensor(np.asarray(values, dtype=np.float32)), persistent=False)


class Bernoulli(Head):
    """One log-odds for each target."""

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, the mean over rows and targets."""
        return functional.binary_cross_entropy_with_logits(params, labels)

    def raw(self, params: Tensor) -> Tensor:
        """The log-odds themselves."""
        return params


class Hazard(Head):
    r"""When the first event comes: a hazard for each interval between edges, constant within it.

    Over interval k the cumulative hazard grows by :math:`\lambda_k = \log(1 + e^{x_k})`, so the chance that the event
    comes in an interval that was reached is :math:`h_k = 1 - e^{-\lambda_k} = \operatorname{sigmoid}(x_k)`. This is
    the discrete-time hazard of Singer and Willett (1993), as Gensheimer and Narasimhan (2019) learn it by a network,
    with survival interpolated in its logarithm as in Kvamme and Borgan (2021):

    .. math:: \log S(t) = -\sum_k f_k(t) \lambda_k

    where f is the part of interval k before t. Where a row is known for the part f of an interval, the likelihood of no
    event in it is :math:`e^{-f \lambda_k}`, that of an event :math:`1 - e^{-f \lambda_k}`: a log that ends inside an
    interval biases neither. Over whole intervals no shape of the hazard within them is assumed, so the probabilities
    at the horizons, which are edges, do not rest on the interpolation.
    """

    ends: Tensor
    widths: Tensor
    horizons: Tensor

    def __init__(self, spec: HeadSpec, width: int, *, dropout: float, hidden: int = HIDDEN) -> None:
        super().__init__(spec, width, dropout=dropout, hidden=hidden)
        self.constant("ends", spec.edges)
        self.constant("widths", np.diff(spec.edges, prepend=0))
        self.constant("horizons", parts_before(spec.edges, spec.days))

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """The mean over rows of the sum over intervals."""
        part, seen = labels.chunk(2, dim=1)
        hazard = part * functional.softplus(params)
        log_hazard = part.clamp(min=torch.finfo(part.dtype).tiny).log() + _log_softplus(params)
        likelihood = torch.where(seen > 0, _log_one_less(hazard, log_hazard), -hazard)
        return -likelihood.sum(dim=1).mean()

    def raw(self, params: Tensor) -> Tensor:
        r"""Log-odds of each target: a stays-away target has minus those of happening.

        Of happening they are :math:`\log(e^{\Lambda} - 1)`, with the cumulative hazard of the horizon.
        """
        hazard = self._cumulative(params, self.horizons)
        log_parts = self.horizons.log()  # 0 or -inf: horizons are edges
        log_hazard = (_log_softplus(params).unsqueeze(1) + log_parts).logsumexp(dim=2)
        odds = _log_one_less(hazard, log_hazard) + hazard
        return odds if self.spec.happens else -odds

    def survival(self, params: Tensor, days: Sequence[float]) -> Tensor:
        """Return the chance that nothing happens in the first so many days, at any horizons; shape (R, len(days)).

        Raises:
            ModelError: a horizon is negative, or beyond what the training data show.
        """
        parts = torch.as_tensor(self._within(days), dtype=torch.float32, device=params.device)
        return (-self._cumulative(params, parts)).exp()

    def median(self, params: Tensor) -> Tensor:
        """Return the days until the event has happened with a chance of one half, infinite if not by the last edge.

        Returns:
            Shape (R,). Added to ``at``, it is the date by which half of such users have ordered again.
        """
        hazard = functional.softplus(params)
        half = torch.full_like(hazard[:, :1], math.log(2))
        place = torch.searchsorted(hazard.cumsum(dim=1), half)
        at = place.clamp(max=len(self.spec.edges) - 1)
        columns = (hazard, _before(hazard), self.widths.expand_as(hazard), self.ends.expand_as(hazard))
        own, before, width, end = (each.gather(1, at) for each in columns)
        days = end - width + width * (half - before) / own
        return torch.where(place > at, torch.inf, days).squeeze(1)

    def restricted_mean(self, params: Tensor, days: float | None = None) -> Tensor:
        r"""Return the expected wait, where one longer than ``days`` (by default the last edge) counts as that long.

        The restricted mean :math:`\int_0^{days} S(t)\,dt` of Irwin (1949), exact for the hazard as it is interpolated.

        Returns:
            Shape (R,), in days. Added to ``at``, it is the expected date of the next order.

        Raises:
            ModelError: ``days`` is negative, or beyond what the training data show.
        """
        part = self._within([float(self.spec.edges[-1]) if days is None else days])
        parts = torch.as_tensor(part, dtype=torch.float32, device=params.device)
        hazard = parts * functional.softplus(params)
        safe = hazard.clamp(min=_SMALL)
        inside = torch.where(hazard < _SMALL, 1 - hazard / 2, -torch.expm1(-safe) / safe)
        return ((-_before(hazard)).exp() * inside * parts * self.widths).sum(dim=1)

    def _cumulative(self, params: Tensor, parts: Tensor) -> Tensor:
        return (functional.softplus(params).unsqueeze(1) * parts).sum(dim=2)

    def _within(self, days: Sequence[float]) -> Doubles:
        last = self.spec.edges[-1]
        for each in days:
            if not 0 <= each <= last:
                raise ModelError(f"{each:g} days", where="horizon", remedy=f"The head knows waits of 0 to {last} days.")
        return parts_before(self.spec.edges, days)


class Spend(Head):
    r"""Amounts that only grow with the horizon: what each horizon adds to the next shorter one, zero or lognormal.

    An increment is zero with chance 1 - p, else its logarithm is normal: the zero-inflated lognormal of Wang, Liu and
    Miao (2019), with mean :math:`p \, e^{\mu + \sigma^2 / 2}`. Totals are sums of means, so 30 <= 90 <= 365 days by
    construction. The exponent is held at the largest increment of the training labels: a mean beyond all that was ever
    seen comes from a variance that went wrong, not from the user.
    """

    log_scale: Tensor
    log_limits: Tensor

    def __init__(self, spec: HeadSpec, width: int, *, dropout: float, hidden: int = HIDDEN) -> None:
        super().__init__(spec, width, dropout=dropout, hidden=hidden)
        self.constant("log_scale", np.log(spec.scale))
        self.constant("log_limits", np.log(spec.limits))

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of spending at all, and where there is spending the density of it in units of ``scale``."""
        odds, mean, spread = self._parts(params)
        spent = labels > 0
        logs = torch.where(spent, labels, 1.0).log() - self.log_scale
        density = -functional.logsigmoid(odds) + logs + _gaussian(logs, mean, spread)
        return torch.where(spent, density, functional.softplus(odds)).mean()

    def raw(self, params: Tensor) -> Tensor:
        """Expected total of each horizon."""
        odds, mean, spread = self._parts(params)
        exponent = torch.minimum(mean + spread.square() / 2 + self.log_scale, self.log_limits)
        return (functional.logsigmoid(odds) + exponent).exp().cumsum(dim=1)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        odds, mean, spread = params.reshape(len(params), -1, 3).unbind(dim=2)
        return odds, mean, functional.softplus(spread) + NARROWEST


class Normal(Head):
    """Amounts that may be negative, or fall with the horizon: normal around a mean, each row with its own spread."""

    centre: Tensor
    scale: Tensor

    def __init__(self, spec: HeadSpec, width: int, *, dropout: float, hidden: int = HIDDEN) -> None:
        super().__init__(spec, width, dropout=dropout, hidden=hidden)
        self.constant("centre", spec.centre)
        self.constant("scale", spec.scale)

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """The density in units of ``scale``, the mean over rows and targets."""
        mean, spread = params.reshape(len(params), -1, 2).unbind(dim=2)
        standard = (labels - self.centre) / self.scale
        return _gaussian(standard, mean, functional.softplus(spread) + NARROWEST).mean()

    def raw(self, params: Tensor) -> Tensor:
        """Expected amount of each target."""
        return params[:, ::2] * self.scale + self.centre


class Categorical(Head):
    """One of several classes: a logarithm of the odds for each."""

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of numbers of classes, shape (R,) or (R, 1); the mean over rows."""
        return functional.cross_entropy(params, labels.reshape(len(params)).long())

    def raw(self, params: Tensor) -> Tensor:
        """Logarithm of the probability of each class."""
        return functional.log_softmax(params, dim=1)


class Ensemble(Head):
    """Heads of one kind, drawn apart and trained at once; parameters have the shape (members, R, P).

    Each has a loss of its own, and only what they say is averaged: Lakshminarayanan, Pritzel and Blundell (2017),
    Simple and scalable predictive uncertainty estimation using deep ensembles.
    """

    def __init__(self, spec: HeadSpec, members: Sequence[Head]) -> None:
        nn.Module.__init__(self)  # no tower of its own
        self.spec = spec
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Return the parameters that each member gives."""
        return torch.stack([member(x) for member in self.members])

    def loss(self, params: Tensor, labels: Tensor) -> Tensor:
        """The mean over members."""
        return torch.stack([head.loss(own, labels) for head, own in self._each(params)]).mean()

    def raw(self, params: Tensor) -> Tensor:
        """The mean over members: of log-odds, or of expected amounts."""
        return torch.stack([head.raw(own) for head, own in self._each(params)]).mean(dim=0)

    def _each(self, params: Tensor) -> Iterator[tuple[Head, Tensor]]:
        return zip(cast(Iterable[Head], self.members), params, strict=True)


def _log_softplus(x: Tensor) -> Tensor:
    return torch.where(x < _FAR_BELOW, x, functional.softplus(x.clamp(min=_FAR_BELOW)).log())


def _log_one_less(hazard: Tensor, log_hazard: Tensor) -> Tensor:
    """``log(1 - exp(-hazard))``, also where the hazard itself is too small for float32."""
    series = log_hazard - hazard / 2
    return torch.where(hazard < _SMALL, series, (-torch.expm1(-hazard.clamp(min=_SMALL))).log())


def _before(hazard: Tensor) -> Tensor:
    """The cumulative hazard at the start of each interval."""
    return functional.pad(hazard[:, :-1].cumsum(dim=1), (1, 0))


def _gaussian(value: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Negative logarithm of the normal density."""
    return ((value - mean) / spread).square() / 2 + spread.log() + math.log(2 * math.pi) / 2
