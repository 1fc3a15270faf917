"""What is enough: sizes from which models beat rules of thumb, as measured by ``benchmarks/minimums.py``.

The rule: the smallest size at which a model beats the best rule of thumb in at least 80% of the draws and keeps, on
average, half of the lead that it has with all users; there and at every larger size; rounded up to hundreds. Counted
are outcomes at one cutoff, the last with a label. The table is in LOG.md, and ``python benchmarks/minimums.py`` makes
it again. It speaks of one shop: where customers differ less, more are needed.
"""

from __future__ import annotations

from typing import Final

from valuecast.tasks.task import Kind

EACH: Final = 100
"""Users of either outcome. Online Retail, churn: with 89 of each LightGBM won 5 of 5 draws and kept 72% of its lead,
and BG/NBD won 4 of 5; with 44 LightGBM kept 42%, and BG/NBD was not determined in 2 of 5."""

PAYERS: Final = 100
"""Users who pay. Online Retail, value: BG/NBD x Gamma-Gamma won 4 of 5 draws with 89 payers, and all with 236."""

PAYERS_OF_TREES: Final = 1_000
"""Users who pay, for boosted trees. Online Retail, value: 4 of 5 draws with 236, 3 of 5 with 488, all with 986."""

DAYS: Final[dict[Kind, int]] = {"binary": 150, "amount": 270}
"""Days of log. Online Retail, 30 days ahead, 500 users: at churn LightGBM won with 150, the least that was tried; at
value it won every draw from 270 on, and 2 of 3 with 180. BG/NBD was not determined below a year."""

FEWEST: Final = 30
"""Users of either outcome below which nothing can be told: beside any number of the others, 30 leave an AUC of .75
within .09 either way, beside 30 others within .10 (90%; Hanley and McNeil, 1982)."""
