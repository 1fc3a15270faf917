"""Changes what phrases say of items, and nothing else of them.

The head of a text, moments, counts and amounts are the numbers that a model should learn from; the titles behind the
colon of an event's phrase are words, which may be others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl

from valuecast.language import Text
from valuecast.sequences.textify import Phrases

_COLON: Final = Text(": ", "：")
_BETWEEN: Final = Text("; ", "、")
_STOP: Final = Text(".", "。")


def titles_of(phrases: Phrases) -> list[str]:
    """Return the titles that events' phrases end with, each once, sorted.

    Those of a phrase with two colons are left out: one of these is a title's or a type's own, and nothing says which.
    """
    between = _BETWEEN.to(phrases.language)
    return sorted({title for _, titles in _split(phrases) if titles for title in titles.split(between)})


def retitled(phrases: Phrases, others: Mapping[str, str]) -> Phrases:
    """Return the same texts with other titles.

    Args:
        phrases: as ``valuecast.sequences.textify.phrases`` writes them.
        others: what to say instead of each of ``titles_of(phrases)``.

    Returns:
        Phrases in the same places; those that have become the same are there twice.
    """
    between, stop = _BETWEEN.to(phrases.language), _STOP.to(phrases.language)
    written = [
        before + between.join(others[title] for title in titles.split(between)) + stop if titles else before
        for before, titles in _split(phrases)
    ]
    return replace(phrases, distinct=pl.Series(phrases.distinct.name, written, pl.String))


def _split(phrases: Phrases) -> Iterator[tuple[str, str]]:
    """Yield each phrase up to its titles, and these; the whole where it has none."""
    colon, stop = _COLON.to(phrases.language), _STOP.to(phrases.language)
    heads = np.zeros(len(phrases.distinct), np.bool_)
    heads[phrases.codes[phrases.starts[:-1][np.diff(phrases.starts) > 0]]] = True
    for text, head in zip(phrases.distinct, heads.tolist(), strict=True):
        before, mark, titles = text.removesuffix(stop).partition(colon)
        yield (text, "") if head or not titles or colon in titles else (before + mark, titles)
