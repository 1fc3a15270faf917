"""Finds the columns that a task names in a log, and turns its predicates into the engine's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import ibis.expr.types as ir

from valuecast import columns as c
from valuecast.errors import TaskError, suggest
from valuecast.events.attributes import attributed
from valuecast.events.log import EventLog, SideTable
from valuecast.events.schema import CANONICAL_TYPES, Kind
from valuecast.tasks.query import (
    COMPARISONS,
    Aggregate,
    Among,
    Column,
    Compared,
    Joined,
    Missing,
    Negated,
    Predicate,
    Value,
    columns_of,
)

_OWN = {name: Kind.NUMBER if name == c.AMOUNT else Kind.STRING for name in CANONICAL_TYPES} | {
    c.TIME: None,
    c.BUCKET: None,
}


@dataclass(frozen=True)
class Resolver:
    """The events that an aggregate of a task is over."""

    log: EventLog
    task: str
    VALUE: ClassVar = "_value"

    def events(self, aggregate: Aggregate) -> ir.Table:
        """Return the events that count, with the column that is summed or told apart as ``_value``.

        Raises:
            TaskError: a column does not exist, or it does not hold what it is compared with.
        """
        read = [
            *(columns_of(aggregate.where) if aggregate.where else ()),
            *([aggregate.column] if aggregate.column else ()),
        ]
        events = self.log.events
        for name, side in self._sides.items():
            wanted = sorted({self._place(column)[1] for column in read if self._place(column)[0] == name})
            if wanted:
                events = attributed(events, side, wanted, by=c.TIME, prefix=f"_{name}_")
        if aggregate.events:
            events = events.filter(events[c.EVENT].isin(aggregate.events))
        if aggregate.where:
            events = events.filter(self._condition(aggregate.where, events))
        if aggregate.column:
            if aggregate.function == "sum":
                self._hold(aggregate.column, 0.0)
            events = events.mutate(self._column(aggregate.column, events).name(self.VALUE))
        return events

    @property
    def _sides(self) -> dict[str, SideTable]:
        sides = {"items": self.log.items, "users": self.log.users}
        return {name: side for name, side in sides.items() if side is not None}

    def _place(self, column: Column) -> tuple[str, str, Kind]:
        """Where a column lives, what it is called there, and what it holds."""
        own = {name: kind for name, kind in _OWN.items() if kind} | dict(self.log.fields)
        known = {("events", name): kind for name, kind in own.items()} | {
            (table, name): kind for table, side in self._sides.items() for name, kind in side.attributes.items()
        }
        for table in [column.table] if column.table else ["events", "items", "users"]:
            if kind := known.get((table, column.name)):
                return table, column.name, kind
        names = {name if table == "events" else f"{table}.{name}" for table, name in known}
        raise TaskError(
            f"the log has no column '{column}'", where=f"task '{self.task}'", remedy=suggest(str(column), names)
        )

    def _column(self, column: Column, events: ir.Table) -> ir.Column:
        table, name, _ = self._place(column)
        return events[name if table == "events" else f"_{table}_{name}"]

    def _hold(self, column: Column, value: Value) -> None:
        kind = self._place(column)[2]
        given = Kind.BOOLEAN if isinstance(value, bool) else Kind.NUMBER if isinstance(value, float) else Kind.STRING
        if kind is not given:
            remedy = {
                "string": "Write 'text' in single quotes.",
                "number": "Write a number.",
                "boolean": "Write true or false.",
            }
            raise TaskError(
                f"'{column}' is a {kind} column, used as a {given}", where=f"task '{self.task}'", remedy=remedy[kind]
            )

    def _condition(self, predicate: Predicate, events: ir.Table) -> ir.BooleanValue:
        match predicate:
            case Compared(column, sign, value):
                self._hold(column, value)
                found: ir.BooleanValue = COMPARISONS[sign](self._column(column, events), value)
                return found
            case Among(column, values):
                for value in values:
                    self._hold(column, value)
                return self._column(column, events).isin(values)
            case Missing(column):
                return self._column(column, events).isnull()
            case Negated(part):
                return ~self._condition(part, events)
            case Joined(word, parts):
                conditions = [self._condition(part, events) for part in parts]
                return reduce((lambda a, b: a & b) if word == "and" else (lambda a, b: a | b), conditions)
