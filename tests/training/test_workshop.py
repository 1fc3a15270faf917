"""Where rungs are fitted: one backbone and one trunk for as many as can share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.logs import START, shop
from tests.networks import FINETUNING, pretraining
from valuecast import moments
from valuecast.config.learning import Finetuning, Pretraining
from valuecast.errors import ConfigError, MissingExtraError, ModelError
from valuecast.evaluation.ladder import climb
from valuecast.events.log import EventLog
from valuecast.models import neural
from valuecast.tasks import Task, churn, value
from valuecast.tasks.splits import TimeSplit, UserSplit
from valuecast.training import course as course_module
from valuecast.training import pretrain as pretraining_module
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

CHURN, VALUE, OTHER = churn([15, 30], active=90), value(30, active=90), churn(20, active=90)
SPLIT = TimeSplit(every=30, validation=1, rounds=2)
BEFORE = START + timedelta(days=210)
SETTINGS = dict.fromkeys(("full", "frozen", "lora"), FINETUNING)

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def whole() -> EventLog:
    return shop(60, 260)


@pytest.fixture(scope="module")
def log(whole: EventLog) -> EventLog:
    return whole.before(BEFORE)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables()


Counted = dict[str, list[Any]]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What was pre-trained and fine-tuned."""
    calls: Counted = {"pretrain": [], "finetune": []}

    def counting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            calls[name].append((args, more))
            return work(*args, **more)

        return counted

    monkeypatch.setattr(pretraining_module, "pretrain", counting("pretrain", pretraining_module.pretrain))
    monkeypatch.setattr(course_module, "prepare", counting("finetune", course_module.prepare))
    return calls


def workshop(folder: Path | None = None, tasks: tuple[Task, ...] = (CHURN, VALUE), **more: Any) -> Workshop:
    usual: dict[str, Any] = {"pretraining": pretraining(), "finetuning": SETTINGS}
    return Workshop(tasks, folder=folder, **{**usual, **more})


def test_tasks_with_the_same_cutoffs_share_one_training(log: EventLog, tables: Tables, counted: Counted) -> None:
    shared = workshop(tasks=(CHURN, OTHER, VALUE))
    how: dict[str, Any] = {"split": SPLIT, "seed": 0, "tables": tables}
    one, two = shared.fit("frozen", CHURN, log, **how), shared.fit("frozen", VALUE, log, **how)
    assert [args[1] for args, _ in counted["finetune"]] == [(CHURN, VALUE)]
    assert one.inputs.answerer.network is two.inputs.answerer.network  # type: ignore[attr-defined]
    assert (one.task, two.task) == (CHURN, VALUE)
    apart = shared.fit("frozen", OTHER, log, **how)
    assert [args[1] for args, _ in counted["finetune"]][1:] == [(OTHER,)]
    assert apart.task == OTHER
    assert shared.fit("recency", CHURN, log, **how).name == "recency"
    assert len(counted["finetune"]) == 2
    known = [args[0].span.until for args, _ in counted["pretrain"]]
    assert known == [SPLIT.choices(task, log)[-1].known for task in (CHURN, OTHER)]


def test_a_task_that_was_not_named_is_fitted_alone(log: EventLog, tables: Tables, counted: Counted) -> None:
    made = workshop(tasks=(OTHER,)).fit("frozen", CHURN, log, split=SPLIT, seed=0, tables=tables)
    assert made.task == CHURN
    assert [args[1] for args, _ in counted["finetune"]] == [(CHURN,)]


def test_a_backbone_is_made_once_and_kept(
    log: EventLog, whole: EventLog, tables: Tables, counted: Counted, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"split": SPLIT, "seed": 0, "tables": tables}
    first = workshop(tmp_path).fit("frozen", CHURN, log, **how)
    assert len(counted["pretrain"]) == 1
    told: list[str] = []
    again = workshop(tmp_path).fit("frozen", CHURN, log, **how, progress=told.append)
    assert len(counted["pretrain"]) == 1
    assert not any("pre-training" in each for each in told)
    assert again.predict(whole, at=BEFORE).equals(first.predict(whole, at=BEFORE))
    same = workshop(tmp_path)
    for rung in ("full", "lora"):
        same.fit(rung, CHURN, log, **how)
    assert len(counted["pretrain"]) == 1
    assert len(list((tmp_path / "backbones").glob("*/manifest.json"))) == 1
    other = replace(pretraining(), validation=0.2)
    workshop(tmp_path, pretraining=other).fit("frozen", CHURN, log, **how)
    workshop(tmp_path).fit("frozen", CHURN, log, **{**how, "seed": 1})
    workshop(tmp_path).fit("frozen", CHURN, whole, **how)
    assert len(counted["pretrain"]) == 4


def test_a_damaged_backbone_is_made_again(log: EventLog, tables: Tables, counted: Counted, tmp_path: Path) -> None:
    rounds = SPLIT.choices(CHURN, log)

    def made() -> None:
        workshop(tmp_path).backbone(log, rounds, rung="full", seed=0, progress=lambda _: None)

    made()
    (manifest,) = (tmp_path / "backbones").glob("*/manifest.json")
    manifest.write_text("{}")
    made()
    made()
    assert len(counted["pretrain"]) == 2


def test_the_backbone_has_seen_no_validation_horizon(log: EventLog, whole: EventLog) -> None:
    rounds = SPLIT.choices(CHURN, log)
    assert len(rounds) == 2
    made = workshop().backbone(log, rounds, rung="full", seed=0, progress=lambda _: None)
    assert made.before == rounds[-1].known == min(choice.known for choice in rounds)
    by_users = UserSplit(at="2020-06-01", folds=2).choices(CHURN, whole)
    assert (
        moments.text(workshop().backbone(whole, by_users, rung="full", seed=0, progress=lambda _: None).before)
        == "2020-06-01"
    )
    asked = replace(pretraining(), before="2020-03-20")
    early = workshop(pretraining=asked).backbone(log, rounds, rung="full", seed=0, progress=lambda _: None)
    assert moments.text(early.before) == "2020-03-20"


def test_a_recipe_may_ask_for_too_late_a_backbone(log: EventLog, tables: Tables) -> None:
    late = workshop(pretraining=replace(pretraining(), before="2020-07-20"))
    with pytest.raises(ModelError, match="has seen what choices would be made by"):
        late.fit("frozen", CHURN, log, split=SPLIT, seed=0, tables=tables)


def test_settings_are_part_of_what_a_rung_says() -> None:
    usual = workshop()
    assert usual.settings("recency", CHURN) == ""
    assert usual.settings("full", CHURN) == workshop(Path("elsewhere")).settings("full", CHURN)
    others = [
        workshop(pretraining=Pretraining()),
        workshop(finetuning={"full": Finetuning()}),
        workshop(tasks=(CHURN,)),
    ]
    texts = {each.settings("full", CHURN) for each in (usual, *others)}
    assert len(texts) == 4
    assert usual.settings("lora", CHURN) == workshop(finetuning={"lora": FINETUNING}).settings("lora", CHURN)


def test_a_ladder_does_again_what_other_settings_ask(
    whole: EventLog, tables: Tables, counted: Counted, tmp_path: Path
) -> None:
    def climbed(shop_: Workshop) -> list[str | None]:
        found = climb(
            CHURN, whole, rungs=["frozen"], origins=[BEFORE], split=SPLIT, cache=tmp_path, tables=tables, workshop=shop_
        )
        return [result.reason for result in found.results]

    assert climbed(workshop()) == [None]
    assert len(counted["finetune"]) == 1
    assert climbed(workshop()) == [None]
    assert len(counted["finetune"]) == 1  # it is kept
    other = replace(FINETUNING, head="bernoulli")
    assert climbed(workshop(tasks=(CHURN,), finetuning={"frozen": other})) == [None]
    assert len(counted["finetune"]) == 2


def test_rungs_are_checked_before_the_long_part() -> None:
    with pytest.raises(ConfigError, match=r"no model 'ful'.*Did you mean 'full'"):
        workshop().check(["ful"])
    with pytest.raises(ConfigError, match="'lightgbm' fine-tunes nothing"):
        workshop(finetuning={"lightgbm": FINETUNING}).check(["full"])
    with pytest.raises(ConfigError, match="no model 'lorra'"):
        workshop(finetuning={"lorra": FINETUNING}).check(["full"])
    workshop().check(["recency", "full", "lora"])


def test_a_missing_extra_says_how_to_install_it(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(MissingExtraError, match="the rung 'full' needs the package 'torch'") as found:
        workshop().check(["recency", "full"])
    assert 'pip install "valuecast[neural]"' in str(found.value)
    workshop().check(["recency"])  # which needs it not
    with pytest.raises(MissingExtraError):
        workshop().fit("full", CHURN, log, split=SPLIT, seed=0, tables=Tables())


def test_what_was_not_pretrained_waits_for_no_pretraining(log: EventLog) -> None:
    told: list[str] = []
    rounds = SPLIT.choices(CHURN, log)
    made = workshop().backbone(log, rounds, rung="scratch", seed=0, progress=told.append)
    full = workshop().backbone(log, rounds, rung="full", seed=0, progress=told.append)
    assert made.facts["untrained"]
    assert (made.before, made.encoding, made.architecture) == (full.before, full.encoding, full.architecture)
    assert sum("pre-training on" in line for line in told) == 1
