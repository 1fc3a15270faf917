"""What becomes of each row: taken, rejected with a reason, filtered, or dropped.

A target is one column of the log: how it is read, and the steps by which a row can fail it. A plan puts
the steps of all targets in order; the first that applies decides, so a row has one reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from valuecast.events import cells
from valuecast.events.intake.binding import NOT_A_BOOLEAN, NOT_A_NUMBER, Cell
from valuecast.events.intake.staging import Staged
from valuecast.events.intake.times import EARLIEST, LATEST, Reading
from valuecast.events.schema import Kind, literal, quote
from valuecast.events.spec import Choice

_NUMBER_ADVICE: Final = (
    "Name placeholders with missing = [...], or compute the number, such as "
    """{sql = "replace(Price, ',', '.')::DOUBLE"}."""
)
_MAP_ADVICE: Final = "Add the value to the map, or leave such rows out with where."
_TIME_ADVICE: Final = (
    'State the format that it is written in: format = "%d.%m.%Y" (--format %d.%m.%Y) for 31.12.2024, "%d/%m/%Y" for '
    '31/12/2024, "%Y-%m-%d %H:%M" for 2024-12-31 18:30.'
)


OUTSIDE: Final = "outside the stated span"


class Outcome(StrEnum):
    """What can happen to a row that is not taken."""

    REJECTED = "rejected"
    FILTERED = "filtered"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Step:
    """One way for a row not to be taken.

    Attributes:
        condition: SQL over the inputs and values of all targets.
        label: the column at fault.
        value: SQL over the staged table of what the file says there.
        advice: what to do when it happens to many rows.
    """

    outcome: Outcome
    condition: str
    label: str = ""
    value: str = "null"
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Target:
    """One column of the log.

    Attributes:
        name: of the column; empty where it only decides about rows.
        inputs: SQL over the staged table, by name.
        value: SQL over the inputs.
        steps: in order.
    """

    name: str
    inputs: dict[str, str]
    value: str
    steps: tuple[Step, ...]


_NO_OBJECT: Final = Step(Outcome.REJECTED, "broken", reason="not a JSON object", advice="Check the file.")
BROKEN: Final = Target("", {}, "", (_NO_OBJECT,))


def condition(cell: Cell, key: str) -> Target:
    """Return the target of ``where``: a row for which it does not hold is filtered.

    Where it is unknown because a cell is unreadable, the row is rejected.
    """
    inputs, source = _inputs(cell, key)
    guards = _guards(cell, key, unless=f"{source} is not null")
    return Target("", inputs, "", (*_failures(cell, key), *guards, Step(Outcome.FILTERED, f"{source} is not true")))


def text(name: str, cell: Cell, key: str, *, choices: Sequence[Choice] = (), absent: Step | None = None) -> Target:
    """Return a target that holds names or codes; ``absent`` says what a missing one means."""
    inputs, source = _inputs(cell, key)
    value = plain = cells.as_text(source, cell.type)
    steps = [*_failures(cell, key), *_guards(cell, key)]
    if absent is not None:
        steps.append(_missing(absent, cell, f"{plain} is null"))
    if choices:
        entries = " ".join(f"when {literal(each.value)} then {literal(each.becomes)}" for each in choices)
        value = f"case {plain} {entries} end"
        known = ", ".join(each.value for each in choices)
        unmapped = f"{value} is null and {plain} is not null"
        steps.append(_reject(cell, unmapped, f"not in the map (known: {known})", _MAP_ADVICE))
    return Target(name, inputs, value, tuple(steps))


def typed(name: str, cell: Cell, key: str, *, kind: Kind) -> Target:
    """Return a target that holds numbers or booleans."""
    inputs, source = _inputs(cell, key)
    reason = NOT_A_NUMBER if kind is Kind.NUMBER else NOT_A_BOOLEAN
    unread = f"v_{key} is null and not {cells.missing(source, cell.type)}"
    steps = (*_failures(cell, key), *_guards(cell, key), _reject(cell, unread, reason, _NUMBER_ADVICE))
    return Target(name, inputs, cells.as_kind(kind, source, cell.type), steps)


def time(name: str, cell: Cell, key: str, *, reading: Reading) -> Target:
    """Return the target that holds the time of a row."""
    inputs, source = _inputs(cell, key)
    expected = f"not a time in the column's format, {reading.label} (mixed time formats?)"
    far = f"v_{key} not between TIMESTAMP '{EARLIEST}' and TIMESTAMP '{LATEST}'"
    steps = (
        *_failures(cell, key),
        *_guards(cell, key),
        _reject(cell, cells.missing(source, cell.type), "no time", "Leave such rows out with where."),
        _reject(cell, f"v_{key} is null", expected, _TIME_ADVICE),
        _reject(cell, far, f"a time outside {EARLIEST[:4]} to {LATEST[:4]}", "Check the format or the unit."),
    )
    return Target(name, inputs, reading.sql(source), steps)


def within(key: str, *, start: datetime | None, until: datetime | None) -> Target:
    """Return the target that filters rows outside the stated span, by the time target ``key``."""
    sides = [f"v_{key} {sign} TIMESTAMP '{at}'" for sign, at in (("<", start), (">=", until)) if at is not None]
    return Target("", {}, "", (Step(Outcome.FILTERED, " or ".join(sides), reason=OUTSIDE),) if sides else ())


@dataclass(frozen=True)
class Plan:
    """All targets of a source, over its staged rows."""

    staged: Staged
    targets: tuple[tuple[str, Target], ...]

    @property
    def steps(self) -> list[Step]:
        """The steps of all targets, in order; their places are the codes in the table of ``carry_out``."""
        return [step for _, target in self.targets for step in target.steps]

    def carry_out(self, connection: Any, table: str) -> None:
        """Make ``table`` with the row ``pos``, the ``step`` that took it out or NULL, and the values."""
        inputs = {name: sql for _, target in self.targets for name, sql in target.inputs.items()}
        values = [(key, target) for key, target in self.targets if target.name]
        read = "".join(f", ({sql}) as {name}" for name, sql in inputs.items())
        worked = "".join(f", ({target.value}) as v_{key}" for key, target in values)
        decided = " ".join(f"when {step.condition} then {code}" for code, step in enumerate(self.steps))
        named = "".join(f", v_{key} as {quote(target.name)}" for key, target in values)
        connection.execute(
            f"""
            create table {table} as select pos, (case {decided} end)::SMALLINT as step{named} from (
                select *{worked} from (select rowid as pos, broken{read} from {self.staged.table})
            )
            """
        )

    def rejected(self, table: str) -> str:
        """Return SQL of the rejected rows: ``file, row, column, value, reason``."""
        steps = [(code, step) for code, step in enumerate(self.steps) if step.outcome is Outcome.REJECTED]
        codes = ", ".join(str(code) for code, _ in steps)
        value, label, reason = (
            " ".join(f"when {code} then {get(step)}" for code, step in steps)
            for get in (lambda step: step.value, lambda step: literal(step.label), lambda step: literal(step.reason))
        )
        found = f"""
            select pos, case step {label} end as "column", (case step {value} end)::VARCHAR as value,
                case step {reason} end as reason
            from (select pos, step from {table} where step in ({codes})) join {self.staged.table} s on s.rowid = pos
        """
        return f"""
            select file, row, "column", value, reason from ({self.staged.located(found)})
            union all by name select file, row, null as "column", value, reason from {self.staged.torn}
        """


def _inputs(cell: Cell, key: str) -> tuple[dict[str, str], str]:
    """Return the inputs of a cell, and SQL of its content over them."""
    inputs = {f"s_{key}": cell.attempt} | {f"g_{key}_{at}": guard.bad for at, guard in enumerate(cell.guards)}
    return inputs, cell.content(f"s_{key}")


def _failures(cell: Cell, key: str) -> list[Step]:
    advice = "Check the expression on such rows."
    return [_reject(cell, f"s_{key} is null", "cannot be computed", advice)] if cell.computed else []


def _guards(cell: Cell, key: str, *, unless: str = "false") -> list[Step]:
    return [
        Step(
            Outcome.REJECTED, f"g_{key}_{at} and not ({unless})", guard.label, guard.value, guard.reason, _NUMBER_ADVICE
        )
        for at, guard in enumerate(cell.guards)
    ]


def _reject(cell: Cell, condition: str, reason: str, advice: str) -> Step:
    return Step(Outcome.REJECTED, condition, cell.label, cell.value, reason, advice)


def _missing(absent: Step, cell: Cell, condition: str) -> Step:
    return Step(absent.outcome, condition, cell.label, cell.value, absent.reason, absent.advice)
