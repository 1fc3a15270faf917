"""From a shop's files to a log: every row is taken, rejected with a reason, filtered or dropped, and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
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
from valuecast.events.source import Mapping, Side, Source, place
from valuecast.events.staging import open_files, stage
from valuecast.events.store import Contents, SideFile
from valuecast.events.summary import Account, Summary

Progress = Callable[[str], None]
_FRESH: Final = "fresh"
"""Table of the events that the log does not have yet."""


@dataclass(frozen=True)
class _Run:
    """What every stage of one ingest needs. ``old`` is the log that is there already; ``notes`` grow on the way."""

    mapping: Mapping
    out: Path
    old: Contents | None
    work: Path
    connection: Any
    say: Progress
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """One file or pattern, its rows staged and its columns bound. ``table``: events, items or users."""

    table: str
    mapped: Source | Side
    bound: Bound


@dataclass(frozen=True)
class _Checked:
    """The rows that passed, in the engine, and what became of the others."""

    fields: dict[str, Kind]
    sides: dict[str, Taken]
    plans: tuple[Plan, ...]
    accounts: tuple[Account, ...]

    mappings: tuple[str, ...]

    @property
    def recorded(self) -> list[dict[str, Any]]:
        """The accounts as the log keeps them, each with a digest of how the file was read."""
        return [
            asdict(account) | {"mapping": digest} for account, digest in zip(self.accounts, self.mappings, strict=True)
        ]

    @property
    def events(self) -> list[Account]:
        """The accounts of the sources of events."""
        return [account for account in self.accounts if account.table == "events"]


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
    old = store.current(out)
    with store.workspace(out) as work, _engine(work) as connection:
        run = _Run(mapping, out, old, work, connection, progress or _silent)
        if old is not None:
            store.view(connection, out, old)
        parts = [_part(run, table, mapped, number) for number, (table, mapped) in enumerate(_mapped(mapping))]
        checked = _check(run, parts)
        _refuse_doubles(run, parts, checked)
        why = tally.reasons(connection)
        store.copy_to(connection, f"from {tally.REJECTED}", out / store.REJECTED, work=work)
        kept_in = str(out / store.REJECTED)
        tally.check(checked.accounts, why, checked.plans, max_rejected=mapping.max_rejected, kept_in=kept_in)
        contents = _write(run, checked)
        store.commit(out, contents, work=work, replaces=old)
    return Summary(checked.accounts, why, tuple(run.notes), contents.events, contents.users, contents.span)


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


def _name(mapping: Mapping, table: str, mapped: Source | Side, number: int) -> str:
    """Return what a source is called: its file, and more where two are called the same."""
    alike = [each for _, each in _mapped(mapping) if each.name == mapped.name]
    if len(alike) == 1:
        return mapped.name
    return f"{mapped.name} ({table if table != 'events' else f'source {number + 1}'})"


def _part(run: _Run, table: str, mapped: Source | Side, number: int) -> _Part:
    """Stage the rows of one file or pattern, and bind its columns."""
    where = place(run.mapping.where, number + 1) if table == "events" else f"{run.mapping.where}: [{table}]"
    name = _name(run.mapping, table, mapped, number)
    opened = open_files(run.connection, mapped, name=name, work=run.work, number=number)
    wanted = planning.needed(run.connection, opened, mapped, where=where)
    staged = stage(run.connection, opened, wanted, progress=run.say)
    if staged.read == 0:
        raise SourceError("no rows", where=mapped.path, remedy="Give a file with at least one row below its header.")
    bound = planning.bind(run.connection, staged, mapped, where=where)
    if bound.reading is not None and bound.reading.assumed:
        label = bound.cells[c.TIME if table == "events" else c.VALID_FROM].label
        run.notes.append(f"{name}: times in '{label}' carry no zone and are taken as UTC; if local, state zone")
    if isinstance(mapped, Side):
        run.notes.extend(sides.unused(opened, wanted))
    return _Part(table, mapped, bound)


def _check(run: _Run, parts: Sequence[_Part]) -> _Checked:
    """Check every row, and keep those that pass and are new."""
    fields = _fields(run, [part.bound for part in parts if part.table == "events"])
    tally.prepare(run.connection)
    _prepare_events(run, fields)
    plans, accounts, taken = [], [], {}
    for part in parts:
        run.say(f"checking {part.bound.staged.name}")
        if isinstance(part.mapped, Source):
            plan, account = _take(run, part.bound, part.mapped, fields)
        else:
            old = run.old.sides.get(part.table) if run.old else None
            side = sides.take(run.connection, part.table, part.mapped, part.bound, old=old, note=run.notes)
            taken[part.table], plan, account = side, side.plan, side.account
        plans.append(plan)
        accounts.append(account)
    return _Checked(fields, taken, tuple(plans), tuple(accounts), tuple(_digest(part.mapped) for part in parts))


def _fields(run: _Run, bound: Sequence[Bound]) -> dict[str, Kind]:
    """Return the fields of the log and their types; those of a log that is there are binding, order included."""
    old = run.old.fields if run.old else None
    found = planning.kinds(run.connection, bound, settled=old, note=run.notes)
    if old is None:
        return found
    if old.keys() != found.keys():
        what = f"the log has the fields {', '.join(old) or '(none)'}, the mapping {', '.join(found) or '(none)'}"
        remedy = "Map the same fields, or ingest everything into a new log."
        raise SourceError(what, where=run.mapping.where, remedy=remedy)
    return {name: found[name] for name in old}


def _prepare_events(run: _Run, fields: dict[str, Kind]) -> None:
    types = CANONICAL_TYPES | {name: kind.sql for name, kind in fields.items()}
    declared = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
    run.connection.execute(f"create table {_FRESH} ({declared})")
    ids = f"select {c.ID} from {_FRESH}" + (f" union all select {c.ID} from events" if run.old else "")
    run.connection.execute(f"create view known as {ids}")


def _take(run: _Run, bound: Bound, source: Source, fields: dict[str, Kind]) -> tuple[Plan, Account]:
    """Check the rows of a source, and add those that are neither in the log nor in an earlier source."""
    mapping = run.mapping
    plan = planning.source_plan(bound, source, fields=fields, start=mapping.span_from, until=mapping.span_until)
    checked = f"checked_{bound.staged.table}"
    plan.carry_out(run.connection, checked)
    names = [name for name in CANONICAL_TYPES if name not in (c.ID, c.BUCKET)]
    accepted = f"select {', '.join(map(quote, [*names, *fields]))} from {checked} where step is null"
    unknown = f"select * from ({identified(accepted, tuple(fields))}) anti join known using ({c.ID})"
    (new,) = run.connection.execute(f"insert into {_FRESH} by name {unknown}").fetchone()
    account = tally.account(run.connection, plan, checked, table="events", new=new)
    outside = tally.count(run.connection, plan, checked, reason=rows.OUTSIDE)
    if outside:
        run.notes.append(f"{bound.staged.name}: {outside:,} of the filtered rows are outside the stated span")
    for table in (checked, bound.staged.table):
        run.connection.execute(f"drop table {table}")
    return plan, account


def _write(run: _Run, checked: _Checked) -> Contents:
    """Write the files of the log, and say what it holds with them.

    Raises:
        SourceError: there is no event, or the span leaves a gap.
    """
    run.say("writing the log")
    old, mapping = run.old, run.mapping
    union = f"select * from {_FRESH}" + (" union all by name select * from events" if old else "")
    events, users, first, last = run.connection.execute(
        f'select count(*), count(distinct "{c.USER}"), min("{c.TIME}"), max("{c.TIME}") from ({union})'
    ).fetchone()
    if not events:
        counts = {
            name: sum(getattr(account, name) for account in checked.events)
            for name in ("read", "rejected", "filtered", "dropped")
        }
        what = "no events: " + ", ".join(f"{count:,} rows {name}" for name, count in counts.items())
        remedy = "Look at where, the span and users in the mapping, and at rejected.parquet."
        raise SourceError(what, where=mapping.where, remedy=remedy)
    (odd,) = run.connection.execute(
        f"select count(*) from {_FRESH} where {c.EVENT} = '{c.PURCHASE}' and {c.AMOUNT} < 0"
    ).fetchone()
    if odd:
        run.notes.append(
            f"{odd:,} purchases have a negative amount; if they are refunds, say so (--negative return, or event = "
            "{sql = \"case when ... < 0 then 'return' else 'purchase' end\"}), else they count as purchases"
        )
    span = _span(run, first, last)
    files = {}
    for name, side in checked.sides.items():
        file = store.write(run.connection, side.table, name=name, folder=run.out, work=run.work, listed=old)
        files[name] = SideFile(file, side.dated, side.attributes)
    parts = old.parts if old else ()
    if any(account.new for account in checked.events):
        part = store.write(run.connection, _FRESH, name="events", folder=run.out, work=run.work, listed=old)
        parts = (*parts, part)
    return Contents(
        span=span,
        fields=checked.fields,
        parts=parts,
        sides={**(old.sides if old else {}), **files},
        about=mapping.about or (old.about if old else None),
        events=events,
        users=users,
        accounts=(*(old.accounts if old else ()), *checked.recorded),
    )


def _refuse_doubles(run: _Run, parts: Sequence[_Part], checked: _Checked) -> None:
    """Refuse to read a file again by another mapping that turns rows of the log into other rows beside them.

    Rows that were rejected, filtered or dropped before may well be new; more new rows than those are not.

    Raises:
        SourceError: the log would hold the same lines twice.
    """
    if run.old is None:
        return
    last = {account["source"]: account for account in run.old.accounts if account["table"] == "events"}
    for part, account in zip(parts, checked.accounts, strict=True):
        before = last.get(account.source)
        if part.table != "events" or before is None or before["mapping"] == _digest(part.mapped):
            continue
        left_out = before["rejected"] + before["filtered"] + before["dropped"]
        if account.new > left_out:
            raise SourceError(
                f"the log holds this file already, read by another mapping; {account.new:,} of its rows would be added "
                f"beside those that are there",
                where=account.source,
                remedy="Ingest by the new mapping into a new folder.",
            )


def _digest(mapped: Source | Side) -> str:
    """Digest of how a file is read; where it lies, and the order of its fields, do not matter."""
    how = replace(mapped, path="")
    if isinstance(how, Source):
        how = replace(how, fields=tuple(sorted(how.fields, key=repr)))
    return hashlib.sha256(repr(how).encode()).hexdigest()[:16]


def _span(run: _Run, first: datetime, last: datetime) -> Span:
    """Return the span of the log with what is new; ``first`` and ``last`` are those of all its events.

    Raises:
        SourceError: the stated spans leave a gap, of which nothing is known.
    """
    mapping, old = run.mapping, run.old.span if run.old else None
    until = mapping.span_until or last + timedelta(microseconds=1)
    new = Span(mapping.span_from or first, until, stated=mapping.span_until is not None)
    if old is not None and mapping.span_from is not None and (new.start > old.until or new.until < old.start):
        remedy = "State a span that joins it, if nothing happened between; else ingest what did."
        raise SourceError(f"the log is known for {old}, and {new} leaves a gap", where=mapping.where, remedy=remedy)
    latest = max(old or new, new, key=lambda span: (span.until, span.stated))
    if not latest.stated:
        run.notes.append(
            "nobody stated until when the log is known, so it ends just after its last event "
            f"({moments.text(last)}); state until"
        )
    return Span(min(old.start, new.start) if old else new.start, latest.until, stated=latest.stated)
