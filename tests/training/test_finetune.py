"""Fine-tuning: what each network learns from and is judged on, and what the heads then say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from tests.logs import START, shop
from tests.models.contract import events_of, like
from tests.networks import FINETUNING, QUICK, pretrained, untrained
from valuecast import moments
from valuecast.config.learning import Finetuning, HeadKind, Optimisation, Trunk
from valuecast.errors import ConfigError, FitError, ModelError, TaskError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.finetuned import Answerer, Answers, answers
from valuecast.models.head_spec import labels_of
from valuecast.models.predictor import Predictor
from valuecast.models.reading import EventReading
from valuecast.sequences import windows as cut
from valuecast.tasks import Task, churn, purchase, value
from valuecast.tasks.labels import labels, waits
from valuecast.tasks.splits import TimeSplit, UserSplit
from valuecast.training import course as module
from valuecast.training.course import Course, prepare
from valuecast.training.finetune import finetune, finetune_together
from valuecast.training.history import History
from valuecast.training.stages import TaskRows
from valuecast.training.supervised import Asked, FrozenFeed, Item, Learner, ReadFeed
from valuecast.training.tables import Tables

BEFORE = START + timedelta(days=210)
EARLY = START + timedelta(days=100)
SPLIT = TimeSplit(every=20, validation=1, rounds=2)
ONE = replace(SPLIT, rounds=1)
BRIEF = Finetuning(replace(QUICK, epochs=1))

TABLES = Tables()
pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


def fitted(base: Backbone, task: Task, log: EventLog, **options: Any) -> Predictor:
    """Fine-tune briefly, unless told otherwise."""
    usual: dict[str, Any] = {"method": "full", "settings": BRIEF, "split": ONE, "tables": TABLES}
    return finetune(base, task, log, **{**usual, **options})


@pytest.fixture(scope="module")
def whole() -> EventLog:
    return shop(60, 260)


@pytest.fixture(scope="module")
def log(whole: EventLog) -> EventLog:
    return whole.before(BEFORE)


@pytest.fixture(scope="module")
def base(log: EventLog) -> Backbone:
    return pretrained(log.before(EARLY))


@dataclass(frozen=True)
class Trained:
    """A call of the loop, and what came of it."""

    learner: Learner
    feed: ReadFeed | FrozenFeed
    asked: dict[str, Any]
    history: History

    @property
    def judge(self) -> ReadFeed | FrozenFeed | None:
        found: ReadFeed | FrozenFeed | None = self.asked["judge"]
        return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Trained]:
    """Every call of the loop from here on."""
    calls: list[Trained] = []
    train = module.train

    def watched(learner: Any, feed: Any, **asked: Any) -> History:
        history = train(learner, feed, **asked)
        calls.append(Trained(learner, feed, asked, history))
        return history

    monkeypatch.setattr(module, "train", watched)
    return calls


def rows_learned(feed: ReadFeed | FrozenFeed, *, epoch: int) -> dict[str, pl.DataFrame]:
    """The rows and labels that a feed gives in an epoch, by task, in the order of the asked ones."""
    starts = dict(zip(feed.asked.labels, [0, *feed.asked.ends[:-1]], strict=True))
    found: dict[str, list[tuple[int, bytes]]] = {task: [] for task in starts}
    for planned in feed.plan(epoch):
        item = feed.load(planned)
        numbers = item.given.row.numpy() if isinstance(feed, ReadFeed) else planned
        for task, part in item.parts.items():
            own = numbers[part.rows.numpy()]
            found[task] += [(int(row), label.numpy().tobytes()) for row, label in zip(own, part.labels, strict=True)]
    return {
        task: pl.DataFrame(sorted(rows), schema={"row": pl.Int64, "label": pl.Binary}, orient="row")
        for task, rows in found.items()
    }


@pytest.mark.parametrize("method", ["full", "frozen"])
def test_every_label_row_is_learned_from_once_in_every_epoch(
    method: Any, base: Backbone, log: EventLog, trained: list[Trained]
) -> None:
    task, split = churn([15, 30], active=90), TimeSplit(every=10, validation=2, rounds=1)
    finetune_together(base, [task, value(30, active=90)], log, method=method, split=split)
    choice = split.choices(task, log)[0]
    cutoffs = split.cutoffs(task, log)
    stages = [(trained[0].feed, choice.train, choice.known), (trained[0].judge, choice.validation, None)]
    stages.append((trained[1].feed, cutoffs, None))
    for feed, at, until in stages:
        assert feed is not None
        for name, asked in (("churn", task), ("value", value(30, active=90))):
            known = log.before(until) if until else log
            truth = waits(asked, known, at) if name == "churn" else labels(asked, log, at)
            spec = trained[0 if until or feed is trained[0].judge else 1].learner.answerer.head(name).spec
            wanted = [row.tobytes() for row in labels_of(spec, truth)]
            start = 0 if name == "churn" else int(feed.asked.ends[0])
            for epoch in (0, 1):
                learned = rows_learned(feed, epoch=epoch)[name]
                assert learned["row"].to_list() == list(range(start, start + len(truth)))
                assert learned["label"].to_list() == wanted
            keys = feed.asked.keys[start : start + len(truth)]
            assert_frame_equal(keys, truth.select("user", "at"))


def test_rows_that_get_lost_are_noticed(base: Backbone, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = cut.shared

    def losing(rows: cut.Rows, *rest: Any) -> cut.Windows:
        return shared(rows[np.arange(1, len(rows))], *rest)

    monkeypatch.setattr(cut, "shared", losing)
    with pytest.raises(AssertionError, match="rows of windows and rows of keys differ"):
        fitted(base, churn(30, active=90), log)
    keys = pl.DataFrame({"user": ["a", "b"]})
    with pytest.raises(AssertionError, match="training rows, label rows and rows of features differ"):
        Asked(keys, {"one": np.zeros((1, 1), np.float32)})


def test_losses_of_batches_add_up_to_the_mean_over_rows(base: Backbone, log: EventLog) -> None:
    """Whatever the batches: the mean loss over them is the sum of the tasks' mean losses over all their rows."""
    course = prepare(base, [churn(30, active=90), value(30, active=90)], log, split=ONE, tables=TABLES)
    stage = course._stage("round-1", course.rounds[0])
    specs = course._specs(stage)
    asked = course._asked(specs, stage.learned, stage.until)
    torch.manual_seed(0)
    answerer = Answerer(base.network, specs, dropout=0.0).eval()
    learner = Learner(answerer)
    raw: dict[int, dict[str, float]] = {}
    for size in (48, 100_000):
        feed = ReadFeed(asked, course.histories.reading(asked.keys, share=True), size, None)
        learning = replace(feed, seed=0)
        plan = learning.plan(0)
        assert (len(plan) > 4) == (size == 48)
        with torch.no_grad():
            judged = [(item.events, learner(item)) for item in map(feed.load, feed.plan(0))]
            found = [learner(learning.load(item)) for item in plan]
        total = sum(events for events, _ in judged)
        assert total == len(asked.keys)
        raw[size] = {name: sum(n * losses[name].item() for n, losses in judged) / total for name in specs}
        learned = {name: sum(losses[name].item() for losses in found) / learning.batches for name in specs}
        assert raw[size] == pytest.approx(learned, rel=1e-4)
    assert raw[48] == pytest.approx(raw[100_000], rel=1e-4)


def test_tasks_together_have_one_trunk_and_a_head_each(
    base: Backbone, log: EventLog, whole: EventLog, trained: list[Trained], tmp_path: Any
) -> None:
    tasks = [churn([15, 30], active=90), value([15, 30], active=90), purchase(30, where="item = 'i1'", active=90)]
    made = finetune_together(base, tasks, log, method="full", settings=BRIEF, split=ONE)
    assert [each.task for each in made] == tasks
    assert len(trained) == 2  # one network for a round, one for all
    inputs = [each.inputs for each in made]
    assert all(isinstance(each, Answers) for each in inputs)
    networks = {id(each.answerer.network) for each in inputs}  # type: ignore[attr-defined]
    assert len(networks) == 1
    for each in made:
        assert each.facts["tasks"] == list(map(str, tasks))
        each.save(tmp_path / each.task.name)
        read = Predictor.load(tmp_path / each.task.name)
        assert isinstance(read.inputs, Answers)
        assert read.inputs.answerer.tasks == (each.task.name,)
        assert read.predict(whole, at=BEFORE).equals(each.predict(whole, at=BEFORE))
    alone = fitted(base, tasks[0], log)
    assert not alone.predict(whole, at=BEFORE)["score"].equals(made[0].predict(whole, at=BEFORE)["score"])


@pytest.mark.parametrize("name", ["items", "training"])
def test_a_task_may_have_any_name(base: Backbone, log: EventLog, name: str, tmp_path: Any) -> None:
    task = Task("count(*) of purchase over next 30 days > 0", name=name)
    made = fitted(base, task, log, method="frozen")
    made.save(tmp_path / "model")
    assert Predictor.load(tmp_path / "model").predict(log, at=BEFORE).equals(made.predict(log, at=BEFORE))


def test_a_backbone_that_has_seen_the_validation_horizon_is_refused(log: EventLog, base: Backbone) -> None:
    task = churn(30, active=90)
    first, second = SPLIT.choices(task, log)
    late = replace_before(base, first.known + timedelta(microseconds=1))
    with pytest.raises(ModelError) as found:
        finetune(late, task, log, split=SPLIT)
    assert f"the first validation cutoff is {moments.text(first.known)}" in found.value.what
    assert found.value.remedy is not None
    assert f"--before {moments.text(first.known)} at the latest" in found.value.remedy
    assert moments.text(second.known) in found.value.remedy


def replace_before(base: Backbone, before: datetime) -> Backbone:
    return Backbone(before, base.architecture, base.encoding, base.network, base.facts)


def test_rounds_that_the_backbone_has_seen_are_left_out(log: EventLog, base: Backbone, trained: list[Trained]) -> None:
    task = churn(30, active=90)
    split = TimeSplit(every=20, validation=1, rounds=3)
    rounds = split.choices(task, log)
    assert len(rounds) == 3

    def kept(before: datetime) -> int:
        base_ = replace_before(base, before)
        return len(prepare(base_, [task], log, split=split, tables=TABLES).rounds)

    hair = timedelta(microseconds=1)
    for number, choice in enumerate(rounds):
        assert kept(choice.known) == number + 1
        assert number == 0 or kept(choice.known + hair) == number
    made = fitted(replace_before(base, rounds[1].known), task, log, split=split)
    assert len(trained) == 3  # two rounds and the refit
    validated = [moments.text(choice.validation[0]) for choice in rounds[:2]]
    assert made.facts["split"]["calibrated_on"] == validated
    assert sorted(row["at"] for row in made.heads["churn_30d"].facts["backtest"]) == sorted(validated)


def test_tasks_that_cannot_share_a_trunk_are_refused(log: EventLog, base: Backbone) -> None:
    for other in (value(20, active=90), value(30, active=120)):
        with pytest.raises(TaskError, match="have different cutoffs") as found:
            prepare(base, [churn(30, active=90), other], log)
        assert "apart" in (found.value.remedy or "")
    with pytest.raises(TaskError, match="two tasks have one name"):
        prepare(base, [churn(30, active=90), churn(30, active=60)], log)


def test_what_does_not_go_together_is_refused(log: EventLog, base: Backbone) -> None:
    with pytest.raises(FitError, match="'gru' has no attention"):
        prepare(untrained(log, "gru", before=EARLY), [churn(30)], log, method="prefix")
    for head, what in (("hazard", "a hazard is of a task"), ("bernoulli", "a Bernoulli head is of")):
        with pytest.raises(FitError, match=what):
            prepare(base, [value(30)], log, settings=Finetuning(head=head))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="too long for a log"):
        prepare(base, [churn(365)], log)
    spread = Finetuning(replace(QUICK, sharding=True))
    with pytest.raises(ConfigError, match="AdaLoRA ranks weights by their whole gradients"):
        prepare(base, [churn(30)], log, method="adalora", settings=spread)


def test_nothing_from_a_rounds_moment_on_reaches_its_waits(
    log: EventLog, base: Backbone, trained: list[Trained]
) -> None:
    task, split = churn([15, 30], active=90), TimeSplit(every=10, validation=2, rounds=2)
    fitted(base, task, log, split=split)
    censored = 0
    for choice, call in zip(split.choices(task, log), trained, strict=False):
        cut_ = waits(task, log.before(choice.known), choice.train)
        late = waits(task, log, choice.train)
        feed = call.feed
        spec = call.learner.answerer.head("churn").spec
        assert_frame_equal(feed.asked.keys, cut_.select("user", "at"))
        np.testing.assert_array_equal(feed.asked.labels["churn"], labels_of(spec, cut_))
        assert spec.edges[-1] <= cut_["known"].max()  # type: ignore[operator]
        censored += int((late["seen"] & ~cut_["seen"]).sum())
    assert censored > 10  # some waits were over by the end of the log, and not when the round was
    last = trained[-1]
    spec = last.learner.answerer.head("churn").spec
    np.testing.assert_array_equal(
        last.feed.asked.labels["churn"], labels_of(spec, waits(task, log, split.cutoffs(task, log)))
    )


def test_an_event_at_the_very_moment_is_not_known_before_it() -> None:
    at = START + timedelta(days=10)
    known = at + timedelta(days=20)
    keys = {"user": ["a", "b", "c"], "at": [at] * 3}
    truths = pl.DataFrame({**keys, "days": [20.0, 19.999, 25.0], "seen": [True, True, False], "known": [25.0] * 3})
    part = TaskRows(churn(15), truths, truths, FINETUNING)
    found = part.known(pl.Series([True] * 3), known)
    assert found["days"].to_list() == [20.0, 19.999, 20.0]
    assert found["seen"].to_list() == [False, True, False]
    assert found["known"].to_list() == [20.0] * 3
    assert part.known(pl.Series([True, False, True]), None).equals(truths[[0, 2]])


@pytest.mark.parametrize("trunk", ["llama", "qwen3", "gpt2", "gru"])
def test_an_event_at_or_after_at_leaves_the_logit_at_it_unchanged(trunk: Trunk, log: EventLog) -> None:
    """In one training batch with all cutoffs of all users, windows shared."""
    task, split = churn(30, active=90), TimeSplit(every=10, validation=1, rounds=1)
    course = prepare(untrained(log, trunk, before=EARLY), [task], log, split=split)
    stage = course._stage("all", course.rounds[0])
    specs = course._specs(stage)
    torch.manual_seed(0)
    answerer = Answerer(course.base.network, specs, dropout=0.0).eval()
    torch.nn.init.normal_(answerer.head("churn").tower[-1].weight)
    keys = course.parts[0].labelled.select("user", "at")

    def logits(other: EventLog) -> tuple[np.ndarray, int]:
        reading = course.base.body.histories(other).reading(keys, share=True)
        assert isinstance(reading, EventReading)
        asked = Asked(keys, {"churn": np.zeros((len(keys), 1), np.float32)})
        feed = ReadFeed(asked, reading, 10**6, None)
        (batch,) = map(feed.load, feed.plan(0))
        assert isinstance(batch, Item)
        with torch.no_grad():
            raw = answerer.raw(answerer(batch.given, batch.beside))["churn_30d"]
        found = np.empty(len(keys))
        found[batch.given.row.numpy()] = raw.numpy()
        return found, len(reading.windows)

    before, windows = logits(log)
    assert windows < len(keys) / 2  # they are shared indeed
    events = events_of(log)
    for at in keys["at"].unique().sort().gather_every(3):
        late = pl.col("time") >= at
        nonsense = events.with_columns(
            pl.when(late).then(pl.lit("return")).otherwise("event").alias("event"),
            pl.when(late).then(pl.col("amount") * -50).otherwise("amount").alias("amount"),
            pl.when(late).then(pl.lit("i7")).otherwise("item").alias("item"),
        )
        more = nonsense.filter(late).with_columns(pl.col("order") + "again", time=at)
        after, _ = logits(like(log, pl.concat([nonsense, more])))
        same = (keys["at"] <= at).to_numpy()
        np.testing.assert_allclose(after[same], before[same], atol=1e-5, rtol=0)
        if not same.all():
            assert np.abs(after[~same] - before[~same]).max() > 1e-2


def test_the_last_of_many_events_is_what_a_row_is_asked_behind(log: EventLog, base: Backbone) -> None:
    """Windows shared in training and the last events alone in prediction say nearly the same where both see all."""
    task = churn(30, active=90)
    made = fitted(base, task, log)
    assert isinstance(made.inputs, Answers)
    keys = ONE.cutoffs(task, log)
    asked = labels(task, log, keys).select("user", "at")
    histories = base.body.histories(log)
    short = cut.rows_of(histories.sequences, asked).count <= base.network.length // 2
    assert 0 < short.sum() < len(short)
    one, other = (answers(made.inputs.answerer, histories, asked, share=share) for share in (True, False))
    np.testing.assert_allclose(one["churn_30d"].filter(short), other["churn_30d"].filter(short), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("task", "falls"), [(churn([15, 30]), True), (purchase([15, 30]), False)])
def test_longer_horizons_have_lower_chances_of_nothing(task: Task, falls: bool, log: EventLog, base: Backbone) -> None:
    made = fitted(base, task, log, settings=FINETUNING)
    assert isinstance(made.inputs, Answers)
    assert made.inputs.answerer.head(task.name).spec.kind == "hazard"
    raw = made.raw(log, at=BEFORE).pivot("target", index="user", values="raw")
    short, long = (raw[f"{task.name}_{days}d"] for days in (15, 30))
    assert ((short > long) if falls else (short < long)).all()


def test_longer_horizons_have_higher_values(log: EventLog, base: Backbone) -> None:
    made = fitted(base, value([10, 20, 30]), log, settings=FINETUNING)
    raw = made.raw(log, at=BEFORE).pivot("target", index="user", values="raw")
    first, second, third = (raw[f"value_{days}d"] for days in (10, 20, 30))
    assert (first <= second).all()
    assert (second <= third).all()
    assert (third > first).any()


@pytest.mark.parametrize(("head", "kind"), [("auto", "hazard"), ("hazard", "hazard"), ("bernoulli", "bernoulli")])
def test_a_head_may_be_chosen(head: HeadKind, kind: str, log: EventLog, base: Backbone) -> None:
    made = fitted(base, churn(30), log, settings=replace(BRIEF, head=head))
    assert isinstance(made.inputs, Answers)
    assert made.inputs.answerer.head("churn").spec.kind == kind


def test_a_split_by_users_learns_nothing_of_those_held_out(whole: EventLog) -> None:
    at = START + timedelta(days=150)
    split, task = UserSplit(at=at, holdout=0.3, folds=2), value([15, 30])
    base = untrained(whole, before=at)
    made = fitted(base, task, whole, split=split)
    scores = made.predict(whole, at=at)
    assert len(scores) > 10
    assert all(split.holds(user) for user in scores["user"])
    events = events_of(whole)
    held = pl.Series([split.holds(user) for user in events["user"]])
    later = (pl.col("time") >= at) & held
    other = like(
        whole,
        events.with_columns(pl.when(later).then(pl.col("amount") * 100).otherwise("amount").alias("amount")),
    )
    assert fitted(base, task, other, split=split).predict(other, at=at).equals(scores)
    with pytest.raises(ModelError, match="has seen what choices would be made by"):
        fitted(replace_before(base, at + timedelta(days=1)), task, whole, split=split)


def test_folds_of_users_are_judged_by_networks_that_have_not_seen_them(whole: EventLog, trained: list[Trained]) -> None:
    at = START + timedelta(days=150)
    split, task = UserSplit(at=at, holdout=0.3, folds=2), churn([15, 30])
    made = fitted(untrained(whole, before=at), task, whole, split=split)
    assert len(trained) == 3
    for fold, call in enumerate(trained[:2]):
        learned = set(call.feed.asked.keys["user"])
        assert {split.fold(user) for user in learned} == {1 - fold}
        assert not any(split.holds(user) for user in learned)
    judge = trained[0].judge
    assert judge is not None
    assert {split.fold(user) for user in judge.asked.keys["user"]} == {0}
    assert trained[1].judge is None  # how long is known by then
    every = set(trained[2].feed.asked.keys["user"])
    assert {split.fold(user) for user in every} == {0, 1}
    backtest = made.heads["churn_30d"].facts["backtest"]
    assert [row["users"] for row in backtest] == [len(every)]


def test_the_refit_goes_as_the_choice_did(log: EventLog, base: Backbone, trained: list[Trained]) -> None:
    """As many epochs as were best, and the learning rate halved where it was."""
    how = Optimisation(learning_rate=0.3, schedule="plateau", warmup=0, epochs=6, patience=6, tracker="none")
    made = fitted(base, churn(30, active=90), log, settings=Finetuning(how), split=SPLIT)
    first, *others = trained
    assert first.history.halved
    best = first.history.best_epoch
    for call in others:
        assert call.asked["settings"].epochs == best
        assert call.asked["halved"] == first.history.halved
        assert len(call.history.epochs) == best
        rates = [epoch.learning_rate for epoch in call.history.epochs]
        assert rates == [epoch.learning_rate for epoch in first.history.epochs][:best]
    head = made.heads["churn_30d"]
    assert head.facts["settings"]["epochs"] == best
    assert [trial["epochs"] for trial in head.facts["trials"]] == [1, 2, 3, 4, 5, 6]
    losses = [trial["loss"] for trial in head.facts["trials"]]
    assert losses.index(min(losses)) + 1 == best


def moved(base: Backbone, made: Predictor) -> dict[str, float]:
    """How far each weight of the network has moved from the backbone's."""
    assert isinstance(made.inputs, Answers)
    after = dict(made.inputs.answerer.network.named_parameters())
    return {name: (after[name] - one).abs().max().item() for name, one in base.network.named_parameters()}


def test_lower_layers_learn_more_slowly(log: EventLog, base: Backbone, trained: list[Trained]) -> None:
    how = replace(BRIEF, optimisation=replace(BRIEF.optimisation, layer_decay=0.01, weight_decay=0.0))
    found = moved(base, fitted(base, churn(30, active=90), log, settings=how))
    far = {
        part: max(far for name, far in found.items() if name.startswith(part))
        for part in ("encoder.", "trunk.model.layers.0.", "trunk.model.layers.1.", "trunk.model.norm")
    }
    by_depth = list(far.values())
    for lower, upper in pairwise(by_depth):
        assert 0 < lower < upper / 20
    depths = {depth for _, depth in trained[0].asked["groups"]}
    assert depths == {1, 2, 3, 4}  # the heads, which are in no group, are above all


def test_frozen_trains_heads_alone(log: EventLog, base: Backbone, trained: list[Trained]) -> None:
    made = fitted(base, churn(30, active=90), log, method="frozen")
    assert isinstance(trained[0].feed, FrozenFeed)
    assert set(moved(base, made).values()) == {0.0}
    assert made.facts["parameters"]["trained"] == 0
    assert isinstance(made.inputs, Answers)
    head = made.inputs.answerer.head("churn")
    assert head.tower[-1].bias.detach().numpy() != pytest.approx(np.array(head.spec.start), abs=1e-4)


def test_scratch_takes_nothing_of_the_weights(log: EventLog, whole: EventLog) -> None:
    one, other = (untrained(log, before=EARLY, seed=seed) for seed in (1, 2))

    def scores(base: Backbone, method: Any) -> pl.DataFrame:
        made = fitted(base, churn(30, active=90), log, method=method)
        return made.predict(whole, at=BEFORE)

    assert scores(one, "scratch").equals(scores(other, "scratch"))
    assert not scores(one, "full").equals(scores(other, "full"))


def test_the_same_again_is_the_same(log: EventLog, base: Backbone, whole: EventLog) -> None:
    weights = {name: value.clone() for name, value in base.network.state_dict().items()}
    chance = torch.get_rng_state()

    def scores(seed: int) -> pl.DataFrame:
        made = fitted(base, churn(30, active=90), log, seed=seed)
        return made.predict(whole, at=BEFORE)

    first = scores(3)
    assert torch.equal(torch.get_rng_state(), chance)  # whose chance it is, is not touched
    torch.rand(5)
    assert scores(3).equals(first)
    assert not scores(4).equals(first)
    for name, value_ in base.network.state_dict().items():
        assert torch.equal(value_, weights[name])  # the backbone is left as it is


def test_the_facts_say_what_was_done(log: EventLog, base: Backbone) -> None:
    task = churn(30, active=90)
    made = fitted(base, task, log, method="lora", settings=FINETUNING, split=SPLIT, seed=5)
    facts = made.facts
    assert (made.name, made.before, made.split) == ("lora", BEFORE, SPLIT)
    assert facts["log"] == log.fingerprint
    assert facts["seed"] == 5
    assert facts["backbone"]["before"] == moments.text(EARLY)
    assert facts["backbone"]["log"] == log.before(EARLY).fingerprint
    rows = labels(task, log, SPLIT.cutoffs(task, log))
    assert facts["examples"] == len(rows)
    assert facts["users"] == rows["user"].n_unique()
    assert 0 < facts["parameters"]["trained"] < facts["parameters"]["network"] / 2
    assert made.heads["churn_30d"].facts["settings"]["method"] == "lora"


def test_a_cutoff_where_nobody_is_eligible_is_passed_over(log: EventLog, base: Backbone) -> None:
    frame = events_of(log)
    rare = Task(
        "count(*) of purchase over next 30 days = 0", when="count(*) of return over last 20 days > 0", name="churn"
    )
    inside = pl.col("time").is_between(START + timedelta(days=90), START + timedelta(days=150))
    thinned = like(log, frame.filter((pl.col("event") != "return") | inside))
    made = fitted(base, rare, thinned, split=TimeSplit(every=10, validation=1, rounds=3))
    assert made.facts["examples"] > 0


def test_a_course_is_watched(log: EventLog, base: Backbone) -> None:
    course: Course = prepare(base, [churn([15, 30])], log, settings=FINETUNING, split=ONE, tables=TABLES)
    seen: list[int] = []
    held = course.judge(lambda number, scored: seen.append(number * len(scored)))
    assert seen == [2, 4]
    wanted = labels(churn([15, 30]), log, course.rounds[0].validation)
    for scored, target in zip(held, ("churn_15d", "churn_30d"), strict=True):
        assert_frame_equal(scored.keys, wanted.select("user", "at"))
        assert scored.truth.tolist() == wanted[target].to_list()
