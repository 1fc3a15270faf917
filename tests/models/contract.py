"""What holds of every predictor, whatever made it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from valuecast import columns as c
from valuecast.errors import LogError, ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.explanation.explain import explain
from valuecast.explanation.reasons import predict as reasons_of
from valuecast.language import LANGUAGES
from valuecast.models.drivers import DRIVERS
from valuecast.models.predictor import Predictor
from valuecast.report.terminal import to_text

COLUMNS = ["user", "at", "target", "score", "low", "high", "tier"]


def like(log: EventLog, frame: pl.DataFrame, *, until: datetime | None = None) -> EventLog:
    """A log of other events with the span and the users of ``log``."""
    assert log.users is not None
    users = log.collect(log.users.table)
    return EventLog.from_frame(frame, since=log.span.start, until=until or log.span.until, users=users)


def events_of(log: EventLog) -> pl.DataFrame:
    """Events as ``EventLog.from_frame`` takes them."""
    return log.collect(log.events).drop("id", "bucket")


def check_table(predictor: Predictor, log: EventLog, *, at: datetime) -> None:
    """Scores are a table with one row for each user and target."""
    task = predictor.task
    scores = predictor.predict(log, at=at)
    assert scores.columns == COLUMNS
    assert not scores.select("user", "at", "target").is_duplicated().any()
    assert set(scores["target"]) == set(task.targets)
    assert scores["at"].unique().to_list() == [at]
    numbers = scores.select("score", "low", "high").to_numpy()
    assert np.isfinite(numbers).all()
    assert (scores["low"] <= scores["score"]).all()
    assert (scores["score"] <= scores["high"]).all()
    assert set(scores["tier"]) <= {"low", "medium", "high"}
    for (_,), part in scores.group_by("target"):
        bounds = part.group_by("tier").agg(pl.col("score").min().alias("least"), pl.col("score").max().alias("most"))
        by_tier = {row["tier"]: row for row in bounds.iter_rows(named=True)}
        present = [by_tier[tier] for tier in ("low", "medium", "high") if tier in by_tier]
        assert all(one["most"] <= other["least"] for one, other in pairwise(present))
    if task.kind == "binary":
        assert numbers.min() >= 0
        assert numbers.max() <= 1


def check_saved(predictor: Predictor, log: EventLog, *, at: datetime, folder: Path) -> None:
    """A saved predictor gives the same scores, and reading it runs no code."""
    predictor.save(folder)
    read = Predictor.load(folder)
    assert read.predict(log, at=at).equals(predictor.predict(log, at=at))
    assert (read.task, read.before, read.split) == (predictor.task, predictor.before, predictor.split)
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".pt", ".bin")]


def check_blind(predictor: Predictor, log: EventLog, *, at: datetime) -> None:
    """Scores are the same, byte for byte, without what is at or after ``at``, and with nonsense in its place."""
    events = events_of(log)
    past, future = events.filter(pl.col("time") < at), events.filter(pl.col("time") >= at)
    nonsense = future.with_columns(pl.col("amount") * -7, pl.lit("c1").alias("user"), pl.lit("return").alias("event"))
    scores = predictor.predict(log, at=at)
    for frame in (past, pl.concat([past, nonsense])):
        assert predictor.predict(like(log, frame), at=at).equals(scores)


def check_training_blind(fit: Callable[[EventLog], Predictor], log: EventLog, *, before: datetime) -> None:
    """A cut log and one that never held more give the same predictor."""
    truncated = like(log, events_of(log).filter(pl.col("time") < before), until=before)
    one, other = (fit(known).predict(truncated, at=before) for known in (log.before(before), truncated))
    assert one.equals(other)


def check_refusals(predictor: Predictor, log: EventLog, *, before: datetime) -> None:
    """It says nothing of what it has seen, or of what the log does not know."""
    with pytest.raises(ModelError, match="has seen the answer"):
        predictor.predict(log, at=before - timedelta(microseconds=1))
    with pytest.raises(LogError, match="known only until"):
        predictor.predict(log, at=log.span.until + timedelta(days=1))


def check_some(predictor: Predictor, log: EventLog, *, at: datetime, within: float = 0.0) -> None:
    """Some users get what they get among all; a network rounds otherwise in other company."""
    every = predictor.predict(log, at=at)
    some = every["user"].unique().sort()[:3].to_list()
    asked = predictor.predict(log, at=at, users=some)
    assert_frame_equal(asked, every.filter(pl.col("user").is_in(some)), rel_tol=within, abs_tol=0)
    with pytest.raises(TaskError, match="none of the 2 users asked about is eligible"):
        predictor.predict(log, at=at, users=["nobody", "no one"])


def check_schema(predictor: Predictor, log: EventLog, *, at: datetime) -> None:
    """A log without a column that was there at fitting is refused."""
    with pytest.raises(ModelError, match="channel"):
        predictor.predict(like(log, events_of(log).drop("channel")), at=at)


def check_material(predictor: Predictor, log: EventLog, *, at: datetime) -> None:
    """What inputs are made of makes them, and each column belongs to a driver."""
    known, users = log.before(at), predictor.predict(log, at=at)[c.USER].unique().sort().head(20)
    keys = pl.DataFrame({c.USER: users}).with_columns(pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT))
    material = predictor.inputs.material(known, keys)
    assert {name for name in material.columns if name not in c.KEY} == set(predictor.inputs.drivers())
    assert set(predictor.inputs.drivers().values()) <= set(DRIVERS)
    assert set(predictor.inputs.engineered()) <= set(predictor.inputs.drivers())
    assert_frame_equal(
        predictor.inputs.made(material), predictor.inputs.table(known, keys), check_column_order=False, abs_tol=1e-5
    )


def check_explained(predictor: Predictor, log: EventLog, *, at: datetime) -> None:
    """An explanation adds up to the score, reads no future, and can be read in both languages."""
    scores = predictor.predict(log, at=at).filter(pl.col(c.TARGET) == list(predictor.task.targets)[-1])
    user = str(scores.sort(c.SCORE, c.USER)[c.USER][len(scores) // 3])
    found = explain(predictor, log, user=user, at=at)
    score = float(scores.filter(pl.col(c.USER) == user)[c.SCORE][0])
    assert float(found.score["score"]) == pytest.approx(score, rel=1e-4)  # type: ignore[arg-type]
    size = max(abs(score), abs(found.base), 1e-9)
    assert found.base + found.drivers["effect"].sum() == pytest.approx(score, abs=1e-4 * size)
    assert found.base + found.timeline.values[found.target].sum() == pytest.approx(score, abs=1e-4 * size)
    change = found.counterfactual
    if change is not None and change.change is not None:
        sign = 1 if change.direction == "higher" else -1
        assert sign * change.then >= sign * change.threshold
    past = like(log, events_of(log).filter(pl.col("time") < at))
    again = explain(predictor, past, user=user, at=at)
    assert again.drivers.equals(found.drivers)
    assert again.counterfactual == change
    for language in LANGUAGES:
        assert user in to_text(found.report(), language=language)
    reasons = reasons_of(predictor, log, at=at, reasons=2)
    whole = predictor.predict(log, at=at).sort(c.TARGET, c.AT, c.USER)
    assert_frame_equal(reasons.select(COLUMNS), whole, rel_tol=1e-4, abs_tol=1e-5)
    assert set(reasons["reason_1"].str.slice(0, reasons["reason_1"].str.len_chars() - 1)) <= set(DRIVERS)
    assert (reasons["reason_1_effect"].abs() >= reasons["reason_2_effect"].abs()).all()
