"""``valuecast search``: from a backbone to the model that is best fine-tuned."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.commands import END, done, ingested, lines, refused, write_csv

TASK = "churn(days=20, active=60)"
ASKED = ("--task", TASK, "--before", "2024-09-01", "--every", "30")
SETTINGS = "[optimisation]\nepochs = 2\ntracker = 'none'\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log, a backbone, and settings that are quick."""
    folder = tmp_path_factory.mktemp("shop")
    file = write_csv(folder / "sales.csv", lines(40))
    ingested(file, folder / "log", "--amount", "amount", "--since", "2024-01-01", "--until", END)
    more = ("--before", "2024-05-01", "--size", "tiny", "--epochs", "1", "--out", folder / "base")
    done("pretrain", folder / "log", *more)
    (folder / "quick.toml").write_text(SETTINGS)
    return folder


def test_a_search_leaves_a_model_and_its_trials_and_is_not_repeated(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    asked = ("search", shop / "base", shop / "log", *ASKED, "--out", out, "--settings", shop / "quick.toml")
    methods = ("--method", "frozen", "--method", "lora")
    ran = done(*asked, *methods, "--trials", "2")
    trials = pl.read_csv(tmp_path / "model.search" / "trials.csv")
    assert trials["method"].to_list() == ["frozen", "lora"]
    assert f"wrote {tmp_path / 'model.search' / 'trials.csv'}" in ran.out
    assert "churn_20d on validation: " in ran.out
    assert "search: trial 2 of 2: method lora, head hazard, learning_rate 0.001" in ran.err
    again = done(*asked, *methods, "--trials", "2")
    assert "search: trial" not in again.err
    assert again.out == ran.out
    done("predict", out, shop / "log", "--at", "2024-09-01", "--out", tmp_path / "scores.csv")
    assert "the two differ in methods" in refused(*asked, "--method", "frozen")
    assert "the two differ in log" in refused(*asked, *methods, "--trials", "2", "--sample", "0.5")


def test_what_cannot_be_searched_is_said_at_once(shop: Path, tmp_path: Path) -> None:
    asked = ("search", shop / "base", shop / "log", *ASKED, "--out", tmp_path / "model")
    assert "Did you mean 'lora'?" in refused(*asked, "--method", "loar")
    assert "--task: several tasks for one search" in refused(*asked, "--task", TASK)
    assert "--before: the log is known only until" in refused(*asked, "--before", "2025-01-01")
    assert not list(tmp_path.iterdir())
