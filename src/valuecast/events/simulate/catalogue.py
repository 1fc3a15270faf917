"""What the shop sells, and what its customers write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.events.simulate.settings import Settings

Index = NDArray[np.int64]

CATEGORIES: Final = (
    "coffee", "tea", "chocolate", "wine", "kitchen", "garden", "books", "toys", "beauty", "sports", "music", "pets",
)  # fmt: skip
_BRANDS: Final = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Juniper", "Larch", "Maple", "Rowan", "Willow")
_SOUGHT: Final = ("cheap", "best", "new", "gift", "organic", "small")
_POPULARITY: Final = 0.8
"""Exponent of Zipf's law: the k-th best seller of a category is looked at k^-0.8 as often as the first."""

# A review is an opening, a middle and an ending, one of each for its rating, from 1 to 5.
_OPENINGS: Final = (
    ("Very disappointed with my {category} order", "A terrible {category} order", "My {category} order was awful"),
    ("Not happy with my {category} order", "A poor {category} order", "I expected more of my {category} order"),
    ("My {category} order was okay", "An average {category} order", "Mixed feelings about my {category} order"),
    ("Happy with my {category} order", "A good {category} order", "My {category} order was nice"),
    ("Delighted with my {category} order", "A perfect {category} order", "My {category} order was excellent"),
)
_MIDDLES: Final = (
    ("it arrived broken", "it stopped working at once", "it is worthless", "nobody answered my complaint"),
    ("it arrived late", "it feels cheap", "the box was damaged", "it is not as described"),
    ("it does what it should", "the delivery took a while", "nothing special", "fair for the price"),
    ("it arrived on time", "it works well", "good quality for the price", "friendly service"),
    ("it arrived early", "it works wonderfully", "the best quality I have seen", "outstanding service"),
)
_ENDINGS: Final = (
    ("Never again!", "I want my money back.", "Avoid it."),
    ("I would not buy it again.", "A pity.", "I cannot recommend it."),
    ("It will do.", "I may try another one.", "No more, no less."),
    ("I would buy it again.", "I can recommend it.", "Thank you."),
    ("I will certainly buy it again!", "I recommend it to everyone.", "I love it."),
)


@dataclass(frozen=True)
class Catalogue:
    """The items of a shop.

    Attributes:
        table: ``item, category, brand``; item k is of category k modulo the number of categories.
        quality: of each item, around 0; it shows in ratings.
    """

    table: pl.DataFrame
    quality: NDArray[np.float64]

    @classmethod
    def of(cls, settings: Settings) -> Catalogue:
        """Return the catalogue of a shop; it depends on the seed and on the number of items."""
        draw = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(0,)))
        number = np.arange(settings.items)
        width = len(str(settings.items - 1))
        table = pl.DataFrame(
            {
                c.ITEM: [f"i{each:0{width}}" for each in number],
                "category": np.array(CATEGORIES)[number % len(CATEGORIES)],
                "brand": np.array(_BRANDS)[draw.integers(len(_BRANDS), size=settings.items)],
            }
        )
        return cls(table, draw.normal(size=settings.items))

    def pick(self, draw: np.random.Generator, category: Index) -> Index:
        """Return an item of each category, the popular ones more often."""
        rank = np.searchsorted(self._popularity, draw.random(category.size), side="right")
        found = rank * len(CATEGORIES) + category
        return np.where(found < self.quality.size, found, category)

    @cached_property
    def _popularity(self) -> NDArray[np.float64]:
        weight = np.arange(1, -(-self.quality.size // len(CATEGORIES)) + 1) ** -_POPULARITY
        found: NDArray[np.float64] = weight.cumsum() / weight.sum()
        found[-1] = 1.0
        return found


_SENTENCES: Final = len(_OPENINGS[0]) * len(_MIDDLES[0]) * len(_ENDINGS[0])
TEXTS: Final = pl.Series(
    "text",
    [
        f"{opening.format(category=category)}: {middle}. {ending}"
        for openings, middles, endings in zip(_OPENINGS, _MIDDLES, _ENDINGS, strict=True)
        for category in CATEGORIES
        for opening, middle, ending in product(openings, middles, endings)
    ]
    + [f"{word} {category}" for category in CATEGORIES for word in _SOUGHT],
)
"""All that can be written; ``review`` and ``search`` give places in it."""


def review(draw: np.random.Generator, *, rating: Index, category: Index) -> Index:
    """Return the place of a review whose words agree with its rating, from 1 to 5."""
    place = (rating - 1) * len(CATEGORIES) + category
    return place * _SENTENCES + draw.integers(_SENTENCES, size=rating.size)


def search(draw: np.random.Generator, *, category: Index) -> Index:
    """Return the place of a search for something of a category."""
    reviews = len(_OPENINGS) * len(CATEGORIES) * _SENTENCES
    return reviews + category * len(_SOUGHT) + draw.integers(len(_SOUGHT), size=category.size)
