"""The contract of every Predictor, run on ways of fine-tuning, trunks and kinds of task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from tests.logs import START, shop
from tests.models import contract
from tests.networks import FINETUNING, pretrained
from valuecast import tasks
from valuecast.config.learning import TEXT, Adaptation, Fusion, Trunk, Tuning
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.finetuned import Answers
from valuecast.models.predictor import Predictor
from valuecast.models.registry import ADAPTATIONS, BASELINES, FUSIONS, NEURAL
from valuecast.tasks import Task
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.tables import Tables

BEFORE = START + timedelta(days=210)
SPLIT = TimeSplit(every=60, validation=1, rounds=1)
TASKS = {
    "churn": tasks.churn([15, 30], active=90),
    "value": tasks.value([15, 30], active=90),
    "net": tasks.value(30, net=True, active=90),
    "returns": Task("count(*) of return over next 30 days", when="count(*) over last 90 days > 0", name="returns"),
    "often": Task("count(*) of purchase over next 30 days > 2", name="often"),
}
METHODS: tuple[Adaptation, ...] = get_args(Adaptation)
CASES: list[tuple[Trunk, Tuning, str]] = [
    *(("llama", method, "churn") for method in METHODS),
    *(("llama", "full", task) for task in ("value", "net", "returns", "often")),
    *(("gru", method, "churn") for method in ("full", "frozen", "lora")),
    ("bert", "full", "value"),
    ("bert", "adalora", "churn"),
    *((trunk, "last-n", "churn") for trunk in ("gpt2", "qwen3")),
    *(("llama", "joint", task) for task in ("churn", "value")),
    *(("llama", "fused", task) for task in TASKS),
]
FUSION = Fusion(parts=("mean_rate", "bgnbd", "joint"), members=2, hidden=16, joint=FINETUNING)
KEPT = [method for method in METHODS if method not in {"scratch", "full", "last-n"}]

Fitted = Callable[[Trunk, Tuning, str], Predictor]
pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")
cases = pytest.mark.parametrize(("trunk", "method", "task"), CASES, ids=map("-".join, CASES))


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(60, 260)


@pytest.fixture(scope="module")
def base(log: EventLog) -> Callable[[Trunk], Backbone]:
    return cache(lambda trunk: pretrained(log.before(START + timedelta(days=120)), trunk))


@pytest.fixture(scope="module")
def fitted(log: EventLog, base: Callable[[Trunk], Backbone]) -> Fitted:
    known, tables = log.before(BEFORE), Tables()

    def fit(trunk: Trunk, method: Tuning, task: str) -> Predictor:
        how: dict[str, Any] = {"method": method, "split": SPLIT, "tables": tables}
        how |= {"fusion": FUSION} if method in FUSIONS else {"settings": FINETUNING}
        return finetune(base(trunk), TASKS[task], known, **how)

    return cache(fit)


def test_every_method_has_a_name() -> None:
    assert set(ADAPTATIONS) == set(METHODS)
    assert {*get_args(Tuning), *(f"{TEXT}{method}" for method in METHODS)} == NEURAL


EXPLAINED = [
    case
    for case in CASES
    if case in {("llama", "frozen", "churn"), ("gru", "full", "churn"), ("bert", "full", "value")}
    or (case[1] in FUSIONS and case[2] in {"churn", "value"})
]


@cases
def test_inputs_are_made_of_parts_that_belong_to_drivers(
    fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str
) -> None:
    contract.check_material(fitted(trunk, method, task), log, at=BEFORE)


@pytest.mark.parametrize(("trunk", "method", "task"), EXPLAINED, ids=map("-".join, EXPLAINED))
def test_scores_are_explained(fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str) -> None:
    contract.check_explained(fitted(trunk, method, task), log, at=BEFORE)


@cases
def test_scores_are_a_table_with_one_row_per_user_and_target(
    fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str
) -> None:
    contract.check_table(fitted(trunk, method, task), log, at=BEFORE)
    contract.check_table(fitted(trunk, method, task), log, at=log.span.until)


@cases
def test_a_saved_predictor_gives_the_same_scores(
    fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str, tmp_path: Path
) -> None:
    contract.check_saved(fitted(trunk, method, task), log, at=BEFORE, folder=tmp_path / "model")


@cases
def test_scores_do_not_see_the_future(fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str) -> None:
    contract.check_blind(fitted(trunk, method, task), log, at=BEFORE)


@pytest.mark.parametrize(("trunk", "method"), [("llama", "full"), ("bert", "full"), ("llama", "fused")])
def test_training_does_not_see_what_is_at_or_after_before(
    log: EventLog, base: Callable[[Trunk], Backbone], trunk: Trunk, method: Tuning
) -> None:
    how: dict[str, Any] = {"fusion": FUSION} if method in FUSIONS else {"settings": FINETUNING}
    contract.check_training_blind(
        lambda known: finetune(base(trunk), TASKS["churn"], known, method=method, split=SPLIT, **how),
        log,
        before=BEFORE,
    )


@cases
def test_what_it_cannot_answer_is_refused(
    fitted: Fitted, log: EventLog, trunk: Trunk, method: Tuning, task: str
) -> None:
    contract.check_refusals(fitted(trunk, method, task), log, before=BEFORE)


@pytest.mark.parametrize("method", ["full", "joint", "fused"])
def test_scores_can_be_asked_of_some_users(fitted: Fitted, log: EventLog, method: Tuning) -> None:
    contract.check_some(fitted("llama", method, "value"), log, at=BEFORE, within=1e-4)


@pytest.mark.parametrize("method", ["full", "joint"])
def test_a_log_of_another_schema_is_refused(fitted: Fitted, log: EventLog, method: Tuning) -> None:
    contract.check_schema(fitted("llama", method, "churn"), log, at=BEFORE)


@pytest.mark.parametrize("task", TASKS)
def test_a_fusion_says_what_it_is_made_of(fitted: Fitted, task: str) -> None:
    made = fitted("llama", "fused", task)
    facts = made.facts
    assert {*facts["parts"], *facts["absent"]} == set(FUSION.parts)
    assert all(facts["absent"].values())
    objection = BASELINES["bgnbd"].objection(TASKS[task])
    assert objection is None or facts["absent"]["bgnbd"] == objection
    for target, head in made.heads.items():
        assert head.facts["settings"]["parts"].keys() <= facts["parts"].keys()
        tried = {trial["blend"]: trial["loss"] for trial in head.facts["trials"]}
        mixed = {"weighed"} if len(facts["parts"]) > 1 else set()
        assert set(tried) == {*facts["parts"], *mixed}, target
        assert tried[head.facts["settings"]["blend"]] == min(tried.values())


def weights(module: torch.nn.Module) -> set[bytes]:
    return {value.numpy().tobytes() for value in module.state_dict().values() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("method", KEPT)
def test_what_is_not_trained_is_the_backbone_s(
    fitted: Fitted, base: Callable[[Trunk], Backbone], method: Adaptation
) -> None:
    predictor = fitted("llama", method, "churn")
    assert isinstance(predictor.inputs, Answers)
    network = predictor.inputs.answerer.network
    assert weights(base("llama").network) <= weights(network)
    assert (predictor.facts["parameters"]["trained"] > 0) == (method != "frozen")


@pytest.mark.parametrize("method", ["full", "scratch", "last-n"])
def test_what_is_trained_has_changed(fitted: Fitted, base: Callable[[Trunk], Backbone], method: Adaptation) -> None:
    predictor = fitted("llama", method, "churn")
    assert isinstance(predictor.inputs, Answers)
    before, after = base("llama").network, predictor.inputs.answerer.network
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    changed = {name for (name, one), other in pairs if not torch.equal(one, other)}
    every = {name for name, _ in before.named_parameters()}
    last = {name for name in every if ".layers.1." in name or name.startswith("trunk.model.norm")}
    assert changed == (last if method == "last-n" else every)
