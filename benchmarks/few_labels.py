"""300 labelled users: what unlabelled texts teach, and whose label should be asked for next.

Complete Journey, as ``recipes/user_churn.toml`` has it, but with more users. Of the training users 300 are drawn whose
labels are seen; the texts of the others are there without labels. Every way starts from the same 300 and the same
language model, is stopped by the same validation rows and tested on the same users:

- ``labels``: the 300 labels alone.
- ``pseudo``: what that model is sure of teaches another one, by the floor that is named; it is kept only if validation
  says so (``pseudo kept``), and shown whether it is or not.
- ``chance``: 100 more labels, of users drawn by chance.
- ``next``: 100 more labels, of those that ``valuecast label next`` names.

    OMP_NUM_THREADS=2 python benchmarks/few_labels.py [--seeds 3] [--method lora] [--out runs/few_labels]

What is done is kept in ``results.jsonl`` and not done again: stop it and start it as you like. ``--table`` only prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from keeping import frame, kept, show

from valuecast import columns as c
from valuecast.config.examples import Program, Pseudo, Tuning, read_program
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.models.text.backbone import TextBackbone
from valuecast.tasks import parse
from valuecast.training.examples.active import next_labels
from valuecast.training.examples.cells import ROW
from valuecast.training.examples.fit import Fitted, fit
from valuecast.training.examples.make import make, written
from valuecast.training.examples.pseudo import teach
from valuecast.training.examples.scores import measured
from valuecast.training.examples.table import TEXT, Labelled, drawn, labelled_of

RECIPE = Path(__file__).parents[1] / "recipes/user_churn.toml"
LABELLED, MORE = 300, 100
FLOORS = (0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Bench:
    """Labelled texts and a language model."""

    program: Program
    whole: Labelled
    tuning: Tuning

    @cached_property
    def model(self) -> TextBackbone:
        return TextBackbone.open(self.program.text)

    def few(self, seed: int) -> Labelled:
        """The same rows, with the labels of 300 training users alone."""
        rows = self.whole.of("train")
        first = rows.unique(c.USER, keep="first", maintain_order=True)
        chance = pl.Series([drawn(user, seed, purpose="labelled") for user in first[c.USER]])
        seen = first.filter(chance.rank("ordinal") <= LABELLED)[ROW]
        hidden = (pl.col("split") == "train") & ~pl.col(ROW).is_in(seen.implode())
        label = pl.when(~hidden).then(c.LABEL)
        return replace(self.whole, frame=self.whole.frame.with_columns(label.alias(c.LABEL)))

    def fit(self, table: Labelled, seed: int, name: str = "text") -> Fitted:
        return fit(self.model, table, tuning=self.tuning, seed=seed, name=name, progress=print)

    def tested(self, fitted: Fitted) -> dict[str, float]:
        rows = self.whole.of("test")
        said = fitted.predictor.said(fitted.predictor.states(rows[TEXT].to_list()))
        found = measured(self.whole.kind, self.whole.numbers("test"), said)
        return {"auc": found["auc"], "log_loss": found["log_loss"], "seconds": fitted.history.seconds}

    def truth(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The labels of rows that were hidden."""
        return self.whole.frame.filter(pl.col(ROW).is_in(rows[ROW].implode())).select(ROW, c.LABEL)


def ways(bench: Bench, seed: int) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is compared; each fits what it needs."""
    table = bench.few(seed)
    first: list[Fitted] = []

    def teacher() -> Fitted:
        first[:] = first or [bench.fit(table, seed)]
        return first[0]

    def labels() -> dict[str, Any]:
        return bench.tested(teacher())

    def pseudo(floor: float) -> dict[str, Any]:
        learned = teacher()
        how = Pseudo(floor=floor)
        again = lambda more, name: bench.fit(more, seed, name)  # noqa: E731 - as short as that
        found = teach(learned, table, again, how=how, truth=bench.truth(table.pool), progress=print)
        (one,) = found.rounds
        taken = {"taken": sum(one.taken.values()), "right": one.right, "kept": found.used > 0}
        return {**bench.tested(found.last or learned), **taken}

    def chance() -> dict[str, Any]:
        pool = table.pool
        rows = pool[np.sort(np.random.default_rng(seed).permutation(len(pool))[:MORE])]
        return bench.tested(bench.fit(table.with_labels(bench.truth(rows)), seed))

    def asked() -> dict[str, Any]:
        known = table.of("train")[TEXT].to_list()
        named = next_labels(teacher().predictor, table.pool, MORE, known=known)
        rows = table.pool.filter(pl.col(ROW).is_in(named["row"].implode()))
        return bench.tested(bench.fit(table.with_labels(bench.truth(rows)), seed))

    found: dict[str, Callable[[], dict[str, Any]]] = {"labels": labels}
    found |= {f"pseudo {floor}": lambda floor=floor: pseudo(floor) for floor in FLOORS}  # type: ignore[misc]
    return found | {"chance": chance, "next": asked}


def report(found: pl.DataFrame) -> None:
    """Each way beside ``labels`` of the same seed."""
    base = found.filter(way="labels").select("seed", "method", base_auc="auc", base_loss="log_loss")
    beside = found.join(base, on=["seed", "method"]).with_columns(
        gain=pl.col("auc") - pl.col("base_auc"), loss_gain=pl.col("log_loss") - pl.col("base_loss")
    )
    some = [name for name in ("taken", "right", "kept") if name in found.columns]
    table = beside.group_by("method", "way", maintain_order=True).agg(
        pl.len().alias("seeds"),
        pl.col("auc", "log_loss").mean().round(4),
        pl.col("gain").mean().round(4).alias("auc - labels"),
        pl.col("gain").min().round(4).alias("worst"),
        pl.col("gain").max().round(4).alias("best"),
        pl.col("loss_gain").mean().round(4).alias("log_loss - labels"),
        *(pl.col(name).cast(pl.Float64).mean().round(3) for name in some),
    )
    show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--method", default="lora", help="what of the language model is trained")
    parser.add_argument("--users", type=int, default=1_000, help="of each cutoff")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    parser.add_argument("--out", type=Path, default=Path("runs/few_labels"))
    asked = parser.parse_args()
    path = asked.out / "results.jsonl"
    if asked.table:
        report(frame(path))
        return
    program = read_program(RECIPE)
    folder = asked.out / "completejourney"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("completejourney"), folder)
    examples = program.examples
    assert examples.task is not None
    rows = make(
        EventLog.read(folder), parse(examples.task), examples.at, users=asked.users, events=examples.events, seed=0
    )
    bench = Bench(program, labelled_of(written(rows), examples.reading), Tuning(method=asked.method, tracker="none"))
    for seed in range(asked.seeds):
        for way, run in ways(bench, seed).items():
            key = {"way": way, "seed": seed, "method": asked.method, "users": asked.users, "text": bench.whole.digest}
            kept(path, key, run)
    report(frame(path))


if __name__ == "__main__":
    main()
