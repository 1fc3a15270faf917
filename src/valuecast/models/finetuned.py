"""A network with a head for each task, and what it says of every ``(user, at)``."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from valuecast import columns as c
from valuecast.config.learning import Adaptation, Finetuning
from valuecast.config.toml import build as build_settings
from valuecast.errors import ModelError
from valuecast.events.keys import asked
from valuecast.events.log import EventLog
from valuecast.features.catalogue import Feature, FeatureSet
from valuecast.models import adapters, drivers, heads
from valuecast.models.head_spec import HeadSpec
from valuecast.models.heads import HIDDEN, Head
from valuecast.models.inputs import FeatureInputs
from valuecast.models.memory import Memory
from valuecast.models.network import StateNetwork
from valuecast.models.reading import Body, Given, Histories, Reading, Watch, body_of
from valuecast.models.standing import Standing

WEIGHTS: Final = "weights.safetensors"
BATCH_EVENTS: Final = 16_384
"""Events in a batch where nothing is learned, padding included."""

_CLOCK: Final = {
    "silence": drivers.SILENCE,
    "tenure": drivers.TENURE,
    "count": drivers.FREQUENCY,
    "season": drivers.SEASON,
}


@dataclass(frozen=True)
class Design:
    """What a fine-tuned network is made of: with its weights, all there is to know of it.

    Attributes:
        body: what the network is and reads.
        method: how it was fine-tuned, which says what stands in it beside the network.
        settings: of the method.
        heads: what each task's head is, by the name of the task.
        dropout: of the heads, in training.
        hidden: width of their towers.
        members: how many of them there are for each task.
        features: what heads read beside the state: engineered features of the same log; None: nothing.
    """

    body: Body
    method: Adaptation
    settings: Finetuning
    heads: Mapping[str, HeadSpec]
    dropout: float
    hidden: int = HIDDEN
    members: int = 1
    features: FeatureInputs | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return {
            **self.body.to_dict(),
            "method": self.method,
            "settings": asdict(self.settings),
            "heads": {task: spec.to_dict() for task, spec in self.heads.items()},
            "dropout": self.dropout,
            "hidden": self.hidden,
            "members": self.members,
            "features": self.features and self.features.features.to_dict(),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], folder: Path) -> Design:
        """Read back what ``to_dict`` wrote, and ``Body.save`` beside it."""
        return cls(
            body=body_of(found, folder),
            method=found["method"],
            settings=build_settings(Finetuning, found["settings"], where="manifest"),
            heads={task: HeadSpec.from_dict(spec) for task, spec in found["heads"].items()},
            dropout=found["dropout"],
            hidden=found["hidden"],
            members=found["members"],
            features=FeatureInputs(FeatureSet.from_dict(found["features"])) if found["features"] else None,
        )


class Answerer(nn.Module):
    """A network and a head for each task, which may read features beside the network's state."""

    def __init__(
        self,
        network: StateNetwork,
        specs: Mapping[str, HeadSpec],
        *,
        dropout: float,
        hidden: int = HIDDEN,
        members: int = 1,
        standing: Standing | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.standing = standing
        self.tasks = tuple(specs)
        width = network.state_width + (standing.width if standing else 0)
        # By number: a ModuleDict takes no task named as one of its methods, such as "items".
        self.heads = nn.ModuleList(
            heads.build(spec, width, dropout=dropout, hidden=hidden, members=members) for spec in specs.values()
        )

    def head(self, task: str) -> Head:
        """Return the head of a task."""
        return cast(Head, self.heads[self.tasks.index(task)])

    def forward(self, given: Given | Tensor, beside: Tensor | None) -> Tensor:
        """Return what heads read of each row.

        Args:
            given: histories, or states that the network said of them; shape (R, state_width).
            beside: the features of each row, shape (R, K), NaN where one is missing; None where heads read none.
        """
        state: Tensor = given if isinstance(given, Tensor) else self.network.at(self.network(given), given)
        if self.standing is None:
            return state
        assert beside is not None
        return torch.cat([state, self.standing(beside)], dim=1)

    def raw(self, read: Tensor) -> dict[str, Tensor]:
        """Return the raw score of each target, each of shape (R,)."""
        return {
            target: column
            for head in map(self.head, self.tasks)
            for target, column in zip(head.spec.targets, head.raw(head(read)).unbind(dim=1), strict=True)
        }


def place() -> torch.device:
    """Return where networks are reckoned: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def read(
    network: StateNetwork, reading: Reading, watch: Watch | None = None
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield, batch by batch, the numbers of rows and what heads read of them, in evaluation mode."""
    device = place()
    network, plan = network.to(device).eval(), reading.plan(BATCH_EVENTS)
    for number, item in enumerate(plan):
        if watch:
            watch(number, len(plan))
        batch = reading.load(item)
        given = batch.to(device)
        yield batch.row.numpy(), network.at(network(given), given)


def keys_at(users: pl.Series, at: datetime) -> pl.DataFrame:
    """Return keys ``user, at`` of users at one moment."""
    return pl.DataFrame({c.USER: users}).with_columns(pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT))


def embedded(network: StateNetwork, histories: Histories, keys: pl.DataFrame) -> pl.DataFrame:
    """Return the state that the history of each key ``user, at`` leaves, as ``Backbone.embed`` does."""
    found = np.empty((len(keys), network.hidden), dtype=np.float32)
    for numbers, states in read(network, histories.reading(keys, share=False)):
        found[numbers] = states[:, : network.hidden].float().cpu().numpy()
    return keys.with_columns(pl.Series(f"e{i}", found[:, i]) for i in range(network.hidden))


@torch.no_grad()
def answers(
    answerer: Answerer,
    histories: Histories,
    keys: pl.DataFrame,
    *,
    share: bool = False,
    beside: NDArray[np.float32] | None = None,
    watch: Watch | None = None,
) -> pl.DataFrame:
    """Return ``user, at`` of ``keys`` as they are, and the raw score of each target, Float64.

    Args:
        answerer: the network and its heads.
        histories: of the log that is asked about.
        keys: what is asked.
        share: see ``Histories.reading``.
        beside: the features of each key, where heads read them; shape (keys, K).
        watch: is told before each batch how many are done, and how many there are.
    """
    answerer.to(place()).eval()
    found: dict[str, NDArray[np.float64]] = {}
    for numbers, states in read(answerer.network, histories.reading(keys, share=share), watch):
        own = None if beside is None else torch.from_numpy(beside[numbers]).to(states.device)
        for target, values in answerer.raw(answerer(states, own)).items():
            found.setdefault(target, np.full(len(keys), np.nan))[numbers] = values.double().cpu().numpy()
    return keys.select(c.KEY).with_columns(pl.Series(target, values) for target, values in found.items())


@dataclass(frozen=True, eq=False)
class Answers:
    """Inputs that are answers already: the raw score of each target by a network."""

    design: Design
    answerer: Answerer
    memory: Memory | None = None
    """Where states are kept; not saved with the model."""

    def table(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """Run the network on every user's latest events before ``at``."""
        features = self.design.features
        return self.given(log, keys, features.table(log, keys) if features else None)

    def given(self, log: EventLog, keys: pl.DataFrame, features: pl.DataFrame | None) -> pl.DataFrame:
        """Return ``table`` where the features are there already, as ``FeatureInputs.table`` made them."""
        ordered = keys.select(c.KEY).sort(c.AT, c.USER)
        beside = None if features is None else matrix(features)
        if self.memory is not None:
            return self.of_states(ordered, self.memory.states(self, log, ordered), beside)
        return answers(self.answerer, self.design.body.histories(asked(log, ordered)), ordered, beside=beside)

    def material(self, log: EventLog, keys: pl.DataFrame) -> pl.DataFrame:
        """What the network says of each history, the clock, and the features that heads read beside them."""
        features = self.design.features
        return self.told(log, keys, features.table(log, keys) if features else None)

    def told(self, log: EventLog, keys: pl.DataFrame, features: pl.DataFrame | None) -> pl.DataFrame:
        """Return ``material`` where the features are there already, as ``FeatureInputs.table`` made them."""
        ordered = keys.select(c.KEY).sort(c.AT, c.USER)
        histories = self.design.body.histories(asked(log, ordered))
        found = np.empty((len(ordered), self.answerer.network.state_width))
        for numbers, states in read(self.answerer.network, histories.reading(ordered, share=False)):
            found[numbers] = states.double().cpu().numpy()
        said = pl.DataFrame(found, schema=list(self._states))
        return pl.concat([ordered, said, *([features.drop(c.KEY)] if features is not None else [])], how="horizontal")

    def made(self, material: pl.DataFrame) -> pl.DataFrame:
        """Ask the heads; equal to ``table`` but for the last bits, which depend on what is in one batch."""
        parts = []
        for part in material.iter_slices(BATCH_EVENTS):
            states = part.select(self._states.keys()).cast(pl.Float32).to_numpy()
            beside = None
            if self.design.features:
                names = (each.name for each in self.design.features.features.features)
                beside = matrix(part.select(c.USER, c.AT, *names))
            parts.append(self.of_states(part.select(c.KEY), states, beside))
        return pl.concat(parts)

    @torch.no_grad()
    def of_states(
        self, keys: pl.DataFrame, states: NDArray[np.float32], beside: NDArray[np.float32] | None
    ) -> pl.DataFrame:
        """Return ``user, at`` of ``keys`` and the raw scores that heads make of states.

        Args:
            keys: whose states they are.
            states: shape (keys, state_width).
            beside: the features of each key, where heads read them; shape (keys, K).
        """
        answerer = self.answerer.to(place()).eval()
        found: dict[str, NDArray[np.float64]] = {}
        for first in range(0, len(keys), BATCH_EVENTS):
            part = slice(first, first + BATCH_EVENTS)
            own = torch.from_numpy(np.ascontiguousarray(states[part])).to(place())
            features = None if beside is None else torch.from_numpy(np.ascontiguousarray(beside[part])).to(place())
            for target, values in answerer.raw(answerer(own, features)).items():
                found.setdefault(target, np.empty(len(keys)))[part] = values.double().cpu().numpy()
        return keys.with_columns(pl.Series(target, values) for target, values in found.items())

    def drivers(self) -> Mapping[str, str]:
        """The state is of the order of events; the clock says what it says."""
        features = self.design.features
        return {**self._states, **(features.drivers() if features else {})}

    def engineered(self) -> Mapping[str, Feature]:
        """Those that heads read beside the state."""
        return self.design.features.engineered() if self.design.features else {}

    @cached_property
    def _states(self) -> dict[str, str]:
        """What heads read of a network, column by column, and the driver of each."""
        network = self.answerer.network
        said = getattr(network, "clock", None)  # texts tell the time in words
        clock = said.names if said is not None else ()
        names = [f"state_{i}" for i in range(network.state_width - len(clock))] + [
            f"clock_{i}" for i in range(len(clock))
        ]
        codes = [drivers.ORDER] * (network.state_width - len(clock)) + [_CLOCK[name] for name in clock]
        return dict(zip(names, codes, strict=True))

    @torch.no_grad()
    def survival(self, log: EventLog, keys: pl.DataFrame, days: Sequence[float]) -> NDArray[np.float64]:
        """Return the chance that nothing happens in the first so many days; shape (keys, days), as the keys are.

        Raises:
            ModelError: the head is no hazard, or a number of days is beyond what it has seen.
        """
        hazard = self.hazard
        reading = self.design.body.histories(log).reading(keys, share=False)
        features = self.design.features
        beside = keys.join(features.table(log, keys), on=list(c.KEY), maintain_order="left") if features else None
        network = self.answerer.to(place()).eval().network
        found = np.empty((len(keys), len(days)))
        for numbers, states in read(network, reading):
            own = None if beside is None else torch.from_numpy(matrix(beside)[numbers]).to(states.device)
            known = self.answerer(states, own)
            found[numbers] = hazard.survival(hazard(known), days).double().cpu().numpy()
        return found

    @property
    def hazard(self) -> heads.Hazard:
        """The head, where it knows when something happens.

        Raises:
            ModelError: it only knows whether.
        """
        (head,) = map(self.answerer.head, self.answerer.tasks)
        if not isinstance(head, heads.Hazard):
            raise ModelError(
                f"its head is '{type(head).__name__.lower()}', which does not say when",
                where="survival",
                remedy="Fine-tune a task of whether something happens, such as churn, with the head 'auto' and with a "
                "method that trains one head, such as `--method frozen`.",
            )
        return head

    def to_dict(self) -> dict[str, Any]:
        """The design and a digest of the weights: equal ones give equal tables."""
        return {"kind": "network", **self.design.to_dict(), "weights": self._digest}

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(_tensors(self.answerer).items()):
            digest.update(name.encode() + value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the weights, those of the network and of what the method put into it alike."""
        self.design.body.save(folder)
        save_file(_tensors(self.answerer), folder / WEIGHTS)

    @classmethod
    def load(cls, found: Mapping[str, Any], folder: Path) -> Answers:
        """Read back what ``to_dict`` and ``save`` wrote."""
        design = Design.from_dict(found, folder)
        network = design.body.network()
        adapters.apply(network, design.method, design.settings)
        standing = Standing(len(design.features.features.features)) if design.features else None
        answerer = Answerer(
            network,
            design.heads,
            dropout=design.dropout,
            hidden=design.hidden,
            members=design.members,
            standing=standing,
        )
        state = load_file(folder / WEIGHTS)
        answerer.load_state_dict({**answerer.state_dict(), **state})
        if missing := _tensors(answerer).keys() - state.keys():
            raise KeyError(f"{WEIGHTS} lacks {', '.join(sorted(missing))}")
        return cls(design, answerer.eval())


def matrix(features: pl.DataFrame) -> NDArray[np.float32]:
    """Return the features of each row as heads read them; shape (R, K), NaN where one is missing."""
    found: NDArray[np.float32] = features.drop(c.KEY).fill_null(math.nan).cast(pl.Float32).to_numpy()
    return found


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The weights; what else a state holds, such as a count of steps, is of training alone."""
    return {name: value.contiguous() for name, value in module.state_dict().items() if isinstance(value, Tensor)}
