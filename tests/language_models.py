"""Tiny language models: weights are drawn, tokenizers are learned from a few lines, nothing is downloaded."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

Kind = Literal["bert", "roberta", "gpt2", "llama", "translator"]
KINDS: tuple[Kind, ...] = ("bert", "roberta", "gpt2", "llama")  # those that read; the translator writes

HIDDEN, LAYERS, HEADS, PLACES = 32, 2, 4, 512
WORDS = 400  # of a vocabulary, at most
LINES = (
    "white hanging heart t-light holder. red woolly hottie. set of 3 cake tins, pantry design.",
    "in june, a customer for 14 months, with 12 orders, the last 9 days ago.",
    "2 days before: purchase of 34.50: jumbo bag, red retrospot; regency cakestand 3 tier.",
    "the same day: return of 4.95: paper chain kit. a year before: view of a vintage doily.",
    "0 1 2 3 4 5 6 7 8 9 10 12 15 20 24 25 30 36 48 50 60 75 90 100 120 150 200 250 365 500 1000",
    "六月，顾客十四个月，订单十二笔。两天前：购买三十四元：红色茶杯；白色烛台。当天：退货。一年前：浏览。",
)


def tiny(kind: Kind, folder: Path, *, seed: int = 0) -> Path:
    """Save a model and its tokenizer as the real ones come: with the head it was trained by.

    Two layers of 32 units, at most 512 places. ``bert`` has a WordPiece tokenizer with [CLS] and [SEP]; ``roberta`` and
    ``translator`` a byte-level one with <s> and </s>; ``llama`` one with <s> alone; ``gpt2`` one without special tokens
    around a text; the last two have no token for padding.

    Returns:
        The folder.
    """
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokenizer(kind), model_max_length=PLACES, **_named(kind))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _model(kind, tokenizer)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def _tokenizer(kind: Kind) -> Tokenizer:
    if kind == "bert":
        return _wordpiece()
    special = {"roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "translator": ["<s>", "<pad>", "</s>", "<unk>"]}
    special |= {"llama": ["<s>", "</s>"], "gpt2": ["<|endoftext|>"]}
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special[kind], initial_alphabet=alphabet, show_progress=False
    )
    found.train_from_iterator(LINES, trainer)
    if kind != "gpt2":
        around = "<s> $A" if kind == "llama" else "<s> $A </s>"
        ids = [(token, found.token_to_id(token)) for token in ("<s>", "</s>")]
        found.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    return found


def _wordpiece() -> Tokenizer:
    found = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    found.train_from_iterator(LINES, trainer)
    ids = [(token, found.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    found.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return found


def _named(kind: Kind) -> dict[str, str]:
    if kind == "bert":
        return {
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "mask_token": "[MASK]",
        }
    if kind == "gpt2":
        return {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    return ends if kind == "llama" else ends | {"pad_token": "<pad>", "unk_token": "<unk>"}


def _model(kind: Kind, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    size = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if tokenizer.pad_token_id is not None:
        size["pad_token_id"] = tokenizer.pad_token_id
    body = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 2 * HIDDEN}
    model: PreTrainedModel
    if kind == "bert":
        config = transformers.BertConfig(**size, **body, hidden_size=HIDDEN, max_position_embeddings=PLACES)
        model = transformers.BertForMaskedLM(config)
    elif kind == "roberta":  # places are numbered from the one after the padding's
        config = transformers.RobertaConfig(
            **size, **body, hidden_size=HIDDEN, max_position_embeddings=PLACES + 2, type_vocab_size=1
        )
        model = transformers.RobertaForMaskedLM(config)
    elif kind == "gpt2":
        config = transformers.GPT2Config(**size, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_positions=PLACES)
        model = transformers.GPT2LMHeadModel(config)
    elif kind == "llama":
        config = transformers.LlamaConfig(
            **size, **body, hidden_size=HIDDEN, num_key_value_heads=2, max_position_embeddings=PLACES
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        half = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": 2 * HIDDEN}
        sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in half.items()}
        config = transformers.BartConfig(
            **size, **sides, d_model=HIDDEN, max_position_embeddings=PLACES, decoder_start_token_id=size["eos_token_id"]
        )
        model = transformers.BartForConditionalGeneration(config)
    return model
