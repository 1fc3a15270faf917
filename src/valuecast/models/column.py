"""The model of one target where the inputs hold the answer already: a column of what a network says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from valuecast.language import Text
from valuecast.models.model import FloatArray, Scale
from valuecast.tasks import Task


@dataclass(frozen=True)
class Column:
    """One column of the inputs, as it is."""

    target: str
    scale: Scale

    def score(self, table: pl.DataFrame) -> FloatArray:
        """Return the column."""
        return table[self.target].to_numpy().astype(np.float64, copy=False)

    def save(self, folder: Path) -> None:
        """Write its name and scale."""
        (folder / "column.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True)
class Adapted:
    """A way to fine-tune a sequence model: a rung that `finetune` makes, not `fit`."""

    name: str
    label: Text

    def objection(self, task: Task) -> str | None:
        """A head exists for every kind of task."""
        return None

    def load(self, folder: Path) -> Column:
        """Read what ``Column.save`` wrote."""
        return Column(**json.loads((folder / "column.json").read_text(encoding="utf-8")))
