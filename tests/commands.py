"""Runs the command line in this process, and makes the files that tests give it."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import dropwhile
from pathlib import Path
from unittest import mock

import numpy as np

from valuecast.cli.main import main
from valuecast.models.baselines.boosted import LIGHTGBM
from valuecast.models.registry import BASELINES

PROGRESS = re.compile(r" *\d+s  \S.*| {9}.*")
START = datetime(2024, 1, 1)
END = "2024-10-27"


@dataclass(frozen=True)
class Ran:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What standard error holds beside progress, which comes first."""
        return "\n".join(dropwhile(PROGRESS.fullmatch, self.err.splitlines()))


def valuecast(*arguments: str | Path) -> Ran:
    """Run a command as ``main`` does; a fault of ours is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["valuecast", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def done(*arguments: str | Path) -> Ran:
    """Run a command that must succeed."""
    ran = valuecast(*arguments)
    assert ran.code == 0, ran.err
    assert not ran.message
    return ran


def refused(*arguments: str | Path) -> str:
    """Run a command that must be refused, and return its one message."""
    ran = valuecast(*arguments)
    assert ran.code == 2, (ran.code, ran.err)
    assert ran.message.startswith("valuecast: ")
    assert ran.err.count("valuecast: ") == 1
    assert "Traceback" not in ran.err
    assert "Error(" not in ran.err
    return ran.message.removeprefix("valuecast: ")


@contextlib.contextmanager
def quick_trees() -> Iterator[None]:
    """Two trials are enough to see that the boosted trees are there."""
    with mock.patch.dict(BASELINES, lightgbm=replace(LIGHTGBM, trials=2)):
        yield


def lines(users: int = 60, days: int = 300, *, seed: int = 0) -> list[tuple[str, str, str]]:
    """Purchases of a shop as a file has them: customer, date, amount."""
    draw = np.random.default_rng(seed)
    found = []
    for user in range(users):
        day, gap = draw.uniform(0, 120), draw.choice([4.0, 12.0, 30.0])
        while day < days and draw.uniform() > 0.02:
            moment = START + timedelta(seconds=int(86_400 * day))
            found.append((f"c{user}", f"{moment:%Y-%m-%d %H:%M:%S}", f"{draw.gamma(2, 10):.2f}"))
            day += draw.exponential(gap)
    return found


def write_csv(path: Path, rows: list[tuple[str, ...]], header: str = "customer,date,amount") -> Path:
    """Write a CSV file."""
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n", encoding="utf-8")
    return path


def ingested(path: Path, out: Path, *more: str) -> Path:
    """Ingest a CSV file of purchases, and return the log's folder."""
    done("ingest", path, "--user", "customer", "--time", "date", "--out", out, *more)
    return out
