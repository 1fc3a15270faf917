from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args

import optuna
import pytest

from tests.models.batches import ENCODING
from valuecast.config.learning import Adaptation, Architecture, Finetuning, Optimisation, Trunk
from valuecast.errors import ConfigError, FitError
from valuecast.models.backbone import Backbone
from valuecast.models.network import Network
from valuecast.tasks import Task, churn, value
from valuecast.training.space import METHODS, Space, space_of

CHURN = churn(30)
EVERY: tuple[Adaptation, ...] = get_args(Adaptation)
OWN = {
    "full": {"layer_decay"},
    "last-n": {"layer_decay", "layers"},
    "lora": {"rank"},
    "adalora": {"rank"},
    "prefix": {"vectors"},
    "prompt": {"vectors"},
    "adapter": {"bottleneck"},
}


def backbone(trunk: Trunk = "llama") -> Backbone:
    architecture = Architecture(trunk, "tiny", 16)
    return Backbone(datetime(2020, 1, 1), architecture, ENCODING, Network(architecture, ENCODING))


def space(task: Task = CHURN, start: Finetuning = Finetuning(), methods: Any = EVERY) -> Space:
    return space_of(backbone(), task, start, methods=methods)


@pytest.mark.parametrize(
    "start",
    [
        Finetuning(),
        Finetuning(Optimisation(learning_rate=1, weight_decay=0, layer_decay=0.3, batch_events=3), rank=1, layers=9),
    ],
)
def test_a_trial_sets_what_its_method_has_around_where_it_starts(start: Finetuning) -> None:
    searched = space(start=start)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for method in EVERY:
        study.enqueue_trial(dict(searched.usual(method)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of a value outside its limits
        trials = [dict(searched.suggest(study.ask())) for _ in range(100)]
    for method, first in zip(EVERY, trials, strict=False):
        chosen, settings = searched.settings(first)
        assert chosen == method
        layers = min(start.layers, 2) if method == "last-n" else start.layers
        assert settings == replace(start, head="hazard", layers=layers)
    for values in trials:
        decays = {"weight_decay"} if start.optimisation.weight_decay else set()
        own = OWN.get(values["method"], set())
        assert set(values) == {"method", "head", "learning_rate", "batch_events"} | decays | own
        _, settings = searched.settings(values)
        assert 0.1 <= settings.optimisation.learning_rate / start.optimisation.learning_rate <= 10.001
        assert settings.optimisation.batch_events <= 4 * start.optimisation.batch_events
        assert "layers" not in values or settings.layers <= 2
        assert settings.optimisation.epochs == start.optimisation.epochs
    assert {values["head"] for values in trials} == {"hazard", "bernoulli"}


def test_heads_are_searched_where_both_are_possible() -> None:
    assert space(CHURN).heads == ("hazard", "bernoulli")
    assert space(CHURN, Finetuning(head="bernoulli")).heads == ("bernoulli",)
    assert space(value(30)).heads == ("auto",)


def test_a_method_that_the_trunk_objects_to_is_left_out_only_where_nobody_asked_for_it() -> None:
    usual = space_of(backbone("gru"), CHURN, Finetuning(), methods=None)
    assert usual.methods == tuple(method for method in METHODS if method != "prefix")
    with pytest.raises(FitError, match=r"method 'prefix'.*no attention.*another trunk"):
        space_of(backbone("gru"), CHURN, Finetuning(), methods=["full", "prefix"])


def test_methods_are_known_and_counted_once() -> None:
    assert space(methods=["lora", "lora"]).methods == ("lora",)
    with pytest.raises(ConfigError, match=r"no method 'loar'.*Did you mean 'lora'"):
        space(methods=["loar"])
    with pytest.raises(ConfigError, match="at least one"):
        space(methods=[])
