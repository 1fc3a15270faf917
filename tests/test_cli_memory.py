"""A budget of memory is kept, or what would break it is refused in words. Slow: two million events."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import done

pytestmark = pytest.mark.slow

BUDGET = 2_000_000_000
FIT = ("--task", "churn(days=90, active=180)", "--before", "2024-12-31", "--every", "60")
MEASURED = """
import atexit, pathlib, sys
told = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(told.read_text().split("VmHWM:")[1].split()[0], "kB at the peak", file=sys.stderr))
from valuecast.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated shop, whose log was made within the budget."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says what a process took at its peak")
    folder = tmp_path_factory.mktemp("shop")
    (folder / "settings.toml").write_text("alpha = 60\nbrowsing = 0.5\nviews = 0.5\n")
    done("simulate", "--settings", folder / "settings.toml", "--users", "60000", folder / "shop")
    assert peak(within("ingest", folder / "shop" / "sources.toml", "--out", folder / "log")) < BUDGET
    return folder


def within(*words: str | Path, budget: int = BUDGET, code: int = 0) -> subprocess.CompletedProcess[str]:
    limits = {"VALUECAST_MEMORY": f"{budget}B", "VALUECAST_THREADS": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED, *map(str, words)]
    ran = subprocess.run(command, env=os.environ | limits, check=False, capture_output=True, text=True)
    assert ran.returncode == code, ran.stderr
    return ran


def peak(ran: subprocess.CompletedProcess[str]) -> int:
    """The bytes that a command took at its peak."""
    return 1024 * int(re.findall(r"(\d+) kB at the peak", ran.stderr)[-1])


def test_a_base_is_scored_within_the_budget_by_a_model_of_a_sample(shop: Path) -> None:
    assert peak(within("fit", "lightgbm", shop / "log", *FIT, "--sample", "0.1", "--out", shop / "model")) < BUDGET
    asked = ("predict", shop / "model", shop / "log", "--at", "2024-12-31")
    assert peak(within(*asked, "--out", shop / "scores.parquet")) < BUDGET


def test_a_table_that_would_break_the_budget_is_refused_in_words(shop: Path) -> None:
    ran = within("fit", "lightgbm", shop / "log", *FIT, "--out", shop / "none", budget=BUDGET // 2, code=2)
    assert re.search(r"features of [\d,]+ rows want .* Learn from fewer users \(sample\)", ran.stderr)
    assert peak(ran) < BUDGET // 2
