"""Windows of events, varied anew in each epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.sequences.test_windows import histories, keys_of
from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError
from valuecast.models.network import Tensors
from valuecast.models.reading import EventReading
from valuecast.sequences import windows as cut
from valuecast.training.augmentation.events import varied

SEQUENCES = histories([list(range(user, 60, 2)) for user in range(20)])
KEYS = [(user, day) for user in range(20) for day in (20, 40, 60)]
READING = EventReading(SEQUENCES, cut.shared(cut.rows_of(SEQUENCES, keys_of(KEYS)), SEQUENCES, 16))
MASK = Augmentation(mask=0.5)


def draw(epoch: int) -> np.random.Generator:
    return np.random.default_rng([0, epoch])


def same(one: Tensors, other: Tensors) -> bool:
    return torch.equal(one.codes, other.codes)


def test_each_epoch_is_varied_anew_and_one_plan_gives_one_result() -> None:
    reading = varied(READING, MASK, frozen=False)
    first, again, second = (reading.plan(10_000, draw(epoch)) for epoch in (0, 0, 1))
    assert len(first) == 1  # one batch, which holds the same windows in each epoch
    assert sorted(first[0][1:]) == sorted(second[0][1:])
    assert same(reading.load(first[0]), reading.load(again[0]))
    ours, theirs = reading.load(first[0]), reading.load(second[0])
    hidden = [found.numbers[..., 0].isnan().sum() for found in (ours, theirs)]
    assert hidden[0] != hidden[1]


def test_batches_are_those_of_the_reading_and_hold_every_row_once() -> None:
    reading = varied(READING, MASK, frozen=False)
    batches, usual = reading.plan(64, draw(3)), READING.plan(64, draw(3))
    assert [item[1:].tolist() for item in batches] == [item.tolist() for item in usual]
    rows = torch.cat([reading.load(item).row for item in batches])
    assert sorted(rows.tolist()) == list(range(len(KEYS)))


def test_what_is_judged_is_not_varied() -> None:
    reading = varied(READING, MASK, frozen=False)
    for ours, theirs in zip(reading.plan(64), READING.plan(64), strict=True):
        assert same(reading.load(ours), READING.load(theirs))


def test_without_an_option_the_reading_is_as_it_was() -> None:
    assert varied(READING, Augmentation(), frozen=True) is READING


def test_options_without_a_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"mask = 0.5, but the network is frozen"):
        varied(READING, MASK, frozen=True)
    with pytest.raises(ConfigError, match="histories are read as events"):
        varied(READING, Augmentation(synonyms=0.1, thesaurus="t"), frozen=False)
    with pytest.raises(ConfigError, match="none can change places"):
        varied(READING, Augmentation(reorder=0.5), frozen=False)
