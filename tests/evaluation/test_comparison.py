"""Comparisons: metrics averaged over moments, paired differences, coverage and slices."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from valuecast.evaluation.comparison import calibrations, compare, intervals, sliced
from valuecast.metrics.ranking import auc


def outcomes(*, noise: float, moments: int = 2, users: int = 300, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    own = np.random.default_rng(seed + int(noise * 100) + 1)
    rows = []
    for number in range(moments):
        hidden = draw.normal(size=users)
        truth = (hidden + draw.normal(size=users) > 0).astype(float)
        raw = hidden + noise * own.normal(size=users)
        rows.append(
            pl.DataFrame(
                {
                    "user": [f"u{i:03}" for i in range(users)],
                    "at": START + timedelta(days=30 * number),
                    "raw": raw,
                    "score": 1 / (1 + np.exp(-raw)),
                    "low": np.zeros(users),
                    "high": np.full(users, 0.5),
                    "truth": truth,
                }
            )
        )
    return pl.concat(rows).sort("at", "user")


def test_a_metric_over_moments_is_the_mean_of_each() -> None:
    frame = outcomes(noise=0.1)
    found = compare({"one": frame}, kind="binary", reference="one", replicates=20)
    parts = [auc(part["truth"].to_numpy(), part["raw"].to_numpy()) for _, part in frame.group_by("at")]
    row = found.filter(pl.col("metric") == "auc").row(0, named=True)
    assert row["value"] == pytest.approx(np.mean(parts))
    assert row["value_low"] < row["value"] < row["value_high"]
    assert row["difference"] == row["difference_low"] == row["difference_high"] == 0


def test_a_clear_difference_is_clear_and_paired() -> None:
    rungs = {"good": outcomes(noise=0.1), "poor": outcomes(noise=3.0)}
    found = compare(rungs, kind="binary", reference="poor", replicates=200)
    row = found.filter(pl.col("metric") == "auc", pl.col("rung") == "good").row(0, named=True)
    assert row["difference_low"] > 0
    assert row["difference"] == pytest.approx(
        row["value"] - found.filter(pl.col("metric") == "auc", pl.col("rung") == "poor")["value"][0]
    )


def test_other_users_are_not_compared() -> None:
    frame = outcomes(noise=0.1)
    with pytest.raises(AssertionError, match="other users"):
        compare({"one": frame, "two": frame.head(100)}, kind="binary", reference="one")


def test_coverage_lists_the_worst_moment_first() -> None:
    frame = outcomes(noise=0.1)
    worse = frame.with_columns(pl.when(pl.col("at") > START).then(2.0).otherwise(0.2).alias("truth"))
    found = intervals({"one": worse})
    assert found["coverage"].to_list() == [0.0, 1.0]
    assert found["width"].to_list() == [0.5, 0.5]
    means = frame.group_by("at").agg(pl.mean("score"))
    late = means.filter(pl.col("at") > START)["score"][0]
    assert found["total_bias"][0] == pytest.approx(late / 2.0 - 1)


def test_probabilities_list_the_worst_moment_first() -> None:
    frame = outcomes(noise=0.1)
    late = pl.col("at") > START
    too_high = frame.with_columns(pl.when(late).then(0.9).otherwise(pl.col("truth").mean().over("at")).alias("score"))
    found = calibrations({"one": too_high})
    rate = frame.filter(late)["truth"].mean()
    assert found["at"][0] > found["at"][1]
    assert found["users"].to_list() == [300, 300]
    assert found["calibration_error"].to_list() == pytest.approx([0.9 - rate, 0.0])  # type: ignore[operator]
    assert found["bias"].to_list() == pytest.approx([0.9 - rate, 0.0])  # type: ignore[operator]


def test_slices_are_the_metrics_of_their_users() -> None:
    frame = outcomes(noise=0.1)
    values = frame.select(
        "user", "at", value=pl.when(pl.col("user") < "u100").then(pl.lit("few")).otherwise(pl.lit("many"))
    )
    found = sliced({"one": frame}, {"field": values}, kind="binary")
    assert dict(zip(found["value"], found["users"], strict=True)) == {"many": 200, "few": 100}
    part = frame.filter(pl.col("user") < "u100")
    expected = auc(part["truth"].to_numpy(), part["raw"].to_numpy())
    assert found.filter(pl.col("value") == "few")["auc"][0] == pytest.approx(expected)
