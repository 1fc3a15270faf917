from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.models.batches import ENCODING, batch
from valuecast.config.learning import Architecture, Objectives
from valuecast.models.network import Network, Tensors
from valuecast.training.asking import COUNTS, Asked, Bag, Bins, Codes, questions
from valuecast.training.objectives import FULL, MARGIN, Learner, Softmax, contrast

pytestmark = pytest.mark.usefixtures("one_thread")

LINES = 2  # the number that no objective asks about


def asked_of(lengths: tuple[int, ...] = (7, 4, 1), *, seed: int = 0) -> Asked:
    """Made-up windows whose events are all targets; some counts are unknown; windows belong to two users."""
    tensors = Tensors.of(batch(lengths, seed=seed))
    tensors.numbers[..., LINES] = 1.0
    counts = torch.randint(-1, len(COUNTS), (*tensors.mask.shape, 2), generator=torch.Generator().manual_seed(seed))
    counts[~tensors.mask] = -1
    return Asked(tensors, tensors.mask, counts, torch.arange(len(lengths)) % 2, tensors.events)


def learner_of(trunk: str = "llama", *, contrastive: float = 0.0, dropout: float = 0.0) -> Learner:
    torch.manual_seed(0)
    network = Network(Architecture(trunk, "tiny", 16, dropout), ENCODING)  # type: ignore[arg-type]
    every = questions(ENCODING, Objectives(), causal=network.causal, counts=("events_30d", "events_90d"))
    cases = {question: {field: torch.ones(field.classes) for field in question.fields} for question in every}
    learner = Learner(network, cases, contrastive=contrastive)
    for parameter in learner.outputs.parameters():
        nn.init.normal_(parameter, std=0.3)
    return learner


def bag_of(rows: list[dict[int, float]]) -> Bag:
    """A bag for each row, of classes and their shares."""
    entries = [(owner, one, share) for owner, row in enumerate(rows) for one, share in row.items()]
    owner, classes, shares = (torch.tensor(column) for column in zip(*entries, strict=True))
    return Bag(torch.arange(len(rows)), owner, classes, shares)


def test_the_loss_of_a_bag_is_the_cross_entropy_to_its_shares() -> None:
    torch.manual_seed(0)
    softmax = Softmax(8, torch.tensor([5.0, 3.0, 0.0, 2.0]))
    softmax.weight.data.normal_()
    states, bag = torch.randn(3, 8), bag_of([{0: 0.25, 3: 0.75}, {2: 1.0}])
    bag = replace(bag, event=torch.tensor([0, 2]))
    spread = (states[[0, 2]] @ softmax.weight.T + softmax.bias).log_softmax(dim=-1)
    wanted = -torch.stack([0.25 * spread[0, 0] + 0.75 * spread[0, 3], spread[1, 2]])
    for mode in (True, False):
        torch.testing.assert_close(softmax.train(mode)(states, bag), wanted)
    none = torch.zeros(0, dtype=torch.int64)
    assert softmax.train()(states[:0], Bag(none, none, none, torch.zeros(0))).shape == (0,)


def test_the_baseline_is_the_frequency_with_half_a_case_more_and_it_is_where_learning_starts() -> None:
    softmax = Softmax(8, torch.tensor([6.0, 2.0, 0.0, 0.0]))
    bag = bag_of([{0: 1.0}, {1: 0.5, 3: 0.5}])
    chance = np.array([6.5, 2.5, 0.5, 0.5]) / 10
    wanted = -np.array([np.log(chance[0]), 0.5 * np.log(chance[1]) + 0.5 * np.log(chance[3])])
    np.testing.assert_allclose(softmax.baseline(bag), wanted, rtol=1e-6)
    np.testing.assert_allclose(softmax(torch.zeros(2, 8), bag).detach(), wanted, rtol=1e-5)


def test_a_sampled_softmax_approximates_the_full_one() -> None:
    torch.manual_seed(0)
    classes = 2 * FULL
    softmax = Softmax(8, 1000.0 / torch.arange(1, classes + 1))
    softmax.weight.data.normal_(std=0.3)
    states = torch.randn(4, 8, requires_grad=True)
    # the commonest classes are drawn nearly always, the rarest nearly never
    bag = bag_of([{0: 1.0}, {1: 0.5, 3_000: 0.5}, {3_999: 1.0}, dict.fromkeys(range(50), 1 / 50)])

    def gradient(losses: Tensor) -> Tensor:
        return torch.autograd.grad(losses.sum(), states)[0]

    full = softmax.eval()(states, bag)
    truth = gradient(full)
    drawn = [softmax.train()(states, bag) for _ in range(200)]
    each = torch.stack(drawn)
    assert (each.std(dim=0) > 0).all()
    # the estimate of the sum over classes has no bias; that of its logarithm has a small one, of half its variance
    total = (each - full).exp().mean(dim=0)
    torch.testing.assert_close(total, torch.ones(4), atol=0.01, rtol=0)
    torch.testing.assert_close(each.mean(dim=0), full, atol=0.01, rtol=0)
    mean = torch.stack([gradient(losses) for losses in drawn]).mean(dim=0)
    torch.testing.assert_close(mean, truth, atol=0.02, rtol=0)


def test_items_of_an_event_are_read_with_their_shares() -> None:
    asked = asked_of()
    tensors = asked.tensors
    start, stop = ENCODING.span("item") or (0, 0)
    field = Codes("items", start, stop)
    chosen = torch.tensor([0, 2, 3, 8, 9, 14])
    bag = field.bag(asked, chosen)
    ends = torch.cat([tensors.offsets, torch.tensor([len(tensors.codes)])])
    found: dict[int, list[tuple[int, float]]] = {}
    for owner, one, share in zip(bag.owner, bag.classes, bag.shares, strict=True):
        found.setdefault(int(chosen[bag.event[owner]]), []).append((int(one), float(share)))
    wanted = {}
    for event in chosen.tolist():
        places = range(int(ends[event]), int(ends[event + 1]))
        inside = [
            (int(tensors.codes[place]) - start, float(tensors.weights[place]))
            for place in places
            if start <= tensors.codes[place] < stop
        ]
        if inside:
            wanted[event] = inside
    assert found == wanted
    assert len(wanted) == len(bag.event)


def test_numbers_are_read_as_bins() -> None:
    field = Bins("amount", 0, (0.0, 1.0, 5.0, 20.0))
    values = torch.tensor([-3.0, 0.0, 0.99, 1.0, 5.0, torch.nan, 20.0, 1e9])
    asked = asked_of((8,))
    numbers = asked.tensors.numbers.clone()
    numbers[0, :, 0] = values
    bag = field.bag(replace(asked, tensors=replace(asked.tensors, numbers=numbers)), torch.arange(8))
    assert bag.event.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert bag.classes.tolist() == [0, 0, 0, 1, 2, 2, 2]


def test_what_is_asked_of_whom() -> None:
    asked = asked_of((4, 2))
    asked = replace(asked, target=torch.tensor([[True, False, True, True], [True, True, False, False]]))
    asked = replace(asked, counts=torch.where(asked.tensors.mask[..., None], 1, -1).expand(2, 4, 2))
    forward, counts = questions(ENCODING, Objectives(), causal=True, counts=("a", "b"))
    assert forward.events(asked).tolist() == [2, 3, 5]
    assert counts.events(asked).tolist() == [0, 1, 2, 3, 4, 5]
    masked, counts = questions(ENCODING, Objectives(), causal=False, counts=("a", "b"))
    hidden = torch.zeros(2, 4, dtype=torch.bool)
    hidden[0, 1:] = True
    assert masked.events(asked).tolist() == [0, 2, 3, 4, 5]
    assert masked.events(asked, hidden).tolist() == [2, 3]
    assert counts.events(asked).tolist() == [3, 5]
    assert counts.events(asked, hidden).tolist() == [5]
    assert [each.kind for each in questions(ENCODING, Objectives(next_event=0), causal=True, counts=())] == ["counts"]


@pytest.mark.parametrize("trunk", ["llama", "gru"])
def test_what_is_foreseen_depends_on_nothing_from_then_on(trunk: str) -> None:
    learner, asked = learner_of(trunk).eval(), asked_of((16,))
    numbers = asked.tensors.numbers.clone()
    numbers[0, 8:, LINES] = 2.0
    changed = replace(asked, tensors=replace(asked.tensors, numbers=numbers))
    before, after = (
        next(each.losses for each in learner.answers(batch) if each.name == "next_event/gap")
        for batch in (asked, changed)
    )
    blind = (~numbers[0, 1:9, 1].isnan()).sum()  # event 8 is foreseen from event 7
    torch.testing.assert_close(before[:blind], after[:blind], atol=1e-5, rtol=1e-5)
    assert (before[blind:] - after[blind:]).abs().max() > 1e-3


def test_a_hidden_event_is_hidden() -> None:
    learner, asked = learner_of("bert").eval(), asked_of((9, 5))
    torch.manual_seed(3)
    hidden = asked.tensors.mask & (torch.rand(asked.tensors.mask.shape) < 0.15)
    assert hidden.any()

    def losses(numbers: Tensor) -> dict[str, Tensor]:
        torch.manual_seed(3)
        changed = replace(asked, tensors=replace(asked.tensors, numbers=numbers))
        return {each.name: each.losses for each in learner.answers(changed)}

    numbers = asked.tensors.numbers
    before = losses(numbers)
    at_hidden, elsewhere = (numbers.clone() for _ in range(2))
    at_hidden[..., LINES][hidden] = 2.0
    elsewhere[..., LINES][asked.tensors.mask & ~hidden] = 2.0
    for name, value in losses(at_hidden).items():
        torch.testing.assert_close(value, before[name])
    assert any((value - before[name]).abs().max() > 1e-3 for name, value in losses(elsewhere).items() if len(value))


def test_slices_of_one_user_are_pulled_together_and_the_nearest_others_pushed_apart() -> None:
    torch.manual_seed(0)
    states, user = torch.randn(9, 5), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3])
    losses, alike = contrast(states, user)
    unit = states / states.norm(dim=1, keepdim=True)
    distance = (unit[:, None] - unit).norm(dim=-1)
    near = [distance[i, j] ** 2 for i in range(9) for j in range(i + 1, 9) if user[i] == user[j]]
    far = [
        max(0.0, MARGIN - float(each)) ** 2
        for i in range(9)
        for each in sorted(distance[i, j] for j in range(9) if user[i] != user[j])[:5]
    ]
    assert sum(losses.tolist()) == pytest.approx(float(sum(near)) + sum(far), rel=1e-4)
    assert alike.tolist() == [0.0] * len(near) + [MARGIN**2] * len(far)
    same = torch.ones(9, 5, requires_grad=True)
    losses, alike = contrast(same, user)
    torch.testing.assert_close(losses, alike, atol=1e-3, rtol=0)
    losses.sum().backward()
    assert same.grad is not None
    assert same.grad.isfinite().all()
    apart, _ = contrast(torch.eye(4)[user], user)
    assert apart.max() < 1e-6


def test_losses_are_weighted_means_and_nothing_asked_is_no_loss() -> None:
    learner, asked = learner_of(contrastive=0.5).eval(), asked_of()
    means = learner(asked)
    answers = {each.name: each for each in learner.answers(asked)}
    assert set(means) == {
        *(f"next_event/{field}" for field in ("type", "items", "amount", "gap")),
        *("counts/events_30d", "counts/events_90d", "contrastive"),
    }
    for name, each in answers.items():
        torch.testing.assert_close(means[name], each.weight * each.losses.mean())
    weights = Objectives()
    assert {each.weight for each in answers.values()} == {weights.next_event, weights.counts, 0.5}
    nothing = replace(asked, target=torch.zeros_like(asked.target), counts=torch.full_like(asked.counts, -1))
    losses = learner(replace(nothing, user=torch.zeros_like(asked.user)))
    assert all(losses[name] == 0 for name in losses if name != "contrastive")
    sum(losses.values()).backward()
