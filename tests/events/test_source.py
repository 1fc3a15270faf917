"""Mappings: what is understood, and that each slip is one message that says where and what to do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.ingested import BASIC, mapped, write
from valuecast.errors import MissingExtraError, ValuecastError
from valuecast.events.source import Mapping

TOML = """
max_rejected = 0.1
about = "a shop"
about_zh = "一家商店"
[span]
from = 2011-01-01
until = "2012-01-01T00:00+02:00"
[[source]]
path = "a/*.csv"
user = "Customer ID"
time = {column = "t", format = "%d/%m/%Y", zone = "Europe/London"}
event = {column = "type", map = {0 = "view", 1 = "cart"}}
amount = {sql = "Quantity * Price"}
fields = {country = "Country", code = {type = "string"}}
delimiter = ";"
missing = ["NA"]
[items]
path = "/data/products.parquet"
key = "product_id"
static = ["department"]
[users]
path = "users.csv"
key = "id"
dated = ["tier"]
valid_from = {column = "since", format = "%Y%m%d"}
"""


def test_a_whole_mapping(tmp_path: Path) -> None:
    found = Mapping.read(write(tmp_path, TOML, "m.toml"))
    (source,) = found.sources
    assert source.path == str(tmp_path / "a/*.csv")
    assert (source.user.column, source.time.format, source.time.zone) == ("Customer ID", "%d/%m/%Y", "Europe/London")
    assert {choice.value: choice.becomes for choice in source.event.map} == {"0": "view", "1": "cart"}
    assert source.amount is not None
    assert source.amount.sql == "Quantity * Price"
    assert [(field.name, field.source.column, field.source.type) for field in source.fields] == [
        ("country", "Country", None),
        ("code", "code", "string"),
    ]
    assert (source.delimiter, source.missing, source.users) == (";", ("NA",), "require")
    assert found.items is not None
    assert found.items.path == "/data/products.parquet"
    assert found.users is not None
    assert found.users.valid_from is not None
    assert (found.span_from, found.span_until) == (datetime(2011, 1, 1), datetime(2011, 12, 31, 22))
    assert found.about is not None
    assert (found.about.zh, found.max_rejected) == ("一家商店", 0.1)


def test_a_bare_event_is_a_constant_and_a_purchase_is_the_default(tmp_path: Path) -> None:
    first, second = mapped(tmp_path, {"event": "view"}, {}).sources
    assert (first.event.constant, second.event.constant) == ("view", "purchase")


def test_flags_and_toml_make_the_same_mapping(tmp_path: Path) -> None:
    flags = Mapping.from_flags(
        tmp_path / "s.csv", user="user", time="time", amount="a", fields=["x"], zone="UTC", until="2012-01-01"
    )
    changes = {"time": {"column": "time", "zone": "UTC"}, "amount": "a", "fields": ["x"]}
    toml = mapped(tmp_path, changes, span={"until": "2012-01-01"})
    assert flags.sources == toml.sources
    assert flags.span_until == toml.span_until


def test_a_path_inside_a_package_is_found_without_importing_it(tmp_path: Path) -> None:
    found = mapped(tmp_path, {"path": "package:valuecast/events/recipes/cdnow.toml"}).sources[0].path
    assert Path(found).is_file()
    with pytest.raises(MissingExtraError, match="pip install --no-deps shopdata==1"):
        mapped(tmp_path, {"path": "package:shopdata/x.csv"}, install="pip install --no-deps shopdata==1")


WRONG: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"usr": "x"}, {}, ["unknown key 'usr'", "Did you mean 'user'?", "[[source]] 1"]),
    ({"time": 3}, {}, ["time", "3 is not a table"]),
    ({"skip": True}, {}, ["skip", "whole number"]),
    ({"users": "ignore"}, {}, ["'ignore' is not a policy", "'drop'"]),
    ({"amount": {"column": "a", "sql": "b"}}, {}, ["amount", "exactly one of column, sql and constant"]),
    ({"amount": {"column": "a", "zone": "UTC"}}, {}, ["'zone' has no meaning here"]),
    ({"time": {"column": "t", "zone": "Europe/Londn"}}, {}, ["Did you mean 'Europe/London'?"]),
    ({"time": {"column": "t", "unit": "minutes"}}, {}, ["no unit 'minutes'", "ms"]),
    ({"event": {"column": "t", "map": {}}}, {}, ["map", "no table"]),
    ({"fields": ["order"]}, {}, ["a field cannot be called 'order'", "shop_order"]),
    ({"fields": {"x": {"type": "text"}}}, {}, ["no type 'text'", "string"]),
    ({"fields": {"x": {"type": "number", "map": {"a": "b"}}}}, {}, ["a map gives texts"]),
    ({"delimiter": ";;"}, {}, ["a delimiter is one character"]),
    ({"header": False}, {}, ["no header and no names"]),
    ({"names": ["a"]}, {}, ["names are for a file without a header"]),
    ({"where": "price >"}, {}, ["where, character 7", "does not parse at '>'"]),
    ({"where": "a = 'x"}, {}, ["character 5", "a quote is not closed"]),
    ({"where": "a; drop table b"}, {}, ["where"]),
    ({"where": "a in (select 1)"}, {}, ["needs more than one row"]),
    ({"where": "sum(a) > 1"}, {}, ["needs more than one row"]),
    ({"amount": {"sql": "read_csv('x')"}}, {}, ["amount: sql", "not one expression"]),
    ({"amount": {"sql": "random()"}}, {}, ["changes from run to run"]),
    ({"amount": {"sql": "now()"}}, {}, ["changes from run to run"]),
    ({}, {"span": {"form": "2011-01-01"}}, ["[span]", "Did you mean 'from'?"]),
    ({}, {"span": {"until": "soon"}}, ["[span] until", "'soon' is not a date"]),
    ({}, {"max_rejected": 5}, ["max_rejected", "5 is not a share"]),
    ({}, {"source": []}, ["no [[source]]"]),
    ({}, {"items": {"path": "i.csv", "key": "i", "dated": ["x"]}}, ["[items]", "valid_from"]),
    ({}, {"items": {"path": "i.csv", "static": ["x"]}}, ["[items]", "no 'key'"]),
]


@pytest.mark.parametrize(("source", "top", "said"), WRONG, ids=[" ".join(said[:1]) for *_, said in WRONG])
def test_a_slip_is_one_message(tmp_path: Path, source: dict[str, Any], top: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ValuecastError) as caught:
        mapped(tmp_path, source, **top)
    for part in ["m.toml", *said]:
        assert part in str(caught.value)


def test_a_source_without_a_user_or_a_path(tmp_path: Path) -> None:
    for key in ("user", "path", "time"):
        rest = {name: value for name, value in BASIC.items() if name != key}
        with pytest.raises(ValuecastError, match=f"no '{key}'"):
            Mapping.parse({"source": [rest]}, base=tmp_path, where="m.toml")


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ValuecastError, match="line 1"):
        Mapping.read(write(tmp_path, "x = = 1", "m.toml"))
    with pytest.raises(ValuecastError, match="no such file"):
        Mapping.read(tmp_path / "absent.toml")
