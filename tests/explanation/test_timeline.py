"""The past is cut into stretches that leave nothing out; splices of two pasts are scored as the pasts are."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explanation.made import AT, log, predictor
from tests.logs import frames
from valuecast.explanation.timeline import LATEST, Splicer, stretches, timeline
from valuecast.explanation.typical import typical

SINCE, UNTIL = datetime(2019, 12, 1), datetime(2020, 3, 1)


@given(frames, st.booleans())
def test_stretches_leave_out_nothing(frame: pl.DataFrame, profile: bool) -> None:
    parts = stretches(frame, SINCE, UNTIL, profile=profile)
    timed = [part for part in parts if part.kind != "profile"]
    assert len(parts) - len(timed) == profile
    assert timed[0].start == SINCE
    assert timed[-1].end == UNTIL
    assert all(one.end == other.start for one, other in pairwise(timed))
    assert all(part.start < part.end for part in timed)
    assert sum(part.lines + part.others for part in timed) == len(frame)
    assert [part.kind for part in timed].count("order") <= max(LATEST, 10)
    bought = frame.filter(pl.col("event") == "purchase")
    days = (bought if len(bought) else frame)["time"].dt.truncate("1d").n_unique()
    assert sum(part.days for part in timed) == days


def test_a_purchase_at_the_last_moment_leaves_no_silence() -> None:
    frame = pl.DataFrame(
        {"time": [UNTIL - timedelta(hours=1)], "event": ["purchase"], "amount": [None]},
        schema_overrides={"time": pl.Datetime("us"), "amount": pl.Float64},
    )
    assert [part.kind for part in stretches(frame, SINCE, UNTIL, profile=False)] == ["before", "order"]


@pytest.mark.parametrize("name", ["bgnbd", "lightgbm"])
def test_splices_of_one_user_are_that_user(name: str) -> None:
    known, model = log().before(AT), predictor(name)
    scores = model.predict(known, at=AT)
    one, other = scores["user"][0], scores["user"][5]
    splicer = Splicer.of(model, known, AT, one, [other])
    count = len(splicer.parts)
    found = splicer.scores(np.stack([np.ones(count, bool), np.zeros(count, bool)]), [0, 0])["churn_30d"]
    np.testing.assert_allclose(found, [scores["score"][0], scores["score"][5]], rtol=1e-12)


def test_a_splice_without_events_keeps_the_last_of_the_other() -> None:
    known = log().before(AT)
    scores = predictor().predict(known, at=AT)
    splicer = Splicer.of(predictor(), known, AT, scores["user"][0], scores["user"][1:8].to_list())
    count = len(splicer.parts)
    rows = np.array([[place == 0 for place in range(count)]] * 7)
    assert np.isfinite(splicer.scores(rows, list(range(7)))["churn_30d"]).all()


def test_effects_are_the_same_for_the_same_seed() -> None:
    known, model = log().before(AT), predictor()
    compared = typical(model, known, AT, asked=60, references=4)
    user = compared.sample["user"][0]
    score = {"churn_30d": float(compared.scores["churn_30d"][0])}
    one, again, other = (timeline(model, known, user, compared, score, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.values["churn_30d"], again.values["churn_30d"])
    assert (one.values["churn_30d"] != other.values["churn_30d"]).any()
    assert (one.errors["churn_30d"] >= 0).all()
