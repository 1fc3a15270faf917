"""Variants of texts: what training reads of them, and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tests.language_models import tiny
from tests.training.augmentation.test_phrases import told
from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError, SourceError
from valuecast.models.text.tokens import tokenise, tokenise_texts
from valuecast.training.augmentation import variants as v

TEXTS = ["red mug", "set of 3 cake tins", "a red mug and a red tin", "nothing known"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny("bert", tmp_path_factory.mktemp("m") / "bert"))
    return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Augmentation:
    path = tmp_path_factory.mktemp("words") / "words.tsv"
    path.write_text("red\twoolly\tvintage\nmug\tcup of pantry\n", encoding="utf-8")
    return Augmentation(synonyms=0.5, thesaurus=str(path))


def test_variants_have_other_words_and_are_decided_by_the_seed(settings: Augmentation) -> None:
    found = v.variants(TEXTS, settings, seed=1)
    assert len(found) == v.SYNONYM_VARIANTS
    assert found == v.variants(TEXTS, settings, seed=1) != v.variants(TEXTS, settings, seed=2)
    assert len({each[2] for each in found}) > 2
    assert all(each[1] == TEXTS[1] and each[3] == TEXTS[3] for each in found)
    assert v.variants(TEXTS, Augmentation(), seed=1) == []


def test_paraphrases_are_varied_in_turn(settings: Augmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    other = v.paraphrases.__globals__["Paraphrases"](tuple(f"the {text}" for text in TEXTS), failed=0, same=0)
    monkeypatch.setattr(v, "paraphrases", lambda texts, settings, *, seed: [other])
    found = v.variants(TEXTS, settings, seed=0)
    assert [each[3] for each in found] == ["nothing known", "the nothing known"] * 4
    assert v.variants(TEXTS, Augmentation(), seed=0) == [list(other.texts)]


def test_an_epoch_reads_each_text_once_in_one_of_its_variants(
    tokenizer: PreTrainedTokenizerBase, settings: Augmentation
) -> None:
    found = v.varied_texts(tokenizer, TEXTS * 25, settings, tokens=16, seed=0)
    assert len(found) == 100
    assert len(found.tokens) == 900
    seen = []
    for epoch in (0, 0, 1):
        for batches in (
            found.plan(64, np.random.default_rng(epoch)),
            found.batches_of(7, np.random.default_rng(epoch)),
        ):
            read = [found.batch(item) for item in batches]
            assert sorted(torch.cat([each.row for each in read]).tolist()) == list(range(100))
        seen.append(np.concatenate(batches))
    assert (seen[0] == seen[1]).all()
    assert set(seen[0]) != set(seen[2])
    assert np.bincount(seen[0] // 100).min() > 0
    assert all(len(item) * found.tokens.lengths[item].max() <= 64 for item in found.plan(64, np.random.default_rng(0)))


def test_what_is_judged_is_read_as_it_is(tokenizer: PreTrainedTokenizerBase, settings: Augmentation) -> None:
    found = v.varied_texts(tokenizer, TEXTS, settings, tokens=16, seed=0)
    usual = tokenise_texts(tokenizer, TEXTS, tokens=16)
    for ours, theirs in zip(found.plan(64), usual.plan(64), strict=True):
        assert torch.equal(found.batch(ours).ids, usual.batch(theirs).ids)


def test_phrases_are_varied_in_their_titles(tokenizer: PreTrainedTokenizerBase, settings: Augmentation) -> None:
    given = told("en")
    found = v.varied_phrases(tokenizer, given, settings, tokens=400, seed=0)
    usual = tokenise(tokenizer, given, tokens=400)
    assert len(found) == len(given)
    assert torch.equal(found.batch(np.arange(len(given))).ids, usual.batch(np.arange(len(given))).ids)
    said = tokenizer.batch_decode(found.batch(np.arange(len(found.tokens))).ids)
    assert any("cup of pantry" in text for text in said)
    assert not any("cup of pantry" in text for text in said[: len(given)])


def test_what_has_no_meaning_or_is_not_there_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mask = 0.1, but there are no events"):
        v.varied_texts(tokenizer, TEXTS, Augmentation(mask=0.1), tokens=16, seed=0)
    with pytest.raises(ConfigError, match="histories are read as texts"):
        v.varied_phrases(tokenizer, told("en"), Augmentation(crop=0.1), tokens=16, seed=0)
    missing = Augmentation(synonyms=0.1, thesaurus=str(tmp_path / "none.tsv"))
    with pytest.raises(SourceError, match="no such thesaurus"):
        v.varied_texts(tokenizer, TEXTS, missing, tokens=16, seed=0)
