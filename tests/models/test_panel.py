"""Panels: every part is asked as if it were alone, and what they have in common is computed once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.commands import quick_trees
from tests.logs import START, shop
from tests.networks import FINETUNING, untrained
from valuecast.config.learning import Fusion
from valuecast.events.log import EventLog
from valuecast.models.inputs import FeatureInputs
from valuecast.models.panel import Panel, Part, column
from valuecast.models.predictor import Predictor
from valuecast.tasks import value
from valuecast.tasks.labels import eligible
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.fit import fit
from valuecast.training.tables import Tables

BEFORE = START + timedelta(days=210)
TASK, SPLIT = value([15, 30], active=90), TimeSplit(every=60, validation=1, rounds=1)
pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(60, 260)


@pytest.fixture(scope="module")
def predictors(log: EventLog) -> dict[str, Predictor]:
    known, tables = log.before(BEFORE), Tables()
    base = untrained(log, before=START + timedelta(days=100))
    how: dict[str, Any] = {"split": SPLIT, "tables": tables}
    with quick_trees():
        found = {name: fit(name, TASK, known, **how) for name in ("mean_rate", "lightgbm")}
    fusion = Fusion(members=2, joint=FINETUNING)
    found["joint"] = finetune(base, TASK, known, method="joint", fusion=fusion, **how)
    found["frozen"] = finetune(base, TASK, known, method="frozen", settings=FINETUNING, **how)
    return found


@pytest.fixture(scope="module")
def panel(predictors: dict[str, Predictor]) -> Panel:
    return Panel({name: Part.of(each) for name, each in predictors.items()})


@pytest.fixture(scope="module")
def keys(log: EventLog) -> pl.DataFrame:
    """Everybody at two moments, in no order."""
    return (
        eligible(TASK, log, [BEFORE, BEFORE + timedelta(days=10)])
        .select("user", "at")
        .sample(fraction=1.0, shuffle=True, seed=1)
    )


def test_it_says_what_its_parts_say(
    panel: Panel, predictors: dict[str, Predictor], log: EventLog, keys: pl.DataFrame
) -> None:
    found = panel.table(log, keys)
    assert_frame_equal(found.select("user", "at"), keys.sort("at", "user"))
    assert set(found.columns) == {
        "user",
        "at",
        *(column(name, target) for name in predictors for target in TASK.targets),
    }
    for name, predictor in predictors.items():
        own = predictor.raw(log, at=BEFORE)
        for target in TASK.targets:
            wanted = own.filter(pl.col("target") == target).sort("user")
            said = found.filter(pl.col("at") == BEFORE).join(wanted, on=("user", "at"), maintain_order="left")
            assert said[column(name, target)].to_list() == pytest.approx(said["raw"].to_list(), rel=1e-4)


def test_features_are_computed_once(
    panel: Panel, log: EventLog, keys: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, asked = FeatureInputs.table, []

    def counted(inputs: FeatureInputs, *rest: Any) -> pl.DataFrame:
        asked.append(inputs)
        return compute(inputs, *rest)

    monkeypatch.setattr(FeatureInputs, "table", counted)
    panel.table(log, keys)
    assert len(asked) == 1  # trees and the joint network read the same


def test_some_keys_get_the_rows_they_get_among_all(panel: Panel, log: EventLog, keys: pl.DataFrame) -> None:
    every = panel.table(log, keys)
    some = keys.head(7)
    wanted = every.join(some, on=("user", "at"), how="semi", maintain_order="left")
    assert_frame_equal(panel.table(log, some), wanted, rel_tol=1e-4)


def test_it_is_saved(panel: Panel, log: EventLog, keys: pl.DataFrame, tmp_path: Path) -> None:
    panel.save(tmp_path)
    read = Panel.load(panel.to_dict(), tmp_path, task=TASK)
    assert read.table(log, keys).equals(panel.table(log, keys))
    assert read.to_dict() == panel.to_dict()
