"""Customers and all that is known of them, a chunk at a time, so that a shop can be larger than memory.

Everything random about a chunk comes from the seed and the chunk's number, by numpy's ``SeedSequence``. So the n-th
customer is the same in a shop of any size, and chunks could be drawn in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.events.simulate.catalogue import Catalogue
from valuecast.events.simulate.customers import AGES, CHANNELS, CHUNK, REGIONS, VISIT, Customers, draw_customers
from valuecast.events.simulate.purchases import draw_purchases, draw_visits
from valuecast.events.simulate.rows import Scene, as_moment, user_names
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.truth import customers_frame, treatments_frame


@dataclass(frozen=True)
class Chunk:
    """Some customers: ``events`` and ``users`` are the log's, ``customers`` and ``treatments`` those of ``Truth``.

    ``users`` and ``customers`` have one row for each customer, in the same order.
    """

    events: pl.DataFrame
    users: pl.DataFrame
    customers: pl.DataFrame
    treatments: pl.DataFrame

    def first(self, size: int) -> Chunk:
        """Return the first customers of the chunk."""
        users = self.users.head(size)
        kept = pl.col(c.USER).is_in(users[c.USER].implode())
        return Chunk(self.events.filter(kept), users, self.customers.head(size), self.treatments.filter(kept))

    def enough(self, events: int) -> int:
        """Return how many of its customers have so many events together; all of them where none are enough."""
        each = self.users.join(self.events.group_by(c.USER).len(), on=c.USER, how="left", maintain_order="left")
        return min(len(each), int(np.searchsorted(each["len"].cum_sum().to_numpy(), events)) + 1)


def chunks(settings: Settings, *, events: int | None = None) -> Iterator[Chunk]:
    """Draw the customers of a shop.

    Args:
        settings: what the shop is like.
        events: draw not ``settings.users`` customers but as many as it takes to have so many events.
    """
    catalogue = Catalogue.of(settings)
    left = settings.users if events is None else events
    for number in count():
        chunk = draw_chunk(settings, catalogue, number)
        size = min(CHUNK, left) if events is None else chunk.enough(left)
        if size < CHUNK:
            chunk = chunk.first(size)
        yield chunk
        left -= size if events is None else len(chunk.events)
        if left <= 0:
            return


def draw_chunk(settings: Settings, catalogue: Catalogue, number: int) -> Chunk:
    """Draw one chunk of customers."""
    draw = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(1, number)))
    customers = draw_customers(settings, number, draw)
    purchases = draw_purchases(settings, customers, draw)
    visits = draw_visits(settings, customers, purchases.churned, draw)
    return Chunk(
        events=Scene(settings, catalogue, customers, purchases, draw).rows(visits),
        users=_users(settings, customers),
        customers=customers_frame(settings, customers, purchases),
        treatments=treatments_frame(settings, customers, purchases),
    )


def _users(settings: Settings, customers: Customers) -> pl.DataFrame:
    """What customers say of themselves when they join, at the earliest possible beginning of their first visit."""
    return pl.DataFrame(
        {
            c.USER: user_names(customers),
            c.VALID_FROM: customers.joined - VISIT,
            "channel": np.array(CHANNELS)[customers.channel],
            "region": np.array(REGIONS)[customers.region],
            "age": np.array(AGES)[customers.age],
        }
    ).with_columns(as_moment(settings, c.VALID_FROM))
