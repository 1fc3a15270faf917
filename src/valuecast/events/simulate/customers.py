"""Who the customers are: everything about them that purchases depend on and that a log does not say.

Purchase rates lambda ~ Gamma(r, alpha), dropout probabilities p ~ Beta(a, b) and the rate nu ~ Gamma(q, gamma) of order
values are independent of each other (Fader, Hardie and Lee, Marketing Science 24 (2005) 275-284; Fader and Hardie,
"The Gamma-Gamma Model of Monetary Value" (2013), brucehardie.com/notes/025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from valuecast.events.simulate.catalogue import CATEGORIES, Index
from valuecast.events.simulate.season import Array
from valuecast.events.simulate.settings import Settings

CHUNK: Final = 1_024
"""Customers drawn together. A part of the result, like the seed: another number gives other customers."""
MINUTE: Final = 1 / (24 * 60)
VISIT: Final = 30 * MINUTE
"""Length of a visit in days; nobody joins earlier than that after the start."""
CHANNELS: Final = ("app", "web", "store")
REGIONS: Final = ("north", "east", "south", "west")
AGES: Final = ("18-29", "30-44", "45-59", "60+")
_CHANNEL_SHARES: Final = (0.4, 0.4, 0.2)
_RESPONSE: Final = np.array([1.8, 0.9, -0.4])  # by channel, 1 on average; in the store campaigns annoy
_LEAST_EFFECT: Final = -0.9
_LEAST_DROPOUT: Final = 1e-12  # a Beta with a small shape rounds to 0, at which nobody would ever leave
_MOOD: Final = 1.5


@dataclass(frozen=True)
class Customers:
    """Latent properties of ``CHUNK`` customers; each array has shape (customers), ``treated`` (customers, campaigns).

    Attributes:
        first: number of the first of them in the shop.
        joined: time of the first purchase, in days from the start.
        rate: lambda, purchases a day while the customer stays, at a season of 1.
        dropout: p, the probability of leaving after each repeat purchase.
        value_rate: nu, so that the mean value of an order is the setting p divided by it.
        effect: by which share of itself a campaign raises the rate, if the customer is treated.
        treated: whether the coin fell so, of campaigns that begin after ``joined``.
        browsing: visits without a purchase a day.
        mood: how content the customer is with everything; those who leave easily are less so.
        favourite: the category looked at most.
    """

    first: int
    joined: Array
    rate: Array
    dropout: Array
    value_rate: Array
    effect: Array
    treated: NDArray[np.bool_]
    browsing: Array
    mood: Array
    favourite: Index
    channel: Index
    region: Index
    age: Index

    def lift(self, settings: Settings, user: Index, days: Array) -> Array:
        """Return the factor by which campaigns change a customer's rate at a time; campaigns do not overlap."""
        if not settings.campaigns:
            return np.ones_like(days)
        starts = np.array([*settings.campaign_starts.values()])
        latest = np.searchsorted(starts, days, side="right") - 1
        moved = (latest >= 0) & (days < starts[latest] + settings.campaign_days) & self.treated[user, latest]
        return np.where(moved, 1 + self.effect[user], 1.0)


def draw_customers(settings: Settings, chunk: int, draw: np.random.Generator) -> Customers:
    """Draw the latent properties of a chunk of customers."""
    span = settings.days - VISIT
    joined = VISIT + draw.random(CHUNK) * settings.joining * span
    rate = draw.gamma(settings.r, 1 / settings.alpha, CHUNK)
    dropout = np.maximum(draw.beta(settings.a, settings.b, CHUNK), _LEAST_DROPOUT)
    channel = draw.choice(len(CHANNELS), CHUNK, p=_CHANNEL_SHARES)
    response = _RESPONSE[channel] * draw.gamma(2.0, 1 / 2.0, CHUNK)
    coin = draw.random((CHUNK, settings.campaigns)) < settings.treated
    return Customers(
        first=chunk * CHUNK,
        joined=joined,
        rate=rate,
        dropout=dropout,
        value_rate=draw.gamma(settings.q, 1 / settings.gamma, CHUNK),
        effect=np.maximum(settings.effect * response, _LEAST_EFFECT),
        treated=coin & (joined[:, None] < np.array([*settings.campaign_starts.values()])),
        browsing=settings.browsing * rate * draw.gamma(2.0, 1 / 2.0, CHUNK),
        mood=_MOOD * (0.5 - scipy.special.betainc(settings.a, settings.b, dropout)),
        favourite=draw.integers(len(CATEGORIES), size=CHUNK),
        channel=channel,
        region=draw.integers(len(REGIONS), size=CHUNK),
        age=draw.integers(len(AGES), size=CHUNK),
    )
