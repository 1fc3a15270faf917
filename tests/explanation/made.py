"""A small shop and predictors of it, fitted once for all tests of a module."""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from tests.logs import START, shop
from valuecast import tasks
from valuecast.events.log import EventLog
from valuecast.models.predictor import Predictor
from valuecast.tasks.splits import TimeSplit
from valuecast.training.fit import fit

AT = START + timedelta(days=330)


@cache
def log() -> EventLog:
    return shop()


@cache
def predictor(name: str = "bgnbd", task: str = "churn") -> Predictor:
    asked = tasks.churn(30, active=90) if task == "churn" else tasks.value([15, 30], active=90)
    return fit(name, asked, log().before(AT), split=TimeSplit(every=20, validation=2, rounds=2))
