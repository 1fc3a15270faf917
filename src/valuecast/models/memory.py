"""States of users, kept: what a network made of a history holds until the user's next event.

A trunk over events knows nothing of the moment that is asked about: the clock and the heads add it. So when time has
passed, only users with new events are read again, and all others are scored from their states.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from valuecast import artifact
from valuecast import columns as c
from valuecast.errors import ModelError
from valuecast.events import engine
from valuecast.events.keys import asked
from valuecast.events.log import EventLog
from valuecast.models.inputs import Inputs
from valuecast.models.network import Network
from valuecast.models.reading import EventBody, EventHistories
from valuecast.sequences.clock import Past, clock
from valuecast.sequences.encoding import Encoding

if TYPE_CHECKING:
    from valuecast.models.finetuned import Answers

KIND: Final = "states"
USERS: Final = "users.parquet"
STATES: Final = "states.safetensors"
_SIGNS: Final = ("lines", "latest", "sign")
_DIGITS: Final = 4
COPIES: Final = 3
"""Of all states, that are held at once: those that are kept, with new ones put in their place, and what heads read."""


@dataclass(frozen=True, eq=False)
class Kept:
    """States of U users.

    Attributes:
        users: ``user``, and what tells their events from others: how many, the latest, and a sum over their ids.
        hidden: shape (U, hidden), float32.
        past: of the same users.
    """

    users: pl.DataFrame
    hidden: NDArray[np.float32]
    past: Past

    def of(self, rows: NDArray[np.int64]) -> Kept:
        """Return some of them."""
        past = Past(**{name: values[rows] for name, values in vars(self.past).items()})
        return Kept(self.users[rows], self.hidden[rows], past)

    def at(self, at: datetime, network: Network, encoding: Encoding) -> NDArray[np.float32]:
        """Return what heads read at a moment: the states, and the clock; shape (U, state_width)."""
        moments = np.full(len(self.users), np.datetime64(at, "us").astype(np.int64))
        times = torch.from_numpy(clock(encoding, moments, self.past))
        with torch.no_grad():
            told = network.clock.cpu()(times).numpy()
        return np.concatenate([self.hidden, told], axis=1)

    def and_those(self, others: Kept) -> Kept:
        """Return these and others."""
        past = Past(**{name: np.concatenate([own, vars(others.past)[name]]) for name, own in vars(self.past).items()})
        return Kept(pl.concat([self.users, others.users]), np.concatenate([self.hidden, others.hidden]), past)


class Memory:
    """The states that one network made: read from a folder, and written back, with those that are new, in the end.

    Attributes:
        folder: is made where it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept: Kept | None = None
        self._new: str | None = None  # of which network, once there are new ones

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._kept is not None and self._new is not None and kind is None:
            self._write(self._kept, self._new)

    def states(self, answers: Answers, log: EventLog, keys: pl.DataFrame) -> NDArray[np.float32]:
        """Return what heads read of each key; what has to be read of the log for it will be kept.

        Args:
            answers: whose network reads events.
            log: is asked.
            keys: of one moment.

        Returns:
            Shape (keys, state_width).

        Raises:
            ModelError: the folder holds states of another network, or something else.
        """
        network, body = answers.answerer.network, answers.design.body
        if not isinstance(network, Network) or not isinstance(body, EventBody):
            remedy = "Leave the states out, or ask a model of events."
            raise ModelError("a language model is told the time in words: its states do not last", remedy=remedy)
        (at,) = keys[c.AT].unique()
        kept = self._kept or self.read(answers)
        signs = _signs(log, keys, at)
        held = _places(signs, kept.users) if kept else np.full(len(signs), -1)
        missing = np.flatnonzero(held < 0)
        if len(missing):
            made = _made(answers, log, keys[missing], signs[missing])
            kept = _merged(kept, made) if kept else made
            self._new = _identity(answers)
            held = _places(signs, kept.users)
        assert kept is not None
        self._kept = kept
        return kept.of(held).at(at, network, body.encoding)

    def read(self, answers: Answers) -> Kept | None:
        """Return all states that are kept; None where there are none.

        Raises:
            ModelError: they are of another network, or the folder holds something else.
        """
        if not self.folder.exists():
            return None
        facts = artifact.load(self.folder, kind=KIND)
        if facts["network"] != _identity(answers):
            remedy = "Give another folder: states last until the model is fitted again."
            raise ModelError("these are the states of another model", where=str(self.folder), remedy=remedy)
        arrays = load_file(self.folder / STATES)
        return Kept(pl.read_parquet(self.folder / USERS), arrays.pop("hidden"), Past(**arrays))

    def _write(self, kept: Kept, network: str) -> None:
        def write(draft: Path) -> None:
            kept.users.write_parquet(draft / USERS)
            arrays = {"hidden": kept.hidden, **vars(kept.past)}
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, draft / STATES)

        artifact.save(self.folder, kind=KIND, facts={"network": network}, write=write)


def remembering(inputs: Inputs, folder: Path, stack: ExitStack, *, users: int) -> Inputs:
    """Return inputs whose networks keep their states in a folder; those of a panel, each in a folder of its own.

    Args:
        inputs: of a predictor.
        folder: for the states.
        stack: at its end they are written, unless something went wrong.
        users: how many will be asked about.

    Raises:
        ModelError: there is no network.
        ConfigError: the states of so many users do not fit in memory.
    """
    from valuecast.models.finetuned import Answers  # noqa: PLC0415 - it asks this file
    from valuecast.models.panel import Panel, Part  # noqa: PLC0415 - it builds on what asks this file

    if isinstance(inputs, Answers):
        engine.afford(
            COPIES * users * inputs.answerer.network.state_width * np.float32().nbytes,
            f"states of {users:,} users",
            where=str(folder),
            remedy="Score some users at a time, with a folder for each part",
        )
        return replace(inputs, memory=stack.enter_context(Memory(folder)))
    parts = inputs.parts if isinstance(inputs, Panel) else {}
    networks = {name: part for name, part in parts.items() if isinstance(part.inputs, Answers)}
    if networks:
        own = {
            name: Part(remembering(part.inputs, folder / name, stack, users=users), part.models)
            for name, part in networks.items()
        }
        return Panel({**parts, **own})
    raise ModelError("this model has no network, so that it keeps no states", remedy="Leave the states out.")


def _identity(answers: Answers) -> str:
    return hashlib.sha256(json.dumps(answers.to_dict(), sort_keys=True).encode()).hexdigest()


def _signs(log: EventLog, keys: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Return what the events of each key's user before ``at`` are told by, in the order of the keys.

    A row that was taken away, added or changed moves at least one of the three, but for one chance in 65,536.
    """
    events = asked(log, keys).before(at).events
    digits = (events[c.ID].substr(place, 1).ascii_str().cast("int64") * 256**place for place in range(_DIGITS))
    found = log.collect(
        events.group_by(c.USER).aggregate(
            lines=events.count(), latest=events[c.TIME].max(), sign=reduce(add, digits).sum().cast("int64")
        )
    )
    return keys.select(c.USER).join(found, on=c.USER, how="left", maintain_order="left")


def _places(signs: pl.DataFrame, users: pl.DataFrame) -> NDArray[np.int64]:
    """Return the place of each user among those that are kept, -1 where its events are no longer the same."""
    numbered = users.with_row_index("place")
    joined = signs.join(numbered, on=[c.USER, *_SIGNS], how="left", maintain_order="left")
    return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def _made(answers: Answers, log: EventLog, keys: pl.DataFrame, signs: pl.DataFrame) -> Kept:
    """Read the histories of some keys."""
    from valuecast.models import finetuned  # noqa: PLC0415 - it asks this file

    network = answers.answerer.network
    histories = cast(EventHistories, answers.design.body.histories(asked(log, keys)))
    hidden = np.empty((len(keys), network.hidden), dtype=np.float32)
    for numbers, states in finetuned.read(network, histories.reading(keys, share=False)):
        hidden[numbers] = states[:, : network.hidden].float().cpu().numpy()
    return Kept(signs, hidden, histories.past(keys))


def _merged(kept: Kept, made: Kept) -> Kept:
    """Put new states in the place of those of the same users."""
    others = np.flatnonzero(~kept.users[c.USER].is_in(made.users[c.USER].implode()).to_numpy())
    return kept.of(others).and_those(made)
