"""From a shop's files to a log: every row is taken, rejected with a reason, filtered or dropped, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import SourceError
from valuecast.events import planning, rows, sides, store, tally
from valuecast.events.planning import Bound
from valuecast.events.rows import Plan
from valuecast.events.schema import CANONICAL_TYPES, Kind, Span, identified, literal, quote
from valuecast.events.sides import Taken
from valuecast.events.source import Mapping, Side, Source
from valuecast.events.staging import open_files, stage
from valuecast.events.store import Contents, SideFile
from valuecast.events.summary import Account, Summary

Progress = Callable[[str], None]
_FRESH: Final = "fresh"


@dataclass(frozen=True)
class _Part:
    """One file or pattern, its rows staged and its columns bound. ``table``: events, items or users."""

    table: str
    mapped: Source | Side
    bound: Bound


def ingest(mapping: Mapping, out: Path, *, progress: Progress | None = None) -> Summary:
    """Read the files of a mapping into the log in ``out``; what the log holds already is kept and not added twice.

    Rows stream through a database on disk in ``out``, so files can be larger than memory. Rejected rows are in
    ``rejected.parquet`` of ``out`` in any case. One ingest at a time: a log that changes meanwhile is refused.

    Args:
        mapping: which files, and what their columns are.
        out: the folder of the log, a new one or one with a log.
        progress: is told what is being done.

    Raises:
        SourceError: a file cannot be read, the mapping does not fit it, too many rows are rejected, or none is left.
        LogError: ``out`` holds something else, or a damaged log.
    """
    say = progress or _silent
    old = store.current(out)
    notes: list[str] = []
    with store.workspace(out) as work, _engine(work) as connection:
        if old is not None:
            store.view(connection, out, old)
        parts = [
            _part(connection, table, mapped, number=number, where=mapping.where, work=work, say=say, notes=notes)
            for number, (table, mapped) in enumerate(_mapped(mapping))
        ]
        fields = _fields(connection, parts, old=old, where=mapping.where, notes=notes)
        tally.prepare(connection)
        _prepare_events(connection, fields, old)
        plans: list[Plan] = []
        accounts: list[Account] = []
        taken: dict[str, Taken] = {}
        for part in parts:
            say(f"checking {part.mapped.name}")
            if isinstance(part.mapped, Source):
                plan, account = _take(connection, part.bound, part.mapped, mapping, fields=fields, notes=notes)
            else:
                was = old.sides.get(part.table) if old else None
                side = sides.take(connection, part.table, part.mapped, part.bound, old=was, note=notes)
                taken[part.table], plan, account = side, side.plan, side.account
            plans.append(plan)
            accounts.append(account)
        why = tally.reasons(connection)
        store.copy_to(connection, f"from {tally.REJECTED}", out / store.REJECTED, work=work)
        tally.check(accounts, why, plans, max_rejected=mapping.max_rejected, kept_in=str(out / store.REJECTED))
        say("writing the log")
        files = {
            name: SideFile(
                store.write(connection, side.table, name=name, folder=out, work=work, listed=old), side.dated, side.attributes
            )
            for name, side in taken.items()
        }
        contents = _contents(connection, mapping, fields, accounts, files, out=out, work=work, old=old, notes=notes)
        store.commit(out, contents, replaces=old)
    return Summary(tuple(accounts), why, tuple(notes), contents.events, contents.users, contents.span)


def _silent(message: str) -> None:
    del message


@contextmanager
def _engine(work: Path) -> Iterator[Any]:
    connection = duckdb.connect(str(work / "rows.duckdb"))
    try:
        for setting in (
            "TimeZone = 'UTC'",
            "enable_progress_bar = false",
            f"temp_directory = {literal(str(work / 'spill'))}",
            # it takes expressions out of TRY, so that an error in one aborts the query
            "disabled_optimizers = 'common_subexpressions'",
        ):
            connection.execute(f"SET {setting}")
        yield connection
    finally:
        connection.close()


def _mapped(mapping: Mapping) -> list[tuple[str, Source | Side]]:
    beside = [("items", mapping.items), ("users", mapping.users)]
    return [*(("events", source) for source in mapping.sources), *((name, side) for name, side in beside if side)]


def _part(
    connection: Any,
    table: str,
    mapped: Source | Side,
    *,
    number: int,
    where: str,
    work: Path,
    say: Progress,
    notes: list[str],
) -> _Part:
    place = f"{where}: [[source]] {number + 1}" if table == "events" else f"{where}: [{table}]"
    opened = open_files(connection, mapped, work=work, number=number)
    wanted = planning.needed(connection, opened, mapped, where=place)
    staged = stage(connection, opened, wanted, progress=say)
    if staged.read == 0:
        raise SourceError("no rows", where=mapped.path, remedy="Give a file with at least one row below its header.")
    bound = planning.bind(connection, staged, mapped, where=place)
    if bound.reading is not None and bound.reading.assumed:
        label = bound.cells[c.TIME if table == "events" else c.VALID_FROM].label
        notes.append(f"{mapped.name}: times in '{label}' carry no zone and are taken as UTC; if they are local, state zone")
    if isinstance(mapped, Side):
        notes += sides.unused(mapped, opened)
    return _Part(table, mapped, bound)


def _fields(
    connection: Any, parts: Sequence[_Part], *, old: Contents | None, where: str, notes: list[str]
) -> dict[str, Kind]:
    """Return the fields of the log and their types; those of a log that is there are binding, order included."""
    bound = [part.bound for part in parts if part.table == "events"]
    found = planning.kinds(connection, bound, settled=old.fields if old else None, note=notes)
    if old is None:
        return found
    if old.fields.keys() != found.keys():
        listed = {"the log has": ", ".join(old.fields) or "none", "the mapping has": ", ".join(found) or "none"}
        what = "other fields than the log: " + ", ".join(f"{who} {names}" for who, names in listed.items())
        raise SourceError(what, where=where, remedy="Map the same fields, or ingest everything into a new log.")
    return {name: found[name] for name in old.fields}


def _prepare_events(connection: Any, fields: dict[str, Kind], old: Contents | None) -> None:
    types = CANONICAL_TYPES | {name: kind.sql for name, kind in fields.items()}
    declared = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
    connection.execute(f"create table {_FRESH} ({declared})")
    ids = f"select {c.ID} from {_FRESH}" + (f" union all select {c.ID} from events" if old else "")
    connection.execute(f"create view known as {ids}")


def _take(
    connection: Any, bound: Bound, source: Source, mapping: Mapping, *, fields: dict[str, Kind], notes: list[str]
) -> tuple[Plan, Account]:
    """Check the rows of a source, and add those that are neither in the log nor in an earlier source."""
    plan = planning.source_plan(bound, source, fields=fields, start=mapping.span_from, until=mapping.span_until)
    checked = f"checked_{bound.staged.table}"
    plan.carry_out(connection, checked)
    names = [name for name in CANONICAL_TYPES if name not in (c.ID, c.BUCKET)]
    accepted = f"select {', '.join(map(quote, [*names, *fields]))} from {checked} where step is null"
    (new,) = connection.execute(
        f"insert into {_FRESH} by name select * from ({identified(accepted, tuple(fields))}) anti join known using ({c.ID})"
    ).fetchone()
    account = tally.account(connection, plan, checked, source=source.name, table="events", new=new)
    outside = tally.count(connection, plan, checked, reason=rows.OUTSIDE)
    if outside:
        notes.append(f"{source.name}: {outside:,} of the filtered rows are outside the stated span")
    for table in (checked, bound.staged.table):
        connection.execute(f"drop table {table}")
    return plan, account


def _contents(
    connection: Any,
    mapping: Mapping,
    fields: dict[str, Kind],
    accounts: Sequence[Account],
    taken: dict[str, SideFile],
    *,
    out: Path,
    work: Path,
    old: Contents | None,
    notes: list[str],
) -> Contents:
    """Write the new events and say what the log holds with them."""
    union = f"select * from {_FRESH}" + (" union all by name select * from events" if old else "")
    events, users, first, last = connection.execute(
        f'select count(*), count(distinct "{c.USER}"), min("{c.TIME}"), max("{c.TIME}") from ({union})'
    ).fetchone()
    if not events:
        read = sum(account.read for account in accounts if account.table == "events")
        remedy = "Look at where, the span and users in the mapping."
        raise SourceError(f"no events: none of {read:,} rows is left", where=mapping.where, remedy=remedy)
    start = mapping.span_from or first
    until = mapping.span_until or last + timedelta(microseconds=1)
    span = Span(start, until, stated=mapping.span_until is not None)
    span = span if old is None else _joined(old.span, span, stated_start=mapping.span_from is not None, where=mapping.where)
    if not span.stated:
        end = moments.text(last)
        notes.append(f"nobody stated until when the log is known, so it ends just after its last event ({end}); state until")
    parts = old.parts if old else ()
    if any(account.new for account in accounts if account.table == "events"):
        parts = (*parts, store.write(connection, _FRESH, name="events", folder=out, work=work, listed=old))
    return Contents(
        span=span,
        fields=fields,
        parts=parts,
        sides={**(old.sides if old else {}), **taken},
        about=mapping.about or (old.about if old else None),
        events=events,
        users=users,
        accounts=(*(old.accounts if old else ()), *(asdict(account) for account in accounts)),
    )


def _joined(old: Span, new: Span, *, stated_start: bool, where: str) -> Span:
    """Return the span of a log and an addition to it.

    Raises:
        SourceError: the stated spans leave a gap, of which nothing is known.
    """
    if stated_start and (new.start > old.until or new.until < old.start):
        remedy = "State a span that joins it, if nothing happened between; else ingest what did."
        raise SourceError(f"the log is known for {old}, and {new} leaves a gap", where=where, remedy=remedy)
    last = max(old, new, key=lambda span: (span.until, span.stated))
    return Span(min(old.start, new.start), last.until, stated=last.stated)
