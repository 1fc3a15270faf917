"""The nouns of a report. They hold what was found; how it looks is decided where it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from valuecast.language import Text

Words = Text | str
"""A text of ours in both languages, or a text of the data, which has only one."""

Format = Literal["text", "integer", "number", "percent", "share", "money", "signed", "date"]
"""How a value is written; ``number`` has 3 significant digits, ``signed`` also carries its sign, ``share`` is a
percentage without decimals, and a ``date`` is counted in days from 1970."""

Numbers = tuple[float | None, ...]
"""Values to draw; ``None`` leaves a gap."""


@dataclass(frozen=True)
class Fact:
    """One thing to know at a glance: a label, its value as it is to be read, and what the value means."""

    label: Text
    value: Words
    note: Text | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table as it is shown.

    Attributes:
        name: column of the frame.
        label: heading.
        format: how its values are written; a missing value is a dash.
        interval: each cell is followed by its interval, from the columns ``{name}_low`` and ``{name}_high``.
        words: what is shown in place of a text in the cells; a text that is not in it is shown as it is.
        shaded: a cell is the darker, the larger its value is among all shaded cells of the table; a missing one is
            left empty.
        alike: all cells share the decimals of the largest.
    """

    name: str
    label: Text
    format: Format = "text"
    interval: bool = False
    words: Mapping[str, Text] = field(default_factory=dict)
    shaded: bool = False
    alike: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """Some columns of a frame. The first column names the rows.

    ``emphasise`` is a boolean expression over the frame: the rows where it holds stand out, for
    instance ``pl.col("best")`` or ``pl.col("gini") == pl.col("gini").max()``.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    title: Text
    caption: Text | None = None
    emphasise: pl.Expr | None = None


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures, how its values are written, and its limits where they do not follow the data."""

    label: Text
    format: Format = "number"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Reference:
    """A value to compare with: a line across the figure."""

    value: float
    label: Text


@dataclass(frozen=True)
class Series:
    """One line, with a band around it where ``low`` and ``high`` are given; all have the length of ``x``."""

    label: Words
    x: tuple[float, ...]
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None

    def __post_init__(self) -> None:
        _same_length(len(self.x), self.y, self.low, self.high)


@dataclass(frozen=True)
class LineFigure:
    """Lines over a numeric axis.

    With ``diagonal``, the label of the line y = x, both axes share their limits; ``mark`` is a line up from the x axis.
    """

    title: Text
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    diagonal: Text | None = None
    mark: Reference | None = None
    caption: Text | None = None

    def __post_init__(self) -> None:
        _not_empty(self.series)


@dataclass(frozen=True)
class Bars:
    """One bar per category of a figure, with a whisker where ``low`` and ``high`` are given."""

    label: Words
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None


@dataclass(frozen=True)
class BarFigure:
    """Bars from zero, side by side in each category; they lie down where the categories have long names."""

    title: Text
    x: Text
    y: Axis
    categories: tuple[Words, ...]
    groups: tuple[Bars, ...]
    reference: Reference | None = None
    caption: Text | None = None

    def __post_init__(self) -> None:
        _not_empty(self.categories)
        _not_empty(self.groups)
        for group in self.groups:
            _same_length(len(self.categories), group.values, group.low, group.high)


@dataclass(frozen=True)
class Span:
    """A value that holds from one place of an axis to another."""

    start: float
    end: float
    value: float


@dataclass(frozen=True)
class SpanFigure:
    """Bars from zero that are as wide as what they are about, in one colour above zero and another below."""

    title: Text
    x: Axis
    y: Axis
    spans: tuple[Span, ...]
    higher: Text
    lower: Text
    caption: Text | None = None

    def __post_init__(self) -> None:
        _not_empty(self.spans)


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; without a value it is listed as missing."""

    label: Words
    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: bool = False


@dataclass(frozen=True)
class IntervalFigure:
    """Estimates under each other, the best first; the interval of the baseline is shaded across all rows."""

    title: Text
    x: Axis
    estimates: tuple[Estimate, ...]
    higher_is_better: bool = True
    reference: Reference | None = None
    caption: Text | None = None

    def __post_init__(self) -> None:
        _not_empty(self.estimates)

    def ranked(self) -> tuple[Estimate, ...]:
        """Return the estimates, the best first and the missing ones last."""
        sign = -1 if self.higher_is_better else 1
        known = [e for e in self.estimates if e.value is not None and not math.isnan(e.value)]
        unknown = [e for e in self.estimates if e not in known]
        return (*sorted(known, key=lambda e: sign * (e.value or 0)), *unknown)


@dataclass(frozen=True)
class Facts:
    """Some facts beside each other."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: Text


@dataclass(frozen=True)
class Notice:
    """Something the reader must not miss."""

    text: Text
    level: Literal["info", "warning"] = "info"


Figure = LineFigure | BarFigure | IntervalFigure | SpanFigure
Block = Paragraph | Notice | Facts | Table | LineFigure | BarFigure | IntervalFigure | SpanFigure


@dataclass(frozen=True)
class Section:
    """A title and what belongs under it."""

    title: Text
    blocks: tuple[Block, ...]


@dataclass(frozen=True, repr=False)
class Report:
    """What was found.

    ``print(report)`` writes it as plain text, a notebook shows it as HTML, and ``report.html.write_html``
    writes it as one page. ``made`` says how it came about (version, command, date); none of it is looked
    up here, so the same report always renders to the same bytes.
    """

    title: Text
    subtitle: Text | None = None
    facts: tuple[Fact, ...] = ()
    notices: tuple[Notice, ...] = ()
    sections: tuple[Section, ...] = ()
    made: tuple[Fact, ...] = ()

    def __str__(self) -> str:
        from valuecast.report.terminal import to_text  # noqa: PLC0415 - the terminal builds on this file

        return to_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from valuecast.report.html import to_fragment  # noqa: PLC0415 - the page builds on this file

        return to_fragment(self)


def _not_empty(shown: Sequence[object]) -> None:
    if not shown:
        raise ValueError("a figure of nothing; leave it out")


def _same_length(expected: int, *columns: Numbers | None) -> None:
    lengths = {len(column) for column in columns if column is not None}
    if lengths != {expected}:
        raise ValueError(f"values of length {sorted(lengths)} for {expected} places")
