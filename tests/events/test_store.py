"""The log on disk: opened whole or not at all, added to, and safe when an ingest is killed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.ingested import mapped, run, write
from valuecast import artifact
from valuecast.errors import LogError, SourceError, ValuecastError
from valuecast.events import store
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog

FIRST = "user,time,size\nu1,2011-01-01,1\nu2,2011-01-02,2\n"
SECOND = "user,time,size\nu1,2011-02-01,3\nu3,2011-02-02,4\n"
UNTIL = {"until": "2011-03-01"}
SIZE = {"fields": ["size"]}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_log_is_opened_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    _, log, events = run(tmp_path, SIZE, span={"from": "2011-01-01", "until": "2011-02-01"}, about="a", about_zh="甲")
    assert (log.span.start, log.span.until, log.span.stated) == (datetime(2011, 1, 1), datetime(2011, 2, 1), True)
    assert log.about is not None
    assert (log.about.zh, log.schema, log.origin) == ("甲", {"size": "number"}, str(tmp_path / "log"))
    assert events.columns == ["id", "user", "time", "event", "item", "amount", "order", "bucket", "size"]
    facts = json.loads((tmp_path / "log/manifest.json").read_text())
    assert (facts["kind"], facts["events"], facts["users"]) == ("event log", 2, 2)
    assert facts["accounts"][0]["read"] == 2


def test_parts_are_sorted_by_bucket_user_and_time(tmp_path: Path) -> None:
    lines = [f"u{at * 7 % 40},2011-01-{at * 11 % 28 + 1:02}" for at in range(200)]
    write(tmp_path, "\n".join(["user,time", *lines]))
    run(tmp_path)
    (part,) = tmp_path.glob("log/events-*.parquet")
    frame = pl.read_parquet(part)
    assert frame.equals(frame.sort("bucket", "user", "time", "id"))
    assert frame["bucket"].n_unique() > 10


def test_the_digest_does_not_depend_on_how_the_log_grew(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    run(tmp_path, SIZE, span=UNTIL)
    write(tmp_path, SECOND)
    summary, grown, events = run(tmp_path, SIZE, span=UNTIL)
    assert (summary.events, summary.users, events.height) == (4, 3, 4)
    assert len(list(tmp_path.glob("log/events-*.parquet"))) == 2
    write(tmp_path, SECOND + FIRST.split("\n", 1)[1])
    _, whole, _ = run(tmp_path, SIZE, out="whole", span=UNTIL)
    assert grown.digest == whole.digest


def test_a_killed_ingest_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FIRST)
    _, before, _ = run(tmp_path, SIZE, span=UNTIL)
    write(tmp_path, SECOND)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(artifact, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(mapped(tmp_path, SIZE, span=UNTIL), tmp_path / "log")
    (tmp_path / "log/.ingest-dead").mkdir()  # what a kill -9 would leave too
    left = len(list(tmp_path.glob("log/events-*.parquet")))
    assert left == 2
    after = EventLog.read(tmp_path / "log")
    assert after.fingerprint == before.fingerprint
    assert after.collect(after.events).height == 2

    write(tmp_path, SECOND.replace("u3", "u4"))
    _, _, events = run(tmp_path, SIZE, span=UNTIL)
    assert events["user"].to_list() == ["u1", "u2", "u1", "u4"]
    kept = json.loads((tmp_path / "log/manifest.json").read_text())["parts"]
    assert _names(tmp_path / "log") == sorted([*kept, "manifest.json", "rejected.parquet"])


def test_a_second_ingest_meanwhile_is_refused(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    refusals = []

    def meanwhile(message: str) -> None:
        if message == "writing the log":
            with pytest.raises(SourceError, match="another ingest is writing this log") as caught:
                run(tmp_path, SIZE | {"path": "s.csv"}, span=UNTIL)
            refusals.append(caught.value)

    ingest(mapped(tmp_path, SIZE, span=UNTIL), tmp_path / "log", progress=meanwhile)
    assert len(refusals) == 1
    log = EventLog.read(tmp_path / "log")
    assert sorted(log.collect(log.events)["user"].to_list()) == ["u1", "u2"]


def test_what_is_written_on_the_way_is_for_its_owner_alone(tmp_path: Path) -> None:
    with store.claim(tmp_path / "log") as claim:
        assert claim.work.parent == tmp_path / "log"
        assert claim.work.stat().st_mode & 0o077 == 0


def test_a_refused_ingest_leaves_no_folder_behind(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    for changes in ({"where": "size::INT > 5"}, {"user": "nobody"}):
        with pytest.raises(SourceError):
            ingest(mapped(tmp_path, SIZE | changes), tmp_path / "shops/a/log")
    assert _names(tmp_path) == ["s.csv"]


def test_the_fields_of_the_log_are_binding(tmp_path: Path) -> None:
    write(tmp_path, "user,time,size,code\nu1,2011-01-01,1,A\n")
    run(tmp_path, {"fields": ["size", "code"]})
    write(tmp_path, "user,time,size,code\nu2,2011-01-02,2,7\n")
    with pytest.raises(SourceError, match=r"the log has the fields size, code, the mapping size"):
        run(tmp_path, SIZE)
    with pytest.raises(SourceError, match=r"field 'size' is number and string"):
        run(tmp_path, {"fields": {"size": {"type": "string"}, "code": {}}})
    # in another order, and of texts that happen to be numbers in this file: still the fields of the log
    _, log, events = run(tmp_path, {"fields": ["code", "size"]})
    assert log.schema == {"size": "number", "code": "string"}
    assert events["code"].to_list() == ["A", "7"]


def test_items_are_merged_by_key(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    write(tmp_path, "item,brand\n1,A\n2,B\n", "items.csv")
    side = {"path": "items.csv", "key": "item", "static": ["brand"]}
    run(tmp_path, items=side)
    write(tmp_path, "item,brand\n2,C\n3,D\n", "items.csv")
    summary, log, _ = run(tmp_path, items=side)
    assert log.items is not None
    assert sorted(log.collect(log.items.table).rows()) == [("1", "A"), ("2", "C"), ("3", "D")]
    assert (summary.accounts[1].accepted, summary.accounts[1].new) == (2, 2)
    summary, log, _ = run(tmp_path, items=side)
    assert summary.accounts[1].new == 0
    digest = log.digest
    summary, log, _ = run(tmp_path)  # a mapping without items leaves them
    assert log.digest == digest
    with pytest.raises(SourceError, match="other attributes"):
        run(tmp_path, items=side | {"static": {"maker": "brand"}})
    dated = {"dated": ["brand"], "valid_from": {"column": "item", "unit": "s"}}
    with pytest.raises(SourceError, match="static attributes"):
        run(tmp_path, items={"path": "items.csv", "key": "item"} | dated)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"until": "2011-02-01"}, {"until": "2011-03-01"}, ("2011-01-01", "2011-03-01", True)),
        ({"until": "2011-06-01"}, {}, ("2011-01-01", "2011-06-01", True)),
        ({}, {"until": "2011-03-01"}, ("2011-01-01", "2011-03-01", True)),
        ({"until": "2011-01-05"}, {}, ("2011-01-01", "2011-02-02T00:00:00.000001", False)),
        ({"from": "2010-01-01"}, {"from": "2011-01-01", "until": "2011-03-01"}, ("2010-01-01", "2011-03-01", True)),
    ],
)
def test_the_span_grows_with_the_log(
    tmp_path: Path, first: dict[str, str], second: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    write(tmp_path, FIRST)
    run(tmp_path, span=first)
    write(tmp_path, SECOND)
    _, log, _ = run(tmp_path, span=second)
    start, until, stated = expected
    assert (log.span.start, log.span.until, log.span.stated) == (
        datetime.fromisoformat(start),
        datetime.fromisoformat(until),
        stated,
    )


def test_a_gap_between_two_spans_is_not_silence(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    run(tmp_path, span={"from": "2011-01-01", "until": "2011-01-10"})
    write(tmp_path, SECOND)
    with pytest.raises(SourceError, match="leaves a gap"):
        run(tmp_path, span={"from": "2011-02-01", "until": "2011-03-01"})


def test_folders_that_are_no_log(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    with pytest.raises(LogError, match="no such event log folder"):
        EventLog.read(tmp_path / "absent")
    with pytest.raises(LogError, match=r"it has no manifest.json"):
        EventLog.read(tmp_path)
    with pytest.raises(SourceError, match=r"other files, such as s.csv"):
        ingest(mapped(tmp_path), tmp_path)
    with pytest.raises(SourceError, match="this is a file"):
        ingest(mapped(tmp_path), tmp_path / "s.csv")
    artifact.save(tmp_path / "model", kind="predictor", facts={}, write=lambda folder: None)
    for use in (EventLog.read, lambda folder: ingest(mapped(tmp_path), folder)):
        with pytest.raises(ValuecastError, match="holds a predictor"):
            use(tmp_path / "model")


def test_a_damaged_part_is_found_when_the_log_is_opened(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    run(tmp_path)
    (part,) = tmp_path.glob("log/events-*.parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(LogError, match=f"{part.name} is damaged"):
        EventLog.read(tmp_path / "log")
