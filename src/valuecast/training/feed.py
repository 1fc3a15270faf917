"""Where the batches of a training run come from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch


class Loaded(Protocol):
    """A batch, ready but for the device."""

    @property
    def events(self) -> int:
        """Number of events in it."""

    @property
    def users(self) -> Sequence[str]:
        """Whose they are, for messages."""

    def to(self, device: torch.device) -> Self:
        """Return it on a device."""


class Feed(Protocol):
    """Batches, listed and made.

    A plan is the same whenever it is asked for. Batches are made in another thread while the one before is learned
    from, so ``load`` must draw nothing from the global sources of chance.
    """

    def plan(self, epoch: int) -> Sequence[Any]:
        """Return, for each batch of an epoch (from 0), what ``load`` needs to know of it."""

    def load(self, item: Any) -> Loaded:
        """Make one batch."""


@dataclass(frozen=True)
class Mixed:
    """The batches of several feeds, in a random order that is new for every epoch."""

    feeds: tuple[Feed, ...]
    seed: int

    def plan(self, epoch: int) -> Sequence[tuple[int, Any]]:
        """Return, for each batch, the number of its feed, and what that needs to know of it."""
        every = [(number, item) for number, feed in enumerate(self.feeds) for item in feed.plan(epoch)]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(every))
        return [every[place] for place in order]

    def load(self, item: tuple[int, Any]) -> Loaded:
        """Make one batch."""
        number, own = item
        return self.feeds[number].load(own)


def ahead(feed: Feed, items: Sequence[Any]) -> Generator[Loaded]:
    """Make batches one after the other, each while the one before is worked on."""
    with ThreadPoolExecutor(1, "valuecast-feed") as thread:
        waiting = [thread.submit(feed.load, item) for item in items[:1]]
        for item in items[1:]:
            waiting.append(thread.submit(feed.load, item))
            yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
