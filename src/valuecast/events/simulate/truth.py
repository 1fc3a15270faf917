"""What is true of a synthetic shop: who left when, what is to be expected of whom, and what campaigns do.

A customer who is there at T buys at the rate lambda g(t) and leaves with probability p after each purchase. Let D be
the integral of g over [T, T+h), with g the season times the lift of campaigns that treat the customer. In the time that
D measures, purchases come at the rate lambda, and those after which the customer leaves at lambda p, so

    P(no purchase in [T, T+h))   = exp(-lambda D)
    E[purchases in [T, T+h))     = integral of lambda exp(-lambda p y) over y from 0 to D = (1 - exp(-lambda p D)) / p
    E[spend in [T, T+h))         = E[purchases] E[order value],  E[order value] = p' / nu

with p' the shape of order values. For D = h the second is E[X(t) | lambda, p] of Fader, Hardie and Lee, "'Counting
Your Customers' the Easy Way", Marketing Science 24 (2005) 275-284; the mean of an order is that of Fader and Hardie,
"The Gamma-Gamma Model of Monetary Value" (2013), brucehardie.com/notes/025. D has a closed form (``season``), so
nothing here is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.events.simulate.customers import Customers
from valuecast.events.simulate.purchases import Purchases
from valuecast.events.simulate.rows import as_moment, user_names
from valuecast.events.simulate.season import Array, Season
from valuecast.events.simulate.settings import Settings
from valuecast.moments import DAY, Moment, moment

_TREATMENTS: Final = {
    c.USER: pl.String,
    "campaign": pl.String,
    "treated": pl.Boolean,
    "there": pl.Boolean,
    "more_purchases": pl.Float64,
    "more_spend": pl.Float64,
    "more_buyers": pl.Float64,
}


@dataclass(frozen=True)
class Truth:
    """What is true of a shop; none of it is in the log.

    Attributes:
        settings: that the shop was made with.
        customers: ``user``; ``joined``, the time of the first purchase; ``churned``, that of the purchase after which
            the customer left, null for those still there at the end; ``rate``, purchases a day at a season of 1;
            ``dropout``, the probability of leaving after each repeat purchase; ``mean_value`` of an order; ``effect``,
            the share by which a campaign raises the rate, if the customer is treated.
        treatments: ``user, campaign``, one row for each customer who had joined when a campaign began; ``treated``, by
            the coin; ``there``, whether the customer had not left yet; and the effect of the treatment on what is to be
            expected within the campaign's days, 0 for those who had left: ``more_purchases``, ``more_spend`` and
            ``more_buyers``, the change of the probability of a purchase.
    """

    settings: Settings
    customers: pl.DataFrame
    treatments: pl.DataFrame

    def expected(self, at: Moment, days: float) -> pl.DataFrame:
        """Say what is to be expected of each customer in ``[at, at+days)``, by the state at ``at`` that nobody sees.

        A purchase is an order, of however many lines. Treatments count as they were assigned; after the end of the log
        there are no campaigns. Spend is before amounts are rounded to cents, at least one for each line.

        Returns:
            ``user, at`` of those who joined before ``at``; ``there``, whether they have not left; ``purchases`` and
            ``spend``, expected; ``no_purchase``, the probability of none.
        """
        at = moment(at)
        known = self.customers.filter(pl.col("joined") < at)
        there = known.select(pl.col("churned").is_null() | (pl.col("churned") >= at)).to_series()
        exposure = self._exposure(known, (at - self.settings.start) / DAY, days)
        rate, dropout, value = (known[name].to_numpy() for name in ("rate", "dropout", "mean_value"))
        purchases = np.where(there, expected_purchases(rate, dropout, exposure), 0.0)
        return known.select(
            c.USER,
            pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT),
            there.alias("there"),
            pl.Series("purchases", purchases),
            pl.Series("spend", purchases * value),
            pl.Series("no_purchase", np.where(there, np.exp(-rate * exposure), 1.0)),
        )

    def _exposure(self, known: pl.DataFrame, start: float, days: float) -> Array:
        """Return D of each customer over ``[start, start+days)``, in days from the start of the shop."""
        season, settings = Season(self.settings.seasonality, self.settings.start), self.settings
        exposure = np.full(len(known), _between(season, start, start + days))
        for campaign, begins in settings.campaign_starts.items():
            treated = self.treatments.filter(pl.col("campaign") == campaign, "treated")[c.USER]
            overlap = _between(season, max(start, begins), min(start + days, begins + settings.campaign_days))
            exposure += np.where(known[c.USER].is_in(treated.implode()), overlap * known["effect"].to_numpy(), 0.0)
        return exposure


def expected_purchases(rate: Array, dropout: Array, exposure: Array) -> Array:
    """Return E[purchases] of customers who are there, while the integral of g rises by ``exposure``."""
    found: Array = -np.expm1(-rate * dropout * exposure) / dropout
    return found


def customers_frame(settings: Settings, customers: Customers, purchases: Purchases) -> pl.DataFrame:
    """Return ``Truth.customers`` of a chunk."""
    drawn = pl.DataFrame(
        {
            c.USER: user_names(customers),
            "joined": customers.joined,
            "churned": purchases.churned,
            "rate": customers.rate,
            "dropout": customers.dropout,
            "mean_value": settings.p / customers.value_rate,
            "effect": customers.effect,
        }
    )
    return drawn.with_columns(as_moment(settings, name) for name in ("joined", "churned"))


def treatments_frame(settings: Settings, customers: Customers, purchases: Purchases) -> pl.DataFrame:
    """Return ``Truth.treatments`` of a chunk, sorted by campaign and customer."""
    season = Season(settings.seasonality, settings.start)
    found = [pl.DataFrame(schema=_TREATMENTS)]
    for number, (campaign, begins) in enumerate(settings.campaign_starts.items()):
        known = np.flatnonzero(customers.joined < begins)
        there = purchases.churned[known] >= begins
        rate, dropout = customers.rate[known], customers.dropout[known]
        plain = np.full(known.size, _between(season, begins, begins + settings.campaign_days))
        moved = plain * (1 + customers.effect[known])
        more = np.where(there, expected_purchases(rate, dropout, moved) - expected_purchases(rate, dropout, plain), 0.0)
        buyers = np.where(there, np.exp(-rate * plain) - np.exp(-rate * moved), 0.0)
        found.append(
            pl.DataFrame(
                {
                    c.USER: user_names(customers).gather(known),
                    "campaign": np.full(known.size, campaign),
                    "treated": customers.treated[known, number],
                    "there": there,
                    "more_purchases": more,
                    "more_spend": more * settings.p / customers.value_rate[known],
                    "more_buyers": buyers,
                },
                schema=_TREATMENTS,
            )
        )
    return pl.concat(found)


def _between(season: Season, start: float, until: float) -> float:
    """Return the integral of the season, 0 where there is no time between."""
    ends = season.integral(np.array([start, max(start, until)]))
    return float(ends[1] - ends[0])
