"""Which weights are decayed, how fast each layer learns, and how the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from valuecast.config.learning import Optimisation
from valuecast.errors import FitError

Groups = Sequence[tuple[Iterable[nn.Parameter], int]]  # parameters, and how many layers are above them


def optimiser(learner: nn.Module, settings: Optimisation, *, groups: Groups | None = None) -> torch.optim.Optimizer:
    """Return the optimiser of every parameter that is to be trained; ``set_rate`` gives it its learning rate.

    ``adamw`` decays weights apart from the gradient (Loshchilov and Hutter 2019, algorithm 2); ``adam`` and ``sgd``
    add the weights to the gradient, an L2 penalty. Biases and norms, which have one dimension, and embeddings are
    never decayed.

    Raises:
        FitError: no parameter is to be trained.
    """
    depths = {id(parameter): depth for parameters, depth in groups or () for parameter in parameters}
    embeddings = {
        id(parameter)
        for module in learner.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters()
    }
    alike: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for parameter in learner.parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and id(parameter) not in embeddings
            alike.setdefault((depths.get(id(parameter), 0), decayed), []).append(parameter)
    if not alike:
        raise FitError("nothing is to be trained", remedy="Choose a method that trains something.")
    each = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "share": settings.layer_decay**depth,
        }
        for (depth, decayed), parameters in alike.items()
    ]
    # Fused: one kernel for all parameters, on CPUs too.
    if settings.optimiser == "sgd":
        return torch.optim.SGD(each, lr=settings.learning_rate, momentum=settings.momentum, fused=True)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(each, lr=settings.learning_rate, fused=True)


def rate(settings: Optimisation, *, done: float, halvings: int = 0) -> float:
    """Return the learning rate of the top layer.

    Args:
        settings: the schedule and its warm-up, both in shares of the whole run.
        done: share of the run that is done, from 0 to 1.
        halvings: how often validation has stalled; only ``plateau`` minds.
    """
    if done < settings.warmup:
        return settings.learning_rate * done / settings.warmup
    left = (1 - done) / (1 - settings.warmup)
    shares = {
        "constant": 1.0,
        "linear": left,
        "cosine": (1 - math.cos(math.pi * left)) / 2,
        "plateau": 0.5**halvings,
    }
    return settings.learning_rate * shares[settings.schedule]


def set_rate(optimizer: torch.optim.Optimizer, highest: float) -> None:
    """Set the learning rate of every layer, given that of the top one."""
    for group in optimizer.param_groups:
        group["lr"] = highest * group["share"]
