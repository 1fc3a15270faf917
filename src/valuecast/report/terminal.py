"""A report in the terminal, and as plain text. Figures of bars are drawn in text; other figures are for the page."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text as Line

from valuecast.language import Text
from valuecast.report.blocks import BarFigure, Block, Facts, Notice, Paragraph, Report, Table
from valuecast.report.cells import words
from valuecast.report.flow import flow
from valuecast.report.grid import bars, facts, table

_LEAST_WIDTH = 40
_LEVELS = {"info": Text("Note: ", "说明："), "warning": Text("Warning: ", "注意：")}
_STYLES = {"info": "cyan", "warning": "yellow"}


def print_report(report: Report, *, language: str = "en", console: Console | None = None) -> None:
    """Print a report in the terminal.

    Raises:
        ConfigError: there is no such language.
    """
    console = console or Console()
    for part in _parts(report, language, max(console.width, _LEAST_WIDTH)):
        console.print(part)


def to_text(report: Report, *, language: str = "en", width: int | None = None) -> str:
    """Write a report as plain text, as wide as the terminal unless ``width`` says otherwise.

    Raises:
        ConfigError: there is no such language.
    """
    width = max(width or shutil.get_terminal_size().columns, _LEAST_WIDTH)
    console = Console(
        file=io.StringIO(),
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    with console.capture() as printed:
        print_report(report, language=language, console=console)
    return "\n".join(line.rstrip() for line in printed.get().splitlines())


def _parts(report: Report, language: str, width: int) -> Iterator[RenderableType]:
    yield _flowing(report.title, language, width, style="bold")
    if report.subtitle is not None:
        yield _flowing(report.subtitle, language, width, style="dim")
    if report.notices:
        yield Line()
    for notice in report.notices:
        yield _notice(notice, language, width)
    if report.facts:
        yield Line()
        yield facts(report.facts, language)
    for section in report.sections:
        blocks = [parts for block in section.blocks if (parts := list(_block(block, language, width)))]
        if blocks:
            yield Line()
            yield Rule(Line(words(section.title, language), style="bold"), align="left", style="dim")
        for n, parts in enumerate(blocks):
            yield from [Line()] if n else []
            yield from parts
    if report.made:
        yield Line()
        yield Rule(style="dim")
        yield facts(report.made, language)


def _block(block: Block, language: str, width: int) -> Iterator[RenderableType]:
    match block:
        case Paragraph():
            yield _flowing(block.text, language, width)
        case Notice():
            yield _notice(block, language, width)
        case Facts():
            yield facts(block.facts, language)
        case Table():
            yield _flowing(block.title, language, width, style="bold")
            yield from table(block, language, width)
            if block.caption is not None:
                yield _flowing(block.caption, language, width, style="dim")
        case BarFigure():
            yield _flowing(block.title, language, width, style="bold")
            yield bars(block, language)
        case _:
            pass  # lines and intervals say in text no more than the tables beside them


def _flowing(text: Text, language: str, width: int, *, style: str = "") -> Line:
    return Line(flow(words(text, language), width), style=style)


def _notice(notice: Notice, language: str, width: int) -> Line:
    text = f"{words(_LEVELS[notice.level], language)}{words(notice.text, language)}"
    return Line(flow(text, width), style=_STYLES[notice.level])
