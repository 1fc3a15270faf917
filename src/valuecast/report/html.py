"""A report as one HTML page that needs nothing else: no script, no font, no image, no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from valuecast.errors import ConfigError
from valuecast.language import Text
from valuecast.report.blocks import Block, Facts, Figure, Notice, Paragraph, Report, Table, Words
from valuecast.report.cells import rows, words
from valuecast.report.charts import draw

_CONTENTS_FROM = 5  # sections; a shorter page is scrolled faster than a table of contents is read
_DATE = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)")
_TAGS = Text("en", "zh-CN")
_WORDS = {
    "contents": Text("Contents", "目录"),
    "made": Text("How this was made", "生成信息"),
    "info": Text("Note", "说明"),
    "warning": Text("Warning", "注意"),
}


def write_html(report: Report, path: str | Path, *, language: str = "en") -> None:
    """Write a report as one HTML page; the file appears whole or not at all.

    Raises:
        ConfigError: there is no such language, or the file cannot be written.
    """
    page = to_html(report, language=language)
    draft = Path(path).with_name(f".{Path(path).name}")
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, encoding="utf-8", newline="\n")
        draft.replace(path)
    except OSError as error:
        remedy = "Give the path of a file that may be written."
        raise ConfigError(f"cannot write the report: {error.strerror}", where=str(path), remedy=remedy) from None


def to_html(report: Report, *, language: str = "en") -> str:
    """Render a report as a whole page; the same report gives the same text.

    Raises:
        ConfigError: there is no such language.
    """
    return _render("page.html.jinja", report, language, contents=len(report.sections) >= _CONTENTS_FROM)


def to_fragment(report: Report, *, language: str = "en") -> str:
    """Render a report as one element with its style, to be shown inside another page.

    Raises:
        ConfigError: there is no such language.
    """
    # Links to sections would collide with those of another report in the same notebook.
    return _render("fragment.html.jinja", report, language, contents=False)


def _render(template: str, report: Report, language: str, *, contents: bool) -> str:
    sections = [(section.title, list(_views(section.blocks, language))) for section in report.sections]
    return _environment(language).get_template(template).render(report=report, sections=sections, contents=contents)


def _views(blocks: tuple[Block, ...], language: str) -> Iterator[tuple[str, Any]]:
    """Yield the blocks as (macro, argument); neighbouring figures go side by side."""
    for together, group in groupby(blocks, key=lambda block: isinstance(block, get_args(Figure))):
        if together:
            yield "figures", [(figure, draw(figure, language)) for figure in group]  # type: ignore[arg-type]
            continue
        for block in group:
            match block:
                case Table():
                    yield "table", (block, rows(block, language))
                case Notice():
                    yield "notice", block
                case Paragraph():
                    yield "paragraph", block
                case Facts():
                    yield "facts", block.facts


def _prose(text: Words, language: str) -> Markup:
    """Write a text between tags: no line breaks inside a date."""
    escaped = str(escape(words(text, language)))
    return Markup(_DATE.sub(r'<span class="date">\g<0></span>', escaped))  # noqa: S704 - it is escaped


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("valuecast.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["words"] = partial(words, language=language)
    environment.filters["prose"] = partial(_prose, language=language)
    environment.globals["tag"] = _TAGS.to(language)
    environment.globals["chrome"] = {name: text.to(language) for name, text in _WORDS.items()}
    return environment
