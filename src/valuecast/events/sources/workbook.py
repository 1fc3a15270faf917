"""Sheets of workbooks: Excel's formats, and OpenDocument.

A sheet is read as the text of its cells, as if it had been exported as CSV: a cell is checked before it becomes a
number or a time, and a number that is a name loses its point. What a formula failed with is no text: such a cell is
told apart, and rejects its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import polars as pl

from valuecast.errors import MissingExtraError, SourceError, suggest
from valuecast.events.cells import TEXT
from valuecast.events.sources.shard import RENAME, Format, Shard, check_names, reason
from valuecast.events.spec import File

FAULT: Final = "an error in the workbook"
_ERRORS: Final = {
    "Div0": "#DIV/0!",
    "GettingData": "#GETTING_DATA",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
}
_Error = tuple[int, int, str]
"""Row and column, from 0, and the text of a cell whose formula failed."""
_FAILED: Final = re.compile(r"Error\((\w+)\)")


def open_workbook(path: Path, file: File, *, number: int) -> Shard:
    """Open a sheet. It is held in memory: no sheet has more than about a million rows.

    Args:
        path: of the workbook.
        file: which sheet, and where its header is.
        number: tells shards apart.

    Raises:
        SourceError: it is not a workbook, has no such sheet, or the sheet is empty.
        MissingExtraError: the package that reads it is not installed.
    """
    sheet, cells, errors = _read(path, file)
    place = f"{path}: {sheet}"
    names, body = _headed(cells, errors, file, place)
    columns = {name: (f"c{at}", TEXT) for at, name in enumerate(names)}
    body, faulty = _marked(body, errors, first=cells.height - body.height)
    filled = pl.any_horizontal(pl.all().is_not_null() & (pl.all() != ""))
    rows = body.filter(filled).to_arrow()
    return Shard(
        place,
        Format.WORKBOOK,
        f"sheet_{number}",
        columns,
        errors={names[at]: f"e{at}" for at in faulty},
        fault=FAULT,
        stream=lambda _: nullcontext(rows),
    )


def _read(path: Path, file: File) -> tuple[str, pl.DataFrame, list[_Error]]:
    """Return the name of the sheet, its cells as texts in columns c0, c1, ..., and its errors."""
    try:
        import fastexcel  # noqa: PLC0415 - an extra
    except ImportError:
        install = 'pip install "valuecast[excel]"'
        raise MissingExtraError("fastexcel", install=install, purpose=str(path)) from None
    try:
        book = fastexcel.read_excel(path)
        sheet = _sheet(book.sheet_names, file.sheet, where=str(path))
        loaded = book.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string")
        batch, found = loaded.to_arrow_with_errors()
    except fastexcel.FastExcelError as error:
        remedy = "Open it in a spreadsheet program, and save it anew."
        raise SourceError(f"not readable as a workbook: {reason(error)}", where=str(path), remedy=remedy) from None
    frame = pl.DataFrame([pl.Series(f"c{at}", batch.column(at), dtype=pl.String) for at in range(batch.num_columns)])
    return sheet, frame, [(*error.position, _text(error.detail)) for error in (found.errors if found else ())]


def _sheet(names: Sequence[str], wanted: str | None, *, where: str) -> str:
    if wanted in names:
        return str(wanted)
    if wanted is not None:
        raise SourceError(f"no sheet '{wanted}'", where=where, remedy=suggest(wanted, names))
    if len(names) != 1:
        remedy = f'Say which one: sheet = "..." (--sheet); they are: {", ".join(names)}.'
        raise SourceError(f"{len(names)} sheets", where=where, remedy=remedy)
    return names[0]


def _text(detail: str) -> str:
    found = _FAILED.search(detail)
    return _ERRORS.get(found[1], f"#{found[1].upper()}!") if found else detail


def _headed(cells: pl.DataFrame, errors: Sequence[_Error], file: File, place: str) -> tuple[list[str], pl.DataFrame]:
    """Return the names of the columns, and the rows below the header, which is the first row that is not empty."""
    used = 1 + max(
        *(at for at, column in enumerate(cells) if column.null_count() < len(column)),
        *(column for _, column, _ in errors),
        *(-1, -1),
    )
    below = enumerate(cells.slice(file.skip).iter_rows(), start=file.skip)
    at, first = next(((at, row) for at, row in below if any(row)), (0, ()))
    if not first:
        remedy = "Name another sheet, or skip fewer rows." if file.skip else "Name another sheet."
        raise SourceError("the sheet is empty", where=place, remedy=remedy)
    names = [(name or "").strip() or f"column{at}" for at, name in enumerate(file.names or first[:used], start=1)]
    if file.names and len(names) != used:
        remedy = f"The sheet has {used} columns, {len(names)} names are given."
        raise SourceError("names do not fit", where=place, remedy=remedy)
    check_names(names, place=place, remedy=RENAME)
    return names, cells[:, :used].slice(at + file.header)


def _marked(body: pl.DataFrame, errors: Sequence[_Error], *, first: int) -> tuple[pl.DataFrame, list[int]]:
    """Add a column e0, e1, ... with the errors of each column that has some, and return which have."""
    found: dict[int, list[str | None]] = {}
    for row, column, text in errors:
        if row >= first:
            found.setdefault(column, [None] * body.height)[row - first] = text
    return body.with_columns(pl.Series(f"e{at}", texts) for at, texts in found.items()), sorted(found)
