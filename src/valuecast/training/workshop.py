"""Fits any rung: baselines one by one; sequence models for all tasks that can share a trunk, from one backbone."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from valuecast import artifact, moments
from valuecast.config.learning import TEXT, Finetuning, Fusion, Pretraining, Tuning, usual
from valuecast.config.text import TextModel
from valuecast.errors import ConfigError, FitError, ModelError
from valuecast.events.log import EventLog
from valuecast.models.neural import require
from valuecast.models.predictor import Predictor
from valuecast.models.registry import ADAPTATIONS, BASELINES, FUSED, FUSIONS, JOINT, NEURAL, TEXTS, check
from valuecast.moments import moment
from valuecast.tasks import Task
from valuecast.tasks.splits import Round, Split
from valuecast.training.fit import fitted, peopled
from valuecast.training.fitted import Fitted
from valuecast.training.tables import Tables

if TYPE_CHECKING:
    from valuecast.models.foundation import Foundation

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Workshop:
    """Where the rungs of a ladder are fitted.

    Attributes:
        tasks: those that may share a trunk; only tasks with the same cutoffs do.
        pretraining: of the backbone, anew for every moment that a rung is fitted before.
        finetuning: settings of each method; of one that is absent, the usual ones.
        fusion: of the rungs ``joint`` and ``fused``.
        text: the language model of the rungs whose names begin with ``text-``.
        base: a backbone that is there already; without it one is pre-trained.
        folder: keeps backbones, checkpoints and what TensorBoard shows.
    """

    tasks: tuple[Task, ...] = ()
    pretraining: Pretraining = Pretraining()
    finetuning: Mapping[str, Finetuning] = field(default_factory=dict)
    fusion: Fusion = field(default_factory=Fusion)
    text: TextModel | None = None
    base: Foundation | None = None
    folder: Path | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def check(self, rungs: Sequence[str]) -> None:
        """Check, before the long part, that rungs exist and that what they need is installed.

        Raises:
            ConfigError: there is no such rung, or settings of one that fine-tunes nothing.
            MissingExtraError: a package is not installed.
        """
        for name in (*rungs, *self.finetuning, *self.fusion.parts):
            check(name)
        for name in self.finetuning:
            if name not in ADAPTATIONS and name not in TEXTS:
                raise ConfigError(f"'{name}' fine-tunes nothing", where="finetune", remedy="Leave its settings out.")
        if FUSED in self.fusion.parts:
            raise ConfigError(f"'{FUSED}' is no part of itself", where="fusion: parts", remedy="Leave it out.")
        for name in rungs:
            if name in NEURAL:
                require(f"the rung '{name}'")
        reading = [name for name in (*rungs, *(self.fusion.parts if FUSED in rungs else ())) if name in TEXTS]
        if reading and self.text is None:
            remedy = "Say which one reads the histories: [text] and model = ..."
            raise ConfigError(f"no language model for the rung '{reading[0]}'", where="text", remedy=remedy)

    def settings(self, rung: str, task: Task) -> str:
        """Return what else, beside its name, decides what a rung of a task will say; empty for a baseline."""
        if rung not in NEURAL:
            return ""
        own = (self.finetuning, self.fusion) if rung in FUSIONS else self._settings(rung)
        return repr((self.tasks or (task,), self.text if rung in TEXTS else self.pretraining, own))

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
        return self.fitted(_Asked(task, log, split, seed, tables, progress or _silent), rung).predictor

    def fitted(self, asked: _Asked, rung: str) -> Fitted:
        """``fit``, and what its rounds said; what is there already is not fitted again."""
        check(rung)
        key = (rung, asked.log.fingerprint, asked.split, asked.seed)
        if (*key, asked.task) not in self._made:
            self._made.update({(*key, task): fitted for task, fitted in self._fitted(asked, rung).items()})
        return cast(Fitted, self._made[(*key, asked.task)])

    def _fitted(self, asked: _Asked, rung: str) -> dict[Task, Fitted]:
        """Fit a rung for a task, and for those that share its trunk."""
        task, log, say = asked.task, asked.log, asked.say
        if rung in BASELINES:
            split, tables = asked.split, asked.tables
            return {task: fitted(rung, task, log, split=split, seed=asked.seed, tables=tables, progress=say)}
        require(f"the rung '{rung}'")
        if rung == FUSED:
            return {task: self._fused(asked)}
        from valuecast.training.course import Options, prepare  # noqa: PLC0415 - an extra, and slow to import

        together, rounds = self._together(task, log, asked.split, asked.tables)
        base = (
            self._language_model
            if rung in TEXTS
            else self.backbone(log, rounds, rung=rung, seed=asked.seed, progress=say)
        )
        settings = self.fusion if rung == JOINT else self._settings(rung)
        key = (rung, log.fingerprint, asked.split, asked.seed)
        options: Options = {
            "method": cast(Tuning, rung.removeprefix(TEXT)),
            "split": asked.split,
            "seed": asked.seed,
            "tables": asked.tables,
            "folder": self.folder
            and self.folder / _digest(key, together, settings, self.text if rung in TEXTS else self.pretraining),
            "progress": say,
        }
        if isinstance(settings, Fusion):
            options["fusion"] = settings
        else:
            options["settings"] = settings
        return dict(zip(together, prepare(base, together, log, **options).run(), strict=True))

    def _fused(self, asked: _Asked) -> Fitted:
        """Fit every part that can be fitted, and fuse them."""
        from valuecast.training.fuse import fuse  # noqa: PLC0415 - an extra, and slow to import

        parts, absent = {}, {}
        for name in self.fusion.parts:
            try:
                found = self.fitted(asked, name)
                if any(head.model.scale == "rank" for head in found.predictor.heads.values()):
                    raise FitError("its scores are an order and no more", where=name, remedy="Name other parts.")
                parts[name] = found
            except FitError as error:
                asked.say(f"{FUSED}: without {name}: {error.what}")
                absent[name] = error.what
        if not parts:
            told = "; ".join(f"{name}: {why}" for name, why in absent.items())
            raise FitError(f"no part can be fitted ({told})", where=FUSED, remedy="Name other parts.")
        asked.say(f"{FUSED}: {', '.join(parts)}")
        return fuse(asked.task, parts, absent=absent, seed=asked.seed)

    def _settings(self, rung: str) -> Finetuning:
        return self.finetuning.get(rung, usual(rung))

    @property
    def _language_model(self) -> Foundation:
        from valuecast.models.text.backbone import TextBackbone  # noqa: PLC0415 - an extra, and slow to import

        assert self.text is not None
        if self.text not in self._made:
            self._made[self.text] = TextBackbone.open(self.text)
        found: Foundation = self._made[self.text]
        return found

    def backbone(
        self, log: EventLog, rounds: Sequence[Round], *, rung: str, seed: int, progress: Progress
    ) -> Foundation:
        """Return a backbone that has seen no validation horizon of any round, or what the settings ask for."""
        if self.base is not None:
            return self.base
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


@dataclass(frozen=True)
class _Asked:
    """What a rung is fitted to."""

    task: Task
    log: EventLog
    split: Split
    seed: int
    tables: Tables
    say: Progress


def _digest(*parts: object) -> str:
    """A name for what these settings and this code make."""
    return hashlib.sha256(repr((parts, artifact.versions(), artifact.code_digest())).encode()).hexdigest()[:24]


def _silent(line: str) -> None:
    """Tell nobody."""
