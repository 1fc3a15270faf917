"""The cells of a file of labelled texts, all of them as text, and messages that name row and column of a bad one."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import polars as pl

from valuecast.errors import SourceError, suggest

ROW = "__row__"
"""Number of a row in its file, from 1; the header and blank lines are not counted."""
NAMED = 3
"""Rows that a message names."""
_DELIMITERS = ",;\t|"


def read(path: Path, *, encoding: str = "utf-8") -> pl.DataFrame:
    """Read a CSV file, which may be gzipped, or a Parquet file.

    Returns:
        ``ROW`` and every column of the file as text; a cell that is empty or blank is null.

    Raises:
        SourceError: it cannot be read; the message names the row. Nothing of it is skipped.
    """
    if not path.exists():
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SourceError(
            "no such file", where=str(path), remedy=suggest(path.name, beside) if beside else "Check the folder."
        )
    if path.is_dir():
        raise SourceError("this is a folder", where=str(path), remedy="Give a file.")
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        with _opened(path, encoding) as stream:
            return _csv(path, stream)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"not {encoding}: byte {error.object[error.start]:#04x} cannot be read",
            where=str(path),
            remedy='Say how it is written: encoding = "gb18030" or "latin-1" under [reading] of the settings.',
        ) from None
    except LookupError:
        raise SourceError(
            f"no encoding '{encoding}'", where=str(path), remedy="Use utf-8, gb18030 or latin-1."
        ) from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise SourceError(f"not a whole gzip file: {error}", where=str(path), remedy="Copy it again.") from None


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[TextIO]:
    encoding = "utf-8-sig" if encoding.replace("_", "-").lower() in {"utf-8", "utf8"} else encoding
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        yield io.TextIOWrapper(stream, encoding=encoding, newline="")


def _csv(path: Path, stream: TextIO) -> pl.DataFrame:
    # A text may be of any length; csv refuses one of more than 128 kB unless told.
    before = csv.field_size_limit(sys.maxsize)
    try:
        first = stream.readline()
        if not first.strip():
            raise SourceError("the first line is empty", where=str(path), remedy="It must name the columns.")
        stream.seek(0)
        bare = "".join(first.split('"')[::2])
        reader = csv.reader(stream, delimiter=max(_DELIMITERS, key=bare.count), strict=True)
        return _frame(path, reader)
    finally:
        csv.field_size_limit(before)


def _frame(path: Path, reader: Iterator[list[str]]) -> pl.DataFrame:
    rows: list[list[str]] = []
    try:
        names = [name.strip() or f"column{place}" for place, name in enumerate(next(reader), 1)]  # as `ingest` does
        for row in filter(None, reader):  # csv makes an empty list of a blank line
            if len(row) != len(names):
                raise SourceError(
                    f"row {len(rows) + 1} has {len(row)} cells, the header {len(names)}",
                    where=str(path),
                    remedy='A text that holds the delimiter stands in quotes; a quote inside it is doubled: "".',
                )
            rows.append(row)
    except csv.Error as error:
        where = f"{path}: row {len(rows) + 1}"
        raise SourceError(f"{error}", where=where, remedy="Check its quotes: one may be open.") from None
    check_names(names, where=str(path))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    found = pl.DataFrame(
        {name: pl.Series(name, list(cells), dtype=pl.String) for name, cells in zip(names, columns, strict=True)}
    )
    return _numbered(found)


def _parquet(path: Path) -> pl.DataFrame:
    try:
        found = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"not a Parquet file: {error}", where=str(path), remedy="Copy it again.") from None
    return as_cells(found, where=str(path))


def as_cells(found: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return a frame as ``read`` returns a file; rows that have numbers keep them.

    Raises:
        SourceError: a column cannot be text, or two have one name.
    """
    check_names(found.columns, where=where)
    nested = [name for name, kind in found.schema.items() if kind.is_nested() or kind == pl.Binary]
    if nested:
        raise SourceError(f"column '{nested[0]}' is not text", where=where, remedy="Write it as text, or drop it.")
    texts = [
        (pl.col(name).cast(pl.Int8) if kind == pl.Boolean else pl.col(name)).cast(pl.String)
        for name, kind in found.schema.items()
        if name != ROW
    ]
    numbers = found[ROW] if ROW in found.columns else None
    return _numbered(found.select(texts), numbers)


def _numbered(found: pl.DataFrame, numbers: pl.Series | None = None) -> pl.DataFrame:
    blank = pl.when(pl.all().str.strip_chars() == "").then(None).otherwise(pl.all())
    given = pl.int_range(1, pl.len() + 1, dtype=pl.Int64) if numbers is None else numbers
    return found.with_columns(blank.name.keep()).select(given.alias(ROW), pl.all())


def check_names(names: list[str], *, where: str) -> None:
    """Refuse a header with a name twice.

    Raises:
        SourceError: so it is.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"two columns are called '{twice[0]}'", where=where, remedy="Rename one in the file.")


def wanted(found: pl.DataFrame, name: str, *, where: str, what: str) -> None:
    """Check that a column is there.

    Raises:
        SourceError: it is not.
    """
    if name not in found.columns:
        known = [each for each in found.columns if each != ROW]
        raise SourceError(f"no column '{name}' of {what}", where=where, remedy=suggest(name, known))


def bad(rows: pl.DataFrame, name: str, problem: str, *, where: str, remedy: str, shown: bool = True) -> SourceError:
    """Return the error about some rows: it names the first of them, with their cells.

    Args:
        rows: those that are bad, with ``ROW`` and the column.
        name: of the column.
        problem: what is wrong with them.
        where: of which file.
        remedy: what to do.
        shown: whether the cells are worth showing.
    """
    first = rows.head(NAMED)
    told = ", ".join(
        f"row {row} ({_short(cell)})" if shown else f"row {row}" for row, cell in first.select(ROW, name).iter_rows()
    )
    more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    return SourceError(f"column '{name}' {problem}: {told}{more}", where=where, remedy=remedy)


def _short(cell: object) -> str:
    text = "empty" if cell is None else str(cell)
    return f"'{text[:40]}…'" if len(text) > 40 else ("empty" if cell is None else f"'{text}'")
