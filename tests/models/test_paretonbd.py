"""Pareto/NBD: published figures, exact values, simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.histories import cdnow_histories, history, positive
from valuecast.errors import FitError, ModelError
from valuecast.models.baselines import paretonbd
from valuecast.models.baselines.paretonbd import OneRate, Parameters

PUBLISHED = Parameters(r=0.553, alpha=10.58, s=0.606, beta=11.67)
ONE_RATE = OneRate(r=0.8, alpha=8.0, leaving_rate=0.03)

# (r, alpha, s, beta), (x, t_x, T, horizon), (log-likelihood, P(alive), P(no purchase), E[purchases]): by the published
# formulas, with the hypergeometric functions, in mpmath 1.4.1 at 60 digits, rounded to 10; and the same for
# (r, alpha, s/beta) with infinite s and beta, by their limits, with incomplete gamma functions.
EXACT = [
    ((0.553, 10.58, 0.606, 11.67), (0, 0, 38.86, 39), (-0.5210064706, 0.2953109046, 0.9307107933, 0.1070862648)),
    ((0.553, 10.58, 0.606, 11.67), (1, 1.71, 38.86, 39), (-4.450270416, 0.1680288297, 0.9133466308, 0.1711135547)),
    ((0.553, 10.58, 0.606, 11.67), (2, 30.43, 38.86, 39), (-9.554246553, 0.8691714821, 0.4080676854, 1.455075199)),
    ((0.553, 10.58, 0.606, 11.67), (1, 0.01, 2000, 1000), (-4.272619694, 4.780489268e-5, 0.9999799955, 3.248898892e-5)),
    ((0.553, 10.58, 0.606, 11.67), (400, 51.9, 52, 52), (340.7592597, 0.9986663945, 0.002816488642, 273.9393476)),
    ((0.553, 10.58, 0.606, 11.67), (400, 20, 52, 52), (621.4868203, 1.205008123e-122, 1.0, 3.30539949e-120)),
    ((0.05, 0.02, 3, 200), (0, 0, 0.5, 500), (-0.1625669076, 0.9922020035, 0.8024545104, 8.78071048)),
    ((0.05, 0.02, 3, 200), (400, 51.9, 52, 52), (410.103839, 0.9982089759, 0.003336939488, 302.5985975)),
    ((5, 300, 0.01, 0.05), (2, 30.43, 38.86, 39), (-8.922890668, 0.9973248729, 0.4696901303, 0.800385305)),
    ((5, 300, 0.01, 0.05), (400, 20, 52, 52), (-294.2719603, 4.483336819e-14, 1, 2.672031317e-12)),
    ((2, 5, 1, 5), (0, 0, 0.5, 500), (-0.1812702689, 0.9006304413, 0.3995804792, 8.143140101)),
    ((2, 5, 1, 5), (26, 30.86, 31.0, 52), (-34.53208019, 0.9958917991, 0.03844929747, 24.92408499)),
    ((0.55, 50, 1.0000001, 0.5), (1, 1.71, 38.86, 39), (-6.18789562, 0.02789877024, 0.9911912714, 0.01318892914)),
    ((0.55, 50, 1.0000001, 0.5), (1000, 900, 1000, 365), (-963.8938919, 2.767878549e-41, 1.0, 8.207351418e-39)),
    ((0.727, 10.56, 0.00348), (0, 0, 38.86, 39), (-1.046328496, 0.8098791329, 0.7358665868, 0.4344887449)),
    ((0.727, 10.56, 0.00348), (1, 1.71, 38.86, 39), (-5.10217949, 0.687837081, 0.5851289304, 0.8766007404)),
    ((0.727, 10.56, 0.00348), (1, 0.01, 2000, 1000), (-5.850095507, 2.623518662e-6, 0.9999995274, 6.276106405e-7)),
    ((0.727, 10.56, 0.00348), (400, 51.9, 52, 52), (342.7115588, 0.9995124378, 0.001031643261, 304.5375526)),
    ((0.727, 10.56, 0.00348), (400, 20, 52, 52), (621.684852, 6.969897201e-122, 1.0, 2.123630838e-119)),
    ((0.05, 0.02, 0.005), (0, 0, 6000, 500), (-0.4296099721, 7.653968103e-14, 1.0, 1.170944787e-16)),
    ((5, 300, 1e-6), (2, 30.43, 38.86, 39), (-8.859029189, 0.9999907845, 0.4664859567, 0.8056193141)),
    ((2, 5, 1), (26, 30.86, 31.0, 52), (-63.41458054, 0.8628319968, 0.6257932514, 0.6710915531)),
]  # fmt: skip

parameters = st.builds(Parameters, r=positive, alpha=positive, s=positive, beta=positive) | st.builds(
    OneRate, r=positive, alpha=positive, leaving_rate=positive
)


def simulate(parameters, age, *, horizon=0.0, seed=0):
    """Repeat purchases and time of the last one by ``age``, and purchases in the ``horizon`` after it."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(parameters.r, 1 / parameters.alpha, age.size)
    lifetime = rng.exponential(1, age.size)
    if isinstance(parameters, OneRate):
        lifetime /= parameters.leaving_rate
    else:
        lifetime /= np.maximum(rng.gamma(parameters.s, 1 / parameters.beta, age.size), 1e-300)
    seen = np.minimum(lifetime, age)
    frequency = rng.poisson(rate * seen)
    # the last of x uniform times
    recency = np.where(frequency > 0, seen * rng.random(age.size) ** (1 / np.maximum(frequency, 1)), 0)
    return frequency, recency, rng.poisson(rate * np.clip(lifetime - age, 0, horizon))


def test_fits_the_published_sample():
    # Fader, Hardie and Lee (2005), table 2
    fitted = paretonbd.fit(*cdnow_histories())
    assert fitted.values == pytest.approx([0.553, 10.58, 0.606, 11.67], abs=5e-3)
    assert fitted.log_likelihood == pytest.approx(-9595.0, abs=0.05)


@pytest.mark.parametrize(("values", "known", "expected"), EXACT)
def test_agrees_with_the_published_formulas_to_many_digits(values, known, expected):
    model, (x, t_x, age, horizon) = (Parameters if len(values) == 4 else OneRate)(*values), known
    found = (
        paretonbd.log_likelihood(model, x, t_x, age),
        paretonbd.probability_alive(model, x, t_x, age),
        paretonbd.probability_no_purchase(model, horizon, x, t_x, age),
        paretonbd.expected_purchases(model, horizon, x, t_x, age),
    )
    assert np.concatenate(found) == pytest.approx(expected, rel=1e-9, abs=0)


@given(parameters, history(), st.floats(0, 500))
@settings(deadline=None, max_examples=150)
def test_predictions_are_finite_and_in_range(model, known, horizon):
    assert np.isfinite(paretonbd.log_likelihood(model, *known)).all()
    alive = paretonbd.probability_alive(model, *known)
    nothing = paretonbd.probability_no_purchase(model, horizon, *known)
    assert 0 <= alive <= 1
    assert 1 - alive <= nothing + 1e-9  # who has left buys nothing
    assert nothing <= 1
    # at least one purchase is expected at least as often as one is made
    assert paretonbd.expected_purchases(model, horizon, *known) >= (1 - nothing) * (1 - 1e-7) - 1e-9


@given(parameters, history(), st.floats(0, 500), st.floats(0, 500))
@settings(deadline=None, max_examples=100)
def test_a_longer_horizon_never_brings_fewer_purchases(model, known, first, second):
    short, long = sorted((first, second))
    nothing = [paretonbd.probability_no_purchase(model, horizon, *known)[0] for horizon in (0, short, long)]
    count = [paretonbd.expected_purchases(model, horizon, *known)[0] for horizon in (0, short, long)]
    assert nothing[0] == 1
    assert nothing[1] >= nothing[2] - 1e-9
    assert count[0] == 0
    assert count[1] <= count[2] * (1 + 1e-9)


@given(parameters, history())
@settings(deadline=None, max_examples=60)
def test_gradient_is_that_of_the_log_likelihood(model, known):
    columns = [np.array([value], dtype=float) for value in known]
    likelihood = paretonbd._likelihood_at_one_rate if isinstance(model, OneRate) else paretonbd._likelihood
    gradient = likelihood(model.values, *columns)[1][:, 0] * model.values
    steps = 1e-5 * np.diag(model.values)
    higher, lower = ([likelihood(model.values + sign * step, *columns)[0][0] for step in steps] for sign in (1, -1))
    assert gradient == pytest.approx((np.array(higher) - lower) / 2e-5, rel=1e-4, abs=1e-4)


def test_a_purchase_at_the_last_moment_leaves_no_time_to_leave():
    assert paretonbd.probability_alive(PUBLISHED, [3, 400], [20.0, 52.0], [20.0, 52.0]) == pytest.approx([1, 1], abs=0)


@pytest.mark.parametrize("known", [(0, 0.0, 10.0), (1, 4.0, 30.0), (3, 25.0, 30.0)])
def test_predictions_are_means_over_the_posterior(known):
    x, t_x, age = known
    horizon, rng = 20.0, np.random.default_rng(3)
    r, alpha, s, beta = PUBLISHED.values
    rate, leaves = rng.gamma(r, 1 / alpha, 400_000), np.maximum(rng.gamma(s, 1 / beta, 400_000), 1e-300)
    both = rate + leaves  # likelihood of the history of one such customer, alive at T or gone between t_x and T
    alive = rate**x * np.exp(-both * age)
    gone = rate**x * leaves / both * (np.exp(-both * t_x) - np.exp(-both * age))
    evidence = (alive + gone).mean()
    silent = leaves / both + rate / both * np.exp(-both * horizon)
    count = rate / leaves * -np.expm1(-leaves * horizon)
    assert np.log(evidence) == pytest.approx(paretonbd.log_likelihood(PUBLISHED, *known)[0], abs=0.01)
    assert paretonbd.probability_no_purchase(PUBLISHED, horizon, *known)[0] == pytest.approx(
        (alive * silent + gone).mean() / evidence, abs=0.005
    )
    assert paretonbd.expected_purchases(PUBLISHED, horizon, *known)[0] == pytest.approx(
        (alive * count).mean() / evidence, rel=0.02
    )


@pytest.mark.parametrize("model", [Parameters(0.8, 8.0, 0.7, 12.0), ONE_RATE])
def test_predictions_hold_on_simulated_customers(model):
    horizon = 15.0
    age = np.random.default_rng(1).uniform(5, 40, 40_000)
    frequency, recency, later = simulate(model, age, horizon=horizon, seed=2)
    nothing = paretonbd.probability_no_purchase(model, horizon, frequency, recency, age)
    count = paretonbd.expected_purchases(model, horizon, frequency, recency, age)
    for group in (frequency == 0, frequency == 1, (frequency > 1) & (frequency < 6), frequency > 5):
        size = group.sum()
        silent = (later[group] == 0).mean()
        assert silent == pytest.approx(nothing[group].mean(), abs=4 * (0.25 / size) ** 0.5)
        assert later[group].mean() == pytest.approx(count[group].mean(), abs=4 * later[group].std() / size**0.5)


def test_recovers_the_parameters_of_simulated_customers():
    true = Parameters(0.8, 8.0, 0.7, 12.0)
    age = np.random.default_rng(4).uniform(20, 60, 4_000)
    frequency, recency, _ = simulate(true, age, seed=5)
    fitted = paretonbd.fit(frequency, recency, age)
    errors = np.array([fitted.standard_errors[name] for name in Parameters.names()])
    assert (np.abs(fitted.values - true.values) < 3 * errors).all()
    # under the model the information is also the variance of the customers' gradients
    _, gradient = paretonbd._likelihood(fitted.values, frequency.astype(float), recency, age)
    assert errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(gradient @ gradient.T))), rel=0.15)


@pytest.fixture(scope="module")
def customers():
    age = np.round(np.random.default_rng(6).uniform(20, 60, 800))
    frequency, recency, _ = simulate(Parameters(0.8, 8.0, 0.7, 12.0), age, seed=7)
    return frequency, np.round(recency), age


def test_days_and_weeks_give_the_same_customers(customers):
    frequency, recency, age = customers
    weeks, days = paretonbd.fit(frequency, recency, age), paretonbd.fit(frequency, 7 * recency, 7 * age)
    assert days.values == pytest.approx(weeks.values * [1, 7, 1, 7], rel=1e-5)
    assert days.standard_errors["beta"] == pytest.approx(7 * weeks.standard_errors["beta"], rel=1e-4)
    assert days.log_likelihood == pytest.approx(weeks.log_likelihood - frequency.sum() * np.log(7))
    in_weeks = paretonbd.expected_purchases(weeks, 13, frequency, recency, age)
    in_days = paretonbd.expected_purchases(days, 91, frequency, 7 * recency, 7 * age)
    assert in_days == pytest.approx(in_weeks, rel=1e-5)


def test_equal_rows_may_be_given_once_with_a_weight(customers):
    rows, counts = np.unique(np.stack(customers), axis=1, return_counts=True)
    assert counts.size < customers[0].size
    once = paretonbd.fit(*rows, weight=counts)
    all_of_them = paretonbd.fit(*customers)
    assert once.values == pytest.approx(all_of_them.values, rel=1e-7)
    assert once.log_likelihood == pytest.approx(paretonbd.log_likelihood(once, *customers).sum(), rel=1e-10)


@pytest.mark.parametrize(
    ("known", "what"),
    [
        (([0, 0, 0, 0], [0, 0, 0, 0], [5, 6, 7, 8]), "no repeat purchases"),
        (([2], [3.0], [9.0]), "all customers have the same history"),
        (([0, 1, 2, 3, 4, 5], [0.0, 9, 9, 9, 9, 9], [9.0, 9, 9, 9, 9, 9]), "Pareto/NBD: the likelihood has no maximum"),
        (([1, 1], [3.0, 10], [9.0, 9]), "row 2: recency is not between 0 and age"),
    ],
)
def test_data_that_determine_nothing_are_an_error_with_advice(known, what):
    with pytest.raises(FitError) as caught:
        paretonbd.fit(*known)
    assert what in str(caught.value)
    assert caught.value.remedy


def test_customers_who_are_all_alike_are_an_error():
    age = np.random.default_rng(8).uniform(20, 60, 300)
    frequency, recency, _ = simulate(Parameters(1e6, 5e6, 0.7, 12.0), age, seed=9)  # all buy at one rate
    with pytest.raises(FitError, match=r"r to infinity|determine r"):
        paretonbd.fit(frequency, recency, age)


def test_customers_who_never_leave_are_an_error():
    age = np.random.default_rng(8).uniform(20, 60, 500)
    frequency, recency, _ = simulate(OneRate(0.8, 8.0, 1e-9), age, seed=10)
    with pytest.raises(FitError, match="s to zero") as caught:
        paretonbd.fit(frequency, recency, age)
    assert "nobody leaves" in str(caught.value.remedy)


def test_impossible_questions_are_errors():
    with pytest.raises(ModelError, match="horizon is -1"):
        paretonbd.expected_purchases(PUBLISHED, -1, 1, 3, 9)
    with pytest.raises(ModelError, match="recency is not between"):
        paretonbd.probability_alive(PUBLISHED, 1, 10, 9)


def test_parameters_go_through_json(customers):
    fitted = paretonbd.fit(*customers)
    assert paretonbd.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False))) == fitted


@pytest.mark.parametrize("facts", [{"r": 1, "alpha": 1, "s": 1}, {"r": 1, "leaving_rate": 1}])
def test_damaged_parameters_are_an_error(facts):
    with pytest.raises(ModelError, match="these are not the parameters"):
        paretonbd.from_dict(facts)


@pytest.fixture(scope="module")
def leaving_alike():
    age = np.random.default_rng(0).uniform(20, 60, 2_000)
    frequency, recency, _ = simulate(ONE_RATE, age, seed=3)
    return frequency, recency, age


@pytest.fixture(scope="module")
def at_one_rate(leaving_alike):
    return paretonbd.fit(*leaving_alike)


def test_one_rate_goes_through_json(at_one_rate):
    text = json.dumps(at_one_rate.to_dict(), allow_nan=False)
    assert paretonbd.from_dict(json.loads(text)) == at_one_rate


def test_customers_who_leave_at_one_rate_are_fitted_as_such(leaving_alike, at_one_rate):
    fitted = at_one_rate
    assert isinstance(fitted, OneRate)
    errors = np.array([fitted.standard_errors[name] for name in OneRate.names()])
    assert (np.abs(fitted.values - ONE_RATE.values) < 3 * errors).all()
    frequency, recency, age = leaving_alike
    _, gradient = paretonbd._likelihood_at_one_rate(fitted.values, frequency.astype(float), recency, age)
    assert errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(gradient @ gradient.T))), rel=0.15)
    assert fitted.log_likelihood == pytest.approx(paretonbd.log_likelihood(fitted, *leaving_alike).sum(), rel=1e-10)
    assert "all customers leave at one rate" in str(fitted)


def test_leaving_at_one_rate_is_more_likely_than_any_finite_s(leaving_alike, at_one_rate):
    for s in (1, 10, 100, 1000):
        near = Parameters(at_one_rate.r, at_one_rate.alpha, s, s / at_one_rate.leaving_rate)
        assert paretonbd.log_likelihood(near, *leaving_alike).sum() < at_one_rate.log_likelihood


def test_a_finite_s_that_nothing_tells_from_infinity_is_infinite():
    age = np.random.default_rng(0).uniform(20, 60, 2_000)
    frequency, recency, _ = simulate(ONE_RATE, age, seed=5)
    fitted = paretonbd.fit(frequency, recency, age)
    inside = Parameters(0.7945944, 8.2164601, 96.66864, 3263.792)  # the maximum over finite s and beta
    higher = paretonbd.log_likelihood(inside, frequency, recency, age).sum() - fitted.log_likelihood
    assert isinstance(fitted, OneRate)
    assert 0 < higher < 0.1


def test_leaving_at_one_rate_is_the_limit_of_large_s(leaving_alike):
    near = Parameters(ONE_RATE.r, ONE_RATE.alpha, 1e6, 1e6 / ONE_RATE.leaving_rate)
    for ask in (paretonbd.log_likelihood, paretonbd.probability_alive):
        assert ask(ONE_RATE, *leaving_alike) == pytest.approx(ask(near, *leaving_alike), rel=5e-6)
    for ask in (paretonbd.probability_no_purchase, paretonbd.expected_purchases):
        assert ask(ONE_RATE, 13, *leaving_alike) == pytest.approx(ask(near, 13, *leaving_alike), rel=5e-6)


def test_one_rate_in_days_and_in_weeks_is_the_same(leaving_alike, at_one_rate):
    frequency, recency, age = leaving_alike
    weeks, days = at_one_rate, paretonbd.fit(frequency, 7 * recency, 7 * age)
    assert days.values == pytest.approx(weeks.values * [1, 7, 1 / 7], rel=1e-5)
    assert days.standard_errors["leaving_rate"] == pytest.approx(weeks.standard_errors["leaving_rate"] / 7, rel=1e-4)
    assert days.log_likelihood == pytest.approx(weeks.log_likelihood - frequency.sum() * np.log(7))
    in_weeks = paretonbd.expected_purchases(weeks, 13, frequency, recency, age)
    in_days = paretonbd.expected_purchases(days, 91, frequency, 7 * recency, 7 * age)
    assert in_days == pytest.approx(in_weeks, rel=1e-5)
