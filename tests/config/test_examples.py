"""What a recipe of labelled texts may say."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from valuecast.config.examples import Pseudo, Reading, Shares, Tuning, is_program, read_program
from valuecast.config.learning import Adaptation
from valuecast.errors import ConfigError

RECIPE = """
title = "Who leaves?"
[examples]
path = "churn.csv"
[examples.reading]
columns = ["age", "orders"]
[examples.reading.shares]
test = 0.2
[text]
model = "bert"
[tuning]
method = "lora"
rank = 4
[pseudo]
"""


def test_a_recipe_says_what_it_changes_and_the_rest_is_usual(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    found = read_program(tmp_path / "r.toml")
    assert found.title.zh == "Who leaves?"
    assert found.examples.reading == Reading(columns=("age", "orders"), shares=Shares(test=0.2))
    assert found.tuning == Tuning(method="lora", rank=4)
    assert found.pseudo == Pseudo()
    assert found.text.tokens == 128
    (tmp_path / "other.toml").write_text('title = "x"\n')
    assert not is_program(tmp_path / "other.toml")


@pytest.mark.parametrize("method", get_args(Adaptation))
def test_the_rate_is_gentle_where_the_models_own_weights_learn(method: Adaptation) -> None:
    tuning = Tuning(method=method)
    assert tuning.rate == {"full": 2e-5, "last-n": 2e-5, "scratch": 1e-4}.get(method, 1e-3)
    assert Tuning(method=method, learning_rate=0.5).finetuning.optimisation.learning_rate == 0.5
    assert tuning.finetuning.optimisation.epochs == 5
    assert tuning.finetuning.rank == tuning.rank


def test_values_without_a_meaning_are_refused() -> None:
    for wrong, where in (
        ({"batch": 0}, "batch"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"rank": 0}, "rank"),
    ):
        with pytest.raises(ConfigError) as caught:
            Tuning(**wrong)  # type: ignore[arg-type]
        assert caught.value.where == where
    for how, where in (({"kind": "number", "positive": "a"}, "positive"), ({"columns": ("a", "a")}, "columns")):
        with pytest.raises(ConfigError) as caught:
            Reading(**how)  # type: ignore[arg-type]
        assert caught.value.where == where
    for share in (0.0, 0.5):
        with pytest.raises(ConfigError):
            Shares(validation=share)
