"""Privacy at the door: no raw id is anywhere in a log, pseudonyms are the shop's own and join, and nothing mixes."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands import done, refused, write_csv
from tests.ingested import as_csv, mapped, run, write
from valuecast.errors import ConfigError, SourceError, ValuecastError
from valuecast.events.describe import describe
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.protection import keyfile, privacy
from valuecast.events.protection.pseudonyms import write_pseudonyms
from valuecast.events.source import Mapping
from valuecast.events.spec import File
from valuecast.report.masking import masked

KEY = bytes(range(32))
PEOPLE = ["anna.berg@example.org", "王小明的编号", "0044-7700-900123"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "shop.key"
    path.parent.mkdir()
    path.write_text(KEY.hex())
    path.chmod(0o600)
    return path


def _pseudonym(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()[:32]


def _texts(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what they hold once they are decompressed and decoded."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
        yield "\n".join(str(cell) for column in frame.iter_columns() for cell in column.to_list()).encode()
        yield str(pl.read_parquet_metadata(path)).encode()
    if path.suffix == ".json":
        yield repr(json.loads(path.read_text())).encode()


def _leaks(folder: Path, secrets: list[str]) -> list[tuple[str, str]]:
    """Where a secret, or a piece of it that is long enough to be one, is to be found in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        (path.name, secret)
        for path in files
        for text in _texts(path)
        for secret in secrets
        if any(form in text for form in (secret.encode(), secret.encode("utf-16-le"), secret.encode("gb18030")))
    ]


# --- nothing leaks -----------------------------------------------------------------------------------------------


def _dirty(folder: Path) -> dict[str, Any]:
    """Files in which ids turn up wherever a mistake can carry them, and their mapping."""
    anna, wang, phone = PEOPLE
    rows = [(anna, "2011-01-01", "1", "A"), (wang, "2011-01-02", "2", "B"), (phone, "2011-01-03", "3", "C")]
    dirty = [(anna, "soon", "1", "D"), (wang, "2011-01-04", "n/a", "E"), ("", "2011-01-05", "1", "F")]
    torn = f'\n{phone},2011-01-05\n{anna},2011-01-05,1,G,more,{wang}\n{wang},2011-01-05,"1" {anna},H\n'
    write(folder, as_csv(("user", "time", "amount", "order"), rows + dirty) + torn.lstrip("\n"))
    people = [(anna, "SW1A 1AA", anna), (wang, "100080", wang), (phone, "N1", phone)]
    write(folder, as_csv(("id", "postcode", "email"), people), "users.csv")
    return {
        "privacy": {"drop": ["email"], "mask": {"users.postcode": 3}},
        "users": {"path": "users.csv", "key": "id", "static": ["postcode"]},
        "max_rejected": 0.9,
    }


def test_no_raw_id_is_anywhere_in_the_log(tmp_path: Path, key: Path) -> None:
    top = _dirty(tmp_path)
    mapping = mapped(tmp_path, {"amount": "amount", "order": "order"}, **top).pseudonymised(key)
    summary = ingest(mapping, tmp_path / "log")
    assert (summary.accounts[0].rejected, summary.accounts[0].accepted) == (6, 3)
    assert not _leaks(tmp_path / "log", PEOPLE)
    assert _leaks(tmp_path, PEOPLE)  # the search itself can find
    assert not any(person in str(summary) for person in PEOPLE)
    assert not any("email" in note for note in summary.notes)
    log = EventLog.read(tmp_path / "log")
    assert log.users is not None
    assert sorted(log.collect(log.events)["user"]) == sorted(map(_pseudonym, PEOPLE))
    assert dict(log.collect(log.users.table).rows()) == dict(
        zip(map(_pseudonym, PEOPLE), ("SW1***", "100***", "***"), strict=True)
    )
    torn = pl.read_parquet(tmp_path / "log/rejected.parquet").filter(pl.col("column").is_null())
    assert torn.height == 3
    assert torn["value"].null_count() == 3


def test_an_id_that_is_no_value_is_not_shown_either(tmp_path: Path, key: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute('create table sales ("user", time text)')
        rows = [("anna.berg", "2011-01-01"), (b"anna.berg\xff", "2011-01-02")]
        shop.executemany("insert into sales values (?, ?)", rows)
        shop.commit()
    source = {"database": "shop.db", "table": "sales", "user": "user", "time": "time"}
    data = {"source": [source], "max_rejected": 0.5}
    ingest(Mapping.parse(data, base=tmp_path, where="m.toml").pseudonymised(key), tmp_path / "log")
    assert pl.read_parquet(tmp_path / "log/rejected.parquet")["value"].to_list() == ["***"]
    log = EventLog.read(tmp_path / "log")
    assert log.collect(log.events)["user"].to_list() == [_pseudonym("anna.berg")]
    assert not _leaks(tmp_path / "log", ["anna.berg"])


def test_without_a_policy_the_search_would_find_them(tmp_path: Path) -> None:
    top = _dirty(tmp_path) | {"privacy": {}}
    ingest(mapped(tmp_path, {"amount": "amount", "order": "order"}, **top), tmp_path / "log")
    assert {person for _, person in _leaks(tmp_path / "log", PEOPLE)} == set(PEOPLE)


def test_no_raw_id_is_in_a_refusal_or_in_what_it_leaves(tmp_path: Path, key: Path) -> None:
    anna = PEOPLE[0]
    top = _dirty(tmp_path)
    cases: list[dict[str, Any]] = [{"max_rejected": 0.1}]
    write(tmp_path, as_csv(("id", "postcode"), [(anna, "A1 1AA"), (anna, "B2 2BB")]), "double.csv")
    cases.append({"users": {"path": "double.csv", "key": "id", "static": ["postcode"]}})
    for case in cases:
        mapping = mapped(tmp_path, {"amount": "amount"}, **(top | case)).pseudonymised(key)
        with pytest.raises(SourceError) as caught:
            ingest(mapping, tmp_path / "log")
        assert not any(person in str(caught.value) for person in PEOPLE)
        assert not _leaks(tmp_path / "log", PEOPLE)
    assert f"two rows for {masked(_pseudonym(anna))} disagree" in str(caught.value)


@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet", "utf16.csv"])
def test_a_killed_ingest_leaves_nothing_that_the_next_one_does_not_remove(tmp_path: Path, key: Path, name: str) -> None:
    rows = [(person, "2011-01-01") for person in PEOPLE] * 20
    frame = pl.DataFrame(rows, schema=("user", "time"), orient="row")
    text = as_csv(("user", "time"), rows)
    write(tmp_path, text.encode("utf-16") if name == "utf16.csv" else text, name)
    if name == "s.jsonl":
        frame.write_ndjson(tmp_path / name)
    if name == "s.parquet":
        frame.write_parquet(tmp_path / name)
    encoding = 'encoding = "utf-16"\n' if name == "utf16.csv" else ""
    mapping = tmp_path / "m.toml"
    mapping.write_text(f'[[source]]\npath = "{name}"\nuser = "user"\ntime = "time"\n{encoding}')
    out = tmp_path / "log"
    script = f"""
import os, signal
from pathlib import Path
from valuecast.events.ingest import ingest
from valuecast.events.source import Mapping
def progress(message):
    if message == "writing the log":
        os.kill(os.getpid(), signal.SIGKILL)
ingest(Mapping.read(Path({str(mapping)!r})).pseudonymised(Path({str(key)!r})), Path({str(out)!r}), progress=progress)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert list(out.glob(".ingest-*"))
    if name != "utf16.csv":  # that file is copied first, into a folder that only its owner can enter
        assert not _leaks(out, PEOPLE)
    with pytest.raises(SourceError, match="no column"):  # the next one clears up even if it is refused
        run(tmp_path, {"path": name, "user": "nobody"} | ({"encoding": "utf-16"} if encoding else {}))
    assert not list(out.iterdir())


# --- pseudonyms --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(min_size=1, max_size=200), max_size=5), st.binary(min_size=32, max_size=32))
def test_a_pseudonym_is_the_hmac_of_the_text(texts: list[str], secret: bytes) -> None:
    connection = duckdb.default_connection()
    privacy.use(connection, secret)
    query = f"select {privacy.pseudonym_sql('text')} from (select unnest($1::VARCHAR[]) as text)"
    found = [each for (each,) in connection.execute(query, [[*texts, None]]).fetchall()]
    assert found == [*(hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32] for text in texts), None]
    assert found[:-1] == [privacy.pseudonym(text, secret) for text in texts]


ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip(" \t\n\r\xa0\u3000") and "\r" not in text
)


@settings(deadline=None, max_examples=8)
@given(st.lists(ids, min_size=1, max_size=6, unique=True))
def test_every_format_gives_the_same_pseudonyms(tmp_path_factory: pytest.TempPathFactory, users: list[str]) -> None:
    folder = tmp_path_factory.mktemp("formats")
    secret = folder / "key"
    secret.write_text(KEY.hex())
    rows = [(user, "2011-01-01") for user in users]
    frame = pl.DataFrame(rows, schema=("user", "time"), orient="row")
    write(folder, "\n".join(json.dumps({"user": user, "time": time}) for user, time in rows), "s.jsonl")
    frame.write_parquet(folder / "s.parquet")
    for name in ("s.jsonl", "s.parquet"):
        ingest(mapped(folder, {"path": name}).pseudonymised(secret), folder / name.replace(".", "-"))
        log = EventLog.read(folder / name.replace(".", "-"))
        assert sorted(log.collect(log.events)["user"]) == sorted(map(_pseudonym, users))


def test_numbers_as_ids_have_the_pseudonym_of_their_text(tmp_path: Path, key: Path) -> None:
    frame = pl.DataFrame({"user": [13085.0, 12.0], "time": ["2011-01-01"] * 2})
    frame.write_parquet(tmp_path / "s.parquet")
    ingest(mapped(tmp_path, {"path": "s.parquet"}).pseudonymised(key), tmp_path / "log")
    log = EventLog.read(tmp_path / "log")
    assert set(log.collect(log.events)["user"]) == {_pseudonym("13085"), _pseudonym("12")}


def test_everything_named_is_pseudonymised(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "user,time,sku,basket,phone,kind\nu1,2011-01-01,7,b1,555,x\nu2,2011-01-02,7,b2,555,y\n")
    write(tmp_path, "sku,maker\n7,Acme\n", "items.csv")
    policy = {"pseudonymise": ["user", "item", "order", "phone", "items.maker"], "key": "keys/shop.key"}
    _, log, events = run(
        tmp_path,
        {"item": "sku", "order": "basket", "fields": ["phone", "kind"]},
        items={"path": "items.csv", "key": "sku", "static": ["maker"]},
        privacy=policy,
    )
    assert events.select("user", "item", "order", "phone", "kind").rows() == [
        (_pseudonym("u1"), _pseudonym("7"), _pseudonym("b1"), _pseudonym("555"), "x"),
        (_pseudonym("u2"), _pseudonym("7"), _pseudonym("b2"), _pseudonym("555"), "y"),
    ]
    assert log.items is not None
    assert log.collect(log.items.table).rows() == [(_pseudonym("7"), _pseudonym("Acme"))]
    assert log.schema == {"phone": "string", "kind": "string", "items.maker": "string"}
    facts = [str(fact.label) + str(fact.value) for fact in describe(log).facts]
    assert any("Pseudonyms" in fact and "user, item, order, phone, items.maker" in fact for fact in facts)


def test_ids_and_their_pseudonyms_side_by_side(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "who;x\nb;1\na;2\nb;3\n ;4\n")
    for name, read in (("map.csv", pl.read_csv), ("map.parquet", pl.read_parquet)):
        out = tmp_path / name
        assert write_pseudonyms(key, File(path=str(tmp_path / "s.csv")), user="who", out=out) == 2
        assert read(out).rows() == [("a", _pseudonym("a")), ("b", _pseudonym("b"))]  # type: ignore[operator]
        assert read(out).columns == ["id", "user"]  # type: ignore[operator]
        assert out.stat().st_mode & 0o077 == 0
    write(tmp_path, "user,time\nb,2011-01-01\n", "t.csv")
    ingest(mapped(tmp_path, {"path": "t.csv"}).pseudonymised(key), tmp_path / "log")
    log = EventLog.read(tmp_path / "log")
    joined = log.collect(log.events).join(pl.read_csv(tmp_path / "map.csv"), on="user")
    assert joined["id_right"].to_list() == ["b"]
    for column, out, said in (
        ("nobody", "map.csv", "no column 'nobody'"),
        ("who", "log/map.csv", "would lie in a log"),
        ("who", "map.txt", "what kind of file"),
        ("who", "no/map.csv", "no such folder"),
    ):
        with pytest.raises(SourceError, match=said):
            write_pseudonyms(key, File(path=str(tmp_path / "s.csv")), user=column, out=tmp_path / out)


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_new_log_makes_its_key(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    path, said = tmp_path / "new.key", list[str]()
    ingest(mapped(tmp_path).pseudonymised(path), tmp_path / "log", progress=said.append)
    assert any(f"made the key {path}" in message for message in said)
    assert path.stat().st_mode & 0o777 == 0o600
    secret = keyfile.read_key(path)
    assert len(secret) == 32
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    log = EventLog.read(tmp_path / "log")
    assert log.collect(log.events)["user"].to_list() == [privacy.pseudonym("u1", secret)]
    assert secret.hex() not in (tmp_path / "log/manifest.json").read_text()
    with pytest.raises(SourceError, match="File exists"):
        keyfile.make_key(path)
    assert keyfile.read_key(path) == secret


def test_a_log_takes_more_with_its_own_key_alone(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    ingest(mapped(tmp_path).pseudonymised(key), tmp_path / "log")
    write(tmp_path, "user,time\nu1,2011-01-02\n")
    other = keyfile.make_key(tmp_path / "other.key")
    assert other != KEY
    absent = tmp_path / "absent.key"
    for mapping, said in (
        (mapped(tmp_path), r"'user' is protected in this log.*--pseudonymise KEYFILE"),
        (mapped(tmp_path).pseudonymised(tmp_path / "other.key"), "from another key"),
        (mapped(tmp_path).pseudonymised(absent), "no such key file.*if it is lost"),
        (mapped(tmp_path, {"order": "user"}, privacy={"pseudonymise": ["order"], "key": str(key)}), "is protected"),
    ):
        with pytest.raises(SourceError, match=said):
            ingest(mapping, tmp_path / "log")
    assert not absent.exists()
    summary = ingest(mapped(tmp_path).pseudonymised(key), tmp_path / "log")
    assert (summary.events, summary.users) == (2, 1)


def test_a_log_of_raw_ids_takes_no_pseudonyms(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "user,time,zip\nu1,2011-01-01,12345\n")
    run(tmp_path, {"fields": ["zip"]})
    for policy, said in (
        ({"pseudonymise": ["user"], "key": str(key)}, "holds 'user' as it is in the files, the mapping says pseudonym"),
        ({"mask": {"zip": 2}}, "holds 'zip' as it is in the files, the mapping says mask 2"),
    ):
        with pytest.raises(SourceError, match=said):
            run(tmp_path, {"fields": ["zip"]}, privacy=policy)


def test_a_key_that_others_can_read_is_noted(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    key.chmod(0o644)
    summary = ingest(mapped(tmp_path).pseudonymised(key), tmp_path / "log")
    assert any("chmod 600" in note for note in summary.notes)


@pytest.mark.parametrize("content", [b"", b"secret", b"\xff" * 64, b"0" * 63, b"0" * 66])
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SourceError, match="this is not a key"):
        keyfile.read_key(tmp_path / "key")


def test_a_key_cannot_lie_in_the_log(tmp_path: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    for path in ("log/key", "log/deep/key", "link/key"):
        with pytest.raises(SourceError, match="would lie in a log"):
            ingest(mapped(tmp_path).pseudonymised(tmp_path / path), tmp_path / "log")
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="the key cannot be written: Not a directory"):
        ingest(mapped(tmp_path).pseudonymised(tmp_path / "file/deep/key"), tmp_path / "log")
    assert not (tmp_path / "log").exists()
    ingest(mapped(tmp_path).pseudonymised(tmp_path / "new/key"), tmp_path / "log")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


# --- policies ----------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a name that is not mapped": ({"mask": {"zpi": 2}}, {}, r"nothing called 'zpi'.*Did you mean 'zip'"),
    "times": ({"pseudonymise": ["time"]}, {}, "nothing called 'time'"),
    "masked users": ({"mask": {"user": 2}}, {}, "nothing called 'user'"),
    "no key": ({"pseudonymise": ["user"]}, {}, "no key for the pseudonyms"),
    "an unknown key": ({"hide": ["user"]}, {}, "unknown key 'hide'"),
    "no table": ([], {}, "is not a table"),  # type: ignore[dict-item]
    "a list as a mask": ({"mask": ["zip"]}, {}, "is no mask"),
    "a mask that keeps nothing": ({"mask": {"zip": 0}}, {}, "is no mask"),
    "both": ({"mask": {"zip": 2}, "pseudonymise": ["zip"], "key": "k"}, {}, "pseudonymised and masked"),
    "a dropped column that is mapped": ({"drop": ["ZIP"]}, {}, "'zip' must not be read"),
    "a dropped column in an expression": ({"drop": ["age"]}, {"where": "AGE > 3"}, "'age' must not be read"),
    "a pseudonym in an expression": (
        {"pseudonymise": ["user"], "key": "k"},
        {"where": "user != 'test'"},
        "an expression cannot read column 'user'",
    ),
    "a mask in an expression": ({"mask": {"zip": 2}}, {"order": {"sql": "zip || 'x'"}}, "cannot read column 'zip'"),
    "a computed user": (
        {"pseudonymise": ["user"], "key": "k"},
        {"user": {"sql": "lower(user)"}},
        "'user' is not a column of the file",
    ),
    "a number": ({"mask": {"zip": 2}}, {"fields": {"zip": {"type": "number"}}}, "type has no meaning"),
    "a map": ({"mask": {"zip": 2}}, {"fields": {"zip": {"map": {"1": "a"}}}}, "map has no meaning"),
    "one column in two ways": (
        {"pseudonymise": ["user"], "mask": {"zip": 2}, "key": "k"},
        {"fields": {"zip": {"column": "user"}}},
        "taken twice",
    ),
    "a key that is no path": ({"key": 7}, {}, "is no path"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_policy_that_does_not_fit(tmp_path: Path, case: str) -> None:
    policy, source, said = WRONG[case]
    write(tmp_path, "user,time,zip,age\nu1,2011-01-01,12345,5\n")
    with pytest.raises(ValuecastError, match=said):
        run(tmp_path, {"fields": ["zip"]} | source, privacy=policy)
    assert not (tmp_path / "log").exists()


def test_two_keys_are_one_too_many(tmp_path: Path, key: Path) -> None:
    with pytest.raises((SourceError, ConfigError), match="names a key already"):
        mapped(tmp_path, privacy={"key": str(key)}).pseudonymised(key)


def test_a_key_alone_pseudonymises_users(tmp_path: Path, key: Path) -> None:
    write(tmp_path, "user,time\nu1,2011-01-01\n")
    _, log, events = run(tmp_path, privacy={"key": "keys/shop.key"})
    assert events["user"].to_list() == [_pseudonym("u1")]
    assert log.treatments == {"user": "pseudonym"}


def test_a_masked_field_keeps_its_beginning(tmp_path: Path) -> None:
    write(tmp_path, "user,time,zip,born\nu1,2011-01-01,商品商品,1980-05-17\nu2,2011-01-02,12,\nu3,2011-01-03,,1980\n")
    _, log, events = run(tmp_path, {"fields": ["zip", "born"]}, privacy={"mask": {"zip": 2, "born": 4}})
    assert events["zip"].to_list() == ["商品***", "***", None]
    assert events["born"].to_list() == ["1980***", None, "***"]
    assert log.schema == {"zip": "string", "born": "string"}
    assert log.treatments == {"zip": "mask 2", "born": "mask 4"}
    assert any("zip, born" in str(fact.value) for fact in describe(log).facts)


def test_a_dropped_column_that_no_file_has_is_noted(tmp_path: Path) -> None:
    write(tmp_path, "user,time,email\nu1,2011-01-01,x\n")
    summary, _, _ = run(tmp_path, privacy={"drop": ["emial", "email"]})
    assert [note for note in summary.notes if "drop" in note] == ["[privacy] drop: no file has a column 'emial'"]


# --- the command line --------------------------------------------------------------------------------------------


def test_from_the_command_line(tmp_path: Path) -> None:
    path, key, log, out = (tmp_path / name for name in ("sales.csv", "shop.key", "log", "map.csv"))
    write_csv(path, [("anna@example.org", "2024-01-05", "3"), ("ben@example.org", "2024-01-06", "4")])
    flags = ("--user", "customer", "--time", "date", "--out", log)
    ran = done("ingest", path, *flags, "--pseudonymise", key)
    assert f"made the key {key}" in ran.err
    assert "example.org" not in ran.out + ran.err
    assert "Pseudonyms" in done("describe", log).out
    assert "假名" in done("describe", log, "--lang", "zh").out
    assert "2 ids" in done("pseudonyms", key, path, "--user", "customer", "--out", out).out
    users = EventLog.read(log)
    assert set(users.collect(users.events)["user"]) == set(pl.read_csv(out)["user"])
    assert not _leaks(log, ["anna@example.org", "ben@example.org"])
    assert "--pseudonymise KEYFILE" in refused("ingest", path, *flags)
    assert "no such key file" in refused("pseudonyms", tmp_path / "x.key", path, "--user", "customer", "--out", out)
    mapping = tmp_path / "m.toml"
    mapping.write_text('source = [{path = "sales.csv", user = "customer", time = "date"}]\n')
    done("ingest", mapping, "--out", log, "--pseudonymise", key)
    mapping.write_text(mapping.read_text() + '[privacy]\nkey = "shop.key"\n')
    assert "names a key already" in refused("ingest", mapping, "--out", log, "--pseudonymise", key)
