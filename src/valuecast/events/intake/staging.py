"""The needed columns of a source's files in one table of the engine, on disk, with every row accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError, suggest
from valuecast.events import cells
from valuecast.events.cells import TEXT
from valuecast.events.protection.privacy import HIDDEN, Shield
from valuecast.events.schema import literal
from valuecast.events.sources.readers import all_keys, open_shards
from valuecast.events.sources.shard import Shard, reason
from valuecast.events.spec import File

UNCLOSED: Final = "a quote is not closed, or text follows it"
SWALLOWED: Final = "part of a record whose quote is not closed"
_REASONS: Final = {"MISSING COLUMNS": "too few cells", "TOO MANY COLUMNS": "too many cells", "UNQUOTED VALUE": UNCLOSED}
_TORN: Final = "file VARCHAR, row BIGINT, pos BIGINT, nth BIGINT, value VARCHAR, reason VARCHAR"
_SHARDS: Final = 100_000  # more files than one source will have; keeps the numbers of shards apart


@dataclass(frozen=True)
class Opened:
    """The files of one source, open, before any row is read."""

    name: str
    file: File
    shards: tuple[Shard, ...]
    number: int

    def columns(self, connection: Any, needed: Iterable[str]) -> list[str]:
        """Return the names of the columns, looking further into a JSON file where ``needed`` ones are not seen yet."""
        shard = self.shards[0]
        seen = {name.casefold() for name in shard.columns}
        complete = all(name.casefold() in seen for name in needed)
        return list((shard if complete else all_keys(connection, shard)).columns)

    def check(self, connection: Any, name: str, *, where: str) -> None:
        """Check that every file has a column ``name``.

        Raises:
            SourceError: one has not.
        """
        for shard in self.shards:
            if name not in shard.columns and name not in all_keys(connection, shard).columns:
                what = f"no column '{name}' in {shard.place}"
                raise SourceError(what, where=where, remedy=suggest(name, shard.columns))


@dataclass(frozen=True)
class Staged:
    """A table of the engine with the needed columns of a source's rows, in the order of its files.

    Attributes:
        name: of the source.
        table: its columns are ``broken``, which says that a row has no columns, and those of ``columns``.
        torn: table of the lines that are no rows: ``file, row, pos, nth, value, reason``. The ``nth`` torn line
            of its file stands before row ``pos`` of ``table``.
        files: table of the files: ``file, start``, the row of ``table`` that is its first.
        columns: SQL name and engine type of each needed column.
        errors: SQL name of what the cells of a column hold that are no values, where there can be such.
        fault: what these cells are, for messages.
        rows: rows of ``table``.
        lines: rows of ``torn``.
    """

    name: str
    table: str
    torn: str
    files: str
    columns: Mapping[str, tuple[str, str]]
    errors: Mapping[str, str]
    fault: str
    rows: int
    lines: int

    @property
    def read(self) -> int:
        """All rows of the files."""
        return self.rows + self.lines

    @property
    def sample(self) -> str:
        """SQL of rows spread evenly over the files."""
        return cells.sampled(self.table, rows=self.rows)

    def located(self, relation: str) -> str:
        """Return SQL that adds ``file`` and ``row`` to a relation with ``pos``, a row of ``table``.

        ``row`` is counted from 1 in the file, torn lines included. Blank lines are not rows, but the engine's numbers
        of torn lines count them.
        """
        return f"""
            select r.*, f.file, r.pos - f.start + 1 + coalesce(t.nth, 0) as row
            from ({relation}) r asof join {self.files} f on r.pos >= f.start
            asof left join (select file, pos, max(nth) as nth from {self.torn} group by all) t
                on f.file = t.file and r.pos >= t.pos
        """


def open_files(connection: Any, file: File, *, name: str, work: Path, number: int) -> Opened:
    """Open the files of a source; ``name`` tells it apart in messages and tables.

    Raises:
        SourceError: there is none, or one cannot be read.
    """
    return Opened(name, file, tuple(open_shards(connection, file, work=work, number=number * _SHARDS)), number)


def stage(
    connection: Any,
    opened: Opened,
    wanted: Iterable[str],
    *,
    shield: Shield,
    progress: Callable[[str], None],
) -> Staged:
    """Read the ``wanted`` columns of a source's files into the engine; ``shield`` says what they become on the way.

    Raises:
        SourceError: a file cannot be read, or a column holds lists, structures or bytes.
    """
    names = list(dict.fromkeys(wanted))
    shards = [all_keys(connection, shard) if set(names) - set(shard.columns) else shard for shard in opened.shards]
    columns = {
        name: (f"c{at}", TEXT if name in shield.treated else _common(shards, name)) for at, name in enumerate(names)
    }
    table, torn, files = (f"{kind}_{opened.number}" for kind in ("staged", "torn", "files"))
    errors = {name: f"e{at}" for at, name in enumerate(names) if any(name in shard.errors for shard in shards)}
    typed = [*columns.values(), *((ref, TEXT) for ref in errors.values())]
    declared = "".join(f", {ref} {kind}" for ref, kind in typed)
    connection.execute(f"create table {table} (broken BOOLEAN{declared})")
    connection.execute(f"create table {torn} ({_TORN})")
    connection.execute(f"create table {files} (file VARCHAR, start BIGINT)")
    rows = lines = 0
    for shard in shards:
        progress(f"reading {shard.name}")
        missing = opened.file.missing
        read = "".join(f", {_cell(shard, name, kind, missing, shield)}" for name, (_, kind) in columns.items())
        read += "".join(f", {_error(shard, name, missing, shield)}" for name in errors)
        try:
            with shard.rows(connection, names) as scan:
                found = connection.execute(f"insert into {table} select {shard.broken}{read} from {scan}").fetchone()
        except duckdb.OutOfMemoryException:
            raise  # no fault of the file
        except duckdb.Error as error:
            raise _unreadable(shard, error) from None
        added = int(found[0])
        if added:
            connection.execute(f"insert into {files} values ({literal(shard.place)}, {rows})")
        if shard.rejects:
            lines += _tear(connection, shard, torn, start=rows, rows=added, shown=not shield.active)
        rows += added
    fault = next((shard.fault for shard in shards if shard.fault), "")
    return Staged(opened.name, table, torn, files, columns, errors, fault, rows, lines)


def _common(shards: list[Shard], name: str) -> str:
    """Return the type of a column in all files: text where they differ."""
    for shard in shards:
        kind = shard.columns[name][1]
        if not cells.is_readable(kind):
            remedy = "Turn it into text, numbers or times first."
            raise SourceError(f"column '{name}' holds {kind}", where=shard.place, remedy=remedy)
    kinds = {shard.columns[name][1] for shard in shards}
    return kinds.pop() if len(kinds) == 1 else TEXT


def _cell(shard: Shard, name: str, kind: str, missing: tuple[str, ...], shield: Shield) -> str:
    """Return SQL of what is kept of a cell; what must not be kept as it is reaches no table."""
    cell, own = shard.columns[name]
    if name in shield.treated:
        return shield.treated[name](cells.as_text(f"({_given(cell, own, own, missing)})", own))
    return _given(cell, own, kind, missing)


def _given(cell: str, own: str, kind: str, missing: tuple[str, ...]) -> str:
    """Return SQL of a cell of the type ``own`` as one of ``kind``, or NULL where it is said to be missing."""
    read = cell if kind == own else cells.as_text(cell, own)
    empty = ("", *missing) if own == TEXT else missing
    if not empty:
        return read
    return f"case when {cells.as_text(cell, own)} in ({', '.join(map(literal, empty))}) then null else {read} end"


def _error(shard: Shard, name: str, missing: tuple[str, ...], shield: Shield) -> str:
    """Return SQL of what a cell holds that is no value; the mapping can say that it stands for a missing one."""
    error = shard.errors.get(name, "null")
    shown = literal(HIDDEN) if name in shield.treated else error
    return f"case when {error} not in ({', '.join(map(literal, ('', *missing)))}) then {shown} end"


def _tear(connection: Any, shard: Shard, torn: str, *, start: int, rows: int, shown: bool) -> int:
    """Account for the lines of a CSV file that did not become rows, and return how many there are.

    ``shown`` says whether their text may be kept: what is an id in such a line, nobody can tell.
    """
    value = "left(trim(arg_min(csv_line, byte_position), chr(10)), 200)" if shown else "null"
    reasons = " ".join(f"when {literal(key)} then {literal(reason)}" for key, reason in _REASONS.items())
    found = connection.execute(
        f"""
        insert into {torn}
        select {literal(shard.place)}, number, {start} + number - nth, nth, value, reason
        from (
            select line - {shard.preamble} as number, row_number() over (order by line) as nth,
                {value} as value,
                case arg_min(error_type::VARCHAR, byte_position) {reasons} else 'not a line of CSV' end as reason
            from {shard.rejects} group by line
        )
        """
    ).fetchone()
    known = int(found[0])
    lost = _lines(shard) - rows - known
    if lost > 0:  # cells can hold line ends of their own; what they do not explain was swallowed
        lost -= _line_ends_in_cells(connection, shard)
    if lost > 0:
        row = f"{literal(shard.place)}, null, null, null, null, {literal(SWALLOWED)}"
        connection.execute(f"insert into {torn} select {row} from range({lost})")
    return known + max(lost, 0)


def _lines(shard: Shard) -> int:
    """Return how many lines of a CSV file can begin a row. In a file of one column a blank line is a row."""
    assert shard.survey is not None
    if len(shard.columns) == 1:
        return shard.survey.lines - shard.preamble
    preamble = shard.survey.head.split("\n")[: shard.preamble]
    return shard.survey.lines - shard.survey.blank - sum(bool(line.rstrip("\r")) for line in preamble)


def _line_ends_in_cells(connection: Any, shard: Shard) -> int:
    """Count the line ends inside cells, each run of blank lines once: blank lines were not counted either."""

    def ends(text: str) -> str:
        single = f"regexp_replace({text}, '\\n(\\r?\\n)+', chr(10), 'g')"
        count = f"length({single}) - length(replace({single}, chr(10), ''))"
        return f"(case when contains({text}, chr(10)) then {count} else 0 end)"

    inside = " + ".join(f"coalesce({ends(cell)}, 0)" for cell, _ in shard.columns.values())
    torn = f"select coalesce(sum({ends('csv_line')}), 0) from {shard.rejects} where error_type != 'UNQUOTED VALUE'"
    (found,) = connection.sql(f"select ({torn}) + (select coalesce(sum({inside}), 0) from {shard.scan})").fetchone()
    return int(found)


def _unreadable(shard: Shard, error: duckdb.Error) -> SourceError:
    said = reason(error)
    if "state machine" in said:
        remedy = "Save it with one kind of line end (for example with dos2unix)."
        return SourceError("its lines end in different ways", where=shard.place, remedy=remedy)
    return SourceError(f"not readable as {shard.format}: {said}", where=shard.place, remedy="Check the source.")
