"""How many users, and how much history, a model needs before it beats the best rule of thumb.

Of each log so many users are drawn, at random and several times; a model is fitted to them alone and tested on
everyone at a later cutoff, so that a draw differs from another by what it learned from, not by whom it was tested on.
Rules of thumb learn nothing, so they are fitted once. A second grid keeps the number of users and shortens the
history. What is done is kept in ``results.jsonl`` and not done again: stop it and start it as you like.

    python benchmarks/minimums.py --logs ../shared/data/online_retail [--draws 5] [--out runs/minimums]

The rule that picks a minimum: the smallest size at which a model beats the best rule of thumb in at least 80% of the
draws and keeps, on average, half of the lead that it has with all users; there and at every larger size. The constants
are in ``valuecast.evaluation.readiness.minimums``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import ibis
import polars as pl
from keeping import show

from valuecast import columns as c
from valuecast.errors import FitError
from valuecast.evaluation.outcomes import TRUTH, truths
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.metrics.registry import PRIMARY, measure
from valuecast.models.baselines.boosted import LIGHTGBM
from valuecast.models.predictor import RAW
from valuecast.models.registry import BASELINES
from valuecast.moments import moment
from valuecast.tasks import Task, parse
from valuecast.tasks.labels import labels
from valuecast.training.fit import fit
from valuecast.training.tables import Tables

RULES = ("recency", "last_period", "mean_rate")
MODELS = ("lightgbm", "bgnbd")
TRIALS = 2  # the usual setting of each shape, and no search: a hundred fits must end
ENOUGH = 0.8
HALF = 0.5
EVERYONE = 0


@dataclass(frozen=True)
class Study:
    """One log, its tasks and test cutoff, and the grid: sizes at the whole history, histories at one size."""

    data: str
    at: str
    tasks: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    histories: tuple[int, ...] = ()
    size: int = 1_000

    def points(self, log: EventLog) -> list[tuple[int, int]]:
        """``(days of history, users)``, the quick ones first."""
        whole = int((moment(self.at) - log.span.start).days)
        return [(whole, size) for size in self.sizes] + [(days, self.size) for days in self.histories if days <= whole]


LONG = ("churn(days=90, active=180)", "value(days=90, active=180)")
MIDDLE = ("churn(days=30, active=60)", "value(days=30, active=60)")
SHORT = ("churn(days=28, active=56)", "value(days=28, active=56)")
STUDIES = (
    Study("online_retail", "2011-09-10", LONG, sizes=(100, 200, 500, 1_000, 2_000, EVERYONE)),
    Study("online_retail", "2011-09-10", MIDDLE, histories=(150, 180, 270, 365, 545), size=500),
    Study("completejourney", "2017-12-04", SHORT, sizes=(200, 1_000, EVERYONE)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/minimums"))
    asked = parser.parse_args()

    BASELINES["lightgbm"] = replace(LIGHTGBM, trials=TRIALS)
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "results.jsonl"
    known = _known(kept)
    for study in STUDIES:
        log = _log(study.data, asked.out, asked.logs)
        for draw in range(asked.draws):
            for days, size in study.points(log):
                if size == EVERYONE and draw:
                    continue
                key = {"data": study.data, "tasks": study.tasks[0], "days": days, "size": size, "draw": draw}
                if json.dumps(key) in known:
                    continue
                begun = time.perf_counter()
                rows = list(_fitted(study, log, days=days, size=size, draw=draw))
                with kept.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"key": key, "rows": rows}) + "\n")
                print(f"{time.perf_counter() - begun:5.0f} s  {key}", flush=True)
    report(kept)


def _fitted(study: Study, log: EventLog, *, days: int, size: int, draw: int) -> Iterator[dict[str, Any]]:
    at = moment(study.at)
    whole = log.between(at - timedelta(days=days), log.span.until)
    known = whole.before(at)
    sample = known if size == EVERYONE else _sampled(known, parse(study.tasks[0]), size, seed=draw)
    tables, every = Tables(), Tables()
    for text in study.tasks:
        task = parse(text)
        target = next(iter(task.targets))
        truth = truths(task, whole, at)
        last = labels(task, sample, [known.span.until - task.horizon])[target]
        facts = {
            "task": text,
            "days": days,
            "size": size,
            "draw": draw,
            "users": len(last),
            "positives": int((last > 0).sum()),
            "negatives": int((last <= 0).sum()),
        }
        rules = RULES if size == EVERYONE or (draw == 0 and EVERYONE not in study.sizes) else ()
        for name in (*rules, *MODELS):
            if BASELINES[name].objection(task):
                continue
            fitted_to = (known, every) if name in RULES else (sample, tables)
            value = _tested(name, task, *fitted_to, test=(whole, truth))
            yield {"data": study.data, "model": name, "value": value, **facts}


def _tested(
    name: str, task: Task, known: EventLog, tables: Tables, *, test: tuple[EventLog, pl.DataFrame]
) -> float | None:
    """The metric on everyone eligible at the test cutoff; None where these users do not determine the model."""
    whole, truth = test
    at = known.span.until
    try:
        predictor = fit(name, task, known, seed=0, tables=tables)
    except FitError:
        return None
    scored = predictor.raw(whole, at=at).join(truth, on=[*c.KEY, c.TARGET], how="inner")
    return measure(PRIMARY[task.kind]).metric(scored[TRUTH].to_numpy(), scored[RAW].to_numpy())


def _sampled(log: EventLog, task: Task, size: int, *, seed: int) -> EventLog:
    """``size`` of the users eligible at the last cutoff with a label, and the same share of the others."""
    asked = labels(task, log, [log.span.until - task.horizon])[c.USER].sort()
    others = log.collect(log.events.select(c.USER).distinct())[c.USER].sort()
    others = others.filter(~others.is_in(asked.to_list()))
    size = min(size, len(asked))
    drawn = [asked.sample(size, seed=seed), others.sample(round(len(others) * size / len(asked)), seed=seed)]
    users = ibis.memtable(pl.DataFrame({c.USER: pl.concat(drawn)}))
    kept = log.events._find_backend().create_table(
        "drawn", log.collect(log.events.semi_join(users, c.USER)), temp=True, overwrite=True
    )
    return replace(log, events=kept, digest=f"{log.digest}, {size} users, draw {seed}")


def _log(data: str, out: Path, files: Path) -> EventLog:
    folder = out / data
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping(data, path=files if data == "online_retail" else None), folder)
    return EventLog.read(folder)


def _known(kept: Path) -> set[str]:
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    return {json.dumps(json.loads(line)["key"]) for line in lines}


def report(kept: Path) -> None:
    """Print a line for each log, task, model and point of the grid; ``enough``: the rule holds there and further on."""
    found = [row for line in kept.read_text(encoding="utf-8").splitlines() for row in json.loads(line)["rows"]]
    frame, asked, value = pl.DataFrame(found, infer_schema_length=None), ["data", "task"], pl.col("value")
    rules = frame.filter(pl.col("model").is_in(RULES)).group_by(*asked, "days").agg(value.max().alias("rule"))
    models = frame.filter(pl.col("model").is_in(MODELS)).join(rules, on=[*asked, "days"])
    everyone = models.filter(size=EVERYONE).select(*asked, "model", value.alias("everyone"))
    beats = (value > pl.col("rule")).fill_null(value=False).mean()
    keeps = ((value - pl.col("rule")) / (pl.col("everyone") - pl.col("rule"))).mean()
    table = (
        models.join(everyone, on=[*asked, "model"], how="left")
        .group_by(*asked, "model", "days", "size")
        .agg(
            pl.len().alias("draws"),
            pl.col("users", "positives", "negatives").mean().round(0).cast(pl.Int64),
            value.count().alias("fitted"),
            value.mean().round(3),
            value.std().round(3).alias("sd"),
            pl.col("rule").first().round(3),
            beats.round(2).alias("beats"),
            keeps.round(2).alias("keeps"),
        )
        .sort(*asked, "model", "days", "users")
        .with_columns(
            ((pl.col("beats") >= ENOUGH) & (pl.col("keeps").fill_null(1.0) >= HALF))
            .cum_min(reverse=True)
            .over(*asked, "model")
            .alias("enough")
        )
        .drop("size")
    )
    show(table)


if __name__ == "__main__":
    main()
