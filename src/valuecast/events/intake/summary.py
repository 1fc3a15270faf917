"""What an ingest did, row by row in the sum: every row that was read is accounted for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from valuecast.events.schema import Span


@dataclass(frozen=True)
class Account:
    """The rows of one file or pattern.

    ``read = accepted + rejected + filtered + dropped``; of the accepted rows ``new`` were not in the log before.
    """

    source: str
    table: str
    read: int
    accepted: int
    new: int
    rejected: int
    filtered: int
    dropped: int

    @property
    def known(self) -> int:
        """Accepted rows that the log had already."""
        return self.accepted - self.new


@dataclass(frozen=True)
class Reason:
    """Why rows of a source were rejected, how many, and one of the values at fault."""

    source: str
    column: str | None
    reason: str
    rows: int
    example: str | None


@dataclass(frozen=True)
class Summary:
    """What an ingest did, and what the log holds after it.

    Attributes:
        accounts: of each source, then of items and users.
        reasons: why rows were rejected, the most frequent first.
        notes: what was assumed or left out.
        events: in the log.
        users: in the log.
    """

    accounts: tuple[Account, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    events: int
    users: int
    span: Span

    def __str__(self) -> str:
        counts = ("read", "accepted", "new", "known", "rejected", "filtered", "dropped")
        rows = [[each.source, each.table, *(f"{getattr(each, name):,}" for name in counts)] for each in self.accounts]
        parts = [_aligned(["source", "table", *counts], rows, texts=2)]
        if self.reasons:
            found = [
                [each.source, each.column or "", each.reason, _short(each.example), f"{each.rows:,}"]
                for each in self.reasons
            ]
            parts.append(_aligned(["rejected in", "column", "reason", "for example", "rows"], found, texts=4))
        parts += ["\n".join(f"note: {note}" for note in self.notes)] if self.notes else []
        stated = "" if self.span.stated else " (end not stated)"
        parts.append(f"The log holds {self.events:,} events of {self.users:,} users, {self.span}{stated}.")
        return "\n\n".join(parts)


def _aligned(head: list[str], rows: Iterable[list[str]], *, texts: int) -> str:
    """Return a table; the first ``texts`` columns to the left, the numbers to the right."""
    table = [head, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(head))]
    sides = ["<"] * texts + [">"] * (len(head) - texts)
    lines = (
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def _short(text: str | None) -> str:
    return "" if text is None else repr(text if len(text) <= 40 else text[:37] + "...")
