"""How a training run went, and where it is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What happened in one pass over the training data.

    Attributes:
        training: mean of each loss over the steps.
        validation: mean of each loss over the events; empty without validation.
        learning_rate: of the top layer in the last step.
        norm: mean norm of the gradient before it was clipped.
        clipped: number of steps in which it was.
        halvings: of the learning rate by ``plateau``, from the start of the run to the end of this epoch.
    """

    training: dict[str, float]
    validation: dict[str, float]
    learning_rate: float
    norm: float
    clipped: int
    halvings: int


@dataclass(frozen=True)
class History:
    """How a run went; the learner has the weights of the end of ``best_epoch``.

    Attributes:
        epochs: one after the other.
        best_epoch: the epoch, from 1, with the lowest sum of losses on validation; without validation, the last.
        stopped_early: whether patience ran out.
        steps: of the optimiser.
        seconds: that the run took; those that a kill threw away do not count.
        events: that were learned from, each as often as it was.
    """

    epochs: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    steps: int
    seconds: float
    events: int

    @property
    def halved(self) -> tuple[int, ...]:
        """The epochs, from 1, after which ``plateau`` halved the learning rate."""
        counts = [0, *(epoch.halvings for epoch in self.epochs)]
        return tuple(number for number, (before, after) in enumerate(pairwise(counts), 1) if after > before)


@dataclass
class State:
    """Where a run is: plain data, so that a checkpoint can hold it."""

    epochs: list[dict[str, Any]] = field(default_factory=list)  # those that are done
    position: int = 0  # steps of the next one that are done
    sums: dict[str, float] = field(default_factory=dict)  # of its losses
    norms: float = 0.0
    clipped: int = 0
    steps: int = 0
    events: int = 0
    seconds: float = 0.0
    first: float | None = None  # the loss of the first step
    best: float = math.inf
    best_epoch: int = 0
    halvings: int = 0
    stopped_early: bool = False
    over: bool = False

    def count(self, losses: dict[str, float], *, norm: float, clipped: bool, events: int) -> None:
        """Note a step that was made."""
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in losses.items()}
        self.norms, self.clipped = self.norms + norm, self.clipped + clipped
        self.steps, self.position, self.events = self.steps + 1, self.position + 1, self.events + events

    def close(self, validation: dict[str, float], *, learning_rate: float) -> Epoch:
        """Note the end of an epoch, and turn to the next one."""
        epoch = Epoch(
            training={name: value / self.position for name, value in self.sums.items()},
            validation=validation,
            learning_rate=learning_rate,
            norm=self.norms / self.position,
            clipped=self.clipped,
            halvings=self.halvings,
        )
        self.epochs.append(asdict(epoch))
        self.position, self.sums, self.norms, self.clipped = 0, {}, 0.0, 0
        return epoch

    def history(self) -> History:
        """Return how the run went."""
        return History(
            epochs=tuple(Epoch(**each) for each in self.epochs),
            best_epoch=self.best_epoch,
            stopped_early=self.stopped_early,
            steps=self.steps,
            seconds=self.seconds,
            events=self.events,
        )
