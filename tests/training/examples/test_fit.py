"""Fine-tuning a language model on labelled texts: every method, saved and read back, through the one loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
import torch

from tests.labelled import language_model, numbers, table, texts, tuning
from valuecast.config.augment import Augmentation
from valuecast.config.examples import Reading
from valuecast.config.learning import Adaptation
from valuecast.errors import ConfigError, FitError, ModelError, SourceError
from valuecast.models.text.backbone import TextBackbone
from valuecast.training.checkpoint import digest
from valuecast.training.examples.fit import Fitted, fit, untrained
from valuecast.training.examples.predictor import TextPredictor
from valuecast.training.examples.scores import measured
from valuecast.training.examples.table import Labelled

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS: tuple[Adaptation, ...] = get_args(Adaptation)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> TextBackbone:
    return language_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def fitted(bert: TextBackbone) -> Fitted:
    return fit(bert, table(), tuning=tuning(epochs=4))


def on_test(fitted: Fitted, rows: Labelled) -> dict[str, float]:
    said = fitted.predictor.said(fitted.predictor.states(rows.of("test")["text"].to_list()))
    return measured(rows.kind, rows.numbers("test"), said)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fits_and_answers_the_same_after_it_was_saved(
    method: Adaptation, bert: TextBackbone, tmp_path: Path
) -> None:
    rows, before = table(), digest(bert.network)
    found = fit(bert, rows, tuning=tuning(method=method, layers=1, rank=2, vectors=2, bottleneck=4))
    assert digest(bert.network) == before  # the language model is left as it is
    assert found.history.epochs[-1].training["label"] < found.history.epochs[0].training["label"]
    found.predictor.save(tmp_path / "model")
    again = TextPredictor.load(tmp_path / "model")
    asked = texts(30, seed=5).drop("label")
    first, second = (each.predict(asked) for each in (found.predictor, again))
    assert first.equals(second)
    assert first["user"].equals(asked["user"])
    assert first["p_leave"].is_between(0, 1).all()
    assert (first["p_leave"] + first["p_stay"]).to_list() == pytest.approx([1.0] * 30)
    assert found.predictor.facts["parameters"]["trained"] <= found.predictor.facts["parameters"]["network"]
    assert (found.predictor.facts["parameters"]["trained"] == 0) == (method == "frozen")


def test_it_learns_what_the_words_tell(fitted: Fitted, bert: TextBackbone) -> None:
    rows = table()
    before = untrained(bert, rows)
    said = before.said(before.states(rows.of("test")["text"].to_list()))
    shares = np.bincount(rows.numbers("train").astype(int)) / len(rows.of("train"))
    assert said == pytest.approx(np.tile(shares, (len(said), 1)), abs=0.1)  # it knows how often each label occurs
    found = on_test(fitted, rows)
    assert found["auc"] > 0.8
    assert found["log_loss"] < measured(rows.kind, rows.numbers("test"), said)["log_loss"]


@pytest.mark.parametrize("kind", ["roberta", "gpt2", "llama"])
def test_other_language_models_learn_too(kind: str, tmp_path: Path) -> None:
    model = language_model(tmp_path / "model", kind)  # type: ignore[arg-type]
    found = fit(model, table(), tuning=tuning(epochs=4))
    assert on_test(found, table())["auc"] > 0.8
    found.predictor.save(tmp_path / "predictor")
    asked = texts(20, seed=5)
    assert TextPredictor.load(tmp_path / "predictor").predict(asked).equals(found.predictor.predict(asked))


def test_several_classes_and_numbers(bert: TextBackbone, tmp_path: Path) -> None:
    several = table(texts(150, classes=3, noise=0.05))
    found = fit(bert, several, tuning=tuning(epochs=5))
    assert on_test(found, several)["accuracy"] > 0.6
    answered = found.predictor.predict(texts(20, classes=3))
    assert answered.columns == ["user", "label", "confidence", "p_leave", "p_new", "p_stay"]
    assert answered.select(pl.sum_horizontal(pl.col("^p_.*$"))).to_series().to_list() == pytest.approx([1.0] * 20)
    called = answered.select(pl.max_horizontal(pl.col("^p_.*$"))).to_series()
    assert answered["confidence"].equals(called.alias("confidence"))

    amounts = table(numbers())
    found = fit(bert, amounts, tuning=tuning(epochs=8))
    assert on_test(found, amounts)["spearman"] > 0.4
    found.predictor.save(tmp_path / "model")
    again = TextPredictor.load(tmp_path / "model")
    assert again.predict(numbers(20)).columns == ["user", "score"]
    states = again.states(["red cake tins", "return of paper"])
    assert (again.spread(states) > 0).all()
    with pytest.raises(ModelError, match="labels are classes"):
        fit(bert, several, tuning=tuning(epochs=1)).predictor.spread(states)


def test_a_text_is_answered_alone_as_among_others(fitted: Fitted) -> None:
    asked = texts(20, seed=5)
    together, alone = fitted.predictor.predict(asked), fitted.predictor.predict(asked[7:8])
    assert together[7:8]["p_leave"].to_list() == pytest.approx(alone["p_leave"].to_list(), abs=1e-5)


def test_what_the_model_has_no_word_for_is_counted(fitted: Fitted) -> None:
    assert fitted.predictor.unknown(["red cake tins", "return of paper"]) == 0
    assert fitted.predictor.unknown(["red cake tins", "顾客很满意"]) > 0.1


def test_texts_that_are_too_long_are_cut_and_counted(fitted: Fitted) -> None:
    long = "red cake tins " * 700_000  # 10 MB
    frame = pl.DataFrame({"user": ["a", "b", "c"], "text": [long, "red cake tins " * 40, "😀 [SEP] \u0000 '"]})
    answered = fitted.predictor.predict(frame)
    assert answered["p_leave"].is_finite().all()
    assert answered["p_leave"][0] == pytest.approx(answered["p_leave"][1], abs=1e-5)
    assert fitted.predictor.count_cut(frame["text"].to_list()) == 2
    exact = next(n for n in range(1, 60) if fitted.predictor.tokenised(["a " * n]).lengths[0] == 24)
    assert fitted.predictor.count_cut(["a " * exact]) == 0
    assert fitted.predictor.count_cut(["a " * (exact + 1)]) == 1


def test_a_user_without_a_text_is_refused(fitted: Fitted) -> None:
    frame = pl.DataFrame({"user": ["a", "b"], "text": ["red", None]})
    with pytest.raises(SourceError, match="column 'text' is empty: row 2"):
        fitted.predictor.predict(frame)
    with pytest.raises(SourceError, match="no column 'text'"):
        fitted.predictor.predict(frame.drop("text"))


def test_columns_are_remembered(bert: TextBackbone, tmp_path: Path) -> None:
    frame = texts().rename({"user": "id"}).with_columns(pl.col("text").alias("did")).drop("text")
    reading = Reading(user="id", columns=("did",))
    found = fit(bert, table(frame, user="id", columns=("did",)), reading=reading, tuning=tuning(epochs=1))
    found.predictor.save(tmp_path / "model")
    again = TextPredictor.load(tmp_path / "model").predict(frame.drop("label"))
    assert again["user"].equals(frame["id"].alias("user"))


def test_every_epoch_is_measured_on_validation(fitted: Fitted) -> None:
    assert len(fitted.measured) == len(fitted.history.epochs)
    for epoch, found in zip(fitted.history.epochs, fitted.measured, strict=True):
        assert found["log_loss"] == pytest.approx(epoch.validation["label"], abs=1e-4)
        assert set(found) >= {"accuracy", "auc"}
    best = fitted.predictor.facts["validation"]
    rows = table()
    said = fitted.predictor.said(fitted.predictor.states(rows.of("validation")["text"].to_list()))
    assert measured(rows.kind, rows.numbers("validation"), said)["auc"] == pytest.approx(best["auc"])


def test_it_stops_early_and_keeps_the_best(bert: TextBackbone) -> None:
    said: list[str] = []
    rows = table(texts(noise=0.5))  # nothing to learn: it can only get worse
    found = fit(bert, rows, tuning=tuning(epochs=30, patience=2, learning_rate=1e-2), progress=said.append)
    assert found.history.stopped_early
    assert len(found.history.epochs) == found.history.best_epoch + 2
    losses = [epoch.validation["label"] for epoch in found.history.epochs]
    assert losses.index(min(losses)) == found.history.best_epoch - 1
    assert any("epoch 1 on validation: accuracy" in line for line in said)
    assert any("stopping early" in line for line in said)


def test_a_run_that_is_over_is_not_repeated_and_the_same_seed_gives_the_same(
    bert: TextBackbone, tmp_path: Path
) -> None:
    def run(folder: Path | None, seed: int = 0) -> Fitted:
        return fit(bert, table(), tuning=tuning(method="lora"), folder=folder, seed=seed)

    first, again, other, changed = run(tmp_path), run(tmp_path), run(None), run(None, 1)
    assert digest(first.predictor.answers.answerer) == digest(again.predictor.answers.answerer)
    assert digest(first.predictor.answers.answerer) == digest(other.predictor.answers.answerer)
    assert digest(first.predictor.answers.answerer) != digest(changed.predictor.answers.answerer)
    assert first.measured == again.measured == other.measured
    assert again.history == first.history
    with pytest.raises(ConfigError, match="another run"):
        fit(bert, table(texts(100)), tuning=tuning(method="lora"), folder=tmp_path)


def test_a_run_that_was_killed_is_continued(bert: TextBackbone, tmp_path: Path) -> None:
    whole = fit(bert, table(), tuning=tuning(epochs=3))

    def stop(line: str) -> None:
        if "epoch 2 on validation" in line:
            raise KeyboardInterrupt

    how = tuning(epochs=3, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit(bert, table(), tuning=how, folder=tmp_path, progress=stop)
    told: list[str] = []
    again = fit(bert, table(), tuning=how, folder=tmp_path, progress=told.append)
    assert not any("epoch 1 of 3 done" in line for line in told)
    assert digest(again.predictor.answers.answerer) == digest(whole.predictor.answers.answerer)
    assert again.measured == whole.measured


def test_what_cannot_be_is_said(bert: TextBackbone, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="9 layers should train"):
        fit(bert, table(), tuning=tuning(method="last-n", layers=9))
    with pytest.raises(ModelError, match="no such text predictor folder"):
        TextPredictor.load(tmp_path / "none")
    predictor = fit(bert, table(), tuning=tuning(epochs=1)).predictor
    predictor.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["kind"] == "text predictor"
    assert not [path for path in (tmp_path / "model").rglob("*") if path.suffix in {".pkl", ".pt", ".bin"}]
    (tmp_path / "model" / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="damaged"):
        TextPredictor.load(tmp_path / "model")


def test_the_callers_sources_of_chance_are_left_alone(bert: TextBackbone) -> None:
    before = torch.get_rng_state()
    fit(bert, table(), tuning=tuning(epochs=1, method="scratch"))
    assert torch.equal(before, torch.get_rng_state())


def test_training_texts_are_varied_and_the_others_are_not(bert: TextBackbone, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("red,crimson,scarlet\nchain,strand\n")
    vary = Augmentation(synonyms=0.9, thesaurus=str(tmp_path / "words.csv"))
    plain, varied = (fit(bert, table(), tuning=tuning(), augmentation=each) for each in (None, vary))
    assert varied.history.epochs[0].training != plain.history.epochs[0].training
    assert varied.history.steps == plain.history.steps
    best = varied.predictor.facts["validation"]
    rows = table()
    said = varied.predictor.said(varied.predictor.states(rows.of("validation")["text"].to_list()))
    assert measured(rows.kind, rows.numbers("validation"), said)["log_loss"] == pytest.approx(best["log_loss"])
    with pytest.raises(ConfigError, match="there are no events"):
        fit(bert, rows, tuning=tuning(), augmentation=Augmentation(crop=0.5))
    with pytest.raises(ConfigError, match="frozen"):
        fit(bert, rows, tuning=tuning(method="frozen"), augmentation=vary)
