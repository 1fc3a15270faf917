"""The network: what a state depends on, how it is saved, and that it computes in every setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaModel

from tests.models.batches import ENCODING, batch
from valuecast.config.learning import Architecture, Trunk
from valuecast.models.network import Network, Piecewise, Tensors, layers, load, save
from valuecast.models.trunks import SIZES, WindowDropout
from valuecast.sequences.batch import Batch

TRUNKS = get_args(Trunk)
CAUSAL = [trunk for trunk in TRUNKS if trunk != "bert"]
ROTARY = ["llama", "qwen3"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small wait for their threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(trunk: Trunk, *, dropout: float = 0.0, checkpointing: bool = False) -> Network:
    torch.manual_seed(0)
    architecture = Architecture(trunk=trunk, size="tiny", length=32, dropout=dropout, checkpointing=checkpointing)
    return Network(architecture, ENCODING)


def states(found: Network, given: Batch) -> torch.Tensor:
    with torch.no_grad():
        return found(Tensors.of(given))


def other_event(given: Batch, window: int, position: int) -> Batch:
    """The same batch with other codes and numbers at one event."""
    width = given.mask.shape[1]
    place = window * width + position
    codes, numbers = given.codes.copy(), given.numbers.copy()
    first = given.offsets[place]
    last = given.offsets[place + 1] if place + 1 < len(given.offsets) else len(codes)
    assert last > first
    codes[first:last] = (codes[first:last] + 7) % ENCODING.codes
    numbers[window, position] = np.nan_to_num(numbers[window, position]) + 3
    return replace(given, codes=codes, numbers=numbers)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_last_state_depends_on_the_first_event(trunk: Trunk, training: bool) -> None:
    found, given = network(trunk).train(training), batch((9, 6))
    before, after = states(found, given), states(found, other_event(given, 0, 0))
    assert (before[0, 8] - after[0, 8]).abs().max() > 1e-4
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trunk", CAUSAL)
def test_a_later_event_leaves_earlier_states_alone(trunk: Trunk, training: bool) -> None:
    found, given = network(trunk).train(training), batch((9, 6))
    assert found.causal
    later = other_event(other_event(given, 0, 8), 0, 5)
    later = replace(later, days=np.where(np.arange(9) < 5, later.days, later.days * 2 + 1).astype(np.float32))
    before, after = states(found, given), states(found, later)
    assert torch.allclose(before[0, :5], after[0, :5], atol=1e-5)
    assert not torch.allclose(before[0, 5:], after[0, 5:], atol=1e-3)


def test_bert_looks_both_ways() -> None:
    found, given = network("bert").eval(), batch((9, 6))
    assert not found.causal
    assert not torch.allclose(states(found, given)[0, 0], states(found, other_event(given, 0, 8))[0, 0], atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trunk", ROTARY)
def test_rotary_trunks_read_days_and_only_their_differences(trunk: Trunk, training: bool) -> None:
    found, given = network(trunk).train(training), batch((9, 6))
    before = states(found, given)
    wider = states(found, replace(given, days=given.days * 3))
    assert (before[0, 8] - wider[0, 8]).abs().max() > 1e-4
    shifted = states(found, replace(given, days=given.days + 64))
    assert torch.allclose(before, shifted, atol=1e-4)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_padding_changes_nothing(trunk: Trunk) -> None:
    found, given = network(trunk).eval(), batch((9, 6, 1))
    alone, among = batch((6,), seed=5), batch((6,), width=20, seed=5)
    mask, few = among.mask, alone.numbers.shape[1]
    numbers, calendar, days = among.numbers.copy(), among.calendar.copy(), among.days.copy()
    numbers[:, :few], calendar[:, :few], days[:, :few] = alone.numbers, alone.calendar, alone.days
    days[:, few:] = days[:, few - 1 : few]
    ends = np.full(20 - few, len(alone.codes))
    padded = replace(
        alone,
        offsets=np.concatenate([alone.offsets, ends]),
        numbers=numbers,
        calendar=calendar,
        days=days,
        mask=mask,
        event=among.event,
    )
    assert torch.allclose(states(found, alone)[0], states(found, padded)[0, :few], atol=1e-5)
    assert states(found, given).isfinite().all()


@pytest.mark.parametrize("trunk", TRUNKS)
def test_saves_and_loads_to_the_same_states(trunk: Trunk, tmp_path: Path) -> None:
    found, given = network(trunk, dropout=0.2).eval(), batch()
    save(found, tmp_path)
    again = load(tmp_path, found.architecture, ENCODING)
    assert torch.equal(states(found, given), states(again, given))
    assert {path.name for path in (tmp_path / "trunk").iterdir()} == {"config.json", "model.safetensors"}


def test_the_folder_of_a_trunk_is_one_of_hugging_face(tmp_path: Path) -> None:
    found = network("llama").eval()
    save(found, tmp_path)
    theirs = LlamaModel.from_pretrained(tmp_path / "trunk").eval()
    ours = found.trunk.model.state_dict()
    assert all(torch.equal(theirs.state_dict()[name], value) for name, value in ours.items())


@pytest.mark.parametrize("trunk", TRUNKS)
def test_checkpointing_changes_no_gradient(trunk: Trunk) -> None:
    given, gradients = Tensors.of(batch()), []
    for checkpointing in (False, True):
        found = network(trunk, dropout=0.1, checkpointing=checkpointing).train()
        torch.manual_seed(1)
        found(given).square().mean().backward()
        gradients.append([parameter.grad for parameter in found.parameters()])
    assert all(torch.allclose(plain, again, atol=1e-6) for plain, again in zip(*gradients, strict=True))


@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_weight_gets_a_gradient_also_in_bf16(trunk: Trunk) -> None:
    found, given = network(trunk).train(), Tensors.of(batch())
    with torch.autocast("cpu", torch.bfloat16):
        loss = found.at(found(given), given).float().square().mean()
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in found.parameters())


@pytest.mark.parametrize("trunk", TRUNKS)
def test_groups_hold_every_weight_once_bottom_up(trunk: Trunk) -> None:
    found = network(trunk)
    groups = layers(found)
    numbers = [id(weight) for group in groups for weight in group]
    assert sorted(numbers) == sorted(id(weight) for weight in found.parameters())
    assert len(groups) == 1 + SIZES["tiny"].layers + (trunk != "bert")
    assert id(found.encoder.codes.weight) in {id(weight) for weight in groups[0]}


def test_a_row_reads_the_state_of_its_event_and_its_clock() -> None:
    found, given = network("llama").eval(), batch((9, 6))
    tensors = Tensors.of(given)
    read = found.at(found(tensors), tensors)
    assert read.shape == (len(given.row), found.state_width)
    for row, (window, position) in enumerate(zip(given.row_window, given.row_position, strict=True)):
        assert torch.equal(read[row, : found.hidden], found(tensors)[window, position])
    later = found.at(found(tensors), Tensors.of(replace(given, clock=given.clock + 1)))
    assert (later != read)[:, found.hidden :].any(dim=1).all()


def test_tensors_keep_the_names_and_the_count_of_a_batch() -> None:
    given = batch((4, 2))
    tensors = Tensors.of(given).to("cpu")
    assert (tensors.events, tensors.users) == (6, given.users)
    assert all(np.array_equal(getattr(tensors, name), array, equal_nan=True) for name, array in given.arrays().items())


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=17, unique=True).map(sorted),
    st.lists(st.one_of(st.floats(-2e6, 2e6, width=32), st.just(float("nan"))), min_size=1, max_size=20),
)
def test_piecewise_linear_encoding_is_that_of_interpolation(edges: list[float], values: list[float]) -> None:
    found = Piecewise([tuple(edges)])(torch.tensor(values)[:, None]).numpy()
    numbers = np.array(values)
    for place, (low, high) in enumerate(pairwise(edges)):
        wanted = np.nan_to_num(np.interp(numbers, [low, high], [0.0, 1.0]))
        assert np.allclose(found[:, place], wanted, atol=1e-5)


def test_numbers_of_fewer_bins_leave_the_others_at_nothing() -> None:
    found = Piecewise([(0.0, 1.0), (0.0, 1.0, 3.0)])(torch.tensor([[0.25, 2.0], [float("nan"), 9.0]]))
    assert found.tolist() == [[0.25, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_dropout_drops_in_training_only(trunk: Trunk) -> None:
    found, given = network(trunk, dropout=0.5), batch((9, 6))
    assert not torch.equal(states(found.train(), given), states(found, given))
    assert torch.equal(states(found.eval(), given), states(found, given))


def test_window_dropout_keeps_the_mean_and_the_same_units_at_every_event() -> None:
    torch.manual_seed(0)
    kept = WindowDropout(0.25).train()(torch.ones(4, 3, 5000))
    assert (kept == kept[:, :1]).all()
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    assert float((kept == 0).float().mean()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", TRUNKS)
def test_large_has_a_hundred_million_weights_and_learns(trunk: Trunk) -> None:
    torch.manual_seed(0)
    found = Network(Architecture(trunk=trunk, size="large", checkpointing=True), ENCODING).train()
    assert sum(weight.numel() for weight in found.parameters()) > 100e6
    given = Tensors.of(batch((12, 8)))
    optimiser, losses = torch.optim.SGD(found.parameters(), lr=1e-3), []
    for _ in range(2):
        optimiser.zero_grad()
        loss = found.at(found(given), given).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[1] != losses[0]
