"""From purchases and visits to the rows of a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from valuecast import columns as c
from valuecast.events.simulate import catalogue as words
from valuecast.events.simulate.catalogue import CATEGORIES, Catalogue, Index
from valuecast.events.simulate.customers import MINUTE, Customers
from valuecast.events.simulate.purchases import Purchases
from valuecast.events.simulate.season import Array
from valuecast.events.simulate.settings import Settings

FIELDS: Final = {"rating": "number", "text": "string", "campaign": "string"}
_US_PER_DAY: Final = 86_400_000_000
_CONTENT: Final = 3.9  # mean rating, before it is cut off at 1 and 5
_BY_QUALITY: Final = 0.5
_TEMPER: Final = 0.9  # what neither the item nor the customer explains
_SENT_BACK: Final = np.array([4.0, 2.5, 1.5, 0.8, 0.3])  # by rating, times the share of returns
_RETURN: Final = (1.0, 8.0)  # days after the purchase: the least, and the mean of what comes on top
_REVIEW: Final = (2.0, 5.0)
_SEARCH: Final = (25.0, 30.0)  # minutes before the end of a visit
_VIEW: Final = (5.0, 25.0)
_CART: Final = (1.0, 5.0)

_Columns = dict[str, Any]
_NO_EXPOSURE: Final = pl.DataFrame(
    schema={"row": pl.Int64, "days": pl.Float64, "campaign": pl.String, "event": pl.String}
)


def as_moment(settings: Settings, days: str) -> pl.Expr:
    """Turn a column of days from the start into moments, in whole microseconds; infinity becomes null."""
    passed = pl.when(pl.col(days).is_finite()).then((pl.col(days) * _US_PER_DAY).floor())
    return (pl.lit(settings.start, dtype=pl.Datetime("us")) + passed.cast(pl.Duration("us"))).alias(days)


def user_names(customers: Customers) -> pl.Series:
    """Return what the customers of a chunk are called in the log."""
    numbers = pl.int_range(customers.first, customers.first + customers.joined.size, eager=True)
    return "u" + numbers.cast(pl.String)


@dataclass(frozen=True)
class Scene:
    """A chunk of customers in their shop, and when they bought."""

    settings: Settings
    catalogue: Catalogue
    customers: Customers
    purchases: Purchases
    draw: np.random.Generator

    def rows(self, visits: tuple[Index, Array]) -> pl.DataFrame:
        """Return all events of the customers, canonical columns and ``FIELDS``, sorted by customer and time.

        After a customer left there is no event: what would be sent back or reviewed later is not.

        Args:
            visits: without a purchase: who, and when they end, in days.
        """
        lines = self._lines()
        reviewed = self.draw.random(lines["row"].size) < self.settings.reviews
        chance = self.settings.returns * _SENT_BACK[lines["rating"] - 1]
        sent_back = self.draw.random(lines["row"].size) < chance
        pieces = [
            *self._looks(*visits),
            self._before("view", lines, _VIEW, kept=("item",)),
            self._before("cart", lines, _CART, kept=("item",)),
            _piece(c.PURCHASE, lines, kept=("item", "order", "amount")),
            self._after(c.RETURN, _taken(lines, sent_back), _RETURN, kept=("item", "order", "amount")),
            self._after("review", self._reviews(_taken(lines, reviewed)), _REVIEW, kept=("item", "rating", "text")),
            *self._exposures(),
        ]
        return self._named(pl.concat(pieces, how="diagonal").sort("row", "days", maintain_order=True))

    def _lines(self) -> _Columns:
        """The lines of all orders; k lines worth Gamma(p/k, nu) each make an order worth Gamma(p, nu)."""
        draw, settings, customers = self.draw, self.settings, self.customers
        count = 1 + draw.poisson(settings.lines - 1, self.purchases.user.size)
        order = np.repeat(np.arange(count.size), count)
        row = self.purchases.user[order]
        item = self._pick(row)
        value = draw.standard_gamma(settings.p / count[order]) / customers.value_rate[row]
        content = _CONTENT + _BY_QUALITY * self.catalogue.quality[item] + customers.mood[row]
        return {
            "row": row,
            "days": self.purchases.days[order],
            "item": item,
            "order": order,
            "amount": np.maximum(np.round(value, 2), 0.01),
            "rating": np.clip(np.rint(content + _TEMPER * draw.normal(size=row.size)), 1, 5).astype(np.int64),
        }

    def _looks(self, idle: Index, ends: Array) -> list[pl.DataFrame]:
        """Searches, views of what is not bought then, and carts that are left."""
        draw, settings, bought = self.draw, self.settings, self.purchases
        row, days = np.concatenate([bought.user, idle]), np.concatenate([bought.days, ends])
        count = draw.poisson(settings.views, row.size)
        count[bought.user.size :] += 1  # who buys nothing has looked at something
        visit = np.repeat(np.arange(row.size), count)
        views = {"row": row[visit], "days": days[visit], "item": self._pick(row[visit])}
        first = (count.cumsum() - count)[bought.user.size :]
        carts = _taken(views, first[draw.random(first.size) < settings.carts])
        searches = _taken({"row": row, "days": days}, draw.random(row.size) < settings.searches)
        searches["text"] = words.search(draw, category=self._category(searches["row"]))
        return [
            self._before("search", searches, _SEARCH, kept=("text",)),
            self._before("view", views, _VIEW, kept=("item",)),
            self._before("cart", carts, _CART, kept=("item",)),
        ]

    def _reviews(self, lines: _Columns) -> _Columns:
        category = lines["item"] % len(CATEGORIES)
        return lines | {"text": words.review(self.draw, rating=lines["rating"], category=category)}

    def _exposures(self) -> list[pl.DataFrame]:
        """One for each treated customer who is there when the campaign begins; the others are not told apart."""
        found = [_NO_EXPOSURE]
        for number, (name, start) in enumerate(self.settings.campaign_starts.items()):
            row = np.flatnonzero(self.customers.treated[:, number] & (self.purchases.churned >= start))
            columns = {"row": row, "days": np.full(row.size, start), "campaign": np.full(row.size, name)}
            found.append(_piece("exposure", columns, kept=("campaign",)))
        return found

    def _pick(self, row: Index) -> Index:
        return self.catalogue.pick(self.draw, self._category(row))

    def _category(self, row: Index) -> Index:
        other = self.draw.integers(len(CATEGORIES), size=row.size)
        return np.where(self.draw.random(row.size) < self.settings.loyalty, self.customers.favourite[row], other)

    def _before(
        self, event: str, columns: _Columns, minutes: tuple[float, float], kept: tuple[str, ...]
    ) -> pl.DataFrame:
        low, high = minutes
        ahead = MINUTE * self.draw.uniform(low, high, columns["row"].size)
        return _piece(event, columns | {"days": columns["days"] - ahead}, kept=kept)

    def _after(self, event: str, columns: _Columns, delay: tuple[float, float], kept: tuple[str, ...]) -> pl.DataFrame:
        least, mean = delay
        days = columns["days"] + least + self.draw.exponential(mean, columns["row"].size)
        there = (days < self.settings.days) & (days < self.purchases.churned[columns["row"]])
        if event == c.RETURN:
            columns = columns | {"amount": -columns["amount"]}
        return _piece(event, _taken(columns | {"days": days}, there), kept=kept)

    def _named(self, events: pl.DataFrame) -> pl.DataFrame:
        """Replace numbers by names."""
        names, bought = user_names(self.customers), self.purchases
        orders = names.gather(bought.user) + "-" + pl.Series(bought.number + 1).cast(pl.String)
        return events.select(
            names.gather(events["row"]).alias(c.USER),
            as_moment(self.settings, "days").alias(c.TIME),
            c.EVENT,
            self.catalogue.table[c.ITEM].gather(events["item"]),
            c.AMOUNT,
            orders.gather(events["order"]).alias(c.ORDER),
            pl.col("rating").cast(pl.Float64),
            words.TEXTS.gather(events["text"]),
            "campaign",
        )


def _taken(columns: _Columns, kept: Any) -> _Columns:
    return {name: column[kept] for name, column in columns.items()}


def _piece(event: str, columns: _Columns, *, kept: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame({name: columns[name] for name in ("row", "days", *kept)}).with_columns(event=pl.lit(event))
