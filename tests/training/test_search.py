from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import expit
from sklearn import metrics

from tests.logs import shop
from valuecast import artifact
from valuecast.config.learning import Adaptation, Architecture, Finetuning, Optimisation
from valuecast.errors import ConfigError, FitError, ModelError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.network import Network
from valuecast.sequences.learning import learn
from valuecast.tasks import churn, value
from valuecast.tasks.splits import TimeSplit
from valuecast.training.calibrate import Scored
from valuecast.training.course import Course, prepare
from valuecast.training.search import TABLE, Found, search
from valuecast.training.tables import Tables

ROOT = Path(__file__).parents[2]
BEFORE = datetime(2020, 2, 1)
TASK = churn(20)
SPLIT = TimeSplit(every=20, rounds=2)
QUICK = Finetuning(Optimisation(epochs=3, patience=2, batch_events=1024, tracker="none", checkpoint_steps=1))
METHODS: tuple[Adaptation, ...] = ("full", "lora", "frozen")
UNTIMED = ("seconds", "number")

Seek = Callable[..., Found]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small are slower on many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return shop(50, 160)


def backbone(log: EventLog, *, seed: int = 0) -> Backbone:
    architecture = Architecture("llama", "tiny", 16)
    encoding = learn(log.before(BEFORE))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Backbone(BEFORE, architecture, encoding, Network(architecture, encoding).eval())


@pytest.fixture(scope="module")
def seek(log: EventLog) -> Seek:
    """Search as all tests here do, but for what is said."""
    base, tables = backbone(log), Tables()

    def run(folder: Path | None = None, **more: Any) -> Found:
        usual = {"trials": 5, "methods": METHODS, "settings": QUICK, "split": SPLIT, "tables": tables}
        asked = {"base": base, "task": TASK, "log": log, **usual, **more}
        return search(asked.pop("base"), asked.pop("task"), asked.pop("log"), folder=folder, **asked)

    return run


@pytest.fixture(scope="module")
def whole(seek: Seek, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    """A search that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return seek(folder), folder


def test_trials_are_judged_on_validation_and_the_best_is_fine_tuned(
    whole: tuple[Found, Path], log: EventLog, seek: Seek
) -> None:
    found, _ = whole
    trials = found.trials
    assert trials["number"].to_list() == [1, 2, 3, 4, 5]
    assert trials["method"].to_list()[:3] == list(METHODS)
    assert trials["learning_rate"].to_list()[:3] == [QUICK.optimisation.learning_rate] * 3
    assert set(trials["state"]) == {"completed"}  # fewer than are tried before any is ended
    assert trials.filter(pl.col("method") != "lora")["rank"].is_null().all()
    best = trials.sort("loss").row(0, named=True)
    facts = found.predictor.facts
    assert facts["search"] == {
        "judged_on": facts["split"]["chosen_on"],
        "loss": best["loss"],
        "trials": {"completed": 5},
    }
    assert found.predictor.name == best["method"]
    head = found.predictor.heads["churn_20d"]
    assert head.facts["settings"]["learning_rate"] == best["learning_rate"]
    assert [row["loss"] for row in head.facts["trials"]] == trials["loss"].to_list()
    scores = found.predictor.predict(log, at=log.span.until)
    assert scores["score"].is_between(0, 1).all()


@pytest.mark.parametrize("number", [0, 4])
def test_the_loss_is_that_of_the_probabilities_whatever_the_head(
    number: int, whole: tuple[Found, Path], log: EventLog
) -> None:
    tried = whole[0].trials.row(number, named=True)
    how = {
        name: tried[name] for name in ("learning_rate", "weight_decay", "batch_events", "layer_decay") if tried[name]
    }
    rest = {name: tried[name] for name in ("rank", "head") if tried[name]}
    settings = Finetuning(Optimisation(**{**vars(QUICK.optimisation), **how}), **rest)
    course = prepare(backbone(log), (TASK,), log, method=tried["method"], settings=settings, split=SPLIT)
    after: list[list[Scored]] = []
    held = course.judge(lambda _, scored: after.append(scored))[0]
    assert set(held.keys["at"]) == set(course.rounds[0].validation)
    expected = metrics.log_loss(held.truth, expit(held.raw))
    assert tried["loss"] == pytest.approx(expected, rel=1e-6)
    assert any(np.array_equal(each[0].raw, held.raw) for each in after)  # the best epoch's


def test_the_folder_holds_the_table_and_the_best_trial_alone(whole: tuple[Found, Path]) -> None:
    found, folder = whole
    written = pl.read_csv(folder / TABLE, schema=found.trials.schema)
    assert written.equals(found.trials)
    assert not list(folder.glob(".*"))
    checkpoints = list(folder.glob("trials/*/*.checkpoint"))
    assert len({path.parent for path in checkpoints}) == 1
    assert {path.stem for path in checkpoints} >= {f"{found.predictor.name}-{name}" for name in ("round-1", "refit")}


class Stopped(BaseException):
    """As good as a kill: nothing is done about it."""


def stop(what: str, *, by: Callable[[], None]) -> None:
    """End it all in the second epoch of the second trial."""
    if what.startswith("lora-round-1: epoch 2 of 3 done"):
        by()


def interrupted(folder: Path, seek: Seek) -> None:
    def raised() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        seek(folder, progress=partial(stop, by=raised))


_DIES = f"""
import os, signal, sys
from functools import partial
from pathlib import Path
from tests.training import test_search as t
kill = partial(os.kill, os.getpid(), signal.SIGKILL)
log = t.shop(50, 160)
t.search(t.backbone(log), t.TASK, log, trials=5, methods={METHODS}, settings=t.QUICK, split=t.SPLIT,
         folder=Path(sys.argv[1]), progress=partial(t.stop, by=kill))
"""


def killed(folder: Path, seek: Seek) -> None:
    command, environment = [sys.executable, "-c", _DIES, str(folder)], {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("ended", [interrupted, pytest.param(killed, marks=pytest.mark.slow)])
def test_a_search_that_was_killed_ends_as_if_it_had_not_been(
    ended: Callable[[Path, Seek], None], whole: tuple[Found, Path], seek: Seek, log: EventLog, tmp_path: Path
) -> None:
    expected, _ = whole
    ended(tmp_path, seek)
    journal = tmp_path / "study.journal"
    with journal.open("ab") as stream:  # what a kill in the middle of writing leaves
        stream.write(b'{"op_code": 8, "wor')
    journal.with_name("study.journal.lock").symlink_to(journal)
    told: list[str] = []
    found = seek(tmp_path, progress=told.append)
    assert not any("trial 1 of" in each for each in told)
    again = told[: next(number for number, each in enumerate(told) if "trial 2 of 5: loss" in each)]
    assert next(each for each in again if "epoch" in each).startswith("lora-round-1: epoch 2 of 3 done")
    over = found.trials.filter(pl.col("reason").is_null())
    assert over.drop(UNTIMED).equals(expected.trials.drop(UNTIMED))
    stopped = found.trials.filter(pl.col("reason").is_not_null())
    assert stopped.select("number", "state", "method").rows() == [(2, "failed", "lora")]
    assert found.predictor.facts["search"]["trials"] == {"completed": 5, "failed": 1}
    one, other = (each.predictor.predict(log, at=log.span.until) for each in (found, expected))
    assert one.equals(other)


def test_more_trials_go_on_from_those_there_are(whole: tuple[Found, Path], seek: Seek, tmp_path: Path) -> None:
    expected, _ = whole
    few = seek(tmp_path, trials=2)
    assert few.trials.drop(UNTIMED).equals(expected.trials.head(2).drop(UNTIMED))
    told: list[str] = []
    again = seek(tmp_path, trials=2, progress=told.append)
    assert again.trials.equals(few.trials)
    assert not any(" of 2" in each and "trial " in each for each in told)
    assert seek(tmp_path, trials=3).trials.drop(UNTIMED).equals(expected.trials.head(3).drop(UNTIMED))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"task": churn(15)}, "task"),
        ({"log": shop(50, 160, seed=1)}, "log"),
        ({"seed": 1}, "seed"),
        ({"methods": ["full"], "settings": Finetuning()}, "methods and settings"),
        ({"split": TimeSplit(every=10)}, "split"),
    ],
)
def test_the_search_of_something_else_is_left_alone(
    other: dict[str, Any], named: str, whole: tuple[Found, Path], seek: Seek
) -> None:
    before = {path: path.read_bytes() for path in whole[1].glob("trials/*/*.checkpoint")}
    with pytest.raises(ConfigError, match=f"another search: .* differ in {named}.*Give another folder"):
        seek(whole[1], **other)
    assert before == {path: path.read_bytes() for path in whole[1].glob("trials/*/*.checkpoint")}


def test_the_search_with_another_backbone_is_left_alone(whole: tuple[Found, Path], seek: Seek, log: EventLog) -> None:
    with pytest.raises(ConfigError, match="differ in backbone"):
        seek(whole[1], base=backbone(log, seed=1))


def test_two_searches_do_not_share_a_folder_at_a_time(whole: tuple[Found, Path], seek: Seek) -> None:
    with artifact.locked(whole[1], used=ConfigError("")), pytest.raises(ConfigError, match="another search is at work"):
        seek(whole[1])


def test_a_damaged_study_says_what_to_do(tmp_path: Path, seek: Seek) -> None:
    (tmp_path / "study.journal").write_text("nonsense\nmore of it\n")
    with pytest.raises(ConfigError, match=r"study\.journal: the study is damaged.*Delete it"):
        seek(tmp_path)


def test_nothing_is_written_for_a_backbone_that_has_seen_too_much(tmp_path: Path, seek: Seek, log: EventLog) -> None:
    base = backbone(log)
    late = Backbone(log.span.until, base.architecture, base.encoding, base.network)
    with pytest.raises(ModelError, match="has seen what choices would be made by"):
        seek(tmp_path / "search", base=late)
    with pytest.raises(ConfigError, match="Give 1 or more"):
        seek(tmp_path / "search", trials=0)
    assert not (tmp_path / "search").exists()


def test_a_trial_that_fails_is_not_the_end(monkeypatch: pytest.MonkeyPatch, seek: Seek, tmp_path: Path) -> None:
    judge = Course.judge
    errors: dict[str, Exception] = {
        "full": FitError("training went astray", remedy="Lower learning_rate."),
        "lora": torch.OutOfMemoryError("out of memory"),
    }

    def failing(course: Course, watch: Any) -> list[Scored]:
        if error := errors.get(course.method):
            raise error
        return judge(course, watch)

    monkeypatch.setattr(Course, "judge", failing)
    found = seek(tmp_path, trials=3)
    assert found.trials["state"].to_list() == ["failed", "failed", "completed"]
    assert found.trials["reason"].to_list() == ["training went astray. Lower learning_rate.", "out of memory", None]
    assert found.trials["loss"].is_null().to_list() == [True, True, False]
    assert found.predictor.name == "frozen"
    with pytest.raises(FitError, match=r"all 2 trials failed, the last one so: out of memory.*other settings"):
        seek(trials=2)


def test_a_loss_that_explodes_is_a_reason_in_the_table(seek: Seek) -> None:
    how = Optimisation(optimiser="sgd", momentum=0.99, max_norm=1e9, learning_rate=1e6, epochs=2, tracker="none")
    with pytest.raises(FitError, match=r"all 1 trials failed.*went astray"):
        seek(trials=1, methods=["full"], settings=Finetuning(how))


def as_sure(wrong: float) -> list[Scored]:
    """Two rows about which a model is so sure, and wrong where that is above zero."""
    return [Scored(pl.DataFrame(), np.array([wrong, -wrong]), np.array([0.0, 1.0]))]


def test_a_trial_worse_than_half_of_the_others_is_ended(monkeypatch: pytest.MonkeyPatch, seek: Seek) -> None:
    judged: list[int] = []

    def judge(course: Course, watch: Callable[[int, list[Scored]], None]) -> list[Scored]:
        judged.append(0)
        scored = as_sure(3.0 if len(judged) > 5 else -0.1 * len(judged))
        for epoch in (1, 2, 3):
            judged[-1] = epoch
            watch(epoch, scored)
        return scored

    monkeypatch.setattr(Course, "judge", judge)
    found = seek(trials=7)
    assert judged == [3, 3, 3, 3, 3, 2, 2]
    assert found.trials["state"].to_list() == ["completed"] * 5 + ["pruned"] * 2
    assert found.trials["epochs"].to_list() == judged
    best = found.trials.row(4, named=True)
    assert best["loss"] == found.trials["loss"].min() == found.predictor.facts["search"]["loss"]
    assert found.predictor.name == best["method"]


@pytest.mark.parametrize("at", [None, 2])
def test_epochs_before_an_interruption_count_for_those_who_come_later(
    at: int | None, monkeypatch: pytest.MonkeyPatch, seek: Seek, tmp_path: Path
) -> None:
    """Half of five trials are better than the sixth after two epochs; of the first four they are not."""
    sure, begun, first = [-2.0, -2.0, 2.0, 2.0, -2.0, 0.0], [0], [1]

    def judge(course: Course, watch: Callable[[int, list[Scored]], None]) -> list[Scored]:
        place = begun[0]
        for epoch in range(first.pop() if first else 1, 4):
            watch(epoch, as_sure(sure[place]))
            if place == 4 and epoch == at and not first:
                first.append(3)  # where a checkpoint would go on
                raise Stopped
        begun[0] += 1
        return as_sure(sure[place])

    monkeypatch.setattr(Course, "judge", judge)
    if at:
        with pytest.raises(Stopped):
            seek(tmp_path, trials=6)
    found = seek(tmp_path, trials=6)
    over = found.trials.filter(pl.col("reason").is_null()).select("state", "epochs").rows()
    assert over == [("completed", 3)] * 5 + [("pruned", 2)]


@pytest.mark.parametrize("net", [False, True])
def test_amounts_have_one_loss_too(net: bool, seek: Seek, log: EventLog) -> None:
    task = value([10, 20], net=net)
    found = seek(task=task, trials=1, methods=["frozen"])
    settings = Finetuning(QUICK.optimisation)
    held = prepare(backbone(log), (task,), log, method="frozen", settings=settings, split=SPLIT).judge(lambda *_: None)
    power = 0 if net else 1.5
    losses = [metrics.mean_tweedie_deviance(each.truth, each.raw, power=power) for each in held]
    assert len(losses) == 2
    assert found.trials["loss"].to_list() == pytest.approx([np.mean(losses)], rel=1e-5)
    assert found.trials["head"].to_list() == ["auto"]
