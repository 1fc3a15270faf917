"""How much better a backbone foresees with more parameters, and with more events to learn from.

A simulated shop; ``tiny``, ``small`` and ``base`` learn the next event from so many events of random users, in so many
passes, such that networks can be compared that have seen equally many events in all, to within a few percent. All are
asked about the same later events of the same users, by the same encoding. The loss is the sum over what the next event
is (type, items, amount, gap), in nats; the baseline is how frequent each was before. The learning rate falls with the
root of the width and is not tuned; nothing stops early.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--size tiny] [--trunk llama] [--out runs/scaling]

What is done is kept in ``results.jsonl`` and not done again: stop it and start it as you like.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl

from valuecast.config.learning import Architecture, Objectives, Optimisation, Pretraining, Size, Trunk
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.models.network import layers
from valuecast.models.trunks import SIZES
from valuecast.training.loop import train
from valuecast.training.pool import Pool

SHOP = Settings(users=2_400, seed=1)
JUDGED = 30_000
ONCE = (80_000, 1)  # events to learn from, and passes
GRID: dict[Size, tuple[tuple[int, int], ...]] = {
    "tiny": ((30_000, 8), (80_000, 3), (240_000, 1), ONCE),
    "small": ((30_000, 8), (80_000, 3), (240_000, 1), ONCE),
    "base": (ONCE, (240_000, 1)),
}


def settings(trunk: Trunk, size: Size, *, passes: int) -> Pretraining:
    rate = 2e-3 * (SIZES["tiny"].hidden / SIZES[size].hidden) ** 0.5
    how = Optimisation(learning_rate=rate, epochs=passes, batch_events=1_024, tracker="none")
    # Windows of one length, so that all see the same.
    return Pretraining(Architecture(trunk=trunk, size=size, length=128), Objectives(counts=0), how)


def learned(log: EventLog, trunk: Trunk, size: Size, *, events: int, passes: int) -> dict[str, Any]:
    """Train one network, and ask it about later events."""
    how = settings(trunk, size, passes=passes)
    whole = Pool.of((log,), how, common=False, seed=0, folder=None)
    (share,) = whole.shares
    assert share.judge is not None
    few = replace(share, feed=replace(share.feed, limit=events), judge=replace(share.judge, limit=JUDGED))
    pool, learner = replace(whole, shares=(few,)), whole.learner()
    depth = layers(learner.network)
    begun = time.process_time()
    history = train(
        learner,
        few.feed,
        settings=how.optimisation,
        groups=[(parameters, len(depth) - 1 - number) for number, parameters in enumerate(depth)],
        progress=lambda line: print(f"{size} {events:,}: {line}", flush=True),
    )
    found = pool.facts(learner, history)["validation"]
    following = [each for name, each in found.items() if name.startswith("next_event/")]
    return {
        "parameters": sum(each.numel() for each in learner.network.trunk.parameters()),
        "seen": history.events,
        "steps": history.steps,
        "cpu": round(time.process_time() - begun),
        "training": sum(history.epochs[-1].training.values()),
        "loss": sum(each["loss"] for each in following),
        "baseline": sum(each["baseline"] for each in following),
        **{name: each["loss"] for name, each in found.items()},
    }


def report(path: Path) -> None:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    frame = pl.DataFrame([line["key"] | line["found"] for line in found], infer_schema_length=None)
    table = frame.sort("parameters", "seen", "events").with_columns(pl.selectors.float().round(3))
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=250,
        tbl_formatting="MARKDOWN",
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        thousands_separator=True,
    ):
        print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trunk", choices=get_args(Trunk), default="llama")
    parser.add_argument("--size", choices=GRID, action="append", help="only this one")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    asked = parser.parse_args()

    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "results.jsonl"
    log = simulate(SHOP).log
    for size in asked.size or GRID:
        for events, passes in GRID[size]:
            key = {"trunk": asked.trunk, "size": size, "events": events, "passes": passes}
            done = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            if any(json.loads(line)["key"] == key for line in done):
                continue
            line = json.dumps({"key": key, "found": learned(log, asked.trunk, size, events=events, passes=passes)})
            with path.open("a", encoding="utf-8") as kept:
                kept.write(line + "\n")
            print(line, flush=True)
    report(path)


if __name__ == "__main__":
    main()
