"""A task: a question about a user at a moment, and for whom it is asked."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final, Literal

from valuecast import columns as c
from valuecast.errors import TaskError, suggest
from valuecast.language import Text
from valuecast.tasks import text as parser
from valuecast.tasks.query import Aggregate, Column, Compared, Comparison, Condition, Question

Kind = Literal["binary", "amount"]
Waiting = Literal["happens", "stays_away"]
MAX_DAYS = 3_660  # ten years: more is a typing error


@dataclass(frozen=True)
class Task:
    """A question in text form, e.g. ``Task("sum(amount) of purchase over next 90 days")``.

    Attributes:
        text: ``AGGREGATE [of EVENT, ...] [where ...] over next N[, M...] days [= 0] [when ...]``.
            An aggregate is ``count(*)``, ``count(distinct COLUMN)`` or ``sum(COLUMN)``. With a comparison the
            task is binary and a score is the probability that it holds; without, a score is the amount.
        when: who is asked about: ``AGGREGATE ... over last N days > 0 [and ...]``, the same as writing
            ``when ...`` in ``text``. Everyone asked about has at least one event before the moment.
        name: prefix of the targets: ``churn`` gives ``churn_90d``.

    Raises:
        TaskError: the text does not parse; the message points at the character.
    """

    text: str
    when: str | None = None
    name: str = "task"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w*", self.name, flags=re.ASCII):
            raise TaskError(f"'{self.name}' cannot name a task", remedy="Use letters, digits and underscores.")
        question = self.question
        for days in (*question.days, *(condition.days for condition in question.when)):
            if not 1 <= days <= MAX_DAYS:
                raise TaskError(f"{days} days", where=f"task '{self.name}'", remedy=f"Give 1 to {MAX_DAYS} days.")
        if list(question.days) != sorted(set(question.days)):
            raise TaskError(f"horizons {question.days}", where=f"task '{self.name}'", remedy="Give them once, rising.")

    @cached_property
    def question(self) -> Question:
        """The parsed text, with the conditions of ``when`` added."""
        asked = parser.question(self.text)
        return Question(
            asked.aggregate,
            asked.days,
            asked.comparison,
            (*asked.when, *(parser.conditions(self.when) if self.when else ())),
        )

    def __str__(self) -> str:
        return f"{self.name}: {self.question}"

    @property
    def kind(self) -> Kind:
        """``binary`` where the aggregate is compared, else ``amount``."""
        return "binary" if self.question.comparison else "amount"

    @property
    def waiting(self) -> Waiting | None:
        """Whether the question is about the wait for a first event: that it ``happens``, or ``stays_away``.

        None for every other question: an amount, a count of several events, a count of different values.
        """
        asked = self.question
        if asked.aggregate.function != "count" or asked.comparison is None:
            return None
        return _WAITING.get((asked.comparison.sign, asked.comparison.number))

    @property
    def targets(self) -> dict[str, int]:
        """Name of each target and its horizon in days."""
        return {f"{self.name}_{days}d": days for days in self.question.days}

    def label(self, target: str) -> Text:
        """What a person calls the target."""
        known = {
            "churn": Text("No purchase in the next {days} days", "未来{days}天内不购买（流失）"),
            "purchase": Text("A purchase in the next {days} days", "未来{days}天内购买"),
            "value": Text("Spend in the next {days} days", "未来{days}天消费额"),
            "net_value": Text("Spend less returns in the next {days} days", "未来{days}天净消费额（扣除退货）"),
        }
        days = self.targets[target]
        return known.get(self.name, Text("{name} in the next {days} days", "未来{days}天 {name}")).format(
            name=self.name, days=days
        )

    @property
    def horizon(self) -> timedelta:
        """The longest horizon."""
        return timedelta(days=max(self.question.days))

    @property
    def history(self) -> timedelta:
        """How much past a first cutoff wants: the longest window of eligibility, or else the longest horizon."""
        return timedelta(
            days=max((condition.days for condition in self.question.when), default=max(self.question.days))
        )


def churn(days: int | Sequence[int], *, active: int | None = None) -> Task:
    """No purchase in the next ``days``; one target for each horizon. A score is the probability of that."""
    question = Question(Aggregate("count", events=(c.PURCHASE,)), _horizons(days), Comparison("=", 0.0))
    return _task("churn", question, active)


def purchase(days: int | Sequence[int], *, where: str | None = None, active: int | None = None) -> Task:
    """At least one purchase (of what ``where`` says) in the next ``days``; one target for each horizon."""
    wanted = Aggregate("count", events=(c.PURCHASE,), where=parser.predicate(where) if where else None)
    return _task("purchase", Question(wanted, _horizons(days), Comparison(">", 0.0)), active)


def value(days: int | Sequence[int], *, net: bool = False, active: int | None = None) -> Task:
    """Sum of positive purchase amounts in the next ``days``; one target for each horizon.

    With ``net`` returns are taken off (they are negative amounts), and the task is called ``net_value``.
    """
    horizons = _horizons(days)
    amount = Column(c.AMOUNT)
    gross = Aggregate("sum", amount, (c.PURCHASE,), Compared(amount, ">", 0.0))
    if net:
        return _task("net_value", Question(Aggregate("sum", amount, (c.PURCHASE, c.RETURN)), horizons), active)
    return _task("value", Question(gross, horizons), active)


_WAITING: Final[dict[tuple[str, float], Waiting]] = {
    (">", 0.0): "happens",
    (">=", 1.0): "happens",
    ("!=", 0.0): "happens",
    ("=", 0.0): "stays_away",
    ("<", 1.0): "stays_away",
    ("<=", 0.0): "stays_away",
}
BUILT_IN: dict[str, Callable[..., Task]] = {"churn": churn, "purchase": purchase, "value": value}


def parse(text: str) -> Task:
    """Read a task from text: a built-in one like ``churn(days=90, active=180)``, or the form of ``Task``.

    A task in the form of ``Task`` may be given a name in front: ``spend: sum(amount) of purchase over next 30 days``.

    Raises:
        TaskError: no such task, an argument it does not take, or a text that does not parse.
    """
    named = re.match(r"\s*([A-Za-z]\w*)\s*:(.*)", text, flags=re.DOTALL)
    if named:
        return Task(named[2].strip(), name=named[1])
    head = re.match(r"\s*([A-Za-z_]\w*)\s*(\(|$)", text)
    if not head or head[1].casefold() in {"count", "sum"}:
        return Task(text)
    name = head[1]
    where = f"task '{text.strip()}'"
    if name not in BUILT_IN:
        raise TaskError(f"no task '{name}'", where=where, remedy=suggest(name, BUILT_IN))
    builder = BUILT_IN[name]
    known = inspect.signature(builder).parameters
    _, arguments = parser.call(text if head[2] else f"{name}()")
    for key in arguments:
        if key not in known:
            raise TaskError(f"'{name}' takes no '{key}'", where=where, remedy=suggest(key, known))
    if "days" not in arguments:
        raise TaskError(f"'{name}' wants days", where=where, remedy=f"Write {name}(days=90).")
    if not isinstance(arguments.get("where", ""), str):
        raise TaskError("'where' is not a text", where=where, remedy="Write where=\"brand = 'National'\".")
    if not isinstance(arguments.get("net", False), bool):
        raise TaskError("'net' is neither true nor false", where=where, remedy="Write net=true.")
    return builder(**arguments)


def _task(name: str, question: Question, active: int | None) -> Task:
    if active is None:
        return Task(str(question), name=name)
    return Task(str(question), when=str(Condition(Aggregate("count"), _days(active), Comparison(">", 0.0))), name=name)


def _horizons(days: int | Sequence[int]) -> tuple[int, ...]:
    found = tuple(_days(each) for each in (days if isinstance(days, Sequence) else [days]))
    if not found:
        raise TaskError("no horizon", where="task", remedy="Give one number of days or several, such as [30, 90].")
    return found


def _days(days: object) -> int:
    whole = isinstance(days, (int, float)) and not isinstance(days, bool) and days == int(days)
    if not whole or not 1 <= days <= MAX_DAYS:  # type: ignore[operator]
        raise TaskError(
            f"{days!r} is not a number of days", where="task", remedy=f"Give a whole number, 1 to {MAX_DAYS}."
        )
    return int(days)  # type: ignore[call-overload, no-any-return]
