"""Events of a log as arrays: the same as a loop over its lines makes, in memory and from files."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.logs import DAYS, START, frames, log_of
from valuecast.errors import ConfigError, ModelError
from valuecast.events import engine
from valuecast.events.log import EventLog
from valuecast.sequences import reading
from valuecast.sequences.encoding import Encoding, Number, Vocabulary
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import Sequences, encode

ENCODING = Encoding(
    grouped=True,
    vocabularies=(
        Vocabulary("event", ("purchase", "view")),
        Vocabulary("item", ("i0", "i1")),
        Vocabulary("colour", ("red",)),
        Vocabulary("items.brand", ("y", "x")),
    ),
    numbers=(Number("amount", (0.0, 1.0)), Number("lines", (1.0, 2.0)), Number("gap_days", (0.0, 1.0))),
    clock=True,
    seasons=False,
    requires={"colour": "string", "items.brand": "string"},
)
ARRAYS = ("starts", "time", "numbers", "edges", "codes", "weights")
BRANDS = {"i0": "x", "i1": "y"}


def equal(one: Sequences, other: Sequences) -> bool:
    """Whether two are the same, byte for byte."""
    same = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)
    return same and one.users.equals(other.users) and one.encoding == other.encoding


def naive(encoding: Encoding, frame: pl.DataFrame) -> dict[str, list[list[Any]]]:
    """User -> events, each the time, its numbers, and code -> weight; by a loop over lines."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for i, line in enumerate(frame.iter_rows(named=True)):
        own = () if encoding.grouped else (i,)
        order = line["order"]
        groups[line["user"], line["time"], line["event"], order is None, order or "", *own].append(line)
    found: dict[str, list[list[Any]]] = defaultdict(list)
    for (user, time, *_), lines in sorted(groups.items(), key=lambda group: group[0]):
        amounts = [line["amount"] for line in lines if line["amount"] is not None]
        before = found[user][-1][0] if found[user] else None
        gap = np.nan if before is None else (time - before) / timedelta(days=1)
        codes: dict[int, float] = {}
        start = 0
        for vocabulary in encoding.vocabularies:
            values = [
                BRANDS.get(line["item"]) if vocabulary.column == "items.brand" else line[vocabulary.column]
                for line in lines
            ]
            known = Counter(value for value in values if value is not None)
            for value, count in known.items():
                code = start + 1 + vocabulary.values.index(value) if value in vocabulary.values else start
                codes[code] = codes.get(code, 0) + count / known.total()
            start += 1 + len(vocabulary.values)
        found[user].append([time, [sum(amounts) if amounts else np.nan, len(lines), gap], codes])
    return found


def spelled(sequences: Sequences) -> dict[str, list[list[Any]]]:
    """Say what the arrays hold in the form of ``naive``."""
    found: dict[str, list[list[Any]]] = {}
    for u, user in enumerate(sequences.users):
        found[user] = []
        for e in range(sequences.starts[u], sequences.starts[u + 1]):
            inside = slice(sequences.edges[e], sequences.edges[e + 1])
            codes = dict(zip(sequences.codes[inside].tolist(), sequences.weights[inside].tolist(), strict=True))
            numbers = sequences.numbers[e].tolist()
            found[user].append([datetime(1970, 1, 1) + timedelta(microseconds=int(sequences.time[e])), numbers, codes])
    return found


def same(one: dict[str, list[list[Any]]], other: dict[str, list[list[Any]]]) -> None:
    assert list(one) == sorted(other)
    for user, events in one.items():
        # lines that are not grouped are in the order of their ids within a moment, which a loop does not know: their
        # times and gaps are compared in order, and the rest within a moment
        for found, wanted in zip(events, other[user], strict=True):
            assert found[0] == wanted[0]
            assert found[1][2] == pytest.approx(wanted[1][2], nan_ok=True)
        for found, wanted in zip(*(sorted(each, key=_content) for each in (events, other[user])), strict=True):
            assert found[1][:2] == pytest.approx(wanted[1][:2], rel=1e-6, nan_ok=True)
            assert found[2] == pytest.approx(wanted[2])


def _content(event: list[Any]) -> tuple[Any, ...]:
    time, (amount, lines, _), codes = event
    return (
        time,
        sorted((code, round(weight, 3)) for code, weight in codes.items()),
        lines,
        np.nan_to_num(amount, nan=-1e9),
    )


@settings(deadline=None, max_examples=30)
@given(frames, st.booleans())
def test_events_are_what_a_loop_over_lines_makes(frame: pl.DataFrame, grouped: bool) -> None:
    encoding = replace(ENCODING, grouped=grouped)
    same(spelled(encode(encoding, log_of(frame))), naive(encoding, frame))


@settings(deadline=None, max_examples=15)
@given(frames, st.booleans(), st.integers(0, 30))
def test_passes_and_the_order_on_disk_change_nothing(frame: pl.DataFrame, grouped: bool, seed: int) -> None:
    encoding = replace(ENCODING, grouped=grouped)
    whole = encode(encoding, log_of(frame))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_PER_PASS", 3)
        assert equal(encode(encoding, log_of(frame.sample(fraction=1, shuffle=True, seed=seed))), whole)


@pytest.mark.parametrize("grouped", [False, True])
def test_lines_of_one_moment_have_an_order_of_their_own(*, grouped: bool) -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"user": ["u"] * 500, "time": [START] * 500, "amount": draw.lognormal(0, 5, 500)})
    numbers = (Number("amount", (0.0, 1.0)),)
    encoding = replace(ENCODING, grouped=grouped, numbers=numbers, vocabularies=ENCODING.vocabularies[:1], requires={})
    one, other = (encode(encoding, EventLog.from_frame(each)) for each in (frame, frame.reverse()))
    assert equal(one, other)


@settings(deadline=None, max_examples=15)
@given(frames, frames, st.integers(1, DAYS - 1), st.booleans())
def test_later_events_change_nothing_in_earlier_ones(
    frame: pl.DataFrame,
    others: pl.DataFrame,
    day: int,
    grouped: bool,
) -> None:
    at = START + timedelta(days=day)
    past, future = frame.filter(pl.col("time") < at), others.filter(pl.col("time") >= at)
    if past.is_empty():
        return
    encoding = replace(ENCODING, grouped=grouped)
    one, other = encode(encoding, log_of(past)), encode(encoding, log_of(pl.concat([past, future])))
    places = {user: u for u, user in enumerate(other.users)}
    for u, user in enumerate(one.users):
        events, same = one.starts[u + 1] - one.starts[u], other.starts[places[user]]
        mine, theirs = slice(one.starts[u], one.starts[u + 1]), slice(same, same + events)
        assert one.time[mine].tobytes() == other.time[theirs].tobytes()
        assert one.numbers[mine].tobytes() == other.numbers[theirs].tobytes()
        inside = slice(one.edges[mine.start], one.edges[mine.stop])
        there = slice(other.edges[theirs.start], other.edges[theirs.stop])
        assert one.codes[inside].tobytes() == other.codes[there].tobytes()
        assert one.weights[inside].tobytes() == other.weights[there].tobytes()
        assert (other.time[theirs.stop : other.starts[places[user] + 1]] >= np.datetime64(at, "us").astype(int)).all()


@settings(deadline=None, max_examples=15)
@given(frames, st.integers(1, 10))
def test_arrays_from_files_are_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, frame: pl.DataFrame, lines: int
) -> None:
    log = log_of(frame)
    encoding = learn(log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_PER_PASS", lines)
        folder = tmp_path_factory.mktemp("kept") / "sequences"
        mapped = encode(encoding, log, folder=folder)
    assert equal(mapped, encode(encoding, log))
    assert [path.name for path in folder.parent.iterdir()] == ["sequences"]


def test_histories_that_do_not_fit_want_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(FRAME)
    encoding = learn(log)
    monkeypatch.setattr(engine, "beside", lambda: 100)
    with pytest.raises(ConfigError, match=r"histories want .* Give a folder, from which they are read, or allow more"):
        encode(encoding, log)
    assert encode(encoding, log, folder=tmp_path / "sequences").count == len(FRAME)


FRAME = pl.DataFrame(
    {"user": ["u", "u", "v"], "time": [START, START + timedelta(days=2), START], "amount": [1.0, 2.0, 3.0]}
)


def test_kept_arrays_are_used_again_for_the_same_events_and_encoding_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    read = reading.read
    monkeypatch.setattr(reading, "read", lambda *given: passes.append(1) or read(*given))  # type: ignore[func-returns-value]
    log = EventLog.from_frame(FRAME)
    encoding, folder = (
        replace(ENCODING, vocabularies=(Vocabulary("event", ("purchase",)),), requires={}),
        tmp_path / "s",
    )
    encode(encoding, log, folder=folder)
    encode(Encoding.from_dict(encoding.to_dict()), EventLog.from_frame(FRAME), folder=folder)
    assert len(passes) == 1
    assert encode(encoding, log.before(START + timedelta(days=1)), folder=folder).count == 2
    assert encode(replace(encoding, numbers=()), log, folder=folder).numbers.shape == (3, 0)
    (folder / "time.npy").write_bytes(b"damaged")
    assert encode(replace(encoding, numbers=()), log, folder=folder).count == 3
    assert len(passes) == 4


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    log = EventLog.from_frame(FRAME)
    with pytest.raises(ModelError, match="something else than a sequences"):
        encode(learn(log), log, folder=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_log_of_another_schema_is_refused() -> None:
    with pytest.raises(ModelError, match="no column 'colour'"):
        encode(ENCODING, EventLog.from_frame(FRAME))


def test_attributes_are_those_of_the_time_of_the_event() -> None:
    frame = pl.DataFrame({"user": ["u"] * 4, "time": [START + timedelta(days=i) for i in range(4)], "item": ["i"] * 4})
    known = [START + timedelta(days=1), START + timedelta(days=3)]
    items = pl.DataFrame({"item": ["i", "i"], "valid_from": known, "price": [5.0, 7.0], "brand": ["x", "y"]})
    log = EventLog.from_frame(frame, items=items)
    encoding = replace(
        ENCODING,
        vocabularies=(Vocabulary("items.brand", ("x", "y")),),
        numbers=(Number("items.price", (5.0, 7.0)),),
        requires={},
    )
    found = encode(encoding, log)
    np.testing.assert_array_equal(found.numbers[:, 0], [np.nan, 5, 5, 7])
    assert found.codes.tolist() == [1, 1, 2]
    assert found.edges.tolist() == [0, 0, 1, 2, 3]


def test_numbers_of_an_order_are_added_or_averaged_over_what_is_known() -> None:
    amounts = [1.0, float("nan"), None, float("inf")]
    frame = pl.DataFrame(
        {"user": ["u"] * 4, "time": [START] * 4, "amount": amounts, "discount": [0.1, 0.3, None, None]}
    )
    numbers = tuple(Number(name, (0.0, 1.0)) for name in ("amount", "lines", "discount"))
    found = encode(replace(ENCODING, vocabularies=(), numbers=numbers, requires={}), EventLog.from_frame(frame))
    np.testing.assert_allclose(found.numbers, [[1e18, 4, 0.2]], rtol=1e-6)


@pytest.mark.parametrize("kept", [False, True])
def test_a_log_without_events_gives_no_users(tmp_path: Path, *, kept: bool) -> None:
    log = EventLog.from_frame(FRAME, since=START, until=START + timedelta(days=9))
    empty = log.between(START + timedelta(days=5), START + timedelta(days=6))
    found = encode(learn(log), empty, folder=tmp_path / "s" if kept else None)
    assert found.users.to_list() == []
    assert found.starts.tolist() == found.edges.tolist() == [0]
    assert found.count == 0


def test_a_million_items_are_bounded_by_the_vocabulary() -> None:
    lines = 200_000
    draw = np.random.default_rng(0)
    item = np.where(draw.random(lines) < 0.5, draw.integers(0, 50, lines), draw.integers(0, 10**9, lines))
    frame = pl.DataFrame(
        {
            "user": pl.Series(draw.integers(0, 500, lines)).cast(pl.String),
            "time": pl.Series(draw.integers(0, 10**9, lines)).cast(pl.Duration("ms")) + START,
            "item": pl.Series(item).cast(pl.String),
        }
    )
    log = EventLog.from_frame(frame)
    encoding = learn(log, items=20)
    assert encoding.span("item") == (2, 23)
    found = encode(encoding, log)
    assert found.count == lines
    assert (found.codes == 2).sum() == pytest.approx(0.8 * lines, rel=0.02)
