# %% [markdown]
# # 2. Can this log answer the question?
#
# Before a model is fitted, three things can be wrong: the question, the amount of data, and a column that knows the
# future. `vc.check` looks for all three. The shop here is simulated; nobody shops there.

# %%
from __future__ import annotations

from datetime import timedelta

import polars as pl

import valuecast as vc
from valuecast.evaluation.readiness.check import Readiness
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate

log = simulate(Settings(users=1_000, seed=2)).log
print(f"{log.count_users():,} users, {log.span}")

# %% [markdown]
# ## A question is text
# The same text works here, in recipes and after `--task`. Named tasks are short for what they count.

# %%
for text in (
    "churn(days=30, active=90)",
    "purchase(days=30, where=\"items.category = 'coffee'\")",
    "spend: sum(amount) of purchase over next 30 days when count(*) of purchase over last 90 days > 0",
):
    print(f"{text}\n    {vc.tasks.parse(text)}")

# %% [markdown]
# What cannot be understood is answered with the place, and what to do.

# %%
try:
    vc.tasks.parse("churn(days=30, activ=90)")
except vc.ValuecastError as error:
    print(error)

# %% [markdown]
# ## A log that can
# Will a customer who did anything in the last 90 days buy nothing in the next 30?

# %%
churn = vc.tasks.churn(days=30, active=90)


def say(found: Readiness) -> None:
    """Print the verdict, what is behind it, and what else could be asked."""
    print(f"verdict: {found.verdict}")
    for finding in found.findings:
        reason = "" if finding.verdict == "ok" else f": {finding.deciding[0].text}"
        print(f"  {finding.verdict:4}  {finding.title}{reason}")
    if found.nearest:
        print(f"nearest task that would do: {found.nearest}")


say(vc.check(churn, log))

# %% [markdown]
# ## A log that is too short
# After 200 days there are customers enough, but not enough time for a horizon of 90: models learn from moments whose
# outcome is known, and are chosen on later ones. The nearest task that would do is found by trying other horizons and
# other conditions of activity.

# %%
young = log.before(log.span.start + timedelta(days=200))
say(vc.check(vc.tasks.churn(days=90, active=180), young))

# %% [markdown]
# ## A horizon that is too short
# Seven days sound precise. But half of the customers usually let more than seven days pass between two purchases: most
# of those who would be called lost are only between two orders.

# %%
say(vc.check(vc.tasks.churn(days=7, active=30), log))

# %% [markdown]
# ## A column that knows the future
# The customer table was exported today, and has a column `status`. It looks like any other attribute. But it says how
# things stand today, and the model is to be tested as of a month ago.

# %%
events = log.collect(log.events)
bought = events.filter(pl.col("event") == "purchase").group_by("user").agg(last=pl.col("time").max())
sleeping = pl.col("last") < log.span.until - timedelta(days=30)
exported = bought.select("user", status=pl.when(sleeping).then(pl.lit("sleeping")).otherwise(pl.lit("active")))
leaky = vc.EventLog.from_frame(events, since=log.span.start, until=log.span.until, users=exported)

found = vc.check(churn, leaky)
say(found)

# %% [markdown]
# A model with this column would look perfect in every test and know nothing of tomorrow. The remedy is in the message:
# a column that says since when each value is known (`valid_from`), or no such column. That is why a mapping has to
# declare an attribute dated or static, and why one that is neither is not used.
#
# All of it as a page, as `valuecast check LOG --task "churn(days=30, active=90)" --out page.html` writes it:

# %%
found.report()
