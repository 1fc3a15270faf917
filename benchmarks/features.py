"""How long the features of a synthetic shop take, against the least that any such computation must do.

The floor is one plain query of the same pairs: every line beside every later moment of its user, counted by user and
moment. Run it with ``python benchmarks/features.py [--lines N] [--users N] [--moments N]``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from datetime import timedelta

import numpy as np
import polars as pl

from valuecast.events.log import EventLog
from valuecast.features.compute import compute, learn
from valuecast.moments import moment

START = moment("2023-01-01")
DAYS = 365
LINES_PER_ORDER = 5


def shop(lines: int, users: int) -> EventLog:
    """Orders of five lines at one time, by users who differ in how often they buy; a line in thirty is a return."""
    draw = np.random.default_rng(0)
    orders = lines // LINES_PER_ORDER
    order = np.repeat(np.arange(orders), LINES_PER_ORDER)
    weight = draw.gamma(0.8, 1.0, users)
    buyer = draw.choice(users, orders, p=weight / weight.sum())
    second = draw.integers(0, DAYS * 86_400, orders)
    item = (draw.pareto(1.0, len(order)) * 20).astype(np.int64) % 5000
    returned = draw.uniform(size=len(order)) < 1 / 30
    amount = np.round(draw.lognormal(2, 1, len(order)), 2)
    frame = pl.DataFrame(
        {
            "user": pl.Series(buyer[order]).cast(pl.String),
            "time": pl.Series(START.timestamp() * 1e6 + second[order] * 1e6).cast(pl.Int64).cast(pl.Datetime("us")),
            "event": np.where(returned, "return", "purchase"),
            "item": pl.Series(item).cast(pl.String),
            "amount": np.where(returned, -amount, amount),
            "order": pl.Series(order).cast(pl.String),
            "channel": draw.choice(["web", "app", "store"], len(order)),
            "discount": np.where(draw.uniform(size=len(order)) < 0.2, 1.5, 0.0),
        }
    )
    names = pl.Series(np.arange(5000)).cast(pl.String)
    items = pl.DataFrame({"item": names, "department": [f"d{number % 12}" for number in range(5000)]})
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS), items=items)


def floor(log: EventLog, keys: pl.DataFrame) -> float:
    """Seconds for the plain query."""
    engine = log.events._find_backend().con
    engine.register("wanted", keys.to_arrow())
    begun = time.perf_counter()
    pairs = 'events e join wanted k on e."user" = k."user" and e.time < k."at"'
    engine.sql(f'select e."user", k."at", count(*) from {pairs} group by 1, 2').pl()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--moments", type=int, default=12)
    asked = parser.parse_args()

    log = shop(asked.lines, asked.users)
    moments = [START + timedelta(days=DAYS - 15 * back) for back in range(asked.moments)]
    users = log.collect(log.events.select("user").distinct())
    keys = users.join(pl.DataFrame({"at": moments}).cast(pl.Datetime("us")), how="cross")
    loaded = _peak()

    begun = time.perf_counter()
    spec = learn(log)
    learned = time.perf_counter() - begun
    least = floor(log, keys)
    begun = time.perf_counter()
    table = compute(spec, log, keys)
    taken = time.perf_counter() - begun

    rows = len(table)
    print(f"{asked.lines:,} lines, {asked.moments} moments: {rows:,} rows of {len(spec.features)} features")
    print(f"learn    {learned:6.2f} s")
    print(f"compute  {taken:6.2f} s, {rows / taken:,.0f} rows/s")
    print(f"floor    {least:6.2f} s, {rows / least:,.0f} rows/s: compute takes {taken / least:.0f} times as long")
    print(f"memory   {_peak():6.2f} GB at the peak, {loaded:.2f} GB before")


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
