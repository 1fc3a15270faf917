"""From a raw log to a score for everyone, however large the log: seconds, memory, and a floor beside each stage.

For each size a shop is simulated, with about 33 events of each of its users in two years. Every stage works in a
process of its own, with one budget for all of its memory (``VALUECAST_MEMORY``); what it took at its peak is without
pages of mapped files, which can be dropped at any time. Its floor is the least that somebody would have to do for it
with the same threads and memory, in a process of its own too:

- ingest, labels: the statements in ``benchmarks/sql/``, which serve this one shop and check no row;
- features: one query that reads the events once, and adds up six numbers for each user;
- shards: reads the same columns, and writes as many bytes;
- pre-training: the trunk alone, forward and backward on random vectors of the same shapes. The pass is begun: so many
  vectors are learned from, in the loop as it is, and the rest is calculated. What comes before the first step
  (histories are opened, what follows each event is counted, windows are planned, classes counted) stands by itself;
- scores: the trunk alone, forward, on random vectors: one for each event that is read, in windows of their mean length.

Labels are ``churn(days=90, active=180)`` at twelve moments, and features of everyone whom this asks about at one. Heads
for ``churn(days=90)``, which asks about all users, are fitted to 20,000 of them, on a network that was pre-trained on
what these did; then everyone is scored.

    python benchmarks/scale.py --events 1000000 10000000 100000000 --folder runs/scale

What a folder holds already is used as it is, stage by stage. 100 million events want 40 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import polars as pl
import torch
from data import TASK, by_sql, cutoffs, warm_up
from training import first, learned, repeated

from valuecast.config.learning import Architecture, Finetuning, Optimisation, Pretraining
from valuecast.events import engine
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import SOURCES, write
from valuecast.events.source import Mapping
from valuecast.features.compute import learn, stream
from valuecast.models.network import Network
from valuecast.models.predictor import Predictor
from valuecast.sequences import learning
from valuecast.sequences.sequences import encode
from valuecast.tasks import parse
from valuecast.tasks.labels import eligible, labels
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.pool import Pool
from valuecast.training.pretrain import pretrain

SHOP = Settings(alpha=60.0, browsing=0.5, views=0.5)
EVENTS_EACH = 100 / 3
"""Of a user of this shop, about."""
STAGES = ("ingest", "labels", "features", "shards", "begin", "pass", "fit", "scores")
SPLIT = TimeSplit(rounds=1)
EVERYONE = "churn(days=90)"
TINY = Pretraining(Architecture(size="tiny"), optimisation=Optimisation(epochs=1))
QUICK = Finetuning(TINY.optimisation)
LEARNERS = 20_000
PADDED = 1_000_000
"""Vectors, with padding, that the beginning of a pass of pre-training learns from, and that a floor is measured on."""

FAR = 10**10
NIGHT = 8

Found = dict[str, float]


# what valuecast does: each returns its seconds, and how many events it worked on


def do_ingest(folder: Path) -> Found:
    warm_up()
    return timed(lambda: ingest(Mapping.read(folder / "shop" / SOURCES), folder / "log").events)


def do_labels(folder: Path) -> Found:
    warm_up()
    log = EventLog.read(folder / "log")

    def work() -> int:
        labels(parse(TASK), log, cutoffs(log)).write_parquet(folder / "labels.parquet")
        return events_of(folder)

    return timed(work)


def do_features(folder: Path) -> Found:
    warm_up()
    log = EventLog.read(folder / "log")
    out = folder / "features"
    out.mkdir(exist_ok=True)

    def work() -> int:
        keys = eligible(parse(TASK), log, [log.span.until])
        for number, part in enumerate(stream(learn(log), log, keys)):
            part.write_parquet(out / f"{number:05}.parquet")
        return events_of(folder)

    return timed(work)


def do_shards(folder: Path) -> Found:
    warm_up()
    log = EventLog.read(folder / "log")

    def work() -> int:
        early = log.before(log.span.until - TINY.validation * (log.span.until - log.span.start))
        return encode(learning.learn(early), log, folder=folder / "pretraining" / "sequences").count

    return timed(work)


def do_begin(folder: Path) -> dict[str, Any]:
    """What comes before the first step; and, since it takes long, the beginning of the pass in the same process."""
    log = EventLog.read(folder / "log")
    begun = time.perf_counter()
    pool = Pool.of((log,), TINY, common=False, seed=0, folder=folder / "pretraining")
    feed, learner = pool.shares[0].feed, pool.learner()
    found = {"seconds": time.perf_counter() - begun, "events": feed.sequences.count}

    whole = sum(int((item.end - item.start).max()) * len(item) for item in feed.plan(0))
    some = first(feed, PADDED, epoch=0)
    learned(learner, first(feed, PADDED // 20, epoch=0), TINY.optimisation)  # warms up
    spent = learned(learner, some, TINY.optimisation)
    batches = [feed.load(item).tensors for item in some.items]
    trunk = learner.network.trunk
    vectors = [(torch.randn(*each.mask.shape, learner.network.hidden), each) for each in batches]
    alone = repeated(trunk, lambda x: trunk(x[0].requires_grad_(), x[1].mask, x[1].days).square().mean(), vectors)
    times = whole / some.padded
    beginning = {"seconds": spent.wall * times, "floor": alone.wall * times, "events": feed.sequences.count}
    return {**found, "pass": beginning}


def do_fit(folder: Path) -> Found:
    log = EventLog.read(folder / "log")
    share = min(1.0, LEARNERS / log.count_users())

    def work() -> int:
        some = log.sample(share)
        base = pretrain(some.before(SPLIT.choices(parse(EVERYONE), some)[-1].known), settings=TINY)
        finetune(base, parse(EVERYONE), some, method="frozen", settings=QUICK, split=SPLIT).save(folder / "model")
        return int(some.collect(some.events.count().as_table()).item())

    return timed(work)


def do_scores(folder: Path) -> Found:
    log = EventLog.read(folder / "log")
    predictor = Predictor.load(folder / "model")

    def work() -> int:
        scores = predictor.predict(log, at=log.span.until)
        scores.write_parquet(folder / "scores.parquet")
        return events_of(folder)

    return timed(work)


# floors: each returns its seconds


def floor_ingest(folder: Path) -> Found:
    return {"seconds": by_sql("ingest", folder)}


def floor_labels(folder: Path) -> Found:
    return {"seconds": by_sql("labels", folder)}


def floor_features(folder: Path) -> Found:
    return timed(
        lambda: queried(f"""
            copy (
                select "user", count(*), count(*) filter (event = 'purchase'), sum(amount), max(time),
                    count(distinct item), count(distinct "order")
                from read_parquet('{folder}/log/events-*.parquet') group by "user"
            ) to '{folder}/floor.parquet' (format parquet)
        """)
    )


def floor_shards(folder: Path) -> Found:
    bytes_ = sum(path.stat().st_size for path in (folder / "pretraining" / "sequences").glob("*.npy"))

    def work() -> None:
        columns = '"user", time, event, item, amount, "order", rating, campaign'
        rows = connected().execute(f"select {columns} from read_parquet('{folder}/log/events-*.parquet')")
        for _ in rows.fetch_record_batch(1_000_000):
            pass
        chunk = os.urandom(1 << 20)
        with (folder / "floor.bin").open("wb") as file:
            for _ in range(bytes_ >> 20):
                file.write(chunk)

    return timed(work)


def floor_scores(folder: Path) -> Found:
    predictor = Predictor.load(folder / "model")
    network: Any = predictor.inputs.answerer.network  # type: ignore[attr-defined]
    assert isinstance(network, Network)
    events = f"select count(*) as events from read_parquet('{folder}/log/events-*.parquet') group by \"user\""
    read = f"select sum(least(events, {network.length})), avg(least(events, {network.length})) from ({events})"
    ((total, mean),) = connected().execute(read).fetchall()
    length = math.ceil(mean)
    users = 16_384 // length
    vectors = torch.randn(users, length, network.hidden)
    mask, days = torch.ones(users, length, dtype=torch.bool), torch.zeros(users, length)
    rounds = -(-PADDED // (users * length))
    with torch.no_grad():
        network.trunk(vectors, mask, days)
        spent = timed(lambda: [network.trunk(vectors, mask, days) for _ in range(rounds)])
    return {"seconds": spent["seconds"] * int(total) / (rounds * users * length)}


def connected() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    engine.prepare(connection)
    return connection


def queried(statement: str) -> None:
    connected().execute(statement)


DO: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ingest": do_ingest,
    "labels": do_labels,
    "features": do_features,
    "shards": do_shards,
    "begin": do_begin,
    "fit": do_fit,
    "scores": do_scores,
}
FLOORS: dict[str, Callable[[Path], Found]] = {
    "ingest": floor_ingest,
    "labels": floor_labels,
    "features": floor_features,
    "shards": floor_shards,
    "scores": floor_scores,
}


# measuring


def timed(work: Callable[[], Any]) -> Found:
    begun = time.perf_counter()
    events = work()
    found = {"seconds": time.perf_counter() - begun}
    return found | ({"events": events} if isinstance(events, int) else {})


def events_of(folder: Path) -> int:
    return int(pl.scan_parquet(folder / "log" / "events-*.parquet").select(pl.len()).collect().item())


def measured(side: str, stage: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    limits = {"VALUECAST_MEMORY": asked.memory, "TMPDIR": str(folder)}
    limits |= dict.fromkeys(("VALUECAST_THREADS", "POLARS_MAX_THREADS", "OMP_NUM_THREADS"), str(asked.threads))
    command = [sys.executable, __file__, "--child", side, stage, str(folder)]
    done = subprocess.run(command, env=os.environ | limits, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side}, {stage}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Own(Thread):
    """Watches the memory that is this process's own: pages of mapped files can be dropped at any time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0.0

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            self.most = max(self.most, int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e9)
            time.sleep(0.1)


def child(side: str, stage: str, folder: Path) -> None:
    own = Own()
    own.start()
    found = {"do": DO, "floor": FLOORS}[side][stage](folder)
    print(json.dumps(found | {"memory": own.most}))


def row(events: int, stage: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure one stage, and keep what was measured beside what it made."""
    kept = folder / f"{stage}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    if stage == "pass":
        raise SystemExit("the pass is measured where it begins: remove begin.json")
    own = measured("do", stage, folder, asked)
    floor = measured("floor", stage, folder, asked)["seconds"] if stage in FLOORS else math.nan
    for name, each in {"pass": own.pop("pass", None), stage: {"floor": floor, **own}}.items():
        if each:
            found = {"size": events, "stage": name, "memory": own["memory"], **each}
            (folder / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    return found


def shown(found: dict[str, Any]) -> str:
    each = 1e6 * found["seconds"] / found["events"]
    floor, ratio = found["floor"], found["seconds"] / found["floor"]
    beside = "| |" if math.isnan(floor) else f"{floor:,.1f} | {ratio:.2f} |"
    return (
        f"| {found['size']:,} | {found['stage']} | {int(found['events']):,} | {found['seconds']:,.1f} | {each:.2f} "
        f"| {found['memory']:.2f} | {beside}"
    )


def growth(found: list[dict[str, Any]], *, cores: int) -> list[str]:
    """How each stage grows between the two largest sizes, and what that comes to at 10^10 events."""
    lines = []
    for stage in (each for each in STAGES if each != "fit"):  # which learns from a sample, whatever the size
        *_, small, large = (each for each in found if each["stage"] == stage)
        exponent = math.log(large["seconds"] / small["seconds"]) / math.log(large["events"] / small["events"])
        times = (FAR / large["events"]) ** max(1.0, exponent)
        hours = large["seconds"] * times / 3600
        told = f"{large['seconds']:,.1f} s x {times:,.0f} = {hours:,.1f} h"
        lines.append(f"| {stage} | {exponent:.2f} | {told} | {math.ceil(hours * cores / NIGHT):,} |")
    return lines


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=STAGES)
    parser.add_argument("--memory", default="8GB", help="budget of each process")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    asked = parser.parse_args()
    print("| shop | stage | events | s | microseconds an event | GB at the peak | floor, s | ratio |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    every = []
    for events in sorted(asked.events):
        folder = asked.folder.absolute() / str(events)
        if not (folder / "shop" / SOURCES).exists():
            write(replace(SHOP, users=round(events / EVENTS_EACH)), folder / "shop")
        for stage in (each for each in STAGES if each in asked.stage):
            every.append(row(events, stage, folder, asked))
            print(shown(every[-1]), flush=True)
    if len(asked.events) > 1 and set(asked.stage) == set(STAGES):
        print(f"\n| stage | grows with events to the power | at 10^10 events | cores that do it in {NIGHT} h |")
        print("|---|---|---|---|")
        print("\n".join(growth(every, cores=asked.threads)))


if __name__ == "__main__":
    main()
