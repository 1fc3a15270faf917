"""The words of texts."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.sequences.words import joined, words


def of(text: str | None) -> list[str]:
    return words(pl.Series([text], dtype=pl.String))["word"].to_list()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("COLD cereal, a cereal", ["cold", "cereal"]),
        ("Thé glacé ÉTÉ e\u0301te\u0301", ["thé", "glacé", "été"]),
        ("Чёрный чай", ["чёрный", "чай"]),
        ("AB12CD 500g 12x b4f0a 22", []),
        ("有机绿茶500g tea 茶", ["有机", "机绿", "绿茶", "tea", "茶"]),
        ("ＴＥＡ", ["tea"]),
        ("", []),
        (None, []),
    ],
)
def test_words_of_any_script(text: str | None, found: list[str]) -> None:
    assert of(text) == found


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | st.text("aB茶有1 é-", max_size=12), max_size=8))
def test_each_text_has_the_words_it_has_alone(texts: list[str | None]) -> None:
    found = words(pl.Series(texts, dtype=pl.String))
    assert [found.filter(pl.col("row") == row)["word"].to_list() for row in range(len(texts))] == list(map(of, texts))
    assert not found.is_duplicated().any()
    assert found["word"].str.len_chars().min() != 0


def test_texts_of_columns_are_joined_without_running_together() -> None:
    table = pl.DataFrame({"a": ["green", None], "b": ["tea", None]})
    assert words(joined(table, ["a", "b"]))["word"].to_list() == ["green", "tea"]
    assert joined(table, []).to_list() == ["", ""]
