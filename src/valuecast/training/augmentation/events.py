"""Windows of events that training reads varied, anew in each epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuecast.config.augment import Augmentation
from valuecast.models.network import Tensors
from valuecast.models.reading import EventReading
from valuecast.sequences import augment

_SEEDS = 2**62


@dataclass(frozen=True)
class VariedReading:
    """Windows of events, varied.

    Attributes:
        reading: the windows as they are.
        settings: what is varied.
    """

    reading: EventReading
    settings: Augmentation

    def plan(self, size: int, draw: np.random.Generator | None = None) -> list[NDArray[np.int64]]:
        """Return, for each batch, the seed of what is drawn for it, and then numbers of windows.

        Batches hold the same windows in the same order as without variation. Without ``draw``, nothing is varied.
        """
        batches = self.reading.plan(size, draw)
        seeds = np.full(len(batches), -1) if draw is None else draw.integers(_SEEDS, size=len(batches))
        return [np.append(seed, item) for seed, item in zip(seeds, batches, strict=True)]

    def load(self, item: NDArray[np.int64]) -> Tensors:
        """Collect the windows and their rows, and vary them."""
        seed, chosen = int(item[0]), item[1:]
        if seed < 0:
            return self.reading.load(chosen)
        sequences, windows, rng = self.reading.sequences, self.reading.windows, np.random.default_rng(seed)
        found = augment.augmented(sequences, windows, chosen, settings=self.settings, rng=rng)
        return self.reading.tensors(found)


def varied(reading: EventReading, settings: Augmentation, *, frozen: bool) -> EventReading | VariedReading:
    """Vary what training reads.

    Args:
        reading: windows and rows that are learned from.
        settings: what is varied; if that is nothing, the reading is returned as it is.
        frozen: whether no weight of the network is trained, so that it reads every history once.

    Raises:
        ConfigError: an option can do nothing here.
    """
    settings.refuse("texts", why="histories are read as events here")
    if frozen:
        settings.refuse("events", why="the network is frozen and reads every history once")
    augment.check(settings, reading.sequences)
    return VariedReading(reading, settings) if settings.on("events") else reading
