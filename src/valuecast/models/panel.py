"""Inputs that are the answers of other models: what each part of a blend says of every ``(user, at)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.models import inputs as inputs_module
from valuecast.models import registry
from valuecast.models.inputs import FeatureInputs, Inputs
from valuecast.models.model import Model
from valuecast.models.predictor import Predictor
from valuecast.tasks import Task

FOLDER: Final = "parts"


def column(part: str, target: str) -> str:
    """Name the column of a part's raw scores."""
    return f"{part}/{target}"


@dataclass(frozen=True, eq=False)
class Part:
    """One model for each target, and what all of them read."""

    inputs: Inputs
    models: Mapping[str, Model]

    @classmethod
    def of(cls, predictor: Predictor) -> Part:
        """Take what gives a predictor its raw scores."""
        return cls(predictor.inputs, {target: head.model for target, head in predictor.heads.items()})


@dataclass(frozen=True, eq=False)
class Panel:
    """The parts of a blend, by the name of the rung each of them is."""

    parts: Mapping[str, Part]

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Ask every part; features that several parts read are computed once."""
        ordered = keys.select(c.KEY).sort(c.AT, c.USER)
        columns = [pl.Series(name, raw) for name, raw in self._asked(log, ordered)]
        return ordered.with_columns(columns)

    def _asked(self, log: EventLog, keys: pl.DataFrame) -> Iterator[tuple[str, Any]]:
        known: dict[str, pl.DataFrame] = {}

        def features(inputs: FeatureInputs) -> pl.DataFrame:
            recipe = repr(inputs.to_dict())
            if recipe not in known:
                known[recipe] = inputs.table(log, keys)
            return known[recipe]

        for name, part in self.parts.items():
            inputs = part.inputs
            design = getattr(inputs, "design", None)
            if isinstance(inputs, FeatureInputs):
                table = features(inputs)
            elif design and design.features:
                table = inputs.given(log, keys, features(design.features))  # type: ignore[attr-defined]
            else:
                table = inputs.table(log, keys)
            for target, model in part.models.items():
                yield column(name, target), model.score(table)

    def to_dict(self) -> dict[str, Any]:
        """The recipe of every part's inputs; their models have folders of their own."""
        return {
            "kind": "panel",
            "parts": {
                name: {"inputs": part.inputs.to_dict(), "targets": list(part.models)}
                for name, part in self.parts.items()
            },
        }

    def save(self, folder: Path) -> None:
        """Write every part into a folder of its own."""
        for name, part in self.parts.items():
            own = folder / FOLDER / name
            own.mkdir(parents=True)
            part.inputs.save(own)
            for target, model in part.models.items():
                (own / target).mkdir()
                model.save(own / target)

    @classmethod
    def load(cls, found: Mapping[str, Any], folder: Path, *, task: Task) -> Panel:
        """Read back what ``to_dict`` and ``save`` wrote."""
        parts = {}
        for name, recipe in found["parts"].items():
            own = folder / FOLDER / name
            models = {target: registry.load(name, own / target) for target in recipe["targets"]}
            parts[name] = Part(inputs_module.from_dict(recipe["inputs"], task=task, folder=own), models)
        return cls(parts)
