"""Labelled rows of histories as batches, and the module that learns from them: a network with its heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from valuecast import columns as c
from valuecast.models import adapters
from valuecast.models.finetuned import Answerer, read
from valuecast.models.network import StateNetwork
from valuecast.models.reading import Given, Reading, Watch

Labels = NDArray[np.float32]


@dataclass(frozen=True)
class Asked:
    """Rows of several tasks: those of one after those of the other.

    Attributes:
        keys: ``user, at`` of each row.
        labels: of each task, what its head's loss reads, row for row.
        beside: the features of each row, where heads read them; shape (R, K).
    """

    keys: pl.DataFrame
    labels: Mapping[str, Labels]
    beside: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = {len(self.keys), sum(map(len, self.labels.values()))}
        if len(rows | ({len(self.beside)} if self.beside is not None else set())) > 1:
            raise AssertionError("training rows, label rows and rows of features differ")

    def features(self, rows: NDArray[np.int64]) -> Tensor | None:
        """Return the features of some rows."""
        return None if self.beside is None else torch.from_numpy(self.beside[rows])

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """The number after the last row of each task."""
        return np.cumsum([len(labels) for labels in self.labels.values()])


@dataclass(frozen=True)
class Part:
    """The rows of one task in a batch.

    Attributes:
        rows: their places in the batch.
        labels: of them.
        weight: of their mean loss.
    """

    rows: Tensor
    labels: Tensor
    weight: float


@dataclass(frozen=True)
class Item:
    """A batch: histories, or what a frozen network says of each row; and the labels of each task.

    Attributes:
        given: histories, or states of shape (R, state_width).
        beside: the features of each row, where heads read them.
        parts: by the name of the task.
        events: in the batch; where it is judged, rows: every row then weighs the same.
        users: of the batch, for messages.
    """

    given: Given | Tensor
    beside: Tensor | None
    parts: Mapping[str, Part]
    events: int
    users: Sequence[str]

    def to(self, device: torch.device) -> Item:
        """Copy to a device."""
        parts = {
            task: replace(part, rows=part.rows.to(device), labels=part.labels.to(device))
            for task, part in self.parts.items()
        }
        beside = None if self.beside is None else self.beside.to(device)
        return replace(self, given=self.given.to(device), beside=beside, parts=parts)


@dataclass(frozen=True)
class ReadFeed:
    """Batches of histories with the rows that are asked in them.

    Attributes:
        asked: every row and its labels.
        reading: their histories.
        batch_events: see ``Optimisation``.
        seed: of the order; None: always the same.
    """

    asked: Asked
    reading: Reading
    batch_events: int
    seed: int | None

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """Histories of similar length together, in another order in each epoch."""
        draw = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        return self.reading.plan(self.batch_events, draw)

    def load(self, item: NDArray[np.int64]) -> Item:
        """Collect the histories and their rows."""
        batch = self.reading.load(item)
        rows = batch.row.numpy()
        parts = parts_of(self.asked, rows, batches=self.batches, judged=self.seed is None)
        events = batch.events if self.seed is not None else len(rows)
        return Item(batch, self.asked.features(rows), parts, events, batch.users)

    @cached_property
    def batches(self) -> int:
        """How many there are in an epoch."""
        return len(self.plan(0))


@dataclass(frozen=True)
class FrozenFeed:
    """Batches of rows of which a frozen network has said all that it ever will.

    Attributes:
        asked: every row and its labels.
        states: what heads read; shape (R, state_width).
        batch_rows: rows in a batch.
        seed: of the order; None: always the same.
    """

    asked: Asked
    states: Tensor
    batch_rows: int
    seed: int | None

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """Rows in another order in each epoch."""
        rows = np.arange(len(self.states))
        if self.seed is not None:
            rows = np.random.default_rng([self.seed, epoch]).permutation(rows)
        return np.array_split(rows, -(-len(rows) // self.batch_rows))

    def load(self, item: NDArray[np.int64]) -> Item:
        """Collect the rows."""
        parts = parts_of(self.asked, item, batches=self.batches, judged=self.seed is None)
        users = self.asked.keys[c.USER].gather(item[:100]).to_list()
        states = self.states[torch.from_numpy(item)]
        return Item(states, self.asked.features(item), parts, len(item), users)

    @cached_property
    def batches(self) -> int:
        """How many there are in an epoch."""
        return -(-len(self.states) // self.batch_rows)


def parts_of(asked: Asked, rows: NDArray[np.int64], *, batches: int, judged: bool) -> dict[str, Part]:
    """Pick the rows of each task, and weigh them so that in an epoch every row of a task counts the same.

    Args:
        asked: every row and its labels.
        rows: numbers of the rows in the batch.
        batches: how many there are in an epoch.
        judged: whether losses are averaged by the rows of each batch, not added up batch by batch.
    """
    found, start = {}, 0
    for task, end in zip(asked.labels, asked.ends, strict=True):
        labels = asked.labels[task]
        places = np.flatnonzero((rows >= start) & (rows < end))
        usual = len(labels) * len(rows) / len(asked.keys) if judged else len(labels) / batches
        own = torch.from_numpy(np.ascontiguousarray(labels[rows[places] - start]))
        found[task] = Part(torch.from_numpy(places), own, len(places) / usual)
        start = int(end)
    return found


class Learner(nn.Module):
    """Losses of every task; what is trained of the network is for the method to say."""

    def __init__(self, answerer: Answerer) -> None:
        super().__init__()
        self.answerer = answerer

    def forward(self, item: Item) -> dict[str, Tensor]:
        """Return the loss of each task, and the penalty of the method where there is one."""
        read = self.answerer(item.given, item.beside)
        losses = {}
        for task, part in item.parts.items():
            head = self.answerer.head(task)
            # A batch without a row of this task still names its loss.
            losses[task] = (
                part.weight * head.loss(head(read[part.rows]), part.labels)
                if len(part.rows)
                else head(read[:1]).sum() * 0.0
            )
        penalty = adapters.regulariser(self.answerer.network)
        return losses if penalty is None else {**losses, "rank-penalty": penalty}  # no task has a hyphen in its name

    def stepped(self, step: int) -> None:
        """Let the method look at the gradients of a step."""
        adapters.stepped(self.answerer.network, step)


def feed(
    network: StateNetwork,
    reading: Reading,
    asked: Asked,
    *,
    batch_events: int,
    seed: int | None,
    frozen: bool,
    watch: Watch | None = None,
) -> ReadFeed | FrozenFeed:
    """Make the feed of some rows.

    Args:
        network: if it is frozen, it is asked here about every row, once.
        reading: the histories of the rows.
        asked: rows and labels.
        batch_events: events in a batch; a frozen network's rows come eight times fewer at once.
        seed: of the order; None for rows that are judged, not learned from.
        frozen: whether no weight of the network is trained.
        watch: is told how many batches of a frozen network are done, and how many there are.
    """
    if not frozen:
        return ReadFeed(asked, reading, batch_events, seed)
    states = torch.empty(len(asked.keys), network.state_width)
    for numbers, found in read(network, reading, watch):
        states[torch.from_numpy(numbers)] = found.float().cpu()
    return FrozenFeed(asked, states, max(1, batch_events // 8), seed)
