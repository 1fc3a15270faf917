"""Scores from the executors of Spark: those that DuckDB gives in this process."""

from __future__ import annotations

from datetime import timedelta

import pytest
from polars.testing import assert_frame_equal

from tests.engines import moved, session
from tests.networks import FINETUNING, untrained
from valuecast import columns as c
from valuecast.errors import ModelError, TaskError
from valuecast.events import spark
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.models import executors
from valuecast.models.predictor import Predictor
from valuecast.tasks import churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.fit import fit

pytestmark = [
    pytest.mark.spark,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of PySpark
]

SPLIT = TimeSplit(every=30, rounds=1)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[EventLog, EventLog]:
    session()
    log = simulate(Settings(users=200, days=300, seed=5)).log
    return log, moved(log, tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def trees(logs: tuple[EventLog, EventLog]) -> Predictor:
    log = logs[0]
    return fit(
        "lightgbm", value(days=[15, 30], active=90), log.before(log.span.until - timedelta(days=30)), split=SPLIT
    )


def test_trees_on_features(logs: tuple[EventLog, EventLog], trees: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "EVENTS_AT_ONCE", 3_000)
    one, other = (trees.raw(log, at=log.span.until) for log in logs)
    assert_frame_equal(other, one, check_exact=True)
    some = one["user"].unique().sort().to_list()[:3]
    assert_frame_equal(
        trees.predict(logs[1], at=logs[1].span.until, users=some),
        trees.predict(logs[0], at=logs[0].span.until, users=some),
        check_exact=True,
    )


def test_networks(logs: tuple[EventLog, EventLog]) -> None:
    log, task = logs[0], churn(days=30)
    known = log.before(log.span.until - timedelta(days=30))
    base = untrained(log, before=SPLIT.choices(task, known)[-1].known)
    predictor = finetune(base, task, known, method="frozen", settings=FINETUNING, split=SPLIT)
    one, other = (predictor.raw(each, at=each.span.until) for each in logs)
    assert_frame_equal(other, one, abs_tol=1e-5)


def test_scores_can_stay_on_spark(logs: tuple[EventLog, EventLog], trees: Predictor) -> None:
    at = logs[0].span.until
    found = spark.collect(trees.predict_on_spark(logs[1], at=at)).sort(c.USER, c.TARGET)
    assert_frame_equal(found, trees.predict(logs[1], at=at).sort(c.USER, c.TARGET), check_exact=True)
    none = trees.predict_on_spark(logs[1], at=at, users=["nobody"])
    assert (none.columns, none.count()) == (found.columns, 0)
    with pytest.raises(ModelError, match="the log is not on Spark"):
        trees.predict_on_spark(logs[0], at=at)


def test_the_future_is_not_read(logs: tuple[EventLog, EventLog], trees: Predictor) -> None:
    at = logs[0].span.until - timedelta(days=10)
    assert_frame_equal(trees.raw(logs[1], at=at), trees.raw(logs[1].before(at), at=at), check_exact=True)


def test_what_cannot_be_answered_is_refused_in_words(logs: tuple[EventLog, EventLog], trees: Predictor) -> None:
    log = logs[1]
    with pytest.raises(ModelError, match="has seen the answer"):
        trees.predict(log, at=log.span.start + timedelta(days=60))
    with pytest.raises(ModelError, match="keep no states"):
        trees.predict(log, at=log.span.until, states="states")
    with pytest.raises(TaskError, match="none of the 1 users asked about is eligible"):
        trees.predict(log, at=log.span.until, users=["nobody"])
    bare = EventLog.on_spark(
        session().createDataFrame([("a", log.span.start)], "user string, time timestamp"), until=log.span.until
    )
    with pytest.raises(ModelError, match="the log has no column"):
        trees.predict(bare, at=bare.span.until)
