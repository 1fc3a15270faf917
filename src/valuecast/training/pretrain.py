"""Pre-trains a backbone on the events of a log, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from valuecast import moments
from valuecast.config.learning import Pretraining, Size, Trunk
from valuecast.errors import FitError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.finetuned import place
from valuecast.models.network import Network, layers
from valuecast.models.trunks import length_of
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import encode
from valuecast.training.asking import Field, Question, questions
from valuecast.training.histories import Histories, following
from valuecast.training.history import History
from valuecast.training.loop import train
from valuecast.training.objectives import Learner
from valuecast.training.processes import apart

NAME: Final = "pretraining"
JUDGED: Final = 500_000
"""Events of random users that are enough for validation."""

Progress = Callable[[str], None]


def pretrain(
    log: EventLog,
    *,
    size: Size | None = None,
    trunk: Trunk | None = None,
    settings: Pretraining = Pretraining(),
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Backbone:
    """Pre-train a backbone on a log; cut the log first (``log.before(...)``): all of it is read.

    It learns from events before the last ``settings.validation`` of the log's time, and so does the encoding of
    events. What comes after decides when to stop, and shows how well later events are foreseen, beside what their
    frequencies before would say.

    Args:
        log: everything that may be known.
        size: instead of that in ``settings``.
        trunk: instead of that in ``settings``.
        settings: what is asked, of what network, and how it learns.
        seed: of the weights, and of all that is drawn.
        folder: for encoded histories, checkpoints and TensorBoard; a run that was killed goes on where it was.
        progress: is told what is being done.

    Returns:
        A backbone whose ``facts`` hold, for each thing that was asked, the mean loss on validation in nats, the loss of
        the baseline, and the improvement.

    Raises:
        FitError: there is nothing to learn, nothing to validate on, or training went astray.
        LogError: the log has no events to learn from.
        ConfigError: the folder holds a checkpoint of another run.
    """
    if settings.before is not None:
        log = log.before(settings.before)
    chosen = {name: value for name, value in {"size": size, "trunk": trunk}.items() if value is not None}
    settings = replace(settings, architecture=replace(settings.architecture, **chosen))  # type: ignore[arg-type]
    say = progress if progress and _processes().is_main_process else (lambda _: None)
    say(f"{NAME}: reading histories")
    course = Course.of(log, settings, seed=seed, folder=folder)
    say(f"{NAME}: counting what is asked")
    learner = course.learner()
    depth = layers(learner.network)
    history = train(
        learner,
        course.feed,
        settings=settings.optimisation,
        judge=course.judge,
        seed=seed,
        groups=[(parameters, len(depth) - 1 - number) for number, parameters in enumerate(depth)],
        folder=folder,
        data=log.fingerprint,
        name=NAME,
        progress=progress,
    )
    facts = course.facts(learner, history)
    encoding = course.feed.sequences.encoding
    return Backbone(log.span.until, settings.architecture, encoding, learner.network, facts)


def untrained(log: EventLog, *, settings: Pretraining = Pretraining(), seed: int = 0) -> Backbone:
    """Return what ``pretrain`` would start from, which is all that ``scratch`` takes of a backbone."""
    encoding = learn(log.before(_judged_from(log, settings)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(settings.architecture, encoding).eval()
    return Backbone(
        log.span.until, settings.architecture, encoding, network, {"log": log.fingerprint, "untrained": True}
    )


def _judged_from(log: EventLog, settings: Pretraining) -> datetime:
    """The moment from which on events are for validation."""
    return log.span.until - settings.validation * (log.span.until - log.span.start)


@dataclass(frozen=True, eq=False)
class Course:
    """What is learned from, and what it is judged on."""

    log: EventLog
    settings: Pretraining
    seed: int
    judged: datetime
    feed: Histories
    judge: Histories | None

    @classmethod
    def of(cls, log: EventLog, settings: Pretraining, *, seed: int, folder: Path | None) -> Course:
        """Collect what ``pretrain`` learns from; see there."""
        span = log.span
        judged = _judged_from(log, settings)
        encoding = learn(log.before(judged))
        with _processes().main_process_first():  # the others find what the first has written
            sequences = encode(encoding, log, folder=folder and apart(folder / "sequences"))
        feed = Histories(
            sequences,
            following(sequences, until=_micros(span.until)) if settings.objectives.counts else None,
            since=_micros(span.start),
            until=_micros(judged),
            length=length_of(settings.architecture),
            events=settings.optimisation.batch_events,
            seed=seed,
            sliced=settings.architecture.trunk == "bert" or settings.objectives.contrastive > 0,
        )
        if not feed.plan(0):
            raise FitError(
                f"nobody has two events before {moments.text(judged)}",
                where=NAME,
                remedy="A backbone learns from histories: take a longer log, or use a model that needs none, such as "
                "lightgbm.",
            )
        judge = replace(feed, since=feed.until, until=_micros(span.until), once=True, limit=JUDGED)
        if settings.validation and not any(judge.load(item).target.any() for item in judge.plan(0)):
            raise FitError(
                f"nothing happens from {moments.text(judged)} on to users with two events, so nothing can be validated",
                where=NAME,
                remedy="Cut the log at its last event or raise 'validation'; 0 goes without.",
            )
        return cls(log, settings, seed, judged, feed, judge if settings.validation else None)

    def learner(self) -> Learner:
        """Build the network, and an output layer for each field that is not always the same."""
        encoding = self.feed.sequences.encoding
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = Network(self.settings.architecture, encoding)
            names = self.feed.following.names if self.feed.following else ()
            every = questions(encoding, self.settings.objectives, causal=network.causal, counts=names)
            asked = {question: fields for question, fields in self._cases(every).items() if fields}
            if not asked and not self.settings.objectives.contrastive:
                raise FitError(
                    f"there is nothing to foresee before {moments.text(self.judged)}: all that happens is alike",
                    where=NAME,
                    remedy="Map more columns (types of event, items, amounts), take a longer log, or give weight to "
                    "other objectives.",
                )
            return Learner(network, asked, contrastive=self.settings.objectives.contrastive)

    def _cases(self, every: list[Question]) -> Mapping[Question, Mapping[Field, Tensor]]:
        """Count the classes of every field in what is learned from; fields with one class only are left out."""
        cases = {
            question: {field: torch.zeros(field.classes, dtype=torch.float64) for field in question.fields}
            for question in every
        }
        for item in self.feed.plan(0):
            asked = self.feed.load(item)
            for question, fields in cases.items():
                chosen = question.events(asked)
                for field, seen in fields.items():
                    bag = field.bag(asked, chosen)
                    seen.index_add_(0, bag.classes, bag.shares.double())
        return {
            question: {field: seen for field, seen in fields.items() if (seen > 0).sum() > 1}
            for question, fields in cases.items()
        }

    def facts(self, learner: Learner, history: History) -> dict[str, Any]:
        """Return what a manifest tells."""
        return {
            "log": self.log.fingerprint,
            "span": str(self.log.span),
            "validation": {} if self.judge is None else self._measured(learner, self.judge),
            "validated_from": moments.text(self.judged),
            "settings": asdict(self.settings),
            "seed": self.seed,
            "parameters": sum(each.numel() for each in learner.network.parameters()),
            "users": len(self.feed.sequences.users),
            "events": self.feed.sequences.count,
            "events_learned_from": history.events,
            "epochs": len(history.epochs),
            "best_epoch": history.best_epoch,
            "stopped_early": history.stopped_early,
            "steps": history.steps,
            "seconds": round(history.seconds, 3),
        }

    @torch.no_grad()
    def _measured(self, learner: Learner, judge: Histories) -> dict[str, dict[str, float]]:
        """Return the mean loss over all cases of each field, and that of the baseline, in nats."""
        device = place()
        learner.to(device).eval()
        sums: dict[str, Any] = {}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for item in judge.plan(0):
                for each in learner.answers(judge.load(item).to(device)):
                    found = np.array([len(each.losses), each.losses.double().sum(), each.baselines.double().sum()])
                    sums[each.name] = sums.get(each.name, 0) + found
        return {
            name: {
                "cases": int(cases),
                "loss": float(loss / cases),
                "baseline": float(baseline / cases),
                "improvement": float((baseline - loss) / cases),
            }
            for name, (cases, loss, baseline) in sums.items()
            if cases
        }


def _processes() -> PartialState:
    """Return who shares the work; not told so, accelerate takes no notice of ``torchrun`` on CPUs."""
    return PartialState(cpu=not torch.accelerator.is_available())


def _micros(at: datetime) -> int:
    """Return microseconds since 1970."""
    return int(np.datetime64(at, "us").astype(np.int64))
