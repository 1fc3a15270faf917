"""Reads the text form of a task. An error points at the character and says what was expected there."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from valuecast.errors import TaskError
from valuecast.tasks.query import (
    Aggregate,
    Among,
    Column,
    Compared,
    Comparison,
    Condition,
    Joined,
    Missing,
    Negated,
    Predicate,
    Question,
    Value,
)

_SPOKEN = {
    "WHOLE": "a whole number",
    "SIGNED_NUMBER": "a number",
    "CNAME": "a name",
    "QUOTED": 'a "quoted name"',
    "STRING": "a 'text'",
    "OPERATOR": "one of = != < <= > >=",
    "_DAYS": "'days'",
    "COMMA": "','",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "EQUAL": "'='",
    "STAR": "'*'",
    "DOT": "'.'",
    "$END": "the end",
    "<END-OF-FILE>": "the end",
}

Setting = Value | list[Value]


class _Builder(Transformer[Token, Any]):
    """Turns the parse tree into the parts of ``valuecast.tasks.query``, bottom up."""

    def name(self, found: list[Token]) -> str:
        token = found[0]
        return token[1:-1].replace('""', '"') if token.type == "QUOTED" else str(token)

    def quoted(self, found: list[Token]) -> str:
        return found[0][1:-1].replace('""', '"')

    def number(self, found: list[Token]) -> float:
        return float(found[0])

    def value(self, found: list[float]) -> float:
        return found[0]

    def string(self, found: list[Token]) -> str:
        return found[0][1:-1].replace("''", "'")

    def true(self, _: list[Token]) -> bool:
        return True

    def false(self, _: list[Token]) -> bool:
        return False

    def sequence(self, found: list[Any]) -> list[Any]:
        return [value for value in found if value is not None]

    def column(self, found: list[str | None]) -> Column:
        first, second = found
        return Column(str(first)) if second is None else Column(second, first)

    def compared(self, found: list[Any]) -> Compared:
        column, sign, value = found
        return Compared(column, "!=" if sign == "<>" else str(sign), value)

    def among(self, found: list[Any]) -> Among:
        return Among(found[0], tuple(found[1:]))

    def missing(self, found: list[Column]) -> Missing:
        return Missing(found[0])

    def present(self, found: list[Column]) -> Negated:
        return Negated(Missing(found[0]))

    def negated(self, found: list[Predicate]) -> Negated:
        return Negated(found[0])

    def both(self, found: list[Predicate]) -> Predicate:
        return Joined("and", tuple(found)) if len(found) > 1 else found[0]

    def either(self, found: list[Predicate]) -> Predicate:
        return Joined("or", tuple(found)) if len(found) > 1 else found[0]

    def where(self, found: list[Predicate]) -> Predicate:
        return found[0]

    def events(self, found: list[str]) -> tuple[str, ...]:
        return tuple(found)

    def days(self, found: list[Token]) -> tuple[int, ...]:
        return tuple(int(token) for token in found)

    def comparison(self, found: list[Any]) -> Comparison:
        sign, number = found
        return Comparison("!=" if sign == "<>" else str(sign), number)

    def count(self, _: list[Any]) -> Aggregate:
        return Aggregate("count")

    def distinct(self, found: list[Column]) -> Aggregate:
        return Aggregate("distinct", found[0])

    def total(self, found: list[Column]) -> Aggregate:
        return Aggregate("sum", found[0])

    def condition(self, found: list[Any]) -> Condition:
        bare, events, where, days, comparison = found
        return Condition(_whole(bare, events, where), int(days), comparison)

    def conditions(self, found: list[Condition]) -> tuple[Condition, ...]:
        return tuple(found)

    def question(self, found: list[Any]) -> Question:
        bare, events, where, days, comparison, when = found
        return Question(_whole(bare, events, where), days, comparison, when or ())

    def argument(self, found: list[Any]) -> tuple[str, Setting]:
        name, value = found
        return str(name), value

    def call(self, found: list[Any]) -> tuple[str, list[tuple[str, Setting]]]:
        name, *arguments = found
        return str(name), [argument for argument in arguments if argument is not None]


def _whole(bare: Aggregate, events: tuple[str, ...] | None, where: Predicate | None) -> Aggregate:
    return Aggregate(bare.function, bare.column, events or (), where)


def question(text: str) -> Question:
    """Parse ``sum(amount) of purchase over next 90 days ...``.

    Raises:
        TaskError: pointing at the character.
    """
    found: Question = _parse(text, "question")
    return found


def conditions(text: str) -> tuple[Condition, ...]:
    """Parse ``count(*) over last 180 days > 0 and ...``."""
    found: tuple[Condition, ...] = _parse(text, "conditions")
    return found


def predicate(text: str) -> Predicate:
    """Parse ``category = 'coffee' and amount > 3``."""
    found: Predicate = _parse(text, "either")
    return found


def call(text: str) -> tuple[str, dict[str, Setting]]:
    """Parse ``churn(days=90, active=180)`` into a name and its arguments."""
    name, arguments = _parse(text, "call")
    given: dict[str, Setting] = {}
    for key, value in arguments:
        if key in given:
            raise TaskError(f"'{key}' is given twice", where=f"task {text!r}", remedy="Give it once.")
        given[key] = value
    return name, given


def _parse(text: str, start: str) -> Any:
    try:
        return _Builder().transform(_grammar().parse(text, start=start))
    except UnexpectedInput as error:
        raise _pointed(text, error) from None


@cache
def _grammar() -> Lark:
    source = resources.files("valuecast.tasks").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(source, start=["question", "conditions", "either", "call"], parser="lalr", maybe_placeholders=True)


def _pointed(text: str, error: UnexpectedInput) -> TaskError:
    expected: set[str] = set()
    place = len(text.rstrip())
    found = "the end"
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        if error.token.type != "$END":
            place, found = error.pos_in_stream or 0, f"'{error.token}'"
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
        place, found = error.pos_in_stream or 0, f"'{text[error.pos_in_stream or 0]}'"
    elif isinstance(error, UnexpectedEOF):
        expected = set(error.expected)
    if "SIGNED_NUMBER" in expected:
        expected.discard("WHOLE")
    spoken = sorted({_SPOKEN.get(name, f"'{name.strip('_').lower()}'") for name in expected})
    line = " ".join(text.split("\n"))
    return TaskError(
        f"at character {place + 1} found {found}, expected {' or '.join(spoken)}\n  {line}\n  {' ' * place}^",
        where="task",
    )
