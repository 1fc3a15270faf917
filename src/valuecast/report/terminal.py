"""A report in the terminal, and as plain text. Figures of bars are drawn in text; other figures are for the page."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text as Line

from valuecast.language import Text
from valuecast.report.blocks import BarFigure, Block, Notice, Paragraph, Report, Table
from valuecast.report.cells import words
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
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as printed:
        print_report(report, language=language, console=console)
    return "\n".join(line.rstrip() for line in printed.get().splitlines())


def _parts(report: Report, language: str, width: int) -> Iterator[RenderableType]:
    yield Line(words(report.title, language), style="bold")
    if report.subtitle is not None:
        yield Line(words(report.subtitle, language), style="dim")
    for notice in report.notices:
        yield _notice(notice, language)
    yield facts(report.facts, language)
    for section in report.sections:
        yield Line()
        yield Rule(Line(words(section.title, language), style="bold"), align="left", style="dim")
        for block in section.blocks:
            yield from _block(block, language, width)
    if report.made:
        yield Rule(style="dim")
        yield facts(report.made, language)


def _block(block: Block, language: str, width: int) -> Iterator[RenderableType]:
    match block:
        case Paragraph():
            yield Line(words(block.text, language))
        case Notice():
            yield _notice(block, language)
        case Table():
            yield Line("\n" + words(block.title, language), style="bold")
            yield from table(block, language, width)
            if block.caption is not None:
                yield Line(words(block.caption, language), style="dim")
        case BarFigure():
            yield Line("\n" + words(block.title, language), style="bold")
            yield bars(block, language)
        case _:
            pass  # lines and intervals say in text no more than the tables beside them


def _notice(notice: Notice, language: str) -> RenderableType:
    level = Line(f"{words(_LEVELS[notice.level], language)} ", style="bold")
    return Line.assemble(level, words(notice.text, language), style=_STYLES[notice.level])
