"""SQL that a mapping holds: one scalar expression over the columns of a file.

It is parsed before any file is read, so that a slip is shown at its character. The text itself then
goes to the engine, with each column replaced by a typed reading of it: a CSV file holds nothing but
text, and ``Price > 0`` means the number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from valuecast.errors import SourceError, suggest

_DIALECT: Final = "duckdb"
_ROWS: Final = (exp.Query, exp.Subquery, exp.AggFunc, exp.Window, exp.Star, exp.Exists)
_FOREIGN: Final = (exp.Block, exp.Command, exp.Placeholder, exp.Parameter, exp.ReadCSV, exp.ReadParquet)
_CLOCK: Final = (exp.CurrentDate, exp.CurrentTime, exp.CurrentTimestamp, exp.Rand, exp.Uuid)

_ARITHMETIC: Final = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg)
_NUMERIC: Final = (
    *_ARITHMETIC,
    exp.Abs,
    exp.Round,
    exp.Floor,
    exp.Ceil,
    exp.Sign,
    exp.Sqrt,
    exp.Ln,
    exp.Exp,
    exp.Log,
    exp.Pow,
)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.In)
_TEXTUAL: Final = (
    *(exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpExtract, exp.RegexpReplace, exp.DPipe, exp.Concat, exp.ConcatWs),
    *(
        exp.Upper,
        exp.Lower,
        exp.Trim,
        exp.Length,
        exp.Left,
        exp.Right,
        exp.Substring,
        exp.Replace,
        exp.Split,
        exp.SplitPart,
    ),
    *(exp.StartsWith, exp.EndsWith, exp.Contains, exp.StrPosition, exp.StrToTime, exp.StrToDate, exp.Reverse),
)
_PASSING: Final = (exp.Paren, exp.Coalesce, exp.If, exp.Case, exp.Nullif)


class Use(Enum):
    """What an expression does with a column."""

    NUMBER = "number"
    TEXT = "text"
    COMPARED = "compared with a text"
    OPEN = "anything"


@dataclass(frozen=True)
class Reference:
    """One place in a snippet that names a column: ``text[start:stop]``."""

    name: str
    start: int
    stop: int
    use: Use


@dataclass(frozen=True)
class Snippet:
    """A parsed expression and the columns that it names, in the order of the text."""

    text: str
    references: tuple[Reference, ...]
    where: str

    def columns(self, known: Iterable[str]) -> dict[Reference, str]:
        """Return the column of the file that each reference means; as in SQL, case does not matter if only one fits.

        Raises:
            SourceError: there is no such column.
        """
        names = list(known)
        found = {}
        for reference in self.references:
            folded = [name for name in names if name.casefold() == reference.name.casefold()]
            if reference.name in names:
                found[reference] = reference.name
            elif len(folded) == 1:
                found[reference] = folded[0]
            else:
                place = f"{self.where}, character {reference.start + 1}"
                raise SourceError(f"no column '{reference.name}'", where=place, remedy=suggest(reference.name, names))
        return found

    def spliced(self, replacement: Callable[[Reference], str]) -> str:
        """Return the text with each column replaced."""
        parts, at = [], 0
        for reference in self.references:
            parts += [self.text[at : reference.start], replacement(reference)]
            at = reference.stop
        return "".join([*parts, self.text[at:]])


def parse(text: str, *, where: str) -> Snippet:
    """Parse one scalar expression.

    Raises:
        SourceError: it does not parse, or is more than an expression over one row's columns.
    """
    try:
        tree = sqlglot.parse_one(text, dialect=_DIALECT, into=exp.Condition)
    except ParseError as error:
        raise _unparsed(text, error, where) from None
    except TokenError:
        quote = max(text.rfind(mark) for mark in "'\"")
        place = f"{where}, character {quote + 1}"
        raise SourceError(f"a quote is not closed in: {text}", where=place, remedy="Close it.") from None
    for node in tree.walk():
        _refuse(node, text, where)
    references = []
    for column in tree.find_all(exp.Column):
        spot = column.this.meta
        if "start" not in spot:
            raise SourceError(
                f"'{column.sql()}' is not a plain column, in: {text}", where=where, remedy="Name a column."
            )
        references.append(Reference(column.name, spot["start"], spot["end"] + 1, _use(column)))
    return Snippet(text, tuple(sorted(references, key=lambda each: each.start)), where)


@cache
def _fickle() -> frozenset[str]:
    """Return the names of the engine's functions whose value is not settled by the row."""
    query = "select distinct function_name from duckdb_functions() where stability != 'CONSISTENT'"
    with duckdb.connect() as connection:
        return frozenset(name for (name,) in connection.sql(query).fetchall())


def _refuse(node: exp.Expr, text: str, where: str) -> None:
    remedy = "Give one expression over the columns of a row, such as Quantity * Price."
    if isinstance(node, _FOREIGN):
        raise SourceError(f"this is not one expression: {text}", where=where, remedy=remedy)
    if isinstance(node, _ROWS):
        raise SourceError(
            f"'{node.sql(dialect=_DIALECT)}' needs more than one row, in: {text}", where=where, remedy=remedy
        )
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    if isinstance(node, _CLOCK) or name in _fickle():
        said = node.sql(dialect=_DIALECT)
        raise SourceError(
            f"'{said}' changes from run to run, in: {text}", where=where, remedy="Use the row's own columns."
        )
    if isinstance(node, exp.Column) and node.table:
        said = node.sql(dialect=_DIALECT)
        raise SourceError(f"'{said}' names a table, in: {text}", where=where, remedy='Quote a name with dots: "a.b".')


def _unparsed(text: str, error: ParseError, where: str) -> SourceError:
    remedy = "Write one SQL expression; names with blanks take double quotes, texts take single ones."
    if not error.errors or not text.strip():
        return SourceError("an empty expression", where=where, remedy=remedy)
    spot = error.errors[0]
    line, column, token = spot.get("line") or 1, spot.get("col") or 1, spot.get("highlight") or ""
    before = sum(len(each) + 1 for each in text.splitlines()[: line - 1])
    character = before + max(column - len(token), 0) + 1
    return SourceError(f"does not parse at '{token}': {text}", where=f"{where}, character {character}", remedy=remedy)


def _use(node: exp.Expr) -> Use:
    parent = node.parent
    if isinstance(parent, _PASSING):
        return _use(parent)
    if isinstance(parent, exp.Cast):
        return _cast_from(parent.to)
    if isinstance(parent, _COMPARISONS):
        return _compared_with([each for each in parent.iter_expressions() if each is not node])
    if isinstance(parent, _TEXTUAL):
        return Use.TEXT
    return Use.NUMBER if isinstance(parent, _NUMERIC) else Use.OPEN


def _cast_from(to: exp.DataType) -> Use:
    if to.is_type(*exp.DataType.TEXT_TYPES):
        return Use.TEXT
    return Use.NUMBER if to.is_type(*exp.DataType.NUMERIC_TYPES) else Use.OPEN


def _compared_with(others: list[exp.Expr]) -> Use:
    if any(isinstance(each, exp.Literal) and each.is_string for each in others):
        return Use.COMPARED
    return Use.NUMBER if any(_is_number(each) for each in others) else Use.OPEN


def _is_number(node: exp.Expr) -> bool:
    if isinstance(node, exp.Paren):
        return _is_number(node.this)
    return isinstance(node, _NUMERIC) or (isinstance(node, exp.Literal) and not node.is_string)
