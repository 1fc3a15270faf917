"""What pre-training learns from the logs of one shop or of several, and what that is judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from valuecast import moments
from valuecast.config.learning import Pretraining
from valuecast.errors import ConfigError, FitError
from valuecast.events.log import EventLog
from valuecast.models.event_texts import TextVectors, reader_of
from valuecast.models.finetuned import place
from valuecast.models.network import Network
from valuecast.models.trunks import length_of
from valuecast.sequences.common import learn_common, placed
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import encode
from valuecast.sequences.texts import reads
from valuecast.training.asking import Field, Question, questions
from valuecast.training.feed import Feed, Mixed
from valuecast.training.histories import Histories, following
from valuecast.training.history import History
from valuecast.training.objectives import Learner, frequency
from valuecast.training.processes import processes

NAME: Final = "pretraining"
JUDGED: Final = 500_000
"""Events of random users of a shop that are enough for validation."""

Cases = Mapping[Question, Mapping[Field, Tensor]]
Progress = Callable[[str], None]
Sums = dict[str, Any]
"""For each field the number of cases, the sum of their losses and that of the baseline's; shape (3,)."""


@dataclass(frozen=True, eq=False)
class Share:
    """What one shop gives to a pool: events before ``judged`` are learned from, later ones are for validation."""

    log: EventLog
    judged: datetime
    feed: Histories
    judge: Histories | None

    @classmethod
    def of(
        cls,
        log: EventLog,
        encoding: Encoding,
        settings: Pretraining,
        *,
        seed: int,
        folder: Path | None,
        progress: Progress | None = None,
    ) -> Share:
        """Read the histories of a log, in ``folder`` if there is one; see ``pretrain``."""
        span, judged = log.span, judged_from(log, settings)
        with processes().main_process_first():  # the others find what the first has written
            sequences = encode(encoding, log, folder=folder)
            texts = TextVectors.of(sequences, progress=progress)
        feed = Histories(
            sequences,
            following(sequences, until=_micros(span.until)) if settings.objectives.counts else None,
            since=_micros(span.start),
            until=_micros(judged),
            length=length_of(settings.architecture),
            events=settings.optimisation.batch_events,
            seed=seed,
            sliced=settings.architecture.trunk == "bert" or settings.objectives.contrastive > 0,
            texts=texts,
        )
        if not feed.plan(0):
            raise FitError(
                f"nobody has two events before {moments.text(judged)}",
                where=f"{NAME}, {log.origin}",
                remedy="A backbone learns from histories: take a longer log, or use a model that needs none, such as "
                "lightgbm.",
            )
        judge = replace(feed, since=feed.until, until=_micros(span.until), once=True, limit=JUDGED)
        if settings.validation and not any(judge.load(item).target.any() for item in judge.plan(0)):
            raise FitError(
                f"nothing happens from {moments.text(judged)} on to users with two events, so nothing can be validated",
                where=f"{NAME}, {log.origin}",
                remedy="Cut the log at its last event or raise 'validation'; 0 goes without.",
            )
        return cls(log, judged, feed, judge if settings.validation else None)

    def cases(self, every: Sequence[Question]) -> Cases:
        """Count the classes of every field in what is learned from."""
        cases = {
            question: {field: torch.zeros(field.classes, dtype=torch.float64) for field in question.fields}
            for question in every
        }
        for item in self.feed.ordered():
            asked = self.feed.load(item)
            for question, fields in cases.items():
                chosen = question.events(asked)
                for field, seen in fields.items():
                    bag = field.bag(asked, chosen)
                    seen.index_add_(0, bag.classes, bag.shares.double())
        return cases


@dataclass(frozen=True, eq=False)
class Pool:
    """What is learned from, and what it is judged on, shop by shop."""

    shares: tuple[Share, ...]
    settings: Pretraining
    seed: int

    @classmethod
    def of(
        cls,
        logs: Sequence[EventLog],
        settings: Pretraining,
        *,
        common: bool,
        seed: int,
        folder: Path | None,
        progress: Progress | None = None,
    ) -> Pool:
        """Collect what ``pretrain`` learns from; see there."""
        early = [log.before(judged_from(log, settings)) for log in logs]
        encodings = learned(early, settings, common=common)
        names = ["sequences"] if len(logs) == 1 else [f"shop-{number}" for number in range(1, len(logs) + 1)]
        shares = (
            Share.of(log, encoding, settings, seed=seed, folder=folder and folder / name, progress=progress)
            for log, encoding, name in zip(logs, encodings, names, strict=True)
        )
        return cls(tuple(shares), settings, seed)

    @property
    def feed(self) -> Feed:
        """What is learned from."""
        return _mixed([share.feed for share in self.shares], self.seed)

    @property
    def judge(self) -> Feed | None:
        """What is judged on, if anything."""
        judges = [share.judge for share in self.shares if share.judge]
        return _mixed(judges, self.seed) if judges else None

    @property
    def encoding(self) -> Encoding:
        """The one shop's, or what is common to all, of no shop."""
        encoding = self.shares[0].feed.sequences.encoding
        return placed(encoding, None) if encoding.common else encoding

    @property
    def read(self) -> list[str]:
        """What texts are read by, and which: weights do not tell."""
        encodings = [share.feed.sequences.encoding for share in self.shares]
        return [f"{each.reader.digest} {' '.join(each.told)}" for each in encodings if each.reader]

    @cached_property
    def cases(self) -> tuple[Cases, ...]:
        """What is asked, and how often each class occurs in each shop."""
        first = self.shares[0].feed
        every = questions(
            first.sequences.encoding,
            self.settings.objectives,
            causal=self.settings.architecture.trunk != "bert",
            counts=first.following.names if first.following else (),
        )
        return tuple(share.cases(every) for share in self.shares)

    def learner(self) -> Learner:
        """Build the network, and an output layer for each field that is not always the same."""
        asked = {}
        for question, fields in self.cases[0].items():
            totals = {
                field: sum((cases[question][field] for cases in self.cases[1:]), fields[field]) for field in fields
            }
            if kept := {field: seen for field, seen in totals.items() if (seen > 0).sum() > 1}:
                asked[question] = kept
        if not asked and not self.settings.objectives.contrastive:
            raise FitError(
                f"there is nothing to foresee before {moments.text(self.shares[0].judged)}: all that happens is alike",
                where=NAME,
                remedy="Map more columns (types of event, items, amounts), take a longer log, or give weight to "
                "other objectives.",
            )
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network = Network(self.settings.architecture, self.encoding)
            return Learner(network, asked, contrastive=self.settings.objectives.contrastive)

    def facts(self, learner: Learner, history: History) -> dict[str, Any]:
        """Return what a manifest tells."""
        measured = [self._measured(learner, number) for number in range(len(self.shares))]
        shops = [
            {
                "log": share.log.fingerprint,
                "span": str(share.log.span),
                "validation": _means(found),
                "validated_from": moments.text(share.judged),
                "users": len(share.feed.sequences.users),
                "events": share.feed.sequences.count,
            }
            for share, found in zip(self.shares, measured, strict=True)
        ]
        own = [shop for share in self.shares if (shop := share.feed.sequences.encoding.shop)]
        total: Sums = {}
        for found in measured:
            for name, sums in found.items():
                total[name] = total.get(name, 0) + sums
        return {
            **(shops[0] if len(shops) == 1 else {}),
            **({"shops": [{**each, **asdict(shop)} for each, shop in zip(shops, own, strict=True)]} if own else {}),
            "validation": _means(total),
            "settings": asdict(self.settings),
            "seed": self.seed,
            "parameters": sum(each.numel() for each in learner.network.parameters()),
            "users": sum(len(share.feed.sequences.users) for share in self.shares),
            "events": sum(share.feed.sequences.count for share in self.shares),
            "events_learned_from": history.events,
            "epochs": len(history.epochs),
            "best_epoch": history.best_epoch,
            "stopped_early": history.stopped_early,
            "steps": history.steps,
            "seconds": round(history.seconds, 3),
        }

    @torch.no_grad()
    def _measured(self, learner: Learner, number: int) -> Sums:
        """Return the number of cases of each field in a shop, and the sums of their losses and of the baseline's.

        The baseline is the frequencies of this shop, not of all: to know which shop it is is no foresight.
        """
        share, cases = self.shares[number], self.cases[number]
        if share.judge is None:
            return {}
        device = place()
        for question, fields in learner.questions.items():
            for field in fields:
                output: Any = learner.outputs[f"{question.kind}/{field.name}"]
                output.frequency.copy_(frequency(cases[question][field]))
        learner.to(device).eval()
        sums: Sums = {}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for item in share.judge.plan(0):
                for each in learner.answers(share.judge.load(item).to(device)):
                    found = np.array([len(each.losses), each.losses.double().sum(), each.baselines.double().sum()])
                    sums[each.name] = sums.get(each.name, 0) + found
        return sums


def learned(logs: Sequence[EventLog], settings: Pretraining, *, common: bool) -> tuple[Encoding, ...]:
    """Learn from each log what an event is made of, its texts too if they are to be read.

    Args:
        logs: one of each shop, cut to what may be known.
        settings: say what reads texts.
        common: whether all are read alike.

    Raises:
        ConfigError: columns of texts that a log does not have, or that are named though shops have different ones.
        MissingExtraError: the package that carries the language model is not installed.
        ModelError: there is no such model, or it cannot be used.
    """
    how = settings.text
    if how and how.columns and common:
        what = "columns are of one shop, and what is read in many shops alike is found in each"
        raise ConfigError(what, where="text: columns", remedy="Leave 'columns' out.")
    reader = reader_of(how) if how else None
    if common:
        return learn_common(logs, reader=reader)
    own = map(learn, logs)
    if reader is None or how is None:
        return tuple(own)
    return tuple(reads(each, log, reader=reader, columns=how.columns) for each, log in zip(own, logs, strict=True))


def judged_from(log: EventLog, settings: Pretraining) -> datetime:
    """Return the moment from which on events are for validation."""
    return log.span.until - settings.validation * (log.span.until - log.span.start)


def _mixed(feeds: Sequence[Feed], seed: int) -> Feed:
    return feeds[0] if len(feeds) == 1 else Mixed(tuple(feeds), seed)


def _means(sums: Sums) -> dict[str, dict[str, float]]:
    """Return the mean loss over all cases of each field, and that of the baseline, in nats."""
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


def _micros(at: datetime) -> int:
    """Return microseconds since 1970."""
    return int(np.datetime64(at, "us").astype(np.int64))
