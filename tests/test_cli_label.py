"""``valuecast label make``, ``fit``, ``predict`` and ``next``, and ``valuecast run`` of a recipe of labelled texts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.commands import END, done, ingested, lines, refused, valuecast, write_csv
from tests.labelled import texts
from tests.language_models import tiny
from valuecast.models import neural
from valuecast.moments import moment

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ("--epochs", "2", "--learning-rate", "3e-3", "--tokens", "24")
TASK = "churn(days=20, active=60)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a language model, labelled texts, and what was learned of them."""
    folder = tmp_path_factory.mktemp("label")
    tiny("bert", folder / "bert")
    texts(150, unlabelled=30).write_csv(folder / "churn.csv")
    done("label", "fit", folder / "churn.csv", "--model", folder / "bert", "--out", folder / "model", *QUICK)
    return folder


def test_fit_tells_how_it_did_before_and_after(folder: Path, tmp_path: Path) -> None:
    page, out = tmp_path / "page.html", tmp_path / "model"
    asked = ("label", "fit", folder / "churn.csv", "--model", folder / "bert", "--out", out, *QUICK)
    ran = done(*asked, "--positive", "leave", "--page", page, "--lang", "zh")
    assert "分类报告" in ran.out
    assert "精确率" in page.read_text(encoding="utf-8")
    assert ran.out.endswith(f"wrote {out}\n")
    assert "epoch 2 on validation: accuracy" in ran.err
    assert "stay / leave" in ran.out  # the positive one is the second
    assert (tmp_path / "model.training").is_dir()
    again = done(*asked, "--positive", "leave")
    assert "epoch 1 of 2 done" not in again.err  # what is done is not done again
    assert "Classification reports" in again.out


def test_settings_of_a_file_and_options_go_together(folder: Path, tmp_path: Path) -> None:
    how = tmp_path / "how.toml"
    how.write_text(
        '[tuning]\nmethod = "lora"\nepochs = 7\nrank = 2\n[reading]\npositive = "leave"\n[text]\ntokens = 16\n'
    )
    asked = ("label", "fit", folder / "churn.csv", "--model", folder / "bert", "--out", tmp_path / "model")
    ran = done(*asked, "--settings", how, "--epochs", "1", "--method", "adapter")
    assert "adapter at most 1 epoch(s)" in " ".join(ran.out.split())
    assert "epoch 1 of 1 done" in ran.err
    again = done(*asked[:-1], tmp_path / "other", "--settings", how, "--epochs", "1")
    assert "lora at most 1 epoch(s)" in " ".join(again.out.split())
    how.write_text("[tunning]\nepochs = 7\n")
    assert "unknown key 'tunning'" in refused(*asked, "--settings", how)
    how.write_text("tuning = 3\n")
    assert "tuning: 3 is not a table" in refused(*asked, "--settings", how)


def test_predict_answers_every_row_in_its_order(folder: Path, tmp_path: Path) -> None:
    asked = texts(25, seed=4).drop("label").with_columns(text=pl.col("text") + " and so on" * 200)
    asked.write_csv(tmp_path / "new.csv")
    out = tmp_path / "answers.csv"
    ran = done("label", "predict", folder / "model", tmp_path / "new.csv", "--out", out)
    found = pl.read_csv(out)
    assert found.columns == ["user", "label", "confidence", "p_leave", "p_stay"]
    assert found["user"].equals(asked["user"])
    assert ran.out == f"wrote 25 rows to {out}\n25 texts are longer than 24 tokens: their beginnings were read\n"


def test_next_names_those_without_a_label(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "next.csv"
    asked = ("label", "next", folder / "model", folder / "churn.csv", "--out", out, "--count", "5")
    ran = done(*asked)
    found = pl.read_csv(out)
    assert ran.out == f"wrote 5 of 30 users without a label to {out}\n"
    assert found["row"].min() > 120  # type: ignore[operator]
    assert found.columns == ["row", "user", "label", "confidence", "doubt", "distance", "why", "text"]
    assert found["why"][0].startswith("The model ")
    done(*asked, "--lang", "zh")
    assert pl.read_csv(out)["why"][0].startswith("模型")
    texts(20).drop("label").write_csv(tmp_path / "bare.csv")
    done("label", "next", folder / "model", tmp_path / "bare.csv", "--out", out)
    assert len(pl.read_csv(out)) == 20
    texts(20).write_csv(tmp_path / "full.csv")
    assert "every row has a label already" in refused(
        "label", "next", folder / "model", tmp_path / "full.csv", *asked[4:6]
    )


def test_make_writes_what_fit_reads(folder: Path, tmp_path: Path) -> None:
    log = ingested(write_csv(tmp_path / "sales.csv", lines(80)), tmp_path / "log", "--amount", "amount", "--until", END)
    out = tmp_path / "made.csv"
    asked = ("label", "make", log, "--task", TASK, "--out", out)
    ran = done(*asked, "--at", "2024-06-01", "--at", "2024-07-15", "--at", "2024-09-01", "--lang", "zh")
    made = pl.read_csv(out, schema_overrides={"label": pl.String})
    first, *told = ran.out.splitlines()
    assert first == f"wrote {len(made)} texts of {made['user'].n_unique()} users to {out}"
    assert [line.split(":")[0] for line in told] == ["train", "validation", "test"]
    shares = made.group_by("split", maintain_order=True).agg(pl.col("label").cast(pl.Float64).mean())["label"]
    assert [float(line.rsplit(" ", 1)[1]) for line in told] == pytest.approx(shares.to_list(), rel=0.01)
    assert made.columns == ["user", "at", "text", "label", "split"]
    assert moment(made["at"][0]) == moment("2024-06-01")
    done("label", "fit", out, "--model", folder / "bert", "--out", tmp_path / "model", *QUICK)
    assert "reach beyond" in refused(*asked, "--at", "2024-06-01", "--at", "2024-06-05")
    assert "ends in neither .csv nor .parquet" in refused(*asked[:-1], tmp_path / "made.txt", "--at", "2024-06-01")


def test_run_takes_a_recipe_of_labelled_texts(folder: Path, tmp_path: Path) -> None:
    recipe = folder / "recipe.toml"
    recipe.write_text(
        'title = "Who leaves?"\n[examples]\npath = "churn.csv"\n[text]\nmodel = "bert"\ntokens = 24\n'
        "[tuning]\nepochs = 1\nlearning_rate = 3e-3\n"
    )
    ran = done("run", recipe, "--out", tmp_path / "out")
    assert "Who leaves?" in ran.out
    assert f"wrote {tmp_path / 'out' / 'report.zh.html'}" in ran.out
    assert (tmp_path / "out" / "model" / "manifest.json").exists()
    assert "no rungs to climb" in refused("ladder", recipe)
    recipe.write_text(recipe.read_text().replace("epochs", "epoch"))
    assert "Did you mean 'epochs'?" in refused("run", recipe, "--out", tmp_path / "out")


def test_bad_input_is_one_message(folder: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.csv", ("--out", tmp_path / "model")
    good, splits = texts(60), ["train", "validation", "test"] * 20
    asked = ("label", "fit", bad, "--model", folder / "bert", *out, *QUICK)
    for frame, more, what in (
        (good.with_columns(text=pl.when(pl.col("user") != "u6").then("text")), (), "column 'text' is empty: row 7"),
        (good.with_columns(label=pl.lit("stay")), (), "holds one label only"),
        (good, ("--kind", "number"), "column 'label' is no number: row 1 ('stay')"),
        (good, ("--kind", "binary"), "column 'label' is neither yes nor no: row 1 ('stay')"),
        (
            good.with_columns(user=pl.lit("u1"), split=pl.Series(splits)),
            (),
            "users are in",
        ),
        (good.with_columns(split=pl.lit("dev")), (), "column 'split' is no split: row 1 ('dev')"),
        (good.drop("text"), (), "no column 'text'"),
        (good, ("--column", "citi"), "no column 'citi'"),
        (good, ("--learning-rate", "-1"), "learning_rate"),
        (good, ("--learning-rate", "1e20"), "training went astray"),
    ):
        frame.write_csv(bad)
        assert what in refused(*asked, *more), what
    bad.write_text("user,text,label\nu1,a\n")
    assert "row 1 has 2 cells, the header 3" in refused(*asked)
    bad.write_bytes("user,text,label\nu1,甲,1\n".encode("gb18030"))
    assert "not utf-8" in refused(*asked)
    good.write_csv(bad)
    assert "none.csv: no such file" in refused(*asked[:2], tmp_path / "none.csv", *asked[3:])
    missing = refused(*asked[:3], "--model", tmp_path / "nothing", *out)
    assert str(tmp_path / "nothing") in missing
    assert "no such text predictor folder" in refused("label", "predict", tmp_path / "none", bad, "--out", "a.csv")
    assert "this folder holds a text predictor" in refused(
        "predict", folder / "model", tmp_path, "--at", "2024-01-01", "--out", "a.csv"
    )
    assert not (tmp_path / "model").exists()
    ran = valuecast(*asked, "--method", "loar")
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_a_text_with_emoji_and_one_of_10_mb_are_no_trouble(folder: Path, tmp_path: Path) -> None:
    frame = texts(100).with_columns(text=pl.col("text") + " 😀👩‍👧")
    long = pl.when(pl.col("user") == "u3").then(pl.lit("red cake tins " * 700_000)).otherwise("text")
    frame.with_columns(text=long).write_csv(tmp_path / "f.csv")
    asked = ("label", "fit", tmp_path / "f.csv", "--model", folder / "bert", "--out", tmp_path / "model")
    ran = done(*asked, "--epochs", "1", "--tokens", "64")
    assert "1 of 100 texts are longer than 64 tokens: the model reads their beginnings" in ran.err
    assert "1 of 100 texts are longer than the model reads" in " ".join(ran.out.split())


def test_help_says_what_there_is() -> None:
    assert "label" in done("--help").out
    every = done("label", "--help").out
    assert all(name in every for name in ("make", "fit", "predict", "next"))
    assert "adalora" in done("label", "fit", "--help").out


def test_a_missing_extra_says_how_to_install_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "find_spec", lambda name: None if name == "torch" else object())
    model, file = folder / "model", folder / "churn.csv"
    for asked in (
        ("label", "fit", file, "--model", folder / "bert", "--out", tmp_path / "model"),
        ("label", "predict", model, file, "--out", tmp_path / "a.csv"),
        ("label", "next", model, file, "--out", tmp_path / "a.csv"),
    ):
        assert 'pip install "valuecast[neural]"' in refused(*asked)
