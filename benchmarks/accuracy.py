"""Fused against the strongest baseline: churn and value on several logs, at several test cutoffs each.

What is run is ``accuracy.toml``, and nothing else. A cell is a log, a cutoff and a target. The strongest baseline of a
cell is the one of the non-neural rungs that was best on the cell's *validation* cutoffs; a harder line, which nobody
could have chosen, is the one that turned out best on the test by that metric. Intervals are of the bootstrap over
users; the pooled ones draw users within each log, and every cell counts the same. Simulated logs are not pooled.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py [--log online_retail] [--data ../shared/data/online_retail]
    python benchmarks/accuracy.py --table

Cells are done cutoff by cutoff, and each rung that is done is kept: stop it and start it as you like. ``--table``
prints what is there, and writes it to ``accuracy.csv``: one row for each cell and metric.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from valuecast import artifact
from valuecast import columns as c
from valuecast.config.learning import Finetuning, Fusion, Pretraining
from valuecast.config.recipe import SplitBy
from valuecast.config.toml import build, read_toml
from valuecast.errors import FitError
from valuecast.evaluation.comparison import METRIC, RUNG, compare, intervals
from valuecast.evaluation.ladder import Ladder, climb
from valuecast.evaluation.outcomes import TRUTH
from valuecast.evaluation.pooling import Cell, pooled
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.metrics.bootstrap import Estimate
from valuecast.metrics.metric import LEVEL
from valuecast.metrics.registry import PRIMARY, Kind, measure
from valuecast.models.predictor import RAW
from valuecast.models.registry import FUSED, NEURAL
from valuecast.pipeline import split_of
from valuecast.tasks import parse
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

CONFIGURATION = Path(__file__).with_suffix(".toml")
SHOWN: dict[Kind, tuple[str, str]] = {"binary": ("auc", "log_loss"), "amount": ("gini", "mae")}
KINDS: dict[Kind, str] = {"binary": "Churn", "amount": "Value"}
BIAS = 0.1
"""The total bias that line 1 allows."""


@dataclass(frozen=True)
class Rungs:
    """The rungs of each kind of task."""

    binary: tuple[str, ...]
    amount: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A log, a data set or a simulated shop, and what is asked of it; a split by users has no cutoffs but its own."""

    name: str
    tasks: tuple[str, ...]
    cutoffs: tuple[str, ...] = ()
    dataset: str | None = None
    shop: Settings | None = None
    split: SplitBy = field(default_factory=SplitBy)

    @property
    def real(self) -> bool:
        return self.shop is None

    def read(self, out: Path, data: Path) -> EventLog:
        if self.shop:
            return simulate(self.shop).log
        assert self.dataset
        folder = out / "logs" / self.dataset
        if not (folder / "manifest.json").exists():
            path = data if self.dataset == "online_retail" else None
            ingest(datasets.mapping(self.dataset, path=path), folder, progress=print)
        return EventLog.read(folder)


@dataclass(frozen=True)
class Configuration:
    """All that decides the results, beside the code."""

    rungs: Rungs
    log: tuple[Source, ...]
    backbone: Pretraining = Pretraining()
    finetune: Mapping[str, Finetuning] = field(default_factory=dict)
    fusion: Fusion = field(default_factory=Fusion)
    seed: int = 0

    @property
    def digest(self) -> str:
        told = (
            self.rungs,
            self.log,
            self.backbone,
            dict(self.finetune),
            self.fusion,
            self.seed,
            artifact.code_digest(),
        )
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Found:
    """What the rungs said in one cell.

    Attributes:
        source: name of the log's entry in the configuration.
        dataset: cells of the same one are of the same users.
        real: whether somebody shopped there.
        at: the cutoff.
        target: of the task.
        kind: of the task.
        rungs: for each rung that fitted its outcomes.
        validation: for each of them the metric that chooses, on the validation cutoffs.
        reasons: why the others did not.
        parts: the blend that was chosen.
        made: digest of the configuration and the code.
    """

    source: str
    dataset: str
    real: bool
    at: str
    target: str
    kind: Kind
    rungs: dict[str, pl.DataFrame]
    validation: dict[str, float]
    reasons: dict[str, str]
    parts: dict[str, float]
    made: str

    @cached_property
    def baselines(self) -> list[str]:
        return [rung for rung in self.rungs if rung not in NEURAL]

    @cached_property
    def strongest(self) -> str:
        """The best baseline on validation."""
        chosen = measure(PRIMARY[self.kind])
        return max(self.baselines, key=lambda rung: chosen.merit(self.validation[rung]))

    @cached_property
    def compared(self) -> pl.DataFrame:
        """One row for each metric: fused, the strongest baseline, the best one on the test, and the differences."""
        found = compare(self.rungs, kind=self.kind, reference=self.strongest)
        rows = []
        against = {self.strongest: found}
        for (name,), part in found.group_by(METRIC, maintain_order=True):
            by = measure(str(name))
            value = dict(zip(part[RUNG], part["value"], strict=True))
            hard = max(self.baselines, key=lambda rung: by.merit(value[rung]))
            if hard not in against:
                two = {rung: self.rungs[rung] for rung in (FUSED, hard)}
                against[hard] = compare(two, kind=self.kind, reference=hard)
            own, other = (_row(against[rung], str(name)) for rung in (self.strongest, hard))
            ends = ("difference", "difference_low", "difference_high")
            rows.append(
                {"log": self.source, "at": self.at, c.TARGET: self.target, METRIC: str(name)}
                | {"baseline": self.strongest, "fused": value[FUSED], "of_baseline": value[self.strongest]}
                | {end: own[end] for end in ends}
                | {"hardest": hard, "of_hardest": value[hard]}
                | {f"{end}_hardest": other[end] for end in ends}
            )
        return pl.DataFrame(rows)

    def metric(self, name: str) -> dict[str, Any]:
        return self.compared.filter(pl.col(METRIC) == name).row(0, named=True)

    def cell(self, name: str) -> Cell:
        """Fused beside the strongest baseline, for pooling."""
        column = RAW if measure(name).ranks else c.SCORE
        first, second = self.rungs[FUSED], self.rungs[self.strongest]
        return Cell(
            self.dataset, first[c.USER], *(frame.to_numpy() for frame in (first[TRUTH], first[column], second[column]))
        )


def _row(compared: pl.DataFrame, name: str) -> dict[str, Any]:
    return compared.filter(pl.col(METRIC) == name, pl.col(RUNG) == FUSED).row(0, named=True)


def keep(found: Found, folder: Path) -> None:
    """Write a cell; it appears whole or not at all."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    told = {name: getattr(found, name) for name in Found.__dataclass_fields__ if name != "rungs"}
    (draft / "cell.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    for rung, frame in found.rungs.items():
        frame.write_parquet(draft / f"{rung}.parquet")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def kept(folder: Path) -> Found:
    told = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    rungs = {rung: pl.read_parquet(folder / f"{rung}.parquet") for rung in told["validation"]}
    return Found(rungs=rungs, **told)


def done(source: Source, configuration: Configuration, *, out: Path, data: Path) -> None:
    """Climb every ladder of a log, cutoff by cutoff, and keep its cells."""
    log, split, tasks = source.read(out, data), split_of(source.split), [parse(text) for text in source.tasks]
    for at in source.cutoffs or (source.split.at,):
        workshop = Workshop(
            tuple(tasks),
            configuration.backbone,
            configuration.finetune,
            configuration.fusion,
            folder=out / source.name / "training",
        )
        tables = Tables()
        for task in tasks:
            ladder = climb(
                task,
                log,
                rungs=getattr(configuration.rungs, task.kind),
                origins=[at] if source.cutoffs and at else (),
                split=split,
                seed=configuration.seed,
                cache=out / source.name / "ladder",
                tables=tables,
                workshop=workshop,
                progress=lambda line: print(f"{source.name}: {line}", flush=True),
            )
            for found in cells(ladder, source, str(at), made=configuration.digest):
                keep(found, out / source.name / "cells" / f"{at}-{found.target}")


def cells(ladder: Ladder, source: Source, at: str, *, made: str) -> list[Found]:
    """The targets of a ladder with one cutoff."""
    kind = ladder.task.kind
    reasons = {each.rung: each.reason for each in ladder.results if each.reason is not None}
    if FUSED in reasons:
        raise FitError(reasons[FUSED], where=f"{source.name} at {at}: {FUSED}", remedy="See what its parts say.")
    found = []
    for target in ladder.task.targets:
        heads = {each.rung: each.heads[target] for each in ladder.results if each.outcomes is not None}
        values = {rung: head["validation"][PRIMARY[kind]] for rung, head in heads.items()}
        found.append(
            Found(
                source.name,
                source.dataset or source.name,
                source.real,
                at,
                target,
                kind,
                ladder.fitted(target),
                {rung: math.nan if value is None else value for rung, value in values.items()},
                reasons,
                dict(heads[FUSED]["settings"]["parts"]),
                made,
            )
        )
    return found


def signed(value: float, low: float, high: float, *, digits: int = 4) -> str:
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def estimated(found: Estimate) -> str:
    return signed(found.value, found.low, found.high)


def line(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


def header(*names: str) -> None:
    print(line(*names))
    print(line(*("---" for _ in names)))


def number(name: str, value: float) -> str:
    return f"{value:,.2f}" if name == "mae" else f"{value:.4f}"


def tables(found: Sequence[Found]) -> None:
    """Print a table for each kind of task."""
    for kind, title in KINDS.items():
        own = [each for each in found if each.kind == kind]
        if not own:
            continue
        print(f"\n### {title}\n")
        extra = ("Total bias",) if kind == "amount" else ()
        names = [measure(name).label.en for name in SHOWN[kind]]
        columns = [column for name in names for column in (name, "Difference", "Hardest baseline")]
        header("Log", "Cutoff", "Users", "Strongest baseline", *columns, *extra, "Made of")
        for each in own:
            row: list[object] = [each.source, each.at, f"{len(each.rungs[FUSED]):,}", each.strongest]
            for name in SHOWN[kind]:
                told, digits = each.metric(name), 2 if name == "mae" else 4
                ends = [told[f"difference{end}"] for end in ("", "_low", "_high")]
                hard = [told[f"difference{end}_hardest"] for end in ("", "_low", "_high")]
                row += [
                    f"{number(name, told['fused'])}, {number(name, told['of_baseline'])}",
                    signed(*ends, digits=digits),
                    f"{told['hardest']}: {signed(*hard, digits=digits)}",
                ]
            if extra:
                row.append(f"{each.metric('total_bias')['fused']:+.1%}")
            parts = ", ".join(f"{name} {share:.0%}" for name, share in each.parts.items())
            print(line(*row, parts))


def sureness(found: Sequence[Found]) -> None:
    """Print how well fused knows how sure it is, the worst cutoff first."""
    rows = [
        (abs(part["coverage"] - LEVEL), each, part)
        for each in found
        if each.kind == "amount"
        for part in intervals({FUSED: each.rungs[FUSED]}).iter_rows(named=True)
    ]
    print(f"\n### Coverage of the {LEVEL:.0%} intervals, worst first\n")
    header("Log", "Cutoff", "Target", "Coverage", "Mean width")
    for _, each, part in sorted(rows, key=lambda row: -row[0]):
        print(line(each.source, each.at, each.target, f"{part['coverage']:.1%}", f"{part['width']:,.2f}"))
    errors = [(each.metric("calibration_error")["fused"], each) for each in found if each.kind == "binary"]
    print("\n### Calibration error, worst first\n")
    header("Log", "Cutoff", "Target", "Calibration error")
    for error, each in sorted(errors, key=lambda row: -row[0]):
        print(line(each.source, each.at, each.target, f"{error:.3f}"))


def worse(told: Mapping[str, Any]) -> bool:
    """Whether fused is significantly worse than the strongest baseline."""
    sides = {"higher": told["difference_high"] < 0, "lower": told["difference_low"] > 0}
    return bool(sides[measure(told[METRIC]).better])


def pool(found: Sequence[Found], kind: Kind, name: str, *, relative: bool = False) -> Estimate | None:
    own = [each.cell(name) for each in found if each.kind == kind]
    return pooled(measure(name).metric, own, relative=relative) if own else None


def verdicts(found: Sequence[Found]) -> None:
    """Print what the real logs say, line by line."""
    print("\n### What it shows\n")
    bad = [(each, told) for each in found for name in SHOWN[each.kind] for told in [each.metric(name)] if worse(told)]
    print(f"(a) {len(found)} cells; fused is significantly worse than the strongest baseline in {len(bad)}:")
    for each, told in bad:
        ends = [told[f"difference{end}"] for end in ("", "_low", "_high")]
        print(f"    - {each.source} {each.at} {each.target} {told[METRIC]}: {signed(*ends)} ({each.strongest})")
    for letter, asked in (
        ("b", (("binary", "auc", False), ("amount", "gini", False))),
        ("c", (("binary", "log_loss", False), ("amount", "gini", False), ("amount", "mae", True))),
    ):
        for kind, name, relative in asked:
            if estimate := pool(found, kind, name, relative=relative):  # type: ignore[arg-type]
                of = f"{name}{' relative to the baseline' if relative else ''}"
                print(f"({letter}) pooled paired difference, {of}: {estimated(estimate)}")
    values = [each for each in found if each.kind == "amount"]
    biased = [each for each in values if abs(each.metric("total_bias")["fused"]) > BIAS]
    print(f"(d) total bias beyond {BIAS:.0%} in {len(biased)} of {len(values)} cells:")
    for each in biased:
        own = each.metric("total_bias")
        print(f"    - {each.source} {each.at}: {own['fused']:+.1%} ({each.strongest}: {own['of_baseline']:+.1%})")


def show(configuration: Configuration, out: Path) -> None:
    """Print all that is kept, and write ``accuracy.csv``."""
    folders = [path for source in configuration.log for path in sorted((out / source.name / "cells").glob("[!.]*"))]
    found = [kept(folder) for folder in folders]
    if not found:
        print("nothing is done yet")
        return
    others = sorted({each.made for each in found} - {configuration.digest})
    print(f"configuration and code: {configuration.digest}{f'; also cells of {others}' if others else ''}")
    for each in found:
        for rung, reason in each.reasons.items():
            print(f"{each.source} {each.at} {each.target}: no {rung}: {reason}")
    for title, own in (("Real logs", [e for e in found if e.real]), ("Simulated", [e for e in found if not e.real])):
        if own:
            print(f"\n## {title}")
            tables(own)
            sureness(own)
            verdicts(own)
    path = out / "accuracy.csv"
    pl.concat([each.compared for each in found]).write_csv(path)
    print(f"\n{path}")


def main() -> None:
    configuration = build(Configuration, read_toml(CONFIGURATION), where=str(CONFIGURATION))
    names = [source.name for source in configuration.log]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/online_retail"), help="Online Retail's files")
    parser.add_argument("--log", choices=names, action="append", help="only this one")
    parser.add_argument("--table", action="store_true", help="only print what is kept")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    asked = parser.parse_args()
    for source in configuration.log:
        if not asked.table and source.name in (asked.log or names):
            done(source, configuration, out=asked.out, data=asked.data)
    show(configuration, asked.out)


if __name__ == "__main__":
    main()
