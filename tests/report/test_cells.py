from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.language import Text
from valuecast.moments import moment
from valuecast.report.blocks import Column, Format, Table
from valuecast.report.cells import MISSING, Cell, rows, show, show_alike, show_interval, ticks, words

LABEL = Text("x", "x")


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (2818, "integer", "2,818"),
        (0.7771, "number", "0.777"),
        (0.7, "number", "0.700"),
        (9.996, "number", "10.0"),
        (616.2, "number", "616"),
        (12345.6, "number", "12,346"),
        (0.000123, "number", "0.000123"),
        (1.5e-9, "number", "1.50e-09"),
        (0, "number", "0.00"),
        (-0.25, "number", "-0.250"),
        (0.385, "percent", "38.5%"),
        (0.0311, "percent", "3.1%"),
        (0.00052, "percent", "0.052%"),
        (0.385, "share", "38%"),
        (17510, "date", "2017-12-10"),
        (12.3, "money", "12.30"),
        (-1234.5, "money", "-1,234"),
        (0.021, "signed", "+0.0210"),
        (-0.021, "signed", "-0.0210"),
        (0.0, "signed", "0.00"),
        (float("inf"), "number", "∞"),
        (float("nan"), "number", MISSING),
        (None, "money", MISSING),
        (None, "text", MISSING),
        (date(2011, 9, 10), "text", "2011-09-10"),
        (moment("2011-09-10T18:30"), "text", "2011-09-10T18:30:00"),
        (True, "text", "yes"),
    ],
)
def test_a_value_is_written_as_its_format_says(value: object, form: Format, expected: str) -> None:
    assert show(value, form) == expected


def test_words_of_ours_follow_the_language_and_words_of_the_data_do_not() -> None:
    assert show(value=False, language="zh") == "否"
    assert words(Text("users", "用户"), "zh") == "用户"
    assert words("Hülsta & Söhne", "zh") == "Hülsta & Söhne"


def test_control_characters_never_reach_a_terminal() -> None:
    assert words("a\x1b[31mb\nc\x00", "en") == "a\ufffd[31mb c\ufffd"


def test_an_interval_shares_the_decimals_of_its_largest_number() -> None:
    assert show_interval(0.0213, -0.00412, 0.0467, "signed") == Cell("+0.0213", "-0.0041 to +0.0467")
    assert show_interval(616.0, 95.31, 1200.0, "number") == Cell("616", "95–1,200")
    assert show_interval(-0.1, -0.2, 0.3, "number", language="zh") == Cell("-0.100", "-0.200 至 0.300")


@pytest.mark.parametrize(("value", "low", "high"), [(0.5, None, 0.6), (0.5, 0.4, float("nan"))])
def test_an_estimate_without_an_interval_stands_alone(value: float, low: float | None, high: float | None) -> None:
    assert show_interval(value, low, high, "number") == Cell("0.500")
    assert show_interval(None, low, high, "number") == Cell(MISSING)


def test_numbers_read_together_share_their_decimals() -> None:
    assert show_alike([2.31, 0.07, None, 0.5], "number") == ["2.31", "0.07", MISSING, "0.50"]
    assert show_alike([None], "number") == [MISSING]


def test_ticks_have_no_needless_decimals() -> None:
    assert ticks([0.0, 0.25, 0.5], "number") == ["0.00", "0.25", "0.50"]
    assert ticks([0.0, 0.2, 1.0], "percent") == ["0%", "20%", "100%"]
    assert ticks([0, 1000, 2000], "money") == ["0", "1,000", "2,000"]
    assert ticks([], "number") == []


@settings(deadline=None, max_examples=200)
@given(st.floats(-1e12, 1e12))
def test_a_number_can_be_read_back_to_three_digits(value: float) -> None:
    back = float(show(value, "number").replace(",", ""))
    assert back == pytest.approx(value, rel=0.005)


@settings(deadline=None, max_examples=100)
@given(st.floats(-1e6, 1e6), st.sampled_from(["integer", "number", "percent", "money", "signed"]))
def test_a_sign_is_never_written_before_nothing(value: float, form: Format) -> None:
    text = show(value, form)
    if text[0] in "+-":
        assert any(digit in "123456789" for digit in text)


def frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "model": ["a", "b"],
            "gini": [0.7, None],
            "gini_low": [0.6, None],
            "gini_high": [0.8, None],
            "best": [True, None],
        }
    )


def test_rows_hold_the_cells_in_the_order_of_the_columns() -> None:
    columns = (
        Column("gini", LABEL, "number", interval=True),
        Column("model", LABEL, words={"a": Text("first", "第一")}),
    )
    first, second = rows(Table(frame(), columns, LABEL, emphasise=pl.col("best")), "zh")
    assert first.cells == (Cell("0.700", "0.600–0.800"), Cell("第一"))
    assert second.cells == (Cell(MISSING), Cell("b"))
    assert (first.emphasised, second.emphasised) == (True, False)


def test_rows_stand_out_by_an_expression_over_columns_that_are_not_shown() -> None:
    table = Table(frame(), (Column("model", LABEL),), LABEL, emphasise=pl.col("gini") == pl.col("gini").max())
    assert [row.emphasised for row in rows(table, "en")] == [True, False]
    assert rows(Table(frame().clear(), (Column("model", LABEL),), LABEL), "en") == []


def test_shaded_cells_share_one_scale_and_the_unknown_are_empty() -> None:
    frame = pl.DataFrame({"name": ["a", "b"], "x": [0.25, 0.5], "y": [0.1, None]})
    shaded = (Column("x", LABEL, "share", shaded=True), Column("y", LABEL, "share", shaded=True))
    found = rows(Table(frame, (Column("name", LABEL), *shaded), LABEL), "en")
    assert found[0].cells[1:] == (Cell("25%", shade=0.5), Cell("10%", shade=0.2))
    assert found[1].cells[1:] == (Cell("50%", shade=1.0), Cell(""))


def test_dates_on_an_axis_are_days() -> None:
    assert ticks([17510.0, 17541.0], "date") == ["2017-12-10", "2018-01-10"]
