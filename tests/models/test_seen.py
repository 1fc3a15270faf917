"""What a backbone has seen of a shop."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.shops import grocer, wholesaler
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.models import seen
from valuecast.models.seen import Seen


def test_a_log_is_known_again_by_some_of_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "SKETCH", 200)
    log = grocer(30)
    middle = log.span.start + timedelta(days=150)
    found = Seen.of(log.before(middle))
    assert found.before == middle
    assert len(found.sketch) == 200
    assert list(found.sketch) == sorted(found.sketch)
    assert found == Seen.of(log.before(middle))
    for days in (30, 100, 299):
        assert found.within(log.before(log.span.start + timedelta(days=days)))
    assert found.within(log.between(middle - timedelta(days=20), log.span.until))
    assert not found.within(log.between(middle, log.span.until))
    assert not found.within(wholesaler(30))
    assert not found.within(grocer(30, seed=5))
    assert Seen.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_two_shops_may_have_a_few_lines_alike() -> None:
    one, other = (simulate(Settings(users=100, days=200, campaigns=2, seed=seed)).log for seed in (1, 2))
    assert Seen.of(one).within(one)
    assert not Seen.of(one).within(other)


def test_a_small_log_is_kept_whole() -> None:
    log = grocer(2).before("2021-03-20")
    events = log.collect(log.events.count().as_table()).item()
    assert len(Seen.of(log).sketch) == events < seen.SKETCH
