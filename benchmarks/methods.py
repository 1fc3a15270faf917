"""Every way of fine-tuning, on two trunks, at an equal budget: parameters, time, size, and how good the answers are.

On Online Retail, at the test cutoff 2011-09-10: one trunk for churn and value in 90 days. For each trunk and seed one
backbone is pre-trained on what the validation allows; every method starts from it (``scratch`` from its design alone),
and sees the same rows equally often: ``EPOCHS`` passes, the last weights are kept, nothing stops early. (``frozen``
reads each history once; its heads then take more and smaller steps.) Other settings are those of
``recipes/methods.toml``. **Validation** is a fit that is asked about the two cutoffs that choices are made by; **test**
is one on all cutoffs, asked about everyone at 2011-09-10. Nothing is chosen by the test. Parameters and size are
without heads, which every method trains; AdaLoRA's are those before it lowers its ranks. Seconds are of the processor,
for the fit on all cutoffs.

    OMP_NUM_THREADS=1 python benchmarks/methods.py [--trunk llama] [--seeds 3] [--out runs/methods_table]

Learning rates are chosen by the loss on validation, on ``llama`` and with one seed:

    OMP_NUM_THREADS=1 python benchmarks/methods.py --rates [--method lora]

What is done is kept in ``results.jsonl`` and ``rates.jsonl`` and not done again: stop it and start it as you like.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import polars as pl
from keeping import frame, kept, show
from safetensors.torch import save

from valuecast import columns as c
from valuecast import pipeline
from valuecast.config.learning import Adaptation, Finetuning, Trunk
from valuecast.config.recipe import Recipe, read_recipe
from valuecast.evaluation.outcomes import TRUTH, truths
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.metrics.registry import PRIMARY, measure
from valuecast.models import adapters
from valuecast.models.finetuned import Answerer, answers
from valuecast.moments import moment
from valuecast.tasks import Task, parse
from valuecast.training.course import Course, prepare
from valuecast.training.history import History
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

RECIPE = Path(__file__).parents[1] / "recipes/methods.toml"
METHODS: tuple[Adaptation, ...] = get_args(Adaptation)
TRUNKS: tuple[Trunk, ...] = ("llama", "gru")
RATES = (1e-3, 3e-3, 1e-2)
EPOCHS = 6
BUDGET = History((), best_epoch=EPOCHS, stopped_early=False, steps=0, seconds=0.0, events=0)


@dataclass(frozen=True)
class Bench:
    """A log, what is asked of it, and where results are kept."""

    recipe: Recipe
    whole: EventLog
    out: Path
    tables: Tables = field(default_factory=Tables)

    @cached_property
    def known(self) -> EventLog:
        return self.whole.before(self.recipe.origins[0])

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(map(parse, self.recipe.tasks))

    def settings(self, method: Adaptation, *, rate: float | None = None) -> Finetuning:
        """The recipe's, but for the number of epochs."""
        found = self.recipe.finetune.get(method, Finetuning())
        how = replace(found.optimisation, epochs=EPOCHS, patience=EPOCHS, tracker="none")
        return replace(found, optimisation=how if rate is None else replace(how, learning_rate=rate))

    def course(self, trunk: Trunk, method: Adaptation, settings: Finetuning, *, seed: int) -> Course:
        split = pipeline.split_of(self.recipe.split)
        of = self.recipe.backbone
        of = replace(of, architecture=replace(of.architecture, trunk=trunk))
        rounds = split.choices(self.tasks[0], self.known)
        base = Workshop(self.tasks, of, folder=self.out).backbone(
            self.known, rounds, rung=method, seed=seed, progress=print
        )
        return prepare(
            base, self.tasks, self.known, method=method, settings=settings, split=split, seed=seed, tables=self.tables
        )

    def tested(self, course: Course, made: Answerer) -> dict[str, float]:
        """The metric of each task on everyone at the test cutoff."""
        at = moment(self.recipe.origins[0])
        found = {}
        for task in self.tasks:
            truth = truths(task, self.whole, at)
            raw = answers(made, course.histories, truth.select(c.KEY))
            (target,) = task.targets
            metric = measure(PRIMARY[task.kind]).metric
            found[task.name] = metric(truth[TRUTH].to_numpy(), raw[target].to_numpy())
        return found


def compared(bench: Bench, trunk: Trunk, method: Adaptation, *, seed: int) -> dict[str, Any]:
    """A line of the table, for one seed."""
    course = bench.course(trunk, method, bench.settings(method), seed=seed)
    stage = course._stage("validation", course.rounds[0])
    made, _ = course.train(stage, chosen=BUDGET)
    validation = {
        task.name: measure(PRIMARY[task.kind]).metric(scored.truth, scored.raw)
        for task, scored in zip(bench.tasks, course._held(stage, made), strict=True)
    }
    begun = time.process_time()
    made, history = course.train(course.last, chosen=BUDGET)
    seconds = time.process_time() - begun
    trained = adapters.trained(made.network)
    return {
        "parameters": sum(weight.numel() for weight in trained.values()),
        "network": sum(weight.numel() for weight in course.base.network.parameters()),
        "heads": sum(weight.numel() for weight in made.heads.parameters()),
        "bytes": len(save({name: weight.contiguous() for name, weight in trained.items()})) if trained else 0,
        "seconds": seconds,
        "steps": history.steps,
        **{f"{name} validation": value for name, value in validation.items()},
        **{f"{name} test": value for name, value in bench.tested(course, made).items()},
    }


def rated(bench: Bench, method: Adaptation, rate: float) -> dict[str, float]:
    """The loss on validation after the last epoch."""
    course = bench.course("llama", method, bench.settings(method, rate=rate), seed=0)
    _, history = course.train(course._stage("validation", course.rounds[0]), chosen=None)
    losses = [sum(epoch.validation[task.name] for task in bench.tasks) for epoch in history.epochs]
    return {"last": losses[-1], "best": min(losses), "training": sum(history.epochs[-1].training.values())}


def report(found: pl.DataFrame) -> None:
    """Print a table for each trunk: means over the seeds, and beside each metric its standard deviation."""
    metrics = [name for name in found.columns if name.endswith((" validation", " test"))]
    spread = [
        pl.format("{} ± {}", *(pl.col(name).mean().round(3), pl.col(name).std().fill_null(0.0).round(3))).alias(name)
        for name in metrics
    ]
    for trunk in TRUNKS:
        own = found.filter(trunk=trunk)
        if own.is_empty():
            continue
        table = own.group_by("method", maintain_order=True).agg(
            pl.len().alias("seeds"),
            pl.col("parameters", "bytes").first(),
            pl.col("seconds").mean().round(1),
            *spread,
        )
        if not (full := table.filter(method="full")).is_empty():
            times = (pl.col(name) / full[name].item() for name in ("parameters", "seconds"))
            table = table.with_columns(*(each.round(3).name.suffix(", times full's") for each in times))
        print(f"\n{trunk}: {own['network'][0]:,} parameters; heads, which every method trains: {own['heads'][0]:,}\n")
        show(table.sort(pl.col("method").replace_strict({name: i for i, name in enumerate(METHODS)})))
        for method in METHODS:
            if why := adapters.objection(method, trunk):
                print(f"\n{method}: {why}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--trunk", choices=TRUNKS, action="append", help="only this one")
    parser.add_argument("--method", choices=METHODS, action="append", help="only this one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", action="store_true", help="compare learning rates by the loss on validation")
    parser.add_argument("--out", type=Path, default=Path("runs/methods_table"))
    asked = parser.parse_args()

    folder = asked.out / "online_retail"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("online_retail", path=asked.logs), folder)
    bench = Bench(read_recipe(RECIPE), EventLog.read(folder), asked.out)
    methods: Sequence[Adaptation] = asked.method or METHODS
    if asked.rates:
        path = asked.out / "rates.jsonl"
        for method in methods:
            for rate in RATES:
                kept(path, {"method": method, "rate": rate}, lambda: rated(bench, method, rate))  # noqa: B023 - at once
        show(frame(path).pivot("rate", index="method", values="last").with_columns(pl.selectors.float().round(3)))
        return
    path = asked.out / "results.jsonl"
    for seed in range(asked.seeds):
        for method in methods:
            for trunk in asked.trunk or TRUNKS:
                if adapters.objection(method, trunk):
                    continue
                rate = bench.settings(method).optimisation.learning_rate
                key = {"trunk": trunk, "method": method, "seed": seed, "rate": rate, "epochs": EPOCHS}
                kept(path, key, lambda: compared(bench, trunk, method, seed=seed))  # noqa: B023 - called at once
    report(frame(path))


if __name__ == "__main__":
    main()
