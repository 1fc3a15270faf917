"""When customers buy, when they leave, and when they come without buying.

A customer who is there buys at the rate lambda g(t), where g(t) is the season times the lift of campaigns, and leaves
with probability p after each repeat purchase. In the customer's own time G(t), the integral of g, that is BG/NBD;
without seasonality and campaigns G(t) = t and it is BG/NBD itself. Times are drawn exactly, by thinning a homogeneous
Poisson process (Lewis and Shedler, "Simulation of Nonhomogeneous Poisson Processes by Thinning", Naval Research
Logistics Quarterly 26 (1979) 403-413).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuecast.events.simulate.catalogue import Index
from valuecast.events.simulate.customers import Customers
from valuecast.events.simulate.season import Array, Season
from valuecast.events.simulate.settings import Settings


@dataclass(frozen=True)
class Purchases:
    """Orders of some customers, sorted by customer and time.

    Attributes:
        user: place of the customer among them.
        days: when, in days from the start.
        number: 0 for the first order of a customer, and so on.
        churned: when each customer left, after the order of that moment; infinite for those still there at the end.
    """

    user: Index
    days: Array
    number: Index
    churned: Array


def draw_purchases(settings: Settings, customers: Customers, draw: np.random.Generator) -> Purchases:
    """Draw the orders of customers up to the end of the span, or until they leave."""
    season = Season(settings.seasonality, settings.start)
    moved = np.where(customers.treated.any(axis=1), np.maximum(1 + customers.effect, 1), 1.0)
    bound = season.most * moved
    until = np.full_like(customers.joined, settings.days)
    user, days = _candidates(customers.rate * bound, customers.joined, until, draw)
    chance = season.at(days) * customers.lift(settings, user, days) / bound[user]
    bought = draw.random(days.size) < chance
    everyone = np.arange(customers.joined.size)
    user, days = np.concatenate([everyone, user[bought]]), np.concatenate([customers.joined, days[bought]])
    order = np.lexsort((days, user))
    user, days = user[order], days[order]
    number = np.arange(user.size) - np.searchsorted(user, everyone)[user]
    last = draw.geometric(customers.dropout)  # the repeat purchase after which the customer leaves
    left = number == last[user]
    churned = np.full_like(customers.joined, np.inf)
    churned[user[left]] = days[left]
    stays = number <= last[user]
    return Purchases(user[stays], days[stays], number[stays], churned)


def draw_visits(
    settings: Settings, customers: Customers, churned: Array, draw: np.random.Generator
) -> tuple[Index, Array]:
    """Draw the ends of visits without a purchase: who, and when in days; campaigns do not change them."""
    season = Season(settings.seasonality, settings.start)
    until = np.minimum(churned, settings.days)
    user, days = _candidates(customers.browsing * season.most, customers.joined, until, draw)
    kept = draw.random(days.size) * season.most < season.at(days)
    return user[kept], days[kept]


def _candidates(rate: Array, start: Array, until: Array, draw: np.random.Generator) -> tuple[Index, Array]:
    """Draw homogeneous Poisson processes in [start, until): whose, in order, and when, in no order."""
    length = until - start
    count = draw.poisson(rate * length)
    user = np.repeat(np.arange(rate.size), count)
    return user, start[user] + draw.random(user.size) * length[user]
