"""The text form of a task: what parses, what it means, and where an error points."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast.errors import TaskError
from valuecast.tasks import text
from valuecast.tasks.query import (
    Aggregate,
    Among,
    Column,
    Compared,
    Comparison,
    Condition,
    Joined,
    Missing,
    Negated,
    Question,
)

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\x00"), min_size=1, max_size=8
)
words = st.sampled_from(["amount", "brand", "of", "Purchase", "类目", 'a"b', "x y"])
values = st.one_of(
    names, st.booleans(), st.integers(-9, 9).map(float), st.floats(0.001, 1e6, allow_nan=False).map(float)
)
columns = st.builds(Column, st.one_of(words, names), st.one_of(st.none(), st.sampled_from(["items", "users"])))
signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
tests = st.one_of(
    st.builds(Compared, columns, signs, values),
    st.builds(Among, columns, st.lists(values, min_size=1, max_size=3).map(tuple)),
    st.builds(Missing, columns),
)


def joined(word: str, parts: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(parts, min_size=2, max_size=3).map(lambda found: Joined(word, tuple(found)))


predicates = st.recursive(
    tests, lambda inner: st.one_of(st.builds(Negated, inner), joined("and", inner), joined("or", inner)), max_leaves=6
)
events = st.lists(st.one_of(words, names), max_size=2, unique=True).map(tuple)
wheres = st.one_of(st.none(), predicates)
aggregates = st.one_of(
    st.builds(Aggregate, st.just("count"), st.none(), events, wheres),
    st.builds(Aggregate, st.sampled_from(["sum", "distinct"]), columns, events, wheres),
)
comparisons = st.builds(Comparison, signs, st.integers(0, 99).map(float))
conditions = st.builds(Condition, aggregates, st.integers(1, 999), comparisons)
asked = aggregates.filter(lambda aggregate: bool(aggregate.events))
questions = st.builds(
    Question,
    asked,
    st.lists(st.integers(1, 999), min_size=1, max_size=3).map(tuple),
    st.one_of(st.none(), comparisons),
    st.lists(conditions, max_size=2).map(tuple),
)


@settings(deadline=None, max_examples=200)
@given(questions)
def test_canonical_text_parses_back(question: Question) -> None:
    assert text.question(str(question)) == question


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60))
def test_any_text_parses_or_is_a_task_error(anything: str) -> None:
    for parse in (text.question, text.conditions, text.predicate, text.call):
        try:
            parse(anything)
        except TaskError as error:
            assert "at character" in str(error) or "given twice" in str(error)


def test_precedence_is_that_of_sql() -> None:
    a, b, c = (Compared(Column(name), "=", 1.0) for name in "abc")
    assert text.predicate("a = 1 or b = 1 and not c = 1") == Joined("or", (a, Joined("and", (b, Negated(c)))))
    assert text.predicate("(a = 1 or b = 1) and c = 1") == Joined("and", (Joined("or", (a, b)), c))


def test_keywords_ignore_case_and_quotes_make_names() -> None:
    question = text.question('SUM("of") OF "over" WHERE "Brand" IS NOT NULL OVER NEXT 7 DAYS')
    assert question.aggregate == Aggregate("sum", Column("of"), ("over",), Negated(Missing(Column("Brand"))))


@pytest.mark.parametrize(
    ("given", "character", "expected"),
    [
        ("sum(amount) of purchase over next ninety days", 35, "a whole number"),
        ("sum(amount of purchase", 12, "')'"),
        ("median(amount) of purchase over next 3 days", 1, "'sum'"),
        ("count(*) of purchase over next 3", 33, "'days'"),
        ("count(*) of purchase over next 3 days ~ 2", 39, "one of = != < <= > >="),
        ("count(*) of purchase where brand = over next 3 days", 36, "a 'text'"),
    ],
)
def test_an_error_points_at_the_character(given: str, character: int, expected: str) -> None:
    with pytest.raises(TaskError) as caught:
        text.question(given)
    message = str(caught.value)
    assert f"at character {character} " in message
    assert expected in message
    line, pointer = message.splitlines()[-2:]
    assert pointer.index("^") - (len(line) - len(line.lstrip())) == character - 1
