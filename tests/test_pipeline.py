"""A recipe from files to page, models and scores; what is done already is not done again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import valuecast as vc
from tests.commands import done, lines, quick_trees, refused, write_csv
from tests.engines import session
from valuecast.config.recipe import SplitBy
from valuecast.errors import ConfigError
from valuecast.pipeline import split_of, write_table
from valuecast.training.fit import fitted

SOURCES = """
about = "A made-up shop."
about_zh = "虚构的商店。"
[[source]]
path = "sales.csv"
user = "customer"
time = "date"
amount = "amount"
fields = ["channel"]
[span]
from = 2024-01-01
until = 2024-10-27
"""
RECIPE = """
tasks = ["churn(days=20, active=60)", "value(days=20, active=60)"]
rungs = ["recency", "mean_rate", "lightgbm"]
origins = ["2024-09-01"]
slices = ["channel"]
[title]
en = "A small shop"
zh = "小店"
[data]
sources = "sources.toml"
[split]
every = 30
[predict]
at = "2024-10-01"
reasons = 1
[campaign]
contact_cost = 0.1
save_rate = 0.2
margin = 0.5
"""
RESULTS = 6
"""Three rungs of two tasks at one origin."""


@pytest.fixture(scope="module", autouse=True)
def _few_trials() -> Iterator[None]:
    with quick_trees():
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a recipe was run once."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = [(*row, "web" if at % 3 else "app") for at, row in enumerate(lines())]
    write_csv(folder / "sales.csv", rows, header="customer,date,amount,channel")
    (folder / "sources.toml").write_text(SOURCES, encoding="utf-8")
    (folder / "shop.toml").write_text(RECIPE, encoding="utf-8")
    done("run", folder / "shop.toml", "--out", folder / "made")
    return folder


@pytest.fixture
def folder(first: Path, tmp_path: Path) -> Path:
    """A copy of it, to run again or to damage."""
    return Path(shutil.copytree(first, tmp_path / "recipe"))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the methods that the ladder fits from now on."""
    called: list[str] = []

    def counted(name: str, *args: Any, **kwargs: Any) -> Any:
        called.append(name)
        return fitted(name, *args, **kwargs)

    monkeypatch.setattr("valuecast.training.workshop.fitted", counted)
    return called


def kept(folder: Path, rung: str, *, name: str = "manifest.json") -> Path:
    """A file of the kept result of a rung."""
    (place, *_) = [
        path.parent
        for path in sorted(folder.glob("made/ladder/*/manifest.json"))
        if f'"rung": "{rung}"' in path.read_text()
    ]
    return place / name


def test_a_run_leaves_pages_metrics_models_and_scores(first: Path) -> None:
    made = first / "made"
    expected = {"log", "ladder", "report.html", "report.zh.html", "metrics.csv", "models", "scores.csv", "first.csv"}
    assert {path.name for path in made.iterdir()} == expected
    page, chinese = ((made / name).read_text(encoding="utf-8") for name in ("report.html", "report.zh.html"))
    assert "A small shop" in page
    assert "A made-up shop." in page
    assert "小店" in chinese
    assert "虚构的商店。" in chinese
    assert "valuecast run" in page
    assert "Why: No purchase in the next 20 days" in page
    assert "为什么：未来20天消费额" in chinese
    metrics = pl.read_csv(made / "metrics.csv")
    assert set(metrics["target"]) == {"churn_20d", "value_20d"}
    assert metrics.group_by("target").agg(pl.col("reference").n_unique())["reference"].to_list() == [1, 1]


def test_the_scores_are_those_of_the_refitted_best_rungs(first: Path) -> None:
    scores = pl.read_csv(first / "made/scores.csv", try_parse_dates=True)
    assert set(scores["target"]) == {"churn_20d", "value_20d"}
    assert scores["reason_1"].null_count() == 0
    log = vc.EventLog.read(first / "made/log")
    for task in ("churn", "value"):
        model = vc.Predictor.load(first / "made/models" / task)
        assert model.before.isoformat() == "2024-10-01T00:00:00"
        again = model.predict(log, at="2024-10-01")
        mine = scores.filter(pl.col("target") == f"{task}_20d").sort("user")
        assert mine["user"].to_list() == again.sort("user")["user"].to_list()
        # a CSV holds six decimals
        assert mine["score"].to_list() == pytest.approx(again.sort("user")["score"].to_list(), abs=1e-6)


def test_whom_to_look_at_first_is_written_with_all_ids_and_shown_masked(first: Path) -> None:
    users = pl.read_csv(first / "made/first.csv", try_parse_dates=True)
    scores = pl.read_csv(first / "made/scores.csv").filter(pl.col("target") == "churn_20d")
    assert sorted(users["user"]) == sorted(scores["user"])
    assert users["value_at_risk"].is_sorted(descending=True)
    assert users["expected_profit"].to_list() == pytest.approx((0.1 * users["value_at_risk"] - 0.1).to_list(), abs=1e-5)
    assert (users["contact"] == (users["expected_profit"] > 0)).all()
    assert users["last_purchase"].max() < users["at"][0]  # type: ignore[operator]
    page = (first / "made/report.html").read_text(encoding="utf-8")
    assert not re.search(r">c\d+<", page)


@pytest.mark.parametrize("name", ["report.html", "report.zh.html"])
def test_a_page_has_every_section(first: Path, name: str) -> None:
    page = (first / "made" / name).read_text(encoding="utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    expected = {
        "report.html": ["What was asked", "Predicted and true over time", "Who to look at first", "Who comes back"],
        "report.zh.html": ["问题是什么", "预测与实际的时间走势", "优先关注谁", "谁会回来"],
    }
    assert set(expected[name]) < set(titles)
    assert len(titles) == 16
    if name == "report.zh.html":
        assert all(re.search("[一-龥]", title) for title in titles)


def test_a_rung_that_cannot_fit_is_a_row_with_its_reason(first: Path) -> None:
    metrics = pl.read_csv(first / "made/metrics.csv")
    fitted = {target: set(part["rung"]) for (target,), part in metrics.group_by("target")}
    assert fitted == {"churn_20d": {"recency", "mean_rate", "lightgbm"}, "value_20d": {"mean_rate", "lightgbm"}}
    for page in ("report.html", "report.zh.html"):
        assert "knows no amounts" in (first / "made" / page).read_text(encoding="utf-8")


def test_the_second_run_fits_nothing_and_says_the_same(folder: Path, fits: list[str]) -> None:
    before = {name: (folder / "made" / name).read_bytes() for name in ("metrics.csv", "scores.csv")}
    assert len(list(folder.glob("made/ladder/*"))) == RESULTS
    ran = done("ladder", folder / "shop.toml", "--out", folder / "made", "--lang", "zh")
    assert fits == []
    assert "小店" in ran.out
    assert "scores.csv" not in ran.out
    assert {name: (folder / "made" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("rung", "name"), [("lightgbm", "outcomes.parquet"), ("mean_rate", "manifest.json"), ("recency", "manifest.json")]
)
def test_a_damaged_result_is_done_again(folder: Path, fits: list[str], rung: str, name: str) -> None:
    file = kept(folder, rung, name=name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    before = (folder / "made/metrics.csv").read_bytes()
    done("ladder", folder / "shop.toml", "--out", folder / "made")
    assert fits == [rung]
    assert len(list(folder.glob("made/ladder/*"))) == RESULTS
    assert (folder / "made/metrics.csv").read_bytes() == before
    fits.clear()
    done("ladder", folder / "shop.toml", "--out", folder / "made")
    assert fits == []


def test_another_question_or_another_log_is_not_answered_from_what_is_kept(folder: Path, fits: list[str]) -> None:
    recipe = folder / "shop.toml"
    recipe.write_text(
        recipe.read_text()
        .replace("every = 30", "every = 25")
        .replace('"recency", "mean_rate", "lightgbm"', '"mean_rate"')
    )
    done("ladder", recipe, "--out", folder / "made")
    assert fits == ["mean_rate", "mean_rate"]
    with (folder / "sales.csv").open("a") as file:
        file.write("c1,2024-08-01,9.5,web\n")
    fits.clear()
    done("ladder", recipe, "--out", folder / "made")
    assert fits == ["mean_rate", "mean_rate"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("origins =", "origin =", "shop.toml: unknown key 'origin'. Did you mean 'origins'?"),
        ("churn(", "chrun(", "no task 'chrun'"),
        ('"lightgbm"]', '"lightgbn"]', "no model 'lightgbn'. Did you mean 'lightgbm'?"),
        ('"channel"', '"chanel"', "no field 'chanel' to slice by. Did you mean 'channel'?"),
        ('["2024-09-01"]', '["soon"]', "origins: 'soon' is not a date or time"),
        ('["2024-09-01"]', "[]", "origins: no test cutoff. Give at least one"),
        ('["2024-09-01"]', '["2024-10-20"]', "a horizon of 20 days from 2024-10-20 ends after the log"),
        ('["2024-09-01"]', '["2024-02-01"]', "a horizon of 20 days is too long for a log of 31 days"),
        ("reasons = 1", "reasons = -1", "predict: reasons: -1 reasons. Give 0 to 13."),
        ('at = "2024-10-01"', 'at = "soon"', "predict: at: 'soon' is not a date or time"),
        ('at = "2024-10-01"', 'at = "2025-10-01"', "the log is known only until 2024-10-27"),
        ('at = "2024-10-01"', 'at = "2024-10-01"\nrung = "best"', "no model 'best'"),
        ("every = 30", 'by = "users"\nat = "2024-09-01"', "Leave [predict] out, or split by time."),
        ("every = 30", "every = 30\nsample = 2", "split: sample: 2.0. Give a share above 0"),
        ("every = 30", 'by = "shops"', "split: by: 'shops'. Use one of: time, users."),
        ("sources.toml", "source.toml", "source.toml: no such file"),
        ("save_rate = 0.2", "save_rate = 2", "campaign: save_rate: 2.0. Give a share above 0, and at most 1"),
        ("margin = 0.5", "", "campaign: no 'margin'. Add margin = ..."),
        (
            '"value(days=20, active=60)"',
            '"value(days=30, active=60)"',
            "the page lists users only if",
        ),
        ('sources = "sources.toml"', "", "data: nothing given. Give one of dataset, sources and log."),
        ('sources = "sources.toml"', 'log = "nolog"', "nolog: no such event log folder"),
        ('sources = "sources.toml"', 'dataset = "cdnw"', "no data set 'cdnw'. Did you mean 'cdnow'?"),
        ('rungs = ["recency", "mean_rate", "lightgbm"]', 'rungs = ["recency"]', "no rung of the ladder fitted"),
    ],
)
def test_recipes_that_cannot_run(folder: Path, fits: list[str], old: str, new: str, said: str) -> None:
    recipe = folder / "shop.toml"
    text = recipe.read_text(encoding="utf-8")
    assert old in text
    recipe.write_text(text.replace(old, new), encoding="utf-8")
    assert said in refused("run", recipe, "--out", folder / "made")
    assert len(fits) <= 1  # before anything long, by the first fit, or from what is kept


def test_models_may_learn_from_a_sample_and_are_tested_on_everyone(folder: Path) -> None:
    recipe, made = folder / "shop.toml", folder / "half"
    text = (
        recipe.read_text(encoding="utf-8").replace(', "lightgbm"', "").replace("every = 30", "every = 30\nsample = 0.5")
    )
    recipe.write_text(text, encoding="utf-8")
    done("run", recipe, "--out", made)
    key = ["user", "target"]
    scores, whole = (pl.read_csv(place / "scores.csv").select(key).sort(key) for place in (made, folder / "made"))
    assert scores.equals(whole)
    assert "Models learned from 0.5 of the users" in (made / "report.html").read_text(encoding="utf-8")
    assert "模型只用 0.5 的用户训练" in (made / "report.zh.html").read_text(encoding="utf-8")


def test_a_split_by_users_needs_its_cutoff_and_takes_no_other() -> None:
    with pytest.raises(ConfigError, match="wants its cutoff"):
        split_of(SplitBy(by="users"))
    with pytest.raises(ConfigError, match="split: at"):
        split_of(SplitBy(by="users", at="soon"))
    assert split_of(SplitBy(by="users", at="1997-09-30", holdout=0.5)) == vc.UserSplit(at="1997-09-30", holdout=0.5)
    assert split_of(SplitBy(every=10, rounds=1)) == vc.TimeSplit(every=10, rounds=1)


def test_a_table_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["a"], "score": [0.5]})
    for name in ("a.csv", "b.parquet"):
        write_table(frame, tmp_path / "deep" / name)
    assert pl.read_csv(tmp_path / "deep/a.csv").equals(pl.read_parquet(tmp_path / "deep/b.parquet"))
    with pytest.raises(pl.exceptions.ComputeError):  # a CSV holds no lists
        write_table(pl.DataFrame({"x": [[1]]}), tmp_path / "deep/a.csv")
    assert pl.read_csv(tmp_path / "deep/a.csv").equals(frame)
    with pytest.raises(ConfigError, match="neither"):
        write_table(frame, tmp_path / "a.xlsx")


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of PySpark
def test_on_spark_nothing_else_changes(folder: Path) -> None:
    session()
    recipe = (folder / "shop.toml").read_text(encoding="utf-8")
    (folder / "spark.toml").write_text(f'engine = "spark"\n{recipe}', encoding="utf-8")
    done("run", folder / "spark.toml", "--out", folder / "other")
    for name in ("metrics.csv", "scores.csv", "first.csv"):
        assert (folder / "other" / name).read_bytes() == (folder / "made" / name).read_bytes()
