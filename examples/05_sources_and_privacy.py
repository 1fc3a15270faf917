# %% [markdown]
# # 5. Any source, and nobody's address in the log
#
# The same rows come as a CSV file, as a table of a database, as a workbook. Customers are known by their e-mail
# address, which should not lie around in folders, pages and messages. And next month there is a newer export. The shop
# is made up.

# %%
from __future__ import annotations

import sqlite3
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

import valuecast as vc
from valuecast.events.protection.pseudonyms import write_pseudonyms
from valuecast.events.spec import File

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)


def orders(*, customers: int = 300, days: int = 270, seed: int = 0) -> pl.DataFrame:
    """Orders from 2024-01-01 on, as texts: what an export looks like."""
    draw = np.random.default_rng(seed)
    counts = 1 + draw.poisson(draw.gamma(1, 6, customers))
    who = np.repeat(np.arange(customers), counts)
    when = np.datetime64("2024-01-01T00:00:00") + draw.integers(0, days * 86_400, who.size).astype("timedelta64[s]")
    table = {
        "email": [f"anna.{number}@example.org" for number in who],
        "paid_at": [str(moment).replace("T", " ") for moment in when],
        "amount": [f"{amount:.2f}" for amount in draw.gamma(2, 15, who.size)],
    }
    return pl.DataFrame(table).sort("paid_at")


export = orders()

# %% [markdown]
# ## Real exports are not clean
# Three rows are spoiled: one without a customer, one with a comma in its amount, one with a date that does not exist.

# %%
spoiled = export.with_row_index().with_columns(
    email=pl.when(pl.col("index") == 10).then(None).otherwise("email"),
    amount=pl.when(pl.col("index") == 20).then(pl.lit("12,50")).otherwise("amount"),
    paid_at=pl.when(pl.col("index") == 30).then(pl.lit("2024-02-31 09:00:00")).otherwise("paid_at"),
)
first = spoiled.drop("index").filter(pl.col("paid_at") < "2024-09-01")  # what the shop exported at the end of August
first.write_csv(folder / "orders.csv")

WHAT = {"user": "email", "time": "paid_at", "zone": "Asia/Shanghai", "amount": "amount"}
KNOWN = {"since": "2024-01-01T00:00:00+08:00", "until": "2024-09-01T00:00:00+08:00"}
mapping = vc.Mapping.from_flags(folder / "orders.csv", **WHAT, **KNOWN)

# %% [markdown]
# ## Pseudonyms at the door
# With a key file, an address is replaced as it is read: nothing of what the log holds has ever held it. The key is made
# for a new log. It is kept outside: who has both can turn addresses into pseudonyms, who has only the log cannot.

# %%
key = folder / "shop.key"
print(vc.ingest(mapping.pseudonymised(key), folder / "log"))

# %% [markdown]
# Every row that was not taken is written down with its reason; there too no address is shown.

# %%
rejected = pl.read_parquet(folder / "log" / "rejected.parquet").drop("file")
print(f"{len(rejected)} rows rejected")
rejected

# %%
log = vc.EventLog.read(folder / "log")
stored = [path for path in (folder / "log").rglob("*") if path.is_file()]
texts = [str(pl.read_parquet(path).rows()) if path.suffix == ".parquet" else path.read_text() for path in stored]
print(f"what became of the columns: {log.treatments}")
print(f"files of the log with an address in them: {sum('@' in text for text in texts)} of {len(texts)}")

# %% [markdown]
# ## The same rows from elsewhere
# A database, or a workbook where the extra is installed (`pip install 'valuecast[excel]'`), with the same key: the same
# log, to the last digit of its fingerprint.

# %%
with sqlite3.connect(folder / "shop.sqlite") as database:
    database.execute("create table orders (email text, paid_at text, amount text)")
    database.executemany("insert into orders values (?, ?, ?)", first.rows())
database.close()
elsewhere = {"SQLite": vc.Mapping.from_flags(folder / "shop.sqlite", table="orders", **WHAT, **KNOWN)}
if find_spec("fastexcel") and find_spec("xlsxwriter"):  # the one reads workbooks, the other writes this one
    first.write_excel(folder / "orders.xlsx")
    elsewhere["Excel"] = vc.Mapping.from_flags(folder / "orders.xlsx", **WHAT, **KNOWN)
for name, other in elsewhere.items():
    vc.ingest(other.pseudonymised(key), folder / name)
    print(f"{name}: the same log: {vc.EventLog.read(folder / name).fingerprint == log.fingerprint}")

# %% [markdown]
# ## A newer export
# A month later the shop exports everything again, old rows included. What the log has is known and not added twice; a
# spoiled row that was mended meanwhile is new.

# %%
export.write_csv(folder / "orders.csv")
newer = vc.Mapping.from_flags(folder / "orders.csv", **WHAT, **KNOWN | {"until": "2024-09-27T00:00:00+08:00"})
print(vc.ingest(newer.pseudonymised(key), folder / "log"))

# %% [markdown]
# Without the key, or with another one, nothing can be added: half of a log under other names would be worse than none.

# %%
try:
    vc.ingest(newer, folder / "log")
except vc.ValuecastError as error:
    print(error)

# %% [markdown]
# ## Back to the customers
# Scores carry pseudonyms. Who may know the customers, and has the key, makes the table that joins them back.

# %%
log = vc.EventLog.read(folder / "log")
churn = vc.tasks.churn(days=30, active=90)
model = vc.fit("mean_rate", churn, log, split=vc.TimeSplit(every=30))
scores = model.predict(log, at=log.span.until)
count = write_pseudonyms(key, File(path=str(folder / "orders.csv")), user="email", out=folder / "who.csv")
who = pl.read_csv(folder / "who.csv")
called = scores.join(who, on="user").select("id", "score", "tier").sort("score", "id", descending=[True, False])
print(f"{count} customers in the table; {len(called)} of {len(scores)} scores joined back")
called.head(5)

# %%
temporary.cleanup()
