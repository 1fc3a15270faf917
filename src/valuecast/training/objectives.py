"""What pre-training asks of a network: next events, hidden events, how many follow, and which slices are one user's.

All but the last are answered by a softmax over classes, so that every loss is in nats and has the same measure beside
it: what the frequencies of the classes in training say. Amounts and gaps are asked for by bins between quantiles. They
are heavy-tailed and pile up on prices and on days; a bin presumes no shape, and no outlier can outweigh the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from valuecast.models.network import Network
from valuecast.training.asking import Asked, Bag, Field, Question

HIDDEN: Final = 0.15
"""Share of the events that are hidden, as words are by BERT (Devlin et al. 2019)."""
FULL: Final = 2_000
"""A softmax over more classes than this is estimated in training."""
NEGATIVES: Final = 1_024
"""Classes that are drawn for such an estimate."""
MARGIN: Final = 0.5
"""Distance from which on slices of two users are far enough apart."""
HARDEST: Final = 5
"""Other users' slices, the nearest ones, that each slice is held against."""

_ROWS = 1_024  # states whose logits are held at a time where nothing is learned


def frequency(cases: Tensor) -> Tensor:
    """Return the shares of classes, with half a case added to each; (K,) in, (K,) out."""
    smooth = cases.double() + 0.5
    return (smooth / smooth.sum()).float()


class Softmax(nn.Module):
    """A distribution over the classes of one field, which starts as the frequencies of training.

    Attributes:
        frequency: of the classes in training, with half a case added to each; shape (K,).
    """

    frequency: Tensor

    def __init__(self, hidden: int, cases: Tensor) -> None:
        """``cases`` of each class in training; shape (K,)."""
        super().__init__()
        self.register_buffer("frequency", frequency(cases))
        self.weight = nn.Parameter(torch.randn(len(cases), hidden) * 0.02)
        self.bias = nn.Parameter(self.frequency.log())

    def forward(self, states: Tensor, bag: Bag) -> Tensor:
        """Return the cross-entropy to each bag in nats; states (N, hidden) in, (M,) out."""
        read = states if len(bag.event) == len(states) else states.index_select(0, bag.event)
        if self.training and len(self.frequency) <= FULL:
            scores = self.scores(read)
            # every score is there: picking is much cheaper than gathering the weights of each class in a bag
            score = scores.flatten().index_select(0, bag.owner * len(self.frequency) + bag.classes)
            return self.left(scores.logsumexp(dim=-1), bag, score)
        weight = nn.functional.embedding(bag.classes, self.weight)
        bias = nn.functional.embedding(bag.classes, self.bias[:, None])[:, 0]
        score = (read[bag.owner] * weight).sum(dim=-1).float() + bias
        if self.training:
            return self.left(self.estimated(read, bag, score), bag, score)
        total = torch.cat([self.scores(part).logsumexp(dim=-1) for part in read.split(_ROWS)])
        return self.left(total, bag, score)

    @staticmethod
    def left(total: Tensor, bag: Bag, score: Tensor) -> Tensor:
        """Return what is left of the logarithm of the sum without the mean score of each bag; shape (M,)."""
        return total - torch.zeros_like(total).index_add(0, bag.owner, bag.shares * score)

    def scores(self, read: Tensor) -> Tensor:
        """Return the score of every class; shape (M, hidden) in, (M, K) out."""
        return nn.functional.linear(read, self.weight, self.bias).float()

    def estimated(self, read: Tensor, bag: Bag, score: Tensor) -> Tensor:
        """Estimate the logarithm of the sum of ``exp(score)`` over all classes; shape (M,).

        The classes in the bag count as they are. The others' sum is estimated without bias from classes that are drawn
        by frequency, each divided by its expected number of draws: importance sampling, "log-Q correction" (Bengio
        and Senecal 2008, Adaptive importance sampling to accelerate training of a neural probabilistic language model).

        Args:
            read: a state for each bag; shape (M, hidden).
            bag: the truth.
            score: of each class in the bag; shape (E,).
        """
        drawn = torch.multinomial(self.frequency, NEGATIVES, replacement=True)
        drawn, times = torch.unique(drawn, return_counts=True)
        correction = times.log() - (NEGATIVES * self.frequency[drawn]).log()
        others = nn.functional.linear(read, self.weight[drawn], self.bias[drawn] + correction).float()
        place = torch.full_like(self.frequency, -1, dtype=torch.int64)
        place[drawn] = torch.arange(len(drawn), device=place.device)
        both = (found := place[bag.classes]) >= 0
        # far below any score but finite: a bag may hold all that was drawn
        others = others.index_put((bag.owner[both], found[both]), others.new_tensor(-1e9))
        rest = others.logsumexp(dim=-1)
        top = rest.detach().scatter_reduce(0, bag.owner, score.detach(), "amax")
        return top + ((rest - top).exp().index_add(0, bag.owner, (score - top[bag.owner]).exp())).log()

    def baseline(self, bag: Bag) -> Tensor:
        """Return the cross-entropy of the frequencies of training to each bag in nats; shape (M,)."""
        surprise = bag.shares * -self.frequency.log()[bag.classes]
        return torch.zeros(len(bag.event), device=surprise.device).index_add(0, bag.owner, surprise)


def contrast(states: Tensor, user: Tensor) -> tuple[Tensor, Tensor]:
    """Pull slices of one user together and push those of others apart.

    CoLES: Babaev et al. (2022), Contrastive learning for event sequences with self-supervision (SIGMOD), with the
    contrastive loss of Hadsell, Chopra and LeCun (2006), Dimensionality reduction by learning an invariant mapping:
    over pairs, ``d**2`` for one user and ``max(0, MARGIN - d)**2`` for two, where ``d`` is the distance of states of
    length one. Of the pairs of two users only the ``HARDEST`` of each slice count.

    Args:
        states: the last of each slice; shape (B, hidden).
        user: of each slice; shape (B,).

    Returns:
        The loss of each pair, and what it would be if all states were alike; shape (P,) each.
    """
    unit = nn.functional.normalize(states.float(), dim=-1)
    # the root of zero has no gradient: two slices may be the same
    distance = (2 - 2 * unit @ unit.T).clamp_min(1e-8).sqrt()
    same = user[:, None] == user
    near = distance[same.triu(diagonal=1)]
    hardest = distance.masked_fill(same, math.inf).topk(min(HARDEST, len(user)), dim=1, largest=False).values
    far = hardest[hardest.isfinite()]
    losses = torch.cat([near.square(), (MARGIN - far).clamp_min(0).square()])
    return losses, torch.cat([torch.zeros_like(near), torch.full_like(far, MARGIN**2)])


@dataclass(frozen=True)
class Answer:
    """What a batch says of one field of one objective.

    Attributes:
        name: such as ``next_event/type``.
        weight: of its loss.
        losses: of each case; shape (M,).
        baselines: the same without a network; shape (M,).
    """

    name: str
    weight: float
    losses: Tensor
    baselines: Tensor


class Learner(nn.Module):
    """A network with output layers for everything it is asked."""

    def __init__(
        self, network: Network, asked: Mapping[Question, Mapping[Field, Tensor]], *, contrastive: float
    ) -> None:
        """Build it.

        Args:
            network: to be trained.
            asked: the questions with the fields that are worth asking, and the cases of each class in training.
            contrastive: weight of that objective.
        """
        super().__init__()
        self.network, self.contrastive = network, contrastive
        self.questions = {question: tuple(fields) for question, fields in asked.items()}
        self.outputs = nn.ModuleDict(
            {
                f"{question.kind}/{field.name}": Softmax(network.hidden, cases)
                for question, fields in asked.items()
                for field, cases in fields.items()
            }
        )
        self.vector = None if network.causal else nn.Parameter(torch.randn(network.hidden) * 0.02)

    def forward(self, asked: Asked) -> dict[str, Tensor]:
        """Return the mean of each loss, weighted; one that no case in the batch is about is zero."""
        return {each.name: each.weight * each.losses.sum() / max(len(each.losses), 1) for each in self.answers(asked)}

    def answers(self, asked: Asked) -> Iterator[Answer]:
        """Yield all losses, case by case."""
        batch = asked.tensors
        vectors, hidden = self.network.encoder(batch), None
        if self.vector is not None:
            hidden = batch.mask & (torch.rand(batch.mask.shape, device=batch.mask.device) < HIDDEN)
            vectors = torch.where(hidden[..., None], self.vector.to(vectors.dtype), vectors)
        states: Tensor = self.network.trunk(vectors, batch.mask, batch.days)
        flat = states.flatten(0, 1)
        for question, fields in self.questions.items():
            chosen = question.events(asked, hidden)
            read = flat[chosen - question.back]
            for field in fields:
                name, bag = f"{question.kind}/{field.name}", field.bag(asked, chosen)
                softmax: Any = self.outputs[name]
                yield Answer(name, question.weight, softmax(read, bag), softmax.baseline(bag))
        if self.contrastive:
            last = states[torch.arange(len(states), device=states.device), batch.mask.sum(dim=1) - 1]
            yield Answer("contrastive", self.contrastive, *contrast(last, asked.user))
