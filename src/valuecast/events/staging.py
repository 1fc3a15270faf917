"""The needed columns of a source's files in one table of the engine, on disk, with every row accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast.errors import SourceError, suggest
from valuecast.events import cells
from valuecast.events.readers import Shard, all_keys, open_shard, paths
from valuecast.events.schema import literal
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
                what = f"no column '{name}' in {shard.path}"
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
        rows: rows of ``table``.
        lines: rows of ``torn``.
    """

    name: str
    table: str
    torn: str
    files: str
    columns: Mapping[str, tuple[str, str]]
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
    shards = (
        open_shard(connection, path, file=file, work=work, number=number * _SHARDS + at)
        for at, path in enumerate(paths(file))
    )
    return Opened(name, file, tuple(shards), number)


def stage(connection: Any, opened: Opened, wanted: Iterable[str], *, progress: Callable[[str], None]) -> Staged:
    """Read the ``wanted`` columns of a source's files into the engine.

    Raises:
        SourceError: a file cannot be read, or a column holds lists, structures or bytes.
    """
    names = list(dict.fromkeys(wanted))
    shards = [all_keys(connection, shard) if set(names) - set(shard.columns) else shard for shard in opened.shards]
    columns = {name: (f"c{at}", _common(shards, name)) for at, name in enumerate(names)}
    table, torn, files = (f"{kind}_{opened.number}" for kind in ("staged", "torn", "files"))
    declared = "".join(f", {ref} {kind}" for ref, kind in columns.values())
    connection.execute(f"create table {table} (broken BOOLEAN{declared})")
    connection.execute(f"create table {torn} ({_TORN})")
    connection.execute(f"create table {files} (file VARCHAR, start BIGINT)")
    rows = lines = 0
    for shard in shards:
        progress(f"reading {shard.path.name}")
        read = "".join(f", {_cell(shard, name, kind, opened.file.missing)}" for name, (_, kind) in columns.items())
        try:
            found = connection.execute(f"insert into {table} select {shard.broken}{read} from {shard.scan}").fetchone()
        except duckdb.Error as error:
            raise _unreadable(shard, error) from None
        added = int(found[0])
        if added:
            connection.execute(f"insert into {files} values ({literal(str(shard.path))}, {rows})")
        if shard.rejects:
            lines += _tear(connection, shard, torn, start=rows, rows=added)
        rows += added
    return Staged(opened.name, table, torn, files, columns, rows, lines)


def _common(shards: list[Shard], name: str) -> str:
    """Return the type of a column in all files: text where they differ."""
    for shard in shards:
        kind = shard.columns[name][1]
        if not cells.is_readable(kind):
            remedy = "Turn it into text, numbers or times first."
            raise SourceError(f"column '{name}' holds {kind}", where=str(shard.path), remedy=remedy)
    kinds = {shard.columns[name][1] for shard in shards}
    return kinds.pop() if len(kinds) == 1 else cells.TEXT


def _cell(shard: Shard, name: str, kind: str, missing: tuple[str, ...]) -> str:
    cell, own = shard.columns[name]
    read = cell if kind == own else cells.as_text(cell, own)
    empty = ("", *missing) if own == cells.TEXT else missing
    if not empty:
        return read
    return f"case when {cells.as_text(cell, own)} in ({', '.join(map(literal, empty))}) then null else {read} end"


def _tear(connection: Any, shard: Shard, torn: str, *, start: int, rows: int) -> int:
    """Account for the lines of a CSV file that did not become rows, and return how many there are."""
    reasons = " ".join(f"when {literal(key)} then {literal(reason)}" for key, reason in _REASONS.items())
    found = connection.execute(
        f"""
        insert into {torn}
        select {literal(str(shard.path))}, number, {start} + number - nth, nth, value, reason
        from (
            select line - {shard.preamble} as number, row_number() over (order by line) as nth,
                left(trim(arg_min(csv_line, byte_position), chr(10)), 200) as value,
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
        row = f"{literal(str(shard.path))}, null, null, null, null, {literal(SWALLOWED)}"
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
    first = str(error).splitlines()[0].rpartition("Error: ")[2]
    if "state machine" in first:
        remedy = "Save it with one kind of line end (for example with dos2unix)."
        return SourceError("its lines end in different ways", where=str(shard.path), remedy=remedy)
    return SourceError(f"not readable as {shard.format}: {first}", where=str(shard.path), remedy="Check the file.")
