"""A batch of histories, as arrays: what a network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """``B`` windows of at most ``L`` events each, padded at their ends, and ``R`` rows that ask about moments in them.

    Attributes:
        codes: every code of every event, one after the other; shape (C,), int64.
        weights: of each code in the mean of its column; shape (C,), float32.
        offsets: where the codes of each event begin; shape (B * L,), int64. Padding has none.
        numbers: numeric parts of each event, missing ones NaN; shape (B, L, K), float32.
        calendar: sine and cosine of the hour, weekday and season of each event; shape (B, L, S), float32.
        days: since the first event of the window; shape (B, L), float32. Padding repeats the last one.
        mask: whether there is an event; shape (B, L), bool.
        row_window: the window of each row; shape (R,), int64.
        row_position: the place in it of the last event before the row's moment; shape (R,), int64.
        clock: what the row's moment adds to the state (see ``valuecast.sequences.clock``); shape (R, K'), float32.
        row: the number of each row in the table of keys it came from; shape (R,), int64.
        event: the number of each event in the sequences, -1 for padding; shape (B, L), int64.
        texts: the number of the event whose texts are read, -1 where none are; shape (B, L), int64.
        users: the user of each window, for messages.
    """

    codes: IntArray
    weights: FloatArray
    offsets: IntArray
    numbers: FloatArray
    calendar: FloatArray
    days: FloatArray
    mask: NDArray[np.bool_]
    row_window: IntArray
    row_position: IntArray
    clock: FloatArray
    row: IntArray
    event: IntArray
    texts: IntArray
    users: tuple[str, ...]

    @property
    def events(self) -> int:
        """Number of events, without padding."""
        return int(self.mask.sum())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the users."""
        return {name: value for name, value in vars(self).items() if name != "users"}
