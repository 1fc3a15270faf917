"""Small backbones for tests, and settings with which they learn in a second."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import torch

from valuecast.config.learning import Architecture, Finetuning, Optimisation, Pretraining, Trunk
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.network import Network
from valuecast.sequences.learning import learn
from valuecast.training.pretrain import pretrain

QUICK = Optimisation(learning_rate=0.003, epochs=2, patience=2, batch_events=1024, tracker="none")
FINETUNING = Finetuning(QUICK)


def architecture(trunk: Trunk = "llama") -> Architecture:
    """The smallest one, with histories that do not fit into one window."""
    return Architecture(trunk, "tiny", length=16)


def pretraining(trunk: Trunk = "llama") -> Pretraining:
    """Settings of one pass."""
    return Pretraining(architecture(trunk), optimisation=replace(QUICK, epochs=1))


def pretrained(log: EventLog, trunk: Trunk = "llama") -> Backbone:
    """A backbone that has learned a little of all of a log."""
    return pretrain(log, settings=pretraining(trunk))


def untrained(log: EventLog, trunk: Trunk = "llama", *, before: datetime | None = None, seed: int = 0) -> Backbone:
    """A backbone with weights that are drawn, and the encoding of what happened before a moment."""
    before = before or log.span.until
    encoding = learn(log.before(before))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(architecture(trunk), encoding).eval()
    return Backbone(before, network.architecture, encoding, network)
