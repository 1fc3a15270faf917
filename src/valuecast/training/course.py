"""A course of fine-tuning: one trunk for one task or several, chosen on validation cutoffs, refitted on all."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack, cast

import numpy as np
import polars as pl
import torch

from valuecast import columns as c
from valuecast import moments
from valuecast.config.learning import Adaptation, Finetuning, Fusion, Tuning, usual
from valuecast.errors import ConfigError, FitError, TaskError
from valuecast.events.log import EventLog
from valuecast.models import adapters
from valuecast.models.column import Column
from valuecast.models.finetuned import Answerer, Answers, Design, answers
from valuecast.models.foundation import Foundation
from valuecast.models.head_spec import HeadSpec, labels_of, spec_of
from valuecast.models.model import Choice
from valuecast.models.network import StateNetwork, layers
from valuecast.models.predictor import Head, Predictor
from valuecast.models.reading import Histories, Watch
from valuecast.models.registry import FUSED, FUSIONS, JOINT
from valuecast.models.standing import Standing
from valuecast.tasks import Task
from valuecast.tasks.splits import Round, Split, TimeSplit, UserSplit
from valuecast.training.augmentation.varied import varied
from valuecast.training.beside import Beside
from valuecast.training.calibrate import Judged, Scored, calibrated
from valuecast.training.fitted import Fitted
from valuecast.training.loop import History, train
from valuecast.training.pace import watched
from valuecast.training.processes import processes
from valuecast.training.stages import Stage, TaskRows, rounds_for
from valuecast.training.supervised import Asked, FrozenFeed, Learner, ReadFeed, feed
from valuecast.training.tables import Tables

Progress = Callable[[str], None]

SCORED: Final = 5_000
"""Rows that say at which level a network answers, where it learned from fewer: a hundred would leave that to chance."""


class Options(TypedDict, total=False):
    """How a backbone is fine-tuned.

    Attributes:
        method: what is made of it. ``fused`` (the default) is the best mix, on validation, of the parts that ``fusion``
            names; ``joint`` is a network whose heads read features of the log beside its state; the others say what of
            the network is trained, and ``scratch`` takes the backbone's design alone, not its weights.
        settings: of the method and of the loop; not for ``joint`` and ``fused``.
        fusion: of ``joint`` and ``fused``.
        split: ``TimeSplit()`` by default; ``UserSplit(at=...)`` for one cohort and one season.
        seed: of heads, dropout and the order of batches.
        tables: labels and sequences to share with other fits of the same log.
        folder: for checkpoints and TensorBoard; a run that was killed is continued.
        progress: is told what is being done.
    """

    method: Tuning
    settings: Finetuning
    fusion: Fusion
    split: Split
    seed: int
    tables: Tables
    folder: Path | None
    progress: Progress


def check_options(options: Options, base: Foundation) -> None:
    """Refuse an option that the method would ignore, and a method that is not of this kind of backbone.

    Raises:
        ConfigError: there is one.
    """
    method = options.get("method", FUSED)
    if method in FUSIONS and base.body.prefix:
        remedy = "Use --method lora, or another of one network; or a recipe whose [fusion] names it among its parts."
        raise ConfigError(f"'{method}' is of a backbone of events", where="method", remedy=remedy)
    other, used = ("settings", "fusion") if method in FUSIONS else ("fusion", "settings")
    if other in options:
        raise ConfigError(f"'{method}' has no use for it", where=other, remedy=f"Give '{used}', or leave it out.")


def prepare(base: Foundation, tasks: Sequence[Task], log: EventLog, **options: Unpack[Options]) -> Course:
    """Check what is asked of one network, and collect what it needs; see ``finetune_together``.

    Here the method is ``full`` by default; ``fused`` is made of several networks and other models.
    """
    way = options.setdefault("method", "full")
    check_options(options, base)
    fusion = options.get("fusion", Fusion()) if way == JOINT else None
    method = fusion.trunk if fusion else cast(Adaptation, way)
    name = base.body.prefix + way
    settings = fusion.joint if fusion else options.get("settings", usual(name))
    split, tables = options.get("split", TimeSplit()), options.get("tables", Tables())
    folder, say = options.get("folder"), options.get("progress", _silent)
    if objection := adapters.objection(method, base.network.trunk.family):
        raise FitError(objection, where=f"method '{method}'", remedy="Choose another method, or another trunk.")
    if method == "adalora" and settings.optimisation.sharding:
        what, remedy = "AdaLoRA ranks weights by their whole gradients", "Choose another method, or leave it out."
        raise ConfigError(what, where="sharding", remedy=remedy)
    if len({task.name for task in tasks}) < len(tasks):
        raise TaskError("two tasks have one name", where="tasks of one trunk", remedy="Give each a name of its own.")
    rounds = rounds_for(base, tasks, log, split, tables=tables)
    base = base.at_shop(log.before(rounds[-1].known))
    say(f"{name}: labels and histories")
    with processes().main_process_first():  # the others find what the first has written
        histories = base.body.histories(log, encode=tables.sequences, folder=folder and folder / "sequences")
    parts = tuple(TaskRows.of(task, log, split, tables=tables, settings=settings) for task in tasks)
    beside = Beside.of(fusion, parts, log, rounds, tables=tables) if fusion else None
    seed = options.get("seed", 0)
    return Course(base, name, method, settings, log, split, rounds, parts, histories, beside, seed, folder, say)


@dataclass(frozen=True)
class Course:
    """A fine-tuning that is ready to run."""

    base: Foundation
    name: str
    method: Adaptation
    settings: Finetuning
    log: EventLog
    split: Split
    rounds: tuple[Round, ...]
    parts: tuple[TaskRows, ...]
    histories: Histories
    beside: Beside | None
    seed: int
    folder: Path | None
    say: Progress

    def run(self) -> tuple[Fitted, ...]:
        """Choose on the latest round, train on the others as long, then on everything."""
        start = time.perf_counter()
        judged: dict[str, list[Judged]] = {target: [] for part in self.parts for target in part.task.targets}
        history: History | None = None
        for number, choice in enumerate(self.rounds):
            stage = self._stage(f"round-{number + 1}", choice)
            made, own = self.train(stage, chosen=history)
            history = history or own
            self._judge(stage, made, judged)
        assert history is not None
        last = self.last
        made, _ = self.train(last, chosen=history)
        raw = self._raw(made, last.scored, share=True)
        seconds = time.perf_counter() - start
        facts = self._facts(made, history) | {"seconds": seconds}
        chosen = Choice({"method": self.name, "epochs": history.best_epoch, **_told(self.settings)}, _trials(history))
        found = []
        for part, rows in zip(self.parts, last.scored, strict=True):
            scored = {target: part.scored(raw, rows, target) for target in part.task.targets}
            heads = {
                target: calibrated(
                    part.task,
                    days,
                    model=Column(target, "log_odds" if part.task.kind == "binary" else "amount"),
                    rounds=judged[target],
                    every=scored[target],
                    choice=chosen,
                    seed=self.seed,
                )
                for target, days in part.task.targets.items()
            }
            rounds = {target: judged[target] for target in part.task.targets}
            found.append(Fitted(self._predictor(part, made, heads, facts), rounds, scored, seconds))
        return tuple(found)

    def judge(self, watch: Callable[[int, list[Scored]], None]) -> list[Scored]:
        """Train for the latest round only, and score the rows that it holds out, target by target.

        Args:
            watch: is shown the number of each epoch and the scores after it; what it raises ends the training.
        """
        stage = self._stage("round-1", self.rounds[0])
        made, _ = self.train(stage, chosen=None, watch=lambda number, made: watch(number, self._held(stage, made)))
        return self._held(stage, made)

    def train(
        self, stage: Stage, *, chosen: History | None, watch: Callable[[int, Answerer], None] | None = None
    ) -> tuple[Answerer, History]:
        """Train one network: as long as was chosen, or until the loss on the held-out rows stops falling.

        Args:
            stage: what it learns from, and what it is judged on.
            chosen: how long, where that is known.
            watch: is shown the number of each epoch and the network after it.
        """
        specs = self._specs(stage)
        asked = self._asked(specs, stage.learned, stage.until)
        held = None if chosen or stage.held is None else self._asked(specs, stage.held, None)
        how = self.settings.optimisation
        if chosen:
            how = replace(how, epochs=chosen.best_epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = self._network()
            first = self._feed(network, asked, seed=self.seed)
            judge = self._feed(network, held, seed=None) if held else None
            adapters.apply(network, self.method, self.settings, steps=how.epochs * first.batches)
            standing = Standing.of(self.beside.among(stage.learned)) if self.beside else None
            answerer = self._answerer(network, specs, standing)
            history = train(
                Learner(answerer),
                first,
                settings=how,
                judge=judge,
                halved=chosen.halved if chosen else None,
                seed=self.seed,
                groups=None if self.method == "frozen" else _depths(network),
                folder=self.folder,
                data=self._data(stage),
                name=f"{self.name}-{stage.name}",
                progress=self.say,
                watch=watch and (lambda number: watch(number, answerer)),
            )
        return answerer, history

    def _feed(self, network: StateNetwork, asked: Asked, *, seed: int | None) -> ReadFeed | FrozenFeed:
        """Batches of some rows; those that are learned from, which have a seed, may be varied."""
        frozen, varying = self.method == "frozen", self.settings.augmentation
        reading = self.histories.reading(asked.keys, share=True)
        if seed is not None:
            reading = varied(reading, varying, body=self.base.body, frozen=frozen, seed=seed)
        size = self.settings.optimisation.batch_events
        watch = self._watch("reading")
        return feed(network, reading, asked, batch_events=size, seed=seed, frozen=frozen, watch=watch)

    @property
    def _towers(self) -> dict[str, Any]:
        """What heads are like, beside their distributions."""
        if self.beside is None:
            return {"dropout": self.base.body.dropout}
        how = self.beside.how
        return {"dropout": how.dropout, "hidden": how.hidden, "members": how.members}

    def _answerer(self, network: StateNetwork, specs: Mapping[str, HeadSpec], standing: Standing | None) -> Answerer:
        return Answerer(network, specs, standing=standing, **self._towers)

    def _stage(self, name: str, choice: Round) -> Stage:
        learned, held = [], []
        for part in self.parts:
            if choice.fold is None:
                at = part.labelled[c.AT]
                learned.append(at.is_in(list(choice.train)))
                held.append(at.is_in(list(choice.validation)))
            else:
                folds = pl.Series([self.split.fold(user) for user in part.labelled[c.USER]], dtype=pl.Int64)
                learned.append(folds != choice.fold)
                held.append(folds == choice.fold)
        # By users every label of those who are learned from is known: others are held out, not later moments.
        until = None if isinstance(self.split, UserSplit) else choice.known
        return Stage(name, *self._drawn(learned), tuple(held), until)

    @property
    def last(self) -> Stage:
        """The network that is kept: it learns from everything."""
        return Stage("refit", *self._drawn([pl.repeat(True, len(part.labelled), eager=True) for part in self.parts]))

    def _drawn(self, rows: Sequence[pl.Series]) -> tuple[tuple[pl.Series, ...], tuple[pl.Series, ...]]:
        """Of the rows that may be learned from: as many of each user as the settings allow, and those to be scored."""
        if self.settings.per_user is None:
            return tuple(rows), tuple(rows)
        pairs = [_few(part, own, self.settings.per_user, self.seed) for part, own in zip(self.parts, rows, strict=True)]
        return tuple(few for few, _ in pairs), tuple(few | more for few, more in pairs)

    def _data(self, stage: Stage) -> str:
        """What the network learns from, in a few letters."""
        asked = [str(part.task) for part in self.parts]
        told = (self.log.fingerprint, asked, repr(self.split), stage.name, repr(self.rounds), self._towers)
        drawn = (self.settings.per_user, self.settings.augmentation, self.base.body.to_dict())
        return hashlib.sha256(repr((*told, *drawn)).encode()).hexdigest()[:12]

    def _network(self) -> StateNetwork:
        if self.method == "scratch":
            return self.base.body.network()
        return copy.deepcopy(self.base.network)

    def _specs(self, stage: Stage) -> dict[str, HeadSpec]:
        return {
            part.task.name: spec_of(part.task, part.known(rows, stage.until), kind=self.settings.head)
            for part, rows in zip(self.parts, stage.learned, strict=True)
        }

    def _asked(self, specs: Mapping[str, HeadSpec], rows: Sequence[pl.Series], until: datetime | None) -> Asked:
        truths = [part.known(own, until) for part, own in zip(self.parts, rows, strict=True)]
        keys = pl.concat(truth.select(c.KEY) for truth in truths)
        labels = {task: labels_of(spec, truth) for (task, spec), truth in zip(specs.items(), truths, strict=True)}
        return Asked(keys, labels, self.beside.among(rows) if self.beside else None)

    def _raw(self, made: Answerer, rows: Sequence[pl.Series], *, share: bool) -> pl.DataFrame:
        """Raw scores of every target for the rows of any part."""
        keys = pl.concat(part.labelled.filter(own).select(c.KEY) for part, own in zip(self.parts, rows, strict=True))
        first = keys.select(pl.struct(c.KEY).is_first_distinct()).to_series()
        beside = self.beside.among(rows)[first.to_numpy()] if self.beside else None
        return answers(
            made, self.histories, keys.filter(first), share=share, beside=beside, watch=self._watch("scoring")
        )

    def _watch(self, what: str) -> Watch:
        return watched(self.say, f"{self.name}: {what}")

    def _held(self, stage: Stage, made: Answerer) -> list[Scored]:
        """The held-out rows of every target, scored as a user will be."""
        assert stage.held is not None
        raw = self._raw(made, stage.held, share=False)
        return [
            part.scored(raw, rows, target)
            for part, rows in zip(self.parts, stage.held, strict=True)
            for target in part.task.targets
        ]

    def _judge(self, stage: Stage, made: Answerer, judged: Mapping[str, list[Judged]]) -> None:
        assert stage.held is not None
        learned, held = self._raw(made, stage.scored, share=True), self._raw(made, stage.held, share=False)
        for part, own, other in zip(self.parts, stage.scored, stage.held, strict=True):
            for target in part.task.targets:
                judged[target].append(Judged(part.scored(learned, own, target), part.scored(held, other, target)))

    def _predictor(
        self, part: TaskRows, made: Answerer, heads: Mapping[str, Head], facts: Mapping[str, Any]
    ) -> Predictor:
        """The trunk, and one task's own head."""
        task, log = part.task, self.log
        specs = {task.name: made.head(task.name).spec}
        with torch.random.fork_rng(devices=[]):  # weights are drawn only to be replaced
            own = self._answerer(made.network, specs, made.standing)
        own.head(task.name).load_state_dict(made.head(task.name).state_dict())
        design = Design(
            self.base.body,
            self.method,
            self.settings,
            specs,
            **self._towers,
            features=self.beside.inputs if self.beside else None,
        )
        told = {
            "log": log.fingerprint,
            "span": str(log.span),
            "before": moments.text(log.span.until),
            "split": self.split.describe(task, log, self.rounds),
            "examples": len(part.labelled),
            "users": part.labelled[c.USER].n_unique(),
            "seed": self.seed,
            **facts,
        }
        return Predictor(self.name, task, log.span.until, self.split, Answers(design, own.eval()), heads, told)

    def _facts(self, made: Answerer, history: History) -> dict[str, Any]:
        """What the manifest tells of the network and of how it was trained."""
        every = sum(parameter.numel() for parameter in made.network.parameters())
        changed = sum(tensor.numel() for tensor in adapters.trained(made.network).values())
        return {
            "backbone": {"before": self.base.before and moments.text(self.base.before), **self.base.facts},
            "tasks": [str(part.task) for part in self.parts],
            "parameters": {"network": every, "trained": changed},
            "trained_events": history.events,
        }


def _few(part: TaskRows, rows: pl.Series, most: int, seed: int) -> tuple[pl.Series, pl.Series]:
    """Of some rows, at most so many of each user, by chance; and ``SCORED`` of all, by the same chance."""
    chance = pl.Series("chance", np.where(rows.to_numpy(), np.random.default_rng(seed).random(len(rows)), np.inf))
    drawn = part.labelled.select(c.USER).with_columns(chance)
    order = drawn.select(pl.col("chance").rank("ordinal").over(c.USER)).to_series()
    return rows & (order <= most), rows & (chance.rank("ordinal") <= SCORED)


def _depths(network: StateNetwork) -> list[tuple[list[torch.nn.Parameter], int]]:
    """Every layer's parameters, and how many layers are above it, the heads among them."""
    found = layers(network)
    return [(parameters, len(found) - number) for number, parameters in enumerate(found)]


def _told(settings: Finetuning) -> dict[str, Any]:
    """What a page tells of the settings."""
    how = settings.optimisation
    return {"learning_rate": how.learning_rate, "optimiser": how.optimiser, "schedule": how.schedule}


def _trials(history: History) -> tuple[dict[str, Any], ...]:
    """The epochs that were tried, with their losses on validation."""
    return tuple(
        {"epochs": number, "loss": sum(epoch.validation.values())} for number, epoch in enumerate(history.epochs, 1)
    )


def _silent(line: str) -> None:
    """Tell nobody."""
