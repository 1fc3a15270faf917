"""Logs for tests of pre-training: customers with habits, and ones without any."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from valuecast.events.log import EventLog

START = datetime(2020, 1, 1)
DAYS = 200
KINDS = ("view", "cart", "purchase")


def habits(users: int = 60, *, seed: int = 0) -> EventLog:
    """View, cart, purchase, and again; every user at a pace, and with an item and a price, of their own."""
    draw = np.random.default_rng(seed)
    found = []
    for user in range(users):
        pace, time = (2, 5, 9)[user % 3], draw.uniform(0, 30)
        step = int(draw.integers(3))
        while time < DAYS:
            kind = KINDS[step % 3]
            amount = 10.0 * (1 + user % 4) + float(draw.uniform(0, 0.1)) if kind == "purchase" else None
            found.append((user, time, kind, f"i{user % 8}", amount))
            time += pace * draw.uniform(0.9, 1.1)
            step += 1
    return _log(found)


def noise(users: int = 60, *, seed: int = 0) -> EventLog:
    """Everything is drawn anew for each event, of everybody alike."""
    draw = np.random.default_rng(seed)
    found = []
    for user in range(users):
        time = draw.exponential(4)
        while time < DAYS:
            found.append((user, time, KINDS[draw.integers(3)], f"i{draw.integers(8)}", draw.gamma(2.0, 10.0)))
            time += draw.exponential(4)
    return _log(found)


def _log(rows: list[tuple[int, float, str, str, float | None]]) -> EventLog:
    frame = pl.DataFrame(
        {
            "user": [f"u{row[0]:03}" for row in rows],
            "time": [START + timedelta(days=row[1]) for row in rows],
            "event": [row[2] for row in rows],
            "item": [row[3] for row in rows],
            "amount": [row[4] for row in rows],
        },
        schema_overrides={"amount": pl.Float64},
    )
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS))
