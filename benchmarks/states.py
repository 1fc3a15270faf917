"""How fast a base is scored again from states that are kept, and what the states cost.

A shop of many customers is simulated, and a churn network fitted to a smaller one of the same kind. Everyone is scored
at one moment, with states that are kept; and again some days later, where only customers with new events are read. In
between, the parts: the clock and the heads on all states that are kept, and nothing else.

    python benchmarks/states.py --users 1000000
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from valuecast.config.learning import Architecture, Finetuning, Optimisation, Pretraining
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import SOURCES, simulate, write
from valuecast.events.source import Mapping
from valuecast.models.finetuned import Answers, keys_at
from valuecast.models.memory import Memory
from valuecast.models.network import Network
from valuecast.models.predictor import Predictor
from valuecast.models.reading import EventBody
from valuecast.tasks import parse
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.pretrain import pretrain

T = TypeVar("T")
SHOP = Settings(since="2024-01-01", days=90, r=0.7, alpha=40.0, browsing=0.5, views=0.5, seed=11)
TASK = parse("churn(days=14)")
SPLIT = TimeSplit(every=14, rounds=1)
QUICK = Optimisation(epochs=1, tracker="none")  # how good the model is does not matter here


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--users", type=int, default=1_000_000)
    asked.add_argument("--days", type=int, default=1, help="between the two moments")
    asked.add_argument("--folder", type=Path, help="where the log is kept for the next time")
    given = asked.parse_args()
    predictor = fitted()
    with TemporaryDirectory() as place:
        folder = given.folder or Path(place)
        log = shop(folder, given.users)
        measure(predictor, log, Path(place) / "states", timedelta(days=given.days))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


def fitted() -> Predictor:
    log = simulate(replace(SHOP, users=2_000)).log
    base = pretrain(
        log.before(SPLIT.choices(TASK, log)[-1].known),
        settings=Pretraining(Architecture(size="tiny"), optimisation=QUICK),
    )
    return finetune(base, TASK, log, method="frozen", settings=Finetuning(QUICK), split=SPLIT)


def shop(folder: Path, users: int) -> EventLog:
    if not (folder / "log" / "manifest.json").exists():
        write(replace(SHOP, users=users), folder / "shop")
        ingest(Mapping.read(folder / "shop" / SOURCES), folder / "log")
    return EventLog.read(folder / "log")


def measure(predictor: Predictor, log: EventLog, folder: Path, between: timedelta) -> None:
    last = log.span.until
    first = last - between
    asked = replace(predictor, before=log.span.start)  # of another shop of the same kind: nothing of this one was seen
    events = log.collect(log.events.count().as_table()).item()
    everyone = timed("all histories are read", lambda: asked.raw(log, at=first, states=folder))
    again = timed(f"{between.days} day(s) later", lambda: asked.raw(log, at=last, states=folder))
    print(f"{events:,} events; {len(everyone):,} users, then {len(again):,}")
    news = log.between(first, last)
    print(f"{news.count_users():,} users have new events; nothing is new at all:")
    timed("  asked once more", lambda: asked.raw(log, at=last, states=folder))
    anew = timed("without states", lambda: asked.raw(log, at=last))
    print(f"largest difference of a raw score {np.abs(again['raw'].to_numpy() - anew['raw'].to_numpy()).max():.1e}")
    heads(asked, folder, last)


def heads(predictor: Predictor, folder: Path, at: datetime) -> None:
    """The clock, the heads and the calibration on all states, which are in memory."""
    assert isinstance(predictor.inputs, Answers)
    memory, inputs = Memory(folder), predictor.inputs
    kept = timed("states are loaded", lambda: memory.read(inputs))
    assert kept is not None

    network, body = inputs.answerer.network, inputs.design.body
    assert isinstance(network, Network)
    assert isinstance(body, EventBody)

    def rescored() -> object:
        states = kept.at(at, network, body.encoding)
        return predictor.answered(inputs.of_states(keys_at(kept.users["user"], at), states, None))

    timed(f"{len(kept.users):,} states are scored again by the heads", rescored)


def timed(what: str, do: Callable[[], T]) -> T:
    begun = time.perf_counter()
    found = do()
    print(f"{what}: {time.perf_counter() - begun:.1f} s", flush=True)
    return found


if __name__ == "__main__":
    main()
