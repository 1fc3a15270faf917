"""A backbone of several shops, fine-tuned on another, or on one of its own."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.networks import FINETUNING, QUICK, pretraining, untrained
from tests.shops import grocer, wholesaler
from valuecast import columns as c
from valuecast.config.learning import Finetuning, Objectives, Trunk
from valuecast.errors import ConfigError, FitError, ModelError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.predictor import Predictor
from valuecast.sequences.common import shop_of
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.pool import Pool
from valuecast.training.pretrain import pretrain

SETTINGS = replace(pretraining(), optimisation=replace(QUICK, epochs=3))
ENDS = (datetime(2021, 8, 1), datetime(2010, 6, 1))
TASK, SPLIT = churn(20, active=60), TimeSplit(every=15, validation=1, rounds=2)

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def shops() -> tuple[EventLog, EventLog]:
    return grocer(), wholesaler()


@pytest.fixture(scope="module")
def pool(shops: tuple[EventLog, EventLog]) -> tuple[EventLog, EventLog]:
    first, second = shops
    return first.before(ENDS[0]), second.before(ENDS[1])


@pytest.fixture(scope="module")
def base(pool: tuple[EventLog, EventLog]) -> Backbone:
    return pretrain(pool, settings=SETTINGS)


@pytest.fixture(scope="module")
def other() -> EventLog:
    """A shop that is in no pool: its currency, its calendar and its column of texts are its own."""
    log = wholesaler(seed=7)
    frame = log.collect(log.events).drop(c.ID, c.BUCKET).rename({"description": "what"})
    moved = frame.with_columns(pl.col(c.TIME) + timedelta(days=2000), pl.col(c.AMOUNT) * 0.01)
    return EventLog.from_frame(moved, since=datetime(2015, 6, 24), until=datetime(2016, 4, 19))


def fitted(base: Backbone, log: EventLog, method: Any = "frozen", settings: Finetuning = FINETUNING) -> Predictor:
    return finetune(base, TASK, log, method=method, settings=settings, split=SPLIT)


def same(one: Backbone, two: Backbone) -> bool:
    pairs = zip(one.network.state_dict().values(), two.network.state_dict().values(), strict=True)
    return one.encoding == two.encoding and one.seen == two.seen and all(x.equal(y) for x, y in pairs)


def test_it_learns_from_every_shop_and_says_what_it_read(base: Backbone, pool: tuple[EventLog, EventLog]) -> None:
    assert base.encoding.common
    assert base.encoding.shop is None
    assert base.before == max(ENDS)
    found = base.facts["validation"]
    assert {"next_event/type", "next_event/items", "next_event/gap", "counts/purchases_90d"} <= set(found)
    assert found["next_event/type"]["improvement"] > 0.2
    shops = base.facts["shops"]
    assert [each["log"] for each in shops] == [log.fingerprint for log in pool]
    assert [each["texts"] for each in shops] == [("items.kind",), ("description",)]
    assert shops[0]["left_out"] == ("channel", "items.code")
    for name, facts in found.items():
        parts = [each["validation"][name] for each in shops if name in each["validation"]]
        assert facts["cases"] == sum(each["cases"] for each in parts)
        for key in ("loss", "baseline"):
            total = sum(each[key] * each["cases"] for each in parts)
            assert facts[key] * facts["cases"] == pytest.approx(total)
    assert base.facts["events"] == sum(each["events"] for each in shops)


def test_a_shop_is_held_against_its_own_frequencies(pool: tuple[EventLog, EventLog]) -> None:
    """To know which shop it is is no foresight: what is alike in each is not foreseen, however the shops differ."""
    logs = []
    for kind, log in zip(("view", "purchase"), pool, strict=True):
        frame = log.collect(log.events.select(c.USER, c.TIME)).with_columns(event=pl.lit(kind))
        logs.append(EventLog.from_frame(frame, since=log.span.start, until=log.span.until))
    settings = replace(SETTINGS, objectives=Objectives(counts=0.0))
    found = pretrain(logs, settings=settings).facts["validation"]["next_event/type"]
    assert found["baseline"] < 0.01
    assert found["improvement"] < 0.01


def test_batches_of_all_shops_are_mixed_anew_in_every_epoch(pool: tuple[EventLog, EventLog]) -> None:
    small = replace(SETTINGS, optimisation=replace(QUICK, batch_events=256))
    feed = Pool.of(pool, small, common=True, seed=0, folder=None).feed
    orders = [[number for number, _ in feed.plan(epoch)] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == {0, 1}
    assert orders[0] != sorted(orders[0])
    events = Counter[str]()
    for item in feed.plan(0):
        batch = feed.load(item)
        assert len({name[0] for name in batch.users}) == 1
        events[batch.users[0][0]] += batch.events
    assert all(events[name] > 100 for name in "uw")


@pytest.mark.parametrize("trunk", ["gru", "bert"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    pool: tuple[EventLog, EventLog], trunk: Trunk, tmp_path: Path
) -> None:
    how = replace(QUICK, batch_events=512, checkpoint_steps=1)
    settings = replace(pretraining(trunk), optimisation=how)
    whole = pretrain(pool, settings=settings)

    class KilledError(Exception):
        """Stands for a kill."""

    def kill(line: str) -> None:
        if "epoch 1 of 2 done" in line:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(pool, settings=settings, folder=tmp_path, progress=kill)
    resumed = pretrain(pool, settings=settings, folder=tmp_path)
    assert same(whole, resumed)
    assert whole.facts["validation"] == resumed.facts["validation"]
    with pytest.raises(ConfigError, match="another run"):
        pretrain((pool[0], wholesaler(41).before(ENDS[1])), settings=settings, folder=tmp_path)


def test_it_is_saved_whole(base: Backbone, other: EventLog, tmp_path: Path) -> None:
    base.save(tmp_path / "base")
    loaded = Backbone.load(tmp_path / "base")
    assert same(base, loaded)
    assert loaded.before == base.before
    assert loaded.facts == json.loads(json.dumps(base.facts))
    at = datetime(2016, 1, 1)
    assert loaded.embed(other, at=at).equals(base.embed(other, at=at))
    moved = base.at_shop(other.before(at))
    moved.save(tmp_path / "moved")
    again = Backbone.load(tmp_path / "moved")
    assert same(moved, again)
    assert again.before is None


def test_another_shop_is_free_and_reads_amounts_as_its_own(base: Backbone, other: EventLog, tmp_path: Path) -> None:
    log = other.before(datetime(2016, 3, 1))
    assert base.seen_before(log) is None
    made = fitted(base, log)
    assert made.facts["backbone"]["before"] is None
    assert [each["texts"] for each in made.facts["backbone"]["shops"]] == [("items.kind",), ("description",)]
    encoding: Any = made.inputs.design.body.encoding  # type: ignore[attr-defined]
    first_known = SPLIT.choices(TASK, log)[-1].known
    assert encoding.shop == shop_of(log.before(first_known))  # of nothing later
    assert encoding.shop.texts == ("what",)
    made.save(tmp_path / "model")
    scores = made.predict(other, at=log.span.until)
    assert scores["score"].n_unique() > 5
    assert Predictor.load(tmp_path / "model").predict(other, at=log.span.until).equals(scores)


@pytest.mark.parametrize("method", ["full", "scratch", "lora"])
def test_every_method_takes_it(base: Backbone, other: EventLog, method: str) -> None:
    log = other.before(datetime(2016, 3, 1))
    assert fitted(base, log, method).predict(log, at=log.span.until)["score"].is_finite().all()


def test_nothing_from_at_on_changes_a_prediction(base: Backbone, other: EventLog) -> None:
    at = datetime(2016, 3, 1)
    made = fitted(base, other.before(at))
    frame = other.collect(other.events).drop(c.ID, c.BUCKET)
    late = pl.col(c.TIME) >= at
    spoilt = frame.with_columns(
        pl.when(late).then(1e9).otherwise(pl.col(c.AMOUNT)).alias(c.AMOUNT),
        pl.when(late).then(pl.lit("odd")).otherwise(pl.col("what")).alias("what"),
    )
    later = EventLog.from_frame(spoilt, since=other.span.start, until=other.span.until)
    for log in (later, other.before(at)):
        assert made.predict(log, at=at).equals(made.predict(other, at=at))
        assert base.embed(log, at=at).equals(base.embed(other, at=at))


def test_a_shop_of_the_pool_is_known_again_however_it_is_cut(base: Backbone, shops: tuple[EventLog, EventLog]) -> None:
    for log, end in zip(shops, ENDS, strict=True):
        hair = timedelta(days=3)
        for cut in (log, log.before(end + hair), log.before(end - hair), log.between(end - timedelta(days=30), end)):
            assert base.seen_before(cut) == end
        assert base.seen_before(log.between(end, log.span.until)) is None  # of these events it has seen none
        assert base.at_shop(log.before(end)).before == end
    late = pretrain([log.before(log.span.start + timedelta(days=290)) for log in shops], settings=SETTINGS)
    first = SPLIT.choices(TASK, shops[0])[0].known
    with pytest.raises(ModelError, match="has seen what choices would be made by") as told:
        fitted(late, shops[0])
    assert f"--before {first:%Y-%m-%d} at the latest" in (told.value.remedy or "")
    made = fitted(base, shops[0])
    assert made.facts["backbone"]["before"] == "2021-08-01"


def test_one_shop_may_pretrain_for_another(pool: tuple[EventLog, EventLog], other: EventLog) -> None:
    base = pretrain(pool[0], common=True, settings=SETTINGS)
    assert base.facts["log"] == pool[0].fingerprint
    assert len(base.facts["shops"]) == 1
    log = other.before(datetime(2016, 3, 1))
    assert fitted(base, log).predict(log, at=log.span.until)["score"].n_unique() > 5


def test_one_shops_own_backbone_says_what_would_read_another(shops: tuple[EventLog, EventLog]) -> None:
    own = untrained(shops[0], before=ENDS[0])
    assert own.at_shop(shops[0]) is own
    for attempt in (lambda: own.embed(shops[1], at=ENDS[1]), lambda: fitted(own, shops[1])):
        with pytest.raises(ModelError, match="has no column") as told:
            attempt()
        assert "pre-train on several logs at once, or with --common" in (told.value.remedy or "")


def test_what_cannot_be_pooled_says_so(pool: tuple[EventLog, EventLog]) -> None:
    with pytest.raises(FitError, match="a log is given twice"):
        pretrain((pool[0], pool[0].before(ENDS[0] - timedelta(days=30))), settings=SETTINGS)
    with pytest.raises(FitError, match="there is no log"):
        pretrain((), settings=SETTINGS)
    silent = pool[1].before(ENDS[1])
    frame = silent.collect(silent.events.drop(c.ID, c.BUCKET)).filter(pl.col(c.TIME) < datetime(2010, 3, 1))
    quiet = EventLog.from_frame(frame, since=silent.span.start, until=silent.span.until)
    with pytest.raises(FitError, match="nothing happens from"):
        pretrain((pool[0], quiet), settings=SETTINGS)


def test_a_pool_of_odd_shops(pool: tuple[EventLog, EventLog], other: EventLog) -> None:
    """One has no items, no amounts and one type of event; the other no texts."""
    bare = pool[0].collect(pool[0].events.select(c.USER, c.TIME)).with_columns(event=pl.lit("view"))
    plain = pool[1].collect(pool[1].events.select(c.USER, c.TIME, c.ITEM, c.AMOUNT))
    logs = [
        EventLog.from_frame(frame, since=log.span.start, until=log.span.until)
        for frame, log in zip((bare, plain), pool, strict=True)
    ]
    base = pretrain(logs, settings=replace(SETTINGS, optimisation=replace(QUICK, epochs=1)))
    assert "next_event/items" not in base.facts["validation"]
    states = base.embed(other, at=datetime(2016, 1, 1)).drop(c.KEY).to_numpy()
    assert np.isfinite(states).all()
    assert states.std(axis=0).max() > 0
