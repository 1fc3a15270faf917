from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from valuecast.report.flow import flow

CLOSING = "，。、）》"
TEXTS = st.text(alphabet="ab1 -.，。（）《》中文字🙂é", max_size=60)


def test_english_breaks_between_words() -> None:
    assert flow("the last purchase was long ago", 12) == "the last\npurchase was\nlong ago"


def test_chinese_breaks_anywhere_but_before_a_closing_mark() -> None:
    assert flow("从零训练（不使用）", 16) == "从零训练（不使\n用）"
    assert flow("过去 365 天内，退货", 12) == "过去 365 天\n内，退货"


def test_a_word_wider_than_the_line_is_folded() -> None:
    assert flow("ab abcdefgh", 4) == "ab\nabcd\nefgh"


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(4, 30))
def test_nothing_is_lost_and_nothing_is_too_wide(text: str, width: int) -> None:
    lines = flow(text, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="中文字", min_size=1, max_size=20), st.sampled_from(CLOSING), st.integers(6, 20))
def test_no_line_starts_with_a_closing_mark(text: str, mark: str, width: int) -> None:
    assert not any(line.startswith(mark) for line in flow(text + mark + text, width).split("\n"))
