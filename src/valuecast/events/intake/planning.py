"""From a mapping and staged rows to a plan: every column bound, every type settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from valuecast import columns as c
from valuecast.errors import SourceError
from valuecast.events import cells, snippets
from valuecast.events.intake import binding, rows, times
from valuecast.events.intake.binding import Cell
from valuecast.events.intake.rows import BROKEN, Outcome, Plan, Step, Target
from valuecast.events.intake.staging import Opened, Staged
from valuecast.events.protection.privacy import Shield
from valuecast.events.schema import Kind
from valuecast.events.spec import DROP, Column, Field, Side, Source

_NO_USER = Step(
    Outcome.REJECTED,
    "",
    reason="no user",
    advice='Add users = "drop" (--users drop) to leave such rows out, counted.',
)
_DROPPED = Step(Outcome.DROPPED, "")
_NO_EVENT = Step(Outcome.REJECTED, "", reason="no event", advice="Leave such rows out with where.")
_NO_KEY = Step(Outcome.REJECTED, "", reason="no key", advice="Leave such rows out of the file.")


@dataclass(frozen=True)
class Bound:
    """The cells of a source's or a side's targets, by name, the fields of the shop apart, and how its time is read."""

    staged: Staged
    cells: Mapping[str, Cell]
    fields: Mapping[str, tuple[Field, Cell]]
    reading: times.Reading | None
    condition: Cell | None = None


def needed(connection: Any, opened: Opened, mapped: Source | Side, *, shield: Shield, where: str) -> list[str]:
    """Return the columns of the files that a source or a side reads.

    Raises:
        SourceError: one of them is not there, or must not be read.
    """
    found = []
    for key, column in [*_columns(mapped).items(), *((field.name, field.source) for field in _fields(mapped))]:
        names = binding.names(connection, opened, column, where=f"{where}: {key}")
        shield.check(names, computed=column.sql is not None, where=f"{where}: {key}")
        found += names
    if isinstance(mapped, Source) and mapped.where is not None:
        names = binding.named(connection, opened, snippets.parse(mapped.where, where=f"{where}: where"))
        shield.check(names, computed=True, where=f"{where}: where")
        found += names
    return found


def bind(connection: Any, staged: Staged, mapped: Source | Side, *, where: str) -> Bound:
    """Bind every target of a source or a side to its staged rows.

    Raises:
        SourceError: a column cannot be what it is mapped to.
    """
    targets = _columns(mapped)
    timed = c.TIME if isinstance(mapped, Source) else c.VALID_FROM
    reading, read_as, bound = None, {}, {}
    if timed in targets:
        column = targets.pop(timed)
        place = f"{where}: {timed}"
        bound[timed] = cell = binding.bind(connection, staged, column, where=place, read_as={})
        reading = _reading(connection, staged, column, cell, where=f"{staged.name}, column '{cell.label}'")
        if cell.type == cells.TEXT and not cell.computed:
            read_as[cell.label] = reading
    for key, column in targets.items():
        bound[key] = binding.bind(connection, staged, column, where=f"{where}: {key}", read_as=read_as)
    fields = {}
    for field in _fields(mapped):
        place = f"{where}: {field.name}"
        fields[field.name] = (field, binding.bind(connection, staged, field.source, where=place, read_as=read_as))
    condition = None
    if isinstance(mapped, Source) and mapped.where is not None:
        snippet = snippets.parse(mapped.where, where=f"{where}: where")
        condition = binding.bind_sql(connection, staged, snippet, read_as=read_as)
        if condition.type != "BOOLEAN":
            remedy = "Write a condition, such as Price > 0."
            raise SourceError(f"{mapped.where} is not true or false", where=snippet.where, remedy=remedy)
    return Bound(staged, bound, fields, reading, condition)


def kinds(
    connection: Any, bound: Sequence[Bound], *, settled: Mapping[str, Kind] | None, note: list[str]
) -> dict[str, Kind]:
    """Settle the type of every field over all sources that have it.

    Args:
        connection: the engine.
        bound: the sources.
        settled: the types in the log that is there already.
        note: takes a line where the data alone would have said otherwise.

    Raises:
        SourceError: the mapping states another type than the log has, or two different ones.
    """
    found: dict[str, Kind] = {}
    for name in dict.fromkeys(name for each in bound for name in each.fields):
        having = [(each.staged, *each.fields[name]) for each in bound if name in each.fields]
        stated = {Kind(field.source.type) for _, field, _ in having if field.source.type}
        stated |= {Kind.STRING for _, field, _ in having if field.source.map}
        stated |= {settled[name]} if settled and name in settled else set()
        if len(stated) > 1:
            remedy = "Use one type everywhere, or another name for the field."
            what = f"field '{name}' is {' and '.join(sorted(stated))}"
            raise SourceError(what, where=having[0][0].name, remedy=remedy)
        found[name] = stated.pop() if stated else _inferred(connection, name, having, note)
    return found


def source_plan(
    bound: Bound,
    source: Source,
    *,
    fields: Mapping[str, Kind],
    start: datetime | None,
    until: datetime | None,
) -> Plan:
    """Return the plan of a source of events; ``fields`` are those of the log, in its order."""
    assert bound.reading is not None
    get = bound.cells
    user = _DROPPED if source.users == DROP else _NO_USER
    targets = {
        "broken": BROKEN,
        "where": rows.condition(bound.condition, "where") if bound.condition else None,
        "user": rows.text(c.USER, get[c.USER], "user", choices=source.user.map, absent=user),
        "time": rows.time(c.TIME, get[c.TIME], "time", reading=bound.reading),
        "span": rows.within("time", start=start, until=until),
        "event": rows.text(c.EVENT, get[c.EVENT], "event", choices=source.event.map, absent=_NO_EVENT),
        "amount": _amount(bound),
        "item": _text(c.ITEM, get.get(c.ITEM), source.item),
        "order": _text(c.ORDER, get.get(c.ORDER), source.order),
        **_field_targets(bound, fields),
    }
    return Plan(bound.staged, tuple((key, target) for key, target in targets.items() if target is not None))


def side_plan(bound: Bound, side: Side, *, key: str, attributes: Mapping[str, Kind]) -> Plan:
    """Return the plan of a table of items or users."""
    targets = {"broken": BROKEN, "key": rows.text(key, bound.cells["key"], "key", choices=side.key.map, absent=_NO_KEY)}
    if bound.reading is not None:
        targets["time"] = rows.time(c.VALID_FROM, bound.cells[c.VALID_FROM], "time", reading=bound.reading)
    return Plan(bound.staged, tuple((targets | _field_targets(bound, attributes)).items()))


def _columns(mapped: Source | Side) -> dict[str, Column]:
    names: Iterable[str] = (c.TIME, c.USER, c.EVENT, c.AMOUNT, c.ITEM, c.ORDER)
    if isinstance(mapped, Side):
        names = (c.VALID_FROM, "key")
    return {name: getattr(mapped, name) for name in names if getattr(mapped, name) is not None}


def _fields(mapped: Source | Side) -> tuple[Field, ...]:
    return mapped.fields if isinstance(mapped, Source) else mapped.attributes


def _reading(connection: Any, staged: Staged, column: Column, cell: Cell, *, where: str) -> times.Reading:
    written = times.Column(cell.content(cell.attempt), cell.type, staged.sample, staged.table, where)
    return times.reading(connection, written, format=column.format, zone=column.zone, unit=column.unit)


def _inferred(connection: Any, name: str, having: list[tuple[Staged, Field, Cell]], note: list[str]) -> Kind:
    seen = {_seen(connection, name, staged, cell, note) for staged, _, cell in having} - {None}
    return (seen.pop() if len(seen) == 1 else None) or Kind.STRING


def _seen(connection: Any, name: str, staged: Staged, cell: Cell, note: list[str]) -> Kind | None:
    if cell.type == "BOOLEAN":
        return Kind.BOOLEAN
    if cell.type != cells.TEXT:
        return Kind.NUMBER if cells.is_number(cell.type) else Kind.STRING
    profile = cells.profile(connection, staged.sample, cell.content(cell.attempt))
    if profile.kind is Kind.STRING and profile.numbers * 10 >= profile.cells * 9 and profile.numbers < profile.cells:
        note.append(
            f"{staged.name}: field '{name}' is text, since cells such as '{profile.example}' are no numbers; "
            'state type = "number" to reject these instead'
        )
    return profile.kind if profile.cells else None


def _amount(bound: Bound) -> Target:
    if c.AMOUNT not in bound.cells:
        return Target(c.AMOUNT, {}, "null::DOUBLE", ())
    return _typed(c.AMOUNT, bound.cells[c.AMOUNT], "amount", kind=Kind.NUMBER, where=bound.staged.name)


def _text(name: str, cell: Cell | None, column: Column | None) -> Target:
    if cell is None or column is None:
        return Target(name, {}, "null::VARCHAR", ())
    return rows.text(name, cell, name, choices=column.map)


def _typed(name: str, cell: Cell, key: str, *, kind: Kind, where: str) -> Target:
    fits = cell.type == cells.TEXT or cells.is_number(cell.type) or (kind is Kind.BOOLEAN and cell.type == "BOOLEAN")
    if not fits:
        what = f"'{name}' must be a {kind}, and column '{cell.label}' holds {cell.type}"
        raise SourceError(what, where=where, remedy="Map another column, or compute it with {sql = ...}.")
    return rows.typed(name, cell, key, kind=kind)


def _field_targets(bound: Bound, fields: Mapping[str, Kind]) -> dict[str, Target]:
    """Return the targets of all fields of the log; one that this source lacks is missing in all its rows."""
    targets = {}
    for at, (name, kind) in enumerate(fields.items()):
        key = f"field_{at}"
        if name not in bound.fields:
            targets[key] = Target(name, {}, f"null::{kind.sql}", ())
            continue
        field, cell = bound.fields[name]
        targets[key] = (
            rows.text(name, cell, key, choices=field.source.map)
            if kind is Kind.STRING
            else _typed(name, cell, key, kind=kind, where=bound.staged.name)
        )
    return targets
