"""From a file of purchases to scores and a page, in one go: a small made-up shop, in a temporary folder.

    python examples/01_first_log.py

The shop is simulated, so its numbers say nothing about real customers; the steps are those for a real file.
"""

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


def write_sales(path: Path, *, customers: int = 600, seed: int = 0) -> None:
    """Write purchases of customers who differ in how often they buy, how much, and when they leave for good."""
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


def main(folder: Path) -> None:
    """Ingest, look, fit, test, score."""
    sales = folder / "sales.csv"
    write_sales(sales)

    # A file and what its columns mean become a log; every row is accepted, or rejected with a reason.
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

    # A task is a question about a customer at a moment. Models learn from what happened before TEST, and no later.
    churn = vc.tasks.churn(days=HORIZON, active=90)
    split = vc.TimeSplit(every=30)
    known = log.before(TEST)
    models = {name: vc.fit(name, churn, known, split=split) for name in ("mean_rate", "bgnbd")}

    # What happened from TEST on is the test: all models on the same customers.
    report = vc.evaluate(models, log, at=TEST)
    print(report)
    page = folder / "report.html"
    write_html(report, page, language="en")
    print(f"wrote {page.name}, {page.stat().st_size / 1024:.0f} KB")

    # For use, fit once more, up to the end of the log, and score whoever is asked about then.
    final = vc.fit("bgnbd", churn, log, split=split)
    scores = final.predict(log, at=UNTIL)
    print(scores.sort("score", descending=True).head(5))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
