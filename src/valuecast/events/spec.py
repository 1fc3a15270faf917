"""The parts of a source mapping: which file, which rows, and which column is what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from valuecast.errors import SourceError
from valuecast.events.sources import address

REQUIRE: Final = "require"
DROP: Final = "drop"


@dataclass(frozen=True)
class Choice:
    """One entry of a ``map``: a value in the file, and what it becomes."""

    value: str
    becomes: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """Where one column of the log comes from: a column of the file, an SQL expression over it, or a constant.

    Attributes:
        map: values of the file and what they become; any other value rejects its row.
        format: of a time, in the letters of ``strptime``.
        zone: IANA name of the zone of times that carry no offset.
        unit: of a time that is a number: ``s``, ``ms`` or ``us`` since 1970.
        type: of a field or an attribute: ``string``, ``number`` or ``boolean``; inferred where it is not given.
    """

    column: str | None = None
    sql: str | None = None
    constant: str | None = None
    map: tuple[Choice, ...] = ()
    format: str | None = None
    zone: str | None = None
    unit: str | None = None
    type: str | None = None

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return self.column or self.sql or repr(self.constant)


@dataclass(frozen=True, kw_only=True)
class Field:
    """A column of the shop's own: its name in the log, and where it comes from."""

    name: str
    source: Column


@dataclass(frozen=True, kw_only=True)
class File:
    """Where the rows are, and how they are written: a file, a pattern of files with the same columns, or a database.

    Attributes:
        path: of the file or the files; empty for a database.
        sheet: of a workbook; the only one where it is not given.
        database: a DuckDB or SQLite file, a folder of files that a query reads, or the URL of PostgreSQL.
        table: of the database.
        query: in SQL, in place of a table.
        delimiter: between the cells of a CSV file; found from its first line where it is not given.
        header: whether the first line holds the column names.
        names: the column names of a CSV file or a sheet without a header.
        skip: lines before the header.
        quote: the quote character; empty where the file quotes nothing.
        encoding: of a CSV or JSON file, by Python's name for it.
        missing: texts that stand for a missing cell, beside the empty one.
    """

    path: str = ""
    sheet: str | None = None
    database: str | None = None
    table: str | None = None
    query: str | None = None
    delimiter: str | None = None
    header: bool = True
    names: tuple[str, ...] = ()
    skip: int = 0
    quote: str = '"'
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short name for messages and tables."""
        if self.database is not None:
            return f"{address.name(self.database)}: {self.table or 'query'}"
        return Path(self.path).name + (f": {self.sheet}" if self.sheet else "")

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.database or self.path

    def unplaced(self) -> Self:
        """Return how rows are read, without where they are: what they mean does not depend on it."""
        return replace(self, path="", sheet=None, database=None, table=None, query=None)


def check_file(file: File, *, where: str) -> None:
    """Refuse what no source can be.

    Raises:
        SourceError: keys are missing, exclude each other, or have no meaning.
    """
    for one, other in (("path", "database"), ("table", "query")):
        if getattr(file, one) and getattr(file, other):
            raise SourceError(f"{one} and {other} given", where=where, remedy="Give one of them.")
    if not file.place:
        remedy = 'Add path = "...", or database = "..." with table or query.'
        raise SourceError("no 'path'", where=where, remedy=remedy)
    if file.delimiter is not None and len(file.delimiter) != 1:
        raise SourceError("a delimiter is one character", where=where, remedy="Tab is \\t in TOML, $'\\t' in a shell.")
    if len(file.quote) > 1:
        raise SourceError("a quote is one character", where=where, remedy="Without quotes, write quote = ''.")
    if file.skip < 0:
        raise SourceError("skip is a number of lines", where=where, remedy="Give 0 or more.")
    if not file.header and not file.names:
        raise SourceError("no header and no names", where=where, remedy='Give names = ["user", "time", ...].')
    if file.header and file.names:
        remedy = "Add header = false, or remove names."
        raise SourceError("names are for a file without a header", where=where, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Source(File):
    """One file of events.

    Attributes:
        where: rows for which this SQL condition does not hold are left out, and counted.
        users: whether a row without a user is rejected (``require``) or left out and counted (``drop``).
    """

    user: Column
    time: Column
    event: Column = Column(constant="purchase")
    item: Column | None = None
    amount: Column | None = None
    order: Column | None = None
    fields: tuple[Field, ...] = ()
    where: str | None = None
    users: str = REQUIRE


@dataclass(frozen=True, kw_only=True)
class Side(File):
    """A file of attributes of items or users.

    Attributes:
        key: the column that holds the item or the user.
        static: attributes declared never to change, so that they cannot know the future.
        dated: attributes that hold from ``valid_from`` on.
        valid_from: the time from which a row holds.
    """

    key: Column
    static: tuple[Field, ...] = ()
    dated: tuple[Field, ...] = ()
    valid_from: Column | None = None

    @property
    def attributes(self) -> tuple[Field, ...]:
        """The attributes in use."""
        return self.static or self.dated
