"""Heads equal their formulas, recover what made the data, and stay finite."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from valuecast import tasks
from valuecast.errors import FitError, ModelError
from valuecast.models.heads import Ensemble, Hazard, Head, HeadSpec, build, labels_of, needs_waits, spec_of
from valuecast.tasks import Task

FLOOR = 0.05  # of every standard deviation
EDGES, DAYS = (1, 7, 30, 45, 90), (7, 30, 90)
TARGETS = ("a", "b", "c")
SPECS = {
    "bernoulli": HeadSpec("bernoulli", TARGETS, DAYS, (0.0,) * 3),
    "happens": HeadSpec("hazard", TARGETS, DAYS, (0.0,) * 5, edges=EDGES),
    "stays_away": HeadSpec("hazard", TARGETS, DAYS, (0.0,) * 5, happens=False, edges=EDGES),
    "spend": HeadSpec("spend", TARGETS, DAYS, (0.0,) * 9, scale=(20.0, 5.0, 1.0), limits=(1e4, 1e4, 1e9)),
    "normal": HeadSpec("normal", TARGETS, DAYS, (0.0,) * 6, centre=(5.0, 0.0, -3.0), scale=(20.0, 5.0, 1.0)),
}
HAZARDS = ("happens", "stays_away")
seeds = st.integers(0, 2**32 - 1)


def head_of(name: str, width: int = 4) -> Head:
    return build(SPECS[name], width, dropout=0.0).eval()


def hazard_of(name: str = "happens") -> Hazard:
    found = head_of(name)
    assert isinstance(found, Hazard)
    return found


def params_of(name: str, rows: int, seed: int, spread: float) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    return torch.tensor(draw.normal(0, spread, (rows, len(SPECS[name].start))), dtype=torch.float32)


def waits(days: Any, known: Any) -> pl.DataFrame:
    days, known = np.asarray(days, dtype=np.float64), np.asarray(known, dtype=np.float64)
    return pl.DataFrame({"days": np.minimum(days, known), "seen": days < known, "known": known})


def some_waits(rows: int, seed: int) -> pl.DataFrame:
    """Waits and censoring on edges, between them, just before one, and beyond the last."""
    draw = np.random.default_rng(seed)
    moments = [0.0, 0.5, 1.0, 6.999999999, 7.0, 29.0, 30.0, 44.0, 89.999999999, 90.0, 400.0]
    return waits(draw.choice(moments, rows), draw.choice(moments[1:], rows) + draw.choice([0.0, 0.25], rows))


def some_labels(name: str, rows: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    if name in HAZARDS:
        return some_waits(rows, seed)
    if name == "bernoulli":
        values = draw.integers(0, 2, (rows, 3)).astype(np.float64)
    else:
        values = draw.choice([0.0, 0.0, 0.01, 19.99, 9e5], (rows, 3)).cumsum(axis=1)
        values -= 100.0 if name == "normal" else 0.0
    return pl.DataFrame(values, schema=list(TARGETS))


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def cumulative(x: Any, days: float) -> float:
    """The cumulative hazard, interval by interval."""
    total, start = 0.0, 0.0
    for end, each in zip(EDGES, x, strict=True):
        total += softplus(each) * min(max((days - start) / (end - start), 0.0), 1.0)
        start = float(end)
    return total


def hazard_loss(params: Any, labels: pl.DataFrame) -> float:
    """An event lies between the start of its interval and that interval's end, or the end of what is known."""
    total = 0.0
    for x, (days, seen, known) in zip(params, labels.select("days", "seen", "known").rows(), strict=True):
        start, end = max(e for e in (0, *EDGES) if e <= days), min((e for e in EDGES if e > days), default=None)
        if seen and end is not None:
            likelihood = math.exp(-cumulative(x, start)) - math.exp(-cumulative(x, min(end, known)))
            total -= math.log(likelihood)
        else:
            total += cumulative(x, days)
    return total / len(labels)


def bernoulli_loss(params: Any, labels: pl.DataFrame) -> float:
    p = 1 / (1 + np.exp(-params))
    truth = labels.to_numpy()
    return float(-(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean())


def normal_density(x: float, mean: float, spread: float) -> float:
    return math.exp(-(((x - mean) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))


def spend_loss(params: Any, labels: pl.DataFrame) -> float:
    total, scale = 0.0, SPECS["spend"].scale
    for row, values in zip(params.reshape(-1, 3, 3), labels.rows(), strict=True):
        before = 0.0
        for (odds, mean, width), value, unit in zip(row, values, scale, strict=True):
            increment, before = (value - before) / unit, value
            chance, spread = 1 / (1 + math.exp(-odds)), softplus(width) + FLOOR
            density = normal_density(math.log(increment), mean, spread) / increment if increment else 0.0
            total -= math.log(chance * density if increment else 1 - chance)
    return total / labels.width / len(labels)


def normal_loss(params: Any, labels: pl.DataFrame) -> float:
    total, spec = 0.0, SPECS["normal"]
    for row, values in zip(params.reshape(-1, 3, 2), labels.rows(), strict=True):
        for (mean, width), value, centre, unit in zip(row, values, spec.centre, spec.scale, strict=True):
            spread = softplus(width) + FLOOR
            total += (((value - centre) / unit - mean) / spread) ** 2 / 2 + math.log(spread * math.sqrt(2 * math.pi))
    return total / labels.width / len(labels)


NAIVE = {
    "bernoulli": bernoulli_loss,
    "happens": hazard_loss,
    "stays_away": hazard_loss,
    "spend": spend_loss,
    "normal": normal_loss,
}


@pytest.mark.parametrize("name", SPECS)
@settings(deadline=None, max_examples=15)
@given(seed=seeds, rows=st.integers(1, 6))
def test_the_loss_equals_a_naive_loop(name: str, seed: int, rows: int) -> None:
    params = params_of(name, rows, seed, 1.5)
    if name == "spend":
        params[:, 2::3] += 4.0  # wide enough for amounts of both a cent and a million to have a density in float64
    labels = some_labels(name, rows, seed)
    found = head_of(name).loss(params, torch.tensor(labels_of(SPECS[name], labels)))
    assert float(found) == pytest.approx(NAIVE[name](params.double().numpy(), labels), rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("name", SPECS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), seed=seeds)
def test_losses_gradients_and_scores_are_finite_whatever_a_network_says(
    name: str, data: st.DataObject, seed: int
) -> None:
    size = len(SPECS[name].start)
    extreme = st.floats(-1e6, 1e6, width=32) | st.sampled_from([-1e6, -200.0, -15.0, 0.0, 15.0, 200.0, 1e6])
    params = torch.tensor(data.draw(st.lists(extreme, min_size=2 * size, max_size=2 * size))).reshape(2, size)
    params.requires_grad_()
    head = head_of(name)
    labels = torch.tensor(labels_of(SPECS[name], some_labels(name, 2, seed)))
    for result in (head.loss(params, labels), head.raw(params).sum()):
        (gradient,) = torch.autograd.grad(result, params)
        assert torch.isfinite(result)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", HAZARDS)
@settings(deadline=None, max_examples=30)
@given(seed=seeds, spread=st.sampled_from([0.3, 2.0, 10.0]))
def test_log_odds_are_those_of_survival_at_each_horizon(name: str, seed: int, spread: float) -> None:
    params, head = params_of(name, 3, seed, spread), hazard_of(name)
    odds = head.raw(params).numpy()
    for row, own in zip(params.double().numpy(), odds, strict=True):
        for days, found in zip(DAYS, own, strict=True):
            hazard = cumulative(row, days)
            happens = hazard + math.log(-math.expm1(-hazard))
            expected = happens if name == "happens" else -happens
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    survival = head.survival(params, DAYS)
    stays = odds if name == "stays_away" else -odds
    np.testing.assert_allclose(survival.numpy(), 1 / (1 + np.exp(-stays.astype(np.float64))), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, spread=st.sampled_from([0.3, 3.0, 30.0]))
def test_survival_falls_with_time_from_one(seed: int, spread: float) -> None:
    params, head = params_of("happens", 4, seed, spread), hazard_of()
    days = np.linspace(0, 90, 181)
    found = head.survival(params, days.tolist()).numpy()
    assert (found[:, 0] == 1).all()
    assert (np.diff(found, axis=1) <= 1e-6).all()
    expected = [[math.exp(-cumulative(row, each)) for each in days] for row in params.double().numpy()]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, shift=st.sampled_from([-6.0, -3.0, 0.0, 20.0]), days=st.floats(0, 90))
def test_median_and_mean_wait_are_those_of_the_survival_curve(seed: int, shift: float, days: float) -> None:
    params, head = params_of("happens", 4, seed, 1.0) + shift, hazard_of()
    middle, last = head.median(params), head.survival(params, [90.0])[:, 0]
    for row, half, end in zip(params, middle.tolist(), last.tolist(), strict=True):
        if math.isinf(half):
            assert end >= 0.5 - 1e-6
        else:
            assert float(head.survival(row[None], [half])) == pytest.approx(0.5, abs=1e-3)
    grid = np.linspace(0, days, 20_001)
    curve = [
        np.exp(-np.interp(grid, (0, *EDGES), [cumulative(row, e) for e in (0, *EDGES)])) for row in params.double()
    ]
    expected = [np.trapezoid(each, grid) for each in curve]
    np.testing.assert_allclose(head.restricted_mean(params, days).numpy(), expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(head.restricted_mean(params), head.restricted_mean(params, 90.0))


@pytest.mark.parametrize("days", [-1.0, 90.5, math.nan])
def test_a_horizon_beyond_what_is_known_is_refused(days: float) -> None:
    params, head = params_of("happens", 1, 0, 1.0), hazard_of()
    with pytest.raises(ModelError, match="The head knows waits of 0 to 90 days"):
        head.survival(params, [30.0, days])
    with pytest.raises(ModelError, match="The head knows waits of 0 to 90 days"):
        head.restricted_mean(params, days)


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_spend_never_falls_with_the_horizon_and_is_held_at_the_limits(seed: int) -> None:
    found = head_of("spend").raw(params_of("spend", 5, seed, 30.0)).numpy()
    assert (found >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()
    assert (found <= np.cumsum(SPECS["spend"].limits) * (1 + 1e-5)).all()


def test_expected_spend_is_the_mean_of_draws() -> None:
    params = torch.tensor([[0.4, 0.3, 0.2, -1.0, 0.0, -0.5, 2.0, 1.0, 0.0]])
    draw = np.random.default_rng(0)
    total, expected = np.zeros(400_000), []
    for (odds, mean, spread), unit in zip(params.numpy().reshape(3, 3), SPECS["spend"].scale, strict=True):
        bought = draw.random(len(total)) < 1 / (1 + np.exp(-odds))
        total += bought * unit * draw.lognormal(mean, softplus(spread) + FLOOR, len(total))
        expected.append(total.mean())
    np.testing.assert_allclose(head_of("spend").raw(params)[0].numpy(), expected, rtol=0.01)


def fitted(spec: HeadSpec, labels: pl.DataFrame) -> tuple[Head, torch.Tensor]:
    """The parameters of highest likelihood where all rows are alike."""
    head, truth = build(spec, 1, dropout=0.0), torch.tensor(labels_of(spec, labels))
    params = torch.tensor(spec.start, requires_grad=True)
    optimiser = torch.optim.LBFGS([params], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = head.loss(params.expand(len(truth), -1), truth)
        loss.backward()
        return loss

    optimiser.step(closure)
    return head, params.detach()[None]


def test_a_log_that_ends_inside_intervals_biases_no_hazard() -> None:
    draw = np.random.default_rng(1)
    spec = HeadSpec("hazard", ("a",), (30,), (-1.0, -1.0), edges=(30, 90))
    wait, known = draw.exponential(40, 40_000), draw.uniform(5, 85, 40_000)
    _, params = fitted(spec, waits(wait, known))
    np.testing.assert_allclose([softplus(x) for x in params[0]], [30 / 40, 60 / 40], rtol=0.04)


def test_a_weibull_with_censoring_is_recovered() -> None:
    draw = np.random.default_rng(2)
    wait, known = 50 * draw.weibull(0.7, 20_000), draw.uniform(60, 300, 20_000)
    table = waits(wait, known)
    head, params = fitted(spec_of(tasks.churn([30, 60]), table), table)
    assert isinstance(head, Hazard)
    days = [2.0, 10.0, 30.0, 60.0, 120.0]
    found = head.survival(params, days)[0].numpy()
    np.testing.assert_allclose(found, np.exp(-((np.array(days) / 50) ** 0.7)), atol=0.015)
    assert float(head.median(params)) == pytest.approx(50 * math.log(2) ** (1 / 0.7), rel=0.05)
    assert float(head.restricted_mean(params, 60.0)) == pytest.approx(np.minimum(wait, 60).mean(), rel=0.02)


def test_amounts_are_recovered() -> None:
    draw = np.random.default_rng(3)
    truth = [(0.6, 3.0, 0.8), (0.3, 1.0, 0.4)]
    increments = [(draw.random(20_000) < p) * draw.lognormal(mean, spread, 20_000) for p, mean, spread in truth]
    labels = pl.DataFrame(np.cumsum(increments, axis=0).T, schema=["value_30d", "value_90d"])
    spec = spec_of(tasks.value([30, 90]), labels)
    head, params = fitted(spec, labels)
    for (odds, mean, spread), unit, expected in zip(params.reshape(2, 3), spec.scale, truth, strict=True):
        found = 1 / (1 + math.exp(-odds)), float(mean) + math.log(unit), softplus(float(spread)) + FLOOR
        assert found == pytest.approx(expected, abs=0.02)
    np.testing.assert_allclose(head.raw(params)[0], labels.mean().row(0), rtol=0.02)


def test_a_head_learns_who_waits_longer() -> None:
    draw = np.random.default_rng(4)
    late = draw.integers(0, 2, 2_000)
    table = waits(draw.exponential(np.where(late, 80.0, 10.0)), draw.uniform(40, 200, 2_000))
    torch.manual_seed(0)
    head = build(spec_of(tasks.purchase(30), table), 2, dropout=0.0)
    assert isinstance(head, Hazard)
    x, truth = torch.tensor(np.eye(2)[late], dtype=torch.float32), torch.tensor(labels_of(head.spec, table))
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        head.loss(head(x), truth).backward()
        optimiser.step()
    found = head.survival(head(torch.eye(2)), [30.0])[:, 0].detach().numpy()
    np.testing.assert_allclose(found, [math.exp(-3), math.exp(-30 / 80)], atol=0.04)


BINARY = pl.DataFrame({"churn_30d": [1.0, 0.0, 0.0, 1.0], "churn_60d": [1.0, 0.0, 0.0, 0.0]})
AMOUNTS = pl.DataFrame({"value_30d": [0.0, 2.0, 4.0], "value_90d": [0.0, 2.0, 9.0]})
NET = pl.DataFrame({"net_value_30d": [0.0, 2.0, 4.0], "net_value_90d": [0.0, -2.0, 4.0]})
WAITS = waits([3.0, 20.0, 45.0, 500.0], [100.0, 100.0, 80.0, 80.0])
CHURN, VALUE, NET_VALUE = tasks.churn([30, 60]), tasks.value([30, 90]), tasks.value([30, 90], net=True)


@pytest.mark.parametrize(
    ("task", "labels", "kind", "made"),
    [
        (CHURN, WAITS, "auto", "hazard"),
        (CHURN, WAITS, "hazard", "hazard"),
        (CHURN, BINARY, "bernoulli", "bernoulli"),
        (Task("count(*) of purchase over next 30, 60 days > 2", name="churn"), BINARY, "auto", "bernoulli"),
        (VALUE, AMOUNTS, "auto", "spend"),
        (NET_VALUE, NET, "auto", "normal"),
    ],
)
def test_the_head_is_chosen_by_the_task_and_its_spec_survives_json(
    task: Task, labels: pl.DataFrame, kind: Any, made: str
) -> None:
    spec = spec_of(task, labels, kind=kind)
    assert spec.kind == made
    assert needs_waits(task, kind=kind) == (made == "hazard")
    assert HeadSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    torch.manual_seed(0)
    head = build(spec, 8)
    params = head(torch.zeros(len(labels), 8))
    assert params.shape == (len(labels), len(spec.start))
    assert torch.isfinite(head.loss(params, torch.tensor(labels_of(spec, labels))))
    assert head.raw(params).shape == (len(labels), len(task.targets))


def test_every_horizon_is_an_edge_and_further_ones_go_as_far_as_the_data() -> None:
    draw = np.random.default_rng(0)
    table = waits(draw.exponential(40, 2_000), np.full(2_000, 365.0))
    edges = spec_of(tasks.churn([17, 60, 90]), table).edges
    assert {17, 60, 90} <= set(edges)
    assert list(edges) == sorted(set(edges))
    assert 90 < edges[-1] <= np.quantile(table["days"], 0.95)
    short = spec_of(tasks.churn(300), table).edges
    assert short[-1] == 300
    nobody = waits(np.full(9, 500.0), np.full(9, 30.0))
    assert spec_of(tasks.churn([7, 30]), nobody).edges == (7, 30)


def test_a_head_begins_at_the_rates_of_its_training_labels() -> None:
    torch.manual_seed(0)
    zeros = torch.zeros(1, 8)
    binary = build(spec_of(CHURN, BINARY, kind="bernoulli"), 8, dropout=0.0)
    chance = binary.raw(binary(zeros)).sigmoid()[0]
    assert chance.tolist() == pytest.approx([2.5 / 5, 1.5 / 5], abs=0.05)
    normal = build(spec_of(NET_VALUE, NET), 8, dropout=0.0)
    assert normal.raw(normal(zeros))[0].tolist() == pytest.approx([2.0, 2 / 3], abs=0.3)


def test_parameters_are_float32_under_mixed_precision() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, spec in SPECS.items():
            head = head_of(name)
            params = head(torch.randn(3, 4))
            loss = head.loss(params, torch.tensor(labels_of(spec, some_labels(name, 3, 0))))
            assert (params.dtype, loss.dtype, head.raw(params).dtype) == (torch.float32,) * 3


@pytest.mark.parametrize("wrong", [None, math.nan, math.inf])
def test_a_label_that_is_no_number_is_refused(wrong: float | None) -> None:
    spec = spec_of(VALUE, AMOUNTS)
    broken = AMOUNTS.with_columns(pl.Series("value_90d", [0.0, wrong, 9.0], dtype=pl.Float64))
    for refuse in (lambda: labels_of(spec, broken), lambda: spec_of(VALUE, broken)):
        with pytest.raises(FitError, match="'value_90d': 1 labels are no finite numbers"):
            refuse()
    with pytest.raises(FitError, match="'days': 1 labels"):
        labels_of(
            spec_of(CHURN, WAITS), WAITS.with_columns(pl.Series("days", [3.0, wrong, 4.0, 5.0], dtype=pl.Float64))
        )


def test_what_a_head_cannot_learn_is_refused() -> None:
    rising = spec_of(VALUE, AMOUNTS)
    with pytest.raises(FitError, match="'value_90d': a label falls with the horizon"):
        labels_of(rising, pl.DataFrame({"value_30d": [3.0, 1.0], "value_90d": [3.0, 0.5]}))
    with pytest.raises(FitError, match="a hazard is of a task that asks whether something happens"):
        spec_of(VALUE, AMOUNTS, kind="hazard")
    with pytest.raises(FitError, match="a Bernoulli head is of a yes-or-no task"):
        needs_waits(VALUE, kind="bernoulli")
    with pytest.raises(FitError, match="no row is known for 200 days"):
        spec_of(tasks.churn(200), WAITS)


@pytest.mark.parametrize("name", SPECS)
def test_an_ensemble_is_the_mean_of_members_that_differ(name: str) -> None:
    torch.manual_seed(0)
    head = build(SPECS[name], 4, dropout=0.0, members=3)
    assert isinstance(head, Ensemble)
    x = torch.randn(7, 4)
    params = head(x)
    members = [member for member in head.members if isinstance(member, Head)]
    assert params.shape == (3, 7, len(SPECS[name].start))
    assert not torch.equal(params[0], params[1])
    labels = torch.rand(7, 2 * len(EDGES) if name in HAZARDS else 3).round()
    losses = [member.loss(member(x), labels) for member in members]
    assert head.loss(params, labels).item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-6)
    raw = torch.stack([member.raw(member(x)) for member in members])
    torch.testing.assert_close(head.raw(params), raw.mean(dim=0))
    assert head.raw(params).shape == (7, 3)
    head.loss(params, labels).backward()
    slopes = [[weight.grad for weight in member.parameters()] for member in members]
    assert all(slope is not None and slope.any() for each in slopes for slope in each)


def test_one_member_is_no_ensemble() -> None:
    assert isinstance(build(SPECS["happens"], 4, members=1), Hazard)
    one, other = (build(SPECS["happens"], 4, members=2) for _ in range(2))
    other.load_state_dict(one.state_dict())
    x = torch.randn(3, 4)
    assert torch.equal(other.eval()(x), one.eval()(x))
