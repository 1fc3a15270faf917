# %% [markdown]
# # 8. Why this score, and what would change it
#
# A score that nobody can explain is not used. Here a model of a simulated shop says of one customer what moved the risk
# from the average, when, and what would take it down again; what it says of everybody; and, because the shop is
# simulated, whether those who have truly left are told by what truly happened.

# %%
from __future__ import annotations

import polars as pl

import valuecast as vc
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.explanation import reasons

shop = simulate(Settings(users=1_000, seed=11, seasonality=0, campaigns=0))
log, truth = shop.log, shop.truth
AT = "2024-09-01"
churn = vc.tasks.churn(days=60, active=180)
model = vc.fit("lightgbm", churn, log.before(AT), split=vc.TimeSplit(every=30))
scores = model.predict(log, at=AT).sort("score")

# %% [markdown]
# ## One customer
# Of those at highest risk, somebody who used to buy often. The average and all effects add up to the score, whatever
# the model is made of. A stretch of time without a purchase has an effect like any other.

# %%
rates = dict(truth.customers.select("user", "rate").iter_rows())
user = max(scores.tail(100)["user"], key=lambda name: rates[name])
found = vc.explain(model, log, user=user, at=AT)
for sentence in found.sentences:
    print(sentence)
found

# %% [markdown]
# The same in Chinese.

# %%
for sentence in found.sentences:
    print(sentence.zh)

# %% [markdown]
# It adds up, and what would change it has been scored by the model itself.

# %%
print(f"average {found.base:.3f} + effects {found.drivers['effect'].sum():+.3f} = {found.score['score']:.3f}")
print(found.counterfactual)

# %% [markdown]
# ## Everybody, as data
# `valuecast predict --reasons 2` writes this: codes for machines, texts for people.

# %%
table = reasons.predict(model, log, at=AT, reasons=2)
table.sort("score", descending=True).select(
    "user", "score", "tier", "reason_1", "reason_1_en", "reason_2", "reason_2_zh"
).head(5)

# %% [markdown]
# ## Is it true?
# Nobody in the shop knows who has left; the simulator does. Of those who have left and are seen at risk, silence, or
# less than before, should be among the reasons.

# %%
left = truth.customers.filter(pl.col("churned") < pl.lit(AT).str.to_datetime())["user"]
gone = table.filter(pl.col("user").is_in(left.implode()), pl.col("tier") == "high")
told = gone.filter(pl.any_horizontal(pl.col("reason_1", "reason_2").is_in(["silence+", "trend+"])))
share = len(told) / len(gone)
print(f"{len(gone)} customers have left and are at high risk; silence or decline is a reason with {share:.0%} of them")
