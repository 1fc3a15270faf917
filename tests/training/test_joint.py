"""Joint networks and fusions as they are fitted: what features add, who is learned from, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.logs import START, shop
from tests.models.contract import events_of, like
from tests.networks import FINETUNING, QUICK, untrained
from valuecast.config.learning import Finetuning, Fusion
from valuecast.errors import ConfigError, FitError
from valuecast.events.log import EventLog
from valuecast.models.finetuned import Answers
from valuecast.models.panel import Panel
from valuecast.models.predictor import Predictor
from valuecast.tasks import Task, churn, value
from valuecast.tasks.labels import labels
from valuecast.tasks.splits import TimeSplit, UserSplit
from valuecast.training.finetune import finetune, finetune_together

BEFORE, EARLY = START + timedelta(days=210), START + timedelta(days=100)
SPLIT = TimeSplit(every=40, validation=1, rounds=1)
FUSION = Fusion(parts=("mean_rate", "bgnbd", "joint"), members=2, hidden=16, joint=FINETUNING)
pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def whole() -> EventLog:
    return shop(60, 260)


@pytest.fixture(scope="module")
def log(whole: EventLog) -> EventLog:
    return whole.before(BEFORE)


def browsers(users: int = 80, days: int = 200) -> EventLog:
    """All buy every week, half of them for little; then they look around so much that no purchase is in a window."""
    draw, found = np.random.default_rng(0), list[tuple[str, datetime, str, float | None]]()
    for user in range(users):
        for day in range(int(draw.integers(7)), days, 7):
            time = START + timedelta(days=day)
            found += [(f"u{user}", time + timedelta(minutes=5 + k), "view", None) for k in range(20)]
            found.append((f"u{user}", time, "purchase", 50.0 if user % 2 else 5.0))
    frame = pl.DataFrame(found, schema=["user", "time", "event", "amount"], orient="row")
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=days))


def test_the_joint_network_reads_what_its_window_does_not_hold() -> None:
    shop_, task, split = browsers(), value(14), TimeSplit(every=20, validation=1, rounds=1)
    at = START + timedelta(days=180)
    base = untrained(shop_, before=START + timedelta(days=80))
    how = Finetuning(replace(QUICK, learning_rate=0.01, epochs=12, patience=12))
    rich = labels(task, shop_, [at]).filter(pl.col("value_14d") > 50)["user"]
    assert len(rich) == 40

    def apart(method: Any, **settings: Any) -> float:
        """How many times as much is expected of those who spend much."""
        made = finetune(base, task, shop_.before(at), method=method, split=split, **settings)
        mean = made.predict(shop_, at=at).group_by(pl.col("user").is_in(rich.implode())).agg(pl.col("score").mean())
        found: dict[bool, float] = dict(mean.iter_rows())
        return found[True] / found[False]

    assert apart("joint", fusion=Fusion(members=2, joint=how)) > 3
    assert apart("frozen", settings=how) < 1.5


@pytest.mark.parametrize("method", ["joint", "fused"])
def test_a_split_by_users_learns_nothing_of_those_held_out(whole: EventLog, method: Any, tmp_path: Path) -> None:
    at = START + timedelta(days=150)
    split, task = UserSplit(at=at, holdout=0.3, folds=2), value([15, 30])
    base = untrained(whole, before=at)

    def fitted(log: EventLog) -> Predictor:
        return finetune(base, task, log, method=method, fusion=FUSION, split=split)

    made = fitted(whole)
    scores = made.predict(whole, at=at)
    assert all(split.holds(user) for user in scores["user"])
    events = events_of(whole)
    later = (pl.col("time") >= at) & pl.Series([split.holds(user) for user in events["user"]])
    amount = pl.when(later).then(pl.col("amount") * 100).otherwise("amount").alias("amount")
    other = like(whole, events.with_columns(amount))
    assert fitted(other).predict(other, at=at).equals(scores)
    made.save(tmp_path / "model")
    assert Predictor.load(tmp_path / "model").predict(whole, at=at).equals(scores)


def test_tasks_together_are_fused_one_by_one_on_one_trunk(log: EventLog, whole: EventLog, tmp_path: Path) -> None:
    tasks = (churn([15, 30], active=90), value([15, 30], active=90))
    fusion = replace(FUSION, parts=("joint",))
    told: list[str] = []
    made = finetune_together(untrained(log, before=EARLY), tasks, log, fusion=fusion, split=SPLIT, progress=told.append)
    assert [(each.name, each.task) for each in made] == [("fused", task) for task in tasks]
    assert sum(line.endswith("joint: labels and histories") for line in told) == 1
    networks = set()
    for each in made:
        panel = each.inputs
        assert isinstance(panel, Panel)
        (part,) = panel.parts.values()
        assert isinstance(part.inputs, Answers)
        networks.add(id(part.inputs.answerer.network))
        assert set(each.heads) == set(each.task.targets)
        each.save(tmp_path / each.task.name)
        read = Predictor.load(tmp_path / each.task.name)
        assert read.predict(whole, at=BEFORE).equals(each.predict(whole, at=BEFORE))
    assert len(networks) == 1


def test_a_task_that_a_part_cannot_answer_is_fused_without_it(log: EventLog) -> None:
    task = Task("count(*) of return over next 30 days", when="count(*) over last 90 days > 0", name="returns")
    fusion, base = replace(FUSION, parts=("bgnbd", "paretonbd", "mean_rate")), untrained(log, before=EARLY)
    made = finetune(base, task, log, fusion=fusion, split=SPLIT)
    assert set(made.facts["absent"]) == {"bgnbd", "paretonbd"}
    assert all("answers only whether customers buy" in why for why in made.facts["absent"].values())
    assert set(made.facts["parts"]) == {"mean_rate"}
    with pytest.raises(FitError, match=r"no part can be fitted \(bgnbd: 'bgnbd' answers only"):
        finetune(base, task, log, fusion=replace(fusion, parts=("bgnbd", "paretonbd")), split=SPLIT)


def test_what_has_no_use_is_refused(log: EventLog) -> None:
    base, task = untrained(log, before=EARLY), churn(30, active=90)
    for method, wrong in (
        ("joint", {"settings": FINETUNING}),
        ("fused", {"settings": FINETUNING}),
        ("full", {"fusion": FUSION}),
    ):
        with pytest.raises(ConfigError, match=f"'{method}' has no use for it"):
            finetune(base, task, log, method=method, split=SPLIT, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no part of itself"):
        finetune(base, task, log, fusion=Fusion(parts=("fused", "joint")), split=SPLIT)
    with pytest.raises(ConfigError, match="no model 'jiont'"):
        finetune(base, task, log, fusion=Fusion(parts=("jiont",)), split=SPLIT)


def test_the_same_again_is_the_same(log: EventLog, whole: EventLog) -> None:
    base, task = untrained(log, before=EARLY), churn([15, 30], active=90)

    def scores(seed: int) -> pl.DataFrame:
        made = finetune(base, task, log, method="joint", fusion=FUSION, split=SPLIT, seed=seed)
        return made.predict(whole, at=BEFORE)

    assert scores(1).equals(scores(1))
    assert not scores(1).equals(scores(2))
