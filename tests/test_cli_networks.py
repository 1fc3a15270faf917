"""``valuecast pretrain``, ``finetune`` and ``survival``, and what ``predict`` and ``evaluate`` make of their models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

from tests.commands import END, done, ingested, lines, refused, valuecast, write_csv
from tests.language_models import tiny
from valuecast.config.learning import HeadKind, Size, Trunk, Tuning
from valuecast.models import neural

TASK, VALUE = "churn(days=20, active=60)", "value(days=20, active=60)"
BEFORE = "2024-09-01"
ASKED = ("--before", BEFORE, "--every", "30")
SETTINGS = "rank = 4\n[optimisation]\nepochs = 1\ntracker = 'none'\n"

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log, a backbone, settings that are quick, and models of churn and value."""
    folder = tmp_path_factory.mktemp("shop")
    file = write_csv(folder / "sales.csv", lines(40))
    ingested(file, folder / "log", "--amount", "amount", "--since", "2024-01-01", "--until", END)
    more = ("--before", "2024-05-01", "--size", "tiny", "--epochs", "1", "--out", folder / "base")
    done("pretrain", folder / "log", *more)
    (folder / "quick.toml").write_text(SETTINGS)
    finetuned(folder, folder / "models", "--task", TASK, "--task", VALUE)
    return folder


def finetuned(shop: Path, out: Path, *more: str, before: str = BEFORE) -> str:
    """Fine-tune quickly."""
    asked = ("finetune", shop / "base", shop / "log", "--before", before, "--every", "30")
    more = more if "--method" in more else (*more, "--method", "full")
    return done(*asked, "--settings", shop / "quick.toml", "--out", out, *more).out


def scored(shop: Path, model: Path, out: Path) -> list[str]:
    """Whom a model scores."""
    done("predict", model, shop / "log", "--at", BEFORE, "--out", out)
    return pl.read_csv(out)["user"].to_list()


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def test_a_language_model_reads_what_items_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path / "cache"))
    model = tiny("bert", tmp_path / "model")
    titles = ("red mug", "white mug", "jumbo bag", "cake tin")
    rows = [(*line, titles[number % 4]) for number, line in enumerate(lines(20))]
    file, log = write_csv(tmp_path / "sales.csv", rows, "customer,date,amount,what"), tmp_path / "log"
    ingested(file, log, "--amount", "amount", "--item", "what", "--since", "2024-01-01", "--until", END)
    asked = ("pretrain", log, "--before", "2024-05-01", "--size", "tiny", "--epochs", "1", "--out", tmp_path / "base")
    done(*asked, "--text", model)
    assert facts(tmp_path / "base")["facts"]["settings"]["text"]["model"] == str(model)
    assert json.loads((tmp_path / "base/encoding.json").read_text())["texts"] == ["item"]
    assert "no such" in refused(*asked, "--text", tmp_path / "none")


def test_pretraining_leaves_a_backbone_and_is_not_repeated(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "how.toml").write_text(
        "[architecture]\nlength = 16\n[objectives]\ncounts = 0\n[optimisation]\nepochs = 9\ntracker = 'none'\n"
    )
    size = ("--size", "tiny", "--trunk", "gru", "--epochs", "1")
    how = ("--settings", tmp_path / "how.toml", "--seed", "3")
    asked = ("pretrain", shop / "log", "--before", "2024-05-01", "--out", tmp_path / "base", *size, *how)
    ran = done(*asked)
    assert ran.out.endswith(f"wrote {tmp_path / 'base'}, pre-trained on what happened before 2024-05-01\n")
    assert "next_event/gap: loss " in ran.out
    assert "pretraining: epoch 1 of 1 done" in ran.err
    found = facts(tmp_path / "base")
    assert found["architecture"] == {
        "trunk": "gru",
        "size": "tiny",
        "length": 16,
        "dropout": 0.1,
        "checkpointing": False,
    }
    assert found["facts"]["seed"] == 3
    assert not any(name.startswith("counts/") for name in found["facts"]["validation"])
    assert (tmp_path / "base.training").is_dir()
    again = done(*asked)
    assert again.out == ran.out
    assert "epoch 1 of 1 done" not in again.err
    assert "the checkpoint is of another run (seed: 3 there, 4 here" in refused(*asked, "--seed", "4")


def test_a_network_may_learn_from_a_share_of_the_users(shop: Path, tmp_path: Path) -> None:
    half = ("--sample", "0.5")
    more = ("--before", "2024-05-01", "--size", "tiny", "--epochs", "1", "--out", tmp_path / "base")
    done("pretrain", shop / "log", *more, *half)
    fine = ("--task", TASK, "--method", "full")
    finetuned(shop, tmp_path / "half", *fine, *half)
    finetuned(shop, tmp_path / "all", *fine)
    for of_half, of_all in (("base", shop / "base"), ("half", tmp_path / "all")):
        users = [facts(folder)["facts"]["users"] for folder in (tmp_path / of_half, of_all)]
        assert 0 < users[0] < 0.8 * users[1]
    one, other = (scored(shop, tmp_path / name, tmp_path / f"{name}.csv") for name in ("half", "all"))
    assert one == other  # everyone


def test_one_task_gives_a_model(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    told = finetuned(shop, out, "--task", TASK, "--method", "lora", "--head", "bernoulli", "--seed", "2")
    assert "churn_20d on validation: " in told
    assert f"wrote {out}, fitted on what happened before {BEFORE}" in told
    found = facts(out)
    assert found["name"] == "lora"
    design = found["inputs"]
    assert design["method"] == "lora"
    assert design["settings"]["rank"] == 4
    assert design["heads"]["churn"]["kind"] == "bernoulli"
    assert found["facts"]["seed"] == 2
    assert "does not say when" in refused("survival", out, shop / "log", "--at", BEFORE, "--out", tmp_path / "when.csv")


def test_without_a_method_the_model_is_fused(shop: Path, tmp_path: Path) -> None:
    how, out = tmp_path / "fusion.toml", tmp_path / "model"
    learning = SETTINGS.replace("[optimisation]", "[joint.optimisation]")
    how.write_text(f"parts = ['last_period', 'joint', 'recency']\nmembers = 2\n[joint]\n{learning}")
    asked = ("finetune", shop / "base", shop / "log", *ASKED, "--settings", how, "--out", out)
    told = done(*asked, "--task", VALUE, "--seed", "2").out
    found = facts(out)
    assert found["name"] == "fused"
    assert set(found["facts"]["parts"]) == {"last_period", "joint"}
    shares = found["heads"]["value_20d"]["facts"]["settings"]["parts"]
    assert "value_20d is made of " in told
    for name, share in shares.items():
        assert f"{name} {share:.0%}" in told
    assert "without recency: " in told
    assert "a Bernoulli head is of a yes-or-no task" in refused(*asked, "--task", VALUE, "--head", "bernoulli")
    done("predict", out, shop / "log", "--at", BEFORE, "--out", tmp_path / "scores.csv")


@pytest.mark.parametrize(
    ("text", "method", "what"),
    [
        ("rank = 4", "fused", "'rank' is no setting of 'fused'. Put it into the table [joint]."),
        ("parts = ['lightgbm']", "lora", "'parts' is no setting of 'lora'. Leave it out, or use --method fused."),
        ("[joint]\nrang = 4", "joint", "Did you mean 'rank'?"),
        ("parts = ['fused']", "fused", "'fused' is no part of itself"),
        ("parts = ['lihgtgbm']", "fused", "Did you mean 'lightgbm'?"),
    ],
)
def test_settings_of_a_fusion_and_of_a_method_are_told_apart(
    text: str, method: str, what: str, shop: Path, tmp_path: Path
) -> None:
    how = tmp_path / "how.toml"
    how.write_text(text)
    asked = ("finetune", shop / "base", shop / "log", "--task", TASK, *ASKED, "--out", tmp_path / "model")
    assert what in refused(*asked, "--method", method, "--settings", how)


def test_several_tasks_give_a_folder_of_models(shop: Path, tmp_path: Path) -> None:
    models = shop / "models"
    assert sorted(path.name for path in models.iterdir()) == ["churn", "value"]
    assert [facts(models / name)["task"]["name"] for name in ("churn", "value")] == ["churn", "value"]
    out = tmp_path / "scores.csv"
    for name in ("churn", "value"):
        ran = done("predict", models / name, shop / "log", "--at", BEFORE, "--out", out)
        scores = pl.read_csv(out)
        assert scores.columns == ["user", "at", "target", "score", "low", "high", "tier"]
        assert f"wrote {len(scores)} rows" in ran.out


def test_models_are_evaluated_beside_a_baseline(shop: Path, tmp_path: Path) -> None:
    done("fit", "recency", shop / "log", "--task", TASK, *ASKED, "--out", tmp_path / "recency")
    models = (shop / "models" / "churn", tmp_path / "recency", shop / "models" / "value")
    page = tmp_path / "page.html"
    ran = done("evaluate", *models, "--log", shop / "log", "--at", BEFORE, "--out", page)
    assert "churn" in ran.out
    assert "recency" in ran.out
    assert page.stat().st_size > 10_000
    assert done("evaluate", models[0], "--log", shop / "log", "--at", BEFORE, "--lang", "zh").out
    assert "has seen the answer" in refused("evaluate", models[0], "--log", shop / "log", "--at", "2024-08-01")


def test_survival_writes_a_table(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "when.parquet"
    asked = ("survival", shop / "models" / "churn", shop / "log", "--at", BEFORE)
    ran = done(*asked, "--out", out, "--days", "10", "--days", "20")
    found = pl.read_parquet(out)
    assert found.columns == ["user", "at", "none_by_10d", "none_by_20d", "median_date", "expected_days"]
    assert ran.out == f"wrote {len(found)} users to {out}\n"
    assert (found["none_by_10d"] >= found["none_by_20d"]).all()
    done(*asked, "--out", tmp_path / "when.csv", "--days", "20")
    read = pl.read_csv(tmp_path / "when.csv", try_parse_dates=True)
    assert read.schema["median_date"] == pl.Datetime("us")
    assert read["expected_days"].to_list() == pytest.approx(found["expected_days"].to_list(), abs=1e-5)
    assert "The model knows waits of 1 to " in refused(*asked, "--out", out, "--days", "2000")
    assert "ends in neither .csv nor .parquet" in refused(*asked, "--out", tmp_path / "when.txt")
    other = ("survival", shop / "models" / "value", shop / "log", "--at", BEFORE, "--out", out)
    assert "does not say when" in refused(*other)


def test_a_backbone_that_has_seen_too_much_is_refused_with_the_latest_date(shop: Path, tmp_path: Path) -> None:
    asked = ("finetune", shop / "base", shop / "log", "--task", TASK, "--every", "15", "--out", tmp_path / "model")
    message = refused(*asked, "--before", "2024-06-01")
    assert "the backbone was pre-trained on what happened before 2024-05-01" in message
    latest = message.split("Pre-train with --before ")[1].split(" at the latest")[0]
    assert latest < "2024-05-01"
    done("pretrain", shop / "log", "--before", latest, "--size", "tiny", "--epochs", "1", "--out", tmp_path / "base")
    quick = ("--method", "full", "--settings", shop / "quick.toml")
    done("finetune", tmp_path / "base", *asked[2:], "--before", "2024-06-01", *quick)
    assert not (tmp_path / "model.draft").exists()


def test_settings_that_are_wrong_are_named(shop: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    out, how = ("--out", tmp_path / "model"), ("--settings", bad)
    finetune = ("finetune", shop / "base", shop / "log", "--task", TASK, "--method", "full", *ASKED, *out, *how)
    pretrain = ("pretrain", shop / "log", "--before", "2024-05-01", *out, *how)
    for text, what in (
        ("rang = 4", "Did you mean 'rank'?"),
        ("rank = 0", "rank: 0. Give 1 or more."),
        ("rank = 'many'", "rank"),
        ("head = 'hazzard'", "hazard"),
        ("[optimisation]\noptimiser = 'adamm'", "adamw"),
        ("[optimisation]\nlearning_rate = nan", "learning_rate"),
        ("rank = = 4", "bad.toml"),
    ):
        bad.write_text(text)
        message = refused(*finetune)
        assert what in message, (text, message)
    for text, what in (
        ("before = '2024-01-01'", "Give it as --before."),
        ("[architecture]\nsize = 'huge'", "tiny"),
        ("[objectives]\nnext_event = 0\nmasked = 0\ncounts = 0", "nothing to learn"),
        ("validation = 1.5", "Give a share from 0 to below 1."),
    ):
        bad.write_text(text)
        message = refused(*pretrain)
        assert what in message, (text, message)
    assert "missing.toml" in refused(*finetune[:-1], tmp_path / "missing.toml")
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_done_is_said_before_the_work(shop: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "model")
    asked = ("finetune", shop / "base", shop / "log", *ASKED, *out)
    assert "another horizon" in refused(*asked, "--task", TASK, "--task", "value(days=10)")
    assert "two tasks have one name" in refused(*asked, "--task", TASK, "--task", "churn(days=20, active=50)")
    assert "--before: the log is known only until" in refused(
        *asked[:3], *out, "--task", TASK, "--before", "2025-01-01"
    )
    assert "--before" in refused(*asked[:3], *out, "--task", TASK, "--before", "soon")
    assert "a hazard is of a task" in refused(*asked, "--task", VALUE, "--head", "hazard")
    assert "fine-tunes a backbone" in refused("fit", "lora", shop / "log", "--task", TASK, *ASKED, *out)
    assert "backbone" in refused("finetune", shop / "models" / "churn", *asked[2:], "--task", TASK)
    assert "no such backbone folder" in refused("finetune", tmp_path / "none", *asked[2:], "--task", TASK)
    assert "this folder holds a backbone" in refused(*asked[:-1], shop / "base", "--task", TASK)
    assert "this folder holds a predictor" in refused(
        "pretrain", shop / "log", "--before", "2024-05-01", "--out", shop / "models" / "churn"
    )
    for wrong in (("--method", "loar"), ("--head", "no")):
        ran = valuecast(*asked, "--task", TASK, *wrong)
        assert ran.code == 2
        assert "Traceback" not in ran.err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("out", [".", "..", "/"])
def test_an_out_without_a_name_of_its_own(
    out: str, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "above" / "empty").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "empty")
    ran = valuecast("finetune", shop / "base", shop / "log", "--task", TASK, *ASKED, "--out", out, "--method", "full")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert ran.message.startswith("valuecast: ")


def test_help_says_what_there_is() -> None:
    every = done("--help").out
    assert all(name in every for name in ("pretrain", "finetune", "survival"))
    finetune = " ".join(done("finetune", "--help").out.split())
    assert all(method in finetune for method in (*get_args(Tuning), *get_args(HeadKind)))
    pretrain = " ".join(done("pretrain", "--help").out.split())
    assert all(name in pretrain for name in (*get_args(Size), *get_args(Trunk)))
    assert "median_date" in done("survival", "--help").out


def test_a_missing_extra_says_how_to_install_it(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "find_spec", lambda name: None if name == "torch" else object())
    for asked in (
        ("pretrain", shop / "log", "--before", "2024-05-01", "--out", tmp_path / "base"),
        ("finetune", shop / "base", shop / "log", "--task", TASK, *ASKED, "--out", tmp_path / "model"),
        ("predict", shop / "models" / "churn", shop / "log", "--at", BEFORE, "--out", tmp_path / "scores.csv"),
    ):
        assert 'pip install "valuecast[neural]"' in refused(*asked)
    assert not list(tmp_path.iterdir())
