"""The recipes on real logs reach what is known to be reachable on them. Slow: minutes each."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from valuecast import pipeline
from valuecast.config.recipe import read_recipe
from valuecast.events.log import EventLog
from valuecast.tasks import parse
from valuecast.tasks.labels import eligible

RECIPES = Path(__file__).parents[1] / "recipes"


def metrics(folder: Path) -> dict[tuple[str, str, str], float]:
    table = pl.read_csv(folder / "metrics.csv")
    rows = table.select("target", "rung", "metric", "value").rows()
    return {(target, rung, metric): value for target, rung, metric, value in rows}


@pytest.mark.slow
@pytest.mark.shared_data
def test_online_retail(shared_data: Path, tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "online_retail.toml")
    recipe = replace(recipe, data=replace(recipe.data, path=str(shared_data / "online_retail")))
    pipeline.run(recipe, out=tmp_path, base=RECIPES, command="test", say=print, predict=False)
    log = EventLog.read(tmp_path / "log")
    (at,) = recipe.origins
    for text in recipe.tasks:
        assert len(eligible(parse(text), log.before(at), [log.before(at).span.until])) == 2_818
    found = metrics(tmp_path)
    assert found["churn_90d", "lightgbm", "auc"] >= 0.772
    assert found["value_90d", "lightgbm", "gini"] >= 0.795
    assert found["value_90d", "paretonbd", "gini"] >= 0.80
    best = pl.read_csv(tmp_path / "metrics.csv").filter(pl.col("target") == "value_90d")["reference"][0]
    assert abs(found["value_90d", best, "total_bias"]) <= 0.15


@pytest.mark.slow
def test_cdnow(tmp_path: Path) -> None:
    if find_spec("lifetimes") is None:
        pytest.skip("CDNOW is not installed: pip install --no-deps lifetimes==0.11.3")
    recipe = read_recipe(RECIPES / "cdnow.toml")
    pipeline.run(recipe, out=tmp_path, base=RECIPES, command="test", say=print)
    found = metrics(tmp_path)
    best = pl.read_csv(tmp_path / "metrics.csv").filter(pl.col("target") == "value_273d")["reference"][0]
    assert found["value_273d", best, "gini"] >= 0.71
