"""The definition of a feature table: names, units and labels, and its way to disk and back."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import polars as pl
import pytest

from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.features.catalogue import FeatureSet
from valuecast.features.compute import compute, learn
from valuecast.features.feature import UNITS
from valuecast.moments import moment

START = moment("2020-01-01")


@pytest.fixture(scope="module")
def log() -> EventLog:
    """A log with one of everything, and values that look alike."""
    kinds = ["purchase", "return", "view", "View", "cart", "unheard of"]
    lines = 120
    return EventLog.from_frame(
        pl.DataFrame(
            {
                "user": [f"u{number % 3}" for number in range(lines)],
                "time": [START + timedelta(hours=7 * number) for number in range(lines)],
                "event": [kinds[number % len(kinds)] for number in range(lines)],
                "item": [f"i{number % 7}" for number in range(lines)],
                "amount": [-1.0 if number % 6 == 1 else 2.0 for number in range(lines)],
                "order": [f"o{number // 2}" for number in range(lines)],
                "size": [["A-B", "A B", "a b", "", "中码", "{x}"][number % 6] for number in range(lines)],
                "discount": [0.5 * (number % 2) for number in range(lines)],
                "new": [number % 5 == 0 for number in range(lines)],
            }
        ),
        until=START + timedelta(days=100),
        items=pl.DataFrame({"item": [f"i{number}" for number in range(7)], "brand": ["x", "y"] * 3 + [None]}),
        users=pl.DataFrame({"user": ["u0", "u1"], "age": [31, 47], "plan": ["gold", "free"]}),
    )


@pytest.fixture(scope="module")
def spec(log: EventLog) -> FeatureSet:
    return learn(log)


def test_every_feature_has_a_name_a_unit_and_a_label_in_both_languages(spec: FeatureSet) -> None:
    features = spec.features
    assert len(features) > 100
    for feature in features:
        assert re.fullmatch(r"\w+", feature.name)
        assert feature.unit in UNITS
        assert feature.group
        assert feature.label.en
        assert re.search(r"[\u4e00-\u9fff]", feature.label.zh), feature
        assert not re.search(r"\{(words|window|name|value)", feature.label.en + feature.label.zh), feature


def test_names_and_labels_are_unique(spec: FeatureSet) -> None:
    names = [feature.name.casefold() for feature in spec.features]
    assert len(names) == len(set(names))
    for language in ("en", "zh"):
        labels = [feature.label.to(language) for feature in spec.features]
        assert len(labels) == len(set(labels))


def test_labels_read_as_a_person_would_say_them(spec: FeatureSet) -> None:
    labels = {feature.name: (feature.label.en, feature.label.zh) for feature in spec.features}
    assert labels["purchases_30d"] == ("Purchases in the last 30 days", "近30天购买次数")
    assert labels["spend_all"] == ("Spend so far", "历史消费金额")
    assert labels["cart_events_7d"] == ("Additions to the cart in the last 7 days", "近7天加购次数")
    assert labels["days_since_purchase"] == ("Days since the last purchase", "距最近一次购买的天数")
    assert labels["unheard_of_events_7d"] == (
        "Events of type 'unheard of' in the last 7 days",
        "近7天“unheard of”事件次数",
    )
    assert labels["share_brand_x_all"] == ("Share of spend with brand = x so far", "历史消费金额中 brand = x 的占比")


def test_a_definition_survives_json(spec: FeatureSet) -> None:
    assert FeatureSet.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert FeatureSet.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    "damage", [{"windows": None}, {"categories": [{}]}, {"requires": 1}, {"unknown": 1}, {"numbers": None}]
)
def test_a_definition_that_is_none_is_refused(spec: FeatureSet, damage: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="not understood"):
        FeatureSet.from_dict(spec.to_dict() | damage)


def test_what_a_log_must_have_is_what_is_used(spec: FeatureSet, log: EventLog) -> None:
    assert spec.requires == log.schema


def test_types_of_event_and_values_that_differ_only_in_case_are_counted_apart(spec: FeatureSet, log: EventLog) -> None:
    found = compute(spec, log, pl.DataFrame({"user": ["u2"], "at": [START + timedelta(days=100)]}))
    labels = {feature.label.en: feature.name for feature in spec.features}
    assert found[labels["Events of type 'View' so far"]].item() == 0
    assert found[labels["Views so far"]].item() == 20
    shares = [found[labels[f"Share of spend with size = {value} so far"]].item() for value in ("A-B", "A B", "a b")]
    assert shares == [None, None, None]
    first = compute(spec, log, pl.DataFrame({"user": ["u0"], "at": [START + timedelta(days=100)]}))
    shares = [first[labels[f"Share of spend with size = {value} so far"]].item() for value in ("A-B", "A B", "a b")]
    assert shares == [1.0, 0.0, 0.0]
