"""What can be asked of a network about the events of a batch, and what the truth is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

import torch
from torch import Tensor, nn

from valuecast import columns as c
from valuecast.config.learning import Objectives
from valuecast.models.network import Tensors
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.reading import GAP

COUNTS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)
"""Counts that are told apart: the least of each class."""

Kind = Literal["next_event", "masked", "counts"]


@dataclass(frozen=True)
class Asked:
    """A batch, and what is asked about it.

    Attributes:
        tensors: the windows.
        target: the events that are to be foreseen, or filled in where they are hidden; shape (B, L), bool.
        counts: class of each count in what follows an event, -1 where it is not asked; shape (B, L, number of counts).
        user: number of each window's user; shape (B,).
        events: how many are asked about: in training all, in validation the batch has this weight.
    """

    tensors: Tensors
    target: Tensor
    counts: Tensor
    user: Tensor
    events: int

    @property
    def users(self) -> tuple[str, ...]:
        """The user of each window, for messages."""
        return self.tensors.users

    def to(self, device: torch.device) -> Asked:
        """Copy to a device."""
        target, counts, user = (part.to(device, non_blocking=True) for part in (self.target, self.counts, self.user))
        return Asked(self.tensors.to(device), target, counts, user, self.events)


@dataclass(frozen=True)
class Bag:
    """The truth about M of N events: the shares of one or more classes, which sum to one.

    Attributes:
        event: which of the N events; shape (M,), rising.
        owner: which of the M each share belongs to; shape (E,).
        classes: shape (E,).
        shares: shape (E,).
    """

    event: Tensor
    owner: Tensor
    classes: Tensor
    shares: Tensor

    @classmethod
    def single(cls, classes: Tensor) -> Bag:
        """Take one class for each event, -1 where there is none; shape (N,)."""
        event = (classes >= 0).nonzero().flatten()
        one = torch.ones(len(event), device=classes.device)
        return cls(event, torch.arange(len(event), device=classes.device), classes[event], one)


class Field(Protocol):
    """One part of an event, or of what follows it."""

    @property
    def name(self) -> str:
        """Short, for the names of losses."""

    @property
    def classes(self) -> int:
        """How many there are."""

    def bag(self, asked: Asked, chosen: Tensor) -> Bag:
        """Return the truth about the events at the places ``chosen``, rising, of the flattened batch; shape (N,)."""


@dataclass(frozen=True)
class Codes:
    """A column of codes: the share of each value in the event, unknown values being one class."""

    name: str
    start: int
    stop: int

    @property
    def classes(self) -> int:
        """One for each code."""
        return self.stop - self.start

    def bag(self, asked: Asked, chosen: Tensor) -> Bag:
        """Read the codes of the column."""
        codes, offsets = asked.tensors.codes, asked.tensors.offsets
        first = offsets[chosen]
        size = torch.cat([offsets, offsets.new_tensor([len(codes)])])[chosen + 1] - first
        owner = torch.repeat_interleave(size)
        place = torch.arange(len(owner), device=owner.device) + (first - size.cumsum(0) + size)[owner]
        ours = (codes[place] >= self.start) & (codes[place] < self.stop)
        place, (event, owner) = place[ours], torch.unique(owner[ours], return_inverse=True)
        return Bag(event, owner, codes[place] - self.start, asked.tensors.weights[place])


@dataclass(frozen=True)
class Bins:
    """A number: between which two of its edges it is; beyond the ends counts as the nearest bin."""

    name: str
    column: int
    edges: tuple[float, ...]

    @property
    def classes(self) -> int:
        """One for each bin."""
        return len(self.edges) - 1

    def bag(self, asked: Asked, chosen: Tensor) -> Bag:
        """Read the number."""
        value = asked.tensors.numbers[..., self.column].flatten()[chosen]
        inner = torch.tensor(self.edges[1:-1], device=value.device)
        return Bag.single(torch.bucketize(value, inner, right=True).masked_fill(value.isnan(), -1))


@dataclass(frozen=True)
class Count:
    """How many events of some kind follow in some time."""

    name: str
    column: int

    @property
    def classes(self) -> int:
        """See ``COUNTS``."""
        return len(COUNTS)

    def bag(self, asked: Asked, chosen: Tensor) -> Bag:
        """Read the class."""
        return Bag.single(asked.counts.flatten(0, 1)[chosen, self.column])


@dataclass(frozen=True)
class Question:
    """One objective but for its output layers.

    Attributes:
        kind: ``next_event``, asked of the state before the event; ``masked``, of the hidden event's own; ``counts``, of
            the state of the event that they follow.
        weight: of its losses.
        fields: what is asked.
        last: only the last state of a window is asked, because it alone has seen nothing later.
    """

    kind: Kind
    weight: float
    fields: tuple[Field, ...]
    last: bool = False

    def events(self, asked: Asked, hidden: Tensor | None = None) -> Tensor:
        """Return the places of the events it is about in the flattened batch, rising; shape (N,).

        Args:
            asked: the batch.
            hidden: which events are hidden, if any; shape (B, L), bool. Without it ``masked`` is about all targets.
        """
        chosen = asked.target if self.kind != "counts" else (asked.counts >= 0).any(dim=-1)
        if self.kind == "next_event":
            chosen = chosen & (torch.arange(chosen.shape[1], device=chosen.device) > 0)
        elif hidden is not None:
            chosen = chosen & (hidden if self.kind == "masked" else ~hidden)
        if self.last:
            mask = asked.tensors.mask
            chosen = chosen & mask & ~nn.functional.pad(mask[:, 1:], (0, 1))
        return chosen.flatten().nonzero().flatten()

    @property
    def back(self) -> int:
        """How many events before an event the state is that is asked about it."""
        return int(self.kind == "next_event")


def questions(encoding: Encoding, weights: Objectives, *, causal: bool, counts: tuple[str, ...]) -> list[Question]:
    """Return what is asked of a trunk that looks back only (``causal``), or both ways.

    Args:
        encoding: says what an event is made of.
        weights: of the objectives.
        causal: whether next events are to be foreseen, or hidden ones to be filled in.
        counts: names of the columns of ``Asked.counts``.
    """
    names = {"type": c.EVENT, "items": c.ITEM}
    spans = {name: span for name, column in names.items() if (span := encoding.span(column))}
    numbers = {number.name: (place, number.edges) for place, number in enumerate(encoding.numbers)}
    measures = {name: numbers[column] for name, column in {"amount": c.AMOUNT, "gap": GAP}.items() if column in numbers}
    fields: list[Field] = [Codes(name, *span) for name, span in spans.items()]
    fields += [Bins(name, place, edges) for name, (place, edges) in measures.items()]
    event: Kind = "next_event" if causal else "masked"
    found = [Question(event, weights.next_event if causal else weights.masked, tuple(fields))]
    columns = tuple(Count(name, place) for place, name in enumerate(counts))
    found.append(Question("counts", weights.counts, columns, last=not causal))
    return [each for each in found if each.weight]
