"""The classic program: labelled texts, a pre-trained language model, and how it learns them; what its recipe says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

from valuecast.config.augment import Augmentation
from valuecast.config.learning import TEXT, Adaptation, Finetuning, Optimisation, Schedule, usual
from valuecast.config.recipe import Data, Words
from valuecast.config.text import TextModel
from valuecast.config.toml import build, read_toml
from valuecast.errors import ConfigError

Kind = Literal["binary", "classes", "number"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Shares:
    """How rows are split where their file does not say so: by a digest of the user.

    Attributes:
        validation: share of the users by whom the number of epochs is chosen.
        test: share of the users who test what was learned.
    """

    PARTIAL: ClassVar[bool] = True

    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise ConfigError(f"{getattr(self, name)}", where=name, remedy="Give a share above 0 and below 0.5.")


@dataclass(frozen=True)
class Reading:
    """What the columns of a file of labelled texts mean.

    Attributes:
        user: column of the user.
        text: column of the text.
        columns: columns that are written out as a text, "name: value; name: value", in place of ``text``.
        label: column of the label; a row without one is unlabelled.
        split: column of ``train``, ``validation`` and ``test``; without it rows are split by a digest of the user.
        at: column of the moment a row is about, if it has one.
        kind: of the labels; ``auto`` looks at them, and the report says what it found.
        positive: the label whose probability is asked, where two labels are not plainly yes and no.
        empty: what is done with rows without a text: they are refused, or dropped, counted and named.
        encoding: of a CSV file.
        shares: see ``Shares``.
    """

    PARTIAL: ClassVar[bool] = True

    user: str = "user"
    text: str = "text"
    columns: tuple[str, ...] = ()
    label: str = "label"
    split: str = "split"
    at: str = "at"
    kind: Literal["auto", "binary", "classes", "number"] = "auto"
    positive: str | None = None
    empty: Literal["refuse", "drop"] = "refuse"
    encoding: str = "utf-8"
    shares: Shares = Shares()

    def __post_init__(self) -> None:
        if self.positive is not None and self.kind not in ("auto", "binary"):
            remedy = "Leave one of the two out."
            raise ConfigError(
                f"'{self.positive}', but the labels are of kind '{self.kind}'", where="positive", remedy=remedy
            )
        if len(set(self.columns)) < len(self.columns):
            raise ConfigError(f"{list(self.columns)}", where="columns", remedy="Name each column once.")


@dataclass(frozen=True)
class Examples:
    """An ``[examples]`` of a recipe: where the labelled texts come from.

    Attributes:
        path: a file that is there already.
        task: or the question that a log answers, whose events are written as texts.
        at: cutoffs of the task, the earliest first: the last is for the test, the one before for validation.
        users: no more users, of each cutoff if there are cutoffs; drawn by a digest.
        events: events that a text holds at most.
        reading: what the columns of the file mean.
    """

    path: str | None = None
    task: str | None = None
    at: tuple[str, ...] = ()
    users: int | None = None
    events: int = 32
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        if (self.path is None) == (self.task is None):
            raise ConfigError("one of path and task is wanted", where="path", remedy="Give a file, or ask a question.")
        if self.task is not None and not self.at:
            raise ConfigError("the task has no cutoff", where="at", remedy='Add at = ["2017-09-01", ...].')
        for name in ("users", "events"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{value}", where=name, remedy="Give 1 or more.")


@dataclass(frozen=True)
class Tuning:
    """How a language model learns labelled texts; what is left out is what the classic program has.

    Attributes:
        method: what of the model is trained.
        epochs: passes over the training rows, at most.
        batch: rows in a batch.
        learning_rate: the highest; None: what is usual for the method (``valuecast.config.learning.usual``).
        patience: epochs without a lower loss on validation after which it stops.
        schedule: of the learning rate after the warm-up.
        warmup: share of the steps in which the learning rate rises from zero.
        weight_decay: see ``Optimisation``.
        layer_decay: see ``Optimisation``.
        precision: see ``Optimisation``.
        tracker: see ``Optimisation``.
        checkpoint_steps: see ``Optimisation``.
        rank: of LoRA and AdaLoRA.
        layers: the last so many layers that ``last-n`` trains.
        vectors: number of prefix or prompt vectors.
        bottleneck: width of an adapter.
    """

    PARTIAL: ClassVar[bool] = True

    method: Adaptation = "full"
    epochs: int = 5
    batch: int = 16
    learning_rate: float | None = None
    patience: int = 2
    schedule: Schedule = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    layer_decay: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    tracker: str = "tensorboard"
    checkpoint_steps: int = 100
    rank: int = 8
    layers: int = 1
    vectors: int = 8
    bottleneck: int = 16

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"{self.batch}", where="batch", remedy="Give 1 or more.")
        _ = self.finetuning  # its own checks

    @property
    def rate(self) -> float:
        """The learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return usual(TEXT + self.method).optimisation.learning_rate

    @property
    def finetuning(self) -> Finetuning:
        """The same as the one training loop and the methods want it."""
        loop = Optimisation(
            learning_rate=self.rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
            layer_decay=self.layer_decay,
            epochs=self.epochs,
            patience=self.patience,
            precision=self.precision,
            tracker=self.tracker,
            checkpoint_steps=self.checkpoint_steps,
        )
        return Finetuning(loop, rank=self.rank, layers=self.layers, vectors=self.vectors, bottleneck=self.bottleneck)


@dataclass(frozen=True)
class Pseudo:
    """A ``[pseudo]`` of a recipe: how unlabelled texts teach with labels that a model gave them.

    Attributes:
        floor: least probability of its likeliest class for a text to be taken.
        rounds: how often a model that has learned labels of the one before labels the pool anew.
        balance: whether so few are taken of each class that classes keep the shares of the training labels.
    """

    PARTIAL: ClassVar[bool] = True

    floor: float = 0.9
    rounds: int = 1
    balance: bool = True

    def __post_init__(self) -> None:
        if not 0.5 <= self.floor < 1:
            raise ConfigError(f"{self.floor}", where="floor", remedy="Give a probability from 0.5 to below 1.")
        if self.rounds < 1:
            raise ConfigError(f"{self.rounds}", where="rounds", remedy="Give 1 or more.")


@dataclass(frozen=True)
class Program:
    """What ``valuecast run`` does with a recipe that has ``[examples]``.

    Attributes:
        title: of the page.
        examples: the labelled texts.
        text: the language model, and how it reads.
        data: where the log comes from, if texts are made of one.
        tuning: how the model learns.
        augmentation: how training texts are varied.
        pseudo: whether unlabelled texts teach too, and how.
        seed: of everything random.
    """

    title: Words
    examples: Examples
    text: TextModel
    data: Data = field(default_factory=Data)
    tuning: Tuning = field(default_factory=Tuning)
    augmentation: Augmentation = field(default_factory=Augmentation)
    pseudo: Pseudo | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = any((self.data.dataset, self.data.sources, self.data.log))
        if given != (self.examples.task is not None):
            what = "[data] beside a file of texts" if given else "a task, but no [data] to ask it of"
            raise ConfigError(what, where="data", remedy="Give [data] and examples.task, or examples.path alone.")


def is_program(path: Path) -> bool:
    """Return whether a recipe is one of labelled texts.

    Raises:
        ConfigError: no such file, or TOML that does not parse.
    """
    return "examples" in read_toml(path)


def read_program(path: Path) -> Program:
    """Read a recipe of labelled texts.

    Raises:
        ConfigError: no such file, TOML that does not parse, an unknown key, or a value of another type.
    """
    found = read_toml(path)
    if isinstance(found.get("title"), str):
        found["title"] = {"en": found["title"], "zh": found["title"]}
    return build(Program, found, where=str(path))
