# %% [markdown]
# # 1. From a file of purchases to a page
#
# A shop has a file: who bought, when, for how much. In five steps it becomes a log, a question, a model, a test of that
# model on what happened later, and scores for today. The file here is made up, so its numbers say nothing about real
# customers; the steps are those for a real one.

# %%
from __future__ import annotations

import csv
import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np

import valuecast as vc
from valuecast.report.html import write_html

SINCE, UNTIL = date(2023, 7, 1), date(2024, 7, 1)  # the log holds the last day of June: its end is exclusive
HORIZON = 30
TEST = UNTIL - timedelta(days=HORIZON)  # the latest moment whose horizon the log still holds

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %% [markdown]
# ## The file
# 600 customers differ in how often they buy, how much, and when they leave for good. Nobody says that they leave.


# %%
def write_sales(path: Path, *, customers: int = 600, seed: int = 0) -> None:
    """Write a CSV file of purchases."""
    draw = np.random.default_rng(seed)
    days = (UNTIL - SINCE).days
    with path.open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.writer(stream)
        sheet.writerow(["customer", "date", "amount"])
        for customer in range(customers):
            gap, leaving, basket = 12 / draw.gamma(1), draw.beta(0.8, 4), draw.lognormal(3, 0.5)
            day, stays = draw.uniform(0, days * 0.7), True
            while stays and day < days:
                sold = SINCE + timedelta(days=int(day))
                sheet.writerow([f"c{customer:03}", f"{sold:%d/%m/%Y}", f"{draw.gamma(3, basket / 3):.2f}"])
                stays = draw.uniform() > leaving
                day += draw.exponential(gap)


sales = folder / "sales.csv"
write_sales(sales)
print("\n".join(sales.read_text(encoding="utf-8").splitlines()[:4]))

# %% [markdown]
# ## The log
# Say once what the columns mean. Every row is taken, or rejected with a reason, and counted. The span is stated and not
# guessed from the last event: that nobody bought on the last days is knowledge too.

# %%
mapping = vc.Mapping.from_flags(
    sales,
    user="customer",
    time="date",
    format="%d/%m/%Y",
    amount="amount",
    since=SINCE.isoformat(),
    until=UNTIL.isoformat(),
)
print(vc.ingest(mapping, folder / "log"))
log = vc.EventLog.read(folder / "log")

# %% [markdown]
# ## A question, and two answers
# A task is a question about a customer at a moment. Both models learn from what happened before `TEST`, and no later:
# the customer's own average, and BG/NBD, which knows that a silence means more with somebody who used to buy often.

# %%
churn = vc.tasks.churn(days=HORIZON, active=90)
split = vc.TimeSplit(every=30)
known = log.before(TEST)
models = {name: vc.fit(name, churn, known, split=split) for name in ("mean_rate", "bgnbd")}
print(churn)

# %% [markdown]
# ## The test
# What happened from `TEST` on decides, with both models on the same customers. The page is one file without scripts or
# links, in English or Chinese, to be sent to whoever asks.

# %%
report = vc.evaluate(models, log, at=TEST)
for fact in report.facts:
    print(f"{fact.label.en}: {fact.value}")
page = folder / "report.html"
write_html(report, page, language="en")
print(f"wrote {page.name}")
report

# %% [markdown]
# ## The scores
# For use, fit once more, up to the end of the log, and score whoever is asked about then. `score` is the probability of
# buying nothing in the next 30 days; `low` and `high` say how sure that probability is.

# %%
final = vc.fit("bgnbd", churn, log, split=split)
scores = final.predict(log, at=UNTIL)
print(f"{len(scores)} customers scored, {(scores['tier'] == 'high').sum()} of them in the tier 'high'")
scores.sort("score", descending=True).head(5)

# %%
temporary.cleanup()
