"""Counting what became of the rows, and stopping where too many are rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from valuecast.errors import SourceError
from valuecast.events.intake.rows import Outcome, Plan
from valuecast.events.intake.staging import SWALLOWED, UNCLOSED
from valuecast.events.intake.summary import Account, Reason
from valuecast.events.schema import literal

REJECTED: Final = "rejected"
"""Table of all rejected rows, in the columns of ``rejected.parquet``."""

_QUOTE_ADVICE: Final = "Close the quote there, or state quote = '' in a mapping if the file quotes nothing."
_COLUMNS: Final = 'source VARCHAR, file VARCHAR, "row" BIGINT, "column" VARCHAR, value VARCHAR, reason VARCHAR'


def prepare(connection: Any) -> None:
    """Make the empty table of rejected rows."""
    connection.execute(f"create table {REJECTED} ({_COLUMNS})")


def account(connection: Any, plan: Plan, checked: str, *, table: str, new: int) -> Account:
    """Count what became of the rows of a source, and keep the rejected ones.

    Args:
        connection: the engine.
        plan: that was carried out.
        checked: the table that it made.
        table: ``events``, ``items`` or ``users``.
        new: how many of the accepted rows the log does not have yet.
    """
    source = plan.staged.name
    connection.execute(f"insert into {REJECTED} select {literal(source)}, * from ({plan.rejected(checked)})")
    counts = Counter[Outcome | None]({Outcome.REJECTED: plan.staged.lines})
    for step, count in connection.execute(f"select step, count(*) from {checked} group by step").fetchall():
        counts[None if step is None else plan.steps[step].outcome] += count
    return Account(
        source=source,
        table=table,
        read=plan.staged.read,
        accepted=counts[None],
        new=new,
        rejected=counts[Outcome.REJECTED],
        filtered=counts[Outcome.FILTERED],
        dropped=counts[Outcome.DROPPED],
    )


def count(connection: Any, plan: Plan, checked: str, *, reason: str) -> int:
    """Return how many rows a step of this reason took out."""
    codes = [str(code) for code, step in enumerate(plan.steps) if step.reason == reason]
    where = f"step in ({', '.join(codes)})" if codes else "false"
    return int(connection.execute(f"select count(*) from {checked} where {where}").fetchone()[0])


def reasons(connection: Any) -> tuple[Reason, ...]:
    """Return why rows were rejected, the most frequent reason first."""
    found = connection.execute(
        f"""
        select source, "column", reason, count(*), min(value) from {REJECTED}
        group by source, "column", reason order by count(*) desc, source, "column", reason
        """
    ).fetchall()
    return tuple(Reason(*row) for row in found)


def check(
    accounts: Sequence[Account], why: Sequence[Reason], plans: Sequence[Plan], *, max_rejected: float, kept_in: str
) -> None:
    """Stop where a source has more rejected rows than the mapping allows.

    Raises:
        SourceError: it has; the message names the column most at fault, a value, and what to do.
    """
    advice = {step.reason: step.advice for plan in plans for step in plan.steps}
    advice |= {UNCLOSED: _QUOTE_ADVICE, SWALLOWED: _QUOTE_ADVICE}
    for each in accounts:
        if each.rejected <= max_rejected * each.read:
            continue
        worst = next(reason for reason in why if reason.source == each.source)
        column = f", column '{worst.column}'" if worst.column else ""
        example = f", such as '{_short(worst.example)}'" if worst.example else ""
        share = f"{each.rejected / each.read:.1%} of {each.read:,} rows cannot be read"
        remedy = advice.get(worst.reason, "Mend the file, or check the delimiter and the quotes.")
        raise SourceError(
            f"{share} (max_rejected is {max_rejected:.1%}); {worst.rows:,} of them: {worst.reason}{example}",
            where=f"{each.source}{column}",
            remedy=f"{remedy} Every rejected row is in {kept_in}.",
        )


def _short(text: str) -> str:
    line = text.split("\n", 1)[0]
    return line if len(line) <= 60 else line[:57] + "..."
