"""The synthetic shop: what its log holds, and that its truth is true. Recovery by models is in tests/models."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from valuecast.errors import ConfigError, ModelError
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.catalogue import Catalogue
from valuecast.events.simulate.chunks import Chunk, chunks, draw_chunk
from valuecast.events.simulate.customers import CHUNK, Customers, draw_customers
from valuecast.events.simulate.purchases import draw_purchases
from valuecast.events.simulate.season import Season
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import SOURCES, Shop, read_truth, simulate, write
from valuecast.events.simulate.truth import Truth
from valuecast.events.source import Mapping

SHOP = Settings(users=CHUNK, days=400)
QUIET = {"browsing": 0.0, "views": 0.0, "searches": 0.0, "returns": 0.0, "reviews": 0.0}
NOBODY_LEAVES = {"a": 1e-3, "b": 1e5}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(300)
LIMIT = 3.5
"""Standard errors: with a fixed seed the tests are deterministic, and a wrong formula is further off."""


@pytest.fixture(scope="module")
def chunk() -> Chunk:
    return draw_chunk(SHOP, Catalogue.of(SHOP), 0)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return simulate(replace(SHOP, users=4 * CHUNK, seasonality=0.6, **QUIET))


@pytest.fixture(scope="module")
def orders(shop: Shop) -> pl.DataFrame:
    """``user, order, time, amount`` of each order."""
    return orders_of(shop.log.collect(shop.log.events))


def orders_of(events: pl.DataFrame) -> pl.DataFrame:
    bought = events.filter(pl.col("event") == "purchase")
    return bought.group_by("user", "order").agg(pl.col("time").first(), pl.col("amount").sum())


def standard_errors_off(difference: pl.Series | np.ndarray) -> float:
    """How many standard errors the mean of a difference is away from 0."""
    values = np.asarray(difference, dtype=float)
    return abs(float(values.mean() / (values.std() / np.sqrt(values.size))))


# ---- the log


def test_nothing_happens_after_a_customer_left_or_before_they_joined(chunk: Chunk) -> None:
    known = chunk.events.join(chunk.customers, on="user").join(chunk.users, on="user")
    assert known.filter(pl.col("time") > pl.col("churned")).is_empty()
    assert known.filter(pl.col("time") < pl.col("valid_from")).is_empty()
    assert known.filter(~pl.col("time").is_between(SHOP.start, SHOP.until, closed="left")).is_empty()
    assert 0.3 < chunk.customers["churned"].is_not_null().mean() < 0.9
    assert set(chunk.events["event"]) == {"view", "cart", "search", "purchase", "return", "review", "exposure"}


def test_customers_join_with_their_first_purchase_and_leave_with_their_last(chunk: Chunk) -> None:
    bought = chunk.events.filter(pl.col("event") == "purchase").group_by("user")
    times = bought.agg(first=pl.col("time").min(), last=pl.col("time").max(), orders=pl.col("order").n_unique())
    known = chunk.customers.join(times, on="user", how="left")
    assert (known["first"] == known["joined"]).all()
    left = known.filter(pl.col("churned").is_not_null())
    assert (left["last"] == left["churned"]).all()
    assert left["orders"].min() == 2  # nobody leaves after the first purchase, as in BG/NBD


def test_lines_of_an_order_share_its_moment_and_have_each_an_item_that_was_viewed(chunk: Chunk) -> None:
    bought = chunk.events.filter(pl.col("event") == "purchase")
    assert bought.group_by("order").agg(pl.col("time", "user").n_unique()).select("time", "user").max().row(0) == (1, 1)
    assert bought["amount"].min() >= 0.01
    assert bought.select(pl.len() / pl.col("order").n_unique()).item() == pytest.approx(SHOP.lines, abs=0.05)
    viewed = chunk.events.filter(pl.col("event") == "view").select("user", "item").unique()
    assert bought.join(viewed, on=["user", "item"], how="anti").is_empty()


def test_what_is_sent_back_was_bought_and_the_discontent_send_back_more(chunk: Chunk) -> None:
    back = chunk.events.filter(pl.col("event") == "return").with_columns(-pl.col("amount"))
    bought = chunk.events.filter(pl.col("event") == "purchase")
    same = ["user", "order", "item", "amount"]
    assert back.join(bought, on=same, how="anti").is_empty()
    reviewed = chunk.events.filter(pl.col("event") == "review")
    rated = bought.drop("rating").join(reviewed.select("user", "item", "rating"), on=["user", "item"])
    share = rated.join(back.select(same).with_columns(back=True), on=same, how="left").group_by(pl.col("rating") > 3)
    found = dict(share.agg(pl.col("back").count() / pl.len()).iter_rows())
    assert found[False] > 1.5 * found[True]


def test_words_agree_with_ratings(chunk: Chunk) -> None:
    reviews = chunk.events.filter(pl.col("event") == "review")
    assert set(reviews["rating"]) == {1, 2, 3, 4, 5}
    assert reviews.group_by("text").agg(pl.col("rating").n_unique())["rating"].max() == 1
    good = reviews["text"].str.contains("Delighted|perfect|excellent|Happy|good|nice")
    bad = reviews["text"].str.contains("disappointed|terrible|awful|Not happy|poor|expected more")
    assert (good == (reviews["rating"] >= 4)).all()
    assert (bad == (reviews["rating"] <= 2)).all()


def test_those_who_leave_easily_are_less_content(chunk: Chunk) -> None:
    rated = chunk.events.filter(pl.col("event") == "review").join(chunk.customers, on="user")
    easily = pl.col("dropout") > rated["dropout"].median()
    assert rated.filter(easily)["rating"].mean() < rated.filter(~easily)["rating"].mean() - 0.2


# ---- the process


@settings(deadline=None, max_examples=25)
@given(strength=st.floats(0, 0.99), start=st.floats(-400, 400), length=st.floats(0, 400))
def test_the_integral_of_the_season(strength: float, start: float, length: float) -> None:
    season = Season(strength, SHOP.start)
    at = start + length / 2 * (1 + NODES)
    ends = season.integral(np.array([start, start + length]))
    assert length / 2 * WEIGHTS @ season.at(at) == pytest.approx(ends[1] - ends[0], abs=1e-9)
    assert (season.at(at) >= 0).all()
    assert (season.at(at) <= season.most).all()


@pytest.mark.parametrize("seasonality", [0.0, 0.9])
@pytest.mark.parametrize("campaigns", [0, 3])
def test_purchases_are_a_poisson_process_in_the_time_of_season_and_campaigns(
    seasonality: float, campaigns: int
) -> None:
    given = replace(SHOP, seasonality=seasonality, campaigns=campaigns, effect=2.0, **NOBODY_LEAVES)
    customers, found = drawn(given)
    own = OwnTime(given, customers)
    later = found.number > 0
    passed = own(found.user, found.days) - own(found.user, customers.joined[found.user])
    whole = own(np.arange(CHUNK), np.full(CHUNK, float(given.days))) - own(np.arange(CHUNK), customers.joined)
    share = (passed / whole[found.user])[later]
    assert share.size > 5_000
    assert scipy.stats.kstest(share, "uniform").pvalue > 1e-3
    counts = np.bincount(found.user[later], minlength=CHUNK)
    expected = customers.rate * whole
    assert standard_errors_off(counts - expected) < LIMIT
    assert np.mean((counts - expected) ** 2 / expected) == pytest.approx(1, abs=0.25)


def drawn(given: Settings, number: int = 0) -> tuple[Customers, object]:
    draw = np.random.default_rng(number)
    customers = draw_customers(given, number, draw)
    return customers, draw_purchases(given, customers, draw)


class OwnTime:
    """The integral of season times lift from the start of the shop, by adding up thin slices."""

    def __init__(self, given: Settings, customers: Customers) -> None:
        self.edges = np.linspace(0, given.days, 400 * 24 + 1)
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        season = Season(given.seasonality, given.start).at(middle)
        everyone = np.arange(CHUNK)
        self.passed = np.zeros((CHUNK, self.edges.size))
        for user in everyone:
            lift = customers.lift(given, np.full(middle.size, user), middle)
            self.passed[user, 1:] = np.cumsum(season * lift) * (self.edges[1] - self.edges[0])

    def __call__(self, user: np.ndarray, days: np.ndarray) -> np.ndarray:
        step = self.edges[1] - self.edges[0]
        place = np.minimum((days / step).astype(int), self.edges.size - 2)
        part = days / step - place
        return (1 - part) * self.passed[user, place] + part * self.passed[user, place + 1]


def test_order_values_are_gamma(shop: Shop, orders: pl.DataFrame) -> None:
    known = orders.join(shop.truth.customers, on="user").filter(pl.col("mean_value") > 5)  # a cent is nothing there
    p = shop.truth.settings.p
    assert scipy.stats.kstest(known["amount"] / known["mean_value"] * p, scipy.stats.gamma(p).cdf).pvalue > 1e-3


def test_the_season_is_highest_in_december_and_on_saturdays() -> None:
    _, found = drawn(replace(SHOP, days=364, joining=0.01, seasonality=0.6, campaigns=0, **NOBODY_LEAVES))
    days = pl.Series(found.days[found.number > 0])
    months = (days // 28).value_counts(sort=True)[days.name]
    assert set(months[:2]) <= {11, 12, 0}
    assert set(months[-2:]) <= {4, 5, 6}
    assert ((days + 6) // 1 % 7).mode().item() == 5  # 2023 began on a Sunday; Monday is 0


# ---- the truth


@pytest.mark.parametrize(("day", "days"), [(120, 30), (170, 90), (299, 15), (250, 150)])
def test_expected_values_are_what_happens_on_average(shop: Shop, orders: pl.DataFrame, day: int, days: int) -> None:
    at = SHOP.start + timedelta(days=day)
    ahead = orders.filter(pl.col("time").is_between(at, at + timedelta(days=days), closed="left"))
    happened = ahead.group_by("user").agg(count=pl.len(), amount=pl.col("amount").sum())
    known = shop.truth.expected(at, days).join(happened, on="user", how="left").fill_null(0)
    assert known["at"].unique().to_list() == [at]
    assert 0.3 < known["there"].mean() < 1
    assert standard_errors_off(known["count"] - known["purchases"]) < LIMIT
    assert standard_errors_off(known["amount"] - known["spend"]) < LIMIT
    assert standard_errors_off((known["count"] == 0).cast(pl.Int8) - known["no_purchase"]) < LIMIT
    assert known.filter(~pl.col("there"))["count"].sum() == 0


@pytest.mark.parametrize("user", range(3))
def test_expected_values_are_the_mean_over_many_futures_of_one_customer(shop: Shop, user: int) -> None:
    """A customer who is there at a moment is one who joins then: the process has no other memory."""
    busy = shop.truth.customers.filter(pl.col("rate") > 0.05, pl.col("joined") < SHOP.start + timedelta(days=50))
    day, days, given = 110.0, 60.0, shop.truth.settings
    one = busy.filter(pl.col("churned").is_null())[user]
    name = one["user"].item()
    treated = [
        not shop.truth.treatments.filter(
            pl.col("user") == name, pl.col("campaign") == f"c{number}", "treated"
        ).is_empty()
        for number in (1, 2, 3)
    ]
    template = draw_customers(given, 0, np.random.default_rng(0))
    copies = replace(
        template,
        joined=np.full(CHUNK, day),
        treated=np.tile(treated, (CHUNK, 1)),
        **{each: np.full(CHUNK, one[each].item()) for each in ("rate", "dropout", "effect")},
    )
    counts = []
    for future in range(15):
        found = draw_purchases(given, copies, np.random.default_rng(future))
        ahead = (found.number > 0) & (found.days < day + days)
        counts.append(np.bincount(found.user[ahead], minlength=CHUNK))
    happened = np.concatenate(counts)
    expected = shop.truth.expected(SHOP.start + timedelta(days=day), days).filter(pl.col("user") == name)
    assert standard_errors_off(happened - expected["purchases"].item()) < LIMIT
    assert standard_errors_off((happened == 0) - expected["no_purchase"].item()) < LIMIT


def test_the_difference_between_treated_and_others_is_the_true_effect(shop: Shop, orders: pl.DataFrame) -> None:
    for campaign, begins in shop.truth.settings.campaign_starts.items():
        start = SHOP.start + timedelta(days=begins)
        window = pl.col("time").is_between(start, start + timedelta(days=SHOP.campaign_days), closed="left")
        ahead = orders.filter(window).group_by("user").agg(count=pl.len(), amount=pl.col("amount").sum())
        coins = shop.truth.treatments.filter(pl.col("campaign") == campaign)
        known = coins.join(ahead, on="user", how="left").fill_null(0)
        known = known.with_columns(buyer=(pl.col("count") > 0).cast(pl.Float64))
        assert known["treated"].mean() == pytest.approx(SHOP.treated, abs=0.04)
        for what, true in (("count", "more_purchases"), ("amount", "more_spend"), ("buyer", "more_buyers")):
            moved, others = (known.filter(pl.col("treated") == group)[what] for group in (True, False))
            error = np.sqrt(moved.var() / len(moved) + others.var() / len(others))
            assert abs(moved.mean() - others.mean() - known[true].mean()) < LIMIT * error
        assert known["more_purchases"].std() > known["more_purchases"].mean() > 0  # not the same for everyone
        assert known["more_purchases"].min() < 0  # some are annoyed


def test_only_treated_customers_who_are_there_are_exposed(chunk: Chunk) -> None:
    shown = chunk.events.filter(pl.col("event") == "exposure").select("user", "campaign")
    told = chunk.treatments.filter("treated", "there").select("user", "campaign")
    assert_frame_equal(shown, told, check_row_order=False)
    left = chunk.treatments.filter(~pl.col("there"))
    assert not left.is_empty()
    assert left.select(pl.col("more_purchases", "more_spend", "more_buyers").abs().max()).row(0) == (0, 0, 0)


def test_without_an_effect_treatment_changes_nothing() -> None:
    found = draw_chunk(replace(SHOP, effect=0.0), Catalogue.of(SHOP), 0)
    assert found.treatments["more_purchases"].abs().max() == 0


# ---- chunks, files and settings


def test_a_customer_does_not_depend_on_the_number_of_customers() -> None:
    given = replace(SHOP, users=CHUNK + 100)
    whole, part = list(chunks(given)), list(chunks(replace(given, users=50)))
    assert [len(each.users) for each in whole] == [CHUNK, 100]
    for field in fields(Chunk):
        names = part[0].users["user"].implode()
        cut = getattr(whole[0], field.name).filter(pl.col("user").is_in(names))
        assert_frame_equal(cut, getattr(part[0], field.name))
    alone = draw_chunk(given, Catalogue.of(given), 1).first(100)
    assert_frame_equal(whole[1].events, alone.events)


@pytest.mark.parametrize("events", [1, 1_000, 120_000])
def test_as_many_customers_as_it_takes(events: int) -> None:
    found = list(chunks(replace(SHOP, users=1), events=events))
    total = sum(len(each.events) for each in found)
    last = found[-1].events.filter(pl.col("user") == found[-1].users["user"][-1])
    assert total >= events > total - len(last)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops") / "shop"
    write(replace(SHOP, users=200), folder)
    return folder


def parquet(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write(replace(SHOP, users=200), tmp_path / "again")
    assert parquet(tmp_path / "again") == parquet(folder)
    assert len(parquet(folder)) == 5
    write(replace(SHOP, users=200, seed=1), tmp_path / "again")  # it replaces the shop that is there
    assert all(parquet(tmp_path / "again")[name] != content for name, content in parquet(folder).items())


def test_ingest_gives_the_log_that_there_is_in_memory(folder: Path, tmp_path: Path) -> None:
    summary = ingest(Mapping.read(folder / SOURCES), tmp_path / "log")
    assert not any(account.read - account.accepted for account in summary.accounts)
    assert not summary.notes
    read, made = EventLog.read(tmp_path / "log"), simulate(replace(SHOP, users=200)).log
    assert (read.span, read.schema, read.about) == (made.span, made.schema, made.about)
    assert read.digest == made.digest
    for name in ("events", "items", "users"):
        tables = [getattr(log, name) for log in (read, made)]
        found = [log.collect(getattr(table, "table", table)) for log, table in zip((read, made), tables, strict=True)]
        assert_frame_equal(*found, check_row_order=False, check_column_order=False)


def test_the_truth_is_read_back(folder: Path) -> None:
    read, made = read_truth(folder), simulate(replace(SHOP, users=200)).truth
    assert read.settings == made.settings
    assert_frame_equal(read.customers, made.customers)
    assert_frame_equal(read.treatments, made.treatments)
    assert isinstance(read, Truth)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError, match="the folder holds something else than a synthetic shop"):
        write(replace(SHOP, users=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"users": 0}, "users is 0"),
        ({"since": "soon"}, "'soon' is not a date"),
        ({"since": "1066-10-14"}, "from 1970 to 2200"),
        ({"days": 9_999}, "at most 20 years"),
        ({"joining": 0.0}, "joining is 0.0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"r": 9.0, "alpha": 1.0}, "r / alpha is 9.0. Give up to 1; alpha is in days"),
        ({"q": 1.0}, "the mean value of an order is infinite"),
        ({"seasonality": 1.0}, "seasonality is 1.0"),
        ({"treated": 1.0}, "Without either group no effect is known"),
        ({"returns": 1.5}, "returns is 1.5"),
        ({"views": float("nan")}, "views is nan"),
        ({"items": 3}, "items is 3"),
        ({"days": 30, "campaigns": 2}, "campaigns is 2. 30 days have room for 1 of 14 days each"),
    ],
)
def test_settings_that_make_no_shop(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SHOP, **changed)


share = st.floats(0, 1)
any_settings = st.builds(
    Settings,
    users=st.integers(1, 40),
    since=st.dates(date(1970, 1, 1), date(2200, 12, 31)).map(str),
    days=st.integers(1, 90),
    joining=st.floats(0.01, 1),
    seed=st.integers(0, 2**40),
    r=st.floats(0.05, 2),
    alpha=st.floats(5, 500),
    a=st.floats(0.001, 100),
    b=st.floats(0.001, 100),
    p=st.floats(0.1, 50),
    q=st.floats(1.1, 50),
    gamma=st.floats(0.1, 1000),
    lines=st.floats(1, 4),
    seasonality=st.floats(0, 0.99),
    campaigns=st.just(0),
    treated=st.floats(0.01, 0.99),
    effect=st.floats(0, 5),
    browsing=st.floats(0, 3),
    views=st.floats(0, 3),
    **dict.fromkeys(("searches", "carts", "returns", "reviews", "loyalty"), share),
    items=st.integers(12, 2000),
)


@settings(deadline=None, max_examples=20)
@given(given=any_settings, campaigns=st.integers(0, 5))
def test_any_settings_make_a_log(given: Settings, campaigns: int) -> None:
    room = max(given.days // given.campaign_days - 1, 0)
    made = simulate(replace(given, campaigns=min(campaigns, room)))
    assert made.log.count_users() == given.users
    assert made.log.span.days == given.days
    events = made.log.collect(made.log.events)
    bought = events.filter(pl.col("event") == "purchase")
    assert bought["amount"].min() > 0
    expected = made.truth.expected(made.log.span.until, 30)
    assert len(expected) == given.users
    assert expected["no_purchase"].is_between(0, 1).all()
    assert (expected["purchases"] >= 0).all()
    assert expected["spend"].is_finite().all()
