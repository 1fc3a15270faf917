"""Facts, tables and bars laid out in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.table import Table as Grid
from rich.text import Text as Line

from valuecast.report.blocks import BarFigure, Fact, Table
from valuecast.report.cells import Cell, rows, show, words

_GAP = 2
_WIDEST_NAME = 28  # of a row; a longer one wraps
_WIDEST_TEXT = 40  # in any other cell
_WIDEST_HEAD = 12  # over a column of numbers
_NARROWEST = 8
_BAR = 24
_EMPHASIS = "> "  # plain text knows no bold


def facts(given: Sequence[Fact], language: str) -> Grid:
    """Lay out facts, one a line."""
    grid = Grid.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    grid.add_column(max_width=_WIDEST_NAME)
    grid.add_column(overflow="fold")
    for fact in given:
        note = f"  {words(fact.note, language)}" if fact.note is not None else ""
        grid.add_row(
            Line(words(fact.label, language)), Line.assemble((words(fact.value, language), "bold"), (note, "dim"))
        )
    return grid


def table(given: Table, language: str, width: int) -> Iterator[Grid]:
    """Lay out a table: intervals beside the values where they fit, below them where they do not.

    Columns that still do not fit continue in a further grid, which names the rows again: no digit is ever cut.
    """
    strips = _strips(given, language, beside=True)
    if _total(strips) > width:
        strips = _strips(given, language, beside=False)
    emphasised = [row.emphasised for row in rows(given, language)]
    for group in _groups(strips, width):
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
        for strip in group:
            grid.add_column(strip.head, width=strip.width, justify="right" if strip.number else "left", overflow="fold")
        for bold, *cells in zip(emphasised, *(strip.cells for strip in group), strict=True):
            grid.add_row(*cells, style="bold" if bold else "")
        yield grid


def bars(figure: BarFigure, language: str) -> Grid:
    """Lay out bars, one a line, with their values; a figure with negative values is given in numbers alone."""
    values = [value for group in figure.groups for value in group.values if value is not None]
    scale = max(values, default=0)
    drawn = scale > 0 and min(values) >= 0
    grid = Grid.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    grid.add_column(max_width=_WIDEST_NAME, overflow="fold")
    grid.add_column(max_width=_WIDEST_NAME, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    for n, name in enumerate(figure.categories):
        for m, group in enumerate(figure.groups):
            value = group.values[n]
            length = round(_BAR * value / scale) if drawn and value is not None else 0
            label = words(group.label, language) if len(figure.groups) > 1 else ""
            grid.add_row(
                Line("" if m else words(name, language)),
                Line(label),
                Line(show(value, figure.y.format, language=language)),
                Line("█" * length),
            )
    return grid


@dataclass(frozen=True)
class _Strip:
    """One column of a table, written out."""

    head: Line
    cells: tuple[Line, ...]
    width: int
    number: bool


def _strips(given: Table, language: str, *, beside: bool) -> list[_Strip]:
    written = rows(given, language)
    strips = []
    for n, column in enumerate(given.columns):
        marks = [_EMPHASIS if row.emphasised and n == 0 else "" for row in written]
        cells = tuple(_line(row.cells[n], mark, beside=beside) for row, mark in zip(written, marks, strict=True))
        head, number = words(column.label, language), column.format != "text"
        widest = max((cell_len(part) for cell in cells for part in cell.plain.split("\n")), default=0)
        if number:
            least = max(min(cell_len(word), _WIDEST_HEAD) for word in (head, *head.split()))
            strips.append(_Strip(Line(head), cells, max(widest, least), number))
        else:
            most = _WIDEST_NAME if n == 0 else _WIDEST_TEXT
            strips.append(_Strip(Line(head), cells, min(max(widest, cell_len(head)), most), number))
    return strips


def _line(cell: Cell, mark: str, *, beside: bool) -> Line:
    interval = f"{' ' if beside else chr(10)}{cell.interval}" if cell.interval else ""
    return Line.assemble(mark, cell.text, (interval, "dim"))


def _groups(strips: list[_Strip], width: int) -> Iterator[list[_Strip]]:
    """Yield the columns that fit beside each other, the first one in every group."""
    name, *others = strips
    numbers = max((strip.width for strip in others if strip.number), default=0)
    name = replace(name, width=max(_NARROWEST, min(name.width, width - _GAP - numbers)))
    group = [name]
    for strip in others:
        other = strip if strip.number else replace(strip, width=min(strip.width, width - _GAP - name.width))
        if len(group) > 1 and _total([*group, other]) > width:
            yield group
            group = [name]
        group.append(other)
    yield group


def _total(strips: list[_Strip]) -> int:
    return sum(strip.width for strip in strips) + _GAP * (len(strips) - 1)
