"""Translation there and back, by plain functions and by tiny models that have learned a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import transformers

from tests.language_models import tiny
from valuecast.config.augment import Augmentation
from valuecast.errors import ModelError
from valuecast.training.augmentation.translation import (
    HuggingFaceTranslator,
    Paraphrases,
    back_translate,
    paraphrases,
)

PAIRS = {"red mug": "rote tasse", "set of 3 tins": "3 dosen", "a vintage doily": "alte decke"}
HOME = {"rote tasse": "crimson mug", "3 dosen": "3 tins", "alte decke": "old 7 doily"}


class Table:
    """A translator that knows some texts, and counts what it is asked."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str], *, seed: int | None = None) -> list[str]:
        self.asked += texts
        return [self.known.get(text, "") + ("" if seed is None else f" v{'i' * seed}") for text in texts]


def test_texts_are_translated_once_each_and_keep_their_numbers() -> None:
    there, back = Table({**PAIRS, "same": "gleich", "4.50": "4,50"}), Table({**HOME, "gleich": "same", "4,50": "4,50"})
    texts = ["red mug", "", "set of 3 tins", "red mug", "a vintage doily", "no such", "same", "4.50", "  "]
    found = back_translate(texts, there, back)
    expected = ["crimson mug", "", "3 tins", "crimson mug", "a vintage doily", "no such", "same", "4.50", "  "]
    assert found == Paraphrases(tuple(expected), failed=3, same=1)
    assert sorted(there.asked) == sorted({text for text in texts if text.strip()})
    assert sorted(back.asked) == ["3 dosen", "4,50", "alte decke", "gleich", "rote tasse"]


def test_nothing_is_asked_about_nothing() -> None:
    there = Table({})
    assert back_translate(["", " "], there, there) == Paraphrases(("", " "), failed=0, same=0)
    assert there.asked == []


def learned(folder: Path, pairs: dict[str, str]) -> str:
    """A tiny model that has learned to translate these texts, and nothing else."""
    tiny("translator", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()  # no dropout: it learns at once
    given = tokenizer(list(pairs), padding=True, return_tensors="pt")
    labels = tokenizer(list(pairs.values()), padding=True, return_tensors="pt")
    target = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.02)
        for _ in range(50):
            loss = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"], labels=target).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("translators")
    return learned(folder / "there", PAIRS), learned(folder / "back", HOME)


def test_models_translate_there_and_back(models: tuple[str, str]) -> None:
    there, back = map(HuggingFaceTranslator.open, models)
    assert there(list(PAIRS)) == list(PAIRS.values())
    assert there(list(PAIRS) * 20) == list(PAIRS.values()) * 20
    found = back_translate([*PAIRS, "red mug"], there, back)
    assert found == Paraphrases(("crimson mug", "3 tins", "a vintage doily", "crimson mug"), failed=1, same=0)


def test_paraphrases_are_as_many_as_asked_and_decided_by_the_seed(models: tuple[str, str]) -> None:
    settings = Augmentation(translator=models[0], back=models[1], translations=3)
    texts = [*PAIRS, "red mug"]
    state = torch.get_rng_state()
    found = paraphrases(texts, settings, seed=5)
    assert len(found) == 3
    assert found[0].texts[0] == "crimson mug"
    assert found == paraphrases(texts, settings, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    assert paraphrases(texts, Augmentation(), seed=5) == []


def test_what_has_no_end_or_is_too_long_is_not_translated(tmp_path: Path, models: tuple[str, str]) -> None:
    untaught = HuggingFaceTranslator.open(str(tiny("translator", tmp_path / "untaught")))
    untaught.model.generation_config.eos_token_id = 399  # whatever it writes, it does not mean to end
    assert back_translate(["red mug"], untaught, untaught).failed == 1
    there = HuggingFaceTranslator.open(models[0])
    assert there(["red mug " * 300, "red mug"]) == ["", "rote tasse"]


def test_a_model_that_does_not_translate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'bert' is not an encoder with a decoder"):
        HuggingFaceTranslator.open(str(tiny("bert", tmp_path / "bert")))
    with pytest.raises(ModelError, match="no such folder"):
        HuggingFaceTranslator.open(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="not a model"):
        HuggingFaceTranslator.open(str(tmp_path / "empty"))
    folder = tiny("translator", tmp_path / "other")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{i}" for i in range(200)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="the tokenizer is not this model's"):
        HuggingFaceTranslator.open(str(folder))
    folder = tiny("translator", tmp_path / "cut")
    for file in folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be opened"):
        HuggingFaceTranslator.open(str(folder))


def test_languages_are_for_models_of_many(models: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"one pair of languages. Leave languages out"):
        HuggingFaceTranslator.open(models[0], languages=("en", "de"))
    many = multilingual(tmp_path / "many")
    with pytest.raises(ModelError, match="Say which two"):
        HuggingFaceTranslator.open(many)
    with pytest.raises(ModelError, match="no language 'xx'"):
        HuggingFaceTranslator.open(many, languages=("eng_Latn", "xx"))
    found = HuggingFaceTranslator.open(many, languages=("eng_Latn", "zho_Hans"))
    assert found.tokenizer.src_lang == "eng_Latn"
    assert found.first == found.tokenizer.convert_tokens_to_ids("zho_Hans")
    assert len(found(["a", "b"])) == 2


def multilingual(folder: Path) -> str:
    """A model of many languages with weights that are drawn."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = [*special, *"▁abcdefgh"]
    tokenizer = transformers.NllbTokenizer(vocab={each: i for i, each in enumerate(vocab)}, merges=[])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.M2M100Config(
            vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64,
        )  # fmt: skip
        transformers.M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
