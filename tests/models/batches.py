"""Made-up batches of histories, for tests of what reads them."""

from __future__ import annotations

import numpy as np

from valuecast.sequences import clock
from valuecast.sequences.batch import Batch
from valuecast.sequences.encoding import Encoding, Number, Vocabulary

ENCODING = Encoding(
    grouped=False,
    vocabularies=(
        Vocabulary("event", ("purchase", "view")),
        Vocabulary("item", tuple(f"i{number}" for number in range(30))),
    ),
    numbers=(
        Number("amount", (0.0, 1.0, 5.0, 20.0)),
        Number("gap_days", (0.0, 1.0, 7.0, 30.0)),
        Number("lines", (1.0, 2.0)),
    ),
    clock=True,
    seasons=True,
    requires={},
)


def batch(
    lengths: tuple[int, ...] = (7, 4, 1),
    *,
    width: int | None = None,
    rows: int = 2,
    seed: int = 0,
    encoding: Encoding = ENCODING,
) -> Batch:
    """Windows of these lengths, padded to ``width``; rows ask at random places; an event has one to three codes."""
    random = np.random.default_rng(seed)
    width = width or max(lengths)
    size = (len(lengths), width)
    mask = np.arange(width) < np.array(lengths)[:, None]
    counts = np.where(mask, random.integers(1, 4, size), 0).ravel()
    offsets = np.cumsum(counts) - counts
    numbers = random.gamma(1.0, 10.0, (*size, len(encoding.numbers))).astype(np.float32)
    numbers[random.random(numbers.shape) < 0.2] = np.nan
    days = np.cumsum(random.exponential(10, size), axis=1)
    days = np.minimum(days - days[:, :1], np.where(mask, days - days[:, :1], 0).max(axis=1, keepdims=True))
    row_window = np.repeat(np.arange(len(lengths)), rows)
    row_position = np.concatenate([np.sort(random.integers(0, length, rows)) for length in lengths])
    return Batch(
        codes=random.integers(0, encoding.codes, counts.sum()),
        weights=np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32),
        offsets=offsets,
        numbers=numbers,
        calendar=random.uniform(-1, 1, (*size, clock.calendar_width(encoding))).astype(np.float32),
        days=days.astype(np.float32),
        mask=mask,
        row_window=row_window,
        row_position=row_position,
        clock=random.uniform(0, 5, (len(row_window), clock.width(encoding))).astype(np.float32),
        row=np.arange(len(row_window)),
        event=(event := np.where(mask, np.cumsum(mask.ravel()).reshape(size) - 1, -1)),
        texts=event,
        users=tuple(f"u{number}" for number in range(len(lengths))),
    )
