"""Histories, varied for training: cropped, masked, jittered, reordered.

All of it is blind to the future: what a row's window becomes up to the row's last event is drawn event by event, in the
order of events, and the same whatever follows. Labels and rows are never touched. The clock of a row is not either:
it says how long ago, truly, the last event was when the time of the label began, and a label that was counted from one
moment would be wrong for another. So gaps before the last event vary, and the silence after it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError
from valuecast.sequences.batch import Batch, IntArray
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.reading import DAY, GAP
from valuecast.sequences.sequences import Sequences
from valuecast.sequences.windows import Windows, batch, ranges

_Draw = Callable[[tuple[int, ...]], NDArray[np.float64]]
_LEAST = 2  # events that a window without rows keeps: one to look back from, one to foresee


def check(settings: Augmentation, sequences: Sequences) -> None:
    """Refuse options that can do nothing to these histories.

    Raises:
        ConfigError: one is in use.
    """
    time = sequences.time
    same = time[1:] == time[:-1]
    same[sequences.starts[1:-1] - 1] = False  # of two users
    if settings.reorder and not same.any():
        what = "no two events of a user are at the same moment, so none can change places"
        raise ConfigError(what, where="reorder", remedy="Leave reorder out.")
    if settings.jitter and not {c.AMOUNT, GAP} & set(_names(sequences.encoding)):
        what = "neither the amount nor the gap between events varies in this log"
        raise ConfigError(what, where="jitter", remedy="Leave jitter out.")


def augmented(
    sequences: Sequences, windows: Windows, chosen: IntArray, *, settings: Augmentation, rng: np.random.Generator
) -> Batch:
    """Read the ``chosen`` windows as ``windows.batch`` does, varied.

    Each option draws from a stream of its own: using one does not change what another does.

    Args:
        sequences: the histories.
        windows: of them.
        chosen: numbers of windows.
        settings: what is varied; where that is nothing, the result is that of ``windows.batch``.
        rng: of this batch in this epoch; it decides everything.
    """
    if not settings.on("events"):
        return batch(sequences, windows, chosen)
    crop, mask, jitter, reorder = rng.spawn(4)
    part = part_of(windows, chosen)
    if settings.crop:
        part = cropped(sequences, part, settings.crop, crop)
    found = batch(sequences, part, np.arange(len(part)))
    if settings.mask:
        found = masked(sequences.encoding, found, settings.mask, mask)
    if settings.jitter:
        found = jittered(sequences, part, found, spread=settings.jitter, rng=jitter)
    if settings.reorder:
        found = reordered(sequences, found, settings.reorder, reorder)
    return found


def part_of(windows: Windows, chosen: IntArray) -> Windows:
    """Return some windows, in this order, with their rows."""
    first = np.searchsorted(windows.row_of, chosen)
    number = np.searchsorted(windows.row_of, chosen, side="right") - first
    row_of = np.repeat(np.arange(len(chosen)), number)
    rows = windows.rows[ranges(first, number)]
    return Windows(windows.user[chosen], windows.start[chosen], windows.end[chosen], row_of, rows)


def cropped(sequences: Sequences, windows: Windows, chance: float, rng: np.random.Generator) -> Windows:
    """Drop the earliest events of some windows, as if they had begun later.

    The last event before the first row of a window stays, and so do the last two events of a window without rows.

    Args:
        sequences: the histories.
        windows: of them.
        chance: that a window is cropped; then any number of events that may go is as likely as any other, none too.
        rng: what it is drawn from.
    """
    most = np.maximum(windows.end - windows.start - _LEAST, 0)
    last = sequences.starts[windows.rows.user] + windows.rows.count - 1 - windows.start[windows.row_of]
    most[windows.row_of] = np.iinfo(most.dtype).max
    np.minimum.at(most, windows.row_of, last)
    whether, share = rng.random((len(windows), 2)).T
    dropped = np.where(whether < chance, (share * (most + 1)).astype(np.int64), 0)
    return replace(windows, start=windows.start + np.minimum(dropped, most))


def masked(encoding: Encoding, found: Batch, share: float, rng: np.random.Generator) -> Batch:
    """Hide what some events were, but not when.

    Args:
        encoding: of the batch.
        found: a batch.
        share: of events that are hidden.
        rng: what it is drawn from.
    """
    hidden = found.mask & (_in_order(rng.random, found) < share)
    column = encoding.columns_of_codes()
    unknown = np.searchsorted(column, column)  # of each code: the first code of its column
    coded = np.repeat(hidden.ravel(), _sizes(found))
    names = _names(encoding)
    content = [place for place, name in enumerate(names) if name != GAP]
    numbers = found.numbers.copy()
    numbers[..., content] = np.where(hidden[..., None], np.float32(np.nan), numbers[..., content])
    codes, texts = np.where(coded, unknown[found.codes], found.codes), np.where(hidden, -1, found.texts)
    return replace(found, codes=codes, numbers=numbers, texts=texts)


def jittered(sequences: Sequences, windows: Windows, found: Batch, *, spread: float, rng: np.random.Generator) -> Batch:
    """Multiply amounts and gaps by random factors around one.

    A gap in which a row asks varies only beyond the row's moment: the time from the event before it to that moment
    is the row's clock, and stays. The hour, weekday and season of events stay too: they are no matter of gaps.

    Args:
        sequences: the histories.
        windows: those of the batch, and no others.
        found: the batch.
        spread: standard deviation of the logarithm of the factors, whose mean is one.
        rng: what it is drawn from.
    """
    factor = np.exp(spread * _in_order(rng.standard_normal, found, 2) - spread**2 / 2)
    time = _times(sequences, found)
    gap = np.diff(time, axis=1, prepend=time[:, :1])
    silence = np.zeros_like(gap)
    window, place = found.row_window, found.row_position
    inner = place + 1 < found.mask.shape[1]
    passed = (windows.rows.at - time[window, place])[inner]
    np.maximum.at(silence, (window[inner], place[inner] + 1), passed)
    silence = np.minimum(silence, gap)  # a row may ask long after the last event; padding has no gap
    gap = (silence + (gap - silence) * factor[..., 0]) / DAY
    numbers, names = found.numbers.copy(), _names(sequences.encoding)
    if c.AMOUNT in names:
        numbers[..., names.index(c.AMOUNT)] *= factor[..., 1]
    if GAP in names:
        column = numbers[..., names.index(GAP)]
        column[:, 0] *= factor[:, 0, 0]  # what came before the window
        column[:, 1:] = np.where(np.isnan(column), np.nan, gap)[:, 1:]
    return replace(found, numbers=numbers, days=np.cumsum(gap, axis=1).astype(np.float32))


def reordered(sequences: Sequences, found: Batch, chance: float, rng: np.random.Generator) -> Batch:
    """Let events at one moment change places. Every row sees either all or none of them, so none loses one.

    Args:
        sequences: the histories.
        found: a batch.
        chance: that those of one moment are shuffled.
        rng: what it is drawn from.
    """
    time = _times(sequences, found)
    tied = found.mask & (np.diff(time, axis=1, prepend=time[:, :1] - 1) == 0)
    if not tied.any():
        return found
    windows, length = tied.shape
    whether, key = np.moveaxis(_in_order(rng.random, found, 2), -1, 0)
    place = np.broadcast_to(np.arange(length), tied.shape)
    first = np.maximum.accumulate(np.where(tied, 0, place), axis=1)
    shuffled = np.take_along_axis(whether, first, axis=1) < chance
    within = np.where(shuffled, key, (place - first) / length)
    order = np.argsort(first + within, axis=1, kind="stable")
    source = (order + length * np.arange(windows)[:, None]).ravel()
    size = _sizes(found)[source]
    codes = ranges(found.offsets[source], size)
    numbers = found.numbers.reshape(len(source), -1)[source].reshape(found.numbers.shape)
    names = _names(sequences.encoding)
    if GAP in names:  # the gap is that of the place: nothing passes between events at one moment
        numbers[..., names.index(GAP)] = found.numbers[..., names.index(GAP)]
    return replace(
        found,
        codes=found.codes[codes],
        weights=found.weights[codes],
        offsets=np.cumsum(size) - size,
        numbers=numbers,
        event=found.event.ravel()[source].reshape(found.event.shape),
        texts=found.texts.ravel()[source].reshape(found.texts.shape),
    )


def _names(encoding: Encoding) -> list[str]:
    return [number.name for number in encoding.numbers]


def _sizes(found: Batch) -> IntArray:
    """Return how many codes each event has."""
    return np.diff(found.offsets, append=len(found.codes))


def _times(sequences: Sequences, found: Batch) -> IntArray:
    """Return the time of each event; padding has that of the last one."""
    last = found.mask.sum(axis=1)[:, None] - 1
    place = np.minimum(np.arange(found.mask.shape[1]), last)
    time: IntArray = sequences.time[np.take_along_axis(found.event, place, axis=1)]
    return time


def _in_order(draw: _Draw, found: Batch, *more: int) -> NDArray[np.float64]:
    """Draw for every event, the first of each window first: what is drawn for one depends on none after it."""
    windows, length = found.mask.shape
    return np.swapaxes(draw((length, windows, *more)), 0, 1)
