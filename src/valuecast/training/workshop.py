"""Fits any rung: baselines one by one; sequence models for all tasks that can share a trunk, from one backbone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from valuecast import artifact, moments
from valuecast.config.learning import Adaptation, Finetuning, Pretraining
from valuecast.errors import ConfigError, ModelError
from valuecast.events.log import EventLog
from valuecast.models.neural import require
from valuecast.models.predictor import Predictor
from valuecast.models.registry import ADAPTATIONS, BASELINES, check
from valuecast.moments import moment
from valuecast.tasks import Task
from valuecast.tasks.splits import Round, Split
from valuecast.training.fit import fit, peopled
from valuecast.training.tables import Tables

if TYPE_CHECKING:
    from valuecast.models.backbone import Backbone

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """Where the rungs of a ladder are fitted.

    Attributes:
        tasks: those that may share a trunk; only tasks with the same cutoffs do.
        pretraining: of the backbone, anew for every moment that a rung is fitted before.
        finetuning: settings of each method; of one that is absent, the usual ones.
        folder: keeps backbones, checkpoints and what TensorBoard shows.
    """

    tasks: tuple[Task, ...] = ()
    pretraining: Pretraining = Pretraining()
    finetuning: Mapping[str, Finetuning] = field(default_factory=dict)
    folder: Path | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def check(self, rungs: Sequence[str]) -> None:
        """Check, before the long part, that rungs exist and that what they need is installed.

        Raises:
            ConfigError: there is no such rung, or settings of one that fine-tunes nothing.
            MissingExtraError: a package is not installed.
        """
        for name in (*rungs, *self.finetuning):
            check(name)
        for name in self.finetuning:
            if name not in ADAPTATIONS:
                raise ConfigError(f"'{name}' fine-tunes nothing", where="finetune", remedy="Leave its settings out.")
        for name in rungs:
            if name in ADAPTATIONS:
                require(f"the rung '{name}'")

    def settings(self, rung: str, task: Task) -> str:
        """Return what else, beside its name, decides what a rung of a task will say; empty for a baseline."""
        if rung not in ADAPTATIONS:
            return ""
        return repr((self.tasks or (task,), self.pretraining, self.finetuning.get(rung, Finetuning())))

    def fit(
        self,
        rung: str,
        task: Task,
        log: EventLog,
        *,
        split: Split,
        seed: int,
        tables: Tables,
        progress: Progress | None = None,
    ) -> Predictor:
        """Fit a rung to a log; all of it is read. See ``fit`` and ``finetune``."""
        if rung in BASELINES:
            return fit(rung, task, log, split=split, seed=seed, tables=tables, progress=progress)
        check(rung)
        require(f"the rung '{rung}'")
        key = (rung, log.fingerprint, split, seed)
        if (*key, task) not in self._made:
            from valuecast.training.finetune import finetune_together  # noqa: PLC0415 - an extra, and slow to import

            say = progress or _silent
            together, rounds = self._together(task, log, split, tables)
            base = self.backbone(log, rounds, rung=rung, seed=seed, progress=say)
            settings = self.finetuning.get(rung, Finetuning())
            folder = self.folder and self.folder / _digest(key, together, settings, self.pretraining)
            found = finetune_together(
                base,
                together,
                log,
                method=cast(Adaptation, rung),
                settings=settings,
                split=split,
                seed=seed,
                tables=tables,
                folder=folder,
                progress=say,
            )
            self._made.update({(*key, each): one for each, one in zip(together, found, strict=True)})
        predictor: Predictor = self._made[(*key, task)]
        return predictor

    def backbone(self, log: EventLog, rounds: Sequence[Round], *, rung: str, seed: int, progress: Progress) -> Backbone:
        """Return a backbone that has seen no validation horizon of any round, or what the settings ask for."""
        from valuecast.models.backbone import Backbone  # noqa: PLC0415 - an extra, and slow to import
        from valuecast.training.pretrain import pretrain, untrained  # noqa: PLC0415 - likewise

        before = moment(self.pretraining.before) if self.pretraining.before else rounds[-1].known
        known, settings = log.before(before), replace(self.pretraining, before=None)
        if rung == "scratch":
            return untrained(known, settings=settings, seed=seed)
        key = ("backbone", known.fingerprint, settings, seed)
        if key in self._made:
            return cast(Backbone, self._made[key])
        place = self.folder and self.folder / "backbones" / _digest(key)
        try:
            found = Backbone.load(place) if place else None
        except ModelError:  # absent or half-written: it is made again
            found = None
        if found is None:
            progress(f"pre-training on what happened before {moments.text(before)}")
            work = place and place.with_name(f"{place.name}.work")
            found = pretrain(known, settings=settings, seed=seed, folder=work, progress=progress)
            if place:
                shutil.rmtree(place, ignore_errors=True)  # what is there was found damaged
                found.save(place)
        self._made[key] = found
        return found

    def _together(
        self, task: Task, log: EventLog, split: Split, tables: Tables
    ) -> tuple[tuple[Task, ...], tuple[Round, ...]]:
        """The tasks of the task's trunk, and their rounds: those with the same cutoffs."""
        every = {each: self._rounds(each, log, split, tables) for each in (task, *self.tasks)}
        mine = every.pop(task)
        alike = [each for each in self.tasks if each == task or every.get(each) == mine]
        return tuple(alike) or (task,), mine

    def _rounds(self, task: Task, log: EventLog, split: Split, tables: Tables) -> tuple[Round, ...]:
        return peopled(split.choices(task, log), tables.labelled(task, log, split), task)


def _digest(*parts: object) -> str:
    """A name for what these settings and this code make."""
    return hashlib.sha256(repr((parts, artifact.versions(), artifact.code_digest())).encode()).hexdigest()[:24]


def _silent(line: str) -> None:
    """Tell nobody."""
