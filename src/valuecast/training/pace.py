"""How fast a run goes and how long it still takes, in a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]
_EVERY = 5.0  # seconds between two lines


class Pace:
    """The pace of one session of a run, from ``done`` (a share of the run) and ``events`` on."""

    def __init__(self, say: Progress, *, done: float, events: int) -> None:
        self.say, self.done, self.events = say, done, events
        self.started = self.told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start of the session."""
        return time.monotonic() - self.started

    @property
    def due(self) -> bool:
        """Whether the last line is long enough ago."""
        return time.monotonic() - self.told >= _EVERY

    def tell(self, what: str, *, done: float, events: int) -> None:
        """Say ``what``, with the events per second of this session and the time left."""
        self.told = time.monotonic()
        spent = max(self.told - self.started, 1e-9)
        left = f", {lasting(spent * (1 - done) / (done - self.done))} left" if self.done < done < 1 else ""
        self.say(f"{what}, {(events - self.events) / spent:,.0f} events/s{left}")


def watched(say: Progress, what: str) -> Callable[[int, int], None]:
    """Return what is told how many of how many batches are done, and says so now and then."""
    pace = Pace(say, done=0.0, events=0)

    def tell(done: int, whole: int) -> None:
        if done and pace.due:
            pace.told = time.monotonic()
            say(f"{what}, batch {done:,} of {whole:,}, {lasting(pace.seconds * (whole - done) / done)} left")

    return tell


def lasting(seconds: float) -> str:
    """Return a length of time, as one says it."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
