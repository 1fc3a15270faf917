"""The texts of events: which columns are read, and what of them an event has."""

from __future__ import annotations

import json
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

from tests.logs import DAYS, START
from tests.shops import grocer, wholesaler
from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError, ModelError
from valuecast.events.log import EventLog
from valuecast.sequences import augment, reading
from valuecast.sequences import windows as w
from valuecast.sequences.common import learn_common, placed, shop_of
from valuecast.sequences.encoding import Encoding, TextReader, Vocabulary
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import Sequences, encode
from valuecast.sequences.texts import reads
from valuecast.sequences.words import cleaned

READER = TextReader("model", tokens=8, width=4, digest="abc")
ENCODING = Encoding(
    grouped=True,
    vocabularies=(Vocabulary("event", ("purchase",)),),
    numbers=(),
    clock=False,
    seasons=False,
    requires={"what": "string", "items.title": "string"},
    texts=("items.title", "what"),
    reader=READER,
)
TITLES = {"i0": "Red MUG", "i1": "red mug ", "i2": None}
rows = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u0", "u1", "u2"]),
        "time": st.integers(0, 24 * DAYS - 1).map(lambda hours: START + timedelta(hours=hours)),
        "event": st.just("purchase"),
        "item": st.sampled_from(["i0", "i1", "i2", "i9", None]),
        "order": st.sampled_from(["o0", None]),
        "what": st.sampled_from(["a ☕ cup", "A ☕  Cup", "红色茶杯", " ;", "", "red mug", "x" * 100, "x" * 90, None]),
    }
)
frames = st.lists(rows, min_size=1, max_size=30)


def log_of(found: list[dict[str, Any]]) -> EventLog:
    schema = {
        "user": pl.String,
        "time": pl.Datetime("us"),
        **dict.fromkeys(("event", "item", "order", "what"), pl.String),
    }
    items = pl.DataFrame({"item": list(TITLES), "title": list(TITLES.values())})
    frame = pl.DataFrame(found, schema=schema)
    return EventLog.from_frame(frame, since=START, until=START + timedelta(days=DAYS), items=items)


def told(sequences: Sequences) -> dict[str, list[tuple[datetime, list[tuple[str, float]]]]]:
    """User -> events, each its time, and its texts with their weights, in their order."""
    texts, found = sequences.texts, {}
    assert texts is not None
    for u, user in enumerate(sequences.users):
        events = []
        for e in range(sequences.starts[u], sequences.starts[u + 1]):
            own = slice(texts.edges[e], texts.edges[e + 1])
            named = texts.distinct.gather(texts.places[own].astype(np.int64)).to_list()
            at = datetime(1970, 1, 1) + timedelta(microseconds=int(sequences.time[e]))
            events.append((at, list(zip(named, texts.weights[own].tolist(), strict=True))))
        found[user] = events
    return found


def naive(found: list[dict[str, Any]], *, grouped: bool) -> dict[str, list[tuple[datetime, list[tuple[str, float]]]]]:
    """The same by a loop over lines; events at one moment of one user in any order."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for number, line in enumerate(found):
        groups[line["user"], line["time"], line["order"], None if grouped else number].append(line)
    events: dict[str, list[tuple[datetime, list[tuple[str, float]]]]] = defaultdict(list)
    for (user, time, *_), lines in groups.items():
        own: list[tuple[str, float]] = []
        for column in ([TITLES.get(line["item"]) for line in lines], [line["what"] for line in lines]):
            known = Counter(cleaned(pl.Series(column, dtype=pl.String), characters=64).drop_nulls())
            own += [(text, np.float32(count / known.total())) for text, count in sorted(known.items())]
        events[user].append((time, own))
    return events


@settings(deadline=None, max_examples=50)
@given(frames, st.booleans())
def test_events_have_the_texts_of_their_lines(found: list[dict[str, Any]], grouped: bool) -> None:
    sequences = encode(replace(ENCODING, grouped=grouped), log_of(found))
    made, wanted = told(sequences), naive(found, grouped=grouped)
    assert {user: sorted(events) for user, events in made.items()} == {u: sorted(e) for u, e in wanted.items()}
    assert sequences.texts is not None
    assert sequences.texts.distinct.is_unique().all()


@settings(deadline=None, max_examples=20)
@given(frames)
def test_passes_and_files_change_nothing(tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, Any]]) -> None:
    log = log_of(found)
    whole = encode(ENCODING, log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "LINES_PER_PASS", 3)
        folder = tmp_path_factory.mktemp("sequences") / "kept"
        for made in (encode(ENCODING, log), encode(ENCODING, log, folder=folder), encode(ENCODING, log, folder=folder)):
            assert told(made) == told(whole)


@settings(deadline=None, max_examples=20)
@given(frames, st.integers(1, DAYS - 1))
def test_the_future_changes_no_text_of_the_past(found: list[dict[str, Any]], day: int) -> None:
    at = START + timedelta(days=day)
    log = log_of(found)
    before, whole = told(encode(ENCODING, log.before(at))), told(encode(ENCODING, log))
    assert before == {u: past for u, events in whole.items() if (past := [each for each in events if each[0] < at])}


def test_without_a_reader_nothing_is_kept(tmp_path: Path) -> None:
    log = log_of([{"user": "u", "time": START, "event": "purchase", "item": "i0", "order": None, "what": "tea"}])
    plain = replace(ENCODING, texts=(), reader=None)
    assert encode(plain, log).texts is None
    encode(plain, log, folder=tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("text*"))
    assert not {"texts", "reader"} & plain.to_dict().keys()
    with_texts = encode(ENCODING, log, folder=tmp_path / "kept")  # what is kept is of another encoding
    assert with_texts.texts is not None


def test_it_passes_through_json_unchanged() -> None:
    (common,) = learn_common([wholesaler()], reader=READER)
    (without,) = learn_common([wholesaler()])
    for each in (ENCODING, common, without, placed(common, None)):
        assert Encoding.from_dict(json.loads(json.dumps(each.to_dict()))) == each
    old = without.to_dict()
    assert "told" not in old["shop"]
    assert "reader" not in old


def test_columns_that_say_what_events_were_about_are_read() -> None:
    shop = grocer()
    assert reads(learn(shop), shop, reader=READER).texts == ("items.kind",)  # not its code, nor a channel
    shop = wholesaler()
    found = reads(learn(shop), shop, reader=READER)
    assert found.texts == found.told == ("description",)
    assert found.requires == {"description": "string"}
    with pytest.raises(ModelError, match="no column 'description'"):
        found.check(grocer())


def test_queries_are_read_and_names_of_items_only_where_nothing_else_says_what_they_are() -> None:
    events = {
        "user": [f"u{i % 20}" for i in range(400)],
        "time": [START + timedelta(hours=i) for i in range(400)],
        "item": [("green tea", "black tea", "milk")[i % 3] for i in range(400)],
        "query": [f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]} cup" for i in range(400)],
        "city": [f"town {'abc'[i // 7 % 3]}x" for i in range(400)],
    }
    shop = EventLog.from_frame(pl.DataFrame(events))
    assert reads(learn(shop), shop, reader=READER).texts[0] == "item"
    assert "query" in reads(learn(shop), shop, reader=READER).texts
    items = pl.DataFrame({"item": ["green tea", "black tea", "milk"], "title": ["fine green", "strong black", "white"]})
    shop = EventLog.from_frame(pl.DataFrame(events), items=items)
    assert "item" not in reads(learn(shop), shop, reader=READER).texts


def test_columns_may_be_named() -> None:
    shop = grocer()
    found = reads(learn(shop), shop, reader=READER, columns=["channel", "item"])
    assert found.told == ("channel", "item")
    assert found.requires["channel"] == "string"
    assert "item" not in found.requires
    assert encode(found, shop).texts is not None


@pytest.mark.parametrize(
    ("columns", "what"), [(["kinds"], "no column 'kinds'"), (["amount"], "no column 'amount'"), (["size"], "a number")]
)
def test_what_holds_no_texts_is_refused(columns: list[str], what: str) -> None:
    frame = pl.DataFrame({"user": ["a"], "time": [START], "amount": [1.0], "kind": ["tea"], "size": [2.0]})
    shop = EventLog.from_frame(frame)
    with pytest.raises(ConfigError, match=what) as found:
        reads(learn(shop), shop, reader=READER, columns=columns)
    assert "kind" in str(found.value.remedy)


def test_a_log_without_words_is_refused() -> None:
    shop = EventLog.from_frame(pl.DataFrame({"user": ["a", "a"], "time": [START, START], "item": ["1", "2"]}))
    with pytest.raises(ConfigError, match="no column of the log has words"):
        reads(learn(shop), shop, reader=READER)


def test_shops_have_columns_of_their_own() -> None:
    first, second = learn_common([grocer(), wholesaler()], reader=READER)
    assert (first.told, second.told) == (("items.kind",), ("description",))
    assert placed(first, None).told == ()
    assert (first.texts, second.texts) == ((), ())
    assert shop_of(grocer()).told == ()
    silent = EventLog.from_frame(pl.DataFrame({"user": ["a", "a"], "time": [START, START], "item": ["1", "2"]}))
    placed_there = placed(first, shop_of(silent, told=True))
    assert placed_there.told == ()
    assert encode(placed_there, silent).texts is None


def test_hidden_events_have_no_texts_and_others_take_them_along() -> None:
    shop = wholesaler(users=10)
    encoding = reads(learn(shop), shop, reader=READER)
    sequences = encode(encoding, shop)
    windows = w.covering(sequences, 16)
    every = np.arange(len(windows))
    usual = w.batch(sequences, windows, every)
    np.testing.assert_array_equal(usual.texts, usual.event)

    def varied(how: Augmentation) -> Any:
        return augment.augmented(sequences, windows, every, settings=how, rng=np.random.default_rng(0))

    found = varied(Augmentation(mask=0.4))
    hidden = found.mask & (found.texts < 0)
    amounts = found.numbers[..., 0]
    assert 0.2 < hidden.sum() / found.mask.sum() < 0.6
    assert np.isnan(amounts[hidden]).all()
    shown = found.mask & ~hidden
    np.testing.assert_array_equal(found.texts[shown], found.event[shown])
    np.testing.assert_array_equal(np.isnan(amounts[shown]), np.isnan(usual.numbers[..., 0][shown]))
    both = varied(Augmentation(mask=0.4, reorder=1.0, crop=0.5))
    shown = both.texts >= 0
    np.testing.assert_array_equal(both.texts[shown], both.event[shown])
    assert np.isnan(both.numbers[..., 0][both.mask & ~shown]).all()
