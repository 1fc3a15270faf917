"""Fine-tunes a language model on labelled texts, by any method, through the one training loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate.utils import gather_object

from valuecast import columns as c
from valuecast.config.augment import Augmentation
from valuecast.config.examples import Reading, Split, Tuning
from valuecast.config.learning import Finetuning
from valuecast.errors import FitError
from valuecast.models import adapters
from valuecast.models.finetuned import Answerer, Answers, Design
from valuecast.models.head_spec import NARROWEST, HeadSpec, classes_of
from valuecast.models.network import StateNetwork, layers
from valuecast.models.text.backbone import TextBackbone
from valuecast.models.text.tokens import tokenise_texts
from valuecast.training.augmentation.variants import varied_texts
from valuecast.training.examples.feed import Learner, TextFeed
from valuecast.training.examples.predictor import LABEL, TextPredictor, states_of
from valuecast.training.examples.scores import measured, plain
from valuecast.training.examples.scores import told as told_figures
from valuecast.training.examples.table import TEXT, Labelled
from valuecast.training.loop import History, train
from valuecast.training.processes import rank

Progress = Callable[[str], None]

NAME: Final = "text"
"""Of the run, in the names of its files and messages."""


@dataclass(frozen=True)
class Fitted:
    """A language model that has learned labelled texts, and how it went.

    Attributes:
        predictor: with the weights of the best epoch.
        history: losses, epoch by epoch.
        measured: figures on validation, epoch by epoch.
    """

    predictor: TextPredictor
    history: History
    measured: tuple[dict[str, float], ...]


def fit(
    base: TextBackbone,
    table: Labelled,
    *,
    reading: Reading | None = None,
    tuning: Tuning | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    folder: Path | None = None,
    name: str = NAME,
    progress: Progress | None = None,
) -> Fitted:
    """Fine-tune a language model on the training rows of a table.

    It stops when the loss on the validation rows has not fallen for some epochs, and keeps the weights of the best one.
    The test rows are not looked at.

    Args:
        base: the language model; it is left as it is.
        table: labelled texts.
        reading: what its columns mean, for files that are predicted later.
        tuning: the method, and how it learns.
        augmentation: how the training texts are varied; the others never are.
        seed: of the head, dropout and the order of batches.
        folder: for checkpoints and TensorBoard; a run that was killed is continued.
        name: of the run.
        progress: is told how it goes.

    Raises:
        ConfigError: an augmentation that has no meaning here.
        FitError: the method objects to the model, or learning went astray.
    """
    tuning, augmentation = tuning or Tuning(), augmentation or Augmentation()
    augmentation.refuse("events", why="there are no events, but texts")
    if tuning.method == "frozen":
        augmentation.refuse("texts", why="a frozen model reads every text once")
    settings, say = tuning.finetuning, progress or _silent
    if objection := adapters.objection(tuning.method, base.network.trunk.family):
        raise FitError(objection, where=f"method '{tuning.method}'", remedy="Choose another method.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = base.body.network() if tuning.method == "scratch" else copy.deepcopy(base.network)
        first = _feed(base, network, table, "train", tuning=tuning, seed=seed, augmentation=augmentation)
        judge = _feed(base, network, table, "validation", tuning=tuning, seed=None)
        adapters.apply(network, tuning.method, settings, steps=tuning.epochs * first.batches)
        answerer = Answerer(network, {LABEL: head_of(table)}, dropout=base.body.dropout)
        learner = Learner(answerer)
        made = _predictor(base, answerer, table, tuning=tuning, settings=settings, reading=reading)
        history = train(
            learner,
            first,
            settings=settings.optimisation,
            judge=judge,
            seed=seed,
            groups=None if tuning.method == "frozen" else depths(network),
            folder=folder,
            data=f"{table.digest} {tuning.batch} {tuning.method} {augmentation}",
            name=name,
            progress=progress,
            watch=lambda number: _watch(number, learner, table, made, name=name, say=say),
        )
    best = plain(learner.measured[history.best_epoch - 1])
    facts = {**made.facts, **_facts(answerer, history), "seed": seed, "validation": best, "table": dict(table.facts)}
    predictor = TextPredictor(made.answers, made.kind, made.classes, made.reading, facts)
    return Fitted(predictor, history, tuple(learner.measured))


def untrained(base: TextBackbone, table: Labelled, *, reading: Reading | None = None, seed: int = 0) -> TextPredictor:
    """Return the language model as it is before fine-tuning: with a head that knows the shares of the labels alone."""
    tuning = Tuning(method="frozen")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(base.network)
        answerer = Answerer(network, {LABEL: head_of(table)}, dropout=base.body.dropout).eval()
    return _predictor(base, answerer, table, tuning=tuning, settings=tuning.finetuning, reading=reading)


def head_of(table: Labelled) -> HeadSpec:
    """Return the head of a table's labels, which begins where it knows nothing but how they are distributed."""
    labels = table.numbers("train")
    if table.kind == "classes":
        return classes_of(labels, table.classes)
    if table.kind == "binary":
        rate = (labels.sum() + 0.5) / (len(labels) + 1)
        return HeadSpec("bernoulli", (LABEL,), (0,), start=(math.log(rate / (1 - rate)),))
    spread = max(float(labels.std()), 1e-6 * (1 + float(np.abs(labels).max())))
    usual = 1 - NARROWEST
    start = (0.0, usual + math.log(-math.expm1(-usual)))
    return HeadSpec("normal", (LABEL,), (0,), start=start, centre=(float(labels.mean()),), scale=(spread,))


def depths(network: StateNetwork) -> list[tuple[list[torch.nn.Parameter], int]]:
    """Return every layer's parameters, and how many layers are above it, the head among them."""
    found = layers(network)
    return [(parameters, len(found) - number) for number, parameters in enumerate(found)]


def _feed(
    base: TextBackbone,
    network: StateNetwork,
    table: Labelled,
    split: Split,
    *,
    tuning: Tuning,
    seed: int | None,
    augmentation: Augmentation | None = None,
) -> TextFeed:
    rows = table.of(split)
    told, tokenizer, tokens = rows[TEXT].to_list(), base.body.tokenizer, base.body.text.tokens
    labels, users = table.numbers(split), rows[c.USER].to_list()
    if augmentation is not None and augmentation.on("texts"):
        varied = varied_texts(tokenizer, told, augmentation, tokens=tokens, seed=seed or 0)
        return TextFeed(varied, labels, users, tuning.batch, seed)
    texts = tokenise_texts(tokenizer, told, tokens=tokens)
    if tuning.method != "frozen":
        return TextFeed(texts, labels, users, tuning.batch, seed)
    with torch.random.fork_rng(devices=[]):  # weights of a head that is thrown away
        reader = Answerer(network, {LABEL: head_of(table)}, dropout=base.body.dropout)
    states = states_of(Answers(_design(base, table, tuning, tuning.finetuning), reader), texts)
    return TextFeed(torch.from_numpy(states), labels, users, tuning.batch, seed)


def _design(base: TextBackbone, table: Labelled, tuning: Tuning, settings: Finetuning) -> Design:
    return Design(base.body, tuning.method, settings, {LABEL: head_of(table)}, base.body.dropout)


def _predictor(
    base: TextBackbone,
    answerer: Answerer,
    table: Labelled,
    *,
    tuning: Tuning,
    settings: Finetuning,
    reading: Reading | None,
) -> TextPredictor:
    answers = Answers(_design(base, table, tuning, settings), answerer)
    facts = {"tuning": asdict(tuning), "model": base.body.text.model, "backbone": dict(base.facts)}
    return TextPredictor(answers, table.kind, table.classes, reading or Reading(columns=table.columns), facts)


def _watch(number: int, learner: Learner, table: Labelled, made: TextPredictor, *, name: str, say: Progress) -> None:
    """Measure what was said of the validation rows in this epoch."""
    heard = [(rows.numpy(), raw.numpy()) for rows, raw in learner.heard]
    learner.heard.clear()
    every = gather_object(heard)  # each process has judged its share
    truth = table.numbers("validation")
    raw = np.concatenate([each for _, each in every]).astype(np.float64)
    rows = np.concatenate([each for each, _ in every])
    said = made.from_raw(raw)
    learner.measured = [*learner.measured[: number - 1], measured(table.kind, truth[rows], said)]
    if rank() == 0:
        say(f"{name}: epoch {number} on validation: {told_figures(learner.measured[-1])}")


def _facts(answerer: Answerer, history: History) -> dict[str, Any]:
    """What the manifest tells of the network and of how it was trained."""
    every = sum(parameter.numel() for parameter in answerer.network.parameters())
    changed = sum(tensor.numel() for tensor in adapters.trained(answerer.network).values())
    return {
        "parameters": {"network": every, "trained": changed},
        "epochs": [asdict(epoch) for epoch in history.epochs],
        "best_epoch": history.best_epoch,
        "stopped_early": history.stopped_early,
        "seconds": history.seconds,
        "tokens": history.events,
    }


def _silent(line: str) -> None:
    """Tell nobody."""
