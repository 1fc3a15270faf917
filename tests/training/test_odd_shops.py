"""Shops unlike any other: each works, or says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from tests.networks import FINETUNING, pretraining, untrained
from valuecast.config.learning import Finetuning, Optimisation
from valuecast.errors import FitError, ValuecastError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.tasks import churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune_together
from valuecast.training.pretrain import pretrain

DAYS = 200
BEFORE = START + timedelta(days=180)
SPLIT = TimeSplit(every=20, validation=1, rounds=1)
TASKS = (churn([10, 20]), value([10, 20]))

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


def log_of(user: Any, day: Any, **columns: Any) -> EventLog:
    """Events of users at days, purchases unless told otherwise."""
    time = pl.Series(np.round(np.asarray(day) * 86_400e6).astype(np.int64)).cast(pl.Duration("us"))
    given = {"event": "purchase", "amount": 5.0, **columns}
    frame = pl.DataFrame({"user": user, "day": time}).select(
        "user",
        (pl.lit(START) + pl.col("day")).alias("time"),
        *(
            pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name)
            for name, value in given.items()
        ),
    )
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS))


def works(log: EventLog, base: Backbone | None = None) -> Backbone:
    """Pre-train, fine-tune for whether and how much, and score everyone."""
    known = log.before(BEFORE)
    base = base or pretrain(known.before(START + timedelta(days=120)), settings=pretraining())
    for made in finetune_together(base, TASKS, known, method="full", settings=FINETUNING, split=SPLIT):
        scores = made.predict(log, at=BEFORE)
        assert np.isfinite(scores.select("score", "low", "high").to_numpy()).all()
        assert (scores["score"] >= 0).all()
        assert len(scores) == 2 * known.count_users()
    return base


def users(number: int, each: int, *, seed: int = 0) -> tuple[list[str], np.ndarray]:
    draw = np.random.default_rng(seed)
    return [f"u{user}" for user in range(number) for _ in range(each)], draw.uniform(0, DAYS, number * each)


def test_one_event_for_each_user() -> None:
    """There is nothing to pre-train on, and it is said; fine-tuning still learns from who and when."""
    log = log_of(*users(80, 1))
    with pytest.raises(FitError, match="nobody has two events") as found:
        pretrain(log.before(BEFORE), settings=pretraining())
    assert "use a model that needs none" in (found.value.remedy or "")
    works(log, untrained(log, before=START + timedelta(days=120)))


def test_one_item() -> None:
    works(log_of(*users(40, 12), item="the only one"))


def test_one_user() -> None:
    works(log_of(*users(1, 150)))


def items_of(number: int, *, twice: int, per_user: int) -> EventLog:
    """A shop with so many items, of which some are sold twice and the rest once."""
    items = np.random.default_rng(0).permutation(np.concatenate([np.arange(number), np.arange(twice)]))
    names, days = users(-(-len(items) // per_user), per_user)
    return log_of(names[: len(items)], days[: len(items)], item=[f"i{item}" for item in items])


def told_apart(base: Backbone) -> int:
    """How many items have a code, unknown ones among them."""
    start, stop = base.encoding.span("item") or (0, 0)
    return stop - start


def test_nearly_as_many_items_as_events() -> None:
    log = items_of(1_500, twice=500, per_user=40)
    assert 100 < told_apart(works(log)) < 500  # only those that were sold twice before it was trained


@pytest.mark.slow
def test_a_million_items() -> None:
    log = items_of(1_000_000, twice=100_000, per_user=500)
    base = works(log)
    assert told_apart(base) == 20_001


def test_all_events_at_one_instant() -> None:
    """Nobody has a past and a future, whatever the moment."""
    names, _ = users(40, 5)
    log = log_of(names, np.full(len(names), 100.0), item=[f"i{i % 7}" for i in range(len(names))])
    with pytest.raises(ValuecastError) as found:
        works(log)
    assert found.value.remedy
    assert "Error" not in str(found.value)
    works_or_explains(log, untrained(log, before=START + timedelta(days=110)))


def works_or_explains(log: EventLog, base: Backbone | None = None) -> None:
    try:
        works(log, base)
    except ValuecastError as error:
        assert error.remedy, error


def test_events_of_each_user_at_one_instant() -> None:
    """Everybody comes once, for five things at the same moment."""
    names, _ = users(40, 5)
    days = np.repeat(np.random.default_rng(0).uniform(0, DAYS, 40), 5)
    log = log_of(names, days, item=[f"i{i % 7}" for i in range(len(names))])
    with pytest.raises(FitError, match="nobody has two events"):  # what comes together is one event
        works(log)
    works(log, untrained(log, before=START + timedelta(days=120)))


def test_a_user_with_twenty_thousand_events() -> None:
    names, days = users(30, 10)
    many = np.random.default_rng(1).uniform(0, DAYS, 20_000)
    works(log_of([*names, *["busy"] * len(many)], np.concatenate([days, many])))


def test_nobody_ever_comes_back_or_everybody_does() -> None:
    once, days = users(60, 1)
    works(log_of(once, days * 0.5), untrained(log_of(once, days), before=START + timedelta(days=110)))
    names = [f"u{user}" for user in range(20) for _ in range(DAYS)]
    works(log_of(names, np.tile(np.arange(DAYS) + 0.5, 20), item=[f"i{i % 5}" for i in range(len(names))]))


def test_no_amounts() -> None:
    names, days = users(30, 10)
    works_or_explains(log_of(names, days, amount=[None] * len(names)))


def test_amounts_beyond_reason_stop_or_work() -> None:
    """Amounts of 1e300: no network can tell them, and none should be spoiled by them unsaid."""
    names, days = users(30, 10)
    amounts = [1e300 if number % 17 == 0 else 5.0 for number in range(len(names))]
    log = log_of(names, days, amount=amounts)
    works_or_explains(log, untrained(log, before=START + timedelta(days=120)))
    works_or_explains(log)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_loss_that_explodes_says_where(optimiser: Any) -> None:
    names, days = users(40, 10)
    log = log_of(names, days)
    wild = Optimisation(
        optimiser=optimiser,
        learning_rate=1e6,
        max_norm=1e12,
        warmup=0,
        epochs=30,
        patience=30,
        batch_events=64,
        tracker="none",
        schedule="constant",
    )
    base = untrained(log, before=START + timedelta(days=120))
    with pytest.raises(FitError) as found:
        finetune_together(base, TASKS, log.before(BEFORE), method="full", settings=Finetuning(wild), split=SPLIT)
    message = str(found.value)
    assert "went astray" in message
    assert "Lower learning_rate, which is 1e+06" in message
    if "in step" in message:
        assert "in the batch of u" in message
    with pytest.raises(FitError, match=r"pretraining: training went astray in step \d+: .*in the batch of u\d+"):
        pretrain(log, settings=replace(pretraining(), optimisation=wild))
