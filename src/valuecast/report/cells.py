"""What a value looks like, in a table, on an axis and in a fact. One place, for the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from valuecast import moments
from valuecast.language import Text
from valuecast.report.blocks import Column, Format, Table, Words

MISSING = "–"
EPOCH = date(1970, 1, 1)
_PERCENT = ("percent", "share")
MINUS = "-"  # not the typographic one: it survives a spreadsheet, and every console can print it
_YES, _NO, _TO = Text("yes", "是"), Text("no", "否"), Text(" to ", " 至 ")
# A control character in a user's name could steer a terminal and is not allowed in HTML; lines are broken where shown.
_CONTROL = {code: " " if chr(code) in "\n\r\t" else "\ufffd" for code in [*range(32), *range(127, 160)]}


@dataclass(frozen=True)
class Cell:
    """A cell as it is read; ``interval`` goes beside or below the text, smaller; ``shade`` is from 0 to 1."""

    text: str
    interval: str = ""
    shade: float | None = None


@dataclass(frozen=True)
class Row:
    """The cells of a row, and whether the row stands out."""

    cells: tuple[Cell, ...]
    emphasised: bool


def words(text: Words, language: str) -> str:
    """Return a text in ``language``; a text of the data is the same in all."""
    return (text.to(language) if isinstance(text, Text) else text).translate(_CONTROL)


def show(value: object, form: Format = "text", *, language: str = "en") -> str:
    """Write a value; ``None`` and NaN are a dash."""
    if missing(value):
        return MISSING
    if form != "text":
        number = float(value)  # type: ignore[arg-type]  # a column with a numeric format holds numbers
        return _number(number, form, _decimals(number, form))
    if isinstance(value, bool):
        return (_YES if value else _NO).to(language)
    if isinstance(value, datetime):
        return moments.text(value)
    if isinstance(value, date):
        return value.isoformat()
    return words(value if isinstance(value, Text) else str(value), language)


def show_interval(value: object, low: object, high: object, form: Format, *, language: str = "en") -> Cell:
    """Write an estimate and its interval; the three share the decimals of the largest."""
    if form == "text" or missing(value) or missing(low) or missing(high):
        return Cell(show(value, form, language=language))
    numbers = [float(number) for number in (value, low, high)]  # type: ignore[arg-type]
    text, low_text, high_text = show_alike(numbers, form)
    # A dash between signed numbers would read as one more sign.
    signed = {low_text[0], high_text[0]} & {MINUS, "+"}
    return Cell(text, f"{low_text}{_TO.to(language) if signed else MISSING}{high_text}")


def show_alike(values: Sequence[float | None], form: Format) -> list[str]:
    """Write numbers that are read against each other: all share the decimals of the largest."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    decimals = _decimals(max(known, key=abs, default=0), form)
    return [MISSING if value is None or missing(value) else _number(value, form, decimals) for value in values]


def ticks(values: Sequence[float], form: Format) -> list[str]:
    """Write the values of an axis with as few decimals as tell them apart exactly."""
    if form == "date":
        return [_number(value, form, 0) for value in values]
    scaled = [100 * value for value in values] if form in _PERCENT else values
    span = max((abs(value) for value in scaled), default=0) or 1
    exact = (d for d in range(12) if all(abs(round(value, d) - value) < span * 1e-6 for value in scaled))
    decimals = 0 if form == "integer" else next(exact, 12)
    return [_number(value, form, decimals) for value in values]


def rows(table: Table, language: str) -> list[Row]:
    """Write all cells of a table."""
    frame = table.frame
    shaded = [column.name for column in table.columns if column.shaded]
    darkest = max((abs(value) for name in shaded for value in frame[name] if not missing(value)), default=0)
    columns = [_column(frame, column, language, darkest=darkest) for column in table.columns]
    rule = pl.lit(value=False) if table.emphasise is None else table.emphasise.fill_null(value=False)
    emphasised = frame.with_columns(rule.alias("emphasised"))["emphasised"]
    return [Row(tuple(cells), bold) for *cells, bold in zip(*columns, emphasised, strict=True)]


def _column(frame: pl.DataFrame, column: Column, language: str, *, darkest: float) -> list[Cell]:
    values: list[Any] = [column.words.get(v, v) if isinstance(v, str) else v for v in frame[column.name]]
    if column.shaded:
        return [
            Cell("") if missing(value) else Cell(show(value, column.format), shade=abs(value) / (darkest or 1))
            for value in values
        ]
    if column.alike:
        return [Cell(text) for text in show_alike(values, column.format)]
    if not column.interval:
        return [Cell(show(value, column.format, language=language)) for value in values]
    bounds = zip(values, frame[f"{column.name}_low"], frame[f"{column.name}_high"], strict=True)
    return [show_interval(value, low, high, column.format, language=language) for value, low, high in bounds]


def missing(value: object) -> bool:
    """Return whether a value is ``None`` or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _decimals(number: float, form: Format) -> int:
    scaled = abs(number) * (100 if form in _PERCENT else 1)
    # the exponent after rounding to 3 digits: 9.996 counts as 10.0
    exponent = int(f"{scaled:.2e}".partition("e")[2]) if scaled and math.isfinite(scaled) else 0
    if form in {"integer", "share", "date"}:
        return 0
    if form == "money":
        return 2 if exponent < 2 else 0
    return max(1, 1 - exponent) if form == "percent" else max(0, 2 - exponent)


def _number(number: float, form: Format, decimals: int) -> str:
    if math.isinf(number):
        return "∞" if number > 0 else f"{MINUS}∞"
    if form == "date":
        return (EPOCH + timedelta(days=round(number))).isoformat()
    scaled = abs(number) * (100 if form in _PERCENT else 1)
    digits = f"{scaled:,.{decimals}f}" if decimals <= 8 else f"{scaled:.2e}"
    nonzero = any(digit in "123456789" for digit in digits)
    sign = MINUS if number < 0 and nonzero else "+" if form == "signed" and nonzero else ""
    return f"{sign}{digits}{'%' if form in _PERCENT else ''}"
