"""Varied histories: what stays, what changes, and that none of it looks ahead."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.sequences.test_windows import Keys, asked, histories, keys_of
from valuecast.config.augment import Augmentation
from valuecast.errors import ConfigError
from valuecast.sequences import augment
from valuecast.sequences import windows as w
from valuecast.sequences.batch import Batch
from valuecast.sequences.reading import DAY
from valuecast.sequences.sequences import Sequences

EVERYTHING = Augmentation(crop=0.8, mask=0.4, jitter=0.5, reorder=0.8)
AMOUNT, GAP = 0, 1  # places in the numbers of ``histories``
each = st.sampled_from(
    [Augmentation(crop=1), Augmentation(mask=0.5), Augmentation(jitter=0.5), Augmentation(reorder=1), EVERYTHING]
)
seeds = st.integers(0, 5)
lengths = st.integers(2, 12)
quick = settings(deadline=None, max_examples=60)


def cut(given_: tuple[Sequences, Keys], length: int) -> tuple[Sequences, w.Windows]:
    sequences, keys = given_
    sequences = replace(sequences, numbers=with_gaps(sequences))
    return sequences, w.shared(w.rows_of(sequences, keys_of(keys)), sequences, length)


def with_gaps(sequences: Sequences) -> NDArray[np.float32]:
    """The numbers, with gaps that are those between the times."""
    numbers = sequences.numbers.copy()
    numbers[1:, GAP] = np.diff(sequences.time) / DAY
    numbers[sequences.starts[:-1], GAP] = np.nan
    return numbers


def varied(sequences: Sequences, windows: w.Windows, option: Augmentation, seed: int = 0) -> Batch:
    every = np.arange(len(windows))
    return augment.augmented(sequences, windows, every, settings=option, rng=np.random.default_rng(seed))


def plain(sequences: Sequences, windows: w.Windows) -> Batch:
    return w.batch(sequences, windows, np.arange(len(windows)))


def codes_of(found: Batch) -> list[list[tuple[int, float]]]:
    """Codes and weights of each event, padding too."""
    ends = np.append(found.offsets, len(found.codes))
    return [list(zip(found.codes[a:b].tolist(), found.weights[a:b].tolist(), strict=True)) for a, b in pairwise(ends)]


def same(one: Batch, other: Batch, *names: str) -> None:
    for name in names or tuple(one.arrays()):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.users == other.users


@quick
@given(asked(), lengths)
def test_without_an_option_nothing_is_varied(given_: tuple[Sequences, Keys], length: int) -> None:
    sequences, windows = cut(given_, length)
    same(varied(sequences, windows, Augmentation()), plain(sequences, windows))


@quick
@given(asked(), lengths, each, seeds)
def test_a_varied_batch_is_a_batch(
    given_: tuple[Sequences, Keys], length: int, option: Augmentation, seed: int
) -> None:
    sequences, windows = cut(given_, length)
    found, usual = varied(sequences, windows, option, seed), plain(sequences, windows)
    same(found, usual, "row", "row_window", "clock")  # nor are labels, which are found by the row
    if len(windows.rows):  # every row is behind an event at the time of its last one
        last = sequences.starts[windows.rows.user] + windows.rows.count - 1
        order = np.argsort(windows.rows.row)
        place = np.argsort(found.row)
        seen = found.event[found.row_window, found.row_position]
        assert (seen >= 0).all()
        np.testing.assert_array_equal(sequences.time[seen][place], sequences.time[last][order])
    length_of = found.mask.sum(axis=1)
    assert (length_of > 0).all()
    np.testing.assert_array_equal(found.mask, np.arange(found.mask.shape[1]) < length_of[:, None])
    np.testing.assert_array_equal(found.event >= 0, found.mask)
    assert (found.days[:, 0] == 0).all()
    assert (np.diff(found.days, axis=1) >= 0).all()
    sizes = np.diff(np.append(found.offsets, len(found.codes)))
    assert (sizes >= 0).all()
    assert (sizes[~found.mask.ravel()] == 0).all()
    np.testing.assert_array_equal(sizes[found.mask.ravel()], np.diff(sequences.edges)[found.event[found.mask]])
    assert len(found.weights) == len(found.codes)
    for name, array in found.arrays().items():
        assert array.dtype == getattr(usual, name).dtype, name
    assert np.isnan(found.numbers[~found.mask]).all()
    assert (found.calendar[~found.mask] == 0).all()


@quick
@given(asked(), lengths, each, seeds)
def test_one_seed_gives_one_result(
    given_: tuple[Sequences, Keys], length: int, option: Augmentation, seed: int
) -> None:
    sequences, windows = cut(given_, length)
    before = {name: np.copy(getattr(sequences, name)) for name in ("numbers", "codes", "time", "edges", "weights")}
    same(varied(sequences, windows, option, seed), varied(sequences, windows, option, seed))
    for name, array in before.items():
        np.testing.assert_array_equal(array, getattr(sequences, name))


LONG = histories([list(range(30))] * 3), [(user, day) for user in range(3) for day in (10, 12, 40)]


@quick
@example(LONG, 40, EVERYTHING, 0, 1)
@example(LONG, 40, EVERYTHING, 1, 2)
@given(asked(), lengths, each, seeds, st.integers(1, 3))
def test_what_a_row_sees_is_the_same_whatever_follows(
    given_: tuple[Sequences, Keys], length: int, option: Augmentation, seed: int, rows: int
) -> None:
    sequences, windows = cut(given_, length)
    first = np.searchsorted(windows.row_of, windows.row_of)
    kept = np.flatnonzero(np.arange(len(first)) - first < rows)
    last = sequences.starts[windows.rows.user] + windows.rows.count - 1
    end = np.zeros(len(windows), np.int64)
    np.maximum.at(end, windows.row_of[kept], last[kept] + 1)
    known = varied(  # windows that end with the last of their first rows
        sequences, w.Windows(windows.user, windows.start, end, windows.row_of[kept], windows.rows[kept]), option, seed
    )
    bound = sequences.starts[:-1].copy()  # of each user: no row that is kept sees an event from here on
    np.maximum.at(bound, windows.user, end)
    event = np.arange(sequences.count)
    later = event >= bound[np.repeat(np.arange(len(bound)), np.diff(sequences.starts))]
    other = replace(sequences, numbers=sequences.numbers.copy(), codes=sequences.codes.copy())
    other.numbers[later] += 7
    other.codes[np.repeat(later, np.diff(sequences.edges))] = 0
    for whole in (varied(sequences, windows, option, seed), varied(other, windows, option, seed)):
        assert whole.row[kept].tolist() == known.row.tolist()
        ours, theirs = codes_of(whole), codes_of(known)
        for window, place in zip(known.row_window, known.row_position, strict=True):
            a, b = window * whole.mask.shape[1], window * known.mask.shape[1]
            assert ours[a : a + place + 1] == theirs[b : b + place + 1]
            for name in ("event", "numbers", "days", "calendar"):
                seen = getattr(whole, name)[window, : place + 1], getattr(known, name)[window, : place + 1]
                np.testing.assert_array_equal(*seen, err_msg=name)
        for name in ("row_position", "clock"):
            np.testing.assert_array_equal(getattr(whole, name)[kept], getattr(known, name), err_msg=name)


@quick
@given(asked(), lengths, seeds)
def test_a_crop_is_a_window_that_begins_later(given_: tuple[Sequences, Keys], length: int, seed: int) -> None:
    sequences, windows = cut(given_, length)
    part = augment.cropped(sequences, windows, 1.0, np.random.default_rng(seed))
    assert (part.start >= windows.start).all()
    np.testing.assert_array_equal(part.end, windows.end)
    last = sequences.starts[windows.rows.user] + windows.rows.count - 1
    assert (part.start[windows.row_of] <= last).all()
    found = varied(sequences, windows, Augmentation(crop=1), seed)
    for row, window, place in zip(found.row, found.row_window, found.row_position, strict=True):
        at = int(np.flatnonzero(windows.rows.row == row)[0])
        assert found.event[window, place] == last[at]


def test_any_crop_is_as_likely_as_any_other_and_windows_without_rows_keep_two_events() -> None:
    sequences = histories([list(range(10))] * 4000)
    windows = w.covering(sequences, 10)
    start = augment.cropped(sequences, windows, 0.5, np.random.default_rng(0)).start - windows.start
    share = np.bincount(start, minlength=10) / len(windows)
    np.testing.assert_allclose(share, [0.5 + 0.5 / 9, *[0.5 / 9] * 8, 0], atol=0.02)
    single = w.covering(histories([[1, 2]] * 50), 10)
    assert (augment.cropped(sequences, single, 1.0, np.random.default_rng(0)).start == single.start).all()


@quick
@given(asked(), lengths, seeds)
def test_a_masked_event_only_says_when_it_was(given_: tuple[Sequences, Keys], length: int, seed: int) -> None:
    sequences, windows = cut(given_, length)
    found, usual = varied(sequences, windows, Augmentation(mask=0.5), seed), plain(sequences, windows)
    same(found, usual, "event", "days", "calendar", "mask", "offsets", "weights", "row_position")
    np.testing.assert_array_equal(found.numbers[..., GAP], usual.numbers[..., GAP])
    column = sequences.encoding.columns_of_codes()
    hidden = (np.isnan(found.numbers[..., AMOUNT]) & found.mask).ravel()
    for event, (ours, theirs) in enumerate(zip(codes_of(found), codes_of(usual), strict=True)):
        if not hidden[event]:
            assert ours == theirs
            continue
        for (code, _), (was, _) in zip(ours, theirs, strict=True):
            assert column[code] == column[was]
            assert code == 0 or column[code - 1] != column[code]


def test_the_share_of_masked_events_is_the_one_asked_for() -> None:
    sequences = histories([list(range(40))] * 200)
    found = varied(sequences, w.covering(sequences, 40), Augmentation(mask=0.25))
    assert np.isnan(found.numbers[..., AMOUNT]).mean() == pytest.approx(0.25, abs=0.02)


@quick
@given(asked(), lengths, seeds)
def test_jitter_changes_gaps_and_amounts_and_every_row_keeps_its_silence(
    given_: tuple[Sequences, Keys], length: int, seed: int
) -> None:
    sequences, windows = cut(given_, length)
    found, usual = varied(sequences, windows, Augmentation(jitter=0.6), seed), plain(sequences, windows)
    same(found, usual, "codes", "weights", "offsets", "event", "calendar", "mask", "row_position")
    gaps = np.diff(found.days, axis=1)
    real = found.mask[:, 1:]
    np.testing.assert_allclose(found.numbers[:, 1:, GAP][real], gaps[real], atol=1e-4)
    np.testing.assert_array_equal(gaps == 0, np.diff(usual.days, axis=1) == 0)
    np.testing.assert_array_equal(np.sign(found.numbers[..., AMOUNT]), np.sign(usual.numbers[..., AMOUNT]))
    np.testing.assert_array_equal(np.isnan(found.numbers), np.isnan(usual.numbers))
    silence = np.expm1(found.clock[:, 0].astype(np.float64))
    for window, place, days in zip(found.row_window, found.row_position, silence, strict=True):
        if place + 1 < found.mask[window].sum():  # the row's moment stays before what follows
            assert found.days[window, place] + days <= found.days[window, place + 1] + 1e-3


def test_jitter_has_the_spread_asked_for_and_keeps_the_mean() -> None:
    sequences = histories([list(range(0, 400, 2))] * 100)
    sequences = replace(sequences, numbers=with_gaps(sequences))
    windows = w.covering(sequences, 200)
    factor = varied(sequences, windows, Augmentation(jitter=0.2)).numbers / plain(sequences, windows).numbers
    for name in (AMOUNT, GAP):
        values = factor[..., name][~np.isnan(factor[..., name])]
        assert values.mean() == pytest.approx(1, abs=0.01)
        assert np.log(values).std() == pytest.approx(0.2, abs=0.01)


@quick
@given(asked(), lengths, seeds)
def test_only_events_at_one_moment_change_places(given_: tuple[Sequences, Keys], length: int, seed: int) -> None:
    sequences, windows = cut(given_, length)
    found, usual = varied(sequences, windows, Augmentation(reorder=1), seed), plain(sequences, windows)
    same(found, usual, "mask", "days", "calendar", "row_position")
    np.testing.assert_array_equal(found.numbers[..., GAP], usual.numbers[..., GAP])
    ours, theirs = codes_of(found), codes_of(usual)
    for window in range(len(windows)):
        assert sorted(found.event[window]) == sorted(usual.event[window])
        for place, event in enumerate(found.event[window]):
            if event >= 0:
                was = int(event - windows.start[window])
                assert sequences.time[event] == sequences.time[usual.event[window, place]]
                assert ours[window * found.mask.shape[1] + place] == theirs[window * found.mask.shape[1] + was]
                np.testing.assert_array_equal(found.numbers[window, place, AMOUNT], usual.numbers[window, was, AMOUNT])


def test_every_order_of_an_order_is_as_likely_as_any_other() -> None:
    sequences = histories([[5, 5, 5]] * 3000)
    found = varied(sequences, w.covering(sequences, 3), Augmentation(reorder=1))
    orders = found.event - found.event.min(axis=1, keepdims=True)
    _, count = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_allclose(count / 3000, [1 / 6] * 6, atol=0.03)
    half = varied(sequences, w.covering(sequences, 3), Augmentation(reorder=0.6))
    assert (np.diff(half.event, axis=1) == 1).all(axis=1).mean() == pytest.approx(0.4 + 0.6 / 6, abs=0.03)


def test_one_option_does_not_change_what_another_draws() -> None:
    sequences = histories([list(range(30))] * 20)
    windows = w.covering(sequences, 30)
    one, both = (varied(sequences, windows, Augmentation(mask=0.3, jitter=each)) for each in (0.0, 0.2))
    same(one, both, "codes")


@pytest.mark.parametrize(
    ("times", "names", "option"),
    [([[1, 2], [2, 3]], ("amount",), {"reorder": 0.5}), ([[1, 1]], (), {"jitter": 0.1})],
)
def test_an_option_that_can_do_nothing_is_refused(
    times: list[list[int]], names: tuple[str, ...], option: dict[str, Any]
) -> None:
    sequences = histories(times)
    numbers = tuple(number for number in sequences.encoding.numbers if number.name in names)
    sequences = replace(sequences, encoding=replace(sequences.encoding, numbers=numbers))
    with pytest.raises(ConfigError) as caught:
        augment.check(Augmentation(**option), sequences)
    assert caught.value.where == next(iter(option))


def test_options_that_can_do_something_are_not_refused() -> None:
    augment.check(EVERYTHING, histories([[1, 1], [2]]))
    augment.check(Augmentation(crop=0.5), histories([[1]]))
