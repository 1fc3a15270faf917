"""Paraphrases by translation into another language and back (Sennrich, Haddow and Birch, 2016, turned to this use).

A translator is anything that makes texts of texts. What comes back without its numbers, or not at all, is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
import transformers
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

from valuecast.config.augment import Augmentation
from valuecast.errors import MissingExtraError, ModelError
from valuecast.models.text.source import locate

BEAMS: Final = 4
TOP: Final = 0.9
"""Sampling draws from the likeliest tokens that together have this probability."""
_BATCH: Final = 32
_NUMBER: Final = re.compile(r"\d+(?:[.,:/]\d+)*")
_REMEDY: Final = "Give a translation model, such as one of Marian, M2M100 or NLLB."


class Translator(Protocol):
    """Makes texts of texts."""

    def __call__(self, texts: Sequence[str], *, seed: int | None = None) -> list[str]:
        """Translate.

        Args:
            texts: each different from the others, none empty.
            seed: of what is drawn; None: the best translation, always the same.

        Returns:
            One for each text, in their order; empty where there is none.
        """


@dataclass(frozen=True)
class Paraphrases:
    """What came of translating texts there and back.

    Attributes:
        texts: one for each that was given, in their order.
        failed: how many of them are as they were given, because no text or other numbers came back.
        same: how many are as they were given because that is what came back.
    """

    texts: tuple[str, ...]
    failed: int
    same: int


def back_translate(
    texts: Sequence[str], there: Translator, back: Translator, *, seed: int | None = None
) -> Paraphrases:
    """Translate texts there and back, each different one once.

    Args:
        texts: any; empty ones stay.
        there: into another language.
        back: from it.
        seed: see ``Translator``.
    """
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    outward = dict(zip(distinct, there(distinct, seed=seed), strict=True)) if distinct else {}
    between = [text for text in dict.fromkeys(outward.values()) if text.strip()]
    homeward = dict(zip(between, back(between, seed=seed), strict=True)) if between else {}
    found = {text: homeward.get(outward[text], "").strip() for text in distinct}
    kept = {text for text, other in found.items() if not other or _numbers(text) != _numbers(other)}
    return Paraphrases(
        tuple(text if text in kept else found.get(text, text) for text in texts),
        failed=sum(text in kept for text in texts),
        same=sum(text not in kept and found.get(text) == text for text in texts),
    )


def paraphrases(texts: Sequence[str], settings: Augmentation, *, seed: int) -> list[Paraphrases]:
    """Return as many paraphrases of each text as are asked for: the likeliest, and then others that are drawn.

    Raises:
        ModelError: a model is missing, or does not translate.
    """
    if not settings.translations or settings.translator is None or settings.back is None:
        return []
    outward = tuple(settings.languages)
    there = HuggingFaceTranslator.open(settings.translator, languages=outward)
    back = HuggingFaceTranslator.open(settings.back, languages=outward[::-1])
    seeds = [None, *(seed + number for number in range(1, settings.translations))]
    return [back_translate(texts, there, back, seed=each) for each in seeds]


@dataclass(frozen=True, eq=False)
class HuggingFaceTranslator:
    """A translation model of ``transformers``.

    Attributes:
        model: an encoder with a decoder.
        tokenizer: its own.
        first: id of the token that a translation begins with, where that chooses its language.
        most: most tokens of a text; longer ones are not translated, as their ends would be lost.
    """

    model: Any
    tokenizer: Any
    first: int | None
    most: int

    @classmethod
    def open(cls, name: str, *, languages: Sequence[str] = ()) -> HuggingFaceTranslator:
        """Open a model.

        Args:
            name: a folder, ``package:`` and the name of a package that carries one, or the id of a hub.
            languages: what a model of many languages calls the one it reads, and the one it writes; else none.

        Raises:
            MissingExtraError: what reads its tokenizer is not installed.
            ModelError: there is no such model, it does not translate, or it has no such language.
        """
        folder = locate(name)
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            raise ModelError(_said("the folder is not a model", error), where=name, remedy="Check the path.") from error
        if not config.is_encoder_decoder:
            what = f"'{config.model_type}' is not an encoder with a decoder, so it does not translate"
            raise ModelError(what, where=name, remedy=_REMEDY)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with _no_bar():
                model, info = AutoModelForSeq2SeqLM.from_pretrained(
                    folder, dtype=torch.float32, output_loading_info=True, **options
                )
                tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
        except ImportError as error:
            package = next((each for each in ("sentencepiece", "sacremoses") if each in str(error)), "sentencepiece")
            install = f"pip install {package}"
            raise MissingExtraError(package, install=install, purpose=f"the tokenizer of '{name}'") from error
        except Exception as error:
            what = _said("the model cannot be opened", error)
            raise ModelError(what, where=name, remedy="Copy or download the model again.") from error
        if missing := sorted(info["missing_keys"]):
            what = f"weights are missing: {', '.join(missing[:3])}"
            raise ModelError(what, where=name, remedy="Copy or download the model again.")
        first = _languages(tokenizer, name, languages)
        if model.generation_config.eos_token_id is None or tokenizer.pad_token_id is None:
            what = "the model has no token that ends a translation, or none to pad with"
            raise ModelError(what, where=name, remedy=_REMEDY)
        last = max([*tokenizer.get_vocab().values(), first or 0])
        if last >= model.get_input_embeddings().num_embeddings:
            what = f"the tokenizer is not this model's: it numbers {last + 1} tokens, and the model has fewer"
            raise ModelError(what, where=name, remedy="Copy the model's own tokenizer beside its weights.")
        # Some force an end at the greatest length: what never ends would look as if it had.
        model.generation_config.forced_eos_token_id = None
        places = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        return cls(model.eval(), tokenizer, first, min(int(places), int(tokenizer.model_max_length), 512))

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], *, seed: int | None = None) -> list[str]:
        """Translate by beam search, or, with a seed, by drawing from the likeliest tokens."""
        length = [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]] if texts else []
        order = sorted((i for i in range(len(texts)) if length[i] <= self.most), key=lambda i: -length[i])
        found = [""] * len(texts)
        device = self.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed or 0)
            for start in range(0, len(order), _BATCH):
                some = order[start : start + _BATCH]
                for place, text in zip(some, self._some([texts[i] for i in some], drawn=seed is not None), strict=True):
                    found[place] = text
        return found

    def _some(self, texts: list[str], *, drawn: bool) -> list[str]:
        """Translate one batch; what has no end is none."""
        given = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.model.device)
        given = {name: given[name] for name in ("input_ids", "attention_mask")}
        how: dict[str, Any] = {"do_sample": True, "top_p": TOP, "num_beams": 1} if drawn else {"num_beams": BEAMS}
        if self.first is not None:
            how["forced_bos_token_id"] = self.first
        longest = min(2 * given["input_ids"].shape[1] + 16, self.most - 1)
        out = self.model.generate(**given, **{"do_sample": False, **how}, max_new_tokens=longest)
        ends = self.model.generation_config.eos_token_id
        ends = torch.tensor(ends if isinstance(ends, list) else [ends], device=out.device)
        ended = torch.isin(out[:, 1:], ends).any(dim=1).tolist()  # the first token is where a decoder begins
        written = self.tokenizer.batch_decode(out, skip_special_tokens=True)
        return [text.strip() if whole else "" for text, whole in zip(written, ended, strict=True)]


def _languages(tokenizer: Any, name: str, languages: Sequence[str]) -> int | None:
    """Tell a tokenizer of many languages which one it reads; return the token of the one that is written."""
    many = hasattr(tokenizer, "src_lang")
    if many != bool(languages):
        what = "the model translates many languages" if many else "the model translates one pair of languages"
        remedy = "Say which two (languages)." if many else "Leave languages out."
        raise ModelError(what, where=name, remedy=remedy)
    if not many:
        return None
    tokens = [_token(tokenizer, language) for language in languages]
    for language, token in zip(languages, tokens, strict=True):
        if token is None:
            remedy = "Use its own codes, such as eng_Latn (NLLB), en_XX (mBART) or en (M2M100)."
            raise ModelError(f"the model has no language '{language}'", where=name, remedy=remedy)
    tokenizer.src_lang = languages[0]
    return tokens[1]


def _token(tokenizer: Any, language: str) -> int | None:
    """Return the token of a language, which is its code, or for M2M100 its code between underscores."""
    for written in (language, f"__{language}__"):
        token: int | None = tokenizer.convert_tokens_to_ids(written)
        if token is not None and token != tokenizer.unk_token_id:
            return token
    return None


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBER.findall(text))


@contextmanager
def _no_bar() -> Iterator[None]:
    """Keep the progress of opening a model, which is a matter of seconds, to itself."""
    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.logging.enable_progress_bar()


def _said(what: str, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{what} ({lines[0]})" if lines else what
