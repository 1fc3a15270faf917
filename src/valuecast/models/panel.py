"""Inputs that are the answers of other models: what each part of a blend says of every ``(user, at)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.features.catalogue import Feature
from valuecast.models import inputs as inputs_module
from valuecast.models import registry
from valuecast.models.inputs import FeatureInputs, Inputs, PurchaseInputs
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


class _Known:
    """Tables of inputs that several parts read, each made once."""

    def __init__(self, log: EventLog, keys: pl.DataFrame) -> None:
        self._log, self._keys = log, keys
        self._tables: dict[str, pl.DataFrame] = {}

    def of(self, inputs: Inputs) -> pl.DataFrame:
        """Return the inputs; two parts may read the same features, or the same purchases."""
        if not isinstance(inputs, FeatureInputs | PurchaseInputs):
            return inputs.table(self._log, self._keys)
        recipe = repr(inputs.to_dict())
        if recipe not in self._tables:
            self._tables[recipe] = inputs.table(self._log, self._keys)
        return self._tables[recipe]

    def beside(self, inputs: Inputs) -> pl.DataFrame | None:
        """The features that the heads of a network read; None where it reads none, or there is no network."""
        design = getattr(inputs, "design", None)
        return self.of(design.features) if design and design.features else None


def _scored(name: str, part: Part, table: pl.DataFrame) -> dict[str, Any]:
    return {column(name, target): pl.Series(model.score(table)) for target, model in part.models.items()}


@dataclass(frozen=True, eq=False)
class Panel:
    """The parts of a blend, by the name of the rung each of them is."""

    parts: Mapping[str, Part]

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Ask every part; features that several parts read are computed once."""
        ordered = keys.select(c.KEY).sort(c.AT, c.USER)
        known = _Known(log, ordered)
        columns: dict[str, Any] = {}
        for name, part in self.parts.items():
            features = known.beside(part.inputs)
            table = (
                known.of(part.inputs) if features is None else part.inputs.given(log, ordered, features)  # type: ignore[attr-defined]
            )
            columns |= _scored(name, part, table)
        return ordered.with_columns(**columns)

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """The material of every part, its columns under the part's name."""
        ordered = keys.select(c.KEY).sort(c.AT, c.USER)
        known = _Known(log, ordered)
        found = [ordered]
        for name, part in self.parts.items():
            features = known.beside(part.inputs)
            if isinstance(part.inputs, FeatureInputs):
                own = known.of(part.inputs)
            elif features is not None:
                own = part.inputs.told(log, ordered, features)  # type: ignore[attr-defined]
            else:
                own = part.inputs.material(log, ordered)
            own = own.drop(c.KEY)
            found.append(own.rename({each: column(name, each) for each in own.columns}))
        return pl.concat(found, how="horizontal")

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """Give every part its own columns, and ask it."""
        columns: dict[str, Any] = {}
        for name, part in self.parts.items():
            own = {column(name, each): each for each in part.inputs.drivers()}
            columns |= _scored(name, part, part.inputs.made(material.select(*c.KEY, *own).rename(own)))
        return material.select(c.KEY).with_columns(**columns)

    def drivers(self) -> Mapping[str, str]:
        """Those of every part."""
        return {
            column(name, each): code
            for name, part in self.parts.items()
            for each, code in part.inputs.drivers().items()
        }

    def engineered(self) -> Mapping[str, Feature]:
        """Those of every part."""
        found = ((name, part.inputs.engineered()) for name, part in self.parts.items())
        return {column(name, each): feature for name, own in found for each, feature in own.items()}

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
