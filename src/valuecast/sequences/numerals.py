"""Numbers and spans of time in words, so that they survive a tokenizer.

"1342.50" breaks into pieces whose worth depends on what stands beside them. Here a number has two significant figures
and a word for its magnitude: it is one to three pieces of WordPiece, and numbers of one magnitude share its word. Whole
figures come before the word ("13 hundred", not "1.3 thousand"), because a point costs two pieces.

Both kinds of reading are ladders: all there is to say, from small to large. So what is larger never reads smaller, and
many numbers are read at once by a search.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast.language import Language, Text
from valuecast.sequences.reading import DAY

LARGEST: Final = 15
"""Numbers beyond ten to this power, which no shop has, read as it."""
_THOUSANDS: Final = ("", " thousand", " million", " billion", " trillion", " thousand trillion")
_MYRIADS: Final = ("", "万", "亿", "万亿")
_YEAR: Final = 365.25


def number(value: float, language: Language) -> str:
    """Write a number with two significant figures; below one, with two decimals.

    Raises:
        ValueError: it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return str(numbers(sizes(np.array([value])), language)[0])


def gap(days: float, language: Language) -> str:
    """Write a span of time by its largest unit that is reached; whole units, but tenths of a few years.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (math.isfinite(days) and days >= 0):
        raise ValueError(f"{days} is no span of time")
    return str(gaps(spans(np.array([int(min(days, 1e6) * DAY)])), language)[0])


def sizes(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the size of each number: the number of its reading on the ladder of all, negative below zero."""
    edges, _ = _readings()
    size: NDArray[np.int64] = np.searchsorted(edges, np.abs(values), side="right").astype(np.int64) - 1
    size[values < 0] *= -1
    return size


def numbers(size: NDArray[np.int64], language: Language) -> pl.Series:
    """Write numbers of these sizes."""
    _, texts = _readings()
    return _written(texts, language).gather(size + len(texts) - 1)


def spans(gap_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the size of each span of microseconds: the number of its reading on the ladder of all."""
    edges, _ = _times()
    return np.searchsorted(edges, gap_us, side="right").astype(np.int64) - 1


def gaps(span: NDArray[np.int64], language: Language) -> pl.Series:
    """Write spans of time of these sizes; 0 is less than a minute."""
    return pl.Series([text.to(language) for text in _times()[1]]).gather(span)


@cache
def _readings() -> tuple[NDArray[np.float64], tuple[Text, ...]]:
    """Return all readings of numbers from zero, and where each begins: halfway from the one before."""
    below = [(i / 100, Text(_plain(i, 100), _plain(i, 100))) for i in range(100)]
    tens = [(figures, power) for power in range(-1, LARGEST - 1) for figures in range(10, 100)] + [(10, LARGEST - 1)]
    above = [(figures * 10.0**power, _reading(figures, power)) for figures, power in tens]
    values, texts = zip(*below, *above, strict=True)
    middles = (np.array(values[:-1]) + np.array(values[1:])) / 2
    return np.concatenate([[0.0], middles]), texts


def _reading(figures: int, power: int) -> Text:
    """Write ``figures`` (two of them) times ten to ``power``."""
    if power < 0:
        return Text(_plain(figures, 10), _plain(figures, 10))
    group, rest = divmod(power, 3)
    if rest < 2:
        en = f"{figures * 10**rest}{_THOUSANDS[group]}"
    elif figures % 10:
        en = f"{figures} hundred{_THOUSANDS[group]}"
    else:
        en = f"{figures // 10}{_THOUSANDS[group + 1]}"
    group = (power + 1) // 4
    rest = power - 4 * group
    return Text(en, (f"{figures * 10**rest}" if rest >= 0 else _plain(figures, 10)) + _MYRIADS[group])


def _plain(figures: int, divisor: int) -> str:
    return f"{figures / divisor:.2f}".rstrip("0").rstrip(".")


@cache
def _written(texts: tuple[Text, ...], language: Language) -> pl.Series:
    """Return the texts of all sizes, the negative ones first."""
    minus = Text("minus ", "负").to(language)
    above = [text.to(language) for text in texts]
    return pl.Series([minus + text for text in above[:0:-1]] + above)


@cache
def _times() -> tuple[NDArray[np.int64], tuple[Text, ...]]:
    """Return all readings of spans of time, and where each begins, in microseconds.

    A unit takes over at a whole number of it, so that no longer span reads shorter.
    """
    units = (
        (range(60), 1 / 1440, "minute", "分钟"),
        (range(1, 24), 1 / 24, "hour", "小时"),
        (range(1, 28), 1, "day", "天"),
        (range(4, 27), 7, "week", "周"),
        (range(6, 24), _YEAR / 12, "month", "个月"),
        ([i / 10 for i in range(20, 100)], _YEAR, "year", "年"),
        (range(10, 100), _YEAR, "year", "年"),
    )
    found = []
    for counts, days, en, zh in units:
        for count in counts:
            plural = "" if count == 1 else "s"
            found.append((round(count * days * DAY), Text(f"{count:g} {en}{plural}", f"{count:g}{zh}")))
    edges, texts = zip(*found, strict=True)
    return np.array(edges), texts
