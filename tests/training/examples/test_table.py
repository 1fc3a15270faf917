"""Reading labelled texts: whatever is wrong is named with column and row, and nothing is lost."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.config.examples import Reading, Shares
from valuecast.errors import SourceError
from valuecast.training.examples.cells import ROW, as_cells, read
from valuecast.training.examples.table import Labelled, drawn, labelled_of, read_labelled

SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


def frame(**columns: list[str | None]) -> pl.DataFrame:
    """Ten users; columns replace the usual ones."""
    usual: dict[str, list[str | None]] = {
        "user": [f"u{number}" for number in range(10)],
        "text": [f"text {number}" for number in range(10)],
        "label": ["1", "0"] * 5,
        "split": list(SPLITS),
    }
    return pl.DataFrame({**usual, **columns}, schema_overrides=dict.fromkeys({**usual, **columns}, pl.String))


def table(how: Reading | None = None, **columns: list[str | None]) -> Labelled:
    return labelled_of(frame(**columns), how or Reading(), where="file.csv")


def refused(how: Reading | None = None, **columns: list[str | None]) -> str:
    with pytest.raises(SourceError) as caught:
        table(how, **columns)
    assert str(caught.value).startswith("file.csv")
    assert caught.value.remedy
    return str(caught.value)


def written(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# ---- what is fine


def test_a_table_is_split_as_it_says() -> None:
    found = table()
    assert (found.kind, found.classes) == ("binary", ("0", "1"))
    assert found.of("test")["user"].to_list() == ["u8", "u9"]
    assert found.numbers("train").tolist() == [1, 0, 1, 0, 1, 0]
    assert found.facts["split"] == {"by": "column"}
    assert found.pool.is_empty()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip()), min_size=10, max_size=10))
def test_whatever_a_text_holds_it_comes_back(texts: list[str]) -> None:
    assert table(text=list(texts)).frame["text"].to_list() == texts


def test_a_file_comes_back_as_it_was(tmp_path: Path) -> None:
    texts = [
        "plain",
        "emoji 😀👩‍👩‍👧",
        'a "quote", a comma',
        "two\nlines",
        "[SEP] <s>",
        "中文，标点",
        "\u0000zero",
        "=1+1",
    ]
    texts += ["  blanks around  ", "\ufeff"]
    frame(text=list(texts)).write_csv(tmp_path / "f.csv")
    frame(text=list(texts)).write_parquet(tmp_path / "f.parquet")
    for name in ("f.csv", "f.parquet"):
        assert read_labelled(tmp_path / name, Reading()).frame["text"].to_list() == texts


def test_files_of_other_kinds(tmp_path: Path) -> None:
    text = "user;text;label\n" + "".join(f"u{number};甲乙丙{number};{number % 2}\n" for number in range(40))
    plain = read(written(tmp_path / "a.csv", text))
    assert plain.columns == [ROW, "user", "text", "label"]
    assert plain.equals(read(written(tmp_path / "b.csv", "\ufeff" + text.replace("\n", "\r\n"))))
    assert plain.equals(read(written(tmp_path / "c.csv", text, encoding="gb18030"), encoding="gb18030"))
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert plain.equals(read(tmp_path / "d.csv.gz"))
    assert plain.equals(read(written(tmp_path / "e.csv", text.replace("\n", "\n\n"))))  # blank lines are no rows


def test_a_column_without_a_name_has_a_number(tmp_path: Path) -> None:
    path = written(tmp_path / "f.csv", ",text,label\n0,a,1\n1,b,0\n")
    assert read(path).columns == [ROW, "column1", "text", "label"]


def test_some_users_are_drawn() -> None:
    rows = pl.DataFrame(
        {"user": [f"u{n // 2}" for n in range(400)], "text": "t", "label": [str(n % 2) for n in range(400)]}
    )
    whole = labelled_of(rows, Reading())
    some = whole.drawn(80)
    assert some.frame["user"].n_unique() == some.facts["users"] == 80
    assert len(some.frame) == 160
    assert (some.facts["drawn"], whole.facts["users"]) == (200, 200)
    assert set(some.frame["split"]) == {"train", "validation", "test"}
    assert some.frame.equals(whole.drawn(80).frame)
    assert not some.frame["user"].equals(whole.drawn(80, seed=1).frame["user"])


def test_a_text_of_10_mb_takes_no_time(tmp_path: Path) -> None:
    long = "word " * 2_000_000
    frame(text=[long, *["short"] * 9]).write_csv(tmp_path / "f.csv")
    start = time.perf_counter()
    found = read_labelled(tmp_path / "f.csv", Reading())
    assert found.frame["text"][0] == long
    assert time.perf_counter() - start < 10


def test_rows_without_a_label_are_the_pool() -> None:
    found = table(label=[None, "0", "1", " ", "1", "0", "1", "0", "1", None], split=[None, *SPLITS[1:]])
    assert found.pool["user"].to_list() == ["u0", "u3"]
    assert found.facts["pool"] == 2
    assert found.facts["unlabelled"] == 3  # that of the test teaches nothing
    assert len(found.frame) == 10
    with_labels = found.with_labels(found.pool.with_columns(label=pl.Series([1.0, 0.0])))
    assert len(with_labels.of("train")) == len(found.of("train")) + 2
    assert with_labels.digest != found.digest


def test_columns_become_a_text() -> None:
    columns = frame().drop("text").with_columns(orders=pl.lit("3"), city=pl.Series(["Rome", None] * 5))
    found = labelled_of(columns, Reading(columns=("orders", "city")))
    assert found.frame["text"][:2].to_list() == ["orders: 3; city: Rome", "orders: 3"]
    assert found.frame.columns[-2:] == ["orders", "city"]
    assert found.columns == ("orders", "city")


def test_without_a_split_users_are_split_for_ever() -> None:
    users = [f"u{number // 2}" for number in range(400)]
    rows = pl.DataFrame({"user": users, "text": "t", "label": [str(number % 2) for number in range(400)]})
    found = labelled_of(rows, Reading(), seed=3)
    assert found.frame.group_by("user").agg(pl.col("split").n_unique())["split"].max() == 1
    shares = dict(found.frame["split"].value_counts(normalize=True).iter_rows())
    assert shares["test"] == pytest.approx(0.15, abs=0.06)
    assert shares["validation"] == pytest.approx(0.15, abs=0.06)
    fewer = labelled_of(rows.head(300), Reading(), seed=3)
    assert found.frame.head(300)["split"].equals(fewer.frame["split"])
    assert not found.frame["split"].equals(labelled_of(rows, Reading(), seed=4).frame["split"])
    more = labelled_of(rows, Reading(shares=Shares(validation=0.3)), seed=3)
    assert more.frame.filter(split="test").equals(found.frame.filter(split="test"))
    assert 0 <= min(drawn(user, 0) for user in users) < max(drawn(user, 0) for user in users) < 1


@pytest.mark.parametrize(
    ("labels", "how", "kind", "classes"),
    [
        (["yes", "No"], {}, "binary", ("No", "yes")),
        (["是", "否"], {}, "binary", ("否", "是")),
        (["stay", "go"], {}, "classes", ("go", "stay")),
        (["stay", "go"], {"positive": "go"}, "binary", ("stay", "go")),
        (["5", "10"], {}, "classes", ("5", "10")),
        (["1", "0"], {"kind": "number"}, "number", ()),
        (["1", "0"], {"kind": "classes"}, "classes", ("0", "1")),
    ],
)
def test_labels_say_what_they_are(labels: list[str], how: dict[str, str], kind: str, classes: tuple[str, ...]) -> None:
    found = table(Reading(**how), label=labels * 5)  # type: ignore[arg-type]
    assert (found.kind, found.classes) == (kind, classes)


def test_many_numbers_are_numbers() -> None:
    rows = pl.DataFrame({"user": [str(n) for n in range(99)], "text": "t", "label": [f"{n / 2}" for n in range(99)]})
    found = labelled_of(rows, Reading())
    assert found.kind == "number"
    assert found.frame["label"].to_list() == [number / 2 for number in range(99)]


# ---- what is not


def test_a_text_that_is_missing_is_named() -> None:
    message = refused(text=["a", None, "b", " \t", *["c"] * 6])
    assert "column 'text' is empty: row 2, row 4." in message
    assert 'empty = "drop"' in message
    found = table(Reading(empty="drop"), text=["a", None, *["c"] * 8])
    assert found.facts["dropped"] == [2]
    assert found.frame[ROW].to_list() == [1, *range(3, 11)]
    assert "no row has a text" in refused(Reading(empty="drop"), text=[None] * 10)


@pytest.mark.parametrize(
    ("label", "how", "what"),
    [
        (
            ["1", "maybe"],
            {"kind": "binary"},
            "column 'label' is neither yes nor no: row 2 ('maybe'), row 4 ('maybe')",
        ),
        (["1", "much"], {"kind": "number"}, "column 'label' is no number: row 2 ('much')"),
        (["1", "inf"], {"kind": "number"}, "is no number: row 2 ('inf')"),
        (["1", "1"], {}, "holds one label only, '1'"),
        (["3", "3"], {"kind": "number"}, "the same number"),
        (["a", "b"], {"positive": "c"}, "no row has the label 'c'"),
        ([None, None], {}, "no row has a label"),
    ],
)
def test_labels_that_are_not_what_is_asked(label: list[str], how: dict[str, str], what: str) -> None:
    assert what in refused(Reading(**how), label=label * 5)  # type: ignore[arg-type]


def test_a_third_label_of_a_yes_or_no_question() -> None:
    assert "has 3 labels (a, b, c)" in refused(Reading(positive="a"), label=[*"abc", *"abababa"])


def test_a_class_that_is_not_taught_and_a_split_without_rows() -> None:
    assert "no row of train has the label 'rare'" in refused(label=[*["a", "b"] * 4, "rare", "b"])
    assert "no row of test has a label" in refused(split=["train"] * 8 + ["validation"] * 2)
    assert "no row of validation has a label" in refused(label=[*["1", "0"] * 3, None, None, "1", "0"])


def test_too_many_classes() -> None:
    rows = pl.DataFrame({"user": [str(n) for n in range(300)], "text": "t", "label": [f"c{n}" for n in range(300)]})
    with pytest.raises(SourceError, match="300 different labels"):
        labelled_of(rows, Reading())


def test_splits_that_are_unknown_or_missing() -> None:
    message = refused(split=[*SPLITS[:9], "Valid"])
    assert "column 'split' is no split: row 10 ('Valid')" in message
    assert "Did you mean 'validation'?" in message
    assert "column 'split' is empty: row 10" in refused(split=[*SPLITS[:9], None])


def test_a_user_in_two_splits_is_refused_unless_times_part_them() -> None:
    users: list[str | None] = [f"u{number % 8}" for number in range(10)]
    message = refused(user=users)
    assert "users are in train and in test" in message
    assert "'u0', 'u1' (in test row 9, 10)" in message
    early = ["2017-01-01"] * 6 + ["2017-02-01"] * 2
    assert len(table(user=users, at=[*early, *["2017-03-01"] * 2]).frame) == 10
    assert "users are in train and in test" in refused(user=users, at=[*early, "2017-01-01", "2017-03-01"])
    assert "column 'at' is no date or time: row 10 ('soon')" in refused(user=users, at=[*early, "2017-03-01", "soon"])
    assert "row 10 (empty)" in refused(user=users, at=[*early, "2017-03-01", None])


def test_a_user_that_is_missing_and_columns_that_are() -> None:
    assert "column 'user' is empty: row 3" in refused(user=["a", "b", None, *"cdefghi"])
    for name, what in (("user", "the user"), ("text", "the text"), ("label", "the label")):
        with pytest.raises(SourceError, match=f"no column '{name}' of {what}"):
            labelled_of(frame().drop(name), Reading())
    with pytest.raises(SourceError, match="Did you mean 'text'"):
        labelled_of(frame(), Reading(text="texts"))
    with pytest.raises(SourceError, match="no column 'city'"):
        labelled_of(frame(), Reading(columns=("city",)))
    with pytest.raises(SourceError, match="there are no rows"):
        labelled_of(frame().clear(), Reading())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("user,text,label\nu1,a,b,1\n", "row 1 has 4 cells, the header 3"),
        ("user,text,label\nu1,a,1\nu2,a\n", "row 2 has 2 cells, the header 3"),
        ('user,text,label\nu1,"a,1\nu2,b,0\n', "row 1"),
        ("user,text,text\nu1,a,1\n", "two columns are called 'text'"),
        ("\nuser,text\n", "the first line is empty"),
        ("", "the first line is empty"),
    ],
)
def test_files_that_are_broken(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(written(tmp_path / "f.csv", text))
    assert what in str(caught.value)
    assert str(tmp_path / "f.csv") in str(caught.value)


def test_files_that_are_not_there_or_something_else(tmp_path: Path) -> None:
    written(tmp_path / "churn.csv", "user,text\n甲,乙\n", encoding="gb18030")
    (tmp_path / "f.parquet").write_bytes(b"no")
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(b"user,text\n" * 1000)[:20])
    for name, what in (
        ("chrun.csv", "Did you mean 'churn.csv'?"),
        ("churn.csv", 'not utf-8: byte 0xbc cannot be read. Say how it is written: encoding = "gb18030"'),
        ("f.parquet", "not a Parquet file"),
        ("f.csv.gz", "not a whole gzip file"),
        (".", "this is a folder"),
    ):
        with pytest.raises(SourceError) as caught:
            read(tmp_path / name)
        assert what in str(caught.value), name
    with pytest.raises(SourceError, match="no encoding 'utf-9'"):
        read(tmp_path / "churn.csv", encoding="utf-9")
    with pytest.raises(SourceError, match="column 'x' is not text"):
        as_cells(pl.DataFrame({"x": [[1]]}), where="f")


def test_a_label_that_one_row_has_is_a_slip_unless_classes_are_meant(tmp_path: Path) -> None:
    rows = [f"u{i},text {i},{i % 2}" for i in range(60)]
    rows[6] = "u6,text 6,maybe"
    path = written(tmp_path / "f.csv", "\n".join(["user,text,label", *rows]) + "\n")
    with pytest.raises(SourceError, match=r"has a label that no other row has: row \d+ \('?maybe'?\)"):
        read_labelled(path, Reading())
    meant = "\n".join(["user,text,label", *rows[:6], *rows[7:]]) + "\n"
    assert read_labelled(written(tmp_path / "g.csv", meant), Reading()).kind == "binary"
