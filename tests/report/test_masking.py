"""Masked ids: never the id, never its length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from valuecast.report.masking import masked


def test_what_is_shown() -> None:
    assert masked("customer-13085") == "cu…85"
    assert masked("13085") == masked("") == "…"


@given(st.text(max_size=40))
def test_a_mask_shows_at_most_four_characters(id: str) -> None:  # noqa: A002
    shown = masked(id)
    assert len(shown) in (1, 5)
    assert len(id) >= 8 or shown == "…"
    assert id not in shown or not id or id == "…"
