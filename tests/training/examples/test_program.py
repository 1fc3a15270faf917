"""The classic program, from a recipe to its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.labelled import language_model, numbers, texts
from tests.shops import grocer
from valuecast.config.examples import Program, is_program, read_program
from valuecast.errors import ConfigError, FitError, ValuecastError
from valuecast.events.log import EventLog
from valuecast.training.examples.outcome import CONTENDERS
from valuecast.training.examples.predictor import TextPredictor
from valuecast.training.examples.program import Ran, run

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
[title]
en = "Who leaves?"
zh = "谁会离开？"
[examples]
path = "churn.csv"
[text]
model = "bert"
tokens = 24
[tuning]
epochs = 2
learning_rate = 3e-3
tracker = "none"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a language model in it."""
    folder = tmp_path_factory.mktemp("program")
    language_model(folder / "bert")
    return folder


def program(folder: Path, text: str = RECIPE) -> Program:
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    assert is_program(folder / "recipe.toml")
    return read_program(folder / "recipe.toml")


def ran(folder: Path, out: Path, text: str = RECIPE, *, log: Any = None) -> Ran:
    return run(
        program(folder, text), out=out, base=folder, log=log or (lambda: pytest.fail("no log is asked for")), say=str
    )


def test_a_file_becomes_a_model_and_a_page(folder: Path, tmp_path: Path) -> None:
    texts(200, unlabelled=20).write_csv(folder / "churn.csv")
    found = ran(folder, tmp_path, RECIPE.replace('"churn.csv"', '"churn.csv"\nreading = {positive = "leave"}'))
    assert {path.name for path in found.files} == {
        "model",
        "report.html",
        "report.zh.html",
        "metrics.csv",
        "epochs.csv",
        "classification.csv",
        "predictions.csv",
    }
    assert all(path.exists() for path in found.files)
    metrics = pl.read_csv(tmp_path / "metrics.csv")
    assert metrics["contender"].to_list() == ["usual", "boosted", "untrained", "linear", "tuned"]
    reports = pl.read_csv(tmp_path / "classification.csv")
    assert reports.filter(contender="tuned")["class"].to_list()[:2] == ["stay", "leave"]  # the positive is second
    predictions = pl.read_csv(tmp_path / "predictions.csv")
    assert len(predictions) == 200
    assert predictions["truth"].null_count() == 20
    again = TextPredictor.load(tmp_path / "model").predict(pl.read_csv(folder / "churn.csv"))
    assert again["p_leave"].to_list() == pytest.approx(predictions["p_leave"].to_list(), abs=1e-5)
    assert len(pl.read_csv(tmp_path / "epochs.csv")) == 2
    english, chinese = (str(found.report), (tmp_path / "report.zh.html").read_text(encoding="utf-8"))
    for text in ("Who leaves?", "Classification reports", "Precision", "its head is untrained"):
        assert text in " ".join(english.split())
    for text in ("谁会离开？", "分类报告", "精确率", "输出头未经训练"):
        assert text in chinese


def test_pseudo_labels_are_shown_whether_they_help_or_not(folder: Path, tmp_path: Path) -> None:
    texts(260, noise=0.02, unlabelled=120).write_csv(folder / "churn.csv")
    text = RECIPE.replace("epochs = 2", "epochs = 6\nbatch = 8") + "[pseudo]\nfloor = 0.6\n"
    found = ran(folder, tmp_path, text)
    told = " ".join(str(found.report).split())
    assert "Pseudo-labels" in told
    assert "the loss on validation: " in told
    assert found.outcome.taught is not None
    assert ("pseudo" in found.outcome.said) == (found.outcome.taught.last is not None)
    sure = ran(folder, tmp_path / "sure", text.replace("0.6", "0.9999"))
    assert "Nothing was taken" in " ".join(str(sure.report).split())


def test_numbers_have_a_page_without_classes(folder: Path, tmp_path: Path) -> None:
    numbers(200).write_csv(folder / "churn.csv")
    found = ran(folder, tmp_path)
    assert not (tmp_path / "classification.csv").exists()
    assert "Mean absolute error" in " ".join(str(found.report).split())
    assert "score" in pl.read_csv(tmp_path / "predictions.csv").columns
    assert "数值" in (tmp_path / "report.zh.html").read_text(encoding="utf-8")


def test_columns_and_dropped_rows_are_told(folder: Path, tmp_path: Path) -> None:
    frame = texts(200).with_row_index().rename({"text": "did"})
    frame = frame.with_columns(did=pl.when(pl.col("index") == 7).then(None).otherwise("did")).drop("index")
    frame.write_csv(folder / "churn.csv")
    reading = 'reading = {columns = ["did"], empty = "drop"}'
    found = ran(folder, tmp_path, RECIPE.replace('"churn.csv"', f'"churn.csv"\n{reading}'))
    told = " ".join(str(found.report).split())
    assert "1 rows without a text were left out, as asked: row 8." in told
    assert "LightGBM on the columns" in told
    assert "longer than the model reads" in told


def test_a_log_becomes_a_file(folder: Path, tmp_path: Path) -> None:
    opened: list[EventLog] = []

    def log() -> EventLog:
        opened.append(grocer(60))
        return opened[0]

    asked = 'task = "churn(days=10, active=60)"\nat = ["2021-06-01", "2021-07-01", "2021-08-01"]\nusers = 40'
    text = RECIPE.replace('path = "churn.csv"', asked) + '[data]\ndataset = "completejourney"\n'
    found = ran(folder, tmp_path, text, log=log)
    assert len(opened) == 1
    made = pl.read_csv(tmp_path / "examples.csv")
    assert made.columns == ["user", "at", "text", "label", "split"]
    assert len(made) == 120
    assert pl.read_csv(tmp_path / "predictions.csv")["user"].to_list() == made["user"].to_list()
    assert found.files[0] == tmp_path / "examples.csv"
    assert "features" in found.outcome.said
    assert "日志特征工程" in (tmp_path / "report.zh.html").read_text(encoding="utf-8")


def test_every_contender_has_a_name_in_both_languages() -> None:
    assert all(text.en and any("一" <= letter <= "鿿" for letter in text.zh) for text in CONTENDERS.values())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (('path = "churn.csv"', ""), "one of path and task is wanted"),
        (
            ('path = "churn.csv"', 'path = "a.csv"\ntask = "churn(days=10)"\nat = ["2021-06-01"]'),
            "one of path and task",
        ),
        (('path = "churn.csv"', 'task = "churn(days=10)"'), "the task has no cutoff"),
        (('path = "churn.csv"', 'task = "churn(days=10)"\nat = ["2021-06-01"]'), "a task, but no [data]"),
        (("[text]", '[data]\nlog = "log"\n[text]'), "[data] beside a file of texts"),
        (("epochs = 2", "epochs = 0"), "epochs"),
        (("epochs = 2", "batch = 0"), "batch: 0"),
        (("epochs = 2", 'method = "loar"'), "lora"),
        (("epochs = 2", "epoch = 2"), "Did you mean 'epochs'?"),
        (("tokens = 24", "tokens = 4"), "tokens: 4. Give 16 or more."),
        (("tokens = 24", "tokens = 9999"), "this model reads 512 at most"),
        (('model = "bert"', 'model = "./none"'), "none"),
        (('path = "churn.csv"', 'path = "none.csv"'), "none.csv: no such file"),
        (("[tuning]", "[pseudo]\nfloor = 2.0\n[tuning]"), "floor: 2.0"),
        (("[tuning]", "[pseudo]\n[tuning]"), "no row is without a label"),
        (('"churn.csv"', '"churn.csv"\nreading = {shares = {test = 0.7}}'), "test: 0.7"),
        (('"churn.csv"', '"churn.csv"\nusers = 0'), "users: 0"),
    ],
)
def test_what_is_wrong_is_said(change: tuple[str, str], what: str, folder: Path, tmp_path: Path) -> None:
    texts(60).write_csv(folder / "churn.csv")
    text = RECIPE.replace(*change)
    if '"./none"' in text:
        text = text.replace("./none", str(tmp_path / "none"))
    with pytest.raises(ValuecastError) as caught:
        ran(folder, tmp_path / "out", text)
    assert what in str(caught.value)
    assert isinstance(caught.value, ConfigError | FitError) or caught.value.where
    assert not (tmp_path / "out" / "report.html").exists()


def test_the_columns_of_a_file_that_is_made_are_known(folder: Path, tmp_path: Path) -> None:
    asked = 'task = "churn(days=10)"\nat = ["2021-06-01"]\nreading = {text = "words"}'
    text = RECIPE.replace('path = "churn.csv"', asked) + '[data]\nlog = "log"\n'
    with pytest.raises(ConfigError, match="the file is made here"):
        ran(folder, tmp_path, text, log=grocer)
