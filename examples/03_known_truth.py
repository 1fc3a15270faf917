# %% [markdown]
# # 3. A shop whose truth is known
#
# In a real shop nobody knows what was to be expected of a customer: one future happens, and that is all. The simulator
# knows. So it can be asked what no test on real data tells: are the parameters found, are the predictions right and not
# only well ranked, and what goes wrong when the world is not as the model thinks?

# %%
from __future__ import annotations

import numpy as np
import polars as pl

import valuecast as vc
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import Shop, simulate
from valuecast.features import rfm
from valuecast.models.baselines import bgnbd, gammagamma

AT, DAYS = "2024-09-01", 90  # everything is asked here: the next 90 days, known until now
USERS, SEED = 3_000, 1

# %% [markdown]
# ## The world of the model
# Without seasons and campaigns the simulator is BG/NBD for when customers buy, times Gamma-Gamma for how much. So the
# parameters that it was given should come back from the log, to within about two standard errors.

# %%
QUIET = {"lines": 1, "returns": 0, "reviews": 0, "browsing": 0, "views": 0, "carts": 0}  # purchases, and nothing else
steady = simulate(Settings(users=USERS, seed=SEED, seasonality=0, campaigns=0, **QUIET))


def customers(shop: Shop) -> pl.DataFrame:
    """What BG/NBD reads: repeat purchases, when the last was, how long ago the first (days), mean value."""
    return rfm.summary(shop.log, rfm.customers(shop.log.before(AT), AT))


def fit(table: pl.DataFrame) -> tuple[bgnbd.Parameters, gammagamma.Parameters]:
    """Fit when customers buy, and how much, by maximum likelihood."""
    repeat = table.filter(pl.col("frequency") > 0)
    timing = bgnbd.fit(*(table[name].to_numpy() for name in ("frequency", "recency", "age")))
    return timing, gammagamma.fit(*(repeat[name].to_numpy() for name in ("frequency", "monetary")))


def recovery(shop: Shop) -> pl.DataFrame:
    """Fitted parameters beside those that the shop was made with."""
    rows = []
    for found in fit(customers(shop)):
        for name, error in found.standard_errors.items():
            true, fitted = getattr(shop.truth.settings, name), getattr(found, name)
            off = round((fitted - true) / error, 1)
            rows.append({"parameter": name, "true": true, "fitted": round(fitted, 3), "standard errors off": off})
    return pl.DataFrame(rows)


found = recovery(steady)
print(f"largest distance from the truth: {found['standard errors off'].abs().max()} standard errors")
found

# %% [markdown]
# ## Predicted and true, customer by customer
# The truth is not what happened, but what was to be expected: `no_purchase`, the true probability of buying nothing,
# is 1 for those who have left, and nobody in the shop knows who that is. The model knows as much as the log, so it
# cannot be right about every customer. It can be right on average, among those to whom it says the same.


# %%
def predicted(shop: Shop) -> pl.DataFrame:
    """Predictions of the plain model beside what was to be expected, one row for each customer."""
    table = customers(shop)
    timing, worth = fit(table)
    history = [table[name].to_numpy() for name in ("frequency", "recency", "age")]
    mean = table["monetary"].fill_null(0).to_numpy()
    orders = bgnbd.expected_purchases(timing, DAYS, *history)
    said = {
        "churn": bgnbd.probability_no_purchase(timing, DAYS, *history),
        "value": orders * gammagamma.expected_value(worth, history[0], mean),
    }
    return table.select("user").with_columns(**said).join(shop.truth.expected(AT, DAYS), on="user")


def by_fifths(table: pl.DataFrame) -> pl.DataFrame:
    """Means of predictions and truth, in five groups by predicted churn."""
    fifth = (pl.col("churn").rank("ordinal") * 5 / (pl.len() + 1)).floor().cast(pl.Int8) + 1
    pairs = {"churn": "churn", "true_churn": "no_purchase", "value": "value", "true_value": "spend"}
    means = [pl.col(name).mean().round(3).alias(label) for label, name in pairs.items()]
    return table.group_by(fifth.alias("fifth")).agg(pl.len().alias("customers"), *means).sort("fifth")


def totals(table: pl.DataFrame) -> str:
    """Mean churn and total value, predicted and true."""
    churn, no_purchase = table["churn"].mean(), table["no_purchase"].mean()
    value, spend = table["value"].sum(), table["spend"].sum()
    return f"churn {churn:.3f}, truly {no_purchase:.3f}; total value {value / spend - 1:+.1%} off the truth"


right = predicted(steady)
print(f"without seasons: {totals(right)}")
by_fifths(right)

# %% [markdown]
# One customer is another matter. Even the right model, with nearly the right parameters, does not see who has left.

# %%
known = np.corrcoef(right["churn"], right["no_purchase"])[0, 1] ** 2
gone = right.filter(~pl.col("there"))
missed = (gone["churn"] < 0.5).sum()
print(f"the predictions explain {known:.0%} of the variance of the true probabilities")
print(f"{len(gone):,} of {len(right):,} customers have left; of {missed} of these it says that they will rather buy")

# %% [markdown]
# ## What a season does
# The same customers, but purchases swing by half over the year, with the peak in December. The 90 days from
# September on lead up to it, and the model has no idea of seasons.

# %%
seasonal = simulate(Settings(users=USERS, seed=SEED, seasonality=0.5, campaigns=0, **QUIET))
wrong = predicted(seasonal)
moved = recovery(seasonal)
print(f"with seasons: {totals(wrong)}")
print(f"largest distance from the true parameters: {moved['standard errors off'].abs().max()} standard errors")
for name, table in {"without": right, "with": wrong}.items():
    among = table.filter("there")  # of those who have left nothing more can be foreseen
    rank = np.corrcoef(among["churn"].rank(), among["no_purchase"].rank())[0, 1]
    print(f"rank correlation of predicted and true churn {name} seasons: {rank:.2f}")
by_fifths(wrong)

# %% [markdown]
# The model takes the quiet of the summer for customers who have left: it finds that they leave more readily than they
# do. The order of the customers suffers somewhat, the level a lot: too little is expected of everybody.
#
# `vc.fit` does not leave it at that. Whatever the method, it looks up how far the model was off at the same time of the
# year before, and corrects the level (not the order) of its answers.

# %%
split = vc.TimeSplit(every=30, rounds=1)  # fewer than usual, because this should be quick
before = seasonal.log.before(AT)
answers = wrong.select("user", "no_purchase", "spend")
for name, task in {"churn": vc.tasks.churn(days=DAYS), "value": vc.tasks.value(days=DAYS)}.items():
    scores = vc.fit("bgnbd", task, before, split=split).predict(seasonal.log, at=AT)
    answers = answers.join(scores.select("user", pl.col("score").alias(name)), on="user")
print(f"with seasons, corrected: {totals(answers)}")
by_fifths(answers)

# %% [markdown]
# Better, and not perfect. One earlier year of one shop says only roughly how strong the season is, and one correction
# of the level moves those who have long left along with the others. It needs a full earlier year at all: `vc.check`
# says when there is none.
