"""How fast predictors answer: users a second for a whole log, and how long one user waits.

Predictors of churn are fitted to a simulated shop once, quickly, and saved. Each is then loaded in a process of its
own, as serving would, and asked about everyone, and about one user after the other. The first answer, which also
imports and compiles, is not counted. Seconds are of the clock; memory is the most that the process held (Linux).

    OMP_NUM_THREADS=1 python benchmarks/scoring.py [--users 2000] [--calls 200] [--rung lightgbm]
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from valuecast import columns as c
from valuecast.config.learning import Architecture, Pretraining
from valuecast.errors import ModelError
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import SOURCES, write
from valuecast.events.source import Mapping
from valuecast.models.predictor import Predictor
from valuecast.tasks import parse
from valuecast.tasks.splits import TimeSplit
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

RUNGS = ("lightgbm", "frozen", "joint", "fused")
TASK = parse("churn(days=60, active=120)")
SPLIT = TimeSplit(every=30, rounds=1)
WHOLE = 3
"""Times that everyone is scored; the fastest counts."""


@dataclass(frozen=True)
class Speed:
    """What was measured of one predictor."""

    rung: str
    events: int
    scored: int
    per_second: float
    p50: float
    p99: float
    calls: int
    peak: float

    def line(self, first: Speed) -> str:
        speed = (f"{self.per_second:,.0f}", f"{self.per_second / first.per_second:.2f}")
        wait = (f"{self.p50:,.0f}", f"{self.p50 / first.p50:.2f}", f"{self.p99:,.0f}", str(self.calls))
        return f"| {self.rung} | {self.scored:,} | {' | '.join((*speed, *wait))} | {self.peak:,.0f} |"


def shop(folder: Path, *, users: int) -> Path:
    """A log on disk."""
    log = folder / "log"
    if not (log / "manifest.json").exists():
        write(Settings(users=users), folder / "shop")
        ingest(Mapping.read(folder / "shop" / SOURCES), log)
    return log


def fit(log: EventLog, folder: Path, rungs: list[str]) -> None:
    """Save the predictors that are not there yet."""
    workshop, tables = Workshop((TASK,), Pretraining(Architecture(size="tiny")), folder=folder / "training"), Tables()
    for rung in rungs:
        try:
            Predictor.load(folder / rung)
        except ModelError:  # it is not there yet
            made = workshop.fit(rung, TASK, log, split=SPLIT, seed=0, tables=tables, progress=print)
            made.save(folder / rung)


def measured(rung: str, folder: Path, place: Path, calls: int) -> Speed:
    """Load a predictor and a log, and ask."""
    predictor, log = Predictor.load(folder / rung), EventLog.read(place)
    at = log.span.until
    everyone = predictor.predict(log, at=at)[c.USER].unique().sort()
    whole = min(_timed(predictor, log, None) for _ in range(WHOLE))
    asked = everyone.sample(min(calls, len(everyone)), seed=0, shuffle=True)
    waits = 1_000 * np.array([_timed(predictor, log, user) for user in asked])
    p50, p99 = np.quantile(waits, (0.5, 0.99))
    events = log.collect(log.events.count().as_table()).item()
    return Speed(rung, events, len(everyone), len(everyone) / whole, p50, p99, len(asked), _peak())


def _timed(predictor: Predictor, log: EventLog, user: str | None) -> float:
    begun = time.perf_counter()
    predictor.predict(log, at=log.span.until, users=None if user is None else [user])
    return time.perf_counter() - begun


def _peak() -> float:
    """The most memory that this process held, in MiB; what getrusage says would include that of the parent."""
    told = Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1]
    return int(told.split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=200, help="users who are asked about one by one")
    parser.add_argument("--rung", choices=RUNGS, action="append", help="only this one")
    parser.add_argument("--out", type=Path, default=Path("runs/scoring"))
    asked = parser.parse_args()
    folder, rungs = asked.out / str(asked.users), asked.rung or list(RUNGS)
    place = shop(folder, users=asked.users)
    fit(EventLog.read(place), folder / "models", rungs)
    # A new process for each, so that its memory is its own.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        found = list(
            pool.map(measured, rungs, *([each] * len(rungs) for each in (folder / "models", place, asked.calls)))
        )
    print(f"\n{asked.users:,} users, {found[0].events:,} events; {TASK} at the end of the log\n")
    times = f"times {rungs[0]}"
    print(
        f"| Rung | Users scored | Users/s | {times} | One user, p50 ms | {times} | p99 ms | Calls | Peak memory, MiB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for each in found:
        print(each.line(found[0]))


if __name__ == "__main__":
    main()
