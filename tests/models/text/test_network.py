"""A language model as a network, and as a backbone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import cast, get_args

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from tests.language_models import KINDS, Kind, tiny
from tests.shops import grocer
from valuecast.config.learning import Adaptation, Finetuning
from valuecast.config.text import TextModel
from valuecast.errors import ConfigError, FitError, LogError, ModelError
from valuecast.events.log import EventLog
from valuecast.models import adapters, foundation
from valuecast.models.backbone import Backbone
from valuecast.models.text.backbone import TextBackbone
from valuecast.models.text.network import TextNetwork
from valuecast.models.text.tokens import Tokens

METHODS = get_args(Adaptation)
AT = datetime(2021, 8, 1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, TextBackbone]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: TextBackbone.open(TextModel(str(tiny(kind, folder / kind)), tokens=64)) for kind in KINDS}


def tokens(ids: torch.Tensor, mask: torch.Tensor) -> Tokens:
    return Tokens(ids, mask, torch.arange(len(ids)), tuple("abc"[: len(ids)]), int(mask.sum()))


def batch(rows: int = 3, length: int = 12) -> Tokens:
    drawn = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (rows, length), generator=drawn)
    mask = torch.arange(length) < torch.tensor([[length], [length - 3], [length - 7]])[:rows]
    return tokens(torch.where(mask, ids, 1), mask)


def said(network: TextNetwork, given: Tokens) -> torch.Tensor:
    return network.at(network(given), given)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_changes_the_state_of_a_text_and_trains_what_it_should(
    kind: Kind, method: Adaptation, models: dict[Kind, TextBackbone]
) -> None:
    body, base = models[kind].body, models[kind].network
    torch.manual_seed(0)
    network = body.network()
    network.load_state_dict(base.state_dict())
    settings = Finetuning(rank=2, vectors=3, bottleneck=4)
    adapters.apply(network, method, settings, steps=20)
    weights = adapters.trained(network)
    assert bool(weights) == (method != "frozen")
    given = batch()
    network.train()
    first = said(network, given)
    if weights:
        first.square().mean().backward()
        moved = [name for name, weight in network.named_parameters() if weight.grad is not None and weight.grad.any()]
        assert moved
        with torch.no_grad():
            for weight in network.parameters():
                if weight.grad is not None:
                    weight.sub_(0.05 * weight.grad.sign())
    network.eval()
    assert torch.isfinite(said(network, given)).all()
    again = body.network()
    adapters.apply(again, method, settings, steps=None)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(said(again.eval(), given), said(network, given))


@pytest.mark.parametrize("method", ["full", "prompt", "prefix", "lora", "adapter"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_neighbours_leave_a_state_as_it_is(
    kind: Kind, method: Adaptation, models: dict[Kind, TextBackbone]
) -> None:
    network = models[kind].body.network()
    adapters.apply(network, method, Finetuning(vectors=3), steps=None)
    network.eval()
    given = batch()
    with torch.no_grad():
        together = said(network, given)
        for row, length in enumerate(given.mask.sum(dim=1).tolist()):
            alone = tokens(given.ids[row : row + 1, :length], given.mask[row : row + 1, :length])
            torch.testing.assert_close(said(network, alone), together[row : row + 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "prompt", "prefix"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_depends_on_the_first_token_and_on_the_order(
    kind: Kind, method: Adaptation, models: dict[Kind, TextBackbone]
) -> None:
    network = models[kind].body.network()
    adapters.apply(network, method, Finetuning(vectors=3), steps=None)
    network.eval()
    given = batch(rows=1)
    other, turned = given.ids.clone(), given.ids.flip(1)
    other[0, 0] += 1
    with torch.no_grad():
        state = said(network, given)
        for ids in (other, turned):
            changed = said(network, tokens(ids, given.mask))
            assert (changed - state).abs().max() > 1e-5


def test_what_looks_back_gives_its_last_state_and_what_looks_both_ways_the_mean(
    models: dict[Kind, TextBackbone],
) -> None:
    assert {kind: made.network.pooling for kind, made in models.items()} == {
        "bert": "mean",
        "roberta": "mean",
        "gpt2": "last",
        "llama": "last",
    }
    given = batch()
    network = models["bert"].network
    states = network(given)
    own = [states[row, : int(given.mask[row].sum())].mean(dim=0) for row in range(3)]
    torch.testing.assert_close(network.at(states, given), torch.stack(own))


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_survives_its_folder(kind: Kind, models: dict[Kind, TextBackbone], tmp_path: Path) -> None:
    made, log = models[kind], grocer()
    made.save(tmp_path / "base")
    read = foundation.load(tmp_path / "base")
    assert isinstance(read, TextBackbone)
    assert read.body.to_dict() == made.body.to_dict()
    assert (read.before, read.seen_before(log), read.at_shop(log)) == (None, None, read)
    assert_frame_equal(read.embed(log, at=AT), made.embed(log, at=AT))
    with pytest.raises(ModelError, match="text-backbone"):
        Backbone.load(tmp_path / "base")


def test_what_comes_at_or_after_a_moment_changes_no_state(models: dict[Kind, TextBackbone]) -> None:
    log = grocer()
    whole, cut = (models["bert"].embed(each, at=AT) for each in (log, log.before(AT)))
    assert_frame_equal(whole, cut)
    assert whole.columns[:2] == ["user", "at"]
    assert whole["user"].is_sorted()
    (one,) = models["bert"].embed(log, at=AT, users=[whole["user"][0]]).rows()
    np.testing.assert_allclose(np.array(one[2:]), np.array(whole.row(0)[2:]), atol=1e-5)


def test_what_cannot_be_asked_is_refused(models: dict[Kind, TextBackbone], tmp_path: Path) -> None:
    log: EventLog = grocer()
    with pytest.raises(LogError, match="known only until"):
        models["bert"].embed(log, at=datetime(2090, 1, 1))
    with pytest.raises(ConfigError, match="reads 512 at most"):
        TextBackbone.open(TextModel(str(tiny("bert", tmp_path / "bert")), tokens=600))
    full = TextBackbone.open(TextModel(str(tmp_path / "bert"), tokens=510))
    with pytest.raises(FitError, match="2 places left"):
        adapters.apply(full.network, "prompt", Finetuning(vectors=8))
    with pytest.raises(ModelError):
        foundation.load(tmp_path / "nothing")
    assert cast(pl.DataFrame, models["bert"].embed(log, at=AT)).height > 0
