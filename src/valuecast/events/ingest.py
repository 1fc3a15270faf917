"""From a shop's files to a log: every row is taken, rejected with a reason, filtered or dropped, and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from valuecast import columns as c
from valuecast import moments
from valuecast.errors import SourceError
from valuecast.events import engine, store
from valuecast.events.intake import planning, rows, sides, tally
from valuecast.events.intake.planning import Bound
from valuecast.events.intake.rows import Plan
from valuecast.events.intake.sides import Taken
from valuecast.events.intake.staging import open_files, stage
from valuecast.events.intake.summary import Account, Summary
from valuecast.events.protection import privacy
from valuecast.events.protection.privacy import Protection
from valuecast.events.protection.protecting import protect
from valuecast.events.schema import CANONICAL_TYPES, Kind, Span, identified, literal, quote
from valuecast.events.source import Mapping, Side, Source, place
from valuecast.events.store import Contents, SideFile
from valuecast.report.masking import masked

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Run:
    """What every stage of one ingest needs. ``old`` is the log that is there already.

    ``notes`` and ``drafts``, the new parts of events, one for each source that has any, grow on the way.
    """

    mapping: Mapping
    out: Path
    old: Contents | None
    work: Path
    connection: Any
    say: Progress
    protection: Protection
    notes: list[str] = field(default_factory=list)
    drafts: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Part:
    """One file or pattern, its rows staged and its columns bound.

    ``table`` is events, items or users, and ``columns`` are all that the file has.
    """

    table: str
    mapped: Source | Side
    bound: Bound
    columns: tuple[str, ...]


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

    What does not fit in memory is put down in ``out`` meanwhile, so files can be larger than memory. Rejected rows are
    in ``rejected.parquet`` of ``out`` in any case. One ingest at a time: a second one is refused.

    Args:
        mapping: which files, and what their columns are.
        out: the folder of the log, a new one or one with a log.
        progress: is told what is being done.

    Raises:
        SourceError: a file cannot be read, the mapping does not fit it, too many rows are rejected, or none is left.
        LogError: ``out`` holds something else, or a damaged log.
    """
    with store.claim(out) as claim, _engine(claim.work) as connection:
        say, notes = progress or _silent, list[str]()
        protection = protect(connection, mapping, out, old=claim.old, say=say, note=notes)
        run = _Run(mapping, out, claim.old, claim.work, connection, say, protection, notes)
        if claim.old is not None:
            store.view(connection, out, claim.old)
        parts = [_part(run, table, mapped, number) for number, (table, mapped) in enumerate(_mapped(mapping))]
        absent = set(mapping.privacy.drop).difference(*(part.columns for part in parts))
        notes.extend(f"[privacy] drop: no file has a column '{name}'" for name in sorted(absent))
        checked = _check(run, parts)
        _refuse_doubles(run, parts, checked)
        why = tally.reasons(connection)
        rejected = out / store.REJECTED
        if why or rejected.exists():  # a new log that is refused leaves a folder only where there is something to read
            store.copy_to(connection, f"from {tally.REJECTED}", rejected, work=claim.work)
        tally.check(checked.accounts, why, checked.plans, max_rejected=mapping.max_rejected, kept_in=str(rejected))
        contents = _write(run, checked)
        if not rejected.exists():
            store.copy_to(connection, f"from {tally.REJECTED}", rejected, work=claim.work)
        store.commit(out, contents)
    return Summary(checked.accounts, why, tuple(run.notes), contents.events, contents.users, contents.span)


def _silent(message: str) -> None:
    del message


@contextmanager
def _engine(work: Path) -> Iterator[Any]:
    connection = duckdb.connect()
    try:
        engine.prepare(connection, spill=work / "spill")
        # it takes expressions out of TRY, so that an error in one aborts the query
        connection.execute("SET disabled_optimizers = 'common_subexpressions'")
        with engine.within_limits():
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
    policy = run.mapping.privacy
    shield = privacy.shield(policy, mapped, table, where=where)
    mapped = privacy.as_texts(policy, mapped, table)
    opened = open_files(run.connection, mapped, name=name, work=run.work, number=number)
    wanted = planning.needed(run.connection, opened, mapped, shield=shield, where=where)
    staged = stage(run.connection, opened, wanted, shield=shield, progress=run.say)
    if staged.read == 0:
        raise SourceError("no rows", where=mapped.place, remedy="Give a file with at least one row below its header.")
    bound = planning.bind(run.connection, staged, mapped, where=where)
    if bound.reading is not None and bound.reading.assumed:
        label = bound.cells[c.TIME if table == "events" else c.VALID_FROM].label
        run.notes.append(f"{name}: times in '{label}' carry no zone and are taken as UTC; if local, state zone")
    if isinstance(mapped, Side):
        run.notes.extend(sides.unused(opened, [*wanted, *policy.drop]))
    return _Part(table, mapped, bound, tuple(opened.shards[0].columns))


def _check(run: _Run, parts: Sequence[_Part]) -> _Checked:
    """Check every row, and keep those that pass and are new."""
    fields = _fields(run, [part.bound for part in parts if part.table == "events"])
    tally.prepare(run.connection)
    plans, accounts, taken = [], [], {}
    for part in parts:
        run.say(f"checking {part.bound.staged.name}")
        if isinstance(part.mapped, Source):
            plan, account = _take(run, part.bound, part.mapped, fields)
        else:
            old = run.old.sides.get(part.table) if run.old else None
            shown = masked if store.KEYS[part.table] in run.protection.treatments else str
            side = sides.take(run.connection, part.table, part.mapped, part.bound, old=old, shown=shown, note=run.notes)
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


def _take(run: _Run, bound: Bound, source: Source, fields: dict[str, Kind]) -> tuple[Plan, Account]:
    """Check the rows of a source, and add those that are neither in the log nor in an earlier source."""
    mapping = run.mapping
    plan = planning.source_plan(bound, source, fields=fields, start=mapping.span_from, until=mapping.span_until)
    checked = f"checked_{bound.staged.table}"
    plan.carry_out(run.connection, checked)
    names = [name for name in CANONICAL_TYPES if name not in (c.ID, c.BUCKET)]
    accepted = f"select {', '.join(map(quote, [*names, *fields]))} from {checked} where step is null"
    events = identified(accepted, fields)
    if known := _events(run):
        events = f"select * from ({events}) anti join ({known}) using ({c.ID})"
    draft, new = store.draft(run.connection, events, table="events", work=run.work)
    if new:
        run.drafts.append(draft)
    account = tally.account(run.connection, plan, checked, table="events", new=new)
    outside = tally.count(run.connection, plan, checked, reason=rows.OUTSIDE)
    if outside:
        run.notes.append(f"{bound.staged.name}: {outside:,} of the filtered rows are outside the stated span")
    for table in (checked, bound.staged.table):
        run.connection.execute(f"drop table {table}")
    return plan, account


def _events(run: _Run) -> str:
    """Return SQL of the events that are there already and of those of earlier sources; empty if there are none."""
    drafts = [f"select * from read_parquet([{', '.join(literal(str(path)) for path in run.drafts)}])"]
    return " union all by name ".join([*(drafts if run.drafts else []), *(["select * from events"] if run.old else [])])


def _write(run: _Run, checked: _Checked) -> Contents:
    """Write the files of the log, and say what it holds with them.

    Raises:
        SourceError: there is no event, or the span leaves a gap.
    """
    run.say("writing the log")
    old, mapping = run.old, run.mapping
    union = _events(run)
    if not union:
        counts = {
            name: sum(getattr(account, name) for account in checked.events)
            for name in ("read", "rejected", "filtered", "dropped")
        }
        what = "no events: " + ", ".join(f"{count:,} rows {name}" for name, count in counts.items())
        remedy = "Look at where, the span and users in the mapping, and at rejected.parquet."
        raise SourceError(what, where=mapping.where, remedy=remedy)
    events, users, first, last, odd = run.connection.execute(
        f"""
        select count(*), count(distinct "{c.USER}"), min("{c.TIME}"), max("{c.TIME}"),
            count(*) filter ({c.EVENT} = '{c.PURCHASE}' and {c.AMOUNT} < 0) from ({union})
        """
    ).fetchone()
    if odd:
        run.notes.append(
            f"{odd:,} purchases have a negative amount; if they are refunds, say so (--negative return, or event = "
            "{sql = \"case when ... < 0 then 'return' else 'purchase' end\"}), else they count as purchases"
        )
    span = _span(run, first, last)
    files = {}
    for name, side in checked.sides.items():
        draft, _ = store.draft(run.connection, f"select * from {side.table}", table=name, work=run.work)
        file = store.keep(run.connection, draft, table=name, folder=run.out, listed=old)
        files[name] = SideFile(file, side.dated, side.attributes)
    parts = [store.keep(run.connection, path, table="events", folder=run.out, listed=old) for path in run.drafts]
    return Contents(
        span=span,
        fields=checked.fields,
        parts=(*(old.parts if old else ()), *parts),
        sides={**(old.sides if old else {}), **files},
        about=mapping.about or (old.about if old else None),
        events=events,
        users=users,
        accounts=(*(old.accounts if old else ()), *checked.recorded),
        protection=run.protection,
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
    how = mapped.unplaced()
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
