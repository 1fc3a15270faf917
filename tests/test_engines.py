"""DuckDB and Spark: one definition of labels, features and sequences gives the same on both, value by value."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from polars.testing import assert_frame_equal

import valuecast as vc
from tests.commands import quick_trees
from tests.engines import CODEGEN, moved, session, tables
from tests.logs import cutoffs, frames, log_of
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import SOURCES, simulate, write
from valuecast.events.source import Mapping
from valuecast.features import compute, rfm
from valuecast.sequences import learning, sequences, textify
from valuecast.sequences.common import learn_common
from valuecast.tasks import Task, churn, parse, purchase, value
from valuecast.tasks import labels as cut

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of PySpark
]

ROOT = Path(__file__).parents[1]
SHOP = Settings(users=150, days=300, campaigns=1, seed=3)
ARRAYS = ("starts", "time", "numbers", "edges", "codes", "weights")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    write(SHOP, folder / "shop")
    ingest(Mapping.read(folder / "shop" / SOURCES), folder / "log")
    return folder / "log"


@pytest.fixture(scope="module")
def both(simulated: Path) -> tuple[EventLog, EventLog]:
    """The simulator's log on DuckDB and on Spark."""
    session()
    return EventLog.read(simulated), EventLog.read(simulated, engine="spark")


def tasks() -> list[Task]:
    """Every built-in task, with all that it can be asked."""
    return [
        churn(days=30),
        churn(days=[30, 60], active=90),
        purchase(days=30, where="items.category = 'coffee' or amount > 20 and not order is null"),
        value(days=[30, 60], active=120),
        value(days=30, net=True),
        parse("count(distinct item) of purchase, return over next 30 days"),
    ]


def check_labels(one: EventLog, other: EventLog, task: Task, moments: list[Any]) -> None:
    expected = cut.labels(task, one, moments)
    assert_frame_equal(cut.labels(task, other, moments), expected, check_exact=True)
    keys = expected.select("user", "at")
    assert_frame_equal(cut.history(task, other, keys), cut.history(task, one, keys), check_exact=True)
    if task.waiting is not None:
        assert_frame_equal(cut.waits(task, other, moments), cut.waits(task, one, moments), check_exact=True)


def check_features(one: EventLog, other: EventLog, keys: pl.DataFrame) -> None:
    spec = compute.learn(one)
    assert compute.learn(other) == spec
    assert_frame_equal(compute.compute(spec, other, keys), compute.compute(spec, one, keys), check_exact=True)
    assert_frame_equal(rfm.summary(other, keys), rfm.summary(one, keys), check_exact=True)
    assert_frame_equal(rfm.first_seen(other, keys), rfm.first_seen(one, keys), check_exact=True)


def check_sequences(one: EventLog, other: EventLog) -> None:
    for encoding, found in (
        (learning.learn(one), learning.learn(other)),
        (learn_common([one])[0], learn_common([other])[0]),
    ):
        assert found == encoding
        left, right = (sequences.encode(encoding, log) for log in (one, other))
        assert left.users.equals(right.users)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), strict=True)


def check_phrases(one: EventLog, other: EventLog, keys: pl.DataFrame) -> None:
    left, right = (textify.phrases(log, keys, language="zh") for log in (one, other))
    assert left.distinct.to_list() == right.distinct.to_list()
    np.testing.assert_array_equal(left.starts, right.starts)
    np.testing.assert_array_equal(left.codes, right.codes)


@pytest.mark.parametrize("task", tasks(), ids=str)
def test_labels_of_every_task_are_equal(both: tuple[EventLog, EventLog], task: Task) -> None:
    until = both[0].span.until
    check_labels(*both, task, [until - timedelta(days=days) for days in (100, 75, 61)])


def test_features_are_equal(both: tuple[EventLog, EventLog]) -> None:
    until = both[0].span.until
    check_features(*both, cut.eligible(churn(days=30), both[0], [until - timedelta(days=90), until]))


def test_a_sample_has_the_same_users(both: tuple[EventLog, EventLog]) -> None:
    users = [set(log.collect(some.events.select("user"))["user"]) for log in both for some in [log.sample(0.37)]]
    assert users[0] == users[1]


def test_sequences_and_their_words_are_equal(both: tuple[EventLog, EventLog]) -> None:
    check_sequences(*both)
    check_phrases(*both, cut.eligible(churn(days=30), both[0], [both[0].span.until]))


@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(frames, cutoffs)
def test_random_logs_give_the_same(frame: pl.DataFrame, moments: list[Any]) -> None:
    session()
    one = log_of(frame)
    with TemporaryDirectory() as place:
        other = moved(one, Path(place))
        assert other.schema == one.schema
        keys = pl.DataFrame({"user": ["u0", "u1", "nobody"]}).join(
            pl.DataFrame({"at": moments}, schema={"at": pl.Datetime("us")}), how="cross"
        )
        check_features(one, other, keys)
        check_sequences(one, other)
        check_phrases(one, other, keys)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_code_of_the_readme_runs(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / readme).read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[-1]
    spark, log = session(), simulate(replace(SHOP, since="2023-09-05", campaigns=0)).log
    for name, table in tables(log, tmp_path).items():
        table.createOrReplaceTempView(name)
    assert "lake.shop." in code
    known: dict[str, Any] = {"spark": spark, "vc": vc}
    with quick_trees():
        exec(code.replace("lake.shop.", ""), known)
    assert len(known["scores"]) > 50
    assert known["scores_there"].count() == len(known["scores"])
    assert vc.Predictor.load("models/churn").task == known["model"].task


@pytest.mark.slow
def test_online_retail_is_the_same(shared_data: Path, tmp_path: Path) -> None:
    session().conf.set(CODEGEN, "true")  # as it is wherever nobody says otherwise
    ingest(datasets.mapping("online_retail", path=shared_data / "online_retail"), tmp_path / "log")
    both = EventLog.read(tmp_path / "log"), EventLog.read(tmp_path / "log", engine="spark")
    task = churn(days=90, active=180)
    moments = [both[0].span.until - timedelta(days=days) for days in (180, 90)]
    check_labels(*both, task, moments)
    check_labels(*both, value(days=90, active=180), moments)
    check_features(*both, cut.eligible(task, both[0], moments))
    check_sequences(*both)
    check_phrases(*both, cut.eligible(task, both[0], moments[-1:]))
