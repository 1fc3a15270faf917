"""Vectors of the texts of events: what a batch has of them, and what becomes of a language model that is gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.language_models import HIDDEN, tiny
from tests.networks import architecture
from tests.shops import grocer, wholesaler
from valuecast.config.learning import EventTexts
from valuecast.errors import ConfigError, ModelError
from valuecast.events.log import EventLog
from valuecast.models import event_texts
from valuecast.models.backbone import Backbone
from valuecast.models.event_texts import MOVED, TextVectors, opened, reader_of
from valuecast.models.network import Network, Tensors
from valuecast.models.reading import EventHistories
from valuecast.sequences import windows as w
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import encode
from valuecast.sequences.texts import reads

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv(MOVED, raising=False)
    event_texts._open.cache_clear()
    yield
    event_texts._open.cache_clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("models") / "bert")


def backbone(log: EventLog, model: Path) -> Backbone:
    """Weights are drawn, but for a head of texts that says something."""
    encoding = reads(learn(log), log, reader=reader_of(EventTexts(str(model))))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(architecture(), encoding).eval()
    return Backbone(log.span.until, architecture(), encoding, network)


def test_an_event_has_the_mean_vector_of_its_lines(model: Path) -> None:
    shop = wholesaler(users=8)
    made = backbone(shop, model)
    sequences = encode(made.encoding, shop)
    vectors = TextVectors.of(sequences)
    assert vectors is not None
    texts = vectors.texts
    assert vectors.vectors.shape == (4, HIDDEN)
    windows = w.covering(sequences, 16)
    batch = w.batch(sequences, windows, np.arange(len(windows)))
    found = vectors.at(batch.texts).numpy()
    assert found.shape == (*batch.mask.shape, HIDDEN)
    assert (found[~batch.mask] == 0).all()
    for place in np.argwhere(batch.mask)[:50]:
        own = slice(*texts.edges[batch.event[tuple(place)] :][:2])
        wanted = texts.weights[own] @ vectors.vectors[texts.places[own]]
        np.testing.assert_allclose(found[tuple(place)], wanted, atol=1e-6)
    # the rest of a batch is of no account, not in a bit
    some = batch.texts[:2, :3]
    np.testing.assert_array_equal(vectors.at(some).numpy(), found[:2, :3])
    hidden = np.full_like(some, -1)
    assert not vectors.at(hidden).any()


def test_a_network_that_reads_no_texts_has_no_weights_for_them() -> None:
    shop = wholesaler(users=8)
    network = Network(architecture(), learn(shop))
    assert network.encoder.text is None
    assert not [name for name in network.state_dict() if "text" in name]


def test_weights_are_drawn_as_without_texts(model: Path) -> None:
    shop = wholesaler(users=8)
    made = backbone(shop, model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Network(architecture(), replace(made.encoding, reader=None, texts=()))
    codes = made.network.encoder.codes.weight
    assert torch.equal(codes, plain.encoder.codes.weight)


def test_an_event_without_text_adds_nothing(model: Path) -> None:
    shop = wholesaler(users=8)
    made = backbone(shop, model)
    sequences = encode(made.encoding, shop)
    windows = w.covering(sequences, 16)
    batch = w.batch(sequences, windows, np.arange(4))
    silent = torch.zeros(*batch.mask.shape, HIDDEN)
    with torch.no_grad():
        without, zero = made.network(Tensors.of(batch)), made.network(Tensors.of(batch, silent))
    assert torch.equal(without, zero)


def test_an_item_that_was_never_seen_says_what_it_is(model: Path) -> None:
    shop = grocer(users=8)
    made = backbone(shop, model)
    when = shop.span.until

    def bought(title: str | None) -> np.ndarray:
        start = when - timedelta(days=5)
        frame = pl.DataFrame(
            {
                "user": ["new"] * 2,
                "time": [start, start + timedelta(days=1)],
                "event": ["purchase"] * 2,
                "item": ["g0", "fresh"],
                "amount": [1.0, 2.0],
                "order": ["1", "2"],
                "channel": ["web"] * 2,
            }
        )
        items = pl.DataFrame({"item": ["g0", "fresh"], "kind": ["green tea", title], "code": ["A0B0", "X9"]})
        log = EventLog.from_frame(frame, since=datetime(2021, 3, 1), until=when, items=items)
        return made.embed(log, at=when).drop("user", "at").to_numpy()

    tea, tools, nothing = bought("jasmine tea"), bought("garden fork"), bought(None)
    assert np.abs(tea - tools).max() > 1e-3
    assert np.abs(tea - nothing).max() > 1e-3
    np.testing.assert_array_equal(tea, bought("Jasmine  TEA"))


def test_texts_stay_where_the_model_is_opened_when_it_is_needed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(model, tmp_path / "model")
    shop = wholesaler(users=8)
    made = backbone(shop, own)
    wanted = made.embed(shop, at=shop.span.until)
    made.save(tmp_path / "backbone")
    assert not list((tmp_path / "backbone").rglob("tokenizer*"))

    moved = own.rename(tmp_path / "elsewhere")
    event_texts._open.cache_clear()
    again = Backbone.load(tmp_path / "backbone")  # which opens nothing
    with pytest.raises(ModelError, match="reads the texts of events cannot be opened") as found:
        again.embed(shop, at=shop.span.until)
    assert MOVED in str(found.value.remedy)
    monkeypatch.setenv(MOVED, str(moved))
    assert again.embed(shop, at=shop.span.until).equals(wanted)


def test_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    reader = reader_of(EventTexts(str(model)))
    other = tiny("bert", tmp_path / "other", seed=1)
    assert opened(reader).digest == reader.digest
    with pytest.raises(ModelError, match="not the language model by which") as found:
        opened(replace(reader, model=str(other)))
    assert str(other) in str(found.value)
    with pytest.raises(ModelError, match="not the language model by which"):
        opened(replace(reader, tokens=16))


def test_few_texts_are_remembered_and_have_the_same_vectors(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = opened(reader_of(EventTexts(str(model))))
    texts = pl.Series([f"{colour} {what}" for colour in ("red", "white") for what in ("mug", "bag", "heart")])
    wanted = encoder.vectors(texts)
    event_texts._known.cache_clear()
    monkeypatch.setattr(event_texts, "MOST", 4)
    for some in (texts[:3], texts[2:], texts, texts[::-1], texts[:0]):
        found = event_texts._vectors(encoder, some, None)
        places = [texts.to_list().index(text) for text in some]
        np.testing.assert_array_equal(found, wanted[places])
    monkeypatch.setattr(event_texts, "FEW", 2)
    np.testing.assert_array_equal(event_texts._vectors(encoder, texts, None), wanted)


def test_bad_settings_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        reader_of(EventTexts(str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="reads at most 512"):
        reader_of(EventTexts(str(model), tokens=10_000))
    for wrong in ({"tokens": 1}, {"columns": ()}, {"columns": ("a", "a")}, {"model": ""}):
        with pytest.raises(ConfigError):
            EventTexts(**{"model": "m", **wrong})  # type: ignore[arg-type]


def test_histories_share_windows_and_read_each_rows_texts(model: Path) -> None:
    shop = wholesaler(users=8)
    made = backbone(shop, model)
    histories = made.body.histories(shop)
    assert isinstance(histories, EventHistories)
    users = histories.sequences.users
    ends = [shop.span.start + timedelta(days=days) for days in (120, 200, 300)]
    keys = pl.concat(pl.DataFrame({"user": users}).with_columns(at=pl.lit(end)) for end in ends)
    states = []
    for share in (True, False):
        read, found = histories.reading(keys, share=share), np.zeros((len(keys), made.network.hidden))
        for item in read.plan(4096):
            batch = read.load(item)
            assert batch.vectors is not None
            with torch.no_grad():
                at = made.network.at(made.network(batch), batch)
            found[batch.row.numpy()] = at[:, : made.network.hidden].numpy()
        states.append(found)
    # windows that fit in 16 events are the same; longer ones begin elsewhere
    short = (histories.sequences.starts[1:] - histories.sequences.starts[:-1]) <= 16
    every = np.tile(short, len(ends))
    np.testing.assert_allclose(states[0][every], states[1][every], atol=1e-4)
