"""Formulas and words that the families of features share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from valuecast import columns as c
from valuecast.features.feature import ALL, Column, Feature, Window, phrase
from valuecast.language import Text

if TYPE_CHECKING:
    from valuecast.features.catalogue import FeatureSet

SHORT: Final = 90
"""Ratios look at the longest window up to this many days, at the longest of all, and at all history."""


def column(name: str, unit: str, label: Text, group: str, value: pl.Expr) -> Column:
    """Return a feature and how it follows from what is measured."""
    return Column(Feature(name, unit, label, group), value)


def within(words: Text, window: Window) -> Text:
    """Return ``words`` about a window."""
    return phrase("{words} {window}", "{window}{words}", words=words, window=window.text)


def total(name: str, window: Window) -> pl.Expr:
    """Return a sum over a window."""
    return pl.col(f"{name}@{window.key}")


def ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Return a quotient, null where there is nothing to divide by."""
    return pl.when(whole > 0).then(part / whole)


def spread(count: pl.Expr, sums: pl.Expr, squares: pl.Expr) -> pl.Expr:
    """Return the sample standard deviation (divisor n - 1) from a count, a sum and a sum of squares."""
    variance = (squares - sums * sums / count) / (count - 1)
    return pl.when(count >= 2).then(variance.clip(lower_bound=0.0).sqrt())


def days_since(moment: str) -> pl.Expr:
    """Return the days from a measured moment to ``at``."""
    return (pl.col(c.AT) - pl.col(moment)) / timedelta(days=1)


def short_and_all(spec: FeatureSet) -> tuple[Window, ...]:
    """Return the longest window up to ``SHORT`` days, if any, and all history."""
    short = [days for days in spec.windows if days <= SHORT]
    return (*(Window(days) for days in short[-1:]), ALL)


def longest_and_all(spec: FeatureSet) -> tuple[Window, ...]:
    """Return the longest window, if any, and all history."""
    return (*(Window(days) for days in spec.windows[-1:]), ALL)


def short_longest_and_all(spec: FeatureSet) -> tuple[Window, ...]:
    """Return the windows of both, each once."""
    return tuple(dict.fromkeys((*short_and_all(spec)[:-1], *longest_and_all(spec))))
