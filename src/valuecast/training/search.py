"""Searches how a backbone is best fine-tuned for a task: tries on validation, then an ordinary fine-tuning.

With a folder a search can be killed at any moment and started again: it goes on where it was, and its trials are those
that it would have made anyway.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import polars as pl
import torch
from optuna.trial import FrozenTrial, TrialState

from valuecast import artifact, moments
from valuecast.config.learning import Adaptation, Finetuning
from valuecast.errors import ConfigError, FitError
from valuecast.events.log import EventLog
from valuecast.metrics.loss import Loss, loss_of
from valuecast.models.backbone import Backbone
from valuecast.models.predictor import Predictor
from valuecast.tasks import Task
from valuecast.tasks.splits import Split, TimeSplit
from valuecast.training.calibrate import Scored
from valuecast.training.checkpoint import digest
from valuecast.training.course import prepare
from valuecast.training.finetune import finetune
from valuecast.training.space import Space, Values, space_of
from valuecast.training.stages import rounds_for
from valuecast.training.study import opened, settled, table
from valuecast.training.tables import Tables

TRIALS: Final = 20
TABLE: Final = "trials.csv"
_RUNS: Final = "trials"
_DRAWN: Final = 10  # trials after which values are no longer drawn at random

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        predictor: fine-tuned with the best settings.
        trials: a row for each: number from 1, state (completed, pruned or failed), loss on validation, epochs, every
            setting, seconds, and the reason of a failure.
    """

    predictor: Predictor
    trials: pl.DataFrame


def search(
    base: Backbone,
    task: Task,
    log: EventLog,
    *,
    trials: int = TRIALS,
    methods: Sequence[Adaptation] | None = None,
    settings: Finetuning = Finetuning(),
    folder: Path | None = None,
    split: Split | None = None,
    seed: int = 0,
    tables: Tables | None = None,
    progress: Progress | None = None,
) -> Found:
    """Search the best method and settings of fine-tuning; cut the log first (``log.before(...)``): all of it is read.

    Every trial trains for the latest round and is judged on its validation cutoffs, by one loss for all (see
    ``valuecast.metrics.loss``): those that heads are trained with do not compare. The usual settings of each method are
    tried first; then a tree-structured Parzen estimator (Bergstra et al. 2011) chooses, and a trial that is worse after
    an epoch than half of the others were is ended.

    Args:
        base: the backbone; it is left as it is.
        task: what is asked.
        log: everything that may be known.
        trials: how many, failed ones among them; those that were interrupted do not count.
        methods: those to search; by default ``valuecast.training.space.METHODS``, as far as they go with the trunk.
        settings: to start from; what is searched stays within so many times of them, and the rest as it is.
        folder: for the study, the table of trials, sequences and checkpoints. A search that it holds is continued, also
            with more trials than were asked for before.
        split: ``TimeSplit()`` by default; ``UserSplit(at=...)`` for one cohort and one season.
        seed: of the search, of heads, dropout and the order of batches.
        tables: labels and sequences to share with other fits of the same log.
        progress: is told what is being done.

    Raises:
        ConfigError: the folder holds the search of something else, or is in use; or a method does not exist.
        FitError: a method that was asked for does not go with the trunk, or every trial failed.
        ModelError: the backbone has seen the validation horizon, or the log lacks a column.
        TaskError: the log is too short for the task, or holds nothing that it counts.
    """
    if trials < 1:
        raise ConfigError(f"{trials}", where="trials", remedy="Give 1 or more.")
    split, tables, say = split or TimeSplit(), tables or Tables(), progress or (lambda _: None)
    space = space_of(base, task, settings, methods=methods)
    rounds = rounds_for(base, (task,), log, split, tables=tables)
    base, judged_on = base.at_shop(log.before(rounds[-1].known)), rounds[0].validation
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    used = ConfigError("another search is at work here", where=str(folder), remedy="Wait until it is done.")
    with artifact.locked(folder, used=used) if folder else nullcontext():
        identity = {
            "task": [task.text, task.when, task.name],
            "log": log.fingerprint,
            "backbone": digest(base.network),
            "split": str(split),
            "seed": seed,
            "methods": list(space.methods),
            "settings": asdict(settings),
        }
        study = opened(folder, identity)
        loss = _loss(task, log, split, tables)
        hunt = _Search(base, task, log, space, split, seed, tables, folder, say, loss, study)
        if folder:  # once for all trials, each of which has a folder of its own
            tables.sequences(base.encoding, log, folder=folder / "sequences")
        hunt.go(trials)
        best = hunt.best()
        say(f"search: the best of {len(settled(study))} trials: {_told(best.params)}")
        predictor = finetune(base, task, log, **hunt.options(best.params))
    found = table(study)
    counted = Counter(found["state"])
    facts = {"judged_on": [moments.text(at) for at in judged_on], "loss": best.value, "trials": dict(counted)}
    return Found(_annotated(predictor, best.params, found, facts), found)


@dataclass(frozen=True)
class _Search:
    """A search, and what all its trials share."""

    base: Backbone
    task: Task
    log: EventLog
    space: Space
    split: Split
    seed: int
    tables: Tables
    folder: Path | None
    say: Progress
    loss: Loss
    study: optuna.Study

    def best(self) -> FrozenTrial:
        """The complete trial of the lowest loss.

        Raises:
            FitError: there is none.
        """
        if self.study.get_trials(states=(TrialState.COMPLETE,)):
            return self.study.best_trial
        failed = settled(self.study)
        raise FitError(
            f"all {len(failed)} trials failed, the last one so: {failed[-1].user_attrs['reason']}",
            where="search",
            remedy="Start from other settings, or with other methods.",
        )

    def go(self, trials: int) -> None:
        """Make the trials that are missing, one after the other."""
        while (place := len(settled(self.study))) < trials:
            self.attempt(place, f"search: trial {place + 1} of {trials}")
            self.clear()
            self.write()
        self.write()  # again, for a search that was killed just before

    def attempt(self, place: int, name: str) -> None:
        """Make a trial, of which ``place`` others came before."""
        # A sampler of its own for each place, so that a search that was interrupted draws what it would have drawn.
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_DRAWN)
        if place < len(self.space.methods) and not self.study.get_trials(states=(TrialState.WAITING,)):
            self.study.enqueue_trial(dict(self.space.usual(self.space.methods[place])))
        trial = self.study.ask()
        values = self.space.suggest(trial)
        self.say(f"{name}: {_told(values)}")
        start, loss = time.perf_counter(), None
        try:
            loss, state = self.judged(trial, values), TrialState.COMPLETE
            said = f"loss {loss:.4f}"
        except optuna.TrialPruned:
            state, said = TrialState.PRUNED, "ended early"
        except (FitError, torch.OutOfMemoryError) as error:
            trial.set_user_attr("reason", str(error))
            state, said = TrialState.FAIL, f"failed: {error}"
        trial.set_user_attr("seconds", round(time.perf_counter() - start, 1))
        self.study.tell(trial, loss, state=state)
        self.say(f"{name}: {said}")

    def judged(self, trial: optuna.Trial, values: Values) -> float:
        """Train as a trial says, and return the loss on the validation cutoffs.

        Raises:
            TrialPruned: others were better.
        """
        known: dict[int, float] = {}
        for earlier in self.study.get_trials():
            known |= earlier.intermediate_values if earlier.params == values else {}
        for number, loss in sorted(known.items()):  # epochs that a checkpoint may be past
            trial.report(loss, number)

        def watch(number: int, held: list[Scored]) -> None:
            if number not in known:
                trial.report(self.measured(held), number)
            if trial.should_prune():
                raise optuna.TrialPruned

        return self.measured(prepare(self.base, (self.task,), self.log, **self.options(values)).judge(watch))

    def measured(self, held: Sequence[Scored]) -> float:
        """The mean loss over the targets.

        Raises:
            FitError: a score is not a finite number.
        """
        if not all(np.isfinite(each.raw).all() for each in held):
            raise FitError("scores are not finite", where="validation", remedy="Lower learning_rate.")
        return float(np.mean([self.loss(each.truth, each.raw) for each in held]))

    def options(self, values: Values) -> Any:
        """How ``finetune`` is asked for the values of a trial; the same values have the same folder."""
        method, settings = self.space.settings(values)
        return {
            "method": method,
            "settings": settings,
            "split": self.split,
            "seed": self.seed,
            "tables": self.tables,
            "folder": self.folder and self.folder / _RUNS / _name(values),
            "progress": self.say,
        }

    def write(self) -> None:
        """Write the table of trials."""
        if self.folder:
            draft = self.folder / f".{TABLE}"
            table(self.study).write_csv(draft)
            draft.replace(self.folder / TABLE)

    def clear(self) -> None:
        """Remove the checkpoints of all trials but the best, which the fine-tuning goes on from."""
        if self.folder is None:
            return
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        kept = _name(self.best().params) if complete else None
        for path in (self.folder / _RUNS).glob("*/*.checkpoint"):
            if path.parent.name != kept:
                path.unlink()


def _loss(task: Task, log: EventLog, split: Split, tables: Tables) -> Loss:
    values = tables.labelled(task, log, split).select(*task.targets).to_numpy()
    return loss_of(task.kind, falls=bool(np.diff(values, axis=1, prepend=0).min() < 0))


def _name(values: Values) -> str:
    """The folder of a trial's run."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _told(values: Values) -> str:
    words = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()]
    return ", ".join(words)


def _annotated(predictor: Predictor, values: Values, trials: pl.DataFrame, facts: Mapping[str, Any]) -> Predictor:
    """Let the manifest tell of the search."""
    rows = tuple({name: value for name, value in row.items() if value is not None} for row in trials.to_dicts())
    heads = {
        target: replace(head, facts={**head.facts, "settings": {**head.facts["settings"], **values}, "trials": rows})
        for target, head in predictor.heads.items()
    }
    return replace(predictor, heads=heads, facts={**predictor.facts, "search": dict(facts)})
