"""BG/NBD: published figures, exact values, simulation; and what all fits by maximum likelihood have in common."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.histories import cdnow_histories, history, positive
from valuecast.errors import FitError, ModelError
from valuecast.models.baselines import bgnbd
from valuecast.models.baselines.bgnbd import Parameters
from valuecast.models.baselines.likelihood import UndeterminedError, aggregate, maximise

PUBLISHED = Parameters(r=0.243, alpha=4.414, a=0.793, b=2.426)

# (r, alpha, a, b), (x, t_x, T, horizon), (log-likelihood, P(alive), P(no purchase), E[purchases]): by the published
# formulas, with the hypergeometric function, in mpmath 1.4.1 at 60 digits, rounded to 10; at a = 1, where they divide
# 0 by 0, with a = 1 + 1e-25.
EXACT = [
    ((0.243, 4.414, 0.793, 2.426), (0, 0, 38.86, 39), (-0.5547132764, 1.0, 0.8554494592, 0.195098052)),
    ((0.243, 4.414, 0.793, 2.426), (1, 1.71, 38.86, 39), (-4.469093275, 0.2121009854, 0.8833326506, 0.2031869871)),
    ((0.243, 4.414, 0.793, 2.426), (2, 30.43, 38.86, 39), (-9.458606307, 0.7265785701, 0.4453728621, 1.226028175)),
    ((0.243, 4.414, 0.793, 2.426), (400, 51.9, 52, 52), (376.859424, 0.9959976018, 0.004002398227, 279.1301075)),
    ((0.243, 4.414, 0.793, 2.426), (400, 20, 52, 52), (705.8562321, 1.308458559e-143, 1.0, 3.666978491e-141)),
    ((0.05, 0.02, 0.01, 0.3), (0, 0, 0.5, 500), (-0.1629048269, 1.0, 0.7092985881, 44.0385041)),
    ((0.05, 0.02, 0.01, 0.3), (26, 30.86, 31.0, 52), (-34.53754367, 0.9995555103, 0.0004444896736, 43.39547801)),
    ((5, 300, 8, 0.1), (2, 30.43, 38.86, 39), (-13.09683947, 0.1033562558, 0.9448565573, 0.05974244521)),
    ((2, 5, 1, 5), (0, 0, 0.5, 500), (-0.1906203596, 1.0, 0.0001183812875, 17.33963335)),
    ((2, 5, 1, 5), (1, 0.01, 2000, 1000), (-2.714044131, 7.800815695e-08, 0.9999999452, 1.028677016e-07)),
    ((0.5, 2, 0.3, 0.5), (0, 0, 38.86, 39), (-1.508502204, 1.0, 0.7152939112, 0.3935000547)),
    ((0.25, 4, 60, 90), (400, 51.9, 52, 52), (295.3602803, 0.7994157628, 0.2005842372, 7.43863142)),
    ((0.25, 4, 60, 90), (1000, 900, 1000, 365), (-1040.298344, 4.810641297e-45, 1.0, 9.36851923e-44)),
]  # fmt: skip

parameters = st.builds(Parameters, r=positive, alpha=positive, a=positive, b=positive)


def simulate(parameters, age, *, horizon=0.0, seed=0):
    """Repeat purchases and time of the last one by ``age``, and purchases in the ``horizon`` after it."""
    rng = np.random.default_rng(seed)
    r, alpha, a, b = parameters.values
    rate, leaves = rng.gamma(r, 1 / alpha, age.size), rng.beta(a, b, age.size)
    frequency, recency, later, clock = (np.zeros(age.size) for _ in range(4))
    alive = np.ones(age.size, dtype=bool)
    while alive.any():
        clock += rng.exponential(1, age.size) / np.maximum(rate, 1e-300)
        seen, coming = alive & (clock <= age), alive & (clock > age) & (clock <= age + horizon)
        frequency += seen
        recency[seen] = clock[seen]
        later += coming
        alive = (seen | coming) & (rng.random(age.size) >= leaves)
    return frequency, recency, later


def test_fits_the_published_sample():
    # Fader, Hardie and Lee (2005), table 2
    fitted = bgnbd.fit(*cdnow_histories())
    assert fitted.values == pytest.approx([0.243, 4.414, 0.793, 2.426], abs=6e-4)
    assert fitted.log_likelihood == pytest.approx(-9582.4, abs=0.05)


@pytest.mark.parametrize(("values", "known", "expected"), EXACT)
def test_agrees_with_the_published_formulas_to_many_digits(values, known, expected):
    model, (x, t_x, age, horizon) = Parameters(*values), known
    found = (
        bgnbd.log_likelihood(model, x, t_x, age),
        bgnbd.probability_alive(model, x, t_x, age),
        bgnbd.probability_no_purchase(model, horizon, x, t_x, age),
        bgnbd.expected_purchases(model, horizon, x, t_x, age),
    )
    assert np.concatenate(found) == pytest.approx(expected, rel=1e-9, abs=0)


@given(parameters, history(), st.floats(0, 500))
@settings(deadline=None, max_examples=150)
def test_predictions_are_finite_and_in_range(model, known, horizon):
    assert np.isfinite(bgnbd.log_likelihood(model, *known)).all()
    alive = bgnbd.probability_alive(model, *known)
    nothing = bgnbd.probability_no_purchase(model, horizon, *known)
    assert 0 <= alive <= 1
    assert 1 - alive <= nothing + 1e-12  # who has left buys nothing
    assert nothing <= 1
    # at least one purchase is expected at least as often as one is made
    assert bgnbd.expected_purchases(model, horizon, *known) >= (1 - nothing) * (1 - 1e-7) - 1e-12


@given(parameters, history(), st.floats(0, 500), st.floats(0, 500))
@settings(deadline=None, max_examples=100)
def test_a_longer_horizon_never_brings_fewer_purchases(model, known, first, second):
    short, long = sorted((first, second))
    nothing = [bgnbd.probability_no_purchase(model, horizon, *known)[0] for horizon in (0, short, long)]
    count = [bgnbd.expected_purchases(model, horizon, *known)[0] for horizon in (0, short, long)]
    assert nothing[0] == 1
    assert nothing[1] >= nothing[2] - 1e-11
    assert count[0] == 0
    assert count[1] <= count[2] * (1 + 1e-7)


@given(parameters, history())
@settings(deadline=None, max_examples=60)
def test_gradient_is_that_of_the_log_likelihood(model, known):
    columns = [np.array([value], dtype=float) for value in known]
    gradient = bgnbd._likelihood(model.values, *columns)[1][:, 0] * model.values
    steps = 1e-5 * np.diag(model.values)
    higher, lower = (
        [bgnbd._likelihood(model.values + sign * step, *columns)[0][0] for step in steps] for sign in (1, -1)
    )
    assert gradient == pytest.approx((np.array(higher) - lower) / 2e-5, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("known", [(0, 0.0, 10.0), (1, 4.0, 30.0), (3, 25.0, 30.0)])
def test_predictions_are_means_over_the_posterior(known):
    x, t_x, age = known
    horizon, rng = 20.0, np.random.default_rng(3)
    r, alpha, a, b = PUBLISHED.values
    rate, leaves = rng.gamma(r, 1 / alpha, 400_000), rng.beta(a, b, 400_000)
    alive = (1 - leaves) ** x * rate**x * np.exp(-rate * age)  # likelihood of the history of one such customer
    gone = leaves * (1 - leaves) ** (x - 1) * rate**x * np.exp(-rate * t_x) if x else 0 * alive
    evidence = (alive + gone).mean()
    nothing = (alive * np.exp(-rate * horizon) + gone).mean() / evidence
    count = (alive * -np.expm1(-rate * leaves * horizon) / np.maximum(leaves, 1e-300)).mean() / evidence
    assert np.log(evidence) == pytest.approx(bgnbd.log_likelihood(PUBLISHED, *known)[0], abs=0.01)
    assert bgnbd.probability_no_purchase(PUBLISHED, horizon, *known)[0] == pytest.approx(nothing, abs=0.005)
    assert bgnbd.expected_purchases(PUBLISHED, horizon, *known)[0] == pytest.approx(count, rel=0.02)


def test_predictions_hold_on_simulated_customers():
    model, horizon = Parameters(0.6, 5.0, 0.8, 2.4), 15.0
    age = np.random.default_rng(1).uniform(5, 40, 40_000)
    frequency, recency, later = simulate(model, age, horizon=horizon, seed=2)
    nothing = bgnbd.probability_no_purchase(model, horizon, frequency, recency, age)
    count = bgnbd.expected_purchases(model, horizon, frequency, recency, age)
    for group in (frequency == 0, frequency == 1, (frequency > 1) & (frequency < 6), frequency > 5):
        size = group.sum()
        silent = (later[group] == 0).mean()
        assert silent == pytest.approx(nothing[group].mean(), abs=4 * (0.25 / size) ** 0.5)
        assert later[group].mean() == pytest.approx(count[group].mean(), abs=4 * later[group].std() / size**0.5)


def test_churn_is_more_than_not_being_alive():
    # a customer without a repeat purchase is alive for certain in this model, and yet mostly buys nothing
    assert bgnbd.probability_alive(PUBLISHED, 0, 0, 38.86) == 1
    assert bgnbd.probability_no_purchase(PUBLISHED, 39, 0, 0, 38.86) > 0.85


def test_recovers_the_parameters_of_simulated_customers():
    true = Parameters(0.5, 6.0, 0.9, 2.5)
    age = np.random.default_rng(4).uniform(20, 60, 4_000)
    frequency, recency, _ = simulate(true, age, seed=5)
    fitted = bgnbd.fit(frequency, recency, age)
    errors = np.array([fitted.standard_errors[name] for name in Parameters.names()])
    assert (np.abs(fitted.values - true.values) < 3 * errors).all()
    # under the model the information is also the variance of the customers' gradients
    _, gradient = bgnbd._likelihood(fitted.values, frequency, recency, age)
    assert errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(gradient @ gradient.T))), rel=0.15)


@pytest.fixture(scope="module")
def customers():
    age = np.round(np.random.default_rng(6).uniform(20, 60, 600))
    frequency, recency, _ = simulate(Parameters(0.5, 6.0, 0.9, 2.5), age, seed=7)
    return frequency, np.round(recency), age


def test_days_and_weeks_give_the_same_customers(customers):
    frequency, recency, age = customers
    weeks, days = bgnbd.fit(frequency, recency, age), bgnbd.fit(frequency, 7 * recency, 7 * age)
    assert days.values == pytest.approx(weeks.values * [1, 7, 1, 1], rel=1e-6)
    assert days.standard_errors["alpha"] == pytest.approx(7 * weeks.standard_errors["alpha"], rel=1e-5)
    assert days.log_likelihood == pytest.approx(weeks.log_likelihood - frequency.sum() * np.log(7))
    in_weeks = bgnbd.probability_no_purchase(weeks, 13, frequency, recency, age)
    assert bgnbd.probability_no_purchase(days, 91, frequency, 7 * recency, 7 * age) == pytest.approx(in_weeks, rel=1e-6)


def test_the_log_likelihood_of_a_fit_is_the_sum_over_its_customers(customers):
    fitted = bgnbd.fit(*customers)
    assert fitted.log_likelihood == pytest.approx(bgnbd.log_likelihood(fitted, *customers).sum(), rel=1e-10)


def test_equal_rows_may_be_given_once_with_a_weight(customers):
    rows = aggregate(customers, np.ones(customers[0].size))
    assert rows.weight.size < customers[0].size
    assert all((column[rows.origin] == given).all() for column, given in zip(rows.columns, customers, strict=True))
    once = bgnbd.fit(*rows.columns, weight=rows.weight)
    assert once.values == pytest.approx(bgnbd.fit(*customers).values, rel=1e-9)


def test_rows_of_weight_0_do_not_count(customers):
    half = np.arange(customers[0].size) % 2
    kept = [column[half == 1] for column in customers]
    assert bgnbd.fit(*customers, weight=half).values == pytest.approx(bgnbd.fit(*kept).values, rel=1e-9)


def test_the_starting_points_do_not_matter(customers):
    assert bgnbd.fit(*customers, seed=1).values == pytest.approx(bgnbd.fit(*customers, seed=2).values, rel=1e-5)


def test_predictions_keep_the_order_of_the_rows_and_repeat_scalars():
    frequency, recency = np.array([3, 0, 3, 1]), np.array([25.0, 0, 25, 4])
    together = bgnbd.expected_purchases(PUBLISHED, 10, frequency, recency, 30)
    apart = [bgnbd.expected_purchases(PUBLISHED, 10, x, t_x, 30)[0] for x, t_x in zip(frequency, recency, strict=True)]
    assert together == pytest.approx(apart, rel=1e-12)
    assert together[0] == together[2]
    assert bgnbd.expected_purchases(PUBLISHED, 10, [], [], []).shape == (0,)


@pytest.mark.parametrize(
    ("known", "what"),
    [
        (([0, 0, 0, 0], [0, 0, 0, 0], [5, 6, 7, 8]), "no repeat purchases"),
        (([2], [3.0], [9.0]), "all customers have the same history"),
        (([2] * 50, [3.0] * 50, [9.0] * 50), "all customers have the same history"),
        (([0, 1, 2], [0.0, 1, 2], [9.0, 9, 9]), "only 3 different histories"),
        (([0, 1, 2, 3, 4, 5], [0.0, 8, 9, 9, 9, 9], [9.0, 9, 9, 9, 9, 9]), "the likelihood has no maximum"),
        (([1, 0.5], [3.0, 0], [9.0, 9]), "row 2: frequency is not a count"),
        (([1, -1], [3.0, 0], [9.0, 9]), "row 2: frequency is not a count"),
        (([1, 1], [3.0, 10], [9.0, 9]), "row 2: recency is not between 0 and age"),
        (([1, 0], [3.0, 1], [9.0, 9]), "row 2: recency is above 0 without a repeat purchase"),
        (([1, 1], [3.0, 1], [9.0, np.nan]), "row 2: frequency, recency and age are not all finite"),
        (([1, 1], [3.0, 1], [9.0, 9, 9]), "shapes"),
        (([[1, 1]], [[3.0, 1]], [[9.0, 9]]), "shapes"),
        (([], [], []), "no repeat purchases"),
    ],
)
def test_data_that_determine_nothing_are_an_error_with_advice(known, what):
    with pytest.raises(FitError, match=what) as caught:
        bgnbd.fit(*known)
    assert caught.value.remedy


def test_customers_who_never_leave_are_an_error(customers):
    frequency, _, age = customers
    with pytest.raises(FitError, match=r"a to zero|determine a"):
        bgnbd.fit(frequency, np.where(frequency > 0, age, 0), age)


@pytest.mark.parametrize(
    ("weight", "what"), [([1, -1], "row 2: weight is negative"), ([0, 0], "nobody"), ([1, 1, 1], "shapes")]
)
def test_weights_that_are_none(weight, what):
    with pytest.raises(FitError, match=what):
        bgnbd.fit([1, 0], [3.0, 0], [9.0, 9], weight=weight)


def test_a_flat_likelihood_is_an_error():
    def product_only(parameters, values):  # the data know the product of the two parameters alone
        gap = np.log(parameters[0] * parameters[1]) - values
        return -(gap**2), -2 * gap * (1 / parameters)[:, None]

    rows = aggregate([np.array([0.1, 0.2, 0.4])], np.ones(3))
    with pytest.raises(FitError, match="flat"):
        maximise(product_only, rows, [np.zeros(2)], names=("u", "v"), model="test", advice="None.")


@pytest.mark.parametrize(("weight", "known"), [(1.0, False), (100.0, True)])
def test_a_parameter_of_any_size_is_an_error(weight, known):
    def weak(parameters, values):  # a standard error of log(u) of 5 for one customer, of 0.5 for 100
        gap = np.log(parameters[0]) - values
        return -(gap**2) / 50, (-2 * gap / 50 / parameters[0])[None]

    rows = aggregate([np.array([0.5])], np.array([weight]))
    ask = {"names": ("u",), "model": "test", "advice": "None."}
    if known:
        assert maximise(weak, rows, [np.zeros(1)], **ask).log_errors == pytest.approx([0.5], rel=1e-4)
    else:
        with pytest.raises(FitError, match="do not determine u"):
            maximise(weak, rows, [np.zeros(1)], **ask)


def test_a_search_that_stops_short_is_an_error():
    def wrong_slope(parameters, values):
        gap = np.log(parameters) - values
        return -(gap**2).sum(axis=0, keepdims=True), -2 * gap[:, None] + 1

    rows = aggregate([np.array([0.5])], np.array([1000.0]))
    with pytest.raises(FitError, match="did not converge"):
        maximise(wrong_slope, rows, [np.full(1, 0.4)], names=("u",), model="test", advice="None.")


def test_a_maximum_below_what_is_reached_elsewhere_is_an_error():
    def parabola(parameters, values):  # its maximum is 0
        gap = np.log(parameters[0]) - values
        return -(gap**2), (-2 * gap / parameters[0])[None]

    rows = aggregate([np.array([0.5])], np.array([100.0]))
    ask = {"names": ("u",), "model": "test", "advice": "None."}
    assert maximise(parabola, rows, [np.zeros(1)], at_least=-0.1, **ask).log_likelihood == pytest.approx(0)
    with pytest.raises(UndeterminedError, match="higher value elsewhere") as caught:
        maximise(parabola, rows, [np.zeros(1)], at_least=0.1, **ask)
    assert caught.value.reached == pytest.approx(0)


def test_impossible_questions_are_errors():
    with pytest.raises(ModelError, match="horizon is -1"):
        bgnbd.expected_purchases(PUBLISHED, -1, 1, 3, 9)
    with pytest.raises(ModelError, match="horizon is inf"):
        bgnbd.probability_no_purchase(PUBLISHED, np.inf, 1, 3, 9)
    with pytest.raises(ModelError, match="recency is not between"):
        bgnbd.probability_alive(PUBLISHED, 1, 10, 9)


def test_parameters_go_through_json(customers):
    fitted = bgnbd.fit(*customers)
    assert Parameters.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    "facts",
    [
        {"r": 1, "alpha": 1, "a": 1},
        {"r": 1, "alpha": 1, "a": 1, "b": 1, "c": 1},
        {"r": 1, "alpha": 1, "a": 1, "b": -1},
        {"r": 1, "alpha": 1, "a": 1, "b": float("nan")},
    ],
)
def test_damaged_parameters_are_an_error(facts):
    with pytest.raises(ModelError, match=r"parameter"):
        Parameters.from_dict(facts)
