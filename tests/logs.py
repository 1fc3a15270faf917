"""Small logs for tests: random ones for hypothesis, and a shop with regular habits for models."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

from valuecast.events.log import EventLog

START = datetime(2020, 1, 1)
DAYS = 40
SCHEMA = {
    "user": pl.String,
    "time": pl.Datetime("us"),
    "event": pl.String,
    "item": pl.String,
    "amount": pl.Float64,
    "order": pl.String,
    "colour": pl.String,
}
ITEMS = pl.DataFrame({"item": ["i0", "i1", "i2"], "brand": ["x", "y", None]})


def _when(hours: int) -> datetime:
    return START + timedelta(hours=hours)


# Times fall on whole hours of few days, so that ties, and events at exactly a cutoff, are common.
rows = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u0", "u1", "u2", "u3"]),
        "time": st.integers(0, 24 * DAYS - 1).map(_when),
        "event": st.sampled_from(["purchase", "purchase", "return", "view"]),
        "item": st.sampled_from(["i0", "i1", "i2", "i9", None]),
        "amount": st.sampled_from([0.0, 1.0, 2.5, 10.25, -3.0, None]),
        "order": st.sampled_from(["o0", "o1", None]),
        "colour": st.sampled_from(["red", "blue", None]),
    }
)
frames = st.lists(rows, min_size=1, max_size=40).map(lambda found: pl.DataFrame(found, schema=SCHEMA))
cutoffs = st.lists(st.integers(1, 24 * DAYS).map(_when), min_size=1, max_size=3, unique=True).map(sorted)


def log_of(frame: pl.DataFrame) -> EventLog:
    """A log that is known for all of its 40 days, with a brand for most items."""
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS), items=ITEMS)


def shop(users: int = 400, days: int = 400, *, seed: int = 0) -> EventLog:
    """A shop whose customers buy at rates of their own, and stop at moments of their own."""
    draw = np.random.default_rng(seed)
    rate = draw.gamma(1.2, 0.05, users)
    stop = draw.exponential(1 / draw.gamma(0.6, 1 / 60, users))
    mean = draw.lognormal(3, 0.6, users)
    found = []
    for user in range(users):
        first = draw.uniform(0, days * 0.6)
        time = first
        while time < min(days, first + stop[user]):
            lines = 1 + draw.poisson(1)
            moment = START + timedelta(seconds=int(time * 86_400))
            found += [
                {
                    "user": f"c{user}",
                    "time": moment,
                    "event": "return" if draw.uniform() < 0.03 else "purchase",
                    "item": f"i{draw.integers(20)}",
                    "amount": round(float(draw.gamma(2, mean[user] / 2)), 2),
                    "order": f"{user}-{time:.4f}",
                    "channel": "web" if user % 3 else "app",
                }
                for _ in range(lines)
            ]
            time += draw.exponential(1 / rate[user])
    frame = pl.DataFrame(found).with_columns(
        pl.when(pl.col("event") == "return").then(-pl.col("amount")).otherwise(pl.col("amount")).alias("amount")
    )
    age = pl.DataFrame(
        {"user": [f"c{user}" for user in range(users)], "age": [str(20 + 10 * (user % 5)) for user in range(users)]}
    )
    return EventLog.from_frame(
        frame, since=START, until=START + timedelta(days=days), users=age, about="a made-up shop"
    )
