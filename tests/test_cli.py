"""The command line: a shop's way from a file to a page, and one clear message for every kind of bad input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import valuecast as vc
from tests.commands import END, START, done, ingested, lines, quick_trees, refused, valuecast, write_csv
from valuecast.models.registry import BASELINES

TASK = "churn(days=20, active=60)"
VALUE = "value(days=20, active=60)"
BEFORE = "2024-09-01"
FIT = ("--every", "30", "--before", BEFORE)
HEAVY = ("ibis", "duckdb", "polars", "numpy", "lightgbm", "sklearn", "scipy", "matplotlib", "optuna", "torch", "rich")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of three columns, its log, and two fitted models."""
    folder = tmp_path_factory.mktemp("shop")
    file = write_csv(folder / "sales.csv", lines())
    ingested(file, folder / "log", "--amount", "amount", "--since", "2024-01-01", "--until", END)
    done("fit", "mean_rate", folder / "log", "--task", TASK, *FIT, "--out", folder / "rate")
    with quick_trees():
        done("fit", "lightgbm", folder / "log", "--task", TASK, *FIT, "--out", folder / "trees")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where commands run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_flags(file: str | Path, *more: str) -> str:
    """The message of an ingest by flags that is refused; no log is left behind."""
    message = refused("ingest", file, "--user", "customer", "--time", "date", "--out", "log", *more)
    assert not Path("log/manifest.json").exists()
    return message


# ---- the way that works


def test_describe_says_what_is_in_the_log(shop: Path) -> None:
    english = done("describe", shop / "log")
    assert "Users" in english.out
    assert f"Known until                 {END}" in english.out
    assert "用户数" in done("describe", shop / "log", "--lang", "zh").out


def test_ingest_says_what_became_of_every_row(here: Path) -> None:
    write_csv(here / "s.csv", [("a", "2024-01-02", "1"), ("", "2024-01-03", "2"), ("b", "2024-01-04", "-1")])
    flags = ("--user", "customer", "--time", "date", "--amount", "amount", "--users", "drop", "--where", "amount > 0")
    ran = done("ingest", "s.csv", *flags, "--zone", "Asia/Shanghai", "--out", "log")
    assert ran.out.splitlines()[1].split() == ["s.csv", "events", "3", "1", "1", "0", "0", "1", "1"]
    assert "The log holds 1 events of 1 users" in ran.out
    assert "checking s.csv" in ran.err
    assert vc.EventLog.read("log").span.start.isoformat() == "2024-01-01T16:00:00"


def test_every_flag_of_ingest_reaches_the_mapping(here: Path) -> None:
    text = "wer;wann;was;teuer;korb;farbe\nä;02.01.2024;x;1;k1;rot\nö;32.01.2024;x;1;k1;rot\n"
    (here / "s.csv").write_bytes(text.encode("latin-1"))
    columns = ("--user", "wer", "--time", "wann", "--item", "was", "--amount", "teuer", "--order", "korb")
    reading = ("--format", "%d.%m.%Y", "--delimiter", ";", "--encoding", "latin-1", "--max-rejected", "0.5")
    done("ingest", "s.csv", *columns, "--field", "farbe", "--event", "view", *reading, "--out", "log")
    log = vc.EventLog.read("log")
    row = log.collect(log.events).drop("id", "bucket").row(0)
    assert row == ("ä", START.replace(day=2), "view", "x", 1.0, "k1", "rot")
    write_csv(here / "t.csv", [("a", "1704153600", "1")])
    done("ingest", "t.csv", "--user", "customer", "--time", "date", "--unit", "s", "--out", "counted")
    assert vc.EventLog.read("counted").span.start == START.replace(day=2)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_scores_are_a_long_table_in_either_format(shop: Path, here: Path, kind: str) -> None:
    ran = done("predict", shop / "rate", shop / "log", "--at", BEFORE, "--out", f"deep/scores.{kind}")
    scores = (pl.read_csv if kind == "csv" else pl.read_parquet)(f"deep/scores.{kind}")
    assert scores.columns == ["user", "at", "target", "score", "low", "high", "tier"]
    assert f"wrote {len(scores)} rows for {len(scores)} users" in ran.out
    assert set(scores["target"]) == {"churn_20d"}
    assert [path.name for path in Path("deep").iterdir()] == [f"scores.{kind}"]


def test_a_model_may_learn_from_some_of_the_users_and_scores_all(shop: Path, here: Path) -> None:
    done("fit", "mean_rate", shop / "log", "--task", TASK, *FIT, "--sample", "0.5", "--out", "half")
    whole, half = vc.Predictor.load(shop / "rate"), vc.Predictor.load("half")
    assert 0.3 < half.facts["users"] / whole.facts["users"] < 0.7
    log = vc.EventLog.read(shop / "log")
    assert len(half.predict(log, at=BEFORE)) == len(whole.predict(log, at=BEFORE))
    none = refused("fit", "mean_rate", shop / "log", "--task", TASK, *FIT, "--sample", "0", "--out", "none")
    assert "sample: 0.0. Give a share above 0" in none


def test_scores_have_reasons_in_both_languages(shop: Path, here: Path) -> None:
    done("predict", shop / "trees", shop / "log", "--at", BEFORE, "--out", "scores.csv", "--reasons", "2")
    scores = pl.read_csv("scores.csv")
    for number in (1, 2):
        assert scores[f"reason_{number}"].str.contains("^[a-z]+[+-]$").all()
        assert scores[f"reason_{number}_en"].null_count() == scores[f"reason_{number}_zh"].null_count() == 0
    assert (scores["reason_1_effect"].abs() >= scores["reason_2_effect"].abs()).all()
    many = refused("predict", shop / "trees", shop / "log", "--at", BEFORE, "--out", "s.csv", "--reasons", "99")
    asked = ("predict", shop / "trees", shop / "log", "--at", BEFORE, "--out", "s.csv", "--states", "states")
    assert "reasons are not made of states" in refused(*asked, "--reasons", "1")
    assert "has no network" in refused(*asked)
    assert "99 reasons" in many


def test_a_score_is_explained_in_the_terminal_and_on_a_page(shop: Path, here: Path) -> None:
    done("predict", shop / "trees", shop / "log", "--at", BEFORE, "--out", "scores.csv")
    user = pl.read_csv("scores.csv", schema_overrides={"user": pl.String})["user"][0]
    asked = ("explain", shop / "trees", shop / "log", "--at", BEFORE)
    ran = done(*asked, "--user", user, "--out", "why.html", "--lang", "zh", "--threshold", "0.5")
    page = Path("why.html").read_text(encoding="utf-8")
    for text in (ran.out, page):
        assert "简而言之" in text
        assert "怎样会改变分数" in text
    assert "<svg" in page
    assert "no event of user 'nobody'" in refused(*asked, "--user", "nobody")
    assert "no event 'kiss'" in refused(*asked, "--user", user, "--threshold", "0.5", "--change", "kiss")


def test_models_are_compared_in_the_terminal_and_on_a_page(shop: Path, here: Path) -> None:
    models = (shop / "rate", shop / "trees")
    ran = done("evaluate", *models, "--log", shop / "log", "--at", BEFORE, "--out", "page.html", "--lang", "zh")
    page = Path("page.html").read_text(encoding="utf-8")
    for text in (ran.out, page):
        assert "2024-09-01 的评估" in text
        assert "为什么：" in text
        assert "trees" in text
        assert "rate" in text
    assert 'lang="zh' in page
    assert "valuecast evaluate" in page
    assert "wrote page.html" in ran.out


def test_check_says_whether_a_log_supports_a_task(shop: Path, here: Path) -> None:
    ran = done("check", shop / "log", "--task", TASK, "--out", "page.html", "--lang", "zh")
    page = Path("page.html").read_text(encoding="utf-8")
    for text in (ran.out, page):
        assert f"这份日志能回答 {TASK} 吗？" in text
        assert "用户与结果" in text
    assert "valuecast check" in page
    assert "wrote page.html" in ran.out
    # a verdict of "no" is an answer, not an error
    ran = done("check", shop / "log", "--task", "churn(days=200, active=60)")
    assert "Verdict    not usable" in ran.out
    assert "Fitting refuses this" in ran.out


def test_check_refuses_what_it_cannot_look_at(shop: Path, here: Path) -> None:
    message = refused("check", shop / "log", "--task", TASK, "--at", END)
    assert "does not hold 2024-10-27 and 20 days after it" in message
    assert "no task 'chum'" in refused("check", shop / "log", "--task", "chum(days=3)")
    assert "no event 'sale'" in refused("check", shop / "log", "--task", "count(*) of sale over next 9 days > 0")


def test_fit_prints_the_validation_and_shows_progress_on_standard_error(shop: Path, here: Path) -> None:
    ran = done("fit", "last_period", shop / "log", "--task", VALUE, *FIT, "--out", "model")
    assert "value_20d on validation: gini" in ran.out
    assert "fitted on what happened before 2024-09-01" in ran.out
    assert "last_period: labels and inputs" in ran.err
    # what is there already is replaced, and replaced whole
    done("fit", "mean_rate", shop / "log", "--task", TASK, *FIT, "--out", "model")
    assert vc.Predictor.load("model").name == "mean_rate"


def test_help_version_and_no_arguments(here: Path) -> None:
    assert done("--version").out == f"valuecast {vc.__version__}\n"
    assert "ingest" in done("--help").out
    names = done("fit", "--help").out
    assert all(name in names for name in BASELINES)
    assert valuecast().code == 2


def test_what_several_processes_do_not_share_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, words in (
        ("describe", ["log"]),
        ("run", ["x.toml"]),
        ("label next", ["model", "x.csv", "--out", "y.csv"]),
    ):
        told = refused(*name.split(), *words)
        assert f"{name}: several processes share the work of pretrain, finetune and label fit alone" in told
        assert "Start it without torchrun." in told


def test_the_command_line_starts_without_anything_heavy() -> None:
    code = f"import sys, valuecast.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Usage:"),
        (["describe", "nowhere"], 2, "valuecast: nowhere: no such event log folder. Check the path."),
        (["fit", "mean_rate"], 2, "Missing"),
    ],
)
def test_as_a_process(here: Path, arguments: list[str], code: int, said: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "valuecast", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == code
    assert said in (ran.stderr if code else ran.stdout)
    assert "Traceback" not in ran.stderr


# ---- files that cannot be read


def test_no_such_file(here: Path) -> None:
    write_csv(here / "sales.csv", lines(2))
    assert "sale.csv: no such file. Did you mean 'sales.csv'?" in by_flags("sale.csv")
    assert "nothing.toml: no such file" in refused("ingest", "nothing.toml", "--out", "log")


def test_no_such_column(here: Path) -> None:
    write_csv(here / "sales.csv", lines(2))
    message = by_flags("sales.csv", "--amount", "amuont")
    assert message.startswith("command line: amount: no column 'amuont' in")
    assert "Did you mean 'amount'?" in message


def test_a_binary_file(here: Path) -> None:
    (here / "sales.csv").write_bytes(bytes(range(256)))
    assert "sales.csv: this is a binary file (byte 1 is zero). Give the table as CSV" in by_flags("sales.csv")
    (here / "sales.parquet").write_bytes(bytes(range(256)))
    assert "sales.parquet: not a Parquet file" in by_flags("sales.parquet")


def test_an_empty_log(here: Path) -> None:
    (here / "sales.csv").touch()
    assert "sales.csv: the file is empty" in by_flags("sales.csv")
    write_csv(here / "sales.csv", [])
    assert "sales.csv: no rows" in by_flags("sales.csv")
    write_csv(here / "sales.csv", lines(2))
    message = by_flags("sales.csv", "--where", "amount > 1e9")
    assert "no events: " in message
    assert "rows filtered" in message


def test_mixed_time_formats(here: Path) -> None:
    days = ["03/04/2024", "05/06/2024"]
    write_csv(here / "sales.csv", [("a", day, "1") for day in days])
    message = by_flags("sales.csv")
    assert message.startswith("sales.csv, column 'date': '0")
    assert "no row decides" in message
    assert "--format" in message
    write_csv(here / "sales.csv", [("a", day, "1") for day in ["2024-04-03", "25.04.2024"] * 4 + ["2024-04-04"]])
    message = by_flags("sales.csv")
    assert "sales.csv, column 'date': 44.4% of 9 rows cannot be read" in message
    assert "mixed time formats?" in message
    assert "'25.04.2024'" in message


def test_many_unreadable_rows(here: Path) -> None:
    write_csv(here / "sales.csv", [("a", "2024-01-02" if row % 10 < 7 else "soon", "1") for row in range(100)])
    message = by_flags("sales.csv")
    assert "column 'date': 30.0% of 100 rows cannot be read (max_rejected is 5.0%)" in message
    assert "such as 'soon'" in message
    assert "Every rejected row is in log/rejected.parquet" in message
    assert len(pl.read_parquet("log/rejected.parquet")) == 30


def test_missing_users_without_a_policy(here: Path) -> None:
    write_csv(here / "sales.csv", [("" if row % 5 == 0 else "a", "2024-01-02", "1") for row in range(100)])
    message = by_flags("sales.csv")
    assert "column 'customer': 20.0% of 100 rows cannot be read" in message
    assert 'Add users = "drop" (--users drop)' in message
    done("ingest", "sales.csv", "--user", "customer", "--time", "date", "--users", "drop", "--out", "log")


def test_a_where_that_does_not_parse(here: Path) -> None:
    write_csv(here / "sales.csv", lines(2))
    assert by_flags("sales.csv", "--where", "amount > 3)").startswith(
        "command line: where, character 11: does not parse at ')': amount > 3)."
    )
    assert "where, character 1: no column 'amuont'. Did you mean 'amount'?" in by_flags(
        "sales.csv", "--where", "amuont > 3"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--zone", "Mars"), "zone: no zone 'Mars'. Use an IANA name"),
        (("--users", "maybe"), "users = 'maybe' is not a policy. Use 'require'"),
        (("--unit", "h"), "no unit 'h'. Known: ms, s, us."),
        (("--max-rejected", "3"), "max_rejected: 3.0 is not a share. Give a number from 0 to 1."),
        (("--since", "then"), "--since: 'then' is not a date or time. Write it like 2011-09-10"),
        (("--until", "then"), "--until: 'then' is not a date or time"),
        (("--delimiter", "ab"), "a delimiter is one character"),
        (("--encoding", "klingon"), "no encoding 'klingon'. Use"),
        (("--format", "%Q"), "column 'date': format '%Q'"),
        (("--since", "2024-03-01", "--until", "2024-02-01"), "before it starts (2024-03-01). Give a later end"),
    ],
)
def test_flags_that_are_not_understood(here: Path, flags: tuple[str, ...], said: str) -> None:
    write_csv(here / "sales.csv", [("a", "2024-01-02", "1")])
    assert said in by_flags("sales.csv", *flags)


def test_flags_beside_a_mapping_and_no_flags_at_all(here: Path) -> None:
    (here / "m.toml").write_text('[[source]]\npath = "s.csv"\nuser = "u"\ntime = "t"\n')
    message = refused("ingest", "m.toml", "--event", "view", "--out", "log")
    assert message == "m.toml: --event beside a mapping. Write it into the mapping."
    assert "--max-rejected" in refused("ingest", "m.toml", "--max-rejected", "0.1", "--out", "log")
    assert "Add --user COLUMN and --time COLUMN" in refused("ingest", "s.csv", "--user", "u", "--out", "log")


def test_a_place_where_nothing_can_be_written(here: Path, shop: Path) -> None:
    (here / "taken").write_text("mine")
    log = shop / "log"
    assert "taken: this is a file. Give a folder for the log." in refused(
        "ingest", shop / "sales.csv", "--user", "customer", "--time", "date", "--out", "taken"
    )
    fit = ("fit", "mean_rate", log, "--task", TASK, *FIT, "--out")
    assert refused(*fit, "taken") == "taken: this is a file. Give a new folder, or one that holds a predictor."
    assert "this folder holds an event log" in refused(*fit, log)
    assert "holds something else than a predictor" in refused(*fit, here)
    assert "taken/deep" in refused("predict", shop / "rate", log, "--at", BEFORE, "--out", "taken/deep/s.csv")
    assert "ends in neither .csv nor .parquet" in refused("predict", shop / "rate", log, "--at", BEFORE, "--out", "s.x")
    assert (here / "taken").read_text() == "mine"


# ---- questions that cannot be answered


def fit_refused(log: Path, *, name: str = "mean_rate", task: str = TASK, before: str = BEFORE) -> str:
    message = refused("fit", name, log, "--task", task, "--every", "30", "--before", before, "--out", "model")
    assert not Path("model").exists()
    return message


def test_a_bad_task_text(shop: Path, here: Path) -> None:
    *said, line, mark = fit_refused(shop / "log", task="sum(amount) for purchase over next 30 days").splitlines()
    assert said == ["task: at character 13 found 'for', expected 'of'"]
    assert line[mark.index("^")] == "f"
    assert line[: mark.index("^")] == "  sum(amount) "


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": "chrun(days=20)"}, "no task 'chrun'. Did you mean 'churn'? Known: churn, purchase, value."),
        ({"task": "churn(days=20, activ=3)"}, "'churn' takes no 'activ'. Did you mean 'active'?"),
        ({"task": "churn"}, "'churn' wants days. Write churn(days=90)."),
        ({"name": "lightgbn"}, "no model 'lightgbn'. Did you mean 'lightgbm'?"),
        ({"name": "recency", "task": VALUE}, "task 'value': 'recency' ranks, it knows no amounts. Use another model"),
        ({"task": "churn(days=400)"}, "a horizon of 400 days is too long for a log of 244 days"),
        ({"task": "count(*) of purchase over next 9 days > 0 when count(*) over last 9 days > 99"}, "no user is elig"),
        ({"task": "count(*) of purchse over next 9 days > 0"}, "no event 'purchse'. Did you mean 'purchase'?"),
        ({"task": "purchase(days=9, where=\"colour = 'red'\")"}, "the log has no column 'colour'. Known: amount,"),
        ({"task": "purchase(days=9, where='amount > 1e6')"}, "no event is such that amount > 1000000"),
        ({"before": "2020-01-01"}, "nothing is known before 2020-01-01. The log covers 2024-01-01 to"),
        ({"before": "yesterday"}, "--before: 'yesterday' is not a date or time. Write it like 2011-09-10"),
    ],
)
def test_questions_that_fit_refuses(shop: Path, here: Path, changed: dict[str, str], said: str) -> None:
    assert said in fit_refused(shop / "log", **changed)


def test_an_option_that_is_not_one(shop: Path) -> None:
    for arguments in (("describe", shop / "log", "--lang", "fr"), ("describe", shop / "log", "--colour", "red")):
        ran = valuecast(*arguments)
        assert ran.code == 2
        assert arguments[2] in ran.err
        assert ran.err.count("Error:") == 1


@pytest.mark.parametrize("name", BASELINES)
def test_one_user(here: Path, name: str) -> None:
    weekly = [("only", f"{START + (END_DAY - START) / 40 * week}", f"{week % 3 + 1}") for week in range(40)]
    log = ingested(write_csv(here / "one.csv", weekly), here / "log", "--amount", "amount")
    assert "Users                       1" in done("describe", log).out
    for task in (TASK, VALUE, "churn(days=7, active=60)"):
        fitted_or_refused(log, name, task)


@pytest.mark.parametrize("name", BASELINES)
def test_labels_that_are_all_alike(here: Path, name: str) -> None:
    daily = [
        (f"c{user}", f"2024-{1 + day // 28:02}-{1 + day % 28:02}", "5") for user in range(20) for day in range(280)
    ]
    log = ingested(write_csv(here / "alike.csv", daily), here / "log", "--amount", "amount")
    fitted_or_refused(log, name, TASK)
    fitted_or_refused(log, name, VALUE)


def test_a_log_without_amounts_or_without_purchases(here: Path) -> None:
    file = write_csv(here / "s.csv", lines(20))
    views = ingested(file, here / "views", "--event", "view")
    silent = ingested(file, here / "silent")
    for name in BASELINES:
        assert "the log has no event 'purchase'. Known: view." in fit_refused(views, name=name)
        message = fit_refused(silent, name=name, task=VALUE)
        assert "no event that counts has a value in 'amount'" in message or "knows no amounts" in message
    fitted_or_refused(silent, "lightgbm", TASK)


END_DAY = START.fromisoformat(BEFORE)


def fitted_or_refused(log: Path, name: str, task: str) -> None:
    """Fit, and where that works score and test; the message of one that does not work is one message."""
    shutil.rmtree("model", ignore_errors=True)
    with quick_trees():
        ran = valuecast("fit", name, log, "--task", task, "--every", "20", "--before", "2024-08-01", "--out", "model")
    assert ran.code in (0, 2)
    if ran.code == 2:
        assert ran.message.startswith("valuecast: ")
        assert "Traceback" not in ran.err
        return
    done("predict", "model", log, "--at", "2024-08-01", "--out", "scores.csv")
    assert pl.read_csv("scores.csv").select("score", "low", "high").null_count().sum_horizontal().item() == 0
    done("evaluate", "model", "--log", log, "--at", "2024-08-01", "--out", "page.html")


# ---- models that cannot be used


@pytest.fixture
def model(shop: Path, here: Path) -> Path:
    """A model to damage."""
    return Path(shutil.copytree(shop / "rate", here / "model"))


def unusable(model: Path, log: Path) -> str:
    message = refused("predict", model, log, "--at", BEFORE, "--out", "scores.csv")
    assert refused("evaluate", model, "--log", log, "--at", BEFORE) == message
    assert not Path("scores.csv").exists()
    return message


def test_a_truncated_model(shop: Path, model: Path) -> None:
    file = next(model.rglob("rule.json"))
    file.write_bytes(file.read_bytes()[:-9])
    assert "model: the file churn_20d/rule.json is damaged or was changed. Make the pr" in unusable(model, shop / "log")


def test_a_model_without_one_of_its_files(shop: Path, model: Path) -> None:
    next(model.rglob("rule.json")).unlink()
    assert "model: the file churn_20d/rule.json is missing" in unusable(model, shop / "log")


def test_an_edited_manifest(shop: Path, model: Path) -> None:
    manifest = model / "manifest.json"
    found = json.loads(manifest.read_text())
    found["before"] = "2024-01-01"
    manifest.write_text(json.dumps(found))
    assert "model: manifest.json was changed" in unusable(model, shop / "log")
    manifest.write_text(manifest.read_text()[:100])
    assert "model: manifest.json is damaged" in unusable(model, shop / "log")
    manifest.unlink()
    assert "model: not a predictor: it has no manifest.json" in unusable(model, shop / "log")


def test_something_else_than_a_model(shop: Path, here: Path) -> None:
    assert "nowhere: no such predictor folder" in unusable(Path("nowhere"), shop / "log")
    assert "sales.csv: this is a file, not the folder of a predictor" in unusable(shop / "sales.csv", shop / "log")
    assert "log: this folder holds an event log. Give the path of a predictor." in unusable(shop / "log", shop / "log")
    assert "rate: this folder holds a predictor" in unusable(shop / "rate", shop / "rate")


def test_a_log_with_another_schema(shop: Path, here: Path) -> None:
    rows = [(*row, "web") for row in lines(30)]
    file = write_csv(here / "s.csv", rows, header="customer,date,amount,channel")
    rich = ingested(file, here / "rich", "--amount", "amount", "--field", "channel")
    poor = ingested(file, here / "poor", "--amount", "amount")
    task = "purchase(days=20, where=\"channel = 'web'\")"
    done("fit", "mean_rate", rich, "--task", task, *FIT, "--out", "asks")
    assert "has no column 'channel'" in refused("predict", "asks", poor, "--at", BEFORE, "--out", "s.csv")
    mixed = [(*row, "web" if at % 3 else "app") for at, row in enumerate(lines(30))]
    log = ingested(
        write_csv(here / "m.csv", mixed, header="customer,date,amount,channel"), here / "mixed", "--field", "channel"
    )
    with quick_trees():
        done("fit", "lightgbm", log, "--task", TASK, *FIT, "--out", "reads")
    message = refused("predict", "reads", poor, "--at", BEFORE, "--out", "s.csv")
    assert "channel" in message


def test_a_moment_that_the_model_or_the_log_knows_nothing_of(shop: Path, here: Path) -> None:
    log, rate = shop / "log", shop / "rate"
    early = unusable_at(rate, log, "2024-08-31")
    assert "asked about 2024-08-31, but this model was fitted on what happened before 2024-09-01" in early
    assert "Ask about 2024-09-01 or later" in early
    late = refused("predict", rate, log, "--at", "2025-01-01", "--out", "s.csv")
    assert f"asked about 2025-01-01, but the log is known only until {END}" in late
    message = refused("evaluate", rate, "--log", log, "--at", "2024-10-20")
    assert "a horizon of 20 days from 2024-10-20 ends after the log" in message
    assert "Use a moment up to 2024-10-07" in message
    assert "--at: 'soon' is not a date or time" in unusable_at(rate, log, "soon")


def unusable_at(model: Path, log: Path, at: str) -> str:
    message = refused("predict", model, log, "--at", at, "--out", "s.csv")
    assert refused("evaluate", model, "--log", log, "--at", at) == message
    return message


def test_nobody_is_eligible(shop: Path, here: Path) -> None:
    rows = [row for row in lines() if row[1] < "2024-06-01"]
    quiet = ingested(write_csv(here / "q.csv", rows), here / "quiet", "--amount", "amount", "--until", END)
    message = refused("predict", shop / "rate", quiet, "--at", BEFORE, "--out", "s.csv")
    assert "task 'churn': no user is eligible at 2024-09-01" in message
    assert "longer 'active'" in message


def test_a_slice_that_is_not_a_field(shop: Path) -> None:
    message = refused("evaluate", shop / "rate", "--log", shop / "log", "--at", BEFORE, "--slice", "colour")
    assert "no field 'colour' to slice by" in message


# --- what a first user stumbled over ----------------------------------------------------------------------------------

SALES = "who,when,paid\nann,2024-01-01,10\nann,2024-01-02,-4\nbob,2024-01-03,\nbob,2024-01-04,7\n"
COLUMNS = ("--user", "who", "--time", "when", "--amount", "paid", "--until", "2024-02-01")


def test_refunds_that_count_as_purchases_are_told(here: Path) -> None:
    (here / "sales.csv").write_text(SALES, encoding="utf-8")
    assert "1 purchases have a negative amount" in done("ingest", "sales.csv", *COLUMNS, "--out", "log").out
    ran = done("ingest", "sales.csv", *COLUMNS, "--negative", "return", "--out", "log2")
    assert "negative amount" not in ran.out
    counted = vc.EventLog.read(here / "log2")
    assert counted.collect(counted.events)["event"].value_counts(sort=True).rows() == [("purchase", 3), ("return", 1)]
    assert "Add --amount" in refused("ingest", "sales.csv", *COLUMNS[:4], "--negative", "return", "--out", "log3")


def test_a_file_is_not_read_into_a_log_twice_by_two_mappings(here: Path) -> None:
    (here / "sales.csv").write_text(SALES, encoding="utf-8")
    done("ingest", "sales.csv", *COLUMNS, "--out", "log")
    said = refused("ingest", "sales.csv", *COLUMNS, "--negative", "return", "--out", "log")
    assert "read by another mapping; 1 of its rows would be added" in said
    assert "into a new folder" in said
    (here / "sales.csv").write_text(SALES + "cid,2024-01-05,3\n", encoding="utf-8")
    assert "The log holds 5 events" in done("ingest", "sales.csv", *COLUMNS, "--out", "log").out


def test_a_mended_mapping_adds_the_rows_that_were_left_out(here: Path) -> None:
    text = "who,when,paid\n" + "".join(f"u{i},2024-01-{1 + i % 28:02},{i}\n" for i in range(60)) + "u1,2024-01-09,€7\n"
    (here / "sales.csv").write_text(text, encoding="utf-8")
    ran = done("ingest", "sales.csv", *COLUMNS, "--out", "log")
    assert "rejected.parquet" in ran.out
    mended = (
        '[span]\nuntil = 2024-02-01\n[[source]]\npath = "sales.csv"\nuser = "who"\ntime = "when"\n'
        "amount = {sql = \"replace(paid, '€', '')::DOUBLE\"}\n"
    )
    (here / "mended.toml").write_text(mended, encoding="utf-8")
    assert "The log holds 61 events" in done("ingest", "mended.toml", "--out", "log").out


def test_one_model_answers_one_task(shop: Path) -> None:
    said = refused(
        "fit", "mean_rate", shop / "log", "--task", TASK, "--task", TASK, "--before", BEFORE, "--out", "model"
    )
    assert "several tasks for one model" in said


def test_fitting_beyond_the_end_of_the_log_is_refused(shop: Path) -> None:
    said = refused("fit", "mean_rate", shop / "log", "--task", TASK, "--before", "2030-01-01", "--out", "model")
    assert "the log is known only until" in said


def test_predict_says_who_is_not_asked_about(shop: Path, here: Path) -> None:
    done("fit", "mean_rate", shop / "log", "--task", "churn(days=14, active=7)", "--before", BEFORE, "--out", "model")
    ran = done("predict", "model", shop / "log", "--at", BEFORE, "--out", "scores.csv")
    assert "more users with events are not asked about, only those with count(*) over last 7 days > 0" in ran.out


# --- the synthetic shop -----------------------------------------------------------------------------------------------


def test_a_synthetic_shop_is_ingested_as_it_is(here: Path) -> None:
    (here / "more.toml").write_text("users = 5\nalpha = 10.0\nseed = 4\n", encoding="utf-8")
    options = ("--days", "100", "--since", "2024-03-01", "--seasonality", "0", "--campaigns", "1")
    ran = done("simulate", "shop", "--settings", "more.toml", *options, "--users", "30")
    assert "events of 30 users to shop" in ran.out
    made = json.loads(Path("shop/manifest.json").read_text())["settings"]
    assert (made["alpha"], made["seed"], made["users"], made["seasonality"], made["campaigns"]) == (10.0, 4, 30, 0.0, 1)
    command = ran.out.splitlines()[-1].removeprefix("read it with: valuecast ").replace("LOG", "log").split()
    assert "of 30 users, 2024-03-01 to 2024-06-09" in done(*command).out
    assert "nobody shops there" in done("describe", "log").out
    assert "wrote 2," in done("simulate", "shop", "--events", "2000").out  # another shop in its place


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--users, --events: how large? Give one of --users N and --events N."),
        (("--users", "3", "--events", "9"), "--users, --events: how large?"),
        (("--events", "0"), "--events: 0 events. Give at least 1."),
        (("--users", "0"), "settings of the shop: users is 0. Give at least 1."),
        (("--users", "3", "--days", "30"), "campaigns is 3. 30 days have room for 1 of 14 days each"),
        (("--users", "3", "--since", "soon"), "since: 'soon' is not a date or time"),
        (("--users", "3", "--settings", "odd.toml"), "odd.toml: unknown key 'alpa'. Did you mean 'alpha'?"),
        (("--users", "3", "--settings", "none.toml"), "none.toml: no such file"),
    ],
)
def test_shops_that_cannot_be_made(here: Path, options: tuple[str, ...], said: str) -> None:
    (here / "odd.toml").write_text("alpa = 3.0\n", encoding="utf-8")
    assert said in refused("simulate", "shop", *options)
    assert not Path("shop").exists()


def test_a_synthetic_shop_is_not_written_over_something_else(here: Path) -> None:
    (here / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "the folder holds something else than a synthetic shop" in refused("simulate", ".", "--users", "3")
    assert [path.name for path in here.iterdir()] == ["thesis.txt"]


def test_a_campaign_is_assumed_whole_and_wants_models_of_churn_and_value(shop: Path, here: Path) -> None:
    done("fit", "mean_rate", shop / "log", "--task", VALUE, *FIT, "--out", "spend")
    known = ("--log", shop / "log", "--at", BEFORE)
    assumed = ("--contact-cost", "0.2", "--save-rate", "0.1")
    said = refused("evaluate", shop / "rate", "spend", *known, *assumed)
    assert said == "evaluate: a campaign is assumed in part. Add --margin, or give none."
    assumed = (*assumed, "--margin", "0.5")
    for more in (assumed, ["--show-users"]):
        said = refused("evaluate", shop / "rate", *known, *more)
        assert "the page lists users only if it asks who stops buying" in said
    assert "save_rate: 0.0" in refused("evaluate", shop / "rate", "spend", *known, *assumed, "--save-rate", "0")
    ran = done("evaluate", shop / "rate", "spend", *known, *assumed, "--out", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    for text in (ran.out, page):
        assert "Whom to contact, and what it pays" in text
        assert "--show-users" in text
    assert ">c1<" not in page
    done("evaluate", shop / "rate", "spend", *known, "--show-users", "--out", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Whom to contact" not in page
    assert re.search(r">c\d+<", page)


def test_a_page_is_written_before_anything_is_printed(shop: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise SystemExit(1)  # as when the reader of a pipe has gone

    monkeypatch.setattr("valuecast.cli.models.show", closed)
    ran = valuecast("evaluate", shop / "rate", "--log", shop / "log", "--at", BEFORE, "--out", "page.html")
    assert ran.code == 1
    assert (here / "page.html").exists()
