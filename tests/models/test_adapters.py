"""The contract of every method of fine-tuning on every trunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.batches import ENCODING, batch
from tests.models.test_network import TRUNKS, other_event, states
from valuecast.config.learning import Adaptation, Architecture, Finetuning, Trunk
from valuecast.errors import FitError
from valuecast.models.adapters import apply, objection, regulariser, stepped, trained
from valuecast.models.network import Network, Tensors

METHODS: tuple[Adaptation, ...] = get_args(Adaptation)
SETTINGS = Finetuning(rank=2, layers=1, vectors=3, bottleneck=4)
PAIRS = [(trunk, method) for trunk in TRUNKS for method in METHODS if objection(method, trunk) is None]
ADDED = {"lora": "lora_", "adalora": "lora_", "ia3": "ia3_", "prefix": ".prefix.", "prompt": "prompt"}
contract = pytest.mark.parametrize(("trunk", "method"), PAIRS)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small wait for their threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def adapted(
    trunk: Trunk, method: Adaptation, *, steps: int = 12, dropout: float = 0.0, checkpointing: bool = False
) -> Network:
    torch.manual_seed(0)
    architecture = Architecture(trunk=trunk, size="tiny", length=32, dropout=dropout, checkpointing=checkpointing)
    found = Network(architecture, ENCODING)
    apply(found, method, SETTINGS, steps=steps)
    return found


def train(found: Network, *, steps: int, first: int = 1, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Towards small states; the method's weights only."""
    weights = [weight for weight in found.parameters() if weight.requires_grad]
    if not weights:
        return
    optimiser = optimiser or torch.optim.Adam(weights, lr=0.01)
    given = Tensors.of(batch((7, 4, 5)))
    found.train()
    for step in range(first, first + steps):
        torch.manual_seed(step)
        penalty = regulariser(found)
        target = torch.linspace(-1, 1, found.hidden)
        loss = (found.at(found(given), given)[:, : found.hidden] - target).square().mean()
        optimiser.zero_grad()
        (loss if penalty is None else loss + penalty).backward()
        optimiser.step()
        stepped(found, step)
    found.eval()


@contract
def test_training_changes_the_weights_of_the_method_and_no_others(trunk: Trunk, method: Adaptation) -> None:
    found = adapted(trunk, method)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    train(found, steps=2)
    changed = {name for name, value in found.state_dict().items() if not torch.equal(value, before[name])}
    names = set(trained(found))
    assert changed - {"allocator.sensitivity", "allocator.uncertainty", "allocator.kept"} == names
    every = {name for name, _ in found.named_parameters()}
    blocks = len(found.trunk.blocks)
    match method:
        case "full" | "scratch":
            assert names == every
        case "frozen":
            assert not names
        case "last-n":
            assert names == {name for name in every if f".{blocks - 1}." in name or name.startswith(_final(trunk))}
        case "adapter":
            assert names == {name for name in every if ".down." in name or ".up." in name}
            assert len(names) == 4 * blocks
        case _:
            assert names == {name for name in every if ADDED[method] in name}
            assert names


def _final(trunk: Trunk) -> str:
    return {"gpt2": "trunk.model.ln_f", "bert": "none"}.get(trunk, "trunk.model.norm")


@contract
def test_saves_and_reloads_to_identical_states(trunk: Trunk, method: Adaptation, tmp_path: Path) -> None:
    found = adapted(trunk, method, dropout=0.1)
    train(found, steps=2)
    save_file(found.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(9)
    again = Network(found.architecture, ENCODING)
    apply(again, method, SETTINGS)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    given = batch()
    assert torch.equal(states(found.eval(), given), states(again.eval(), given))


@contract
def test_states_depend_on_what_they_should(trunk: Trunk, method: Adaptation) -> None:
    found = adapted(trunk, method)
    train(found, steps=1)
    for training in (True, False):
        _depends(found.train(training))


def _depends(found: Network) -> None:
    given = batch((9, 6))
    before, changed = states(found, given), states(found, other_event(given, 0, 0))
    assert (before[0, 8] - changed[0, 8]).abs().max() > 1e-5
    assert torch.equal(before[1], changed[1])
    if found.causal:
        later = states(found, other_event(given, 0, 6))
        assert torch.allclose(before[0, :6], later[0, :6], atol=1e-5)
    if found.trunk.rotary:
        shifted, wider = (states(found, replace(given, days=days)) for days in (given.days + 64, given.days * 3))
        assert torch.allclose(before, shifted, atol=1e-4)
        assert (before[0, 8] - wider[0, 8]).abs().max() > 1e-5


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "adapter"])
def test_what_is_added_changes_nothing_at_first(trunk: Trunk, method: Adaptation) -> None:
    torch.manual_seed(0)
    plain = Network(Architecture(trunk=trunk, size="tiny", length=32), ENCODING).eval()
    torch.manual_seed(0)
    found = Network(Architecture(trunk=trunk, size="tiny", length=32), ENCODING)
    apply(found, method, SETTINGS)
    assert torch.allclose(states(plain, batch()), states(found.eval(), batch()), atol=1e-6)


@pytest.mark.parametrize("trunk", [trunk for trunk in TRUNKS if trunk != "gru"])
def test_a_prefix_is_what_every_event_attends_to_besides(trunk: Trunk) -> None:
    plain, given = adapted(trunk, "frozen").eval(), batch()
    found = adapted(trunk, "prefix").eval()
    found.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if name.endswith("prefix.keys"):
                weight.fill_(0.0)
            elif name.endswith("prefix.values"):
                weight.fill_(50.0)
    before, after = states(plain, given), states(found, given)
    assert ((before - after).abs().amax(dim=-1)[torch.from_numpy(given.mask)] > 1e-3).all()


@contract
def test_methods_train_with_checkpointing(trunk: Trunk, method: Adaptation) -> None:
    found = [adapted(trunk, method, dropout=0.1, checkpointing=checkpointing) for checkpointing in (False, True)]
    for each in found:
        train(each, steps=1)
    plain, again = (trained(each) for each in found)
    assert all(torch.allclose(plain[name], again[name], atol=1e-4) for name in plain)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_adalora_ends_with_the_rank_asked_for_and_reloads(trunk: Trunk, tmp_path: Path) -> None:
    found = adapted(trunk, "adalora", steps=20)
    assert found.allocator is not None
    matrices = sum("lora_A" in name for name in trained(found))
    assert int(found.allocator.kept.sum()) == 3 * matrices
    train(found, steps=20)
    assert int(found.allocator.kept.sum()) == 2 * matrices
    values = torch.cat([value.flatten() for name, value in trained(found).items() if "lora_E" in name])
    assert int((values != 0).sum()) <= 2 * matrices
    save_file(found.state_dict(), tmp_path / "weights.safetensors")
    again = adapted(trunk, "adalora")
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(states(found, batch()), states(again.eval(), batch()))


@pytest.mark.parametrize("cut", [1, 9, 17])
def test_adalora_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(cut: int) -> None:
    whole = adapted("llama", "adalora", steps=20)
    train(whole, steps=20)
    stopped = adapted("llama", "adalora", steps=20)
    optimiser = torch.optim.Adam([weight for weight in stopped.parameters() if weight.requires_grad], lr=0.01)
    train(stopped, steps=cut, optimiser=optimiser)
    resumed = adapted("llama", "adalora", steps=20)
    resumed.load_state_dict(stopped.state_dict())
    again = torch.optim.Adam([weight for weight in resumed.parameters() if weight.requires_grad], lr=0.01)
    again.load_state_dict(optimiser.state_dict())
    train(resumed, steps=20 - cut, first=cut + 1, optimiser=again)
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adalora_bears_few_steps(steps: int) -> None:
    found = adapted("llama", "adalora", steps=steps)
    train(found, steps=steps)
    assert states(found, batch()).isfinite().all()


def test_adalora_for_prediction_has_no_steps_to_plan_by() -> None:
    found = adapted("gru", "frozen")
    apply(found, "adalora", SETTINGS)
    with pytest.raises(RuntimeError, match="prediction"):
        stepped(found, 1)


def test_only_adalora_has_a_regulariser() -> None:
    for method in METHODS:
        penalty = regulariser(adapted("llama", method))
        assert (penalty is not None) == (method == "adalora")
        assert penalty is None or penalty.item() > 0


def test_a_recurrent_trunk_takes_no_prefix() -> None:
    with pytest.raises(FitError, match="no attention") as caught:
        adapted("gru", "prefix")
    assert "prompt" in str(caught.value)
    assert [pair for pair in PAIRS if pair[1] == "prefix"] == [(trunk, "prefix") for trunk in TRUNKS if trunk != "gru"]


def test_more_layers_than_there_are_is_an_error() -> None:
    found = Network(Architecture(trunk="gru", size="tiny"), ENCODING)
    with pytest.raises(FitError, match="the trunk has 2"):
        apply(found, "last-n", Finetuning(layers=3))
