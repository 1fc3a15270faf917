"""Labelled texts as batches, and the module that learns from them: a network with one head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from valuecast.models import adapters
from valuecast.models.finetuned import Answerer
from valuecast.models.text.tokens import Tokenised, Tokens
from valuecast.training.augmentation.variants import Variants
from valuecast.training.examples.predictor import LABEL

_JUDGED = 4
"""Times as many rows in a batch that is judged: no gradient is kept of them."""


@dataclass(frozen=True)
class Batch:
    """Texts, or what a frozen network says of each, and their labels.

    Attributes:
        given: tokens; or states, shape (R, state_width).
        labels: what the head's loss reads; shape (R, 1), float32.
        row: numbers of the texts among all of the feed; shape (R,).
        events: tokens that are learned from; of a batch that is judged, texts: each then weighs the same.
        users: whose they are, for messages.
    """

    given: Tokens | Tensor
    labels: Tensor
    row: Tensor
    events: int
    users: Sequence[str]

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        return replace(self, given=self.given.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, eq=False)
class TextFeed:
    """Batches of so many texts of similar length.

    Attributes:
        given: the texts, or variants of them; or what a frozen network says of each, which it need say only once.
        labels: of them, shape (R,): numbers, or numbers of classes.
        users: whose they are.
        rows: in a batch.
        seed: of the order, which is new in each epoch; None for rows that are judged.
    """

    given: Tokenised | Variants | Tensor
    labels: NDArray[np.float64]
    users: Sequence[str]
    rows: int
    seed: int | None

    @property
    def batches(self) -> int:
        """How many there are in an epoch."""
        return -(-len(self.labels) // self.rows)

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the numbers of the texts, or of the variants, of each batch."""
        if self.seed is None:
            draw, rows = None, _JUDGED * self.rows
        else:
            draw, rows = np.random.default_rng([self.seed, epoch]), self.rows
        if not isinstance(self.given, Tensor):
            return self.given.batches_of(rows, draw)
        order = np.arange(len(self.labels)) if draw is None else draw.permutation(len(self.labels))
        return [order[first : first + rows] for first in range(0, len(order), rows)]

    def load(self, item: NDArray[np.int64]) -> Batch:
        """Collect the texts of a batch."""
        given: Tokens | Tensor
        if isinstance(self.given, Tensor):
            rows = torch.from_numpy(item)
            given, events = self.given[rows], len(item)
        else:
            given = self.given.batch(item)
            rows, events = given.row, len(item) if self.seed is None else given.events
        labels = torch.from_numpy(self.labels[rows.numpy()].astype(np.float32)).unsqueeze(1)
        return Batch(given, labels, rows, events, tuple(self.users[row] for row in rows.tolist()))


class Learner(nn.Module):
    """The loss of a label; and what was said of the rows that are judged, so that none is read twice.

    Attributes:
        heard: numbers of rows and their raw scores, of the judging that is going on.
        measured: figures on validation after each epoch; they are kept in checkpoints.
    """

    def __init__(self, answerer: Answerer) -> None:
        super().__init__()
        self.answerer = answerer
        self.heard: list[tuple[Tensor, Tensor]] = []
        self.measured: list[dict[str, float]] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss, and the penalty of the method where there is one."""
        head = self.answerer.head(LABEL)
        params = head(self.answerer(batch.given, None))
        if not self.training:
            self.heard.append((batch.row, head.raw(params).detach().float().cpu()))
        losses = {LABEL: head.loss(params, batch.labels)}
        penalty = adapters.regulariser(self.answerer.network)
        return losses if penalty is None else losses | {"rank-penalty": penalty}

    def stepped(self, step: int) -> None:
        """Let the method look at the gradients of a step."""
        adapters.stepped(self.answerer.network, step)

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"measured": [dict(each) for each in self.measured]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on after a checkpoint; weights of an earlier epoch forget nothing of the later ones."""
        if len(state["measured"]) > len(self.measured):
            self.measured = [dict(each) for each in state["measured"]]
