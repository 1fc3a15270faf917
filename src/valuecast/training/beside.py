"""Engineered features that enter the heads of a joint network, beside the state of the trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from valuecast import columns as c
from valuecast.config.learning import Fusion
from valuecast.events.log import EventLog
from valuecast.features.compute import learn
from valuecast.models.finetuned import matrix
from valuecast.models.inputs import FeatureInputs
from valuecast.tasks.splits import Round
from valuecast.training.stages import TaskRows
from valuecast.training.tables import Tables


@dataclass(frozen=True)
class Beside:
    """Features that enter the heads of a joint network.

    Attributes:
        how: what the network is like.
        inputs: what is computed.
        rows: of each task, the features of its labelled rows.
    """

    how: Fusion
    inputs: FeatureInputs
    rows: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(
        cls, how: Fusion, parts: Sequence[TaskRows], log: EventLog, rounds: Sequence[Round], *, tables: Tables
    ) -> Beside:
        """Learn what to compute from what training cutoffs know, and compute it."""
        inputs = FeatureInputs(learn(log.before(rounds[0].known)))
        found = []
        for part in parts:
            known = log.before(part.labelled[c.AT].max())  # type: ignore[arg-type]
            found.append(matrix(tables.inputs(inputs, known, part.labelled)))
        return cls(how, inputs, tuple(found))

    def among(self, rows: Sequence[pl.Series]) -> NDArray[np.float32]:
        """The features of some rows of each task, those of one after those of the other."""
        return np.concatenate([own[kept.to_numpy()] for own, kept in zip(self.rows, rows, strict=True)])
