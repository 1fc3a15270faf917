"""Gamma-Gamma: published figures, simulation, and data that imply no mean."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.histories import cdnow_values, positive
from valuecast.errors import FitError, ModelError
from valuecast.models.baselines import gammagamma
from valuecast.models.baselines.gammagamma import Parameters

PUBLISHED = Parameters(p=6.25, q=3.74, gamma=15.44)

parameters = st.builds(Parameters, p=positive, q=positive.map(lambda above: 1 + above), gamma=positive)


def simulate(parameters, frequency, *, seed=0):
    """Mean values of ``frequency`` purchases, and the value of the next one."""
    rng = np.random.default_rng(seed)
    p, q, gamma = parameters.values
    rate = rng.gamma(q, 1 / gamma, frequency.size)
    seen = rng.gamma(p * np.maximum(frequency, 1)) / rate / np.maximum(frequency, 1)
    return np.where(frequency > 0, seen, 0), rng.gamma(p, size=frequency.size) / rate


def counts(size, seed=0):
    return 1 + np.random.default_rng(seed).poisson(2, size)


def test_fits_the_published_sample():
    # Fader and Hardie (2013), "The Gamma-Gamma Model of Monetary Value"
    frequency, value = cdnow_values()
    assert frequency.size == 946
    fitted = gammagamma.fit(frequency, value)
    assert fitted.values == pytest.approx([6.25, 3.74, 15.44], abs=0.01)


def test_likelihood_is_a_density():
    # of the mean of two purchases; integrated over a wide logarithmic grid
    value = np.exp(np.linspace(-12, 14, 20_001))
    density = np.exp(gammagamma._likelihood(PUBLISHED.values, np.full(value.size, 2.0), value)[0])
    assert np.trapezoid(density, value) == pytest.approx(1, abs=1e-6)
    mean = PUBLISHED.p * PUBLISHED.gamma / (PUBLISHED.q - 1)
    assert np.trapezoid(density * value, value) == pytest.approx(mean, rel=1e-4)


@given(parameters, st.sampled_from([1, 2, 7, 50, 400]), st.floats(1e-3, 1e5))
@settings(deadline=None, max_examples=100)
def test_likelihood_is_finite_and_its_gradient_its_own(model, frequency, value):
    known = np.array([float(frequency)]), np.array([value])
    likelihood, gradient = gammagamma._likelihood(model.values, *known)
    assert np.isfinite(likelihood).all()
    steps = 1e-5 * np.diag(model.values)
    higher, lower = (
        [gammagamma._likelihood(model.values + sign * step, *known)[0][0] for step in steps] for sign in (1, -1)
    )
    slope = (np.array(higher) - lower) / 2e-5
    assert gradient[:, 0] * model.values == pytest.approx(slope, rel=1e-4, abs=1e-3)


@given(parameters, st.sampled_from([0, 1, 2, 7, 50, 400]), st.floats(1e-3, 1e5))
@settings(deadline=None, max_examples=100)
def test_expected_value_lies_between_the_customer_and_the_population(model, frequency, value):
    population = gammagamma.expected_value(model, 0, 0)[0]
    assert population == pytest.approx(model.p * model.gamma / (model.q - 1))
    expected = gammagamma.expected_value(model, frequency, value if frequency else 0)[0]
    assert min(population, value) * (1 - 1e-9) <= expected <= max(population, value) * (1 + 1e-9)


def test_expected_value_nears_the_customers_own_mean_with_every_purchase():
    expected = gammagamma.expected_value(PUBLISHED, [0, 1, 5, 400], [0, 100, 100, 100])
    assert (np.diff(expected) > 0).all()
    assert expected[-1] == pytest.approx(100, rel=0.01)


def test_expected_value_holds_on_simulated_customers():
    frequency = np.repeat([0, 1, 3, 10], 20_000)
    value, following = simulate(PUBLISHED, frequency, seed=1)
    expected = gammagamma.expected_value(PUBLISHED, frequency, value)
    for rich in (False, True):
        for x in (0, 1, 3, 10):
            group = (frequency == x) & ((value > 35) == rich)
            if group.any():
                tolerance = 4 * following[group].std() / group.sum() ** 0.5
                assert following[group].mean() == pytest.approx(expected[group].mean(), abs=tolerance)


def test_recovers_the_parameters_of_simulated_customers():
    frequency = counts(4_000)
    value, _ = simulate(PUBLISHED, frequency, seed=2)
    fitted = gammagamma.fit(frequency, value)
    errors = np.array([fitted.standard_errors[name] for name in Parameters.names()])
    assert (np.abs(fitted.values - PUBLISHED.values) < 3 * errors).all()
    # under the model the information is also the variance of the customers' gradients
    _, gradient = gammagamma._likelihood(fitted.values, frequency.astype(float), value)
    assert errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(gradient @ gradient.T))), rel=0.15)


def test_the_currency_does_not_matter():
    frequency = counts(500)
    value, _ = simulate(PUBLISHED, frequency, seed=3)
    dollars, cents = gammagamma.fit(frequency, value), gammagamma.fit(frequency, 100 * value)
    assert cents.values == pytest.approx(dollars.values * [1, 1, 100], rel=1e-5)
    assert cents.log_likelihood == pytest.approx(dollars.log_likelihood - 500 * np.log(100))


def test_equal_rows_may_be_given_once_with_a_weight():
    frequency = counts(500)
    value = np.maximum(np.round(simulate(PUBLISHED, frequency, seed=4)[0]), 1)
    rows, weight = np.unique(np.stack([frequency, value]), axis=1, return_counts=True)
    assert weight.size < 500
    once = gammagamma.fit(*rows, weight=weight)
    all_of_them = gammagamma.fit(frequency, value)
    assert once.values == pytest.approx(all_of_them.values, rel=1e-7)
    likelihood = gammagamma._likelihood(once.values, frequency.astype(float), value)[0].sum()
    assert once.log_likelihood == pytest.approx(likelihood, rel=1e-10)


def test_a_population_without_a_mean_is_an_error():
    frequency = counts(2_000)
    rate = np.random.default_rng(5).gamma(0.7, 1, 2_000)  # q = 0.7
    value = np.random.default_rng(6).gamma(3.0 * frequency) / frequency / rate
    with pytest.raises(FitError, match="infinite") as caught:
        gammagamma.fit(frequency, value)
    assert "cap" in str(caught.value.remedy)


def test_customers_who_are_all_alike_are_an_error():
    frequency = counts(300)
    value = np.random.default_rng(7).gamma(6.0 * frequency) / frequency  # all customers spend from one distribution
    with pytest.raises(FitError, match=r"q to infinity|determine q"):
        gammagamma.fit(frequency, value)


@pytest.mark.parametrize(
    ("frequency", "value", "what"),
    [
        ([1, 2, 3], [5.0, 5, 5], "same mean value"),
        ([1, 2, 3], [5.0, 5, 5.0001], "no maximum"),
        ([1, 1, 1], [5.0, 6, 7], "nobody bought twice"),
        ([3], [5.0], "same mean value"),
        ([], [], "nobody bought twice"),
        ([2, 0], [5.0, 0], "row 2: frequency is not a count of at least 1"),
        ([2, 1.5], [5.0, 1], "row 2: frequency is not a count of at least 1"),
        ([2, 1], [5.0, 0], "row 2: mean_value is not above 0"),
        ([2, 1], [5.0, float("nan")], "row 2: frequency and mean_value are not all finite numbers"),
    ],
)
def test_data_that_determine_nothing_are_an_error_with_advice(frequency, value, what):
    with pytest.raises(FitError, match=what) as caught:
        gammagamma.fit(frequency, value)
    assert caught.value.remedy


@pytest.mark.parametrize(("frequency", "value"), [(-1, 5.0), (1.5, 5.0), (1, -5.0), (1, float("nan"))])
def test_impossible_questions_are_errors(frequency, value):
    with pytest.raises(ModelError):
        gammagamma.expected_value(PUBLISHED, frequency, value)


def test_parameters_without_a_mean_are_an_error():
    with pytest.raises(ModelError, match="infinite"):
        Parameters.from_dict({"p": 6, "q": 0.9, "gamma": 15})


def test_parameters_go_through_json():
    frequency = counts(500)
    fitted = gammagamma.fit(frequency, simulate(PUBLISHED, frequency, seed=3)[0])
    assert Parameters.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted
