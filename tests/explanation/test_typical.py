"""The base rate is the mean of a sample, and the references stand for it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.logs import START, shop
from valuecast import tasks
from valuecast.events.log import EventLog
from valuecast.explanation.typical import typical
from valuecast.models.predictor import Predictor
from valuecast.tasks.splits import TimeSplit
from valuecast.training.fit import fit

AT = START + timedelta(days=330)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop()


@pytest.fixture(scope="module")
def predictor(log: EventLog) -> Predictor:
    split = TimeSplit(every=20, validation=2, rounds=2)
    return fit("bgnbd", tasks.value([15, 30], active=90), log.before(AT), split=split)


def test_references_have_the_mean_of_the_sample(log: EventLog, predictor: Predictor) -> None:
    found = typical(predictor, log, AT, asked=100, references=8)
    everyone = predictor.predict(log, at=AT)
    assert found.eligible == everyone["user"].n_unique()
    assert len(found.sample) == 100
    for target in predictor.task.targets:
        scores = found.scores[target]
        assert found.base[target] == pytest.approx(scores.mean())
        assert found.weights[target] @ scores[list(found.rows)] == pytest.approx(found.base[target], rel=1e-9)
        assert found.weights[target].sum() == pytest.approx(1)
        assert (found.weights[target] > 0).all()
    longest = found.scores["value_30d"][list(found.rows)]
    assert (np.diff(longest) >= 0).all()


def test_all_are_asked_where_there_are_few(log: EventLog, predictor: Predictor) -> None:
    found = typical(predictor, log, AT, asked=10_000)
    everyone = predictor.predict(log, at=AT).filter(pl.col("target") == "value_30d")
    assert found.base["value_30d"] == pytest.approx(everyone["score"].mean())


def test_some_are_no_references_and_others_can_be_drawn(log: EventLog, predictor: Predictor) -> None:
    first = typical(predictor, log, AT, asked=100, references=8)
    without = typical(predictor, log, AT, asked=100, references=8, without=frozenset(first.references))
    assert not set(first.references) & set(without.references)
    again = first.again(3)
    assert again.rows != first.rows
    assert len(again.rows) == 8
    assert first.again(3).rows == again.rows
