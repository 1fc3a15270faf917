"""Can this log support this task? Each check is given a log that fails it, and one that does not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import valuecast as vc
from valuecast.errors import TaskError
from valuecast.evaluation.readiness import collection, drift, minimums, rhythm
from valuecast.evaluation.readiness.check import MENDABLE, Readiness, check
from valuecast.evaluation.readiness.finding import VERDICTS, Finding, worst
from valuecast.evaluation.readiness.foresight import foresight
from valuecast.evaluation.readiness.history import history, season
from valuecast.evaluation.readiness.inquiry import Inquiry, inquire
from valuecast.evaluation.readiness.nearest import candidates, mendable, nearest, written
from valuecast.evaluation.readiness.people import people
from valuecast.events.log import EventLog
from valuecast.report.terminal import to_text
from valuecast.tasks import Task, churn, parse, purchase, value
from valuecast.tasks.splits import TimeSplit

START = datetime(2022, 1, 1)
DAYS = 600
UNTIL = START + timedelta(days=DAYS)
CHURN = churn(days=60, active=90)


def sales(users: int = 1_500, *, gap: float = 15.0, life: float = 250.0, seed: int = 0) -> pl.DataFrame:
    """Purchases of users who come at random, buy about every ``gap`` days, and leave at random."""
    draw = np.random.default_rng(seed)
    first = draw.uniform(-life, DAYS, users)
    last = first + draw.exponential(life, users)
    counts = draw.poisson((last - first) / gap)
    user = np.repeat(np.arange(users), counts)
    day = draw.uniform(first[user], last[user])
    frame = pl.DataFrame(
        {
            "user": pl.Series(user).cast(pl.String),
            "time": pl.Series((day * 86_400_000_000).astype(np.int64)).cast(pl.Duration("us")) + START,
            "event": "purchase",
            "amount": np.round(draw.lognormal(3, 0.5, len(user)), 2),
        }
    )
    return frame.filter(pl.col("time") >= START, pl.col("time") < UNTIL).sort("time", "user")


def log_of(frame: pl.DataFrame, **sides: pl.DataFrame) -> EventLog:
    return EventLog.from_frame(frame, since=START, until=UNTIL, **sides)


def asked(task: Task, log: EventLog) -> Inquiry:
    found = inquire(task, log)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def steady() -> pl.DataFrame:
    return sales()


@pytest.fixture(scope="module")
def users(steady: pl.DataFrame) -> pl.DataFrame:
    """Attributes as an export writes them at the end: some say how things ended."""
    draw = np.random.default_rng(1)
    ended = steady.group_by("user").agg(pl.col("time").max().alias("last")).sort("user")
    gone = (pl.lit(UNTIL) - pl.col("last")) > timedelta(days=60)
    n = len(ended)
    return ended.select(
        "user",
        gone.alias("churned_flag"),
        pl.col("last").dt.strftime("%Y-%m-%d %H:%M:%S").alias("last_login"),
        pl.when(gone).then((pl.col("last") + timedelta(days=61)).dt.strftime("%d/%m/%Y")).alias("closed_date"),
        pl.when(gone & pl.Series(draw.uniform(size=n) < 0.5)).then(pl.lit("hard")).alias("bounce"),
        pl.Series("country", draw.choice(["CN", "SG", "MY"], n, p=[0.7, 0.2, 0.1])),
        pl.Series("channel", draw.choice(["web", "app", None], n)),
        pl.Series("age", draw.integers(18, 80, n).astype(float)),
        pl.Series("email", [f"{draw.integers(1 << 40)}@example.com" for _ in range(n)]),
        pl.Series("born", [f"{1950 + draw.integers(50)}-0{1 + draw.integers(9)}-11" for _ in range(n)]),
    )


@pytest.fixture(scope="module")
def found(steady: pl.DataFrame, users: pl.DataFrame) -> Readiness:
    return check(CHURN, log_of(steady, users=users))


# ---- columns that know the future

PLANTED = ("users.churned_flag", "users.last_login", "users.closed_date", "users.bounce")
HARMLESS = ("users.country", "users.channel", "users.age", "users.email", "users.born", "purchase")


def verdicts(found: Finding) -> dict[str, str]:
    table = found.blocks[0].frame
    return dict(zip(table["name"], table["verdict"], strict=True))


def test_planted_columns_are_found_and_harmless_ones_are_not(found: Readiness) -> None:
    judged = verdicts(found["foresight"])
    assert {name: judged[name] for name in HARMLESS} == dict.fromkeys(HARMLESS, "ok")
    assert judged["users.churned_flag"] == judged["users.closed_date"] == "no"
    assert all(judged[name] != "ok" for name in PLANTED)
    assert found["foresight"].verdict == found.verdict == "no"


def test_what_is_said_of_a_column_names_it_its_size_and_the_remedy(found: Readiness) -> None:
    said = {name: [r.text for r in found["foresight"].remarks if f"'{name}'" in r.text.en] for name in PLANTED}
    assert all(len(texts) == 1 for texts in said.values())
    assert "of the dates in 'users.last_login' lie after 2023-06-25" in said["users.last_login"][0].en
    assert "AUC of 1.00" in said["users.churned_flag"][0].en
    assert "valid_from" in said["users.churned_flag"][0].zh
    assert "adds 0." in said["users.bounce"][0].en


def test_a_dated_attribute_is_read_as_it_was_known(steady: pl.DataFrame, users: pl.DataFrame) -> None:
    dated = users.select("user", "churned_flag", valid_from=pl.lit(UNTIL - timedelta(days=1)))
    assert foresight(asked(CHURN, log_of(steady, users=dated))).verdict == "ok"


def test_an_item_attribute_that_knows_is_found() -> None:
    draw = np.random.default_rng(2)
    frame = sales(600)
    item = draw.integers(0, 100, len(frame))
    withdrawn = draw.uniform(size=100) < 0.4
    late = frame["time"].to_numpy() > np.datetime64(UNTIL - timedelta(days=60))
    keep = ~(withdrawn[item] & late)
    items = pl.DataFrame(
        {
            "item": [str(i) for i in range(100)],
            "withdrawn": withdrawn,
            "colour": draw.choice(["red", "green", "blue"], 100),
        }
    )
    log = log_of(frame.with_columns(pl.Series("item", item).cast(pl.String)).filter(keep), items=items)
    judged = verdicts(foresight(asked(CHURN, log)))
    assert judged["items.withdrawn"] == "no"
    assert judged["items.colour"] == "ok"


def test_a_field_that_knows_is_weak_because_it_may_be_true_knowledge(steady: pl.DataFrame, users: pl.DataFrame) -> None:
    flagged = steady.join(users.select("user", "churned_flag"), on="user")
    assert verdicts(foresight(asked(CHURN, log_of(flagged))))["churned_flag"] == "weak"


def test_too_few_of_an_outcome_are_not_judged(steady: pl.DataFrame, users: pl.DataFrame) -> None:
    few = users["user"].head(60).implode()
    log = log_of(steady.filter(pl.col("user").is_in(few)), users=users)
    assert "cannot be judged" in foresight(asked(CHURN, log)).remarks[0].text.en


# ---- users and history


def test_a_healthy_log_passes(steady: pl.DataFrame) -> None:
    found = check(CHURN, log_of(steady))
    assert {finding.name: finding.verdict for finding in found.findings} == {
        "people": "ok",
        "history": "ok",
        "rhythm": "ok",
        "season": "ok",
        "drift": "ok",
        "collection": "ok",
        "foresight": "ok",
    }
    assert found.verdict == "ok"
    assert found.nearest is None
    assert found.at == UNTIL - timedelta(days=60)


def test_counts_are_those_of_the_labels(steady: pl.DataFrame) -> None:
    inquiry = asked(CHURN, log_of(steady))
    at = UNTIL - timedelta(days=60)
    eligible = set(steady.filter(pl.col("time").is_between(at - timedelta(days=90), at, closed="left"))["user"])
    stayed = set(steady.filter(pl.col("time") >= at)["user"]) & eligible
    row = people(inquiry).blocks[0].frame.row(0, named=True)
    assert (row["users"], row["negatives"]) == (len(eligible), len(stayed))
    assert inquiry.cutoffs == TimeSplit().cutoffs(CHURN, inquiry.log)


def test_few_users_are_weak_and_very_few_are_not_usable(steady: pl.DataFrame) -> None:
    def fewer(found: Finding) -> int:
        return min(found.blocks[0].frame.select("positives", "negatives").row(0))

    whole, names = fewer(people(asked(CHURN, log_of(steady)))), steady["user"].unique().sort()
    for wanted, expected in ((minimums.EACH * 0.7, "weak"), (minimums.FEWEST * 0.5, "no")):
        some = names.sample(round(len(names) * wanted / whole), seed=0).implode()
        found = people(asked(CHURN, log_of(steady.filter(pl.col("user").is_in(some)))))
        assert (found.verdict == "no") == (fewer(found) < minimums.FEWEST)
        assert fewer(found) < minimums.EACH
        assert found.verdict == expected


def test_one_user_with_most_of_the_sum_is_told(steady: pl.DataFrame) -> None:
    buyer = steady["user"][-1]
    big = pl.when(pl.col("user") == buyer).then(50_000.0).otherwise(pl.col("amount")).alias("amount")
    remarks = people(asked(value(days=60, active=90), log_of(steady.with_columns(big)))).remarks
    assert remarks[-1].verdict == "weak"
    assert "One user has" in remarks[-1].text.en


def test_a_horizon_that_the_split_refuses_gets_a_shorter_one(steady: pl.DataFrame) -> None:
    log = log_of(steady)
    task = churn(days=240, active=300)
    found = check(task, log)
    assert found["history"].verdict == "no"
    with pytest.raises(TaskError):
        TimeSplit().cutoffs(task, log)
    assert found.nearest is not None
    assert check(parse(found.nearest), log)["history"].verdict == "ok"


def test_a_short_log_is_weak_the_sooner_for_amounts(steady: pl.DataFrame) -> None:
    log = log_of(steady).between(UNTIL - timedelta(days=200), UNTIL)
    assert minimums.DAYS["binary"] <= 200 < minimums.DAYS["amount"]
    assert history(asked(churn(days=30, active=60), log)).verdict == "ok"
    short = history(asked(value(days=30, active=60), log))
    assert (short.verdict, len(short.deciding)) == ("weak", 1)
    assert "The log holds 200 days" in short.deciding[0].text.en


def test_a_horizon_longer_than_the_log_is_an_answer_not_an_error(steady: pl.DataFrame) -> None:
    found = check(value(days=700), log_of(steady))
    assert (found.verdict, found.at) == ("no", None)
    assert found.nearest is not None
    assert "700 days" in str(found.report())


def test_nobody_eligible_is_an_answer_too(steady: pl.DataFrame) -> None:
    found = check(
        Task("count(*) of purchase over next 30 days = 0", when="count(*) over last 9 days > 99"), log_of(steady)
    )
    assert found.verdict == "no"
    assert "Nobody is ever eligible" in found["people"].remarks[0].text.en


@pytest.mark.parametrize(
    ("task", "at", "said"),
    [
        (churn(days=60), "2023-08-01", "does not hold 2023-08-01"),
        (Task("count(*) of sale over next 30 days > 0"), None, "no event 'sale'"),
        (Task("count(*) of purchase over next 30 days = 0", when="sum(points) over last 9 days > 0"), None, "'points'"),
    ],
)
def test_bad_input_is_refused(steady: pl.DataFrame, task: Task, at: str | None, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        check(task, log_of(steady), at=at)


def test_season_wants_a_year_and_a_horizon(steady: pl.DataFrame) -> None:
    log = log_of(steady)
    early = START + timedelta(days=365 + 59)
    for at, expected in ((early, "weak"), (early + timedelta(days=1), "ok")):
        inquiry = inquire(CHURN, log, at=at)
        assert inquiry is not None
        assert season(inquiry).verdict == expected


# ---- rhythm


def test_a_churn_horizon_shorter_than_the_usual_gap_is_told_with_one_that_would_do(steady: pl.DataFrame) -> None:
    log = log_of(steady)
    gaps = rhythm.usual_gaps(asked(CHURN, log))
    half, most = gaps.median(), gaps.quantile(rhythm.ENOUGH, "linear")
    found = check(churn(days=7, active=90), log)
    assert half > 7
    assert found["rhythm"].verdict == "weak"
    assert f"{most:,.0f} days hold the gap of 80%" in found["rhythm"].remarks[0].text.en
    assert found.nearest is not None
    assert found.nearest.startswith("churn(days=")
    assert min(parse(found.nearest).question.days) >= half
    assert check(purchase(days=7, active=90), log)["rhythm"].verdict == "ok"


def test_usual_gaps_are_those_of_days_on_which_something_counted_happened() -> None:
    days = {"a": [0, 10, 10, 40], "b": [5, 6], "c": [3]}
    frame = pl.DataFrame(
        [
            {"user": user, "time": START + timedelta(days=day), "event": "purchase"}
            for user in days
            for day in days[user]
        ]
        + [{"user": "c", "time": START + timedelta(days=9), "event": "view"}]
    )
    assert rhythm.usual_gaps(asked(churn(days=60), log_of(frame))).to_list() == [1.0, 20.0]


# ---- drift


def means(rates: np.ndarray, users: int) -> pl.DataFrame:
    at = pl.Series([START + timedelta(days=60 * i) for i in range(len(rates))]).cast(pl.Datetime("us"))
    return pl.DataFrame({"at": at, "mean": rates, "error": np.sqrt(rates * (1 - rates) / users)})


def test_a_steady_rate_is_chance_and_a_moving_one_is_not() -> None:
    draw = np.random.default_rng(3)
    steady = [drift.moves(means(draw.binomial(500, 0.3, 8) / 500, 500)) for _ in range(400)]
    assert 0.02 < np.mean([found.p < 0.05 for found in steady]) < 0.09
    assert np.mean([found.spread for found in steady]) < 0.05
    moving = drift.moves(means(np.linspace(0.2, 0.4, 8), 500))
    assert moving.p < 1e-6
    assert moving.spread == pytest.approx(np.std(np.linspace(0.2, 0.4, 8), ddof=1) / 0.29, rel=0.15)
    assert moving.slope == pytest.approx(0.2 / (60 * 7) * 365.25 / 0.29, rel=0.1)


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=30, unique=True), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_cutoffs_that_share_no_day_share_none_and_leave_none_out(days: list[int], horizon: int) -> None:
    at = sorted(START + timedelta(days=day) for day in days)
    kept = drift.apart(pl.DataFrame({"at": at}), days=horizon)["at"].to_list()
    assert kept[-1] == at[-1]
    assert all(later - earlier >= timedelta(days=horizon) for earlier, later in pairwise(kept))
    gone = [moment for moment in at if moment not in kept]
    assert all(any(timedelta(0) < other - moment < timedelta(days=horizon) for other in kept) for moment in gone)


def test_a_base_rate_that_moves_is_weak() -> None:
    growing = sales(1_500, life=400)
    thinned = growing.filter((pl.col("time") < START + timedelta(days=300)) | (pl.col("user").cast(pl.Int64) % 3 > 0))
    found = drift.drift(asked(CHURN, log_of(thinned)))
    assert found.verdict == "weak"
    assert "moves from" in found.remarks[0].text.en


# ---- gaps in collection


def daily(counts: np.ndarray, **others: np.ndarray) -> pl.DataFrame:
    days = pl.date_range(START.date(), START.date() + timedelta(days=len(counts) - 1), eager=True)
    return pl.DataFrame({"day": days, "purchase": counts, **others})


@given(st.integers(1, 390), st.integers(2, 12), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_an_outage_is_found_where_it_is_and_closed_sundays_are_not(start: int, length: int, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(30, 420)
    counts[6::7] = 0  # closed on one day of the week
    counts[start : start + length] = 0
    found = list(collection.gaps_of(daily(counts), "purchase"))
    while counts[start - 1] == 0 and start:  # a closed day beside the outage belongs to it
        start, length = start - 1, length + 1
    while start + length < 420 and counts[start + length] == 0:
        length += 1
    assert [(gap.first, gap.days) for gap in found] == [(date(2022, 1, 1) + timedelta(days=start), length)]


@given(st.integers(0, 30), st.sampled_from([0.3, 3.0, 40.0]))
@settings(deadline=None, max_examples=30)
def test_a_whole_log_has_no_gap(seed: int, rate: float) -> None:
    draw = np.random.default_rng(seed)
    counts = draw.poisson(rate * draw.gamma(4, 0.25, 500))  # twice as uneven as Poisson's and more
    assert not list(collection.gaps_of(daily(counts), "purchase"))


def test_edges_last_days_and_yearly_closures_have_names_of_their_own() -> None:
    counts = np.random.default_rng(4).poisson(40, 800)
    late, ended, thin, yearly = (counts.copy() for _ in range(4))
    late[:300], ended[500:], thin[-2:] = 0, 0, 5
    yearly[350:360] = yearly[715:725] = 0
    natures = {}
    for name, changed in (("late", late), ("ended", ended), ("thin", thin), ("yearly", yearly)):
        natures[name] = [(gap.nature, gap.days) for gap in collection.gaps_of(daily(changed), "purchase")]
    assert natures == {
        "late": [("starts", 300)],
        "ended": [("stops", 300)],
        "thin": [("thin", 2)],
        "yearly": [("closed", 10), ("closed", 10)],
    }


def test_a_hole_in_the_log_and_an_end_that_nobody_stated(steady: pl.DataFrame) -> None:
    first, last = START + timedelta(days=400), START + timedelta(days=410)
    hole = steady.filter(~pl.col("time").is_between(first, last, closed="left"))
    found = collection.collection(asked(CHURN, log_of(hole)))
    assert found.verdict == "weak"
    assert f"missing from {first.date()} to {(last - timedelta(days=1)).date()}" in found.remarks[0].text.en
    assert found.blocks[0].frame["days"].to_list() == [10]
    open_end = EventLog.from_frame(steady, since=START)
    assert "Nobody stated" in collection.collection(asked(CHURN, open_end)).remarks[0].text.en


def test_what_the_task_counts_must_not_stop(steady: pl.DataFrame) -> None:
    views = steady.with_columns(pl.lit("view").alias("event"))
    stopped = steady.filter(pl.col("time") < UNTIL - timedelta(days=40))
    found = collection.collection(asked(CHURN, log_of(pl.concat([stopped, views]))))
    assert found.verdict == "no"
    assert "the labels there are wrong" in found.remarks[0].text.en
    half = views.filter(pl.col("time") >= START + timedelta(days=300))
    found = collection.collection(asked(CHURN, log_of(pl.concat([steady, half]))))
    assert found.verdict == "weak"
    assert f"'view' starts on {date(2022, 10, 28)}, 300 days" in found.remarks[0].text.en


# ---- the nearest task

tasks = st.one_of(
    st.builds(churn, st.integers(1, 400), active=st.none() | st.integers(1, 800)),
    st.builds(
        purchase, st.integers(1, 400), active=st.none() | st.integers(1, 800), where=st.none() | st.just("amount > 3")
    ),
    st.builds(
        value,
        st.lists(st.integers(1, 400), min_size=1, max_size=3, unique=True).map(sorted),
        net=st.booleans(),
        active=st.none() | st.integers(1, 800),
    ),
    st.just(
        Task("count(*) of view over next 7 days > 2", when="count(*) of cart over last 9 days > 1", name="viewers")
    ),
)


@given(tasks)
@settings(deadline=None, max_examples=60)
def test_tasks_are_written_as_they_are_read_and_neighbours_are_others(task: Task) -> None:
    for one in (task, *list(candidates(task))[:5]):
        again = parse(written(one))
        assert (again.name, again.question) == (one.name, one.question)
    others = [str(other) for other in candidates(task)]
    assert len(set(others)) == len(others)
    assert str(task) not in others


def test_the_nearest_task_passes_what_it_was_looked_for_by(steady: pl.DataFrame) -> None:
    log = log_of(steady)
    text = nearest(churn(days=7, active=300), log)
    assert text is not None
    task = parse(text)
    found = mendable(task, log, log.span.until - task.horizon)
    assert {finding.name for finding in found} == MENDABLE
    assert worst(finding.verdict for finding in found) == VERDICTS[0]
    few = steady.filter(pl.col("user").is_in(steady["user"].unique().sort().head(20).implode()))
    assert nearest(CHURN, log_of(few)) is None


# ---- the report


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_reads_in_both_languages(found: Readiness, language: str) -> None:
    text = to_text(found.report(), language=language, width=120)
    shown = {
        "en": ["Can this log answer churn(days=60, active=90)?", "not usable", "Columns that know the future: no"],
        "zh": ["这份日志能回答 churn(days=60, active=90) 吗？", "不可用", "预知未来的字段：不通过"],
    }
    assert all(words in text for words in shown[language])
    assert "{" not in text


def test_the_root_knows_it(found: Readiness) -> None:
    assert vc.check is check
    assert minimums.FEWEST < minimums.EACH
    assert minimums.FEWEST < minimums.PAYERS
