"""The features: from measured quantities to numbers with a unit and a name, family by family.

A measured quantity is a column of the table that ``valuecast.features.compute`` builds: sums as ``name@window``
(``spend@30d``, ``spend@all``), everything else under its own name. What does not exist, such as the mean of nothing,
is null; a count or a sum of nothing is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import polars as pl

from valuecast import columns as c
from valuecast.features import rhythm, worth
from valuecast.features.feature import Column, distinctly, phrase, slug
from valuecast.features.formula import column
from valuecast.language import Text

if TYPE_CHECKING:
    from valuecast.features.catalogue import FeatureSet

YEAR: Final = 365.25


def columns(spec: FeatureSet) -> tuple[Column, ...]:
    """Return every feature of ``spec`` and how it follows from what is measured."""
    return distinctly(feature for family in FAMILIES for feature in family(spec))


def calendar(spec: FeatureSet) -> Iterator[Column]:
    """The calendar of ``at``: without it a model cannot know that the season of ``at`` is not an average one.

    Only what comes round again: a count of days since some date is, at prediction, beyond all that was learned from,
    and trees would read every later season as the last one they saw. For the same reason a log shorter than a year
    has no season. The weekday is left out: a few dozen cutoffs have so few of each weekday that it names the cutoff.
    """
    if spec.seasons:
        angle = (pl.col(c.AT).dt.ordinal_day() - 1) * (2 * math.pi / YEAR)
        yield column("season_sin", "cycle", Text("Season (sine)", "季节（正弦）"), "calendar", angle.sin())
        yield column("season_cos", "cycle", Text("Season (cosine)", "季节（余弦）"), "calendar", angle.cos())


def users(spec: FeatureSet) -> Iterator[Column]:
    """Attributes of the user, as they were known before ``at``."""
    for vocabulary in spec.user_codes:
        codes = {value: float(code) for code, value in enumerate(vocabulary.values)}
        code = pl.col(vocabulary.column).replace_strict(codes, default=None, return_dtype=pl.Float64)
        yield _attribute(vocabulary.column, "code", code)
    for name in spec.user_numbers:
        yield _attribute(name, "value", pl.when(pl.col(name).is_finite()).then(pl.col(name)))


def _attribute(path: str, unit: str, value: pl.Expr) -> Column:
    name = path.removeprefix("users.")
    return column(f"user_{slug(name)}", unit, phrase("User: {name}", "用户属性：{name}", name=name), "user", value)


FAMILIES: tuple[Callable[[FeatureSet], Iterator[Column]], ...] = (
    rhythm.recency,
    rhythm.frequency,
    rhythm.trend,
    rhythm.gaps,
    worth.ratios,
    worth.baskets,
    rhythm.habits,
    worth.categories,
    worth.numbers,
    calendar,
    users,
)
