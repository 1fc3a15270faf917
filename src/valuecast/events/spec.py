"""The parts of a source mapping: which file, which rows, and which column is what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
    """A file, or a pattern of several with the same columns, and how a CSV file is written.

    Attributes:
        delimiter: between the cells of a CSV file; found from its first line where it is not given.
        header: whether the first line holds the column names.
        names: the column names of a CSV file without a header.
        skip: lines before the header.
        quote: the quote character; empty where the file quotes nothing.
        encoding: of a CSV or JSON file, by Python's name for it.
        missing: texts that stand for a missing cell, beside the empty one.
    """

    path: str
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
        return Path(self.path).name


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
