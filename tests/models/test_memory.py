"""States that are kept: scores are those of a model that reads everything anew, and only what is new is read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.logs import shop
from tests.networks import FINETUNING, untrained
from valuecast import columns as c
from valuecast.config.learning import Fusion
from valuecast.errors import ConfigError, ModelError
from valuecast.events import engine
from valuecast.events.log import EventLog
from valuecast.models.column import Column
from valuecast.models.panel import Panel, Part
from valuecast.models.predictor import Predictor
from valuecast.models.reading import EventBody, EventHistories
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.fit import fit

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")

SPLIT = TimeSplit(every=30, rounds=1)
TASK = churn(days=20, active=200)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop()


def fitted(log: EventLog, trunk: str = "llama", *, seed: int = 0) -> Predictor:
    known = log.before(log.span.until - timedelta(days=60))
    base = untrained(known, trunk, before=SPLIT.choices(TASK, known)[-1].known, seed=seed)  # type: ignore[arg-type]
    return finetune(base, TASK, known, method="frozen", settings=FINETUNING, split=SPLIT)


@pytest.fixture(scope="module")
def predictor(log: EventLog) -> Predictor:
    return fitted(log)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of users whose histories were read."""
    found: list[int] = []
    histories = EventBody.histories

    def watched(body: EventBody, given: EventLog) -> EventHistories:
        found.append(given.count_users())
        return histories(body, given)

    monkeypatch.setattr(EventBody, "histories", watched)
    return found


def check(predictor: Predictor, log: EventLog, days: int, folder: Path) -> None:
    at = log.span.until - timedelta(days=days)
    expected, found = predictor.raw(log, at=at), predictor.raw(log, at=at, states=folder)
    assert_frame_equal(found, expected, abs_tol=1e-5)


@pytest.mark.parametrize("trunk", ["llama", "bert", "gru"])
def test_scores_are_the_same_as_time_passes(log: EventLog, trunk: str, tmp_path: Path) -> None:
    predictor = fitted(log, trunk)
    for days in (60, 59, 30, 0):
        check(predictor, log, days, tmp_path / "states")


def test_only_users_with_new_events_are_read(
    log: EventLog, predictor: Predictor, read: list[int], tmp_path: Path
) -> None:
    before, at = log.span.until - timedelta(days=40), log.span.until - timedelta(days=30)
    first = predictor.raw(log, at=before, states=tmp_path / "states")
    assert read.pop() == len(first)
    second = predictor.raw(log, at=at, states=tmp_path / "states")
    news = log.collect(log.between(before, at).events)[c.USER].unique()
    expected = {*second[c.USER]} - ({*first[c.USER]} - {*news})
    assert read == [len(expected)]
    assert 0 < len(expected) < len(second)
    predictor.raw(log, at=at, states=tmp_path / "states")
    assert len(read) == 1  # nothing was new


@pytest.mark.parametrize("change", ["later", "removed", "changed"])
def test_a_past_that_was_changed_is_noticed(
    log: EventLog, predictor: Predictor, change: str, read: list[int], tmp_path: Path
) -> None:
    at = log.span.until - timedelta(days=30)
    predictor.raw(log, at=at, states=tmp_path / "states")
    events = log.collect(log.events).drop(c.ID, c.BUCKET).sort(c.USER, c.TIME)
    busy = events.group_by(c.USER).len().filter(pl.col("len") > 9)[c.USER]
    user = predictor.raw(log, at=at).filter(pl.col(c.USER).is_in(busy.implode()))[c.USER][0]
    own = events.with_row_index().filter(pl.col(c.USER) == user)["index"]
    row = pl.int_range(pl.len()) == own[0]
    other = {
        "later": pl.concat([events, events.filter(row)]),
        "removed": events.filter(~row),
        "changed": events.with_columns(pl.when(row).then(1234.5).otherwise(c.AMOUNT).alias(c.AMOUNT)),
    }[change]
    changed = EventLog.from_frame(other, since=log.span.start, until=log.span.until)
    read.clear()
    check(predictor, changed, 30, tmp_path / "states")
    assert read[-1] == 1


def test_a_network_beside_features_keeps_states_too(log: EventLog, tmp_path: Path) -> None:
    known = log.before(log.span.until - timedelta(days=60))
    base = untrained(known, before=SPLIT.choices(TASK, known)[-1].known)
    fusion = Fusion(parts=("joint",), members=2, hidden=16, joint=FINETUNING)
    joint = finetune(base, TASK, known, method="joint", fusion=fusion, split=SPLIT)
    blended = {
        target: replace(head, model=Column(f"joint/{target}", "log_odds")) for target, head in joint.heads.items()
    }
    fused = replace(joint, inputs=Panel({"joint": Part.of(joint)}), heads=blended)
    for days in (60, 10):
        check(joint, log, days, tmp_path / "states")
        check(fused, log, days, tmp_path / "parts")
    assert (tmp_path / "parts" / "joint").is_dir()


def test_states_of_another_model_are_refused(log: EventLog, predictor: Predictor, tmp_path: Path) -> None:
    folder = tmp_path / "states"
    predictor.raw(log, at=log.span.until, states=folder)
    with pytest.raises(ModelError, match="the states of another model"):
        fitted(log, seed=1).raw(log, at=log.span.until, states=folder)
    shutil.rmtree(folder)
    predictor.save(folder)
    with pytest.raises(ModelError, match="this folder holds a predictor"):
        predictor.raw(log, at=log.span.until, states=folder)
    trees = fit("recency", TASK, log.before(log.span.until - timedelta(days=60)), split=SPLIT)
    with pytest.raises(ModelError, match="no network"):
        trees.predict(log, at=log.span.until, states=tmp_path / "other")


def test_states_that_have_no_room_are_refused_at_once(
    log: EventLog, predictor: Predictor, read: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "beside", lambda: 10_000)
    with pytest.raises(ConfigError, match=r"states of \d+ users want"):
        predictor.raw(log, at=log.span.until, states=tmp_path / "states")
    assert not read
    assert not (tmp_path / "states").exists()
