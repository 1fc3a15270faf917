"""Two small shops that have no column, item, currency or calendar in common; and what they sell."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from valuecast.events.log import EventLog

KINDS = ("green tea", "black coffee", "dark chocolate", "garden tools")
DAYS = 300


def grocer(users: int = 40, *, seed: int = 0, unit: float = 1.0, days: int = DAYS) -> EventLog:
    """Views, carts and orders of one line or two; the kind of an item is an attribute, and amounts are small.

    Args:
        users: how many.
        seed: of everything.
        unit: of the currency.
        days: that the log is known for.
    """
    start, draw, found = datetime(2021, 3, 1), np.random.default_rng(seed), []
    for user in range(users):
        time, favourite, pace = draw.uniform(0, 40), int(draw.integers(4)), draw.uniform(3, 12)
        while time < days:
            item = f"g{favourite}" if draw.uniform() < 0.8 else f"g{draw.integers(4)}"
            for kind in ("view", "cart", "purchase"):
                for line in range(1 + int(draw.integers(2)) if kind == "purchase" else 1):
                    amount = unit * float(draw.integers(4, 80)) / 4 if kind == "purchase" else None
                    order = f"{user}-{time:.3f}" if kind == "purchase" else None
                    found.append((f"u{seed}-{user:03}", time, kind, f"g{line}" if line else item, amount, order, "web"))
                time += draw.uniform(0, 0.2)
            time += draw.exponential(pace)
    items = pl.DataFrame({"item": [f"g{i}" for i in range(4)], "kind": KINDS, "code": [f"A{i}B{i}" for i in range(4)]})
    return _log(found, "channel", start, days, items)


def wholesaler(users: int = 40, *, seed: int = 1, days: int = DAYS) -> EventLog:
    """Orders of a few lines and returns; a field of the line describes the item, times are days, amounts are large."""
    start, draw, found = datetime(2010, 1, 1), np.random.default_rng(seed), []
    for user in range(users):
        day, favourite, pace = int(draw.integers(40)), int(draw.integers(4)), draw.uniform(4, 15)
        while day < days:
            for line in range(1 + int(draw.integers(3))):
                number = (favourite + line) % 4
                text = f"Premium {KINDS[number].upper()} 500g"
                found.append((f"w{seed}-{user:03}", day, "purchase", f"p{number}", 900.0 + line, f"{user}-{day}", text))
            if draw.uniform() < 0.1:
                found.append((f"w{seed}-{user:03}", day, "return", f"p{favourite}", -900.0, None, None))
            day += 1 + int(draw.exponential(pace))
    return _log(found, "description", start, days, None)


def _log(
    found: list[tuple[str, float, str, str, float | None, str | None, str | None]],
    field: str,
    start: datetime,
    days: int,
    items: pl.DataFrame | None,
) -> EventLog:
    names = ("user", "time", "event", "item", "amount", "order", field)
    frame = pl.DataFrame([dict(zip(names, row, strict=True)) for row in found], infer_schema_length=None)
    time = [start + timedelta(days=day) for day in frame["time"]]
    frame = frame.with_columns(pl.Series("time", time)).filter(pl.col("time") < start + timedelta(days=days))
    return EventLog.from_frame(frame, since=start, until=start + timedelta(days=days), items=items)
