"""One encoding for many shops."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import DAYS, ITEMS, START, frames, log_of
from tests.shops import KINDS, grocer, wholesaler
from valuecast import columns as c
from valuecast.errors import LogError, ModelError
from valuecast.events.log import EventLog
from valuecast.sequences.clock import calendar, calendar_width
from valuecast.sequences.common import TYPES, learn_common, placed, shop_of
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.sequences import Sequences, encode

LINES = 400


@pytest.fixture(scope="module")
def shops() -> tuple[EventLog, EventLog]:
    return grocer(), wholesaler()


@pytest.fixture(scope="module")
def encodings(shops: tuple[EventLog, EventLog]) -> tuple[Encoding, ...]:
    return learn_common(shops)


def lines_of(**columns: Any) -> EventLog:
    """Lines of 10 users, one an hour in turn."""
    given = {"user": [f"u{i % 10}" for i in range(LINES)], "time": [START + timedelta(hours=i) for i in range(LINES)]}
    return EventLog.from_frame(pl.DataFrame({**given, **columns}), since=START, until=START + timedelta(days=100))


def codes_of(sequences: Sequences, event: int) -> dict[str, float]:
    """The words of an event, and their shares."""
    start, _ = sequences.encoding.span(c.ITEM) or (0, 0)
    values = ("?", *sequences.encoding.vocabularies[1].values)
    own = range(sequences.edges[event], sequences.edges[event + 1])
    return {values[sequences.codes[i] - start]: float(sequences.weights[i]) for i in own if sequences.codes[i] >= start}


def test_shops_have_one_encoding_and_each_its_own_part(encodings: tuple[Encoding, ...]) -> None:
    one, other = encodings
    assert placed(one, None) == placed(other, None)
    assert one.vocabularies[0].values == TYPES
    assert set(one.vocabularies[1].values) == {*" ".join(KINDS).split(), "premium"}
    assert (one.requires, other.requires) == ({"items.kind": "string"}, {"description": "string"})
    assert one.shop is not None
    assert other.shop is not None
    assert (one.shop.clock, other.shop.clock) == (True, False)
    assert one.shop.left_out == ("channel", "items.code")
    assert other.shop.amount > 100 * one.shop.amount


def test_items_of_two_shops_meet_in_their_words(
    shops: tuple[EventLog, EventLog], encodings: tuple[Encoding, ...]
) -> None:
    first, second = (encode(encoding, log) for encoding, log in zip(encodings, shops, strict=True))
    bags = [[codes_of(each, event) for event in range(200)] for each in (first, second)]
    assert {"green": 0.5, "tea": 0.5} in bags[0]
    assert {"premium": pytest.approx(1 / 3), "green": pytest.approx(1 / 3), "tea": pytest.approx(1 / 3)} in bags[1]
    for bag in (*bags[0], *bags[1]):
        assert not bag or sum(bag.values()) == pytest.approx(1)


def test_words_that_no_shop_had_are_unknown(encodings: tuple[Encoding, ...]) -> None:
    log = lines_of(item=["a"] * LINES, title=["Purple tea"] * (LINES // 2) + ["tea"] * (LINES // 2))
    shop = replace(shop_of(log), texts=("title",))
    found = encode(placed(encodings[0], shop), log)
    assert codes_of(found, 0) == {"?": 0.5, "tea": 0.5}


def test_a_types_name_must_be_a_canonical_one(encodings: tuple[Encoding, ...]) -> None:
    log = lines_of(event=["view", "wishlist"] * (LINES // 2))
    found = encode(placed(encodings[0], shop_of(log)), log)
    first = found.codes[found.edges[:-1]]
    assert set(first) == {0, 1 + TYPES.index("view")}


@settings(deadline=None, max_examples=8)
@given(frames, st.sampled_from([0.25, 100.0, 1000.0]))
def test_the_currency_is_of_no_account(frame: pl.DataFrame, unit: float) -> None:
    """All its amounts are so many times larger, and the sequences are the same."""
    dear = EventLog.from_frame(
        frame.with_columns(pl.col(c.AMOUNT) * unit), since=START, until=START + timedelta(days=DAYS), items=ITEMS
    )
    one, other = (learn_common([log])[0] for log in (log_of(frame), dear))
    assert placed(one, None) == placed(other, None)
    first, second = encode(one, log_of(frame)), encode(other, dear)
    np.testing.assert_array_equal(first.numbers, second.numbers)
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.weights, second.weights)


def test_the_order_of_shops_and_their_sizes_are_of_no_account(shops: tuple[EventLog, EventLog]) -> None:
    one, other = shops
    turned = learn_common([other, one])
    assert placed(turned[0], None).vocabularies == placed(learn_common([one, other])[0], None).vocabularies
    words = learn_common([one, other], limit=3)[0].vocabularies[1].values
    assert words[0] == "premium"  # on every line of one shop, though that has fewer lines
    assert len(words) == 3


def test_which_fields_describe_items() -> None:
    draw = np.random.default_rng(0)
    number = draw.integers(20, size=LINES)
    item = [f"i{i}" for i in number]
    word = ["tea", "coffee", "milk", "bread", "salt"]
    columns = {
        "title": [f"fine {word[i % 5]}" for i in number],
        "renamed": [f"{word[i % 5]} {'new' if draw.uniform() < 0.05 else 'old'}" for i in number],
        "country": ["Japan" if draw.uniform() < 0.9 else "China" for _ in number],
        "town": [f"town {word[draw.integers(5)]}" for _ in number],
        "everywhere": ["same"] * LINES,
        "sku": [f"A{i}B" for i in number],
        "member": [True, False] * (LINES // 2),
        "price": number * 1.5,
        "nothing": [None] * LINES,
    }
    found = shop_of(lines_of(item=item, **columns))
    assert found.texts == ("title", "renamed")
    assert set(found.left_out) == columns.keys() - {"title", "renamed"}
    assert shop_of(lines_of(**columns)).texts == ()  # no items
    alone = shop_of(lines_of(item=[f"i{i}" for i in range(LINES)], note=[f"note {word[i % 5]}" for i in range(LINES)]))
    assert alone.texts == ()  # nothing says that an item keeps its note


def test_an_items_own_name_may_be_its_text() -> None:
    named = lines_of(item=[f"{KINDS[i % 4]} {i % 4}" for i in range(LINES)])
    assert shop_of(named).texts == ("item",)
    (encoding,) = learn_common([named])
    assert encoding.requires == {}
    assert codes_of(encode(encoding, named), 0) == {"green": 0.5, "tea": 0.5}
    codes = ["POSTAGE", *(f"{i % 3}85B" for i in range(LINES - 1))]
    assert shop_of(lines_of(item=codes)).texts == ()


def test_texts_of_items_may_be_dated() -> None:
    items = pl.DataFrame(
        {"item": ["a", "a"], "valid_from": [START, START + timedelta(days=10)], "title": ["old tea", "new tea"]}
    )
    frame = {"user": ["u"] * 4, "time": [START + timedelta(days=day) for day in (1, 2, 11, 12)], "item": ["a"] * 4}
    log = EventLog.from_frame(pl.DataFrame(frame), items=items)
    found = encode(learn_common([log])[0], log)
    assert codes_of(found, 0) == {"old": 0.5, "tea": 0.5}
    assert codes_of(found, 3) == {"new": 0.5, "tea": 0.5}
    early = log.before(START + timedelta(days=10))
    assert learn_common([early])[0].vocabularies[1].values == ("old", "tea")


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"event": ["view"] * LINES},
        {"item": [f"i{i % 3}" for i in range(LINES)]},
        {"amount": [0.0] * LINES},
        {"amount": [float("nan"), -2.0] * (LINES // 2)},
        {"lines": ["some tea"] * LINES, "item": ["a"] * LINES},
    ],
    ids=["users and times", "views", "no texts", "free", "returns", "a field named lines"],
)
def test_odd_shops_are_read(columns: dict[str, Any], encodings: tuple[Encoding, ...]) -> None:
    log = lines_of(**columns)
    shop = shop_of(log)
    assert shop.amount == (2.0 if -2.0 in columns.get("amount", []) else 1.0)
    for encoding in (placed(encodings[0], shop), *learn_common([log]), learn_common([log, grocer(5)])[0]):
        found = encode(encoding, log)
        assert found.count == LINES
        assert found.codes.max() < encoding.codes
        assert not np.isinf(found.numbers).any()


def test_a_log_without_events_says_so() -> None:
    empty = lines_of().between(START + timedelta(days=50), START + timedelta(days=60))
    with pytest.raises(LogError, match="no events"):
        shop_of(empty)


def test_what_a_shop_does_not_have_is_not_shown(encodings: tuple[Encoding, ...]) -> None:
    time = np.array([START, START + timedelta(hours=7)], "datetime64[us]").astype(np.int64)
    shown = [calendar(encoding, time) for encoding in encodings]
    assert shown[0].shape == shown[1].shape == (2, calendar_width(encodings[0]))
    assert (shown[1][:, :2] == 0).all()  # its times are days
    assert (shown[0][:, :2] != 0).any()
    assert (shown[0][:, 4:] == 0).all()  # neither has seen a year
    np.testing.assert_array_equal(shown[0][:, 2:4], shown[1][:, 2:4])


def test_it_is_saved_and_knows_whose_log_it_reads(
    shops: tuple[EventLog, EventLog], encodings: tuple[Encoding, ...]
) -> None:
    for encoding in (*encodings, placed(encodings[0], None)):
        assert Encoding.from_dict(json.loads(json.dumps(encoding.to_dict()))) == encoding
    with pytest.raises(ModelError, match="must know which shop") as told:
        encode(placed(encodings[0], None), shops[0])
    assert "at_shop(log)" in (told.value.remedy or "")
    with pytest.raises(ModelError, match=r"no column 'items\.kind'"):
        encode(encodings[0], shops[1])
