"""A log becomes labelled texts: what was before a cutoff in words, what came after as the label, and no split leaks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.shops import grocer, wholesaler
from valuecast import columns as c
from valuecast.config.examples import Reading
from valuecast.errors import ConfigError, TaskError
from valuecast.events.log import EventLog
from valuecast.moments import moment
from valuecast.tasks import churn, value
from valuecast.tasks.labels import labels
from valuecast.training.examples.make import make, taught_by, written
from valuecast.training.examples.table import read_labelled

TASK = churn(days=10, active=60)
AT = ("2021-06-01", "2021-07-01", "2021-08-01", "2021-09-01")


@pytest.fixture(scope="module")
def log() -> EventLog:
    return grocer(60)


def test_a_row_is_a_text_and_a_label(log: EventLog) -> None:
    found = make(log, TASK, AT[:1])
    truth = labels(TASK, log, [moment(AT[0])])
    assert found.columns == ["user", "at", "text", "label"]
    assert found.select(c.KEY).equals(truth.select(c.KEY))
    assert found["label"].cast(pl.Float64).to_list() == truth["churn_10d"].to_list()
    assert found["text"].n_unique() > len(found) // 2
    assert all(text for text in found["text"])
    amounts = make(log, value(days=10, active=60), AT[:1])
    truth = labels(value(days=10, active=60), log, [moment(AT[0])])
    assert amounts["label"].cast(pl.Float64).to_list() == truth["value_10d"].to_list()


def test_texts_are_of_either_language(log: EventLog) -> None:
    english, chinese = (make(log, TASK, AT[:1], language=each)["text"] for each in ("en", "zh"))  # type: ignore[arg-type]
    assert not any("一" <= letter <= "鿿" for letter in "".join(english))
    assert all(any("一" <= letter <= "鿿" for letter in text) for text in chinese)


def test_what_comes_after_a_cutoff_changes_no_text() -> None:
    log, at = wholesaler(60), moment("2010-06-01")
    found = make(log, TASK, ["2010-06-01"])
    later = pl.col("time") >= at
    moved = log.collect(log.events).with_columns(
        amount=pl.when(later).then(pl.col("amount") * 7).otherwise("amount"),
        description=pl.when(later).then(pl.lit("something else")).otherwise("description"),
    )
    other = EventLog.from_frame(moved.drop("id", "bucket"), since=log.span.start, until=log.span.until)
    assert make(other, TASK, ["2010-06-01"])["text"].equals(found["text"])


def test_splits_by_time_do_not_touch(log: EventLog, tmp_path: Path) -> None:
    for count in (2, 3, 4):
        found = make(log, TASK, AT[:count])
        last = found.filter(split="test")["at"].unique().to_list()
        assert last == [moment(AT[count - 1])]
        assert set(found["split"]) == {"train", "validation", "test"}
        assert found.filter(split="train")["at"].max() == taught_by(AT[:count])
        learned = found.filter(pl.col("split") != "test")["at"].max()
        assert learned + timedelta(days=10) <= last[0]  # type: ignore[operator]
        if count == 2:  # validated on other users of the first cutoff
            first = found.filter(pl.col("split") != "test")
            assert first["user"].n_unique() == len(first)
        else:
            assert found.filter(split="validation")["at"].unique().to_list() == [moment(AT[count - 2])]
        written(found).write_csv(tmp_path / "f.csv")
        read = read_labelled(tmp_path / "f.csv", Reading())
        assert read.kind == "binary"
        assert read.frame.select("user", "at", "text").equals(found.select("user", "at", "text"))
        assert read.frame["split"].equals(found["split"])


def test_some_users_are_drawn(log: EventLog) -> None:
    whole, some = make(log, TASK, AT[:3]), make(log, TASK, AT[:3], users=10)
    assert some.group_by("at").len()["len"].to_list() == [10] * 3
    assert len(some.join(whole, on=some.columns, how="semi")) == 30
    assert not make(log, TASK, AT[:3], users=10, seed=1)["user"].equals(some["user"])
    assert set(make(log, TASK, AT[:2], users=40)["split"]) == {"train", "validation", "test"}


def test_cutoffs_that_touch_are_refused(log: EventLog) -> None:
    for at, what in (
        (("2021-06-01", "2021-06-05"), "the 10 days after 2021-06-01 reach beyond 2021-06-05"),
        (("2021-05-01", "2021-06-01", "2021-06-05"), "Give 2021-05-26 or an earlier moment in its place"),
        (("2021-07-01", "2021-06-01"), "not in order"),
        (("2021-07-01", "2021-07-01"), "not in order"),
        (("soon",), "at: 'soon'"),
        ((), "no cutoff"),
    ):
        with pytest.raises(ConfigError) as caught:
            make(log, TASK, at)
        assert what in str(caught.value)
    make(log, TASK, ("2021-05-01", "2021-05-05", "2021-06-01", "2021-07-01"))  # of one split they may
    with pytest.raises(TaskError, match="several horizons"):
        make(log, churn(days=[10, 20], active=60), AT[:1])
