"""What events were about."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shops import grocer, wholesaler
from valuecast.events.log import EventLog
from valuecast.sequences.titles import Roles, roles, shortened, told
from valuecast.sequences.words import CHARACTERS, cleaned

START = datetime(2021, 1, 1)
END = np.array([np.datetime64("2030-01-01", "us").astype(np.int64)])


def one(lines: list[tuple[float | None, str | None]], *, words: int = 8, language: str = "en") -> str | None:
    frame = pl.DataFrame(lines, schema={"size": pl.Float64, "item": pl.String}, orient="row")
    found = told(frame.with_columns(event=pl.lit(7, pl.Int64)), [["item"]], words=words, language=language)  # type: ignore[arg-type]
    return found["told"][0] if len(found) else None


def test_the_dearest_come_first_and_each_once() -> None:
    assert one([(1, "Red mug"), (9, "TEA"), (2, "red  mug"), (None, "bag")]) == "tea; red mug; bag"
    assert one([(1, "红色杯子"), (2, "茶")], language="zh") == "茶、红色杯子"
    assert one([(1, None), (2, " ")]) is None
    assert one([]) is None
    assert one([(1, "tea")], words=0) is None


def test_words_are_counted_and_the_remainder_of_a_title_is_not_told() -> None:
    long = "white hanging heart t-light holder with a candle"
    assert one([(1, long)], words=4) == "white hanging heart t-light"
    assert one([(2, long), (1, "red mug large")], words=6) == "white hanging heart; red mug large"
    assert one([(2, "a b c d e"), (1, "f g h")], words=4) == "a b; f g"
    assert one([(2, "a b c"), (1, "f g h"), (0, "last one")], words=5) == "a b c; f g"
    assert one([(3, "a b"), (2, "c d e"), (1, "f")], words=3) == "a b"
    assert one([(1, "白色心形烛台架")], words=2) == "白色心形"


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.none() | st.floats(allow_nan=False), st.none() | st.text(max_size=60)), max_size=6),
    st.integers(1, 9),
)
def test_any_text_is_one_bounded_line(lines: list[tuple[float | None, str | None]], words: int) -> None:
    found = one(lines, words=words)
    assert found is None or (found == found.strip() and "\n" not in found and len(found) <= 20 * words)
    assert one(lines[::-1], words=words) == found


def test_texts_of_users_are_cleaned() -> None:
    texts = ["Great\n\tTEA 😀!", "\x00\x07", "", None, "x" * 10_000_000, "ＴＥＡ  & "]
    found = cleaned(pl.Series(texts)).to_list()
    assert found == ["great tea 😀!", None, None, None, "x" * CHARACTERS, "tea"]
    assert shortened(pl.Series(["x" * CHARACTERS]), 2).item() == "x" * 32


def test_roles_of_columns() -> None:
    assert roles(grocer(), END) == [Roles("items.kind", None, ())]
    # four descriptions are as good as categories
    assert roles(wholesaler(), END) == [Roles(None, None, ("description",))]


def test_a_text_of_many_values_is_told_and_codes_and_constants_are_not() -> None:
    lines = 200
    frame = pl.DataFrame(
        {
            "user": ["u"] * lines,
            "time": [START + timedelta(days=i) for i in range(lines)],
            "item": [f"i{i % 100}" for i in range(lines)],
            "query": [f"tea number {i % 90} of all" for i in range(lines)],
            "session": [f"{i}af{i}" for i in range(lines)],
            "shop": ["London"] * lines,
            "country": ["France" if i % 2 else "Spain" for i in range(lines)],
            "city": [f"Town {i % 10}" for i in range(lines)],
            "gift": [i % 2 == 0 for i in range(lines)],
            "price": [float(i) for i in range(lines)],
        }
    )
    items = pl.DataFrame(
        {"item": [f"i{i}" for i in range(100)], "name": [f"mug no {i}" for i in range(100)], "brand": ["x", "y"] * 50}
    )
    found = roles(EventLog.from_frame(frame, items=items), END)
    assert found == [Roles("items.name", "query", ("city", "country"))]


@pytest.mark.parametrize("dated", [False, True])
def test_what_comes_later_decides_nothing(*, dated: bool) -> None:
    frame = pl.DataFrame(
        {
            "user": ["u"] * 400,
            "time": [START + timedelta(days=i) for i in range(400)],
            "item": [f"i{i}" for i in range(400)],
            "note": [f"note {i}" if i >= 200 else f"kind {'ab'[i % 2]}" for i in range(400)],
        }
    )
    items = pl.DataFrame(
        {"item": [f"i{i}" for i in range(400)], "name": [f"mug {i}" if i > 150 else "mug" for i in range(400)]}
    )
    if dated:
        items = items.with_columns(valid_from=pl.lit(START))
    when = START + timedelta(days=200)
    at = np.array([np.datetime64(when, "us").astype(np.int64)])
    whole, past = (EventLog.from_frame(each, items=items) for each in (frame, frame.filter(pl.col("time") < when)))
    assert roles(whole, at) == roles(past, at) == [Roles(None, None, ("items.name", "note"))]
    assert roles(whole, END) == [Roles("items.name", "note", ())]
    assert roles(whole, np.concatenate([at, END])) == [*roles(whole, at), *roles(whole, END)]
