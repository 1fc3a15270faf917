from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.training.habits import DAYS, START, habits, noise
from tests.training.make_golden import AT, GOLDEN
from tests.training.make_golden import log as golden_log
from valuecast import columns as c
from valuecast.config.learning import Architecture, Objectives, Optimisation, Pretraining, Trunk
from valuecast.errors import ConfigError, FitError, LogError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.training.pretrain import pretrain

QUICK = Pretraining(
    architecture=Architecture("llama", "tiny", 16),
    optimisation=Optimisation(learning_rate=0.01, epochs=5, batch_events=1024, tracker="none"),
)
BRIEF = replace(QUICK, optimisation=replace(QUICK.optimisation, epochs=2))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def log() -> EventLog:
    return habits(42)


@pytest.fixture(scope="module")
def small() -> EventLog:
    return habits(12)


def of(trunk: Trunk, *, settings: Pretraining = QUICK, **weights: float) -> Pretraining:
    architecture = replace(settings.architecture, trunk=trunk)
    return replace(settings, architecture=architecture, objectives=Objectives(**weights))


def same(one: Backbone, other: Backbone) -> bool:
    pairs = zip(one.network.state_dict().items(), other.network.state_dict().items(), strict=True)
    return one.encoding == other.encoding and all(a == b and x.equal(y) for (a, x), (b, y) in pairs)


NEXT = {f"next_event/{field}" for field in ("type", "items", "amount", "gap")}
COUNTED = {f"counts/{kind}_{days}d" for kind in ("events", "purchases") for days in (30, 90)}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (of("llama"), NEXT | COUNTED),
        (of("gru", contrastive=1.0), NEXT | COUNTED | {"contrastive"}),
        (of("bert"), {name.replace("next_event", "masked") for name in NEXT} | COUNTED),
    ],
    ids=["llama", "gru with slices", "bert"],
)
def test_habits_are_foreseen_better_than_by_frequency(log: EventLog, settings: Pretraining, names: set[str]) -> None:
    backbone = pretrain(log, settings=settings)
    found = backbone.facts["validation"]
    assert set(found) == names
    for name, facts in found.items():
        assert facts["cases"] > 0
        assert facts["improvement"] == pytest.approx(facts["baseline"] - facts["loss"])
        if name != "masked/type":  # the order of types takes more steps than these
            assert facts["improvement"] > (0.05 if name == "contrastive" else 0.3), name
    assert backbone.before == log.span.until
    assert backbone.architecture == settings.architecture


def test_what_has_no_habits_is_not_foreseen() -> None:
    found = pretrain(noise(), settings=QUICK).facts["validation"]
    assert set(found) == NEXT | COUNTED
    for name, facts in found.items():
        # the mean of so many losses, each of which differs from the baseline's by less than a nat or so
        assert facts["improvement"] < 2 / facts["cases"] ** 0.5, name
    assert sum(facts["improvement"] for facts in found.values()) < 0.05


def test_the_future_changes_nothing(small: EventLog) -> None:
    frame = small.collect(small.events.drop(c.BUCKET, c.ID))
    at = START + timedelta(days=150)
    late = pl.col(c.TIME) >= at
    changed = frame.with_columns(
        pl.when(late).then(pl.lit("odd")).otherwise(pl.col(c.EVENT)).alias(c.EVENT),
        pl.when(late).then(1e6).otherwise(pl.col(c.AMOUNT)).alias(c.AMOUNT),
    ).filter(~late | (pl.col(c.USER) > "u005"))
    other = EventLog.from_frame(changed, since=small.span.start, until=small.span.until)
    one, two = (pretrain(each.before(at), settings=BRIEF) for each in (small, other))
    assert same(one, two)
    assert one.facts["validation"] == two.facts["validation"]
    assert not same(one, pretrain(small, settings=BRIEF))


def test_settings_may_cut_the_log(small: EventLog) -> None:
    at = "2020-05-01"
    cut = pretrain(small, settings=replace(BRIEF, before=at))
    assert cut.before == datetime(2020, 5, 1)
    assert same(cut, pretrain(small.before(at), settings=BRIEF))
    assert not same(cut, pretrain(small.before(at), settings=BRIEF, seed=1))


@pytest.mark.parametrize("trunk", ["llama", "bert"])
def test_a_killed_run_goes_on_as_if_nothing_had_been(small: EventLog, trunk: Trunk, tmp_path: Path) -> None:
    step = replace(BRIEF.optimisation, batch_events=256, checkpoint_steps=1, tracker="tensorboard")
    settings = of(trunk, settings=replace(BRIEF, optimisation=step), contrastive=0.5)
    whole = pretrain(small, settings=settings)

    class KilledError(Exception):
        """Stands for a kill."""

    def kill(line: str) -> None:
        if "epoch 1 of 2 done" in line:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(small, settings=settings, folder=tmp_path, progress=kill)
    resumed = pretrain(small, settings=settings, folder=tmp_path)
    assert same(whole, resumed)
    assert whole.facts["validation"] == resumed.facts["validation"]
    assert list(tmp_path.rglob("events.out.tfevents*"))
    again = pretrain(small, settings=settings, folder=tmp_path)
    assert same(whole, again)
    with pytest.raises(ConfigError, match="another run"):
        pretrain(habits(13), settings=settings, folder=tmp_path)


def test_it_is_saved_with_its_facts_and_says_the_same(small: EventLog, tmp_path: Path) -> None:
    backbone = pretrain(small, size="tiny", trunk="gpt2", settings=BRIEF)
    assert backbone.architecture == replace(BRIEF.architecture, trunk="gpt2")
    facts = backbone.facts
    assert facts["log"] == small.fingerprint
    assert facts["settings"]["architecture"]["trunk"] == "gpt2"
    assert (facts["epochs"], facts["best_epoch"]) == (2, 2)
    assert facts["events"] == small.collect(small.events.count().as_table()).item()
    backbone.save(tmp_path / "backbone")
    loaded = Backbone.load(tmp_path / "backbone")
    assert same(backbone, loaded)
    assert loaded.facts == json.loads(json.dumps(facts))
    at = small.span.until
    assert loaded.embed(small, at=at).equals(backbone.embed(small, at=at))


def log_of(**columns: list[object]) -> EventLog:
    users, days = columns.pop("user"), columns.pop("day")
    frame = pl.DataFrame({"user": users, "time": [START + timedelta(days=float(day)) for day in days], **columns})  # type: ignore[arg-type]
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS))


def test_only_what_there_is_is_asked(small: EventLog) -> None:
    frame = small.collect(small.events.select(c.USER, c.TIME, c.EVENT))
    bare = EventLog.from_frame(frame, since=small.span.start, until=small.span.until)
    assert set(pretrain(bare, settings=BRIEF).facts["validation"]) == {"next_event/type", "next_event/gap"} | COUNTED
    one = EventLog.from_frame(
        frame.with_columns(event=pl.lit("view"), item=pl.lit("i0"), amount=1.0), until=bare.span.until
    )
    counted = {"counts/events_30d", "counts/events_90d"}
    assert set(pretrain(one, settings=BRIEF).facts["validation"]) == {"next_event/gap"} | counted
    none = pretrain(bare, settings=replace(BRIEF, validation=0.0))
    assert none.facts["validation"] == {}
    assert none.facts["best_epoch"] == 2


def test_newcomers_with_one_event_teach_nothing(small: EventLog) -> None:
    frame = small.collect(small.events.drop(c.BUCKET, c.ID))
    first = frame.group_by(c.USER).agg(pl.all().sort_by(c.TIME).first()).with_columns("new" + pl.col(c.USER))
    both = EventLog.from_frame(
        pl.concat([frame, first.select(frame.columns)]), since=small.span.start, until=small.span.until
    )
    cases = [pretrain(each, settings=BRIEF).facts["validation"]["next_event/type"]["cases"] for each in (small, both)]
    assert cases[0] == cases[1]


@pytest.mark.parametrize(
    ("log", "what"),
    [
        (log_of(user=["a", "b", "c"], day=[1, 2, 199]), "nobody has two events"),
        (log_of(user=["a", "a", "b", "b"], day=[1, 2, 3, 4]), "nothing happens from 2020-06-29 on"),
        (log_of(user=["a"] * DAYS, day=list(range(DAYS))), "all that happens is alike"),
    ],
    ids=["one event each", "silence at the end", "every day the same"],
)
def test_a_log_with_nothing_to_learn_says_so(log: EventLog, what: str) -> None:
    with pytest.raises(FitError, match=what) as found:
        pretrain(log, settings=replace(BRIEF, objectives=Objectives(counts=0.0)))
    assert found.value.remedy


def test_all_events_at_one_instant(small: EventLog) -> None:
    events = {
        "user": ["a", "a", "a", "b", "b", "b"] * 3,
        "item": ["x", "y", "z"] * 6,
        "order": [str(i) for i in range(18)],
    }
    log = EventLog.from_frame(pl.DataFrame(events).with_columns(time=START))
    with pytest.raises((FitError, LogError)) as found:
        pretrain(log, settings=BRIEF)
    assert found.value.remedy
    assert pretrain(log, settings=replace(BRIEF, validation=0.0)).facts["steps"] > 0


def test_the_golden_backbone_says_what_it_said() -> None:
    wanted = pl.read_parquet(GOLDEN / "embeddings.parquet")
    found = Backbone.load(GOLDEN / "backbone").embed(golden_log(), at=AT)
    assert found.select(c.KEY).equals(wanted.select(c.KEY))
    states = [each.drop(c.KEY).to_numpy() for each in (found, wanted)]
    np.testing.assert_allclose(*states, atol=1e-5, rtol=0)
    assert states[1].std(axis=0).min() > 1e-2
