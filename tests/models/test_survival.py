"""When it will happen: one hazard, asked about any day."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tests.logs import START, shop
from tests.models.contract import events_of, like
from tests.networks import FINETUNING, untrained
from valuecast.config.learning import Finetuning, Optimisation
from valuecast.errors import LogError, ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.calibration import Shape
from valuecast.models.predictor import Predictor
from valuecast.models.survival import survival
from valuecast.tasks import Task, churn, purchase, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune

BEFORE = START + timedelta(days=210)
SPLIT = TimeSplit(every=30, validation=1, rounds=1)

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(60, 260)


def fitted(log: EventLog, task: Task, settings: Finetuning = FINETUNING, split: TimeSplit = SPLIT) -> Predictor:
    base = untrained(log, before=START + timedelta(days=100))
    return finetune(base, task, log.before(BEFORE), method="full", settings=settings, split=split)


@pytest.fixture(scope="module")
def churning(log: EventLog) -> Predictor:
    return fitted(log, churn([15, 40], active=90))


@pytest.fixture(scope="module")
def buying(log: EventLog) -> Predictor:
    return fitted(log, purchase(30, active=90))


def test_at_its_own_horizons_it_says_what_the_predictor_says(
    log: EventLog, churning: Predictor, buying: Predictor
) -> None:
    for predictor, days, sign in ((churning, 15, 1), (churning, 40, 1), (buying, 30, -1)):
        found = survival(predictor, log, at=BEFORE, days=[days])
        target = f"{predictor.task.name}_{days}d"
        scores = predictor.predict(log, at=BEFORE).filter(pl.col("target") == target)
        assert found["user"].to_list() == scores["user"].to_list()
        none = scores["score"] if sign > 0 else 1 - scores["score"]
        np.testing.assert_allclose(found[f"none_by_{days}d"], none, atol=1e-6)


def test_chances_of_nothing_fall_with_the_days(log: EventLog, churning: Predictor) -> None:
    days = list(range(1, 41))
    found = survival(churning, log, at=BEFORE, days=days)
    assert found.columns == ["user", "at", *(f"none_by_{each}d" for each in days), "median_date", "expected_days"]
    none = found.select(f"none_by_{each}d" for each in days).to_numpy()
    assert ((none >= 0) & (none <= 1)).all()
    assert (np.diff(none, axis=1) <= 0).all()
    assert (none[:, 0] > none[:, -1]).all()
    last = churning.inputs.hazard.spec.edges[-1]  # type: ignore[attr-defined]
    assert found["expected_days"].is_between(0, last).all()


def test_between_horizons_the_hazard_keeps_its_shape(log: EventLog, churning: Predictor) -> None:
    """However steep the calibration of a horizon is: it says how users differ there, not how days do."""
    shape = Shape("platt", (-4.0, 4.0), (-80.0, 80.0), (0.0, 0.0), (0.0, 0.0))
    heads = {name: replace(head, shape=shape) for name, head in churning.heads.items()}
    steep, days = replace(churning, heads=heads), [5, 10, 15, 20, 30, 40]
    found = survival(steep, log, at=BEFORE, days=days)
    raw = churning.inputs.survival(log, found.select("user", "at"), days)  # type: ignore[attr-defined]
    ours, theirs = (-np.log(each) for each in (found.select(f"none_by_{day}d" for day in days).to_numpy(), raw))
    np.testing.assert_allclose(ours[:, :2] / ours[:, [2]], theirs[:, :2] / theirs[:, [2]], rtol=1e-4)
    between = (theirs[:, 3:5] - theirs[:, [2]]) / (theirs[:, [5]] - theirs[:, [2]])
    np.testing.assert_allclose(ours[:, 3:5], ours[:, [2]] + between * (ours[:, [5]] - ours[:, [2]]), rtol=1e-4)


def test_the_median_is_where_the_chance_is_one_half(log: EventLog, churning: Predictor) -> None:
    last = churning.inputs.hazard.spec.edges[-1]  # type: ignore[attr-defined]
    days = list(range(1, last + 1))
    found = survival(churning, log, at=BEFORE, days=days)
    dated = 0
    for row in found.iter_rows(named=True):
        none = np.array([1.0, *(row[f"none_by_{each}d"] for each in days)])
        if row["median_date"] is None:
            assert none[-1] > 0.5
            continue
        wait = (row["median_date"] - BEFORE) / timedelta(days=1)
        assert np.interp(wait, range(last + 1), none) == pytest.approx(0.5, abs=1e-6)
        dated += 1
    assert dated > 3


@pytest.fixture(scope="module")
def paces() -> EventLog:
    """Customers who come about every 4, 12 or 36 days, without memory, and never stop."""
    draw = np.random.default_rng(0)
    rows = []
    for user in range(240):
        time = draw.uniform(0, 20)
        while time < 260:
            rows.append((f"{(4, 12, 36)[user % 3]:02}-{user}", START + timedelta(days=time)))
            time += draw.exponential((4, 12, 36)[user % 3])
    frame = pl.DataFrame(rows, schema=["user", "time"], orient="row").with_columns(
        event=pl.lit("purchase"), amount=pl.lit(1.0)
    )
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=260))


def test_known_rates_are_found(paces: EventLog) -> None:
    """Of a wait without memory the median is ln 2 times the mean, and the chance of nothing by then is exp(-t/mean)."""
    settings = Finetuning(Optimisation(learning_rate=0.01, epochs=6, patience=6, batch_events=1024, tracker="none"))
    predictor = fitted(paces, churn([10, 30]), settings, TimeSplit(every=20, validation=2, rounds=1))
    last = predictor.inputs.hazard.spec.edges[-1]  # type: ignore[attr-defined]
    found = survival(predictor, paces, at=BEFORE, days=[10, 30]).with_columns(pace=pl.col("user").str.head(2))
    means = found.group_by("pace").agg(pl.mean("expected_days", "none_by_10d", "none_by_30d")).sort("pace")
    for row in means.iter_rows(named=True):
        pace = int(row["pace"])
        expected = pace * (1 - np.exp(-last / pace))  # waits beyond the last day count as that
        assert row["expected_days"] == pytest.approx(expected, rel=0.5)
        assert row["none_by_10d"] == pytest.approx(np.exp(-10 / pace), abs=0.15)
        assert row["none_by_30d"] == pytest.approx(np.exp(-30 / pace), abs=0.15)
    often = found.filter(pl.col("pace") == "04")
    median = (often["median_date"] - BEFORE).dt.total_seconds() / 86_400
    assert median.drop_nulls().mean() == pytest.approx(4 * np.log(2), rel=0.4)


def test_the_future_is_not_read(log: EventLog, churning: Predictor) -> None:
    past = events_of(log).filter(pl.col("time") < BEFORE)
    assert survival(churning, like(log, past), at=BEFORE).equals(survival(churning, log, at=BEFORE))


def test_what_it_cannot_say_is_refused(log: EventLog, churning: Predictor) -> None:
    last = churning.inputs.hazard.spec.edges[-1]  # type: ignore[attr-defined]
    for days in (0, -1, last + 1):
        with pytest.raises(ModelError, match=f"{days} days") as found:
            survival(churning, log, at=BEFORE, days=[30, days])
        assert found.value.remedy == f"The model knows waits of 1 to {last} days."
    with pytest.raises(ModelError, match="has seen the answer"):
        survival(churning, log, at=BEFORE - timedelta(days=1))
    with pytest.raises(LogError, match="known only until"):
        survival(churning, log, at=datetime(2030, 1, 1))
    quiet = like(log, events_of(log).filter(pl.col("time") < START + timedelta(days=60)))
    with pytest.raises(TaskError, match="no user is eligible"):
        survival(churning, quiet, at=BEFORE)


def test_only_a_hazard_says_when(log: EventLog) -> None:
    from valuecast.training.fit import fit  # a baseline, which has no network

    brief = Finetuning(FINETUNING.optimisation, head="bernoulli")
    with pytest.raises(ModelError, match="does not say when"):
        survival(fitted(log, churn(30, active=90), brief), log, at=BEFORE)
    with pytest.raises(ModelError, match="does not say when"):
        survival(fitted(log, value(30, active=90)), log, at=BEFORE)
    baseline = fit("recency", churn(30, active=90), log.before(BEFORE), split=SPLIT)
    with pytest.raises(ModelError, match="says whether, not when") as found:
        survival(baseline, log, at=BEFORE)
    assert "Fine-tune a backbone" in (found.value.remedy or "")
