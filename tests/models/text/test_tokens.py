"""Tokens of histories: put together from those of phrases, in batches of similar length."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tests.language_models import KINDS, tiny
from valuecast.errors import ConfigError
from valuecast.language import Language
from valuecast.models.text.source import open_model
from valuecast.models.text.tokens import Tokenised, tokenise, tokenise_texts
from valuecast.sequences.textify import Phrases

PHRASES = (
    "In June, 12 orders.",
    "2 days before: purchase of 34.50, white mug;",
    "the same day: return.",
    "été (!)",
    "",
)

rows_of_phrases = st.lists(st.lists(st.sampled_from(PHRASES), max_size=8), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreTrainedTokenizerBase]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: open_model(str(tiny(kind, folder / kind)))[1] for kind in KINDS}


def phrases_of(rows: Sequence[Sequence[str]], language: Language = "en") -> Phrases:
    """Phrases as ``textify`` leaves them."""
    distinct = pl.Series(sorted({phrase for row in rows for phrase in row}), dtype=pl.String)
    number = {phrase: code for code, phrase in enumerate(distinct)}
    starts = np.cumsum([0, *map(len, rows)])
    codes = np.array([number[phrase] for row in rows for phrase in row], np.int64)
    return Phrases(distinct, starts, codes, language)


def ids_of(found: Tokenised) -> list[list[int]]:
    return [found.ids[a:b].tolist() for a, b in zip(found.starts[:-1], found.starts[1:], strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(rows=rows_of_phrases)
def test_tokens_of_phrases_are_those_of_the_joined_text(
    tokenizers: dict[str, PreTrainedTokenizerBase], kind: str, rows: list[list[str]]
) -> None:
    rows = [[phrase for phrase in row if phrase] for row in rows]
    given_ = phrases_of(rows)
    found = ids_of(tokenise(tokenizers[kind], given_, tokens=1000))
    for row, ids in enumerate(found):
        expected = tokenizers[kind](given_.text(row)).input_ids
        assert ids == (expected or [tokenizers[kind].eos_token_id])


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(rows=rows_of_phrases, tokens=st.integers(3, 60))
def test_a_row_is_as_many_whole_phrases_as_there_is_room_for(
    tokenizers: dict[str, PreTrainedTokenizerBase], kind: str, rows: list[list[str]], tokens: int
) -> None:
    tokenizer, given_ = tokenizers[kind], phrases_of(rows)
    found = ids_of(tokenise(tokenizer, given_, tokens=tokens))
    for row, phrases in zip(found, rows, strict=True):
        assert 1 <= len(row) <= tokens
        fitting = [
            ids
            for count in range(1, len(phrases) + 1)
            if len(ids := tokenizer(" ".join(phrases[:count])).input_ids) <= tokens
        ]
        if fitting and "" not in phrases:
            assert row == fitting[-1]
    alone = [ids_of(tokenise(tokenizer, phrases_of([row]), tokens=tokens))[0] for row in rows]
    assert alone == found


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_phrase_beyond_the_budget_is_cut(tokenizers: dict[str, PreTrainedTokenizerBase], kind: str) -> None:
    tokenizer = tokenizers[kind]
    (row,) = ids_of(tokenise(tokenizer, phrases_of([["one two three four five six seven eight", "red"]]), tokens=6))
    expected = tokenizer("one two three four five six seven eight", truncation=True, max_length=6).input_ids
    assert row == expected


@pytest.mark.parametrize("kind", KINDS)
def test_chinese_phrases_are_joined_by_nothing(tokenizers: dict[str, PreTrainedTokenizerBase], kind: str) -> None:
    given_ = phrases_of([["六月，订单十二笔。", "两天前：购买红色茶杯；", "当天：退货。"]], "zh")
    (row,) = ids_of(tokenise(tokenizers[kind], given_, tokens=500))
    assert row == tokenizers[kind](given_.text(0)).input_ids


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(st.text(max_size=40), max_size=8), tokens=st.integers(4, 30))
def test_texts_are_cut_at_their_ends(
    tokenizers: dict[str, PreTrainedTokenizerBase], kind: str, texts: list[str], tokens: int
) -> None:
    tokenizer = tokenizers[kind]
    found = ids_of(tokenise_texts(tokenizer, texts, tokens=tokens))
    for text, ids in zip(texts, found, strict=True):
        expected = tokenizer(text, truncation=True, max_length=tokens, split_special_tokens=True).input_ids
        assert ids == (expected or [tokenizer.eos_token_id])


@pytest.mark.parametrize("kind", KINDS)
def test_odd_texts(tokenizers: dict[str, PreTrainedTokenizerBase], kind: str) -> None:
    tokenizer = tokenizers[kind]
    start = time.perf_counter()
    texts = ["", " ", "🙂" * 50, "é\u0301\u200d", "a" * 10_000_000, "word " * 2_000_000, "\x00\n"]
    found = ids_of(tokenise_texts(tokenizer, [*texts, "[SEP] </s> <s> [PAD] <|endoftext|>"], tokens=32))
    assert time.perf_counter() - start < 10  # seconds; one is usual
    assert all(1 <= len(ids) <= 32 for ids in found)
    assert len(found[5]) == 32
    around = len(tokenizer("").input_ids)
    inside = found[-1][1:-1] if around == 2 else found[-1][around:]
    assert not set(inside) & {token for token in tokenizer.all_special_ids if token != tokenizer.unk_token_id}


def test_a_text_without_tokens_is_one_that_ends(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    assert ids_of(tokenise_texts(tokenizers["gpt2"], ["", "red"], tokens=8))[0] == [tokenizers["gpt2"].eos_token_id]
    assert ids_of(tokenise(tokenizers["gpt2"], phrases_of([[], ["red"]]), tokens=8))[0] == [0]
    assert len(ids_of(tokenise_texts(tokenizers["bert"], [""], tokens=8))[0]) == 2


def test_no_texts(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    found = tokenise_texts(tokenizers["bert"], [], tokens=8)
    assert len(found) == 0
    assert found.plan(100) == found.batches_of(16) == []


def test_too_few_tokens_are_refused(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    with pytest.raises(ConfigError, match="2 leave no room beside the 2 special tokens"):
        tokenise_texts(tokenizers["bert"], ["red"], tokens=2)


def lengths(values: list[int]) -> Tokenised:
    """Texts of these lengths, whose tokens are numbered through."""
    return Tokenised(np.arange(sum(values), dtype=np.int32), np.cumsum([0, *values]), pad=-1)


many_lengths = st.lists(st.integers(1, 50), min_size=1, max_size=80)


@given(many_lengths, st.integers(1, 200), st.booleans())
def test_a_plan_has_each_row_once_and_keeps_the_budget(values: list[int], tokens: int, drawn: bool) -> None:
    found = lengths(values)
    plan = found.plan(tokens, np.random.default_rng(0) if drawn else None)
    assert sorted(np.concatenate(plan)) == list(range(len(values)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(values[i] for i in batch) <= tokens
    if not drawn:
        assert max(values) in [values[i] for i in plan[0]]


@given(many_lengths, st.integers(1, 20), st.booleans())
def test_batches_of_rows(values: list[int], rows: int, drawn: bool) -> None:
    plan = lengths(values).batches_of(rows, np.random.default_rng(0) if drawn else None)
    assert sorted(np.concatenate(plan)) == list(range(len(values)))
    assert sorted(map(len, plan), reverse=True)[:-1] == [rows] * (len(plan) - 1)
    if not drawn:
        assert [values[i] for batch in plan for i in batch] == sorted(values, reverse=True)


def test_batches_waste_little_padding() -> None:
    draw = np.random.default_rng(0)
    found = lengths(draw.integers(5, 128, 4000).tolist())
    for plan in (found.plan(2048, draw), found.batches_of(16, draw)):
        padded = sum(len(batch) * found.lengths[batch].max() for batch in plan)
        assert found.lengths.sum() / padded > 0.95


@given(many_lengths, st.integers(0, 100))
def test_a_batch_is_padded_at_the_ends(values: list[int], seed: int) -> None:
    found = lengths(values)
    chosen = np.random.default_rng(seed).permutation(len(values))[:7]
    batch = found.batch(chosen, users=("a",))
    assert batch.ids.dtype == torch.int64
    assert batch.row.tolist() == chosen.tolist()
    assert batch.users == ("a",)
    assert batch.events == int(batch.mask.sum()) == sum(values[i] for i in chosen)
    for place, row in enumerate(chosen):
        size = values[row]
        assert batch.ids[place, :size].tolist() == found.ids[found.starts[row] : found.starts[row + 1]].tolist()
        assert batch.mask[place].tolist() == [True] * size + [False] * (batch.ids.shape[1] - size)
        assert (batch.ids[place, size:] == -1).all()
    assert batch.to("meta").ids.device.type == "meta"


def test_many_rows_are_put_together_quickly(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    draw = np.random.default_rng(0)
    distinct = pl.Series([f"{n} days before: purchase of {n}.50." for n in range(500)])
    codes = draw.integers(0, 500, 20_000 * 30)
    given_ = Phrases(distinct, np.arange(20_001) * 30, codes, "en")
    start = time.perf_counter()
    found = tokenise(tokenizers["bert"], given_, tokens=64)
    assert time.perf_counter() - start < 10  # seconds; one is usual
    assert len(found) == 20_000
    assert found.lengths.max() <= 64
