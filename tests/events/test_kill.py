"""kill -9: whenever it comes, the log is as it was before or as it is after, and ingesting again mends all.

A kill spares what the system has buffered, so nothing is said here about a power cut.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from tests.ingested import write
from valuecast import artifact
from valuecast.events.ingest import ingest
from valuecast.events.log import EventLog
from valuecast.events.source import Mapping

MOMENTS = 5  # for a new log, and as many for one that is added to
# Kills its own process at the n-th change of a folder (a file is made, renamed or removed), and says what that was.
SELF_KILLING = """
import os, runpy, signal, sys
folder, left = sys.argv[1], int(sys.argv[2])
def watch(event, args):
    global left
    changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (event == "open" and args[1] in ("w", "x"))
    if changes and str(args[0]).startswith(folder):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv = ["valuecast", *sys.argv[3:]]
runpy.run_module("valuecast", run_name="__main__")
"""


@dataclass(frozen=True)
class Case:
    """A log before an ingest (none: ``before`` is empty), its mapping, and the digests before and after."""

    before: Path
    mapping: Path
    digest_before: str | None
    digest_after: str

    def start(self, out: Path, *wrapped: str) -> subprocess.Popen[str]:
        if self.digest_before is not None:
            shutil.copytree(self.before, out)
        command = [sys.executable, *(wrapped or ("-m", "valuecast")), "ingest", str(self.mapping), "--out", str(out)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def check(self, out: Path) -> bool:
        """Check a killed ingest's log, mend it, check again; return whether the kill came before the log changed."""
        found = EventLog.read(out).digest if (out / artifact.MANIFEST).exists() else None
        assert found in (self.digest_before, self.digest_after)
        if (out / "rejected.parquet").exists():
            pl.read_parquet(out / "rejected.parquet")
        ingest(Mapping.read(self.mapping), out)
        log = EventLog.read(out)
        assert log.digest == self.digest_after
        assert log.collect(log.events).height == log.collect(log.events)["id"].n_unique()
        assert pl.read_parquet(out / "rejected.parquet").height == 2
        listed = json.loads((out / artifact.MANIFEST).read_text())["files"]
        assert {path.name for path in out.iterdir()} == {*listed, artifact.MANIFEST, "rejected.parquet"}
        return found == self.digest_before


@pytest.fixture(scope="module", params=["new", "added to"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("kill")
    users = "\n".join(["id,city", *(f"u{user},c{user % 7}" for user in range(100))])
    mapping = """
        max_rejected = 0.5
        source = [{path = "s.csv", user = "user", time = "time", amount = "amount"}]
        users = {path = "users.csv", key = "id", static = ["city"]}
        span = {until = "2012-01-01"}
    """
    for name, rows in (("one", 1_000), ("two", 2_000)):
        lines = [f"u{row % 100},2011-{row % 12 + 1:02}-{row % 28 + 1:02} 0{row % 10}:00,{row}" for row in range(rows)]
        (folder / name).mkdir()
        write(folder / name, "\n".join(["user,time,amount", *lines, "u1,soon,1", ",2011-01-01,1"]))
        write(folder / name, users if name == "one" else users.replace("c1", "c9"), "users.csv")
        write(folder / name, mapping, "m.toml")
    before, after, digest = folder / "before", folder / "after", None
    if request.param == "added to":
        ingest(Mapping.read(folder / "one/m.toml"), before)
        digest = EventLog.read(before).digest
        shutil.copytree(before, after)
    ingest(Mapping.read(folder / "two/m.toml"), after)
    return Case(before, folder / "two/m.toml", digest, EventLog.read(after).digest)


def test_a_kill_at_any_moment(case: Case, tmp_path: Path) -> None:
    whole = case.start(tmp_path / "whole")
    assert whole.stderr is not None
    whole.stderr.readline()  # the first word of progress: from here on there is something to spoil
    since = time.monotonic()
    whole.communicate()
    lasts = time.monotonic() - since
    assert whole.returncode == 0
    draw = random.Random(case.digest_after)
    early = []
    for at in range(MOMENTS):
        killed = case.start(tmp_path / str(at))
        assert killed.stderr is not None
        killed.stderr.readline()
        time.sleep(lasts * (at + draw.random()) / MOMENTS)
        killed.kill()
        killed.communicate()
        early.append(case.check(tmp_path / str(at)))
    assert early[0]  # else the ingest was over before the first kill, and nothing was tested


@pytest.mark.slow
def test_a_kill_at_every_change_of_the_folder(case: Case, tmp_path: Path) -> None:
    early = []
    for change in range(100):
        out = tmp_path / str(change)
        killed = case.start(out, "-c", SELF_KILLING, str(out), str(change))
        killed.communicate()
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
        early.append(case.check(out))
    assert early[0]
    assert not early[-1]  # the last changes come after the manifest was replaced
    assert early == sorted(early, reverse=True)  # and there is one moment at which the log changes
