"""What is learned from a log about events."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from valuecast.errors import LogError
from valuecast.events.log import EventLog
from valuecast.sequences import learning
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.learning import learn

LINES = 400


def log_of(*, until_days: int = 100, items: pl.DataFrame | None = None, **columns: object) -> EventLog:
    """Lines of 10 users, one an hour in turn, with further columns."""
    given = {
        "user": [f"u{i % 10}" for i in range(LINES)],
        "time": [START + timedelta(hours=i) for i in range(LINES)],
        **columns,
    }
    return EventLog.from_frame(pl.DataFrame(given), since=START, until=START + timedelta(days=until_days), items=items)


def values(encoding: Encoding) -> dict[str, tuple[str, ...]]:
    return {vocabulary.column: vocabulary.values for vocabulary in encoding.vocabularies}


def edges(encoding: Encoding) -> dict[str, tuple[float, ...]]:
    return {number.name: number.edges for number in encoding.numbers}


def test_the_commonest_values_come_first_and_what_is_seen_once_has_no_code() -> None:
    items = ["b"] * 250 + ["a"] * 100 + ["c"] * 47 + [None, "once", "more"]
    events = ["view"] * 300 + ["purchase"] * 99 + ["review"]
    found = learn(log_of(item=items, event=events))
    assert values(found) == {"event": ("view", "purchase", "review"), "item": ("b", "a", "c")}
    assert values(learn(log_of(item=items), items=2))["item"] == ("b", "a")


def test_fields_and_attributes_of_items_are_used_where_they_differ() -> None:
    columns = {
        "item": [f"i{i % 4}" for i in range(LINES)],
        "colour": ["red", "blue"] * 200,
        "member": [True, None] * 200,
        "country": ["CN"] * LINES,
        "nothing": [None] * LINES,
        "discount": np.arange(LINES) % 3 / 10,
        "flat": np.ones(LINES),
    }
    items = pl.DataFrame({"item": ["i0", "i1", "i2"], "brand": ["x", "y", "x"], "weight": [1.0, 2.0, 4.0]})
    found = learn(log_of(items=items, **columns))
    assert list(values(found)) == ["event", "item", "colour", "member", "items.brand"]
    assert values(found)["member"] == ("true",)
    assert values(found)["items.brand"] == ("x", "y")
    assert list(edges(found)) == ["discount", "items.weight"]  # every gap is ten hours
    assert found.requires == {
        "colour": "string",
        "member": "boolean",
        "discount": "number",
        "items.brand": "string",
        "items.weight": "number",
    }


def test_a_name_is_no_category() -> None:
    draw = np.random.default_rng(0)
    item = [f"i{i % 100}" for i in range(LINES)]
    columns = {"session": [f"s{i // 2}" for i in range(LINES)], "note": [f"n{i}" for i in range(LINES)]}
    columns["town"] = [f"t{i}" for i in np.minimum(draw.geometric(0.03, LINES), 120)]
    titles = pl.DataFrame(
        {"item": [f"i{i}" for i in range(100)], "title": [f"title {i}" for i in range(100)], "kind": ["x", "y"] * 50}
    )
    found = values(learn(log_of(item=item, items=titles, **columns)))
    assert "note" not in found  # every value once
    assert "items.title" not in found  # one for each item
    assert {"town", "items.kind"} <= set(found)
    assert 64 < len(found["town"]) <= 120


def test_a_column_with_more_values_than_have_codes_is_kept_if_they_are_on_most_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learning, "VALUES", 100)
    even = learn(log_of(page=[f"p{i % 200}" for i in range(LINES)]))
    assert len(values(even)["page"]) == 100
    monkeypatch.setattr(learning, "VALUES", 99)
    assert "page" not in values(learn(log_of(page=[f"p{i % 200}" for i in range(LINES)])))


@pytest.mark.parametrize(("lines", "grouped"), [(1, False), (2, True)])
def test_lines_of_an_order_are_one_event_where_that_shortens_the_log(lines: int, *, grouped: bool) -> None:
    moments = [START + timedelta(hours=i // 10 // lines) for i in range(LINES)]
    found = learn(log_of(time=moments, order=[f"o{i % 10}" for i in range(LINES)]))
    assert found.grouped is grouped


def test_a_fifth_shorter_is_enough() -> None:
    def orders(merged: int) -> list[str]:
        return [f"o{max(i, merged)}" for i in range(LINES)]

    one_user = {"user": ["u"] * LINES, "time": [START] * LINES}
    assert learn(log_of(order=orders(80), **one_user)).grouped
    assert not learn(log_of(order=orders(79), **one_user)).grouped


def test_edges_are_strictly_rising_quantiles_in_single_precision() -> None:
    amounts = np.random.default_rng(0).lognormal(3, 1, LINES)
    found = edges(learn(log_of(amount=amounts)))["amount"]
    assert len(found) == 17
    assert (np.diff(np.array(found, np.float32)) > 0).all()
    assert found[0] == np.float32(amounts.min())
    assert found[-1] == np.float32(amounts.max())
    tied = edges(learn(log_of(amount=np.where(np.arange(LINES) % 100, 1.0, 1 + 1e-12))))
    assert "amount" not in tied  # one number in single precision


def test_amounts_that_are_no_numbers_are_missing_and_infinite_ones_are_bounded() -> None:
    amounts = np.tile([1.0, np.nan, 2.0, np.inf, -np.inf], LINES // 5)
    found = edges(learn(log_of(amount=amounts)))["amount"]
    assert found[0] == np.float32(-1e18)
    assert found[-1] == np.float32(1e18)
    assert np.isfinite(found).all()
    assert "amount" not in edges(learn(log_of(amount=np.full(LINES, np.nan))))


def test_times_and_span_decide_on_clock_and_seasons() -> None:
    days = [START + timedelta(days=i) for i in range(LINES)]
    assert not learn(log_of(time=days, until_days=LINES)).clock
    assert learn(log_of()).clock
    assert learn(log_of(until_days=365)).seasons
    assert not learn(log_of(until_days=364)).seasons


def test_a_large_log_is_learned_from_whole_users(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = [f"c{i % 10}" for i in range(LINES)]  # each user has a colour of their own
    log = log_of(colour=colours, event=[f"e{i % 10}" for i in range(LINES)])
    assert len(values(learn(log))["colour"]) == 10
    monkeypatch.setattr(learning, "SAMPLE", 100)
    found = learn(log)
    assert found == learn(log)
    assert 3 <= len(values(found)["colour"]) < 10
    assert len(values(found)["event"]) == 10


def test_what_cannot_be_learned_from_says_why() -> None:
    empty = log_of().between(START + timedelta(days=50), START + timedelta(days=60))
    with pytest.raises(LogError, match="no events to learn sequences from"):
        learn(empty)
    with pytest.raises(LogError, match=r"'lines'.*Give the field another name"):
        learn(log_of(lines=np.arange(LINES)))
    assert "lines" in values(learn(log_of(lines=["a", "b"] * 200)))  # a text is no number


@pytest.mark.parametrize(
    "frame",
    [
        {"user": ["u"], "time": [START]},
        {"user": ["u"] * 5, "time": [START] * 5},
        {"user": ["u", "v"], "time": [START, START], "item": [None, None], "amount": [float("nan"), None]},
    ],
)
def test_a_log_with_next_to_nothing_in_it_has_types_of_event_alone(frame: dict[str, list[object]]) -> None:
    found = learn(EventLog.from_frame(pl.DataFrame(frame)))
    assert values(found) == {"event": ("purchase",)}
    assert found.numbers == ()
