"""Facts, tables and bars laid out in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.table import Table as Grid
from rich.text import Text as Line

from valuecast.report.blocks import BarFigure, Fact, Table
from valuecast.report.cells import Row, missing, rows, show_alike, words
from valuecast.report.flow import flow

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
    grid.add_column(max_width=_WIDEST_NAME, overflow="fold")
    grid.add_column(overflow="fold")
    for fact in given:
        note = "" if fact.note is None else f"  {words(fact.note, language)}"
        value = Line.assemble((words(fact.value, language), "bold"), (note, "dim"))
        grid.add_row(Line(words(fact.label, language)), value)
    return grid


def table(given: Table, language: str, width: int) -> Iterator[Grid | Line]:
    """Lay out a table: intervals beside the values where they fit, below them where they do not.

    Columns that still do not fit continue in a further grid, which names the rows again: no digit is ever cut.
    """
    written = rows(given, language)
    strips = _strips(given, written, language, between=" ")
    if _total(strips) > width:
        strips = _strips(given, written, language, between="\n")
    for n, group in enumerate(_groups(strips, width)):
        if n:
            yield Line()
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
        for strip in group:
            head = Line(flow(strip.head, strip.width))
            grid.add_column(head, width=strip.width, justify="right" if strip.number else "left", overflow="fold")
        for row, *cells in zip(written, *(strip.lines() for strip in group), strict=True):
            grid.add_row(*cells, style="bold" if row.emphasised else "")
        yield grid


def bars(figure: BarFigure, language: str) -> Grid:
    """Lay out bars, one a line, with their values; where a value is negative, the values alone."""
    known = [value for group in figure.groups for value in group.values if value is not None and not missing(value)]
    longest = max(known, default=0)
    drawn = longest > 0 and min(known) >= 0
    texts = [show_alike(group.values, figure.y.format) for group in figure.groups]
    grid = Grid.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for justify in ("left", "left", "right", "left"):
        grid.add_column(justify=justify)
    for n, category in enumerate(figure.categories):
        for m, group in enumerate(figure.groups):
            name = "" if m else flow(words(category, language), _WIDEST_NAME)
            label = flow(words(group.label, language), _WIDEST_TEXT // 2) if len(figure.groups) > 1 else ""
            value = group.values[n]
            length = 0 if value is None or missing(value) or not drawn else round(_BAR * value / longest)
            grid.add_row(*map(Line, (name, label, texts[m][n], "█" * length)))
    return grid


@dataclass(frozen=True)
class _Strip:
    """One column of a table, written out: each cell as its text and what follows it in smaller type."""

    head: str
    cells: tuple[tuple[str, str], ...]
    width: int
    number: bool

    def lines(self) -> Iterator[Line]:
        for text, small in self.cells:
            whole = text if self.number else flow(text, self.width)
            yield Line.assemble(whole, (small, "dim"))


def _strips(given: Table, written: list[Row], language: str, *, between: str) -> list[_Strip]:
    """Write out the columns, with the intervals on the same line or on the next one."""
    strips = []
    for n, column in enumerate(given.columns):
        head, number = words(column.label, language), column.format != "text"
        cells = []
        for row in written:
            mark = _EMPHASIS if row.emphasised and n == 0 else ""
            interval = row.cells[n].interval
            cells.append((mark + row.cells[n].text, between + interval if interval else ""))
        lines = [line for cell in cells for line in "".join(cell).split("\n")]
        if number:  # the values never wrap; the heading over them may, between words
            most, others = None, [min(cell_len(word), _WIDEST_HEAD) for word in (head, *head.split())]
        else:
            most, others = (_WIDEST_TEXT if n else _WIDEST_NAME), [cell_len(head)]
        width = max([*map(cell_len, lines), *others])
        strips.append(_Strip(head, tuple(cells), min(width, most or width), number))
    return strips


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
