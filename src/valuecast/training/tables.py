"""Labels and inputs of one log, made once and shared by every method that is fitted to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.models.inputs import Inputs
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.sequences import Sequences, encode
from valuecast.tasks import Task
from valuecast.tasks.labels import labels, waits
from valuecast.tasks.splits import Split


@dataclass(frozen=True)
class Tables:
    """A memory of tables. One ladder uses one of them; what it holds is never changed."""

    _known: dict[Any, Any] = field(default_factory=dict)

    def labelled(self, task: Task, log: EventLog, split: Split) -> pl.DataFrame:
        """``user, at`` and targets of every training example; users whom the split holds out are absent."""
        key = ("labels", log.fingerprint, task, split)
        if key not in self._known:
            every = labels(task, log, split.cutoffs(task, log))
            held = [split.holds(user) for user in every[c.USER]]
            self._known[key] = every.filter(~pl.Series(held, dtype=pl.Boolean))
        found: pl.DataFrame = self._known[key]
        return found

    def waits(self, task: Task, log: EventLog, split: Split) -> pl.DataFrame:
        """How long each training example waits for the first event that counts; rows as those of ``labelled``."""
        key = ("waits", log.fingerprint, task, split)
        if key not in self._known:
            every = waits(task, log, split.cutoffs(task, log))
            keys = self.labelled(task, log, split).select(c.KEY)
            self._known[key] = keys.join(every, on=list(c.KEY), how="inner", maintain_order="left")
        found: pl.DataFrame = self._known[key]
        if len(found) != len(self.labelled(task, log, split)):
            raise AssertionError("rows of waits and rows of labels differ")
        return found

    def sequences(self, encoding: Encoding, log: EventLog, *, folder: Path | None = None) -> Sequences:
        """The histories of all users; in ``folder`` they need not fit in memory."""
        key = ("sequences", log.fingerprint, json.dumps(encoding.to_dict(), sort_keys=True))
        if key not in self._known:
            self._known[key] = encode(encoding, log, folder=folder)
        found: Sequences = self._known[key]
        return found

    def inputs(self, inputs: Inputs, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """The inputs of ``keys``, row for row."""
        recipe = json.dumps(inputs.to_dict(), sort_keys=True)
        key = ("inputs", log.fingerprint, recipe, keys.select(c.KEY).hash_rows().sum())
        if key not in self._known:
            self._known[key] = inputs.table(log, keys.select(c.KEY))
        found: pl.DataFrame = self._known[key]
        if not found.select(c.KEY).equals(keys.select(c.KEY)):
            raise AssertionError("rows of inputs and rows of labels differ")
        return found
