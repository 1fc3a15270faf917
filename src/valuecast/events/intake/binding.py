"""A mapped column, bound to the staged rows of its source: the SQL that reads it, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError
from valuecast.events import cells, snippets
from valuecast.events.intake import times
from valuecast.events.intake.staging import Opened, Staged
from valuecast.events.schema import Kind, literal
from valuecast.events.snippets import Reference, Snippet, Use
from valuecast.events.spec import Column

NOT_A_NUMBER: Final = "not a number"
NOT_A_BOOLEAN: Final = "not true or false"


@dataclass(frozen=True)
class Guard:
    """A cell that is no value, or not one that an expression needs: ``bad`` says so."""

    bad: str
    label: str
    value: str
    reason: str


@dataclass(frozen=True)
class Cell:
    """What one target reads.

    Attributes:
        sql: over the staged table.
        type: engine type of ``sql``.
        label: name of the column, or of the columns of an expression.
        value: SQL of what the file says there, for messages.
        computed: whether ``sql`` is an expression, which can fail.
        guards: of the columns.
    """

    sql: str
    type: str
    label: str
    value: str
    computed: bool = False
    guards: tuple[Guard, ...] = ()

    @property
    def attempt(self) -> str:
        """SQL that does not fail on a row: NULL stands for a failure, and a structure holds a value, even NULL."""
        return _tried(self.sql) if self.computed else self.sql

    def content(self, attempt: str) -> str:
        """Return SQL of the value that ``attempt`` (or a column that holds its result) came to."""
        return f"struct_extract({attempt}, 'v')" if self.computed else attempt


def _tried(sql: str) -> str:
    return f"try({{'v': (\n{sql}\n)}})"


def names(connection: Any, opened: Opened, column: Column, *, where: str) -> list[str]:
    """Return the columns of the file that a mapped column reads.

    Raises:
        SourceError: there is no such column.
    """
    if column.sql is not None:
        return named(connection, opened, snippets.parse(column.sql, where=where))
    if column.column is None:
        return []
    opened.check(connection, column.column, where=where)
    return [column.column]


def named(connection: Any, opened: Opened, snippet: Snippet) -> list[str]:
    """Return the columns of the file that an expression reads.

    Raises:
        SourceError: there is no such column.
    """
    known = opened.columns(connection, [reference.name for reference in snippet.references])
    found = list(snippet.columns(known).values())
    for name in found:
        opened.check(connection, name, where=snippet.where)
    return found


def bind(connection: Any, staged: Staged, column: Column, *, where: str, read_as: Mapping[str, times.Reading]) -> Cell:
    """Bind a mapped column.

    Args:
        connection: the engine.
        staged: the rows of the source.
        column: the mapping of the target.
        where: for messages.
        read_as: columns that are already known to hold times, and how these are read.

    Raises:
        SourceError: an expression does not fit its columns.
    """
    if column.sql is not None:
        return bind_sql(connection, staged, snippets.parse(column.sql, where=where), read_as=read_as)
    if column.constant is not None:
        return Cell(literal(column.constant), cells.TEXT, column.label, literal(column.constant))
    assert column.column is not None
    ref, kind = staged.columns[column.column]
    return Cell(ref, kind, column.column, f"{ref}::VARCHAR", guards=_values_only(staged, [column.column]))


def bind_sql(connection: Any, staged: Staged, snippet: Snippet, *, read_as: Mapping[str, times.Reading]) -> Cell:
    """Bind an expression: its columns are read as what it needs them for.

    Raises:
        SourceError: the engine refuses the expression, or a column cannot be what it is used as.
    """
    meant = snippet.columns(staged.columns)
    typed = {
        reference: _typed(connection, staged, name, reference, where=snippet.where, read_as=read_as)
        for reference, name in meant.items()
    }
    sql = snippet.spliced(lambda reference: f"({typed[reference][0]})")
    used = list(dict.fromkeys(meant.values()))
    guards = [*_values_only(staged, used)]
    for reference, (read, reason) in typed.items():
        ref, kind = staged.columns[meant[reference]]
        if reason:
            bad = f"(not {cells.missing(ref, kind)} and {read} is null)"
            guards.append(Guard(bad, meant[reference], f"{ref}::VARCHAR", reason))
    try:
        ((_, kind, *_),) = connection.sql(f"describe select (\n{sql}\n) as v from {staged.table}").fetchall()
        connection.sql(f"explain select {_tried(sql)} from {staged.table}")
    except duckdb.Error as error:
        first = str(error).splitlines()[0].rpartition("Error: ")[2]
        remedy = "Check the functions and the types of the columns."
        raise SourceError(f"{snippet.text}: {first}", where=snippet.where, remedy=remedy) from None
    parts = ", ".join(f"{literal(name + '=')} || {staged.columns[name][0]}::VARCHAR" for name in used)
    kind = cells.TEXT if kind == '"NULL"' else kind
    if not cells.is_readable(kind):
        remedy = "Give a text, a number or a time."
        raise SourceError(f"{snippet.text} gives {kind}", where=snippet.where, remedy=remedy)
    value = f"concat_ws(', ', {parts})" if used else literal(snippet.text)
    return Cell(sql, kind, ", ".join(used) or snippet.text, value, computed=True, guards=tuple(guards))


def _values_only(staged: Staged, used: Sequence[str]) -> tuple[Guard, ...]:
    """Return the guards against cells that hold something else than a value."""
    errors = {name: staged.errors[name] for name in used if name in staged.errors}
    return tuple(Guard(f"({ref} is not null)", name, ref, staged.fault) for name, ref in errors.items())


def _typed(
    connection: Any,
    staged: Staged,
    name: str,
    reference: Reference,
    *,
    where: str,
    read_as: Mapping[str, times.Reading],
) -> tuple[str, str]:
    """Return SQL that reads a column as an expression needs it, and the reason if a cell cannot be read so."""
    ref, kind = staged.columns[name]
    if kind == cells.ZONED:
        return f"timezone('UTC', {ref})", ""
    if kind != cells.TEXT or reference.use is Use.TEXT:
        return ref, ""
    if name in read_as:
        reading = read_as[name]
        return reading.as_written(ref), _not_a_time(reading)
    return _typed_text(connection, staged, name, reference, where=where)


def _typed_text(connection: Any, staged: Staged, name: str, reference: Reference, *, where: str) -> tuple[str, str]:
    """Do so for a column of texts: what its cells look like counts as much as what the expression does with it."""
    ref, kind = staged.columns[name]
    seen = cells.profile(connection, staged.sample, ref)
    if reference.use is Use.COMPARED and seen.kind is not Kind.STRING:
        return ref, ""
    if seen.kind is Kind.BOOLEAN:
        return cells.as_boolean(ref, kind), NOT_A_BOOLEAN
    if seen.kind is Kind.NUMBER or (reference.use is Use.NUMBER and (seen.numbers or not seen.cells)):
        return cells.as_number(ref, kind), NOT_A_NUMBER
    place = f"{where}, column '{name}'"
    found = times.recognised(connection, times.Column(ref, kind, staged.sample, staged.table, place))
    if found is not None and seen.cells:
        return found.as_written(ref), _not_a_time(found)
    if reference.use is Use.NUMBER:
        what = f"column '{name}' is used as a number, and holds none (such as '{seen.example}')"
        raise SourceError(what, where=where, remedy="Name the column that holds the numbers.")
    return ref, ""


def _not_a_time(reading: times.Reading) -> str:
    return f"not a time in the format {reading.label}"
