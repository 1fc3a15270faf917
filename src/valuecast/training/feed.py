"""Where the batches of a training run come from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self

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


def ahead(feed: Feed, items: Sequence[Any]) -> Generator[Loaded]:
    """Make batches one after the other, each while the one before is worked on."""
    with ThreadPoolExecutor(1, "valuecast-feed") as thread:
        waiting = [thread.submit(feed.load, item) for item in items[:1]]
        for item in items[1:]:
            waiting.append(thread.submit(feed.load, item))
            yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
