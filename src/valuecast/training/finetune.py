"""Fine-tunes a backbone: one trunk for one task or several, chosen on validation cutoffs, refitted on all."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import polars as pl
import torch

from valuecast import columns as c
from valuecast import moments
from valuecast.config.learning import Adaptation, Finetuning
from valuecast.errors import FitError, TaskError
from valuecast.events.log import EventLog
from valuecast.models import adapters
from valuecast.models.backbone import Backbone
from valuecast.models.column import Column
from valuecast.models.finetuned import Answerer, Answers, Design, answers
from valuecast.models.head_spec import HeadSpec, labels_of, spec_of
from valuecast.models.model import Choice
from valuecast.models.network import Network, layers
from valuecast.models.predictor import Head, Predictor
from valuecast.sequences.sequences import Sequences
from valuecast.tasks import Task
from valuecast.tasks.splits import Round, Split, TimeSplit, UserSplit
from valuecast.training.calibrate import Judged, Scored, calibrated
from valuecast.training.loop import History, train
from valuecast.training.processes import apart
from valuecast.training.stages import Stage, TaskRows, rounds_for
from valuecast.training.supervised import Asked, Learner, feed
from valuecast.training.tables import Tables

Progress = Callable[[str], None]


class Options(TypedDict, total=False):
    """How a backbone is fine-tuned.

    Attributes:
        method: what of the network is trained (default ``full``); ``scratch`` takes the backbone's design alone, not
            its weights.
        settings: of the method and of the loop.
        split: ``TimeSplit()`` by default; ``UserSplit(at=...)`` for one cohort and one season.
        seed: of heads, dropout and the order of batches.
        tables: labels and sequences to share with other fits of the same log.
        folder: for checkpoints and TensorBoard; a run that was killed is continued.
        progress: is told what is being done.
    """

    method: Adaptation
    settings: Finetuning
    split: Split
    seed: int
    tables: Tables
    folder: Path | None
    progress: Progress


def finetune(base: Backbone, task: Task, log: EventLog, **options: Unpack[Options]) -> Predictor:
    """Fine-tune a backbone on a log; cut the log first (``log.before(...)``): all of it is read.

    How many epochs are trained is chosen on the latest validation cutoffs. Networks of earlier rounds, trained as long,
    give held-out scores to calibrate on; the one that is returned is trained on all cutoffs.

    Args:
        base: the backbone; it is left as it is.
        task: what is asked.
        log: everything that may be known.
        options: see ``Options``.

    Raises:
        ModelError: the backbone has seen the validation horizon, or the log lacks a column.
        FitError: the method does not go with the trunk, or a loss is not finite.
        TaskError: the log is too short for the task, or holds nothing that it counts.
    """
    return prepare(base, (task,), log, **options).run()[0]


def finetune_together(
    base: Backbone, tasks: Sequence[Task], log: EventLog, **options: Unpack[Options]
) -> tuple[Predictor, ...]:
    """Fine-tune one trunk for several tasks, as ``finetune`` does; each gets a predictor of its own.

    Raises:
        TaskError: the tasks do not share their cutoffs, or two of them have one name; and what ``finetune`` raises.
    """
    return prepare(base, tasks, log, **options).run()


def prepare(base: Backbone, tasks: Sequence[Task], log: EventLog, **options: Unpack[Options]) -> Course:
    """Check what ``finetune_together`` is asked, and collect what it needs; see there."""
    method, settings = options.get("method", "full"), options.get("settings", Finetuning())
    split, tables = options.get("split", TimeSplit()), options.get("tables", Tables())
    folder, say = options.get("folder"), options.get("progress", _silent)
    if objection := adapters.objection(method, base.architecture):
        raise FitError(objection, where=f"method '{method}'", remedy="Choose another method, or another trunk.")
    if len({task.name for task in tasks}) < len(tasks):
        raise TaskError("two tasks have one name", where="tasks of one trunk", remedy="Give each a name of its own.")
    rounds = rounds_for(base, tasks, log, split, tables=tables)
    say(f"{method}: labels and sequences")
    sequences = tables.sequences(base.encoding, log, folder=folder and apart(folder / "sequences"))
    parts = tuple(TaskRows.of(task, log, split, tables=tables, settings=settings) for task in tasks)
    return Course(base, method, settings, log, split, rounds, parts, sequences, options.get("seed", 0), folder, say)


@dataclass(frozen=True)
class Course:
    """A fine-tuning that is ready to run."""

    base: Backbone
    method: Adaptation
    settings: Finetuning
    log: EventLog
    split: Split
    rounds: tuple[Round, ...]
    parts: tuple[TaskRows, ...]
    sequences: Sequences
    seed: int
    folder: Path | None
    say: Progress

    def run(self) -> tuple[Predictor, ...]:
        """Choose on the latest round, train on the others as long, then on everything."""
        start = time.perf_counter()
        judged: dict[str, list[Judged]] = {target: [] for part in self.parts for target in part.task.targets}
        history: History | None = None
        for number, choice in enumerate(self.rounds):
            stage = self._stage(f"round-{number + 1}", choice)
            made, found = self.train(stage, chosen=history)
            history = history or found
            self._judge(stage, made, judged)
        assert history is not None
        every = tuple(pl.repeat(True, len(part.labelled), eager=True) for part in self.parts)
        last = Stage("refit", every)
        made, _ = self.train(last, chosen=history)
        raw = self._raw(made, every, share=True)
        facts = self._facts(made, history) | {"seconds": time.perf_counter() - start}
        chosen = Choice({"method": self.method, "epochs": history.best_epoch, **_told(self.settings)}, _trials(history))
        predictors = []
        for part, rows in zip(self.parts, every, strict=True):
            heads = {
                target: calibrated(
                    part.task,
                    days,
                    model=Column(target, "log_odds" if part.task.kind == "binary" else "amount"),
                    rounds=judged[target],
                    every=part.scored(raw, rows, target),
                    choice=chosen,
                    seed=self.seed,
                )
                for target, days in part.task.targets.items()
            }
            predictors.append(self._predictor(part, made, heads, facts))
        return tuple(predictors)

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
            network, frozen = self._network(), self.method == "frozen"
            give = partial(feed, network, self.sequences, batch_events=how.batch_events, frozen=frozen)
            first, judge = give(asked, seed=self.seed), give(held, seed=None) if held else None
            adapters.apply(network, self.method, self.settings, steps=how.epochs * first.batches)
            answerer = Answerer(network, specs, dropout=self.base.architecture.dropout)
            history = train(
                Learner(answerer),
                first,
                settings=how,
                judge=judge,
                halved=chosen.halved if chosen else None,
                seed=self.seed,
                groups=None if frozen else _depths(network),
                folder=self.folder,
                data=self._data(stage),
                name=f"{self.method}-{stage.name}",
                progress=self.say,
                watch=watch and (lambda number: watch(number, answerer)),
            )
        return answerer, history

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
        return Stage(name, tuple(learned), tuple(held), until)

    def _data(self, stage: Stage) -> str:
        """What the network learns from, in a few letters."""
        asked = [str(part.task) for part in self.parts]
        told = (self.log.fingerprint, asked, repr(self.split), stage.name, repr(self.rounds))
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    def _network(self) -> Network:
        if self.method == "scratch":
            return Network(self.base.architecture, self.base.encoding)
        return copy.deepcopy(self.base.network)

    def _specs(self, stage: Stage) -> dict[str, HeadSpec]:
        return {
            part.task.name: spec_of(part.task, part.known(rows, stage.until), kind=self.settings.head)
            for part, rows in zip(self.parts, stage.learned, strict=True)
        }

    def _asked(self, specs: Mapping[str, HeadSpec], rows: Sequence[pl.Series], until: datetime | None) -> Asked:
        truths = [part.known(own, until) for part, own in zip(self.parts, rows, strict=True)]
        keys = pl.concat(truth.select(c.KEY) for truth in truths)
        return Asked(
            keys, {task: labels_of(spec, truth) for (task, spec), truth in zip(specs.items(), truths, strict=True)}
        )

    def _raw(self, made: Answerer, rows: Sequence[pl.Series], *, share: bool) -> pl.DataFrame:
        """Raw scores of every target for the rows of any part."""
        keys = [part.labelled.filter(own).select(c.KEY) for part, own in zip(self.parts, rows, strict=True)]
        return answers(made, self.sequences, pl.concat(keys).unique(maintain_order=True), share=share)

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
        learned, held = self._raw(made, stage.learned, share=True), self._raw(made, stage.held, share=False)
        for part, own, other in zip(self.parts, stage.learned, stage.held, strict=True):
            for target in part.task.targets:
                judged[target].append(Judged(part.scored(learned, own, target), part.scored(held, other, target)))

    def _predictor(
        self, part: TaskRows, made: Answerer, heads: Mapping[str, Head], facts: Mapping[str, Any]
    ) -> Predictor:
        """The trunk, and one task's own head."""
        task, log = part.task, self.log
        specs = {task.name: made.head(task.name).spec}
        with torch.random.fork_rng(devices=[]):  # weights are drawn only to be replaced
            own = Answerer(made.network, specs, dropout=self.base.architecture.dropout)
        own.head(task.name).load_state_dict(made.head(task.name).state_dict())
        design = Design(self.base.architecture, self.base.encoding, self.method, self.settings, specs)
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
        return Predictor(self.method, task, log.span.until, self.split, Answers(design, own.eval()), heads, told)

    def _facts(self, made: Answerer, history: History) -> dict[str, Any]:
        """What the manifest tells of the network and of how it was trained."""
        every = sum(parameter.numel() for parameter in made.network.parameters())
        changed = sum(tensor.numel() for tensor in adapters.trained(made.network).values())
        return {
            "backbone": {"before": moments.text(self.base.before), **self.base.facts},
            "tasks": [str(part.task) for part in self.parts],
            "parameters": {"network": every, "trained": changed},
            "trained_events": history.events,
        }


def _depths(network: Network) -> list[tuple[list[torch.nn.Parameter], int]]:
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
