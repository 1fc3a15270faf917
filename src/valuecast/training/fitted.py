"""What fitting leaves beside the predictor: what models of earlier rounds said of rows that they had not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from valuecast.models.predictor import Predictor
from valuecast.training.calibrate import Judged, Scored


@dataclass(frozen=True)
class Fitted:
    """A predictor, and what a fusion needs to know of it.

    Attributes:
        predictor: what was fitted.
        judged: of each target, what the model of each round says, the latest round first.
        every: of each target, what the last model says of all rows that it learned from.
        seconds: that fitting took.
    """

    predictor: Predictor
    judged: Mapping[str, Sequence[Judged]]
    every: Mapping[str, Scored]
    seconds: float
