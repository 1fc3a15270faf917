"""Titles in phrases are varied, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from valuecast.events.log import EventLog
from valuecast.language import Language
from valuecast.sequences.textify import Phrases, phrases
from valuecast.training.augmentation.phrases import retitled, titles_of


def told(language: Language) -> Phrases:
    names = ["red mug", "green tea; 3 bags", "purchase: red", "red mug", "tin of 24"]
    events = pl.DataFrame(
        {
            "user": ["a", "a", "a", "b", "b"],
            "time": [START + timedelta(days=day) for day in (1, 1, 3, 2, 9)],
            "event": ["purchase", "purchase", "view", "purchase", "web: search"],
            "item": ["i0", "i1", "i2", "i0", "i3"],
            "amount": [3.5, 24.0, None, 3.5, None],
            "order": ["o1", "o1", None, "o2", None],
            "text": names,
        }
    )
    items = pl.DataFrame({"item": ["i0", "i1", "i2", "i3"], "title": names[:3] + names[4:]})
    log = EventLog.from_frame(events, since=START, until=START + timedelta(days=20), items=items)
    keys = pl.DataFrame({"user": ["a", "b", "a"], "at": [START + timedelta(days=day) for day in (10, 10, 2)]})
    return phrases(log, keys, language=language)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_titles_are_changed_and_nothing_else_is(language: Language) -> None:
    given = told(language)
    titles = titles_of(given)
    assert titles == sorted(set(titles))
    assert "red mug" in titles
    assert not any("ago" in title or "28" in title for title in titles)
    found = retitled(given, {title: f"<{title.upper()}>" for title in titles})
    assert found.language == language
    for row in range(len(given)):
        before, after = given.text(row), found.text(row)
        assert before != after
        assert after.replace("<", "").replace(">", "").lower() == before.lower()
        head = given.distinct[int(given.codes[given.starts[row]])]
        assert after.startswith(head)  # the head is as it was
    changed = "".join(found.distinct)
    assert "<RED MUG>" in changed
    # a colon of its own, in the name of a type or in a title: which one is the template's is plain in Chinese alone
    own = [text for text in found.distinct if "web: search" in text and "tin" in text]
    assert any("<TIN OF 24>" in text for text in own) == (language == "zh")
    amounts = [mark for mark in ("28", "3.5") if mark in "".join(given.distinct)]
    assert amounts
    assert all(mark in changed for mark in amounts)


def test_without_a_change_phrases_are_the_same() -> None:
    given = told("en")
    same = retitled(given, {title: title for title in titles_of(given)})
    assert same.distinct.to_list() == given.distinct.to_list()


def test_there_may_be_nothing_to_change() -> None:
    given = replace(
        told("en"), starts=np.zeros(1, np.int64), codes=np.zeros(0, np.int64), distinct=pl.Series([], dtype=pl.String)
    )
    assert titles_of(given) == []
    assert retitled(given, {}).distinct.to_list() == []
