"""What a search may set, and between which limits: around the settings it starts from, and only what a method has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, cast

import optuna

from valuecast.config.learning import Adaptation, Finetuning, HeadKind, Optimisation
from valuecast.errors import ConfigError, FitError, suggest
from valuecast.models import adapters
from valuecast.models.backbone import Backbone
from valuecast.models.registry import ADAPTATIONS
from valuecast.tasks import Task

METHODS: Final[tuple[Adaptation, ...]] = ("full", "lora", "frozen", "last-n", "adapter", "prefix")
"""What is searched where nothing else is asked for, but for methods that do not go with the trunk."""

_TIMES: Final = {"learning_rate": 10, "weight_decay": 10, "batch_events": 4, "rank": 4, "vectors": 4, "bottleneck": 4}
"""Each of these may be so many times less or more than in the settings that a search starts from."""

_WHOLE: Final = frozenset({"batch_events", "rank", "vectors", "bottleneck"})
_STEEPEST: Final = 0.5
"""The least decay of the learning rate from layer to layer."""

_ALWAYS: Final = ("learning_rate", "weight_decay", "batch_events")
_OWN: Final[Mapping[Adaptation, tuple[str, ...]]] = {
    "full": ("layer_decay",),
    "last-n": ("layer_decay", "layers"),
    "lora": ("rank",),
    "adalora": ("rank",),
    "prefix": ("vectors",),
    "prompt": ("vectors",),
    "adapter": ("bottleneck",),
}
_LOOP: Final = frozenset(each.name for each in fields(Optimisation))

Values = Mapping[str, Any]
"""What a trial sets, by name."""


@dataclass(frozen=True)
class Space:
    """What may be set.

    Attributes:
        methods: ways to fine-tune.
        heads: kinds of head that the task may have.
        start: settings to start from; what is not searched stays as it is there.
        blocks: of the trunk.
    """

    methods: tuple[Adaptation, ...]
    heads: tuple[HeadKind, ...]
    start: Finetuning
    blocks: int

    def usual(self, method: Adaptation) -> Values:
        """Return the values that a search starts from, those of other methods among them."""
        start = self.start
        loop = {name: getattr(start.optimisation, name) for name in (*_ALWAYS, "layer_decay")}
        own = {name: getattr(start, name) for name in ("rank", "vectors", "bottleneck")}
        return {"method": method, "head": self.heads[0], **loop, **own, "layers": min(start.layers, self.blocks)}

    def suggest(self, trial: optuna.Trial) -> Values:
        """Let a trial choose all that its method has."""
        method = cast(Adaptation, trial.suggest_categorical("method", self.methods))
        trial.suggest_categorical("head", self.heads)
        usual = self.usual(method)
        for name in (*_ALWAYS, *_OWN.get(method, ())):
            self._number(trial, name, usual[name])
        return trial.params

    def settings(self, values: Values) -> tuple[Adaptation, Finetuning]:
        """Return the method and the settings that the values of a trial make."""
        loop = {name: value for name, value in values.items() if name in _LOOP}
        rest = {name: value for name, value in values.items() if name not in _LOOP and name != "method"}
        return values["method"], replace(self.start, optimisation=replace(self.start.optimisation, **loop), **rest)

    def _number(self, trial: optuna.Trial, name: str, usual: float) -> None:
        if name == "layer_decay":
            trial.suggest_float(name, min(_STEEPEST, usual), max(1.0, usual))
        elif name == "layers":
            trial.suggest_int(name, 1, self.blocks)
        elif name in _WHOLE:
            least, most = int(usual) // _TIMES[name], int(usual) * _TIMES[name]
            trial.suggest_int(name, max(1, least), most, log=True)
        elif usual > 0:  # a weight decay of zero is left alone
            trial.suggest_float(name, usual / _TIMES[name], usual * _TIMES[name], log=True)


def space_of(base: Backbone, task: Task, settings: Finetuning, *, methods: Sequence[Adaptation] | None) -> Space:
    """Return what may be set for a backbone and a task.

    Args:
        base: of which the trunk matters.
        task: a question whether something happens may have a hazard or a Bernoulli head, unless ``settings`` say which.
        settings: to start from.
        methods: those to search; None: ``METHODS``, as far as they go with the trunk.

    Raises:
        ConfigError: a method does not exist, or there are none.
        FitError: a method that was asked for does not go with the trunk.
    """
    objections = {method: adapters.objection(method, base.network.trunk.family) for method in _known(methods)}
    if methods is not None:
        for method, objection in objections.items():
            if objection is not None:
                raise FitError(objection, where=f"method '{method}'", remedy="Leave it out, or take another trunk.")
    chosen = tuple(method for method, objection in objections.items() if objection is None)
    both = settings.head == "auto" and task.waiting is not None
    heads: tuple[HeadKind, ...] = ("hazard", "bernoulli") if both else (settings.head,)
    return Space(chosen, heads, settings, blocks=len(base.network.trunk.blocks))


def _known(methods: Sequence[Adaptation] | None) -> Sequence[Adaptation]:
    if methods is None:
        return METHODS
    if not methods:
        raise ConfigError("there are none", where="methods", remedy="Give at least one, or leave the option out.")
    for method in methods:
        if method not in ADAPTATIONS:
            raise ConfigError(f"no method '{method}'", where="method", remedy=suggest(method, ADAPTATIONS))
    return methods
