"""An explanation of a log on Spark: the one that DuckDB gives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.engines import moved, session
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.explanation.explain import explain
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.fit import fit

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of PySpark
]


def test_the_same_is_said_as_on_duckdb(tmp_path: Path) -> None:
    session()
    log = simulate(Settings(users=150, days=300, seed=5)).log
    at = log.span.until - timedelta(days=30)
    predictor = fit("bgnbd", churn(days=30, active=120), log.before(at), split=TimeSplit(every=30, rounds=1))
    user = predictor.predict(log, at=at)["user"][0]
    one, other = (explain(predictor, each, user=user, at=at) for each in (log, moved(log, tmp_path)))
    assert str(other) == str(one)
