"""Are explanations true to the model, and to the world? Measured on a real log and on a shop whose truth is known.

A fused predictor is fitted before the test cutoff; users are drawn from those whose score is at least 5 points of a
probability (or a tenth of the mean amount) from the average. For each of them:

- completeness: how far the average and the effects are from the score, as a share of the score's distance;
- deletion: stretches of the past are replaced by what typical users did then, the most supporting first; the area under
  the curve of what is left of the distance, from 1 to 0 (Petsiuk, Das and Saenko, 2018, RISE; less is better); and
  insertion, the other way round (more is better). Against the latest stretch first, and against random orders. The
  typical users of the curves are others than those that the explanation has compared with;
- stability: the same with another seed, which draws other typical users and orders (Spearman, and the first the same);
- randomised weights: leaves of the trees and tensors of the network shuffled in themselves, customer-base models left
  out; an explanation that stays as it was had not looked at the model (Adebayo et al., 2018, Sanity checks);
- counterfactuals: a change promises to cross wherever in its window and whatever more is spent; five draws of that;
- causes (simulated shop): exact Shapley values of the shop's own formula over whether the customer has left, the rate
  and the value of orders say what truly moved it; is that among the first three drivers, and in the same direction?
  Of all, and of those whose score is on the side of the average where the truth is: of a score that is wrong, the true
  cause is no explanation.

    OMP_NUM_THREADS=1 python benchmarks/explanations.py --log online_retail [--task value] [--at 2011-06-12]
    OMP_NUM_THREADS=1 python benchmarks/explanations.py --log simulated
    OMP_NUM_THREADS=1 python benchmarks/explanations.py causes --users 300 [--task value]        # of drivers alone
    python benchmarks/explanations.py reasons --users 100000

What is done user by user is kept in ``runs/explanations`` and not done again.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from keeping import frame, kept, show
from scipy.stats import spearmanr

from valuecast import artifact
from valuecast import columns as c
from valuecast.config.learning import Architecture, Pretraining
from valuecast.events import datasets
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.events.simulate.truth import Truth
from valuecast.explanation import reasons
from valuecast.explanation.change import Search, drawn
from valuecast.explanation.effects import effects
from valuecast.explanation.explain import Explanation, explain
from valuecast.explanation.timeline import Splicer, timeline
from valuecast.explanation.typical import Typical, typical
from valuecast.models.baselines.boosted import BoostedModel
from valuecast.models.blend import Blend
from valuecast.models.drivers import FREQUENCY, MONEY, RHYTHM, SILENCE, TREND
from valuecast.models.finetuned import Answers
from valuecast.models.panel import Panel, Part
from valuecast.models.predictor import Predictor
from valuecast.models.registry import FUSED
from valuecast.moments import moment
from valuecast.tasks import Task, parse
from valuecast.tasks.splits import TimeSplit
from valuecast.training.tables import Tables
from valuecast.training.workshop import Workshop

OUT = Path("runs/explanations")
TASKS = {
    "online_retail": {"churn": "churn(days=90, active=180)", "value": "value(days=90, active=180)"},
    "simulated": {"churn": "churn(days=60, active=120)", "value": "value(days=60, active=120)"},
}
SHOP = Settings(users=3_000, since="2023-01-01", days=730, seed=7, seasonality=0.3)
AT = {"online_retail": "2011-09-10", "simulated": "2024-07-04"}
RANDOM_ORDERS = 5
HELD_OUT = 8
CASES = 5
LEFT, RATE, WORTH = "left", "rate", "worth"
CAUSES = {LEFT: {SILENCE, TREND}, RATE: {FREQUENCY, RHYTHM}, WORTH: {MONEY}}
"""The drivers that a true cause can be told by."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", nargs="?", choices=("users", "causes", "reasons"), default="users")
    asked.add_argument("--log", choices=TASKS, default="online_retail")
    asked.add_argument("--task", choices=("churn", "value"), default="churn")
    asked.add_argument("--at", help="another moment than the test cutoff")
    asked.add_argument("--users", type=int, default=60)
    asked.add_argument("--data", default="../shared/data/online_retail")
    given = asked.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if given.what == "reasons":
        time_reasons(given.users)
        return
    name = "simulated" if given.what == "causes" else given.log
    at = moment(given.at or AT[name])
    log, truth = opened(name, given.data)
    predictor = fitted(log, parse(TASKS[name][given.task]), at, f"{name}-{given.task}", split=TimeSplit())
    if truth is not None and given.what == "causes":
        find_causes(predictor, log, truth, at, given.users)
        return
    path = OUT / f"{name}-{given.task}-{at.date()}-{artifact.code_digest()[:12]}.jsonl"
    measure(predictor, log, truth, at=at, count=given.users, path=path)
    table(path)


def opened(name: str, data: str) -> tuple[EventLog, Truth | None]:
    if name == "simulated":
        shop = simulate(SHOP)
        return shop.log, shop.truth
    folder = OUT / "log"
    if not folder.exists():
        ingest(datasets.mapping(name, path=Path(data)), folder)
    return EventLog.read(folder), None


def fitted(log: EventLog, task: Task, at: datetime, name: str, *, split: TimeSplit) -> Predictor:
    folder = OUT / "models" / f"{name}-{at.date()}-{artifact.code_digest()[:12]}"
    if not folder.exists():
        workshop = Workshop((task,), Pretraining(architecture=Architecture(size="tiny")))
        workshop.fit(FUSED, task, log.before(at), split=split, seed=0, tables=Tables(), progress=print).save(folder)
    return Predictor.load(folder)


def asked_about(predictor: Predictor, log: EventLog, at: datetime, count: int) -> tuple[pl.DataFrame, list[str]]:
    """All scores, and users drawn from those far from the average."""
    target = max(predictor.task.targets, key=lambda name: predictor.task.targets[name])
    scores = predictor.predict(log, at=at).filter(pl.col(c.TARGET) == target)
    mean = float(scores[c.SCORE].mean())  # type: ignore[arg-type]
    least = 0.05 if predictor.task.kind == "binary" else 0.1 * mean
    far = scores.filter((pl.col(c.SCORE) - mean).abs() >= least)
    return scores, far.sample(min(count, len(far)), seed=1)[c.USER].sort().to_list()


def measure(predictor: Predictor, log: EventLog, truth: Truth | None, *, at: datetime, count: int, path: Path) -> None:
    scores, users = asked_about(predictor, log, at, count)
    mean = float(scores[c.SCORE].mean())  # type: ignore[arg-type]
    compared, other = (typical(predictor, log, at, without=frozenset(users), seed=seed) for seed in (0, 1))
    held_out = typical(
        predictor, log, at, references=HELD_OUT, without=frozenset({*users, *compared.references}), seed=2
    )
    shuffled = randomised(predictor)
    wrong = typical(shuffled, log, at, without=frozenset(users), seed=0)
    causes = {} if truth is None else true_effects(truth, at, predictor.task, scores[c.USER].to_list())
    explain(predictor, log, user=users[0], at=at, compared=compared)  # the first call imports and compiles
    for user in users:

        def work(user: str = user) -> dict[str, Any]:
            found = explain(predictor, log, user=user, at=at, compared=compared)
            again = explain(predictor, log, user=user, at=at, compared=other, seed=1)
            return {
                **completeness(found, mean),
                **curves(predictor, log, found, held_out),
                **stability(found, again),
                **sanity(shuffled, log, found, wrong),
                **promises(predictor, log, found),
                **recovered(found, causes.get(user)),
            }

        kept(path, {"user": user}, work)


def completeness(found: Explanation, mean: float) -> dict[str, Any]:
    score = float(found.score[c.SCORE])  # type: ignore[arg-type]
    distance = abs(score - found.base)
    stretches = float(found.timeline.values[found.target].sum())
    return {
        "distance": distance,
        "drivers_off": abs(found.base + float(found.drivers["effect"].sum()) - score) / distance,
        "timeline_off": abs(found.base + stretches - score) / distance,
        "base_off": abs(found.base - mean) / distance,
    }


def curves(predictor: Predictor, log: EventLog, found: Explanation, held_out: Typical) -> dict[str, Any]:
    """Areas of deletion and insertion by stretches, times the distance that the curves span."""
    values = found.timeline.values[found.target]
    away = np.sign(float(found.score[c.SCORE]) - found.base)  # type: ignore[arg-type]
    draw = np.random.default_rng(0)
    count = len(values)
    orders = {
        "ours": [np.argsort(-away * values, kind="stable")],
        "latest": [np.arange(count)[::-1]],
        "random": [draw.permutation(count) for _ in range(RANDOM_ORDERS)],
    }
    splicer = Splicer.of(predictor, log, found.at, found.user, held_out.references)
    kept_parts, names = [], []
    for name, each in orders.items():
        for number, order in enumerate(each):
            place = np.argsort(order)
            for step in range(count + 1):
                kept_parts += [place >= step, place < step]
                names += [(name, number, step, "deletion"), (name, number, step, "insertion")]
    rows = np.repeat(np.stack(kept_parts), len(held_out.rows), axis=0)
    reference = np.tile(np.arange(len(held_out.rows)), len(kept_parts))
    scores = splicer.scores(rows, reference.tolist())[found.target].reshape(len(kept_parts), -1)
    curve = dict(zip(names, scores @ held_out.weights[found.target], strict=True))
    full, empty = curve["ours", 0, 0, "deletion"], curve["ours", 0, count, "deletion"]
    side = np.sign(full - empty)
    areas: dict[str, Any] = {"span": float(abs(full - empty))}
    for kind in ("deletion", "insertion"):
        for name, each in orders.items():
            lines = [
                [side * (curve[name, n, step, kind] - empty) for step in range(count + 1)] for n in range(len(each))
            ]
            areas[f"{kind}_{name}"] = float(np.mean(np.trapezoid(lines, dx=1 / count, axis=1)))
    return areas


def stability(found: Explanation, again: Explanation) -> dict[str, Any]:
    one, other = (each.drivers.sort("driver")["effect"].to_numpy() for each in (found, again))
    past, past_again = (each.timeline.values[each.target] for each in (found, again))
    return {
        "reseed_drivers": float(spearmanr(one, other).statistic),
        "reseed_first": found.drivers["driver"][0] == again.drivers["driver"][0],
        "reseed_timeline": float(spearmanr(past, past_again).statistic),
        "reseed_first_stretch": int(np.argmax(np.abs(past))) == int(np.argmax(np.abs(past_again))),
    }


def sanity(shuffled: Predictor, log: EventLog, found: Explanation, wrong: Typical) -> dict[str, Any]:
    keys = pl.DataFrame({c.USER: [found.user]}).with_columns(pl.lit(found.at, dtype=pl.Datetime("us")).alias(c.AT))
    material = shuffled.inputs.material(log.before(found.at), keys)
    why = effects(shuffled, material, wrong)
    named = dict(found.drivers.select("driver", "effect").iter_rows())
    shared = [code for code in why.drivers if code in named]
    other = dict(zip(why.drivers, why.values[found.target][0], strict=True))
    past = timeline(shuffled, log, found.user, wrong, {name: float(own[0]) for name, own in why.scores.items()})
    return {
        "shuffled_drivers": float(
            spearmanr([named[code] for code in shared], [other[code] for code in shared]).statistic
        ),
        "shuffled_timeline": float(spearmanr(found.timeline.values[found.target], past.values[found.target]).statistic),
    }


def randomised(predictor: Predictor) -> Predictor:
    """The same predictor with its weights shuffled."""
    draw = np.random.default_rng(0)
    panel = predictor.inputs
    assert isinstance(panel, Panel)
    parts = {}
    for name, part in panel.parts.items():
        if isinstance(part.inputs, Answers):
            answerer = copy.deepcopy(part.inputs.answerer)
            for weight in answerer.parameters():
                weight.data = weight.data.flatten()[draw.permutation(weight.numel())].view_as(weight)
            parts[name] = Part(Answers(part.inputs.design, answerer), part.models)
        elif any(isinstance(model, BoostedModel) for model in part.models.values()):
            parts[name] = Part(part.inputs, {target: _leaves(model, draw) for target, model in part.models.items()})
    heads = {}
    for target, head in predictor.heads.items():
        blend = head.model
        assert isinstance(blend, Blend)
        weights = {column: weight for column, weight in blend.weights.items() if column.split("/")[0] in parts}
        heads[target] = replace(head, model=Blend(weights, blend.scale))
    return replace(predictor, inputs=Panel(parts), heads=heads)


def _leaves(model: Any, draw: np.random.Generator) -> BoostedModel:
    boosters = {}
    for name, booster in model.boosters.items():
        other = lightgbm.Booster(model_str=booster.model_to_string())
        for number, tree in enumerate(other.dump_model()["tree_info"]):
            values = [other.get_leaf_output(number, leaf) for leaf in range(tree["num_leaves"])]
            for leaf, value in enumerate(draw.permutation(values)):
                other.set_leaf_output(number, leaf, float(value))
        boosters[name] = other
    shuffled: BoostedModel = replace(model, boosters=boosters)
    return shuffled


def promises(predictor: Predictor, log: EventLog, found: Explanation) -> dict[str, Any]:
    """Draw cases of what the change promises, score them, and time the search."""
    change = found.counterfactual
    if change is None:
        return {"changed": "best tier"}
    begun = time.perf_counter()
    search = Search.of(predictor, log, found.user, found.at, days=change.days, events=None)
    search.scores([(None, 0.0), *((each, place) for each in search.changes for place in (0.02, 0.5, 0.95))])
    seconds = time.perf_counter() - begun
    if change.change is None:
        return {"changed": "none crosses", "search_s": seconds}
    draw = np.random.default_rng(0)
    cases = [drawn(change.change, search.largest, draw) for _ in range(CASES)]
    scores = search.scores(cases)[found.target]
    crossed = scores < change.threshold if change.direction == "lower" else scores >= change.threshold
    idle = change.idle < change.threshold if change.direction == "lower" else change.idle >= change.threshold
    return {"changed": "idle" if idle else "found", "valid": float(crossed.mean()), "search_s": seconds}


def true_effects(truth: Truth, at: datetime, task: Task, users: list[str]) -> dict[str, dict[str, float]]:
    """Exact Shapley values of the shop's formula, against all users asked about."""
    days = task.horizon.days
    known = truth.expected(at, days).filter(pl.col(c.USER).is_in(users))
    own = truth.customers.join(known.select(c.USER, "there"), on=c.USER).sort(c.USER)
    start = (at - truth.settings.start).total_seconds() / 86_400
    exposure = truth._exposure(own, start, days)
    parts = {LEFT: ~own["there"].to_numpy(), RATE: own["rate"].to_numpy(), WORTH: own["mean_value"].to_numpy()}
    dropout = own["dropout"].to_numpy()
    draw = np.random.default_rng(0)
    names = [LEFT, RATE] if task.kind == "binary" else [LEFT, RATE, WORTH]
    total = {name: np.zeros(len(own)) for name in names}
    rounds = 200
    orders = list(permutations(names))
    for _ in range(rounds):
        other = draw.permutation(len(own))
        for order in orders:
            now = {name: values[other] for name, values in parts.items()}
            before = _formula(task, now, dropout, exposure)
            for name in order:
                now[name] = parts[name]
                after = _formula(task, now, dropout, exposure)
                total[name] += (after - before) / (rounds * len(orders))
                before = after
    return {user: {name: float(values[row]) for name, values in total.items()} for row, user in enumerate(own[c.USER])}


def _formula(task: Task, parts: Mapping[str, Any], dropout: Any, exposure: Any) -> Any:
    there = ~parts[LEFT]
    if task.kind == "binary":
        return np.where(there, np.exp(-parts[RATE] * exposure), 1.0)
    lost = parts[RATE] * dropout * exposure
    return np.where(there, -np.expm1(-lost) / dropout, 0.0) * parts[WORTH]


def recovered(found: Explanation, true: dict[str, float] | None) -> dict[str, Any]:
    if true is None:
        return {}
    named = list(found.drivers.head(3).select("driver", "effect").iter_rows())
    away = float(found.score[c.SCORE]) - found.base  # type: ignore[arg-type]
    return told_truly(named, away, true)


def told_truly(first: list[tuple[str, float]], away: float, true: dict[str, float]) -> dict[str, Any]:
    """Whether the true cause is among the first drivers, and whether the score is on the side of the truth."""
    cause = max(true, key=lambda name: abs(true[name]))
    hit = any(code in CAUSES[cause] and np.sign(effect) == np.sign(true[cause]) for code, effect in first)
    knows = bool(np.sign(away) == np.sign(sum(true.values())))
    return {"cause": cause, "cause_effect": true[cause], "knows": knows, "recovered": hit}


def find_causes(predictor: Predictor, log: EventLog, truth: Truth, at: datetime, count: int) -> None:
    scores, users = asked_about(predictor, log, at, count)
    compared = typical(predictor, log, at, without=frozenset(users), seed=0)
    keys = pl.DataFrame({c.USER: users}).with_columns(pl.lit(at, dtype=pl.Datetime("us")).alias(c.AT))
    why = effects(predictor, predictor.inputs.material(log.before(at), keys), compared)
    target = max(predictor.task.targets, key=lambda name: predictor.task.targets[name])
    causes = true_effects(truth, at, predictor.task, scores[c.USER].to_list())
    rows = []
    for user, score, own in zip(users, why.scores[target], why.values[target], strict=True):
        first = [(why.drivers[place], float(own[place])) for place in np.argsort(-np.abs(own), kind="stable")[:3]]
        rows.append(told_truly(first, float(score) - why.base[target], causes[user]))
    show_rows(causes_of(pl.DataFrame(rows)))


def causes_of(found: pl.DataFrame) -> list[tuple[str, Any]]:
    knows = found.filter("knows")
    parts = [
        (f"... for whom it is '{cause}': {len(part)}", part["recovered"].mean())
        for (cause,), part in knows.group_by("cause", maintain_order=True)
    ]
    return [
        (f"true cause among the first three, of {len(found)} users", found["recovered"].mean()),
        (f"... of {len(knows)} whose score is on the side of the truth", knows["recovered"].mean()),
        *parts,
    ]


def show_rows(rows: list[tuple[str, Any]]) -> None:
    show(pl.DataFrame({"measure": [name for name, _ in rows], "value": [f"{float(value):.4g}" for _, value in rows]}))


def table(path: Path) -> None:
    found = frame(path)
    sums = {name: float(found[name].sum()) for name in found.columns if found[name].dtype.is_numeric()}
    rows = [
        ("users", len(found)),
        ("mean distance", found["distance"].mean()),
        ("completeness error, drivers: largest", found["drivers_off"].max()),
        ("completeness error, timeline: largest", found["timeline_off"].max()),
        ("average of the sample off the average of all: median", found["base_off"].median()),
        *(
            (f"{kind} area, {name}", sums[f"{kind}_{name}"] / sums["span"])
            for kind in ("deletion", "insertion")
            for name in ("ours", "latest", "random")
        ),
        ("deletion: random / ours", sums["deletion_random"] / sums["deletion_ours"]),
        ("re-seed, drivers: median Spearman", found["reseed_drivers"].median()),
        ("re-seed, drivers: the first the same", found["reseed_first"].mean()),
        ("re-seed, timeline: median Spearman", found["reseed_timeline"].median()),
        ("re-seed, timeline: the first the same", found["reseed_first_stretch"].mean()),
        ("shuffled weights, drivers: median Spearman", found["shuffled_drivers"].median()),
        ("shuffled weights, timeline: median Spearman", found["shuffled_timeline"].median()),
    ]
    kinds = ("best tier", "none crosses", "idle", "found")
    rows += [(f"counterfactual: {kind}", (found["changed"] == kind).sum()) for kind in kinds]
    if "valid" in found.columns:
        rows.append(("counterfactual: promises kept", found.filter(pl.col("changed") == "found")["valid"].mean()))
    if "search_s" in found.columns:
        rows.append(("counterfactual: median seconds of a search", found["search_s"].median()))
    if "recovered" in found.columns:
        rows += causes_of(found)
    show_rows(rows)


def time_reasons(users: int) -> None:
    """Seconds of prediction alone and with three reasons, in turn."""
    settings = replace(SHOP, users=users)
    log = simulate(settings).log
    at = log.span.until
    task = parse("churn(days=60)")
    part = simulate(SHOP).log
    before = part.span.until
    few = TimeSplit(every=60)  # how good the model is does not matter here
    predictor = fitted(part, task, before, "reasons", split=few)
    begun = time.perf_counter()
    rows = len(predictor.predict(log, at=at))
    alone = time.perf_counter() - begun
    print(f"{rows:,} users, prediction {alone:,.0f} s", flush=True)
    begun = time.perf_counter()
    reasons.predict(predictor, log, at=at, reasons=3)
    beside = time.perf_counter() - begun
    print(f"with three reasons {beside:,.0f} s: {beside / alone:.2f} times")


if __name__ == "__main__":
    main()
