"""What time itself says: of an event, and of the moment that a row asks about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from valuecast.sequences.batch import FloatArray, IntArray
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.reading import DAY

YEAR: Final = 365.2425
"""Days in the mean year; counted from 1970, the date of a season is right to a day."""
_THURSDAY: Final = 3
"""The weekday of 1970-01-01, Monday being 0."""


@dataclass(frozen=True)
class Past:
    """What lies behind each of R moments of users.

    Attributes:
        first: time of the user's first event; shape (R,).
        last: time of the last event before the moment; shape (R,).
        count: number of events before it; shape (R,).
        last_of: time of the last event of each of the encoding's kinds, ``first`` where there was none; shape (R, T).
        count_of: number of events of each kind; shape (R, T).
    """

    first: IntArray
    last: IntArray
    count: IntArray
    last_of: IntArray
    count_of: IntArray


def clock(encoding: Encoding, at: IntArray, past: Past) -> FloatArray:
    """Return what the moments ``at`` add to the states of users.

    A purchase may lie further back than the network sees, behind many views: so every kind of event has a clock.

    Args:
        encoding: whether there are seasons.
        at: moments, microseconds since 1970; shape (R,).
        past: what lies behind them.

    Returns:
        ``log(1 + x)`` of the days since the last event, of the days since the first and of the number of events, then
        of the days since the last event of each kind, then of their numbers; with seasons also sine and cosine of the
        day of the year. Shape (R, ``width(encoding)``).
    """
    since = np.log1p((at[:, None] - np.stack([past.last, past.first], axis=1)) / DAY)
    since_of = np.log1p((at[:, None] - past.last_of) / DAY)
    season = np.stack(_season(encoding, at), axis=1) if encoding.seasons else np.empty((len(at), 0))
    parts = [since, np.log1p(past.count)[:, None], since_of, np.log1p(past.count_of), season]
    return np.concatenate(parts, axis=1).astype(np.float32)


def width(encoding: Encoding) -> int:
    """Return the number of columns of ``clock``."""
    return 3 + 2 * len(encoding.kinds) + 2 * encoding.seasons


def names(encoding: Encoding) -> tuple[str, ...]:
    """Say what each column of ``clock`` is: ``silence``, ``tenure``, ``count`` or ``season``."""
    kinds = len(encoding.kinds)
    season = ("season",) * (2 * encoding.seasons)
    return ("silence", "tenure", "count", *("silence",) * kinds, *("count",) * kinds, *season)


def calendar(encoding: Encoding, time: IntArray) -> FloatArray:
    """Return sine and cosine of the hour (where times are finer than days), weekday and (with seasons) day of the year.

    Of what a common encoding shows, and its shop does not have, both are zero.

    Args:
        encoding: what there is of them.
        time: microseconds since 1970; shape (E,).

    Returns:
        Shape (E, ``calendar_width(encoding)``).
    """
    known = encoding.shop is None or encoding.shop.clock
    parts = _turn(time % DAY / DAY, known=known) if encoding.clock else []
    parts += _turn((time // DAY + _THURSDAY) % 7 / 7)
    return _stacked(parts + (_season(encoding, time) if encoding.seasons else []))


def calendar_width(encoding: Encoding) -> int:
    """Return the number of columns of ``calendar``."""
    return 2 + 2 * encoding.clock + 2 * encoding.seasons


def _season(encoding: Encoding, time: IntArray) -> list[NDArray[Any]]:
    return _turn(time / DAY / YEAR, known=encoding.shop is None or encoding.shop.seasons)


def _turn(turns: NDArray[Any], *, known: bool = True) -> list[NDArray[Any]]:
    angle = 2 * math.pi * turns
    return [np.sin(angle), np.cos(angle)] if known else [np.zeros_like(angle)] * 2


def _stacked(parts: list[NDArray[Any]]) -> FloatArray:
    return np.stack(parts, axis=-1).astype(np.float32)
