"""How many labelled users it takes: networks pre-trained here, on other shops and not at all, beside LightGBM.

Churn on Online Retail, tested on everyone at 2011-09-10, a cutoff by which nothing is chosen. So many users are drawn,
and learners see their labels alone, at all cutoffs; what the others did is known, as it would be, and backbones learn
from it. A smaller sample is part of a larger one of the same seed. One backbone, of one seed, serves all samples.

    OMP_NUM_THREADS=1 python benchmarks/labels.py [--seeds 5] [--learner lightgbm] [--plot docs/label_efficiency.png]

Each run is kept in a small file and not done again: stop it and start it as you like. ``--table`` only prints.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from keeping import Sampled

from valuecast import columns as c
from valuecast.config.learning import Architecture, Fusion, Pretraining
from valuecast.errors import FitError, ModelError, TaskError
from valuecast.evaluation.outcomes import TRUTH, outcomes
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.metrics.registry import measured
from valuecast.models.backbone import Backbone
from valuecast.models.predictor import RAW
from valuecast.tasks import Task, parse
from valuecast.tasks.splits import TimeSplit
from valuecast.training.pretrain import pretrain
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

SIZES = (100, 300, 1_000, 3_000)
METRICS = ("auc", "log_loss")
SETTINGS = Pretraining(Architecture(size="tiny"))
SHOP = Settings(users=3_000, seed=7)
LEARNERS: dict[str, tuple[str, str | None]] = {
    "LightGBM": ("lightgbm", None),
    "from scratch": ("scratch", None),
    "pre-trained here": ("frozen", "here"),
    "pre-trained on other shops": ("frozen", "elsewhere"),
    "pre-trained here, joint": ("joint", "here"),
    "pre-trained on other shops, joint": ("joint", "elsewhere"),
}
"""The rung of each learner, and the backbone that it starts from; ``scratch`` takes one's design alone."""


@dataclass(frozen=True)
class Bench:
    """A log, a task, and a test cutoff; ``others`` gives the logs of other shops."""

    whole: EventLog
    task: Task
    at: str
    out: Path
    others: Callable[[], list[EventLog]]
    # One round and few cutoffs, as in recipes/methods.toml: every learner fits twice, and there are many to fit.
    split: TimeSplit = field(default_factory=lambda: TimeSplit(every=30, rounds=1))
    settings: Pretraining = SETTINGS

    @cached_property
    def known(self) -> EventLog:
        return self.whole.before(self.at)

    @cached_property
    def users(self) -> pl.Series:
        """Everyone who has a label."""
        return Tables().labelled(self.task, self.known, self.split)[c.USER].unique().sort()

    def sample(self, size: int, *, seed: int) -> Sampled:
        order = np.random.default_rng(seed).permutation(len(self.users))
        return Sampled(**asdict(self.split), users=frozenset(self.users.gather(order[:size])))

    def backbone(self, name: str) -> Backbone:
        place = self.out / "backbones" / name
        try:
            return Backbone.load(place)
        except ModelError:  # it is not made yet
            made = self.here() if name == "here" else self.elsewhere()
            made.save(place)
            return made

    def here(self) -> Backbone:
        """Of this shop, before the first moment at which choices are judged."""
        before = self.split.choices(self.task, self.known)[-1].known
        return pretrain(self.known.before(before), settings=self.settings, progress=print)

    def elsewhere(self) -> Backbone:
        """Of other shops, nothing of this one."""
        return pretrain(self.others(), common=True, settings=self.settings, progress=print)

    def run(self, learner: str, size: int, *, seed: int) -> dict[str, Any]:
        """Fit a learner to the labels of a sample, and test it on everyone."""
        rung, base = LEARNERS[learner]
        begun = time.process_time()
        # A trunk that learns from a few labels only would forget: ``joint`` leaves it as it is.
        workshop = Workshop(
            (self.task,), self.settings, fusion=Fusion(trunk="frozen"), base=self.backbone(base) if base else None
        )
        split = self.sample(size, seed=seed)
        try:
            made = workshop.fit(rung, self.task, self.known, split=split, seed=seed, tables=Tables(), progress=print)
        except (FitError, TaskError) as error:
            return {"reason": error.what}
        found = outcomes(made, self.whole, self.at)
        truth, raw, score = (found[name].to_numpy() for name in (TRUTH, RAW, c.SCORE))
        values = measured(self.task.kind, truth, raw=raw, score=score)
        told = {"labelled": made.facts["users"], "rows": made.facts["examples"], "tested": len(found)}
        return told | {"seconds": time.process_time() - begun} | {name: values[name] for name in METRICS}

    def results(self) -> pl.DataFrame:
        """Every run that is kept."""
        every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((self.out / "done").glob("*.json"))]
        return pl.DataFrame(every, infer_schema_length=None)

    def kept(self, learner: str, size: int, *, seed: int) -> None:
        """Do a run and keep what it gives, unless it is kept already."""
        key = {"learner": learner, "users": size, "seed": seed}
        asked = (key, self.known.fingerprint, str(self.task), self.at, self.split, self.settings)
        path = self.out / "done" / f"{hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}.json"
        if path.exists():
            return
        found = json.dumps(key | self.run(learner, size, seed=seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(found, encoding="utf-8")
        draft.replace(path)
        print(found, flush=True)


def summary(results: pl.DataFrame) -> pl.DataFrame:
    """The mean and the range over seeds of every metric, learner by learner; where a run failed it does not count."""
    spread = [
        each.alias(f"{name}{ending}")
        for name in METRICS
        for ending, each in (("", pl.col(name).mean()), ("_low", pl.col(name).min()), ("_high", pl.col(name).max()))
    ]
    order = pl.col("learner").replace_strict({name: i for i, name in enumerate(LEARNERS)})
    done = results.filter(pl.col("auc").is_not_null())
    return done.group_by("learner", "users").agg(pl.len().alias("seeds"), *spread).sort(order, "users")


def show(found: pl.DataFrame) -> None:
    print("\n| Learner | Labelled users | Seeds | AUC | Log-loss |")
    print("| --- | --- | --- | --- | --- |")
    for row in found.iter_rows(named=True):
        told = [f"{row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})" for name in METRICS]
        print(f"| {row['learner']} | {row['users']:,} | {row['seeds']} | {' | '.join(told)} |")


def against(results: pl.DataFrame, reference: str = "LightGBM") -> None:
    """Print each learner's AUC less LightGBM's on the same samples, in points."""
    if "auc" not in results.columns:
        return
    other = results.filter(learner=reference).select("users", "seed", pl.col("auc").alias("reference"))
    both = results.join(other, on=["users", "seed"]).filter(pl.col("learner") != reference)
    gap = 100 * (pl.col("auc") - pl.col("reference"))
    found = both.group_by("learner", "users").agg(
        gap.mean().alias("mean"), gap.min().alias("low"), gap.max().alias("high")
    )
    print(f"\nAUC points over {reference}, same samples: mean (range over seeds)")
    for row in found.drop_nulls().sort("users", "learner").iter_rows(named=True):
        print(f"  {row['users']:>5,} {row['learner']}: {row['mean']:+.1f} ({row['low']:+.1f} to {row['high']:+.1f})")


def plot(found: pl.DataFrame, path: Path) -> None:
    """Draw the means, and bars over the range of the seeds, by the number of labelled users."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    canvas = Figure(figsize=(9, 4), layout="constrained", dpi=150)
    for axes, name, label in zip(canvas.subplots(1, 2), METRICS, ("AUC", "Log-loss"), strict=True):
        for learner in found["learner"].unique(maintain_order=True):
            own = found.filter(learner=learner)
            mean, low, high = (own[f"{name}{ending}"].to_numpy() for ending in ("", "_low", "_high"))
            axes.errorbar(own["users"], mean, (mean - low, high - mean), label=learner, marker="o", ms=3, capsize=2)
        axes.set(xscale="log", xlabel="Labelled users", ylabel=label)
        axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path)


def read(name: str, folder: Path, *, path: Path | None = None) -> EventLog:
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping(name, path=path), folder, progress=print)
    return EventLog.read(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--learner", choices=LEARNERS, action="append", help="only this one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    parser.add_argument("--plot", type=Path, help="draw it too")
    parser.add_argument("--out", type=Path, default=Path("runs/labels"))
    asked = parser.parse_args()
    bench = Bench(
        read("online_retail", asked.out / "online_retail", path=asked.data),
        parse("churn(days=90, active=180)"),
        "2011-09-10",
        asked.out,
        others=lambda: [read("completejourney", asked.out / "completejourney"), simulate(SHOP).log],
    )
    report(bench, asked)


def report(bench: Bench, asked: argparse.Namespace) -> None:
    """Do what is asked for, seed by seed, then print and draw what is kept."""
    for seed in range(0 if asked.table else asked.seeds):
        for size in SIZES:
            for learner in asked.learner or LEARNERS:
                bench.kept(learner, size, seed=seed)
    results = bench.results()
    if "auc" not in results.columns:
        print("nothing is done yet")
        return
    found = summary(results)
    show(found)
    against(results)
    found.write_csv(asked.out / "labels.csv")
    if asked.plot:
        plot(found, asked.plot)


if __name__ == "__main__":
    main()
