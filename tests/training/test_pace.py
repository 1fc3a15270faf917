"""How far something is, in a line now and then."""

from __future__ import annotations

import pytest

from valuecast.training import pace


def test_what_takes_long_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    said: list[str] = []
    watch = pace.watched(said.append, "lora: scoring")
    for done in range(10):
        watch(done, 10)
        clock[0] += 2.0
    assert said == [
        "lora: scoring, batch 3 of 10, 14 s left",
        "lora: scoring, batch 6 of 10, 8 s left",
        "lora: scoring, batch 9 of 10, 2 s left",
    ]


def test_what_is_quick_says_nothing() -> None:
    said: list[str] = []
    watch = pace.watched(said.append, "reading")
    for done in range(10):
        watch(done, 10)
    assert not said
