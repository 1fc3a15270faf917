"""Built-in tasks, tasks from text, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from valuecast import tasks
from valuecast.errors import TaskError
from valuecast.tasks import Task


def test_built_in_tasks_are_questions_in_text() -> None:
    assert str(tasks.churn(90, active=180)) == (
        "churn: count(*) of purchase over next 90 days = 0 when count(*) over last 180 days > 0"
    )
    assert str(tasks.value([30, 90])) == "value: sum(amount) of purchase where amount > 0 over next 30, 90 days"
    assert tasks.value(30, net=True).name == "net_value"
    assert tasks.purchase(7, where="category = 'coffee'").question.aggregate.where is not None
    assert str(tasks.churn([30, 60, 90])) == "churn: count(*) of purchase over next 30, 60, 90 days = 0"
    assert str(tasks.purchase([7, 30])) == "purchase: count(*) of purchase over next 7, 30 days > 0"


@pytest.mark.parametrize("build", [tasks.churn, tasks.purchase, tasks.value])
def test_one_horizon_may_be_given_bare_or_in_a_list(build: Callable[..., Task]) -> None:
    assert build(90, active=180) == build([90], active=180)
    assert list(build([30, 90]).targets.values()) == [30, 90]
    for days in ([], [30, 30], [90, 30], [30, 9.5], ["30"], "30"):
        with pytest.raises(TaskError):
            build(days)


@pytest.mark.parametrize(
    ("task", "waiting"),
    [
        (tasks.churn([30, 90]), "stays_away"),
        (tasks.purchase(7, where="brand = 'x'"), "happens"),
        (Task("count(*) of view over next 3 days >= 1"), "happens"),
        (Task("count(*) of view over next 3 days != 0"), "happens"),
        (Task("count(*) of view over next 3 days < 1"), "stays_away"),
        (Task("count(*) of view over next 3 days <= 0"), "stays_away"),
        (Task("count(*) of view over next 3 days > 1"), None),
        (Task("count(*) of view over next 3 days >= 0"), None),
        (Task("count(*) of view over next 3 days"), None),
        (Task("count(distinct item) of view over next 3 days > 0"), None),
        (Task("sum(amount) of view over next 3 days > 0"), None),
        (tasks.value(30), None),
    ],
)
def test_a_question_about_a_first_event_is_about_a_wait(task: Task, waiting: str | None) -> None:
    assert task.waiting == waiting


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("churn(days=90, active=180)", tasks.churn(90, active=180)),
        ("value(days=[30, 90], net=true)", tasks.value([30, 90], net=True)),
        ("churn(days=[30, 60, 90], active=180)", tasks.churn([30, 60, 90], active=180)),
        ("purchase(days=[7, 30])", tasks.purchase([7, 30])),
        ("purchase(days=7, where=\"brand = 'x'\")", tasks.purchase(7, where="brand = 'x'")),
        (
            "spend: sum(amount) of purchase over next 9 days",
            Task("sum(amount) of purchase over next 9 days", name="spend"),
        ),
        ("count(*) of view over next 9 days", Task("count(*) of view over next 9 days")),
    ],
)
def test_the_same_text_works_everywhere(written: str, made: Task) -> None:
    assert tasks.parse(written) == made
    assert tasks.parse(str(made)).question == made.question


def test_kind_targets_and_windows() -> None:
    churn, value = tasks.churn(90, active=180), tasks.value([30, 90])
    assert (churn.kind, value.kind) == ("binary", "amount")
    assert value.targets == {"value_30d": 30, "value_90d": 90}
    assert (churn.horizon.days, churn.history.days) == (90, 180)
    assert (value.horizon.days, value.history.days) == (90, 90)


def test_every_target_has_a_label_in_both_languages() -> None:
    for task in (
        tasks.churn(90),
        tasks.purchase(7),
        tasks.value(30),
        tasks.value(30, net=True),
        Task("count(*) of a over next 3 days"),
    ):
        for target, days in task.targets.items():
            label = task.label(target)
            assert str(days) in label.en
            assert str(days) in label.zh


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chrun(days=90)", "Did you mean 'churn'?"),
        ("churn(dayz=90)", "Did you mean 'days'?"),
        ("churn()", "wants days"),
        ("churn", "wants days"),
        ("churn(days=9.5)", "9.5 is not a number of days"),
        ("churn(days=0)", "0.0 is not a number of days"),
        ("churn(days=true)", "True is not a number of days"),
        ("churn(days=90, days=30)", "given twice"),
        ("purchase(days=7, where=3)", "'where' is not a text"),
        ('purchase(days=7, where="brand =")', "at character"),
        ("value(days=[90, 30])", "rising"),
        ("churn(days=[30, 30])", "rising"),
        ("purchase(days=[])", "no horizon"),
        ("value(days=90, net=1)", "neither true nor false"),
        ("count(*) of purchase over next 99999 days", "99999 days"),
        ("satisfaction()", "no task 'satisfaction'"),
    ],
)
def test_what_is_refused_says_why(text: str, says: str) -> None:
    with pytest.raises(TaskError, match=r".") as caught:
        tasks.parse(text)
    assert says in str(caught.value)


def test_a_name_must_be_a_name() -> None:
    with pytest.raises(TaskError, match="cannot name a task"):
        Task("count(*) of view over next 3 days", name="../x")
