"""How a network comes to read the histories of ``(user, at)``: in batches of events here, of tokens in ``text``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from valuecast.config.learning import Architecture
from valuecast.events.log import EventLog
from valuecast.models.event_texts import TextVectors
from valuecast.models.network import Network, StateNetwork, Tensors
from valuecast.models.trunks import length_of
from valuecast.sequences import windows as cut
from valuecast.sequences.batch import Batch
from valuecast.sequences.clock import Past
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.sequences import Sequences, encode
from valuecast.sequences.windows import Windows

IntArray = NDArray[np.int64]
Watch = Callable[[int, int], None]
"""Is told how many batches are done, and how many there are."""


class Given(Protocol):
    """A batch of histories."""

    @property
    def row(self) -> Tensor:
        """The number of each row that is answered, in the table of keys; shape (R,)."""

    @property
    def users(self) -> Sequence[str]:
        """Whose they are, for messages."""

    @property
    def events(self) -> int:
        """How much is read: events or tokens, without padding."""

    def to(self, device: torch.device | str) -> Self:
        """Copy to a device."""


class Reading(Protocol):
    """The histories of some keys, which are rows by their numbers."""

    def plan(self, size: int, draw: np.random.Generator | None = None) -> list[IntArray]:
        """Put histories of similar length together; ``size`` events or tokens in a batch, padding included."""

    def load(self, item: IntArray) -> Given:
        """Make one batch of a plan."""


class Histories(Protocol):
    """A log, as networks of one body read it."""

    def reading(self, keys: pl.DataFrame, *, share: bool) -> Reading:
        """Return the histories of keys ``user, at``, each of which is answered once.

        Args:
            keys: what is asked.
            share: whether keys of one user may be answered in one stretch of the history, as in training.
        """


class Body(Protocol):
    """What a network is and reads, but for its weights."""

    @property
    def prefix(self) -> str:
        """What the names of methods that fine-tune such a network begin with."""

    @property
    def dropout(self) -> float:
        """Share of the activations that are dropped in training."""

    def network(self) -> StateNetwork:
        """Return a network whose weights are still to be learned or loaded."""

    def histories(
        self, log: EventLog, *, encode: Callable[..., Sequences] = encode, folder: Path | None = None
    ) -> Histories:
        """Return a log as such networks read it.

        Args:
            log: that is read.
            encode: makes sequences of events, or remembers them, where they are needed.
            folder: where what need not fit in memory is kept.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest; ``body_of`` reads it back."""

    def save(self, folder: Path) -> None:
        """Write what plain data cannot hold."""


@dataclass(frozen=True)
class EventReading:
    """Windows of events.

    Attributes:
        sequences: that they are cut from.
        windows: with the rows that are answered in them.
        texts: of the events, where any are read.
    """

    sequences: Sequences
    windows: Windows
    texts: TextVectors | None = None

    def plan(self, size: int, draw: np.random.Generator | None = None) -> list[IntArray]:
        """Return numbers of windows."""
        return cut.bucketed(self.windows, size, draw)

    def load(self, item: IntArray) -> Tensors:
        """Collect the windows and their rows."""
        return self.tensors(cut.batch(self.sequences, self.windows, item))

    def tensors(self, batch: Batch) -> Tensors:
        """Return a batch of these sequences as a network reads it."""
        return tensors(batch, self.texts)


def tensors(batch: Batch, texts: TextVectors | None) -> Tensors:
    """Return a batch as a network reads it, with the vectors of its texts, where any are read."""
    return Tensors.of(batch, None if texts is None else texts.at(batch.texts))


@dataclass(frozen=True)
class EventHistories:
    """Sequences of events, read in windows of at most ``length``.

    Attributes:
        sequences: of all users.
        length: events of a window.
        causal: whether the trunk looks back only, so that one window can serve many keys.
        texts: of the events, where any are read.
    """

    sequences: Sequences
    length: int
    causal: bool
    texts: TextVectors | None = None

    def reading(self, keys: pl.DataFrame, *, share: bool) -> EventReading:
        """Cut the windows in which keys are answered.

        Raises:
            LogError: a key has no event before it.
        """
        rows = cut.rows_of(self.sequences, keys)
        cutting = cut.shared if share and self.causal else cut.latest
        windows = cutting(rows, self.sequences, self.length)
        if len(windows.rows) != len(keys):
            raise AssertionError("rows of windows and rows of keys differ")
        return EventReading(self.sequences, windows, self.texts)

    def past(self, keys: pl.DataFrame) -> Past:
        """Return what lies behind each key, in their order.

        Raises:
            LogError: a key has no event before it.
        """
        return cut.past(self.sequences, cut.rows_of(self.sequences, keys))


@dataclass(frozen=True)
class EventBody:
    """A network over events: its architecture, and what an event is made of."""

    architecture: Architecture
    encoding: Encoding

    prefix = ""

    @property
    def dropout(self) -> float:
        """That of the architecture."""
        return self.architecture.dropout

    def network(self) -> Network:
        """Draw the weights."""
        return Network(self.architecture, self.encoding)

    def histories(
        self, log: EventLog, *, encode: Callable[..., Sequences] = encode, folder: Path | None = None
    ) -> EventHistories:
        """Encode the events of a log.

        Raises:
            MissingExtraError: texts are read by a language model whose package is not installed.
            ModelError: the log lacks a column, or the language model is not where it was.
        """
        sequences = encode(self.encoding, log, folder=folder)
        causal, texts = self.architecture.trunk != "bert", TextVectors.of(sequences)
        return EventHistories(sequences, length_of(self.architecture), causal, texts)

    def to_dict(self) -> dict[str, Any]:
        """Both as plain data."""
        return {"architecture": asdict(self.architecture), "encoding": self.encoding.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> EventBody:
        """Read back what ``to_dict`` wrote."""
        return cls(Architecture(**found["architecture"]), Encoding.from_dict(found["encoding"]))

    def save(self, folder: Path) -> None:
        """The plain data say everything."""


def body_of(found: Mapping[str, Any], folder: Path) -> Body:
    """Read back what ``Body.to_dict`` and ``Body.save`` wrote."""
    if "text" in found:
        from valuecast.models.text.network import TextBody  # noqa: PLC0415 - it builds on this file

        return TextBody.load(found["text"], folder)
    return EventBody.from_dict(found)
