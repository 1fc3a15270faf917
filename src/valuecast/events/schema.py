"""The canonical event table: its columns, its types, and the identity of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import LogError, SourceError


class Kind(StrEnum):
    """Type of a field that a shop adds to the canonical columns."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"

    @property
    def sql(self) -> str:
        """Type of the column in SQL."""
        return {"string": "VARCHAR", "number": "DOUBLE", "boolean": "BOOLEAN"}[self.value]


CANONICAL_TYPES: dict[str, str] = {
    c.ID: "VARCHAR",
    c.USER: "VARCHAR",
    c.TIME: "TIMESTAMP",
    c.EVENT: "VARCHAR",
    c.ITEM: "VARCHAR",
    c.AMOUNT: "DOUBLE",
    c.ORDER: "VARCHAR",
    c.BUCKET: "SMALLINT",
}

BUCKETS = 64
"""Number of user buckets. Work on a log larger than memory goes bucket by bucket."""


@dataclass(frozen=True)
class Span:
    """The time a log is known for: events in ``[start, until)`` are in it, and silence is knowledge.

    ``stated`` is false where nobody said until when the log is known; ``until`` is then the moment
    after the last event, the least that the data prove.
    """

    start: datetime
    until: datetime
    stated: bool = True

    def __post_init__(self) -> None:
        if self.until <= self.start:
            raise LogError(
                f"the span ends ({moments.text(self.until)}) before it starts ({moments.text(self.start)})",
                remedy="Give a later end (until) or an earlier start (from, --since).",
            )

    def __str__(self) -> str:
        return f"{moments.text(self.start)} to {moments.text(self.until)}"

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.until - self.start) / moments.DAY


def quote(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def identified(relation: str, fields: Mapping[str, Kind]) -> str:
    """Return SQL that adds ``id`` and ``bucket`` to a relation of canonical columns without them.

    ``id`` is the MD5 of the row's mapped values and of the ordinal of that content: the k-th
    identical row gets k. Reading the same rows again gives the same ids, and identical lines, which
    are real sales, stay apart. ``bucket`` depends on the user alone.
    """
    for name in fields:
        if name.casefold() in c.RESERVED:
            raise SourceError(f"a field cannot be called '{name}'", remedy="Give it another name in the mapping.")
    texts = [c.USER, c.EVENT, c.ITEM, c.ORDER, *(name for name, kind in fields.items() if kind is Kind.STRING)]
    others = [c.AMOUNT, *(name for name, kind in fields.items() if kind is not Kind.STRING)]
    values = [f"epoch_us({quote(c.TIME)})", *map(quote, (*others, *texts))]
    parts = [f"coalesce({value}::VARCHAR, '')" for value in values]
    # The lengths tell a missing text from an empty one, and two neighbours that share a border apart; no other value
    # is an empty text or holds the separator.
    parts += [f"coalesce(length({quote(name)}), -1)" for name in texts]
    names = [c.USER, c.TIME, c.EVENT, c.ITEM, c.AMOUNT, c.ORDER, *fields]
    return f"""
        select
            md5(content || '#' || row_number() over (partition by content)) as {c.ID},
            {", ".join(quote(name) for name in names)},
            (('0x' || substr(md5({c.USER}), 1, 4))::INTEGER % {BUCKETS})::SMALLINT as {c.BUCKET}
        from (select *, md5(concat_ws('|', {", ".join(parts)})) as content from ({relation}))
    """


def rows_digest(table: str, alias: str) -> str:
    """Return SQL of a digest of the rows of a table, which is called ``alias``, whatever their order."""
    # the id of an event is a digest of all its values already
    row = f"('0x' || left({alias}.{c.ID}, 16))::UBIGINT" if table == "events" else f"md5_number_lower({alias}::VARCHAR)"
    return f"concat_ws('/', count(*), bit_xor({row}))"


def sorted_for_disk(relation: str) -> str:
    """Return SQL that orders events as every part on disk is ordered."""
    return f'select * from ({relation}) order by {c.BUCKET}, "{c.USER}", {c.TIME}, {c.ID}'
