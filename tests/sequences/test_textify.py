"""The text view: what a loop over a user's events writes, and nothing of what came later."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import DAYS, ITEMS, START, cutoffs, frames, log_of
from tests.shops import grocer, wholesaler
from valuecast.errors import ConfigError, LogError
from valuecast.events.log import EventLog
from valuecast.language import LANGUAGES, Language
from valuecast.sequences import reading
from valuecast.sequences.numerals import gap, number
from valuecast.sequences.textify import Phrases, phrases

USERS = ["u0", "u1", "u2", "u3", "nobody"]
UNTIL = START + timedelta(days=DAYS)
languages = st.sampled_from(LANGUAGES)


def keys_of(ats: list[datetime], users: list[str] = USERS) -> pl.DataFrame:
    return pl.DataFrame({"user": users}).join(pl.DataFrame({"at": ats}), how="cross")


def texts(found: Phrases) -> list[list[str]]:
    codes = [found.codes[a:b] for a, b in zip(found.starts[:-1], found.starts[1:], strict=True)]
    return [found.distinct.gather(each).to_list() for each in codes]


def naive(frame: pl.DataFrame, user: str, at: datetime) -> list[str]:
    """Write in English, line by line, what needs no column but the canonical ones."""
    order = ("time", "event", "order")
    lines = sorted(
        (line for line in frame.to_dicts() if line["user"] == user and line["time"] < at),
        key=lambda line: (line["time"], line["event"], line["order"] is None, line["order"] or ""),
    )
    events: list[dict[str, Any]] = []
    for (time, event, _), group in groupby(lines, key=lambda line: tuple(line[name] for name in order)):
        several = list(group)
        amounts = [line["amount"] for line in several if line["amount"] is not None]
        spent = [a for a in amounts if a > 0] if event == "purchase" else []
        events.append({"time": time, "event": event, "n": len(several), "amounts": amounts, "spent": spent})
    month = f"{at:%B}"
    if not events:
        return [f"{month}, nothing yet."]

    def ago(since: datetime, until: datetime) -> str:
        return gap((until - since) / timedelta(days=1), "en")

    head = [month, f"known for {ago(events[0]['time'], at)}"]
    counts = Counter(event["event"] for event in events)
    head += [
        f"{number(n, 'en')} {kind}{'' if n == 1 else 's'}"
        for kind, n in sorted(counts.items(), key=lambda found: (-found[1], found[0]))
    ]
    if spent := [amount for event in events for amount in event["spent"]]:
        head.append(f"spent {number(sum(spent), 'en')}")
    last = ago(events[-1]["time"], at)
    bought = [ago(event["time"], at) for event in events if event["event"] == "purchase"]
    head += [f"last event {last} ago"] if not bought or bought[-1] != last else []
    head += [f"last purchase {bought[-1]} ago"] if bought else []
    found, later = [", ".join(head) + "."], None
    for event in reversed(events):
        span = ago(event["time"], later or at)
        parts = [f"{span} earlier" if later else f"{span} ago"]
        if span == "0 minutes":
            parts = ["same time" if later else "just now"]
        kind, items = event["event"] if len(counts) > 1 else "", f"{event['n']} items" if event["n"] > 1 else ""
        parts += [" of ".join(filter(None, [kind, items]))] if kind or items else []
        parts += [number(sum(event["amounts"]), "en")] if event["amounts"] else []
        found.append(", ".join(parts) + ".")
        later = event["time"]
    return found


@settings(deadline=None, max_examples=6)
@given(frames, cutoffs)
def test_phrases_are_what_a_loop_over_lines_writes(frame: pl.DataFrame, ats: list[datetime]) -> None:
    frame = frame.drop("colour")
    keys = keys_of(ats)
    log = EventLog.from_frame(frame, since=START, until=UNTIL)
    assert texts(phrases(log, keys, language="en", words=0)) == [naive(frame, *key) for key in keys.iter_rows()]


@settings(deadline=None, max_examples=6)
@given(frames, frames, st.integers(1, DAYS - 1), languages)
def test_later_events_change_no_phrase(frame: pl.DataFrame, others: pl.DataFrame, day: int, language: Language) -> None:
    at = START + timedelta(days=day)
    past, future = frame.filter(pl.col("time") < at), others.filter(pl.col("time") >= at)
    if past.is_empty():
        return
    keys = keys_of([at, at - timedelta(hours=7)])
    wanted = texts(phrases(log_of(past), keys, language=language))
    whole = log_of(pl.concat([past, future]))
    assert texts(phrases(whole, keys, language=language)) == wanted
    assert texts(phrases(whole.before(at), keys, language=language)) == wanted
    # nor does asking about a later moment too
    later = pl.concat([keys, keys_of([UNTIL])])
    assert texts(phrases(whole, later, language=language))[: len(keys)] == wanted


@settings(deadline=None, max_examples=6)
@given(frames, cutoffs, st.integers(0, 30), st.integers(0, 5))
def test_a_text_does_not_depend_on_the_other_keys_nor_on_any_order(
    frame: pl.DataFrame, ats: list[datetime], seed: int, events: int
) -> None:
    keys = keys_of(ats)
    log = log_of(frame)
    whole = texts(phrases(log, keys, language="en"))
    order = np.random.default_rng(seed).permutation(len(keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_PER_PASS", 3)
        mixed = log_of(frame.sample(fraction=1, shuffle=True, seed=seed))
        assert texts(phrases(mixed, keys[order], language="en")) == [whole[i] for i in order]
    assert texts(phrases(log, keys[[seed % len(keys)]], language="en")) == [whole[seed % len(keys)]]
    # fewer events: the same beginnings
    assert texts(phrases(log, keys, language="en", events=events)) == [each[: events + 1] for each in whole]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shop", [grocer, wholesaler])
def test_whole_shops_are_future_blind(shop: Any, language: Language) -> None:
    log = shop(12)
    at = log.span.start + timedelta(days=150)
    users = log.collect(log.events.select("user").distinct().order_by("user"))["user"].to_list()
    keys = keys_of([at, at - timedelta(days=30)], users)
    found = phrases(log, keys, language=language)
    assert texts(found) == texts(phrases(log.before(at), keys, language=language))
    assert found.distinct.is_unique().all()
    assert found.distinct.is_sorted()
    assert max(map(len, found.distinct)) < 200


def day(n: float) -> datetime:
    return datetime(2021, 3, 1) + timedelta(days=n)


LINES = pl.DataFrame(
    [
        ("u", day(0), "signup_form", None, None, None, "UK", None),
        ("u", day(10), "purchase", "a1", 1_200.0, "o1", "UK", True),
        ("u", day(10), "purchase", "b2", 142.5, "o1", "UK", True),
        ("u", day(10), "purchase", "a1", 0.0, "o1", "UK", True),
        ("u", day(12), "return", "b2", -142.5, "o1", "UK", None),
        ("u", day(12), "view", "zz", None, None, "FR", False),
        ("v", day(20), "purchase", "b2", None, None, None, None),
    ],
    schema=["user", "time", "event", "item", "amount", "order", "land", "gift_wrap"],
    orient="row",
)
TITLES = pl.DataFrame({"item": ["a1", "b2"], "name": ["WHITE Hanging\nHeart", "红色 mug 😀"]})


def test_a_text_in_english() -> None:
    log = EventLog.from_frame(LINES, until=day(100), items=TITLES)
    found = phrases(log, keys_of([day(60)], ["u", "v", "w"]), language="en")
    assert found.text(0) == (
        "April, known for 8 weeks, 1 purchase, 1 return, 1 signup form, spent 13 hundred, last event 6 weeks ago,"
        " last purchase 7 weeks ago. 6 weeks ago, view, no gift wrap, fr: zz."
        " same time, return, minus 140, uk: 红色 mug 😀."
        " 2 days earlier, purchase of 3 items, 13 hundred, gift wrap, uk: white hanging heart; 红色 mug 😀."
        " 10 days earlier, signup form, uk."
    )
    assert found.text(1) == "April, known for 5 weeks, 1 purchase, last purchase 5 weeks ago. 5 weeks ago: 红色 mug 😀."
    assert found.text(2) == "April, nothing yet."
    assert found.text(0, phrases=2).endswith(": zz.")
    assert len(found) == 3


def test_a_text_in_chinese() -> None:
    log = EventLog.from_frame(LINES, until=day(100), items=TITLES)
    found = phrases(log, keys_of([day(60)], ["u", "w"]), language="zh")
    assert found.text(0) == (
        "4月，来店8周，1次购买，1次退货，1次signup form，共消费1300，最近一次行为在6周前，最近一次购买在7周前。"
        "6周前，浏览，非gift wrap，fr：zz。同时，退货，负140，uk：红色 mug 😀。"
        "再早2天，购买3项，1300，gift wrap，uk：white hanging heart、红色 mug 😀。再早10天，signup form，uk。"
    )
    assert found.text(1) == "4月，尚无记录。"


def test_what_has_not_changed_is_said_once() -> None:
    land = ["UK", "UK", "FR", "FR"]
    frame = pl.DataFrame({"user": ["u"] * 4, "time": [day(i) for i in range(4)], "land": land})
    log = EventLog.from_frame(frame, until=day(9))
    found = texts(phrases(log, keys_of([day(4)], ["u"]), language="en"))[0][1:]
    assert found == ["1 day ago, fr.", "1 day earlier.", "1 day earlier, uk.", "1 day earlier."]


def test_columns_of_a_shop_may_have_any_name() -> None:
    names = ["size", "place", "raw", "text", "owner", "row", "0", "role", "said", "about", "kind"]
    frame = pl.DataFrame({"user": ["u", "u"], "time": [day(0), day(1)], **{name: ["one x", "two y"] for name in names}})
    found = phrases(EventLog.from_frame(frame, until=day(9)), keys_of([day(3)], ["u"]), language="en")
    assert found.text(0).endswith("2 days ago, two y, two y. 1 day earlier, one x, one x.")


def test_texts_of_users_break_nothing() -> None:
    wild = ["🎁" * 50, "a\r\n\tb", "x" * 10_000_000, None, "", "\x00", "'; drop table"]
    frame = pl.DataFrame(
        {
            "user": ["u"] * 7,
            "time": [day(i) for i in range(7)],
            "event": ["view\n😀", " ", "y" * 1_000, "purchase", "purchase", "purchase", "purchase"],
            "item": wild,
            "note": wild[::-1],
            "amount": [float("nan"), float("inf"), -float("inf"), None, 1e300, 0.0, -0.0],
        }
    )
    for language in LANGUAGES:
        found = phrases(EventLog.from_frame(frame, until=day(9)), keys_of([day(8)], ["u"]), language=language)
        assert len(texts(found)[0]) == 8
        assert all("\n" not in text and len(text) < 400 for text in found.distinct)
        assert found.distinct.null_count() == 0


def test_what_is_no_key_is_refused() -> None:
    log = EventLog.from_frame(LINES, until=day(100))
    keys = keys_of([day(60)], ["u"])
    with pytest.raises(LogError, match="the keys have no 'at'"):
        phrases(log, keys.drop("at"), language="en")
    with pytest.raises(LogError, match="a key has no 'user'"):
        phrases(log, keys.with_columns(user=pl.lit(None)), language="en")
    with pytest.raises(LogError, match="'at' holds"):
        phrases(log, keys.with_columns(at=1), language="en")
    with pytest.raises(LogError, match="the log is known until"):
        phrases(log, keys.with_columns(at=day(101)), language="en")
    with pytest.raises(ConfigError, match="no language 'de'"):
        phrases(log, keys[:0], language="de")  # type: ignore[arg-type]


def test_nothing_asked_nothing_known() -> None:
    log = EventLog.from_frame(LINES, until=day(100), items=ITEMS)
    assert len(phrases(log, keys_of([day(60)], ["u"])[:0], language="en")) == 0
    early = phrases(log, keys_of([day(-5)]), language="en")
    assert texts(early) == [["February, nothing yet."]] * len(USERS)
    empty = log.between(day(50), day(60))
    assert phrases(empty, keys_of([day(60)], ["u"]), language="en").text(0) == "April, nothing yet."
    zoned = keys_of([day(60)], ["u"]).with_columns(pl.col("at").dt.replace_time_zone("Asia/Shanghai"))
    assert phrases(log, zoned, language="en", events=0).text(0).startswith("April, known for 8 weeks")
