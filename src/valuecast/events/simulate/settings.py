"""What a synthetic shop is like."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from valuecast.errors import ConfigError
from valuecast.moments import moment

_POSITIVE: Final = ("r", "alpha", "a", "b", "p", "gamma")
_SHARES: Final = ("searches", "carts", "returns", "reviews", "loyalty")
_COUNTS: Final = ("browsing", "views")
_MOST_PER_DAY: Final = 1.0
"""Purchases a day of a mean customer; who gives more than that has hardly given alpha in days."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a synthetic shop is like; without seasonality and campaigns it is BG/NBD times Gamma-Gamma and nothing else.

    Attributes:
        users: how many customers there are.
        since: the first day, a date or time in UTC.
        days: how long the log is known for.
        joining: share of the span, from its start, within which customers first buy, evenly spread.
        seed: of everything random.
        r: shape of the purchase rates, lambda ~ Gamma(r, alpha): small where customers differ much.
        alpha: their scale in days; r / alpha is the mean number of purchases a day.
        a: of the dropout probabilities, p ~ Beta(a, b), after each repeat purchase.
        b: a / (a + b) is the mean dropout probability.
        p: shape of an order's value, Gamma(p, nu).
        q: of nu ~ Gamma(q, gamma), above 1.
        gamma: p gamma / (q - 1) is the mean value of an order.
        lines: mean number of lines of an order, at least 1.
        seasonality: how far the rates swing over the year, from 0 to below 1, and half as far over the week.
        campaigns: number of randomised campaigns, evenly spread over the span.
        campaign_days: how long a campaign moves those who were treated.
        treated: probability that a customer of a campaign is treated.
        effect: mean rise of the purchase rate of the treated, as a share of it.
        browsing: mean number of visits without a purchase for each purchase.
        views: mean number of items viewed in a visit beside those that are bought.
        searches: share of visits that begin with a search.
        carts: share of visits without a purchase that leave something in the cart.
        returns: share of lines sent back, about; the discontent send back more.
        reviews: share of lines reviewed.
        items: size of the catalogue, at least 12, one for each category.
        loyalty: share of looks at items that go to the customer's favourite category.
    """

    users: int = 1_000
    since: str = "2023-01-01"
    days: int = 730
    joining: float = 0.5
    seed: int = 0
    r: float = 0.7
    alpha: float = 20.0
    a: float = 0.8
    b: float = 4.0
    p: float = 6.0
    q: float = 4.0
    gamma: float = 20.0
    lines: float = 1.8
    seasonality: float = 0.3
    campaigns: int = 3
    campaign_days: int = 14
    treated: float = 0.5
    effect: float = 0.6
    browsing: float = 2.0
    views: float = 2.0
    searches: float = 0.2
    carts: float = 0.25
    returns: float = 0.06
    reviews: float = 0.1
    items: int = 600
    loyalty: float = 0.5

    def __post_init__(self) -> None:
        year = moment(self.since, where="since").year
        _require("since", self.since, 1970 <= year <= 2200, "Give a date from 1970 to 2200.")
        for name in ("users", "days", "campaign_days"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "Give at least 1.")
        _require("days", self.days, self.days <= 7_305, "Give at most 20 years.")
        _require("seed", self.seed, self.seed >= 0, "Give 0 or more.")
        _require("joining", self.joining, 0 < self.joining <= 1, "Give a share above 0, up to 1.")
        for name in _POSITIVE:
            _require(name, getattr(self, name), 1e-3 <= getattr(self, name) <= 1e6, "Give 0.001 to 1,000,000.")
        _require("q", self.q, 1 < self.q <= 1e6, "Give more than 1: up to it the mean value of an order is infinite.")
        mean = self.r / self.alpha
        _require("r / alpha", mean, mean <= _MOST_PER_DAY, f"Give up to {_MOST_PER_DAY:g}; alpha is in days.")
        _require("lines", self.lines, 1 <= self.lines <= 50, "Give 1 to 50.")
        _require("seasonality", self.seasonality, 0 <= self.seasonality < 1, "Give 0 to below 1.")
        _require("treated", self.treated, 0 < self.treated < 1, "Without either group no effect is known.")
        _require("effect", self.effect, 0 <= self.effect <= 5, "Give 0 to 5.")
        for name in _COUNTS:
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 50, "Give 0 to 50.")
        for name in _SHARES:
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "Give a share from 0 to 1.")
        _require("items", self.items, 12 <= self.items <= 10**6, "Give 12 to 1,000,000, one for each category or more.")
        room = max(self.days // self.campaign_days - 1, 0)
        fewer = f"{self.days} days have room for {room} of {self.campaign_days} days each, without overlap."
        _require("campaigns", self.campaigns, 0 <= self.campaigns <= room, fewer)

    @property
    def start(self) -> datetime:
        """The moment from which the log is known."""
        return moment(self.since)

    @property
    def until(self) -> datetime:
        """The moment until which it is known."""
        return self.start + timedelta(days=self.days)

    @property
    def campaign_starts(self) -> dict[str, float]:
        """When each campaign begins, by its name, in days from the start."""
        return {f"c{number}": self.days * number / (self.campaigns + 1) for number in range(1, self.campaigns + 1)}

    def to_dict(self) -> dict[str, Any]:
        """Plain facts, for a manifest."""
        return asdict(self)


def _require(name: str, value: object, holds: bool, remedy: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {value}", where="settings of the shop", remedy=remedy)
