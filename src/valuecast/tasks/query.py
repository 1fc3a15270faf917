"""What a task asks, as data: aggregates over a window, and the predicates inside them.

``str()`` of each part is its canonical text, which parses back to the same part.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
KEYWORDS: Final = frozenset(
    [
        "and",
        "count",
        "days",
        "day",
        "distinct",
        "false",
        "in",
        "is",
        "last",
        "next",
        "not",
        "null",
        "of",
        "or",
        "over",
        "sum",
        "true",
        "when",
        "where",
    ]
)

Value = str | float | bool


def _name(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_]\w*", text, flags=re.ASCII) and text.casefold() not in KEYWORDS
    return text if plain else '"' + text.replace('"', '""') + '"'


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _number(value) if isinstance(value, float) else "'" + value.replace("'", "''") + "'"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


@dataclass(frozen=True)
class Column:
    """A column of the event table, or an attribute (``items.brand``; ``brand`` where no event column is so called)."""

    name: str
    table: str | None = None

    def __str__(self) -> str:
        return f"{_name(self.table)}.{_name(self.name)}" if self.table else _name(self.name)


@dataclass(frozen=True)
class Compared:
    """``column = value`` and its relatives."""

    column: Column
    sign: str
    value: Value

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {_value(self.value)}"


@dataclass(frozen=True)
class Among:
    """``column in (a, b)``."""

    column: Column
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.column} in ({', '.join(map(_value, self.values))})"


@dataclass(frozen=True)
class Missing:
    """``column is null``."""

    column: Column

    def __str__(self) -> str:
        return f"{self.column} is null"


@dataclass(frozen=True)
class Negated:
    """``not (...)``."""

    part: Predicate

    def __str__(self) -> str:
        return f"not ({self.part})"


@dataclass(frozen=True)
class Joined:
    """Predicates joined by ``and`` or by ``or``."""

    word: Literal["and", "or"]
    parts: tuple[Predicate, ...]

    def __str__(self) -> str:
        return f" {self.word} ".join(f"({part})" if isinstance(part, Joined) else str(part) for part in self.parts)


Predicate = Compared | Among | Missing | Negated | Joined


def columns_of(predicate: Predicate) -> Iterator[Column]:
    """Every column that a predicate reads."""
    match predicate:
        case Negated(part):
            yield from columns_of(part)
        case Joined(_, parts):
            for part in parts:
                yield from columns_of(part)
        case _:
            yield predicate.column


@dataclass(frozen=True)
class Comparison:
    """A sign and a number that an aggregate is held against."""

    sign: str
    number: float

    def __str__(self) -> str:
        return f"{self.sign} {_number(self.number)}"

    def holds(self, value: Any) -> Any:
        """Compare: a number, an array or a column of the engine."""
        return COMPARISONS[self.sign](value, self.number)


@dataclass(frozen=True)
class Aggregate:
    """``count(*)``, ``count(distinct x)`` or ``sum(x)`` over events of some types that satisfy a predicate.

    No event counts and sums to zero.
    """

    function: Literal["count", "distinct", "sum"]
    column: Column | None = None
    events: tuple[str, ...] = ()
    where: Predicate | None = None

    def __str__(self) -> str:
        inside = {"count": "*", "distinct": f"distinct {self.column}", "sum": str(self.column)}[self.function]
        name = "sum" if self.function == "sum" else "count"
        of = f" of {', '.join(map(_name, self.events))}" if self.events else ""
        return f"{name}({inside}){of}" + (f" where {self.where}" if self.where else "")


@dataclass(frozen=True)
class Condition:
    """A fact about the past that makes a user eligible: an aggregate over the last days, compared."""

    aggregate: Aggregate
    days: int
    comparison: Comparison

    def __str__(self) -> str:
        return f"{self.aggregate} over last {self.days} days {self.comparison}"


@dataclass(frozen=True)
class Question:
    """What a label is: an aggregate over the next days, one target for each horizon, perhaps compared."""

    aggregate: Aggregate
    days: tuple[int, ...]
    comparison: Comparison | None = None
    when: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        compared = f" {self.comparison}" if self.comparison else ""
        when = f" when {' and '.join(map(str, self.when))}" if self.when else ""
        return f"{self.aggregate} over next {', '.join(map(str, self.days))} days{compared}{when}"
