"""Reading one cell: what is missing, and what is a text, a number or a boolean. All of it is SQL.

An expression that reads a cell gives NULL where the cell is missing and where it cannot be read; the
two are told apart by ``missing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from valuecast.events.schema import Kind, literal

SAMPLE: Final = 20_000
"""Rows, spread evenly over the file, from which types and formats are inferred."""

TEXT: Final = "VARCHAR"
_SIZES: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
WHOLE: Final = frozenset(f"{sign}{size}" for sign in ("", "U") for size in _SIZES)
FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
TIMES: Final = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})
ZONED: Final = "TIMESTAMP WITH TIME ZONE"

_BLANKS: Final = (32, 9, 10, 13, 160, 12288)  # with the two wide spaces
_TRUE: Final = ("true", "t", "yes", "y", "1")
_FALSE: Final = ("false", "f", "no", "n", "0")
LARGEST_WHOLE_FLOAT: Final = 2**53


def is_number(type: str) -> bool:  # noqa: A002
    """Whether an engine type holds numbers."""
    return type in WHOLE or type in FLOATS or type.startswith("DECIMAL")


def is_readable(type: str) -> bool:  # noqa: A002
    """Whether a column of this type can be a cell; lists, structures and bytes cannot."""
    return is_number(type) or type in TIMES or type in (TEXT, ZONED, "BOOLEAN", "UUID", "TIME")


def trimmed(cell: str) -> str:
    """Return SQL of a text without the blanks around it.

    Most texts have none, which is found out faster than blanks are taken off.
    """
    bare = f"regexp_full_match({cell}, '[!-~]([ -~]*[!-~])?')"
    return f"(case when {bare} then {cell} else {_trim(cell)} end)"


def _trim(cell: str) -> str:
    return f"trim({cell}, {' || '.join(f'chr({code})' for code in _BLANKS)})"


def missing(cell: str, type: str) -> str:  # noqa: A002
    """Return SQL that says whether a cell is missing: no value, or a text of blanks only."""
    if type != TEXT:
        return f"({cell} is null)"
    # a text whose first letter is none of the blanks is not blank; an empty one has the letter -1
    begins = f"unicode({cell}) in (-1, {', '.join(map(str, _BLANKS))})"
    return f"({cell} is null or case when {begins} then {_trim(cell)} = '' else false end)"


def as_text(cell: str, type: str) -> str:  # noqa: A002
    """Return SQL of a cell as a name or code: text as it stands, 13085.0 as 13085, not-a-number as missing."""
    if type == TEXT:
        return f"(case when not {missing(cell, type)} then {cell} end)"
    if type in FLOATS:
        whole = f"{cell} = trunc({cell}) and abs({cell}) < {LARGEST_WHOLE_FLOAT}"
        return f"(case when isnan({cell}) then null when {whole} then {cell}::BIGINT::VARCHAR else {cell}::VARCHAR end)"
    return f"({cell}::VARCHAR)"


def as_number(cell: str, type: str) -> str:  # noqa: A002
    """Return SQL of a cell as a finite number."""
    number = f"try_cast({trimmed(cell)} as DOUBLE)" if type == TEXT else f"{cell}::DOUBLE"
    return f"(case when isfinite({number}) then {number} end)"


def as_boolean(cell: str, type: str) -> str:  # noqa: A002
    """Return SQL of a cell as true or false."""
    if type == "BOOLEAN":
        return cell
    word = f"lower({trimmed(cell)})" if type == TEXT else as_text(cell, type)
    return f"(case when {word} in ({_words(*_TRUE)}) then true when {word} in ({_words(*_FALSE)}) then false end)"


def _words(*words: str) -> str:
    return ", ".join(map(literal, words))


def as_kind(kind: Kind, cell: str, type: str) -> str:  # noqa: A002
    """Return SQL of a cell as a field of ``kind``."""
    return {Kind.STRING: as_text, Kind.NUMBER: as_number, Kind.BOOLEAN: as_boolean}[kind](cell, type)


@dataclass(frozen=True)
class Profile:
    """What the cells of a text column look like, over a sample of its rows."""

    cells: int
    numbers: int
    codes: int
    booleans: int
    example: str | None

    @property
    def kind(self) -> Kind:
        """The type that every cell has. Codes are texts of digits that a number would spoil: 00123, or a long one."""
        if self.cells and self.booleans == self.cells:
            return Kind.BOOLEAN
        if self.cells and self.numbers == self.cells and not self.codes:
            return Kind.NUMBER
        return Kind.STRING


def profile(connection: Any, relation: str, cell: str) -> Profile:
    """Count what the cells of a text column read as. ``example`` is one that is not a number."""
    text = trimmed("cell")
    found = connection.sql(
        f"""
        select count(*), count({as_number("cell", TEXT)}),
            count(*) filter (regexp_full_match({text}, '[+-]?0[0-9].*|[0-9]{{16,}}')),
            count(*) filter (lower({text}) in ('true', 'false')),
            min(cell) filter ({as_number("cell", TEXT)} is null)
        from (select {cell} as cell from {relation}) where not {missing("cell", TEXT)}
        """
    ).fetchone()
    return Profile(*found)


def sampled(relation: str, *, rows: int) -> str:
    """Return SQL of every k-th row of a table of ``rows`` rows, about ``SAMPLE`` of them."""
    step = max(rows // SAMPLE, 1)
    return f"(select * from {relation} where rowid % {step} = 0)"
